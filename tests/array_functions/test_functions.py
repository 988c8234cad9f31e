"""NumPy's functions on tensors: values, types, gradients, shapes 0 and 1, spikes, ties."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support.array_cases import CONSTANT, NUMPY, SMOOTH
from tests.support.refused import refuses

# These keep the type of spikes.
KEPT = {
    "reshape",
    "ravel",
    "transpose",
    "swapaxes",
    "moveaxis",
    "squeeze",
    "expand_dims",
    "concatenate",
    "stack",
    "copy",
    "sort",
    "flip",
    "pad",
    "repeat",
}
NOT_NUMPYS = ("sigmoid", "softmax", "astype", "logsumexp")


def normal(*shapes):
    generator = np.random.default_rng(7)
    return [generator.standard_normal(shape) for shape in shapes]


def numbers(x):
    return x.numpy() if isinstance(x, cs.Tensor) else x


@pytest.mark.parametrize("name", SMOOTH | CONSTANT)
def test_a_function(name):
    fn, shapes = (SMOOTH | CONSTANT)[name]
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 2e-6)):
        arrays = [a.astype(dtype) for a in normal(*shapes)]
        tensors = [cs.Tensor(a, requires_grad=True) for a in arrays]
        out, expected = fn(functions, *tensors), fn(NUMPY, *arrays)
        assert isinstance(out, cs.Tensor) != name.startswith("arg")
        assert out.shape == expected.shape
        if "an array" not in name and name != "astype":  # there NumPy widens the result
            assert out.dtype == expected.dtype
        with cs.no_grad():
            np.testing.assert_allclose(numbers(out), expected, rtol=tolerance, atol=tolerance)
            again = fn(functions, *tensors)
        assert not getattr(again, "requires_grad", False)
        assert numbers(again).tobytes() == numbers(out).tobytes()
        assert getattr(out, "requires_grad", False) == (name in SMOOTH)
        assert not isinstance(out, cs.Tensor) or out.data.flags.c_contiguous
        if not name.startswith(NOT_NUMPYS):
            by_numpy = fn(NUMPY, *tensors)  # np.exp(tensor) is cs.exp(tensor)
            assert type(by_numpy) is type(out)
            assert numbers(by_numpy).tobytes() == numbers(out).tobytes()
            if len(tensors) > 1 and isinstance(out, cs.Tensor):
                mixed = fn(NUMPY, *arrays[:-1], tensors[-1])
                assert isinstance(mixed, cs.Tensor)
                assert mixed.tolist() == out.tolist()
    if name in SMOOTH:  # of float32
        out.backward(np.ones(out.shape, out.dtype))
        assert all(t.grad.dtype == np.float32 and t.grad.shape == t.shape for t in tensors)
        assert cs.gradcheck(lambda *tensors: fn(functions, *tensors), *normal(*shapes)) < 1e-6


@pytest.mark.parametrize("name", [n for n in SMOOTH if n not in ("log", "sqrt")])
def test_spikes_count_as_one(name):
    fn, shapes = SMOOTH[name]
    spikes = [a > 0 for a in normal(*shapes)]
    out = fn(functions, *map(cs.Tensor, spikes))
    boolean = name.split(",")[0] in KEPT or name == "where"
    assert out.dtype == (bool if boolean else np.float64 if name == "astype" else np.float32)
    np.testing.assert_allclose(out.numpy(), fn(NUMPY, *(s.astype(np.float32) for s in spikes)), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0)])
def test_shapes_0_and_1(shape):
    a = abs(normal(shape)[0])
    names = ["negative", "absolute", "exp", "log", "sqrt", "square", "tanh", "sigmoid", *(["softmax"] if shape else [])]
    for name in (
        *names,
        *("sum", "mean", "prod", "norm", "any", "all", "cumsum", "ravel", "transpose", "squeeze", "copy", "flip"),
        *("logical_not", "sin", *(["sort"] if shape else [])),
    ):
        x = cs.Tensor(a, requires_grad=True)
        out = getattr(functions, name)(x)
        expected = np.zeros(()) if name == "mean" and a.size == 0 else getattr(NUMPY, name)(a)
        assert out.shape == expected.shape
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12)
        if out.requires_grad:
            out.backward(np.ones(out.shape))
            assert x.grad.shape == shape


def test_sums_over_nothing():
    nothing = np.ones((0, 3))
    for name in ("max", "min", "argmax", "argmin", "var", "std", "sum", "mean", "cumsum", "any"):
        assert getattr(functions, name)(nothing, axis=1).shape == getattr(np, name)(nothing, axis=1).shape
    for subscripts in ("ij,jk->ik", "ij,jk->", "ij,jk->j"):
        for shapes in (((2, 0), (0, 3)), ((0, 2), (2, 3)), ((1, 1), (1, 1))):
            x, y = (cs.Tensor(a, requires_grad=True) for a in normal(*shapes))
            out = functions.einsum(subscripts, x, y)
            np.testing.assert_allclose(out.detach().numpy(), np.einsum(subscripts, x.data, y.data))
            out.backward(np.ones(out.shape))
            assert (x.grad.shape, y.grad.shape) == shapes


def test_spikes_beside_numbers_are_numbers():
    spikes = cs.Tensor([True, False])
    for dtype in (np.float32, np.float64):
        assert cs.concatenate([spikes, cs.Tensor(np.ones(1, dtype))]).dtype == dtype
        assert cs.where([True, False], spikes, np.ones(2, dtype)).dtype == dtype
    assert cs.where([True, False], spikes, 0).tolist() == [1.0, 0.0]
    assert cs.where([True, False], spikes, 0).dtype == np.float32


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)])
def test_a_number_does_not_widen(number):
    for dtype in (np.float32, np.float64):
        x = cs.Tensor(np.ones(3, dtype))
        for name in ("add", "power", "maximum", "minimum", "divide"):
            fn = getattr(functions, name)
            for out in (fn(x, number), fn(number, x), fn(x.data, number), fn(number, x.data)):
                assert out.dtype == dtype
        found = x**number, number**x, x * number, number / x, cs.where(x > 0, number, x), cs.where(x > 0, x, number)
        assert {out.dtype for out in found} == {np.dtype(dtype)}


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
    for name in ("sum", "mean", "prod", "max", "min", "var", "std", "any", "all", "argmax", "argmin", "cumsum"):
        assert np.array_equal(numbers(getattr(x, name)(axis=1)), numbers(getattr(functions, name)(x, axis=1)))
        assert np.array_equal(numbers(getattr(x, name)(-1)), numbers(getattr(functions, name)(x, -1)))
    for name in ("exp", "tanh", "abs", "copy", "ravel", "squeeze", "transpose"):
        assert np.array_equal(getattr(x, name)(), getattr(functions, name)(x))
    assert x.T.shape == x.transpose(2, 1, 0).shape == x.transpose((2, 1, 0)).shape == (4, 3, 2)
    assert x.reshape(4, -1).shape == x.reshape((4, 6)).shape == x.reshape([4, 6]).shape == (4, 6)
    assert x.flatten().shape == (24,)
    assert x.swapaxes(0, 2).shape == (4, 3, 2)
    assert x.dot(np.ones(4)).shape == (2, 3)
    assert np.array_equal(x.clip(0, 1), x.data.clip(0, 1))
    assert np.array_equal(x.clip(max=0), x.data.clip(None, 0))
    assert x.size == 24
    assert not np.shares_memory(x.copy().data, x.data)
    assert not np.shares_memory(x.flatten().data, x.data)


def test_arguments_are_those_of_numpy():
    x = cs.Tensor(normal((2, 3))[0])
    assert np.array_equal(np.sum(a=x, axis=0, keepdims=True), x.sum(0, True))
    assert cs.functions.tensordot(b=x, a=x, axes=2).item() == pytest.approx((x * x).sum().item())
    for wrong in (lambda: functions.sum(x, 0, True), lambda: cs.exp(), lambda: x.max(keepdims=True, axes=1)):
        with pytest.raises(TypeError, match="argument"):
            wrong()


def test_products_with_zeros_have_the_gradient_of_the_others():
    x = cs.Tensor([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0]], requires_grad=True)
    functions.prod(x, axis=1).sum().backward()
    assert x.grad.tolist() == [[0.0, 6.0, 0.0], [0.0, 0.0, 0.0]]


def test_elements_are_written_where_no_graph_needs_them():
    x, w = cs.Tensor(np.zeros((2, 3))), cs.Tensor([1.0, 2.0], requires_grad=True)
    x[0, 1:] = [4.0, 5.0]
    x[x > 4] = cs.Tensor(7.0)
    assert x.tolist() == [[0.0, 4.0, 7.0], [0.0, 0.0, 0.0]]
    y = w * w
    with cs.no_grad():
        w[0] = 3.0
    with refuses("backward: multiply needs an array that was changed in place since forward, as"):
        y.sum().backward()
    for write in (lambda: w.__setitem__(0, 1.0), lambda: y.__setitem__(0, 1.0), lambda: x.__setitem__(0, y[0])):
        with refuses("item assignment: a gradient would be lost; write within cs.no_grad(), or make another"):
            write()
    for index, value in ((5, 1.0), (0, [1.0, 2.0])):
        with pytest.raises((IndexError, ValueError), match=r"^item assignment: "):
            x[index] = value


def test_wrong_arguments_of_shapes_are_one_line():
    x = np.ones((2, 3))
    for call, said in (
        (lambda: functions.pad(x, 1, "edge"), "pad: mode must be 'constant'"),
        (lambda: functions.pad(x, ((1, 1),) * 3), "pad: pad_width must be (before, after) for each of 2 axes"),
        (lambda: functions.pad(x, (0, -1)), "pad: pad_width must not be negative"),
        (lambda: functions.pad(x, 0.5), "pad: pad_width must be integers"),
        (lambda: functions.repeat(x, [1, 2], axis=1), "repeat: repeats must be from 0, one or 3 of them"),
        (lambda: functions.repeat(x, 1.5), "repeat: repeats must be integers"),
        (lambda: functions.norm(x, 1), "norm: ord must be None, or 2 over one axis"),
        (lambda: functions.logsumexp(x[:, :0], axis=1), "logsumexp: axis 1 of x must have an element"),
    ):
        with pytest.raises((TypeError, ValueError)) as problem:
            call()
        assert str(problem.value).startswith(said)


def test_the_top_level_has_the_functions_that_networks_need():
    top = "sum max min any all sin prod sort pad flip repeat logsumexp norm exp mean where concatenate einsum softmax"
    assert all(getattr(cs, name) is getattr(functions, name) for name in top.split())
    # A star import hides no name of Python or NumPy.
    assert not [name for name in cs.__all__ if name in functions.__all__]
