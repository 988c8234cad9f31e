"""The page "Write your own" says what is true: its code runs, on a CPU and on emulated CUDA."""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from tools.fake_cupy import strict

pytestmark = pytest.mark.all

PAGE = Path(__file__).parents[2] / "docs" / "write-your-own.md"


@cache
def ran():
    """Return the names that the page's code defines, run from top to bottom, and what it prints."""
    space: dict[str, object] = {"__name__": "__main__"}
    said = io.StringIO()
    cs.seed(0)
    with (
        contextlib.redirect_stdout(said),
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(folder)
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)):
            file = f"block {number} of {PAGE.name}"
            linecache.cache[file] = len(block), None, block.splitlines(keepends=True), file  # as a notebook does
            exec(compile(block, file, "exec"), space)
    return space, said.getvalue()


def test_what_it_says():
    space, said = ran()
    assert "  2: Bypassed(dense=Dense(30, 30), gain=(30,))\n" in said
    assert "['0.weight', '2.dense.weight', '2.gain', '4.weight']" in said
    assert "loss of a sample " in said
    _, classes = re.search(r"^([\d.e+-]+) \[([\d ]+)\]$", said, re.MULTILINE).groups()
    assert classes.split() == ["0", "1", "2", "0", "1", "2"]
    x = np.random.default_rng(0).normal(size=(5, 2, 4))
    layer = space["Bypassed"](4)
    for p in layer.parameters():
        p.data = p.data.astype(np.float64)
    for function in (layer, lambda x: space["leak"](x, rate=0.1), lambda x: space["margin_loss"](x, [1, 0])):
        assert cs.gradcheck(function, x) < 1e-6


def test_the_neuron():
    """Its spikes are those of the step in plain numbers, on both devices; a network of them learns."""
    space, said = ran()
    assert "(100, 6, 30)\nlayer 1 (Dense(20, 30), Recurrent), neuron 0 at 50 ms" in said
    assert "const real u = flushed(d * v + c.bend * v * v + x);" in said
    rng = np.random.default_rng(1)
    x, d = rng.normal(0.1, 0.5, (60, 2, 3)), np.exp(-1 / 5.0)
    v, expected = np.zeros((2, 3)), []
    for each in x:
        u = d * v + 0.1 * v * v + each
        expected.append(u >= 1)
        v = np.where(u >= 1, -0.2, u)
    spikes = space["Quadratic"](tau=5.0)(x)
    np.testing.assert_array_equal(spikes.data, expected)
    np.testing.assert_allclose(space["Quadratic"](tau=5.0).response[:9], d ** np.arange(9), rtol=1e-2)
    with strict():
        cs.use("cuda")
        try:
            there = space["Quadratic"](tau=5.0, gradient="exact")(cs.Tensor(x)).numpy()
        finally:
            cs.use("auto")
    np.testing.assert_array_equal(there, expected)
    first, last = map(float, re.search(r"^Quadratic.*: loss ([\d.]+), then ([\d.]+);", said, re.MULTILINE).groups())
    assert last < first / 10


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 2, 3), (0, 2, 3), (3, 200)])
def test_the_kernel_and_its_twin(dtype, shape):
    """Both give the same bits, forward and backward, and the operation is linear: <A x, y> = <x, A* y>."""
    accumulate = ran()[0]["accumulate"]
    rng = np.random.default_rng(2)
    x, grad = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)

    def run():
        leaf = cs.Tensor(x, requires_grad=True)
        y = accumulate(leaf, keep=0.8)
        y.backward(grad)
        return y.numpy(), cs.Tensor(leaf.grad).numpy()

    here = run()
    with strict() as emulator:
        cs.use("cuda")
        try:
            there = run()
        finally:
            cs.use("auto")
    assert (emulator.launches.count("running_sum") == 2) == (x.size > 0)
    for a, b in zip(here, there, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(a, b)
    assert np.vdot(here[0], grad) == pytest.approx(np.vdot(x, here[1]), rel=1e-5, abs=1e-6)
