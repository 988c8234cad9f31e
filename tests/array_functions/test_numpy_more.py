"""Functions of NumPy on tensors that keep a gradient or have none, and the advice where they would lose one."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions

RNG = np.random.default_rng(0)
X = cs.Tensor(np.array([0.5, 1.5, 2.5]), requires_grad=True)


def test_functions_of_numpy():
    np.testing.assert_array_equal(np.isin(X, [1.5]), [False, True, False])
    for y in (
        np.positive(X),
        np.einsum("i->i", X, optimize=True),
        *([np.astype(X, np.float64)] if hasattr(np, "astype") else []),
    ):
        assert y is not X
        assert y.tolist() == X.tolist()
        X.grad = None
        y.sum().backward()
        assert X.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "tanh"])
def test_methods_are_the_functions(name):
    assert getattr(X, name)().tolist() == getattr(functions, name)(X).tolist()
    assert cs.gradcheck(lambda x: getattr(x, name)(), np.abs(RNG.normal(size=(2, 3))) + 0.5) < 1e-6


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
        cs.clip(X, cs.Tensor(np.ones((2, 3)), requires_grad=True))
    for use in (lambda: np.sum([X, X]), lambda: np.array([X])):
        with pytest.raises(TypeError, match=r"x\.numpy\(\); of a list of Tensors, np\.stack makes one$"):
            use()
    for ufunc, text in ((np.add, "array + x"), (np.multiply, "array * x"), (np.divide, "array / x")):
        with pytest.raises(TypeError, match=f"write array = {text.replace('+', '[+]').replace('*', '[*]')}, or use"):
            ufunc(np.ones(3), X, out=np.ones(3))
    with pytest.raises(TypeError, match=r"write array = np\.maximum\(array, x\), or use"):
        np.maximum(np.ones(3), X, out=np.ones(3))
