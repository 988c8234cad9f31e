"""Learning forward in time with a trace a synapse is the gradient of backward, for one layer of neurons."""

from itertools import pairwise

import numpy as np
import pytest

import cuslayer as cs
import cuslayer.neurons as kinds
from cuslayer.network.network import graph_in_chunks
from cuslayer.network.online.learner import OnlineLearner
from cuslayer.network.online.rule import Online
from tests.support.kinds import Echo, Offset, OwnBackward, Quadratic, Resting

pytestmark = pytest.mark.all

RNG = np.random.default_rng(0)
# Chunks of one step, and of numbers of steps that are no multiple of eight.
EDGES = [0, 1, 14, 60, 101]

NEURONS = {
    "LIF": lambda: cs.LIF(),
    "LIF, exact": lambda: cs.LIF(gradient="exact", dt=0.5),
    "LIF, detached": lambda: cs.LIF(gradient="detached"),
    "LIF, graded": lambda: cs.LIF(graded=True),
    "LIF, a time constant a neuron": lambda: cs.LIF(tau=np.linspace(3.0, 30.0, 5)),
    "LIF, trained": lambda: cs.LIF(trained=True, gradient="exact"),
    "CUBA": lambda: cs.CUBA(),
    "SRM": lambda: cs.SRM(theta=1.0),
    "SRM, exact": lambda: cs.SRM(theta=1.0, gradient="exact"),
    "SRM without a cut": lambda: cs.SRM(theta=1.0, cutoff=0.0, dt=2.0),
    "AdLIF": lambda: cs.AdLIF(trained=True),
    "AdaptiveLIF": lambda: cs.AdaptiveLIF(),
    "AdaptiveLIF, exact": lambda: cs.AdaptiveLIF(gradient="exact", trained=True),
    "BalancedResonateAndFire": lambda: kinds.BalancedResonateAndFire(theta=0.05),
    "ResonateAndFire": lambda: kinds.ResonateAndFire(),
    "NormalizedALIF": lambda: kinds.NormalizedALIF(),
    "SigmaDelta": lambda: kinds.SigmaDelta(),
    "SampledSRM": lambda: kinds.SampledSRM(np.exp(-np.arange(9) / 3.0), [0.0, -2.0], theta=1.0),
    "Loihi": lambda: cs.Loihi(vth_mant=10, i_decay=2048, v_decay=1024),
    "a quadratic step": lambda: Quadratic(gradient="exact"),
    "a step with blocks and a start": lambda: Resting(),
    "a step with its own backward": lambda: OwnBackward(),
    "a step with thresholds": lambda: Offset(),
    "a step with delays": lambda: Echo(gradient="exact"),
}


def in_float64(net):
    for p in net.parameters():
        p.data = p.data.astype(np.float64)
    return net


def backward(net, x, g):
    for p in net.parameters():
        p.grad = None
    output = net(x)
    output.backward(g)
    return output.data, [p.grad for p in net.parameters()]


def online(net, x, g, rule="exact", edges=EDGES):
    for p in net.parameters():
        p.grad = None
    learner = OnlineLearner(graph_in_chunks(net), Online(rule))
    outputs = []
    for first, last in pairwise(edges):
        outputs.append(learner.run(cs.Tensor(x[first:last])))
        learner.learn(g[first:last])
    return np.concatenate(outputs), [p.grad for p in net.parameters()]


@pytest.mark.parametrize("kind", NEURONS)
@pytest.mark.parametrize("read_out", [False, True])
def test_it_equals_backward(kind, read_out):
    """A loss at each step, with any gradient of the output."""
    neuron = NEURONS[kind]()
    last = [cs.ReadOut(5, 3, dt=neuron.dt, bias=True)] if read_out else [cs.Dense(5, 3, weight_scale=9.0), None]
    if not read_out:
        last[1] = cs.LIF(gradient="exact") if "a neuron" in kind else NEURONS[kind]()
    net = in_float64(cs.Sequential(cs.Dense(7, 5, weight_scale=9.0, bias=True), neuron, *last))
    x = RNG.random((EDGES[-1], 3, 7)) < 0.3
    g = RNG.standard_normal((EDGES[-1], 3, 3))
    wanted_output, wanted = backward(net, x, g)
    output, found = online(net, x, g)
    assert net[:2](x).data.any()
    assert output.dtype == wanted_output.dtype
    assert output.dtype != bool or np.array_equal(output, wanted_output)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * abs(theirs).max())


def test_numbers_and_several_blocks_of_neurons():
    net = in_float64(cs.Sequential(cs.Dense((2, 5), 2100, weight_scale=3.0), cs.LIF(), cs.ReadOut(2100, 2)))
    x = RNG.standard_normal((20, 2, 2, 5))
    g = RNG.standard_normal((20, 2, 2))
    for ours, theirs in zip(online(net, x, g, edges=[0, 9, 20])[1], backward(net, x, g)[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_loss_at_the_end_only():
    """The error of the last step reaches weights through all earlier steps; calls without an error move the traces."""
    net = in_float64(cs.Sequential(cs.Dense(7, 5, weight_scale=9.0), cs.CUBA(), cs.ReadOut(5, 3)))
    x = RNG.random((40, 2, 7)) < 0.3
    g = np.zeros((40, 2, 3))
    g[-1] = RNG.standard_normal((2, 3))
    _, wanted = backward(net, x, g)
    for p in net.parameters():
        p.grad = None
    learner = OnlineLearner(graph_in_chunks(net), Online())
    for frame in x:
        learner.run(cs.Tensor(frame[None]))
    learner.learn(g[-1:])
    for p, theirs in zip(net.parameters(), wanted, strict=True):
        np.testing.assert_allclose(p.grad, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [0, 1])
def test_no_step_and_no_sample(length):
    net = cs.Sequential(cs.Dense(3, 2), cs.LIF(), cs.ReadOut(2, 2))
    for shape in ((length, 2, 3), (2, length, 3)):
        y, found = online(net, np.ones(shape, bool), np.ones((*shape[:2], 2), np.float32), edges=[0, shape[0]])
        assert y.shape == (*shape[:2], 2)
        assert all(np.isfinite(g).all() for g in found)
