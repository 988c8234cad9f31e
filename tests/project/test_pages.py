"""The pages of docs/: their code runs, their commands exist, they have a purpose, a place in the site, and pictures."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer import data, plot, surrogates, training
from cuslayer.cli import make_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
REFERENCE = {name: text for name, text in PAGES.items() if name.startswith("reference/")}
# Pages whose code runs in a test of their own.
OWN_TESTS = {"after-training.md", "data.md", "exchange.md", "migrating.md", "write-your-own.md"}
# Pages that mkdocs makes of other files.
MADE = {"contributing.md", "changelog.md", *(f"tutorials/{p.stem}.md" for p in ROOT.glob("examples/notebooks/*.ipynb"))}
PROGRAMS = {"python", "python3", "pip", "pytest", "mkdocs", "git", "jupyter", ".ci/run", "."}


def blocks(text, *languages):
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", text, re.DOTALL)


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


WITH_CODE = {name for name, text in PAGES.items() if blocks(text, "python")}


def run(name, space):
    """Run the code of a page from top to bottom in a namespace, and return what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        for number, block in enumerate(blocks(PAGES[name], "python")):
            exec(compile(block, f"block {number} of {name}", "exec"), space)
    return said.getvalue()


def test_every_page_with_code_is_run():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert all(f'"{name}"' in tests.replace(Path(__file__).read_text(encoding="utf-8"), "") for name in OWN_TESTS)
    here = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in WITH_CODE - OWN_TESTS if f'run("{name}"' not in here} == set()


def test_the_code_of_the_start(here):
    space = {}
    assert "(50, 20, 3)" in run("index.md", space)
    assert space["why"].fired
    assert (cs.classify(space["small"](space["spikes"])) == space["labels"]).mean() > 0.6


@pytest.mark.slow
def test_the_code_on_tasks_in_time():
    space = {}
    said = run("recurrent.md", space)
    assert int(re.search(r"(\d+)% are right", said)[1]) >= 90
    assert "layer 1" in said


def test_the_code_on_gpus():
    assert run("gpu.md", {}) == f"{cs.device()}\n"


def test_the_code_on_processes():
    """It has one process here, which divides nothing."""
    neuron = cs.SRM()
    net, loss = cs.Network("6-3", neuron), cs.SpikeCountLoss(neuron, true=5, false=1)
    batches = [(np.ones((20, 8, 6), bool), np.arange(8) % 3)]
    space = {"net": net, "loss": loss, "optimizer": cs.Adam(net.parameters()), "batches": batches}
    run("scale.md", space)
    assert space["score"].loss > 0
    assert space["score"].accuracy in np.arange(9) / 8


def test_the_code_on_spoken_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("spoken-digits.md", {})
    assert list(map(len, data.read_sounds("recordings.npz").waves)) == [3000, 4000]


@pytest.mark.parametrize("name", [*PAGES, "README.md", "CONTRIBUTING.md"])
def test_every_command_exists(name):
    text = PAGES.get(name) or (ROOT / name).read_text(encoding="utf-8")
    for line in "".join(blocks(text, "bash", "sh")).splitlines():
        for command in re.split(r"&&", line):
            words = shlex.split(command, comments=True)
            if words and words[0] == "mpiexec":
                words = words[3:]
            if not words:
                continue
            if Path(words[0]).name == "cuslayer":
                if words[1:] != ["--version"]:
                    make_parser().parse_args(words[1:])
                continue
            assert words[0] in PROGRAMS or words[0].startswith(".venv/"), command
            for word in words:
                if re.fullmatch(r"(benchmarks|examples)/\w+\.py", word):
                    assert (ROOT / word).exists(), word


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_purpose(name):
    title, _, rest = PAGES[name].partition("\n\n")
    assert re.fullmatch(r"# \S.*", title)
    assert len(rest.split("\n\n")[0].split()) >= 10, "the first paragraph says what the page is for"
    assert name in REFERENCE or len(without_code(rest).split()) > 100


def test_most_pages_have_a_picture():
    shown = {name for name, text in PAGES.items() if re.search(r"!\[", text)}
    assert len(shown) > 0.6 * len(PAGES.keys() - REFERENCE.keys())
    for name, text in {**PAGES, "../README.md": (ROOT / "README.md").read_text(encoding="utf-8")}.items():
        for words, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
            assert len(words.split()) >= 4, f"{name}: {path} has no description"
            file = (DOCS / name).parent / path
            assert file.exists(), f"{name}: {path}"
            assert file.stat().st_size < 400_000, f"{name}: {path} is large"


def test_a_list_begins_after_an_empty_line():
    """Python-Markdown shows it as a part of the paragraph otherwise, unlike GitHub."""
    for name, text in PAGES.items():
        lines = without_code(text).splitlines()
        for before, line in itertools.pairwise(lines):
            if re.match(r"(- |\d+\. )", line) and before.strip():
                assert re.match(r"(- |\d+\. |  )", before), f"{name}: {line}"


def test_every_page_has_a_place_in_the_site():
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), yaml.SafeLoader)
    places = re.findall(r"'([\w/-]+\.md)'", repr(config["nav"]))
    assert len(places) == len(set(places))
    assert set(places) == PAGES.keys() | MADE
    assert config["strict"]
    assert config["theme"]["font"] is False


def test_every_public_name_is_in_the_reference():
    named = re.findall(r"(?m)^::: cuslayer\.([\w.]+)$", "".join(REFERENCE.values()))
    assert len(named) == len(set(named))
    modules = {"plot", "surrogates", "distributed"}
    wanted = set(cs.__all__) - modules
    for module, prefix in ((data, "data"), (training, "training"), (plot, "plot"), (surrogates, "surrogates")):
        wanted |= {f"{prefix}.{name}" for name in module.__all__ if name not in wanted}
    wanted.add("data.load")
    assert wanted - set(named) == set()
    for name in named:
        thing = cs
        for part in name.split("."):
            thing = getattr(thing, part)


@pytest.mark.parametrize("name", sorted(REFERENCE.keys() - {"reference/index.md"}))
def test_the_reference_lists_its_pages(name):
    assert f"({name.removeprefix('reference/')})" in REFERENCE["reference/index.md"]
