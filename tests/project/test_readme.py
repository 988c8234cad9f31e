"""README says what is true: its example runs, and so does the operation that it adds."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.neurons.potential import on_potential

README = Path(__file__).parents[2] / "README.md"
CONTRIBUTING = README.with_name("CONTRIBUTING.md")
PAGES = [README, CONTRIBUTING, *sorted((README.parent / "docs").glob("*.md"))]


def blocks(page: Path = README) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [re.sub(r"(?m)^ {3}", "", code) for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.slow
def test_the_example():
    example = blocks()[0]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 20
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(example, "README.md", "exec"), {})
    right = re.fullmatch(r"right after one epoch: (\d+)%\n", said.getvalue())
    assert right
    assert int(right[1]) >= 85


@pytest.mark.slow
def test_the_look_inside():
    space: dict[str, object] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for block in blocks()[:2]:
            exec(compile(block, "README.md", "exec"), space)
    assert space["why"].margin >= 0
    assert "weight" in said.getvalue()


def test_the_operation_that_is_added():
    space: dict[str, object] = {}
    exec(compile(blocks(CONTRIBUTING)[0], "CONTRIBUTING.md", "exec"), space)
    leak = space["leak"]
    assert cs.gradcheck(lambda x: leak(x, rate=0.1), np.ones((3, 1, 2))) < 1e-6


def test_the_neuron_that_is_added():
    space: dict[str, object] = {}
    neuron, use = blocks(CONTRIBUTING)[1:]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(neuron + "\n" + use, "CONTRIBUTING.md", "exec"), space)
    assert said.getvalue().startswith("(100, 6, 30)\nlayer 1 (Dense(20, 30), LIF), neuron 0 at 50 ms")
    net, loss, x, seen = (space[name] for name in ("net", "loss", "x", "seen"))
    np.testing.assert_array_equal(seen[1].spikes, net.layers[1].fires(seen[1].potential))
    assert abs(seen[1].spikes_error).max() > 0
    # What the class says of itself is what it computes: u = psp(x) + refraction, and g_x = adjoint of psp (rho g_s).
    lif = space["LIF"](tau=5.0)
    rng = np.random.default_rng(1)
    weighted, grad = cs.Tensor(rng.normal(0.1, 0.5, (60, 2, 3)), requires_grad=True), rng.normal(size=(60, 2, 3))
    kept = []
    with on_potential(kept.append):
        spikes = lif(weighted)
    (u,) = (potentials.values.copy() for potentials in kept)
    spikes.backward(grad)
    refraction = functions.psp(spikes.data.astype(float), response=lif.refractory).data
    np.testing.assert_allclose(u, lif.psp(weighted).data + refraction, atol=1e-6)
    filtered = cs.Tensor(weighted.data, requires_grad=True)
    lif.psp(filtered).backward(lif.surrogate(u) * grad)
    np.testing.assert_allclose(weighted.grad, filtered.grad, atol=1e-6)
    # A network of them learns.
    optimizer, labels = cs.Adam(net.parameters(), lr=0.01), np.arange(6) % 3
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(net(x), labels)
        value.backward()
        optimizer.step()
    assert (cs.classify(net(x)) == labels).all()


def test_the_tree_is_as_listed():
    listing = re.search(r"```text\n(cuslayer/\n.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)[1]
    folders: list[str] = []
    listed = set()
    for line in listing.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        names = re.split(r"  +", line.strip())[0].split()
        listed |= {Path(*folders[:depth], name) for name in names}
        folders[depth:] = [names[0]]
    assert len(listed) > 30
    assert [str(path) for path in listed if not (README.parent / path).exists()] == []
    top = {Path("cuslayer", path.name) for path in (README.parent / "cuslayer").iterdir() if path.suffix == ".py"}
    assert top - listed == {Path("cuslayer/__init__.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page):
    named = re.findall(r"`([\w./]+/|[\w./]+\.(?:py|md|cu|cuh|toml|yaml|ipynb))`", page.read_text(encoding="utf-8"))
    # Names of files to write; docs/design.md has a table of modules by their names within the package.
    named = [name for name in named if "yours" not in name and "TOPIC" not in name]
    folders = [README.parent, *([README.parent / "cuslayer"] if page.name == "design.md" else [])]
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []
