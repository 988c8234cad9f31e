"""`replicate`: every step equals the image, the gradient is the sum over time."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs

RNG = np.random.default_rng(10)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 5, 4, 3), (0, 2), (2, 0)])
@pytest.mark.parametrize("steps", [0, 1, 6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool])
def test_every_step_is_the_image(shape, steps, dtype):
    x = (RNG.standard_normal(shape) * 2).astype(dtype)
    t = cs.Tensor(x, requires_grad=True)
    y = cs.functions.replicate(t, steps=steps)
    assert (y.dtype, y.shape) == (dtype, (steps, *shape))
    assert not steps or not x.size or np.shares_memory(y.data, t.data)
    assert all((step == x).all() for step in y.data)
    g = RNG.integers(-9, 9, y.shape).astype(np.float64)
    y.backward(g)
    assert t.grad.shape == shape
    np.testing.assert_array_equal(t.grad, g.sum(axis=0))


class Counted(cs.BatchNorm):
    """Counts the steps that it maps."""

    steps = 0

    def _operate(self, operation, x, **options):
        self.steps += len(x)
        return super()._operate(operation, x, **options)


NETWORKS = {
    "convolution": lambda n: [cs.Conv(1, 4, 3, padding=1, bias=True, weight_scale=3.0), n, cs.SRM(theta=1.0)],
    "pooled, alone": lambda n: [cs.AvgPool(2), cs.ConvTranspose(1, 4, 2, weight_scale=2.0), n],
    "dense, recurrent": lambda n: [cs.Dense((6, 6, 1), 4, weight_scale=3.0), n, cs.Recurrent(cs.Dense(4, 4), cs.LIF())],
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_map_a_still_input_once(name, training):
    """A repeated image, and equal steps that share no memory, give the numbers and gradients of steps one by one."""
    image = np.abs(RNG.standard_normal((5, 6, 6, 1))).astype(np.float32)
    steps = 7
    copied = np.repeat(image[None], steps, 0)
    results = []
    for x in (cs.Tensor(copied, requires_grad=True), cs.functions.replicate(image, steps=steps), copied):
        cs.seed(0)
        norm = Counted(4, trained=True)
        net = cs.Sequential(*NETWORKS[name](norm))
        net.train(training)
        y = net(x)
        assert (norm.steps, y.shape[0]) == (steps if isinstance(x, cs.Tensor) and x.requires_grad else 1, steps)
        y.backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
        results.append([y.data, *(p.grad if p.requires_grad else p.data for p in net.parameters())])
    assert results[0][0].any()
    for result in results[1:]:
        assert results[0][0].dtype != bool or (results[0][0] == result[0]).all()
        for by_step, once in zip(results[0], result, strict=True):
            np.testing.assert_allclose(once, by_step, rtol=0, atol=1e-5 * max(1, np.abs(by_step).max()))


@pytest.mark.parametrize("neuron", [cs.SRM(theta=1.0), cs.LIF(trained=True), cs.AdLIF(), cs.AdaptiveLIF()])
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_neurons_sum_the_gradients_of_a_still_input(neuron, steps):
    image = np.abs(RNG.standard_normal((3, 50)))
    g = RNG.standard_normal((steps, 3, 50))
    parameters = cs.Sequential(neuron).parameters()
    gradients = []
    for by_step in (True, False):
        x = cs.Tensor(image, requires_grad=True)
        repeated = x + np.zeros((steps, 1, 1)) if by_step else cs.functions.replicate(x, steps=steps)
        for parameter in parameters:
            parameter.grad = None
        neuron(repeated).backward(g)
        gradients.append([x.grad, *(parameter.grad for parameter in parameters)])
    for expected, summed in zip(*gradients, strict=True):
        np.testing.assert_allclose(summed, expected, rtol=1e-12, atol=1e-12)


def test_steps_that_only_begin_alike_are_not_still():
    x = np.ones((3, 2, 4), np.float32)
    x[2, 1, 3] = 2
    y = cs.Dense(4, 1)(x).data
    assert y[2, 1] != y[1, 1]
    padded = cs.Tensor(np.ones((3, 2, 4), np.float32), lengths=[3, 2])
    norm = Counted(4)
    norm(padded)
    assert norm.steps == 3


def test_an_error_for_a_still_input_shows_its_shape():
    with pytest.raises(ValueError, match=r"got shape \(5, 2, 9\)"):
        cs.Conv(1, 1, 1)(np.ones((5, 2, 9), np.float32))


def test_errors():
    with pytest.raises(ValueError, match=r"^replicate: x must be \(N, ...\), got shape \(\)$"):
        cs.functions.replicate(1.0, steps=3)
