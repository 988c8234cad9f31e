"""The plan of a forward pass: what is fused, and that fused and unfused networks compute the same bits."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.network.fusion import FUSIONS, plan
from cuslayer.neurons.potential import potential_format

SRM = cs.SRM(tau_sr=4.0)
OTHER = cs.SRM(tau_sr=4.0, theta=8.0)
EXACT = cs.SRM(tau_sr=4.0, gradient="exact")


def sizes(*stages):
    return [len(step.stages) for step in plan(stages)]


def test_the_plan():
    conv, pool, dense = cs.Conv(2, 3, 3), cs.Pool(2, gain=11.0), cs.Dense(12, 4)
    assert sizes() == []
    assert sizes(conv, SRM, pool, OTHER, dense, SRM) == [4, 2]
    assert sizes(conv, SRM, pool, EXACT, dense, SRM) == [2, 1, 1, 2]
    assert sizes(conv, SRM, pool) == [2, 1]
    assert sizes(conv, pool, SRM) == [1, 1, 1]
    assert sizes(pool, SRM, conv, SRM) == [1, 1, 2]
    assert sizes(dense, cs.Dropout(0.5), SRM, lambda x: x) == [1, 1, 1, 1]
    assert sizes(dense, cs.Loihi()) == [1, 1]
    assert [step.start for step in plan([conv, SRM, pool, SRM, dense, SRM])] == [0, 4]
    assert [step.fusion for step in plan([conv, SRM, pool, SRM, dense, SRM])] == [FUSIONS[0], FUSIONS[2]]


def test_what_computes_something_else_is_not_fused():
    class OwnDense(cs.Dense):
        def __call__(self, x):
            return super().__call__(x)

    class OwnPsp(cs.SRM):
        def psp(self, x):
            return super().psp(x)

    class Renamed(cs.SRM):
        pass

    assert sizes(OwnDense(3, 4), SRM) == [1, 1]
    assert sizes(cs.Dense(3, 4), OwnPsp()) == [1, 1]
    assert sizes(cs.Dense(3, 4), Renamed()) == [2]


def test_a_step_is_made_of_its_stages():
    conv, pool = cs.Conv(2, 3, 3), cs.Pool(2, gain=11.0)
    (step,) = plan([conv, SRM, pool, SRM])
    assert [(part.start, part.stages) for part in step.parts()] == [
        (0, (conv,)),
        (1, (SRM,)),
        (2, (pool,)),
        (3, (SRM,)),
    ]
    assert all(part.fusion is None for part in step.parts())


def run(net, x, fused, form):
    """Return spikes and gradients of a network, or of its layers called one by one."""
    for p in net.parameters():
        p.grad = None
    t = cs.Tensor(x, requires_grad=True)
    if fused:
        out = net(t)
    else:
        out = t
        with potential_format(form):
            for layer in net.layers:
                out = layer(out)
    out.backward(np.random.default_rng(5).standard_normal(out.shape).astype(np.float32))
    return [out.data, t.grad, *(p.grad for p in net.parameters())]


@pytest.mark.parametrize("form", ["full", "float16"])
@pytest.mark.parametrize("neuron", [SRM, EXACT, cs.SRM(tau_sr=2.0, tau_ref=3.0, dt=0.5)], ids=["slayer", "exact", "dt"])
@pytest.mark.parametrize(
    "notation",
    [
        "40-70-9",
        "12x12x2-5c3-2a-6c3-7",
        "13x11x2-4c5-3a-5",
        "9x10x1-3c4-4a-3c3-5",
        "8x40x2-30c3-2a-4",
        "7x7x2-3c3v-5a-6",
    ],
)
def test_fused_and_unfused_networks_have_the_same_bits(notation, neuron, form):
    cs.seed(1)
    net = cs.Network(notation, neuron, potentials=form)
    if notation == "40-70-9":
        net[0].weight.data *= 6  # the default is silent at this size
    x = np.random.default_rng(0).random((70, 3, *net.input_shape)) < 0.1
    fused, apart = run(net, x, True, form), run(net, x, False, form)
    assert fused[0].any()
    assert [g.tobytes() for g in fused] == [g.tobytes() for g in apart]
    with cs.no_grad():
        assert net(x).data.tobytes() == fused[0].tobytes()


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_pooling_windows_of_any_height_have_the_same_bits(rows):
    """A window of 3 or 5 rows does not divide a convolution's block: the weight gradient is computed apart."""
    cs.seed(1)
    pool = cs.Pool((rows, 2), gain=11.0)
    net = cs.Sequential(cs.Conv(2, 4, 3, padding=1), SRM, pool, OTHER)
    x = np.random.default_rng(0).random((70, 2, 11, 30, 2)) < 0.1
    fused, apart = run(net, x, True, "full"), run(net, x, False, "full")
    assert fused[2].any()
    assert [g.tobytes() for g in fused] == [g.tobytes() for g in apart]
