"""Errors of the functions on arrays: one line each, with the operation, the argument and what came."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions

X = cs.Tensor(np.arange(6.0).reshape(2, 3))
G = cs.Tensor(np.ones((2, 3)), requires_grad=True)

ERRORS = {
    "add: shapes (2, 3) and (4,) do not broadcast": (ValueError, lambda: X + np.ones(4)),
    "maximum: shapes (2, 3) and (4,) do not broadcast": (ValueError, lambda: cs.maximum(X, np.ones(4))),
    "equal: shapes (2, 3) and (2,) do not broadcast": (ValueError, lambda: X == [1, 2]),
    "where: shapes (2, 3), () and (4,) do not broadcast": (ValueError, lambda: cs.where(X, 1.0, np.ones(4))),
    "clip: shapes (2, 3), (2,) and () do not broadcast": (ValueError, lambda: X.clip([1, 2])),
    "clip: bounds of shape (4, 1, 1) and () do not fit x of shape (2, 3)": (
        ValueError,
        lambda: X.clip(np.ones((4, 1, 1))),
    ),
    "clip: bounds must be numbers, arrays or None, got 'a' and 2": (TypeError, lambda: cs.clip(X, "a", 2)),
    "clip: a bound must be given once, got a_min or a_max and min or max": (TypeError, lambda: cs.clip(X, 1, min=2)),
    "astype: dtype must be float32, float64 or bool, got int64": (TypeError, lambda: X.astype(np.int64)),
    "astype: dtype must be float32, float64 or bool, got 'number'": (TypeError, lambda: X.astype("number")),
    "bitwise_and: operands of &, |, ^ and ~ must be boolean, got float64": (TypeError, lambda: X & True),
    "bitwise_xor: operands of &, |, ^ and ~ must be boolean, got float32": (TypeError, lambda: (X > 0) ^ 1),
    "invert: operands of &, |, ^ and ~ must be boolean, got float64": (TypeError, lambda: ~X),
    "sum: axis must name each axis once, got (0, -2)": (ValueError, lambda: X.sum(axis=(0, -2))),
    "var: ddof must be less than the number of elements, 6, got 6": (ValueError, lambda: X.var(ddof=6)),
    "var: ddof must be a number, got str": (TypeError, lambda: X.var(ddof="1")),
    "max: axis 0 of x must have an element, got shape (0, 3)": (ValueError, lambda: np.max(cs.Tensor(np.ones((0, 3))))),
    "argmax: axis 0 of x must have an element, got shape (0,)": (ValueError, lambda: cs.argmax([])),
    "argmax: axis must be an integer, got tuple": (TypeError, lambda: X.argmax(axis=(0, 1))),
    "cumsum: axis -3 is out of range for an array of 2 axes": (IndexError, lambda: X.cumsum(axis=-3)),
    "softmax: axis -1 is out of range for an array of 0 axes": (ValueError, lambda: cs.softmax(1.0)),
    "reshape: shape must fit x of shape (2, 3), got (4, 2)": (ValueError, lambda: X.reshape(4, 2)),
    "reshape: shape must be integers, got (2.5,)": (TypeError, lambda: X.reshape(2.5)),
    "transpose: axes must name all 2 axes of x, got (1,)": (ValueError, lambda: X.transpose(1)),
    "swapaxes: axis 2 is out of range for an array of 2 axes": (ValueError, lambda: X.swapaxes(0, 2)),
    "moveaxis: source and destination must be as many axes, got (0, 1) and 0": (
        ValueError,
        lambda: cs.moveaxis(X, (0, 1), 0),
    ),
    "squeeze: axis 1 must have size 1, got shape (2, 3)": (ValueError, lambda: X.squeeze(-1)),
    "expand_dims: axis must be an integer, got NoneType": (TypeError, lambda: cs.expand_dims(X, None)),
    "expand_dims: axis 4 is out of range for an array of 3 axes": (ValueError, lambda: cs.expand_dims(X, 4)),
    "concatenate: arrays must be at least one, got none": (ValueError, lambda: cs.concatenate([])),
    "concatenate: shapes must agree but for axis 0, got (2, 3) and (2, 4)": (
        ValueError,
        lambda: np.concatenate([X, np.ones((2, 4))]),
    ),
    "concatenate: shapes must agree but for axis 1, got (2, 3) and (3,)": (
        ValueError,
        lambda: cs.concatenate([X, np.ones(3)], axis=-1),
    ),
    "concatenate: axis 0 is out of range for an array of 0 axes": (ValueError, lambda: cs.concatenate([1.0, 2.0])),
    "concatenate: arrays must be a sequence of arrays, got float": (TypeError, lambda: cs.concatenate(1.0)),
    "stack: arrays must be at least one, got none": (ValueError, lambda: cs.stack([])),
    "stack: arrays must have one shape, got (2, 3) and (3,)": (ValueError, lambda: np.stack([X, np.ones(3)])),
    "matmul: a has 3 columns, b has 2 rows": (ValueError, lambda: np.ones(3) @ X),
    "matmul: both must be vectors or matrices, got shapes () and (2, 3)": (ValueError, lambda: 2.0 @ X),
    "tensordot: axis 1 of a has size 3, axis 0 of b has size 2": (ValueError, lambda: cs.tensordot(X, X, 1)),
    "tensordot: axes must be at most 2, got 3": (ValueError, lambda: cs.tensordot(X, X, 3)),
    "tensordot: axes must be at least 0, got -1": (ValueError, lambda: cs.tensordot(X, X, -1)),
    "tensordot: axes must be an integer or a pair, got (1,)": (ValueError, lambda: cs.tensordot(X, X, (1,))),
    "tensordot: axes must name as many axes of a as of b, got (0, (0, 1))": (
        ValueError,
        lambda: cs.tensordot(X, X, (0, (0, 1))),
    ),
    "einsum: subscripts must be a string, got Tensor": (TypeError, lambda: cs.einsum(X, [0, 1])),
    "einsum: 'ij,jk' describes 2 operands, got 1": (ValueError, lambda: cs.einsum("ij,jk", X)),
    "einsum: 'ijk' names 3 axes, the operand has 2": (ValueError, lambda: cs.einsum("ijk", X)),
    "einsum: 'ijk...' names 3 axes, the operand has 2": (ValueError, lambda: cs.einsum("ijk...", X)),
    "einsum: label i must occur once in an operand, got 'ii->i'": (ValueError, lambda: cs.einsum("ii->i", X)),
    "einsum: label k of the result must be one label of an operand, got 'ij->k'": (
        ValueError,
        lambda: cs.einsum("ij->k", X),
    ),
    "einsum: subscripts must be letters, got '1' in 'i1'": (ValueError, lambda: cs.einsum("i1", X)),
    "einsum: label j must have one size, got 3 and 2": (ValueError, lambda: cs.einsum("ij,jk", X, X)),
    "einsum: an axis of '...' must have one size, got 2 and 4": (
        ValueError,
        lambda: cs.einsum("...j,...j", X, np.ones((4, 3))),
    ),
    "take: index 5 is out of range for axis 0 with size 2": (IndexError, lambda: X[5]),
    "take: too many indices for array: array is 2-dimensional, but 3 were indexed": (IndexError, lambda: X[0, 0, 0]),
    "take: index must be made of integers or booleans, got a Tensor of float64": (IndexError, lambda: X[0, X]),
    "Tensor: data must be real numbers or booleans, got <U1": (TypeError, lambda: cs.tanh("a")),
}


@pytest.mark.parametrize("message", ERRORS)
def test_error(message):
    kind, call = ERRORS[message]
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        call()


def test_an_axis_is_refused():
    for name in ("sum", "mean", "var", "std", "max", "min", "any", "all", "softmax"):
        with pytest.raises(ValueError, match=f"^{name}: axis 2 is out of range for an array of 2 axes$"):
            getattr(functions, name)(X, axis=(0, 2))
        with pytest.raises(TypeError, match=f"^{name}: axis must be an integer, got float$"):
            getattr(functions, name)(X, axis=1.0)


@pytest.mark.parametrize("operator", ["x + 'a'", "x < 'a'", "x @ None", "None ** x", "x & 'a'", "x // 2"])
def test_what_is_not_made_of_numbers_is_refused_by_python(operator):
    with pytest.raises(TypeError, match=r"not supported between|unsupported operand type"):
        eval(operator, {"x": X})
