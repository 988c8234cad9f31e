"""NumPy's functions on tensors: values, types, gradients, shapes 0 and 1, spikes, ties."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support.array_cases import CONSTANT, LINEAR, NUMPY, SMOOTH

CASES = SMOOTH | CONSTANT


def normal(*shapes):
    generator = np.random.default_rng(7)
    return [generator.standard_normal(shape) for shape in shapes]


def numbers(x):
    return x.numpy() if isinstance(x, cs.Tensor) else x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_values_and_types_are_those_of_numpy(name, dtype):
    fn, shapes = CASES[name]
    arrays = [a.astype(dtype) for a in normal(*shapes)]
    out, expected = fn(functions, *map(cs.Tensor, arrays)), fn(NUMPY, *arrays)
    assert isinstance(out, cs.Tensor) != name.startswith("arg")
    assert out.shape == expected.shape
    if "an array" not in name and name != "astype":  # there NumPy widens the result
        assert out.dtype == expected.dtype
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(numbers(out), expected, rtol=tolerance, atol=tolerance)
    if isinstance(out, cs.Tensor):
        assert out.data.flags.c_contiguous


@pytest.mark.parametrize("name", SMOOTH)
def test_gradient(name):
    fn, shapes = SMOOTH[name]
    assert cs.gradcheck(lambda *tensors: fn(functions, *tensors), *normal(*shapes)) < 1e-6


@pytest.mark.parametrize("name", SMOOTH)
def test_a_gradient_has_the_type_of_its_array(name):
    fn, shapes = SMOOTH[name]
    tensors = [cs.Tensor(a.astype(np.float32), requires_grad=True) for a in normal(*shapes)]
    out = fn(functions, *tensors)
    out.backward(np.ones(out.shape, out.dtype))
    assert all(t.grad.dtype == np.float32 and t.grad.shape == t.shape for t in tensors)
    with cs.no_grad():
        again = fn(functions, *tensors)
    assert not again.requires_grad
    assert again.data.tobytes() == out.data.tobytes()


@pytest.mark.parametrize("name", LINEAR)
def test_adjoint(name):
    fn, shapes = SMOOTH[name]
    x, y = normal(*shapes), normal(*shapes, (1000,))[-1]
    tensors = [cs.Tensor(a, requires_grad=True) for a in x]
    out = fn(functions, *tensors)
    weights = y[: out.size].reshape(out.shape)
    out.backward(weights)
    assert (out.numpy() * weights).sum() == pytest.approx(
        sum((a * t.grad).sum() for a, t in zip(x, tensors, strict=True))
    )


@pytest.mark.parametrize("name", CONSTANT)
def test_no_gradient_of_booleans_and_indices(name):
    fn, shapes = CONSTANT[name]
    out = fn(functions, *(cs.Tensor(a, requires_grad=True) for a in normal(*shapes)))
    assert not getattr(out, "requires_grad", False)


ONE_ARRAY = (
    *("negative", "absolute", "exp", "log", "sqrt", "square", "tanh", "sigmoid", "softmax"),
    *("sum", "mean", "any", "all", "cumsum", "ravel", "transpose", "squeeze", "copy", "logical_not"),
)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (1, 1), (0, 3), (3, 0)])
@pytest.mark.parametrize("name", ONE_ARRAY)
def test_shapes_0_and_1(name, shape):
    a = abs(normal(shape)[0])
    if name == "softmax" and shape == ():
        pytest.skip("there is no last axis")
    x = cs.Tensor(a, requires_grad=True)
    out = getattr(functions, name)(x)
    expected = np.zeros(()) if name == "mean" and a.size == 0 else getattr(NUMPY, name)(a)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12)
    if out.requires_grad:
        out.backward(np.ones(out.shape))
        assert x.grad.shape == shape


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "var", "std", "sum", "mean", "cumsum", "any"])
def test_an_axis_beside_an_empty_one(name):
    assert getattr(functions, name)(np.ones((0, 3)), axis=1).shape == getattr(np, name)(np.ones((0, 3)), axis=1).shape


@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ij,jk->", "ij,jk->j"])
def test_sums_of_products_over_nothing(subscripts):
    for shapes in (((2, 0), (0, 3)), ((0, 2), (2, 3)), ((1, 1), (1, 1))):
        x, y = (cs.Tensor(a, requires_grad=True) for a in normal(*shapes))
        out = functions.einsum(subscripts, x, y)
        np.testing.assert_allclose(out.numpy(), np.einsum(subscripts, x.data, y.data))
        out.backward(np.ones(out.shape))
        assert (x.grad.shape, y.grad.shape) == shapes


@pytest.mark.parametrize("name", [n for n in SMOOTH if n not in ("log", "sqrt")])
def test_spikes_count_as_one(name):
    fn, shapes = SMOOTH[name]
    spikes = [a > 0 for a in normal(*shapes)]
    out = fn(functions, *map(cs.Tensor, spikes))
    expected = fn(NUMPY, *(s.astype(np.float32) for s in spikes))
    kept = ("reshape", "ravel", "transpose", "swapaxes", "moveaxis", "squeeze", "expand_dims", "concatenate", "stack")
    assert out.dtype == (
        bool
        if name.split(",")[0] in (*kept, "copy") or name == "where"
        else np.float64
        if name == "astype"
        else np.float32
    )
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-6)


def test_spikes_beside_numbers_are_numbers():
    spikes = cs.Tensor([True, False])
    for dtype in (np.float32, np.float64):
        assert cs.concatenate([spikes, cs.Tensor(np.ones(1, dtype))]).dtype == dtype
        assert cs.where([True, False], spikes, np.ones(2, dtype)).dtype == dtype
    assert cs.where([True, False], spikes, 0).tolist() == [1.0, 0.0]
    assert cs.where([True, False], spikes, 0).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)])
def test_a_number_does_not_widen(dtype, number):
    x = cs.Tensor(np.ones(3, dtype))
    for name in ("add", "power", "maximum", "minimum", "divide"):
        fn = getattr(functions, name)
        assert (
            fn(x, number).dtype == fn(number, x).dtype == fn(x.data, number).dtype == fn(number, x.data).dtype == dtype
        )
    assert cs.where(x > 0, number, x).dtype == cs.where(x > 0, x, number).dtype == dtype
    assert (x**number).dtype == (number**x).dtype == (x * number).dtype == (number / x).dtype == dtype


def gradient(fn, *values):
    tensors = [cs.Tensor(np.array(v, np.float64), requires_grad=True) for v in values]
    fn(*tensors).sum().backward()
    grads = [t.grad.tolist() for t in tensors]
    return grads if len(grads) > 1 else grads[0]


def test_equal_elements_share_the_gradient():
    assert gradient(lambda x: x.max(), [3.0, 1.0, 3.0]) == [0.5, 0.0, 0.5]
    assert gradient(lambda x: x.min(axis=1), [[2.0, 2.0, 5.0], [1.0, 2.0, 3.0]]) == [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]
    assert gradient(cs.maximum, [1.0, 2.0, 4.0], [1.0, 3.0, 0.0]) == [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]
    assert gradient(cs.minimum, [1.0, 2.0, 4.0], [1.0, 3.0, 0.0]) == [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]


def test_gradients_at_edges():
    assert gradient(lambda x: cs.clip(x, 0, 1), [-1.0, 0.0, 0.5, 1.0, 2.0]) == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert gradient(cs.std, [2.0, 2.0]) == [0.0, 0.0]
    assert gradient(lambda x: x**0, [0.0, 2.0]) == [0.0, 0.0]
    assert gradient(lambda x: x**1, [0.0]) == [1.0]
    assert gradient(lambda x: 0.0**x, [2.0]) == [0.0]
    assert gradient(abs, [0.0]) == [0.0]
    # The branch that was not chosen has gradient 0, also where that of the other is infinite.
    with np.errstate(divide="ignore"):
        assert gradient(lambda x: cs.sqrt(cs.where([True, False], x, 1.0)), [4.0, 0.0]) == [0.25, 0.0]
        assert gradient(lambda x, y: cs.sqrt(cs.where([True], x, y)), [0.0], [1.0]) == [[np.inf], [0.0]]
        assert gradient(lambda x, y: cs.sqrt(cs.minimum(x, y)), [0.0], [1.0]) == [[np.inf], [0.0]]


def test_large_numbers_do_not_overflow():
    x = cs.Tensor([-1e4, -200.0, 0.0, 1e4], requires_grad=True)
    assert cs.sigmoid(x).tolist() == [0.0, 0.0, 0.5, 1.0]
    cs.sigmoid(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.25, 0.0]
    assert cs.softmax([1e4, 1e4, -1e4]).tolist() == [0.5, 0.5, 0.0]
    small = cs.sigmoid(cs.Tensor(np.array([-40.0])))
    assert small.item() == pytest.approx(np.exp(-40.0), rel=1e-12)


def test_a_gradient_is_converted_back():
    x = cs.Tensor([1.0], requires_grad=True)
    seen = []
    (
        functions.on_gradient(x * 1, callback=lambda g: seen.append(g.dtype)).astype(np.float64) * np.ones(1)
    ).sum().backward()
    assert seen == [np.float32]
    assert not x.astype(bool).requires_grad
    assert x.astype("float64").dtype == np.float64


def test_methods_are_the_functions():
    x = cs.Tensor(normal((2, 3, 4))[0])
    for name in ("sum", "mean", "max", "min", "var", "std", "any", "all", "argmax", "argmin", "cumsum"):
        assert np.array_equal(numbers(getattr(x, name)(axis=1)), numbers(getattr(functions, name)(x, axis=1)))
        assert np.array_equal(numbers(getattr(x, name)()), numbers(getattr(functions, name)(x)))
    assert x.T.shape == x.transpose().shape == x.transpose(2, 1, 0).shape == x.transpose((2, 1, 0)).shape == (4, 3, 2)
    assert x.ravel().shape == x.flatten().shape == (24,)
    assert x.swapaxes(0, 2).shape == (4, 3, 2)
    assert x.dot(np.ones(4)).shape == (2, 3)
    assert x[:1].squeeze(0).shape == (3, 4)
    assert (x.clip(0, 1).tolist(), x.clip(max=0).tolist()) == (
        x.data.clip(0, 1).tolist(),
        x.data.clip(None, 0).tolist(),
    )
    assert (x.size, x.exp().shape, x.copy().data is not x.data) == (24, (2, 3, 4), True)
    assert not np.shares_memory(x.copy().data, x.data)


def test_every_function_is_listed_and_the_rule_of_the_top_level_holds():
    import builtins

    from cuslayer.array_functions import comparison, elementwise, products, reductions, shapes

    modules = (comparison, elementwise, products, reductions, shapes)
    names = {
        name
        for module in modules
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", "") == module.__name__
        and callable(thing)
        and not name.startswith("_")
        and name not in ("operands", "binary")
    }
    assert names <= set(functions.__all__)
    assert {n for n in names if not hasattr(builtins, n)} <= set(cs.__all__)
    assert not {n for n in names if hasattr(builtins, n)} & set(cs.__all__)
