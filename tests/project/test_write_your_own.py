"""The page "Write your own" says what is true: its code runs, on a CPU and on emulated CUDA."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.neurons.potential import on_potential
from tools.fake_cupy import strict

PAGE = Path(__file__).parents[2] / "docs" / "write-your-own.md"


@cache
def ran():
    """Return the names that the page's code defines, run from top to bottom, and what it prints."""
    space: dict[str, object] = {}
    said = io.StringIO()
    cs.seed(0)
    with contextlib.redirect_stdout(said):
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)):
            exec(compile(block, f"block {number} of {PAGE.name}", "exec"), space)
    return space, said.getvalue()


def test_the_layer():
    space, said = ran()
    assert "  2: Bypassed(dense=Dense(30, 30), gain=(30,))\n" in said
    assert "['0.0', '2.dense.weight', '2.gain', '4.0']" in said
    layer = space["Bypassed"](4)
    assert [p.shape for p in layer.parameters()] == [(4, 4), (4,)]
    for p in layer.parameters():
        p.data = p.data.astype(np.float64)
    x = np.random.default_rng(0).normal(size=(5, 2, 4))
    assert cs.gradcheck(layer, x) < 1e-6


def test_the_operation():
    leak = ran()[0]["leak"]
    assert cs.gradcheck(lambda x: leak(x, rate=0.1), np.ones((3, 1, 2))) < 1e-6


def test_the_neuron():
    space, said = ran()
    assert "(100, 6, 30)\nlayer 1 (Dense(20, 30), LIF), neuron 0 at 50 ms" in said
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
    cs.seed(0)
    neuron, x, labels = space["LIF"](tau=10.0), rng.random((100, 6, 20)) < 0.1, np.arange(6) % 3
    net, loss = cs.Network("20-30-3", neuron), cs.SpikeCountLoss(neuron, true=20, false=2)
    with cs.record(net) as seen:
        loss(net(x), labels).backward()
    np.testing.assert_array_equal(seen[1].spikes, net.layers[1].fires(seen[1].potential))
    assert abs(seen[1].spikes_error).max() > 0
    optimizer = cs.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(net(x), labels)
        value.backward()
        optimizer.step()
    assert (cs.classify(net(x)) == labels).all()


def test_the_loss():
    space, said = ran()
    margin_loss = space["margin_loss"]
    spikes = np.zeros((10, 2, 3), bool)
    spikes[:4, 0, 1] = spikes[:3, 0, 2] = spikes[:9, 1, 0] = True
    # By hand: sample 0 of class 1 leads by 4 and 1, sample 1 of class 0 by 9 and 9; the margin is 5.
    assert margin_loss(cs.Tensor(spikes), [1, 0]).item() == pytest.approx((1 + 16) / 2)
    # A loss decreases as the network learns, and `health` takes it.
    assert "loss of a sample " in said
    value, classes = re.search(r"^([\d.e+-]+) \[([\d ]+)\]$", said, re.MULTILINE).groups()
    assert classes.split() == ["0", "1", "2", "0", "1", "2"], (value, classes)
    x = np.random.default_rng(0).normal(size=(6, 2, 3))
    assert cs.gradcheck(lambda x: margin_loss(x, [1, 0]), x) < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 2, 3), (1, 1, 1), (0, 2, 3), (4, 0, 2), (3, 200)])
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
