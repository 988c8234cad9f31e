"""NumPy's functions called with tensors: ours, NumPy's result, or an error with the name."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

import cuslayer as cs

X = cs.Tensor(np.arange(1.0, 7.0).reshape(2, 3))
G = cs.Tensor(X.data, requires_grad=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.floor(x),
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: np.median(x),
        lambda x: np.hypot(x, 2.0),
        lambda x: np.vstack([x, x.data if isinstance(x, cs.Tensor) else x]),
        lambda x: np.add(x, x) + np.percentile(x, q=50),
        lambda x: np.histogram(x, bins=3)[0],
    ],
)
def test_without_a_gradient_numpy_gives_its_result(call):
    out = call(X)
    np.testing.assert_array_equal(out, call(X.data))
    with cs.no_grad():
        np.testing.assert_array_equal(call(G), call(X.data))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.isnan(x),
        lambda x: np.isfinite(x),
        lambda x: np.allclose(x, 1.0),
        lambda x: np.isclose(x, x),
        lambda x: np.array_equal(x, x),
        lambda x: np.argsort(x, axis=1),
        lambda x: np.count_nonzero(x),
        lambda x: np.nonzero(x),
        lambda x: np.where(x),
        lambda x: np.shape(x),
        lambda x: np.ndim(x),
        lambda x: np.size(x),
        lambda x: np.zeros_like(x),
        lambda x: np.result_type(x, np.float32),
    ],
)
def test_results_that_never_have_a_gradient(call):
    for x in (X, G):
        out = call(x)
        assert type(out) is type(call(X.data))
        assert np.array_equal(out, call(X.data))


ERRORS = {
    "np.linalg.norm: no gradient for Tensors; use (x * x).sum() ** 0.5, or x.detach() for the numbers alone": (
        lambda: np.linalg.norm(G)
    ),
    "np.floor: no gradient for Tensors; use a function of cuslayer.functions, or x.detach() for the numbers alone": (
        lambda: np.floor(G)
    ),
    "np.median: no gradient for Tensors; use a function of cuslayer.functions, or x.detach() for the numbers alone": (
        lambda: np.median(X * G)
    ),
    "np.vstack: no gradient for Tensors; use np.concatenate, or x.detach() for the numbers alone": (
        lambda: np.vstack([X, (G,)[0]])
    ),
    "np.fft.fft: no gradient for Tensors; use a function of cuslayer.functions, or x.detach() for the numbers alone": (
        lambda: np.fft.fft(G)
    ),
    "np.add.reduce: not supported for Tensors; use np.sum": lambda: np.add.reduce(X),
    "np.maximum.reduce: not supported for Tensors; use np.max": lambda: np.maximum.reduce(G),
    "np.multiply.outer: not supported for Tensors; use x.numpy()": lambda: np.multiply.outer(X, X),
    "np.add.at: not supported for Tensors; use x.numpy()": lambda: np.add.at(X, [0], 1),
    "np.add: out= is not supported for Tensors; write array = np.add(array, x), or use x.numpy()": (
        lambda: np.add(X, 1, out=np.empty((2, 3)))
    ),
    "np.exp: where= is not supported for Tensors": lambda: np.exp(X, where=X.data > 0),
    "np.multiply: dtype= is not supported for Tensors": lambda: np.multiply(X, 2, dtype=np.float32),
    "np.sum: out= is not supported for Tensors": lambda: np.sum(X, out=np.empty(())),
    "np.mean: where= is not supported for Tensors": lambda: np.mean(G, where=np.ones((2, 3), bool)),
    "np.sum: dtype= is not supported for Tensors": lambda: np.sum(G, axis=0, dtype=np.float64),
    "np.sum: too many positional arguments; for Tensors its arguments are a, axis, keepdims": (
        lambda: np.sum(X, 0, None, None, True)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_error(message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        ERRORS[message]()


def test_an_array_is_not_written_by_a_tensor():
    total = np.zeros((2, 3))
    with pytest.raises(TypeError, match=r"^np.add: out= is not supported for Tensors; write array = np.add"):
        total += X
    assert not total.any()


def test_options_that_are_none_are_none():
    assert np.sum(X, axis=None, dtype=None, out=None).item() == 21.0


def test_operands_by_name():
    for dot in (np.dot, cs.dot):
        assert dot(a=V, b=2).tolist() == dot(V, b=2).tolist() == [1.0, 3.0, 5.0]
    assert cs.add(x2=1, x1=V).tolist() == [1.5, 2.5, 3.5]
    with pytest.raises(TypeError, match=r"^dot: missing a required argument: 'b'$"):
        V.dot()


def test_the_signature_says_what_is_returned():
    for each in (cs.add, cs.exp, cs.stack):
        assert inspect.signature(each).return_annotation == "Tensor"


def test_a_ufunc_of_the_users_has_its_own_name():
    ufunc = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(TypeError, match=r"no gradient for Tensors; use a function of cuslayer.functions"):
        ufunc(G)


V = cs.Tensor(np.array([0.5, 1.5, 2.5]), requires_grad=True)
RNG = np.random.default_rng(0)


def test_functions_of_numpy():
    np.testing.assert_array_equal(np.isin(V, [1.5]), [False, True, False])
    for y in (
        np.positive(V),
        np.einsum("i->i", V, optimize=True),
        *([np.astype(V, np.float64)] if hasattr(np, "astype") else []),
    ):
        assert y is not V
        assert y.tolist() == V.tolist()
        V.grad = None
        y.sum().backward()
        assert V.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", [((4, 3), (3,), (4, 1)), ((), (), ()), ((0, 3), (3,), ()), ((1, 5), (5,), (1, 1))])
def test_clip_with_trained_bounds(shapes, dtype):
    x, low, high = (RNG.normal(size=shape).astype(dtype) for shape in shapes)  # low above high too
    bounds = [cs.Tensor(bound, requires_grad=True) for bound in (low, high)]
    np.testing.assert_array_equal(cs.clip(x, *bounds).data, np.clip(x, low, high))
    np.testing.assert_array_equal(cs.clip(x, bounds[0], 0.5).data, np.clip(x, low, np.asarray(0.5, dtype)))
    with cs.no_grad():
        np.testing.assert_array_equal(cs.clip(x, *bounds).data, np.clip(x, low, high))
    if dtype == "float64" and x.size:
        assert cs.gradcheck(cs.clip, x, low, high) < 1e-6
        assert cs.gradcheck(lambda x, low: cs.clip(x, low), x, low) < 1e-6
        assert cs.gradcheck(lambda x, high: x.clip(max=high), x, high) < 1e-6


def test_advice():
    with pytest.raises(ValueError, match=r"^clip: bounds of shape \(2, 3\) and \(\) do not fit x of shape \(3,\)$"):
        cs.clip(V, cs.Tensor(np.ones((2, 3)), requires_grad=True))
    for use in (lambda: np.sum([V, V]), lambda: np.array([V])):
        with pytest.raises(TypeError, match=r"x\.numpy\(\); of a list of Tensors, np\.stack makes one$"):
            use()
    with pytest.raises(TypeError, match=r"write array = np\.maximum\(array, x\), or use"):
        np.maximum(np.ones(3), V, out=np.ones(3))
