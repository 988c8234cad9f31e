"""What is changed in place between forward and backward: an error, or the gradient of the pass as it was."""

from functools import partial

import numpy as np
import pytest

import cuslayer as cs
from tests.support.refused import refuses

pytestmark = pytest.mark.all

IMAGE = (6, 6, 2)


def stages(*made):
    return list(made)


# Stages and the shape of their input. Together they have every operation that takes a parameter.
STAGES = {
    "dense": (lambda: stages(cs.Dense(6, 4, bias=True)), (6,)),
    "two layers": (lambda: stages(cs.Dense(6, 4), cs.SRM(theta=2.0), cs.Dense(4, 3), cs.SRM(theta=2.0)), (6,)),
    "conv": (lambda: stages(cs.Conv(2, 3, 3, bias=True)), IMAGE),
    "conv and neurons": (lambda: stages(cs.Conv(2, 3, 3), cs.SRM()), IMAGE),
    "conv and pooling": (lambda: stages(cs.Conv(2, 3, 3), cs.SRM(), cs.SumPool(2, gain=11.0), cs.SRM()), IMAGE),
    "transposed": (lambda: stages(cs.ConvTranspose(2, 3, 2, stride=2)), IMAGE),
    "weight norm": (lambda: stages(cs.Dense(6, 4, weight_hook=cs.WeightNorm()), cs.SRM(theta=2.0)), (6,)),
    "rounded": (
        lambda: stages(cs.Dense(6, 4, weight_hook=partial(cs.functions.quantize, step=0.5)), cs.SRM(theta=2.0)),
        (6,),
    ),
    "reshaped": (
        lambda: stages(cs.Dense(6, 4, weight_hook=lambda w: w.reshape(24).reshape(6, 4)), cs.SRM(theta=2.0)),
        (6,),
    ),
    "delay": (lambda: stages(cs.Delay(6, dt=1.0), cs.Dense(6, 4)), (6,)),
    "linear delay": (lambda: stages(cs.Delay(6, dt=1.0, mode="linear")), (6,)),
    "batch norm": (lambda: stages(cs.Dense(6, 4), cs.BatchNorm(4, trained=True), cs.SRM(theta=2.0)), (6,)),
    "filters": (lambda: stages(cs.layers.TemporalFilter(cs.SRM()), cs.layers.FilterBank(2, 3)), (6,)),
    "read-out": (lambda: stages(cs.ReadOut(6, 4, trained=True, bias=True)), (6,)),
    "recurrent": (lambda: stages(cs.Dense(6, 4), cs.Recurrent(cs.Dense(4, 4), cs.LIF(tau=5.0, trained=True))), (6,)),
    "neurons": (lambda: stages(cs.Dense(6, 4), cs.LIF(tau=5.0, trained=True)), (6,)),
    "branches": (
        lambda: stages(cs.Parallel(cs.Dense(6, 4), cs.Sequential(cs.Dense(6, 4), cs.SRM(), cs.Dense(4, 4)))),
        (6,),
    ),
}


def gradients(name, changed, of_input, potentials):
    """Return the gradients of a pass after a step of one parameter; None if backward is an error."""
    cs.seed(5)
    make, shape = STAGES[name]
    net = cs.Sequential(*make(), potentials=potentials)
    rng = np.random.default_rng(6)
    x = cs.Tensor((rng.random((40, 2, *shape)) < 0.04).astype(np.float32 if of_input else bool))
    x.requires_grad = of_input
    y = net(x)
    parameters = [p for p in net.parameters() if p.requires_grad]
    if changed is not None:
        p = parameters[changed]
        p.grad = np.ones_like(p.data)
        cs.SGD([p], lr=0.7).step()
        p.grad = None
    try:
        y.backward(rng.standard_normal(y.shape).astype(np.float32))
    except ValueError as problem:
        if "changed in place since forward" in str(problem):
            return None
        raise
    return [p.grad for p in (*parameters, x)]


@pytest.mark.parametrize("potentials", ["full", "float16"])
@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("name", STAGES)
def test_a_step_before_backward_is_an_error_or_changes_no_gradient(name, of_input, potentials):
    expected = gradients(name, None, of_input, potentials)
    assert expected is not None
    errors = 0
    for changed in range(len(expected) - 1):
        found = gradients(name, changed, of_input, potentials)
        errors += found is None
        for a, b in zip(found or expected, expected, strict=True):
            assert (a is None) is (b is None)
            assert a is None or np.array_equal(a, b)
    assert errors or not of_input or name in ("rounded", "linear delay")


def test_two_passes_and_a_step_between_their_backward():
    cs.seed(1)
    net, x = cs.Network("8x8x2-4c3-2a-6-3", cs.SRM()), np.random.default_rng(2).random((30, 2, 8, 8, 2)) < 0.1
    loss, optimizer = cs.loss.SpikeMaxLoss(cs.SRM()), cs.Adam(net.parameters())
    first, second = loss(net(x), [0, 1]), loss(net(x), [1, 2])
    first.backward()
    optimizer.step()
    with refuses("backward: dense_neuron needs an array that was changed in place since forward, as"):
        second.backward()
    optimizer.zero_grad()
    loss(net(x), [0, 1]).backward()  # a new pass is none of the error's


def test_other_weights_are_no_change_in_place():
    """A pass keeps the arrays that it has read."""
    net, x = cs.Network("6-4-3", cs.SRM()), np.random.default_rng(3).random((30, 2, 6)) < 0.3
    loss, state = cs.loss.SpikeMaxLoss(cs.SRM()), net.state()
    loss(net(x), [0, 1]).backward()
    expected = [p.grad for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    value = loss(net(x), [0, 1])
    net.load_state({name: 2 * a for name, a in state.items()})
    value.backward()
    assert all(np.array_equal(p.grad, g) for p, g in zip(net.parameters(), expected, strict=True))


def test_running_statistics_move_between_forward_and_backward():
    norm = cs.BatchNorm(3, trained=True)
    norm.training = False
    x = cs.Tensor(np.random.default_rng(4).random((5, 2, 3)), requires_grad=True)
    norm(x).sum().backward()
    expected, x.grad = x.grad, None
    y = norm(x)
    norm.move(np.full(3, 2.0), np.full(3, 3.0))
    y.sum().backward()
    assert np.array_equal(x.grad, expected)
