"""Tensors indexed by arrays: NumPy's results, gradients and errors on every device, with the same bits on each run."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._array_functions.shapes import add_at
from tests.support.refused import refuses
from tools.fake_cupy import in_use

MASK = np.random.default_rng(0).random(5) < 0.5
MASK[:2] = True
FRAME = np.random.default_rng(1).random((5, 4)) < 0.4
ONE = np.arange(5) == 3
INDICES = {
    "repeated": [0, 2, 2, 0, 2, 2, 2, 4],
    "negative": np.array([-1, -5, 4, 0]),
    "of two axes": (np.array([1, 1, -4, 0]), np.array([2, 2, 2, -1])),
    "broadcast": (np.array([[0], [3], [3]]), np.array([1, 1])),
    "all axes": (np.array([1, 1]), np.array([0, 0]), np.array([2, -1])),
    "a table": np.array([[0, 1], [1, 1], [4, 0]]),
    "of the last axis": (..., np.array([2, 2, 0])),
    "of the middle axis": (slice(None), [3, 3, 1]),
    "with slices": (slice(1, 4), [0, 0, 3], slice(None, None, -1)),
    "with a step": (slice(None, None, 2), np.array([1, 1])),
    "apart": (np.array([1, 1, 2]), slice(None), np.array([0, 0, 2])),
    "apart by a new axis": (np.array([1, 1, 2]), None, np.array([0, 0, 2])),
    "apart behind a slice": (slice(1, None), np.array([1, 1, 2]), None, np.array([0, 0, 2])),
    "with an integer": (np.array([1, 1, 2]), 3),
    "with an integer apart": (2, slice(None), np.array([1, 1])),
    "with NumPy's integer": (np.int64(-1), [0, 0]),
    "with new axes": (None, [1, 1], ..., None),
    "with a mask": (MASK, slice(None), np.repeat(1, MASK.sum())),
    "with a mask of one": (ONE, np.array([2, 2, 1])),
    "a mask": MASK,
    "a mask of two axes": FRAME,
    "a mask of two axes and an array": (FRAME, np.repeat(2, FRAME.sum())),
    "a list of booleans": MASK.tolist(),
    "none": [],
    "none of a mask": np.zeros(5, bool),
    "none of a slice": (slice(2, 2), [0, 0]),
    "an array of one": np.array(3),
    "a slice of all": slice(None),
    "all in reverse": slice(None, None, -1),
}
OUT_OF_RANGE = {
    "take: index 5 is out of range for axis 0 with size 5": [0, 5],
    "take: index -6 is out of range for axis 0 with size 5": np.array([-6, 0]),
    "take: index 4 is out of range for axis 1 with size 4": (slice(None), np.array([[4]])),
    "take: index 3 is out of range for axis 2 with size 3": (..., [0, 3]),
    "take: shape mismatch: indexing arrays could not be broadcast together with shapes (2,) (3,)": ([0, 1], [0, 1, 2]),
    "take: too many indices for array: array is 3-dimensional, but 4 were indexed": ([0], 0, 0, [0]),
    "take: arrays used as indices must be of integer (or boolean) type": np.array([0.5]),
}


@pytest.fixture
def device():
    """The device "cuda", of the stand-in for CuPy."""
    with in_use():
        yield


def gradient(x, index):
    """Return the part, its gradient from drawn numbers and what NumPy says of it."""
    tensor = cs.Tensor(x, requires_grad=True)
    part = tensor[index]
    expected = x[index]
    g = np.random.default_rng(2).standard_normal(expected.shape).astype(x.dtype)
    part.backward(backend.to_device(g))
    truth = np.zeros_like(x)
    np.add.at(truth, index, g)
    assert tensor.grad is not None
    assert part.data.flags.c_contiguous
    np.testing.assert_array_equal(part.numpy(), expected)
    return part.numpy(), backend.to_numpy(tensor.grad), truth


@pytest.mark.all
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_part_and_its_gradient_on_a_device(device, index, dtype):
    x = np.random.default_rng(3).standard_normal((5, 4, 3)).astype(dtype)
    _, found, truth = gradient(x, index)
    np.testing.assert_allclose(found, truth, rtol=0, atol=4 * np.finfo(dtype).eps * np.abs(truth).max(initial=1))
    assert found.tobytes() == gradient(x, index)[1].tobytes()


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_a_part_and_its_gradient_on_the_cpu(index):
    _, found, truth = gradient(np.random.default_rng(3).standard_normal((5, 4, 3)), index)
    assert found.tobytes() == truth.tobytes()


@pytest.mark.parametrize(("message", "index"), OUT_OF_RANGE.items(), ids=OUT_OF_RANGE)
def test_what_is_out_of_range_is_refused_on_a_device(device, message, index):
    """CuPy wraps an index around instead."""
    with pytest.raises(IndexError) as found:
        cs.Tensor(np.zeros((5, 4, 3)))[index]
    assert str(found.value) == message


def test_a_single_truth_value_is_refused_beside_arrays(device):
    with refuses("take: a single True or False cannot be mixed with arrays on a device"):
        cs.Tensor(np.zeros((5, 4, 3)))[True, [0, 1]]


@pytest.mark.all
def test_an_index_on_the_device_is_checked_too(device):
    x = cs.Tensor(np.arange(5.0), requires_grad=True)
    x[backend.to_device(np.array([1, 1, -1]))].sum().backward()
    assert backend.to_numpy(x.grad).tolist() == [0, 2, 0, 0, 1]
    with refuses("take: index 5 is out of range for axis 0 with size 5"):
        x[backend.to_device(np.array([5]))]


def test_equal_places_are_added_in_a_fixed_order():
    """In pairs: an error that a sum one after the other has, this one has not."""
    g = np.full(2**12, 1.1, np.float32)
    x = np.zeros(2, np.float32)
    add_at(x, (np.ones(g.size, int),), g)
    assert x.tolist() == [0, float(np.float32(1.1) * 2**12)]
    drawn = np.random.default_rng(0)
    places, g = drawn.integers(0, 7, 1000), drawn.standard_normal((1000, 2))
    x, truth = np.zeros((7, 2)), np.zeros((7, 2))
    add_at(x, (places,), g)
    np.add.at(truth, places, g)
    np.testing.assert_allclose(x, truth, rtol=1e-12)
