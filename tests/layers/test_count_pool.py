"""`CountMaxPool` and `FirstStep`: against plain loops, in chunks, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import CountMaxPool, FirstStep
from tests.support.refused import refused


def largest_counts(x, kernel, stride, padding):
    """Return the largest sums over time of the windows of x (T, N, H, W, C)."""
    sums = np.pad(
        x.astype(float).cumsum(axis=0), ((0, 0), (0, 0), *((padding, padding),) * 2, (0, 0)), constant_values=-9e9
    )
    rows, columns = ((size - kernel) // stride + 1 for size in sums.shape[2:4])
    places = [
        sums[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride][:, :, :rows, :columns]
        for i in range(kernel)
        for j in range(kernel)
    ]
    return np.max(places, axis=0)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (1, 1, 0), (3, 1, 1)])
@pytest.mark.parametrize("spikes", [True, False])
def test_sums_of_the_output_are_the_largest_sums(kernel, stride, padding, spikes):
    rng = np.random.default_rng(0)
    x = rng.random((12, 2, 5, 7, 3)) < 0.3 if spikes else rng.standard_normal((12, 2, 5, 7, 3))
    layer = CountMaxPool(kernel, stride=stride, padding=padding)
    y = layer(x)
    assert y.dtype == (bool if spikes else np.float64)
    assert y.shape[2:] == layer.output_shape((5, 7, 3))
    np.testing.assert_allclose(
        y.data.astype(float).cumsum(axis=0), largest_counts(x, kernel, stride, padding), atol=1e-12
    )
    run = layer.continued()
    chunks = [run(cs.Tensor(x[start : start + 5])).data for start in range(0, 12, 5)]
    np.testing.assert_array_equal(np.concatenate(chunks), y.data)


@pytest.mark.parametrize("shape", [(0, 2, 4, 4, 1), (3, 0, 4, 4, 1)])
def test_no_steps_and_no_samples(shape):
    assert CountMaxPool(2)(np.zeros(shape, bool)).shape == (*shape[:2], 2, 2, 1)
    assert FirstStep()(np.zeros(shape, bool)).shape == shape


def test_the_gradient_goes_to_the_pixel_that_leads():
    x = cs.Tensor(np.array([[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]]).reshape(3, 1, 1, 2, 1), requires_grad=True)
    y = CountMaxPool((1, 2))(x)
    assert y.data.ravel().tolist() == [1.0, 0.0, 1.0]
    y.backward(np.array([3.0, 5.0, 7.0]).reshape(y.shape))
    assert x.grad.reshape(3, 2).tolist() == [[0, 3], [0, 5], [7, 0]]


def test_first_step():
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    cs.gradcheck(cs.functions.first_step, x)
    layer = FirstStep()
    run = layer.continued()
    chunks = [run(cs.Tensor(x[start : start + 2])).data for start in (0, 2)]
    np.testing.assert_array_equal(np.concatenate(chunks), layer(x).data)
    assert (layer(x).data[0] == x[0]).all()
    assert not layer(x).data[1:].any()


def test_errors():
    refused("CountMaxPool: padding must be at most 1", lambda: CountMaxPool(3, padding=2))
    refused("count_max_pool: x must be (T, N, H, W, C)", lambda: CountMaxPool(2)(np.zeros((3, 2, 4))))
    refused("first_step: x must be (T, N, ...)", lambda: FirstStep()(np.zeros(3)))
