"""Arithmetic on a device makes no array of a number, no copy that is not C-ordered, and no needless product."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tools.fake_cupy import counted, in_use

X = np.array([[0.5, -1.5, 2.0], [3.0, 0.25, -0.75]])
UNARY = {
    "x + 2": lambda x: x + 2,
    "0.1 - x": lambda x: 0.1 - x,
    "x * 3": lambda x: x * 3,
    "x / 3": lambda x: x / 3,
    "3 / x": lambda x: 3 / x,
    "x ** 2": lambda x: x**2,
    "x ** 0": lambda x: x**0,
    "2 ** x": lambda x: 2**x,
    "maximum": lambda x: cs.maximum(x, 0.25),
    "minimum": lambda x: np.minimum(0.25, x),
    "clip": lambda x: x.clip(-1, 1.0),
    "where": lambda x: cs.where(x > 0, x, 0.5),
    "where of another": lambda x: cs.where(x > 0, 0.5, x),
}
COMPARISONS = {
    "x > 0.25": lambda x: x > 0.25,
    "x == 2": lambda x: x == 2,
    "logical_and": lambda x: cs.functions.logical_and(x, 1),
    "logical_or": lambda x: cs.functions.logical_or(0, x),
}


@pytest.fixture(autouse=True)
def device():
    """The device "cuda", of the stand-in for CuPy."""
    with in_use():
        yield


def both(run, x):
    """Return the result and the gradient on the device and on the CPU."""
    found = []
    for name in ("cuda", "cpu"):
        cs.use(name)
        tensor = cs.Tensor(x, requires_grad=True)
        out = run(tensor)
        if out.requires_grad:
            out.backward(np.arange(1, 1 + out.size, dtype=x.dtype).reshape(out.shape))
        found.append((out.numpy(), None if tensor.grad is None else backend.to_numpy(tensor.grad)))
    cs.use("cuda")
    return found


@pytest.mark.parametrize("run", (UNARY | COMPARISONS).values(), ids=UNARY | COMPARISONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_number_is_an_argument_of_the_kernel(run, dtype):
    x = cs.Tensor(X.astype(dtype), requires_grad=True)
    with counted() as costs:
        out = run(x)
    assert costs.uploads == 0
    assert [operation.name for operation in costs.operations if operation.name == "fill"] == []
    (ours, grad), (theirs, expected) = both(run, X.astype(dtype))
    assert ours.dtype == theirs.dtype == out.dtype
    np.testing.assert_array_equal(ours, theirs)
    if expected is not None:
        assert grad.dtype == dtype
        np.testing.assert_array_equal(grad, expected)


@pytest.mark.parametrize("name", [key for key in UNARY if key not in ("clip", "x ** 0", "where", "where of another")])
def test_arithmetic_with_a_number_is_one_launch(name):
    x = cs.Tensor(X, requires_grad=True)
    with counted() as costs:
        out = UNARY[name](x)
        assert costs.launches == 1
        out.backward(backend.to_device(np.ones(out.shape)))
    assert "sum" not in [operation.name for operation in costs.operations]  # the number needs no gradient


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_a_cumulative_sum_is_in_c_order(axis):
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    (ours, grad), (theirs, expected) = both(lambda t: t.cumsum(axis), x)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(grad, expected)
    tensor = cs.Tensor(x, requires_grad=True)
    out = tensor.cumsum(axis)
    assert out.data.flags.c_contiguous
    assert out.node is not None
    assert out.node.pullback is not None
    gradient = out.node.pullback(backend.to_device(np.ones(out.shape)))
    assert gradient.flags.c_contiguous
