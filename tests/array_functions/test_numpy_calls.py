"""NumPy's functions called with tensors: ours, NumPy's result, or an error with the name."""

import inspect
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support.refused import raises, refused, refuses

X = cs.Tensor(np.arange(1.0, 7.0).reshape(2, 3))
G = cs.Tensor(X.data, requires_grad=True)


@pytest.mark.parametrize(
    "call",
    [
        *(np.floor, np.median),
        lambda x: np.linalg.norm(x, axis=1),
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
        *(np.isnan, np.isfinite, np.count_nonzero, np.nonzero, np.where, np.shape, np.ndim, np.size, np.zeros_like),
        lambda x: np.allclose(x, 1.0),
        lambda x: np.isclose(x, x),
        lambda x: np.array_equal(x, x),
        lambda x: np.argsort(x, axis=1),
        lambda x: np.result_type(x, np.float32),
    ],
)
def test_results_that_never_have_a_gradient(call):
    for x in (X, G):
        out = call(x)
        assert type(out) is type(call(X.data))
        assert np.array_equal(out, call(X.data))


ERRORS = {
    "np.floor: no gradient for Tensors; use a function of cuslayer.functions, or x.detach() for the numbers alone": (
        lambda: np.floor(G)
    ),
    "np.median: no gradient for Tensors; use a function of cuslayer.functions, or x.detach() for the numbers alone": (
        lambda: np.median(X * G)
    ),
    "np.vstack: no gradient for Tensors; use np.concatenate, or x.detach() for the numbers alone": (
        lambda: np.vstack([X, (G,)[0]])
    ),
    "np.add.reduce: not supported for Tensors; use np.sum": lambda: np.add.reduce(X),
    "np.maximum.reduce: not supported for Tensors; use np.max": lambda: np.maximum.reduce(G),
    "np.multiply.outer: not supported for Tensors; use x.numpy()": lambda: np.multiply.outer(X, X),
    "np.add.at: not supported for Tensors; use x.numpy()": lambda: np.add.at(X, [0], 1),
    "np.exp: where= is not supported for Tensors": lambda: np.exp(X, where=X.data > 0),
    "np.multiply: dtype= is not supported for Tensors": lambda: np.multiply(X, 2, dtype=np.float32),
    "np.sum: out= is not supported for Tensors": lambda: np.sum(X, out=np.empty(())),
    "np.mean: where= is not supported for Tensors": lambda: np.mean(G, where=np.ones((2, 3), bool)),
    "np.sum: too many positional arguments; for Tensors its arguments are a, axis, keepdims": (
        lambda: np.sum(X, 0, None, None, True)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_error(message):
    raises(f"^{re.escape(message)}$", lambda: ERRORS[message](), TypeError)


def test_an_array_is_not_written_by_a_tensor():
    total = np.zeros((2, 3))
    with pytest.raises(TypeError, match=r"^np.add: out= is not supported for Tensors; write array = np.add"):
        total += X
    assert not total.any()


def test_options_operands_and_signatures():
    assert np.sum(X, axis=None, dtype=None, out=None).item() == 21.0
    for dot in (np.dot, cs.functions.dot):
        assert dot(a=V, b=2).tolist() == dot(V, b=2).tolist() == [1.0, 3.0, 5.0]
    assert cs.functions.add(x2=1, x1=V).tolist() == [1.5, 2.5, 3.5]
    raises(r"^dot: missing a required argument: 'b'$", lambda: V.dot(), TypeError)
    for each in (cs.functions.add, cs.exp, cs.stack):
        assert inspect.signature(each).return_annotation == "Tensor"


def test_a_ufunc_of_the_users_has_its_own_name():
    ufunc = np.frompyfunc(lambda x: x, 1, 1)
    raises(r"no gradient for Tensors; use a function of cuslayer.functions", lambda: ufunc(G), TypeError)


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
    with refuses("clip: bounds of shape (2, 3) and () do not fit x of shape (3,)"):
        cs.clip(V, cs.Tensor(np.ones((2, 3)), requires_grad=True))
    for use in (lambda: np.sum([V, V]), lambda: np.array([V])):
        with refuses("np.asarray: the Tensor requires a gradient, which would be lost; use x.detach() or"):
            use()
    with pytest.raises(TypeError, match=r"write array = np\.maximum\(array, x\), or use"):
        np.maximum(np.ones(3), V, out=np.ones(3))


# Errors of the functions: one line each, with the operation, the argument and what came


A = cs.Tensor(np.arange(6.0).reshape(2, 3))

VALUES = {
    "add: shapes (2, 3) and (4,) do not broadcast": lambda: A + np.ones(4),
    "equal: shapes (2, 3) and (2,) do not broadcast": lambda: A == [1, 2],
    "where: shapes (2, 3), () and (4,) do not broadcast": lambda: cs.where(A, 1.0, np.ones(4)),
    "clip: shapes (2, 3), (2,) and () do not broadcast": lambda: A.clip([1, 2]),
    "clip: bounds of shape (4, 1, 1) and () do not fit x of shape (2, 3)": lambda: A.clip(np.ones((4, 1, 1))),
    "sum: axis must name each axis once": lambda: A.sum(axis=(0, -2)),
    "var: ddof must be less than the number of elements, 6": lambda: A.var(ddof=6),
    "max: axis 0 of x must have an element": lambda: np.max(cs.Tensor(np.ones((0, 3)))),
    "softmax: axis -1 is out of range for an array of 0 axes": lambda: cs.softmax(1.0),
    "reshape: shape must fit x of shape (2, 3)": lambda: A.reshape(4, 2),
    "transpose: axes must name all 2 axes of x": lambda: A.transpose(1),
    "swapaxes: axis 2 is out of range for an array of 2 axes": lambda: A.swapaxes(0, 2),
    "moveaxis: source and destination must be as many axes": lambda: functions.moveaxis(A, (0, 1), 0),
    "squeeze: axis 1 must have size 1": lambda: A.squeeze(-1),
    "expand_dims: axis 4 is out of range for an array of 3 axes": lambda: cs.expand_dims(A, 4),
    "concatenate: arrays must be at least one": lambda: cs.concatenate([]),
    "concatenate: shapes must agree but for axis 0": lambda: np.concatenate([A, np.eye(2, 4)]),
    "concatenate: shapes must agree but for axis 1": lambda: cs.concatenate([A, np.ones(3)], -1),
    "concatenate: axis 0 is out of range for an array of 0 axes": lambda: cs.concatenate([1.0, 2.0]),
    "stack: arrays must be at least one": lambda: cs.stack([]),
    "stack: arrays must have one shape": lambda: np.stack([A, np.ones(3)]),
    "matmul: a has 3 columns, b has 2 rows": lambda: np.ones(3) @ A,
    "matmul: both must be vectors or matrices": lambda: 2.0 @ A,
    "tensordot: axis 1 of a has size 3, axis 0 of b has size 2": lambda: cs.functions.tensordot(A, A, 1),
    "tensordot: axes must be at most 2": lambda: cs.functions.tensordot(A, A, 3),
    "tensordot: axes must be at least 0": lambda: cs.functions.tensordot(A, A, -1),
    "tensordot: axes must be an integer or a pair": lambda: cs.functions.tensordot(A, A, (1,)),
    "tensordot: axes must name as many axes of a as of b": lambda: cs.functions.tensordot(A, A, (0, (0, 1))),
    "einsum: 'ij,jk' describes 2 operands": lambda: cs.einsum("ij,jk", A),
    "einsum: 'ijk' names 3 axes, the operand has 2": lambda: cs.einsum("ijk", A),
    "einsum: label i must occur once in an operand": lambda: cs.einsum("ii->i", A),
    "einsum: label k of the result must be one label of an operand": lambda: cs.einsum("ij->k", A),
    "einsum: subscripts must be letters": lambda: cs.einsum("i1", A),
    "einsum: label j must have one size": lambda: cs.einsum("ij,jk", A, A),
    "einsum: an axis of '...' must have one size": lambda: cs.einsum("...j,...j", A, np.ones((4, 3))),
}
TYPES = {
    "clip: bounds must be numbers, arrays or None": lambda: cs.clip(A, "a", 2),
    "clip: a bound must be given once": lambda: cs.clip(A, 1, min=2),
    "astype: dtype must be float32, float64 or bool": lambda: A.astype(np.int64),
    "bitwise_and: operands of &, |, ^ and ~ must be boolean": lambda: A & True,
    "invert: operands of &, |, ^ and ~ must be boolean": lambda: ~A,
    "var: ddof must be a number": lambda: A.var(ddof="1"),
    "argmax: axis must be an integer": lambda: A.argmax(axis=(0, 1)),
    "reshape: shape must be integers": lambda: A.reshape(2.5),
    "expand_dims: axis must be an integer": lambda: cs.expand_dims(A, None),
    "einsum: subscripts must be a string": lambda: cs.einsum(A, [0, 1]),
    "Tensor: data must be real numbers or booleans": lambda: cs.tanh("a"),
}
INDICES = {
    "cumsum: axis -3 is out of range for an array of 2 axes": lambda: A.cumsum(axis=-3),
    "take: index 5 is out of range for axis 0 with size 2": lambda: A[5],
    "take: too many indices for array: array is 2-dimensional, but 3 were indexed": lambda: A[0, 0, 0],
    "take: index must be made of integers or booleans": lambda: A[0, A],
}


def test_error_of_a_function():
    for message, call in (VALUES | TYPES | INDICES).items():
        refused(message, call)


def test_arrays_are_a_sequence():
    with pytest.raises(TypeError, match=r"^concatenate: arrays must be a sequence of arrays, got float$"):
        cs.concatenate(1.0)


def test_an_axis_is_refused():
    for name in ("sum", "mean", "var", "std", "max", "min", "any", "all", "softmax"):
        with pytest.raises(ValueError, match=f"^{name}: axis 2 is out of range for an array of 2 axes$"):
            getattr(functions, name)(A, axis=(0, 2))
        with pytest.raises(TypeError, match=f"^{name}: axis must be an integer, got float$"):
            getattr(functions, name)(A, axis=1.0)


@pytest.mark.parametrize("operator", ["x + 'a'", "x < 'a'", "x @ None", "None ** x", "x & 'a'", "x // 2"])
def test_what_is_not_made_of_numbers_is_refused_by_python(operator):
    raises(r"not supported between|unsupported operand type", lambda: eval(operator, {"x": A}), TypeError)
