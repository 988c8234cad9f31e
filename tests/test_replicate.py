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
    assert y.data.flags.c_contiguous
    assert all((step == x).all() for step in y.data)
    g = RNG.integers(-9, 9, y.shape).astype(np.float64)
    y.backward(g)
    assert t.grad.shape == shape
    np.testing.assert_array_equal(t.grad, g.sum(axis=0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_adjoint_and_gradient(dtype, tolerance):
    x, y = RNG.standard_normal((2, 3, 4)).astype(dtype), RNG.standard_normal((50, 2, 3, 4)).astype(dtype)
    t = cs.Tensor(x, requires_grad=True)
    ax = cs.functions.replicate(t, steps=50)
    ax.backward(y)
    left, right = np.vdot(ax.data.astype(float), y), np.vdot(x, t.grad.astype(float))
    assert abs(left - right) < tolerance * np.linalg.norm(ax.data) * np.linalg.norm(y)
    assert cs.gradcheck(lambda x: cs.functions.replicate(x, steps=7), x) < 1e-6


def test_an_image_drives_a_network():
    """Weighting an image once before repeating it equals weighting it at every step."""
    srm, layer, x = cs.SRM(), cs.Dense((3, 3, 1), 20), np.abs(RNG.standard_normal((2, 3, 3, 1))).astype(np.float32)
    before = srm(layer(cs.functions.replicate(x, steps=20)))
    once = layer(x[None])
    after = srm(cs.functions.replicate(once[0], steps=20))
    assert before.data.any()
    assert (before.data == after.data).all()
    grads = []
    for spikes in (before, after):
        layer.weight.grad = None
        spikes.backward(np.ones(spikes.shape, np.float32))
        grads.append(layer.weight.grad)
    np.testing.assert_allclose(*grads, rtol=0, atol=1e-5 * np.abs(grads[0]).max())


def test_errors():
    with pytest.raises(ValueError, match=r"^replicate: x must be \(N, ...\), got shape \(\)$"):
        cs.functions.replicate(1.0, steps=3)
    with pytest.raises(ValueError, match=r"^replicate: steps must be at least 0, got -1$"):
        cs.functions.replicate(np.ones(2), steps=-1)
    with pytest.raises(TypeError, match=r"^replicate: steps must be an integer, got float$"):
        cs.functions.replicate(np.ones(2), steps=2.0)
