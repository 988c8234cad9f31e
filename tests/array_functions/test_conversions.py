"""A Tensor as a number, as text, as a NumPy array, through DLPack; operators, comparisons, iteration."""

import copy
import math
import pickle

import numpy as np
import pytest

import cuslayer as cs
from tests.support.refused import raises, refused, refuses

LOST = (
    r"^{}: the Tensor requires a gradient, which would be lost; use x.detach\(\) or x.numpy\(\)"
    "(; of a list of Tensors, np.stack makes one)?$"
)


def tensor(*shape, requires_grad=False, dtype=np.float64):
    return cs.Tensor(np.arange(math.prod(shape), dtype=dtype).reshape(shape), requires_grad)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_one_element_is_a_number(shape, requires_grad):
    x = cs.Tensor(np.full(shape, 2.75), requires_grad)
    assert (float(x), int(x), bool(x), x.item()) == (2.75, 2, True, 2.75)
    assert (f"{x:.1f}", f"{x:8.3e}", f"{x:6.2f}", round(x), round(x, 1)) == ("2.8", "2.750e+00", "  2.75", 3, 2.8)
    assert math.sqrt(x) == math.sqrt(2.75)
    assert not cs.Tensor(np.zeros(shape))
    assert bool(x > 2)
    assert f"{x}" == str(x) == repr(x)


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 1)])
def test_other_tensors_are_no_number(shape):
    x = tensor(*shape)
    for call, name in ((float, "float"), (int, "int"), (round, "round"), (lambda x: f"{x:.2f}", "format")):
        with pytest.raises(ValueError, match=rf"^{name}: a Tensor must have one element, got shape \({shape[0]},"):
            call(x)
    refused("item: a Tensor must have one element", lambda: x.item())
    raises(r"^bool: a Tensor of shape .* is not one truth value; use .any\(\) or .all\(\)$", lambda: bool(x))
    assert f"{x}" == repr(x)


def test_python_sums_and_compares():
    x = tensor(3, requires_grad=True)
    assert sum([x, x]).tolist() == [0.0, 2.0, 4.0]
    assert max(x.sum(), x.mean()) is not None
    assert sorted([x[2], x[0], x[1]], key=float)[2].item() == 2.0


def test_np_asarray_shares_memory():
    x = tensor(2, 3)
    assert np.asarray(x) is x.data
    assert np.asarray(x, np.float64) is x.data
    assert np.asarray(x, np.float32).dtype == np.float32
    assert np.array(x, np.int64).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not np.shares_memory(np.array(x), x.data)
    assert x.__array__(copy=True) is not x.data
    assert x.__array__(np.float64, copy=False) is x.data
    assert np.asarray([x, x]).shape == (2, 2, 3)
    assert np.asarray(x).dtype == np.array([x[0, 0], x[0, 1]]).dtype == np.float64
    assert np.asarray(cs.Tensor([True, False])).dtype == bool
    refused("np.asarray: copy must not be False, data is float64", lambda: x.__array__(np.float32, copy=False))


def test_np_asarray_does_not_lose_a_gradient():
    x = tensor(2, requires_grad=True)
    for y in (x, x * 2):
        for call in (np.asarray, np.array, lambda y: np.asarray([y, y]), lambda y: np.float32(y[:1])):
            with refuses("np.asarray: the Tensor requires a gradient, which would be lost; use x.detach() or"):
                call(y)
        assert np.asarray(y.detach()).tolist() == y.numpy().tolist()
    with cs.no_grad():
        assert np.asarray(x) is x.data


def test_dlpack():
    x = tensor(2, 3, dtype=np.float32)
    assert x.__dlpack_device__() == (1, 0)
    there = np.from_dlpack(x)
    assert np.shares_memory(there, x.data)
    assert (there == x.data).all()
    refused(
        "dlpack: the Tensor requires a gradient, which would be lost; use x.detach() or x.numpy()",
        lambda: np.from_dlpack(tensor(2, requires_grad=True)),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, bool])
def test_from_dlpack(dtype):
    numbers = np.arange(6).reshape(2, 3).astype(dtype)
    x = cs.from_dlpack(numbers)
    assert (x.dtype, x.shape, x.requires_grad) == (dtype, (2, 3), False)
    assert cs.from_dlpack(x).tolist() == x.tolist() == numbers.tolist()
    assert cs.from_dlpack(numbers.T).data.flags.c_contiguous
    # Without a version of DLPack's that has a flag, NumPy takes every array for read-only.
    assert np.shares_memory(x.data, numbers) == np.from_dlpack(numbers).flags.writeable
    assert x.data.flags.writeable
    assert cs.from_dlpack(np.arange(3)).dtype == np.float32


def test_errors_of_from_dlpack():
    class Elsewhere:
        def __dlpack__(self, **_): ...

        def __dlpack_device__(self):
            return 10, 0

    with refuses("from_dlpack: x must have __dlpack__ and __dlpack_device__"):
        cs.from_dlpack([1.0])
    with refuses("from_dlpack: x must be on a CPU or an NVIDIA GPU"):
        cs.from_dlpack(Elsewhere())


def test_the_address_on_a_gpu():
    x = tensor(2)
    assert not hasattr(x, "__cuda_array_interface__")
    with pytest.raises(AttributeError, match=r"^Tensor: __cuda_array_interface__ exists on a GPU only; .* the CPU$"):
        _ = x.__cuda_array_interface__


def test_comparisons_are_element_by_element():
    x = tensor(3, requires_grad=True)
    assert (x == 1).tolist() == [False, True, False]
    assert (x != 1).tolist() == [True, False, True]
    assert (x < 1).tolist() == (x <= 0).tolist() == [True, False, False]
    assert (x > 1).tolist() == (x >= 2).tolist() == [False, False, True]
    for mask in (x == x, x.data == x, x == x.data, np.float64(1) < x, x >= [0, 1, 2], np.arange(3) < x):
        assert isinstance(mask, cs.Tensor)
        assert (mask.dtype, mask.requires_grad) == (bool, False)
    assert (np.float64(1) < x).tolist() == cs.functions.less(1, x).tolist() == [False, False, True]
    assert cs.functions.less_equal(1, x).tolist() == [False, True, True]
    assert cs.functions.greater(1, x).tolist() == [True, False, False]
    assert cs.functions.greater_equal(1, x).tolist() == [True, True, False]
    assert (x == x.reshape(3, 1)).shape == (3, 3)
    assert (cs.Tensor([0.1]) == 0.1).all()
    # As with arrays of NumPy, what is no number is not equal.
    assert (x == None, x != None, x == "a", x == {}) == (False, True, False, False)  # noqa: E711


def test_tensors_are_keys():
    x, y = tensor(3), tensor(3)
    places = {x: "x", y: "y"}
    assert (places[x], places[y], len({x, y, x}), y in places, hash(x) == hash(x)) == ("x", "y", 2, True, True)
    net = cs.Sequential(cs.Dense(2, 3), cs.SRM(), cs.Dense(3, 2), cs.SRM())
    assert [net[layer] is layer for layer in net.layers] == [True] * 4
    assert len(set(net.parameters())) == 2
    assert [p.grad for p in cs.Adam(net.parameters()).parameters] == [None, None]


def test_contains_compares_elements():
    x = tensor(2, 3)
    assert 4 in x
    assert 7 not in x
    assert "a" not in x
    assert None not in x


def test_iteration_ends():
    x = tensor(3, 2, requires_grad=True)
    rows = list(x)
    assert [row.tolist() for row in rows] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert rows[2].requires_grad
    a, b, c = x
    (a + b * c).sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0], [4.0, 5.0], [2.0, 3.0]]
    assert list(tensor(0, 3)) == []
    assert [y.shape for y in tensor(2)] == [(), ()]
    for call in (iter, len):
        with refuses("len: a Tensor of shape () has no length"):
            call(cs.Tensor(2.0))


def test_masks_are_indices():
    x = tensor(2, 3, requires_grad=True)
    part = x[x > 2]
    assert part.tolist() == [3.0, 4.0, 5.0]
    (part * part).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0, 0.0], [6.0, 8.0, 10.0]]
    rows = x[:, cs.Tensor([True, False, True])]
    assert rows.tolist() == [[0.0, 2.0], [3.0, 5.0]]
    assert x[x.argmax(axis=0), [0, 1, 2]].tolist() == [3.0, 4.0, 5.0]


def test_in_place_operators_bind_a_new_tensor():
    x = first = tensor(3, requires_grad=True)
    x += 1
    x -= [1, 1, 1]
    x *= 2
    x /= 2
    x **= 2
    assert x is not first
    assert (first.tolist(), x.tolist()) == ([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])
    x.sum().backward()
    assert first.grad.tolist() == [0.0, 2.0, 4.0]
    masks = x > 1
    masks &= x < 3
    masks |= x == 0
    masks ^= [True, True, True]
    assert masks.tolist() == [False, True, True]


def test_arrays_on_the_left():
    x, a = tensor(2, 2, requires_grad=True), np.array([[1.0, 2.0], [3.0, 4.0]])
    for out, expected in (
        (a + x, a + x.data),
        (a - x, a - x.data),
        (a * x, a * x.data),
        (x / a, x.data / a),
        (a**x, a**x.data),
        (a @ x, a @ x.data),
        (a.tolist() @ x, a @ x.data),
        (a[0] @ x, a[0] @ x.data),
        (a[0, 0] - x, a[0, 0] - x.data),
        (+x, x.data),
    ):
        assert isinstance(out, cs.Tensor)
        assert out.requires_grad
        np.testing.assert_array_equal(out.numpy(), expected)


def test_copies_and_lists():
    x = tensor(2, 2, requires_grad=True)
    assert x.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert cs.Tensor([True]).tolist() == [True]
    assert cs.Tensor(2.0).tolist() == 2.0
    again = pickle.loads(pickle.dumps(x))
    assert (again.tolist(), again.requires_grad) == (x.tolist(), True)
    assert not np.shares_memory(copy.deepcopy(x).data, x.data)


def test_data_is_an_array():
    x = cs.Tensor(2.0, requires_grad=True)
    found = x * 2, x.exp(), x.sum(), x.mean(), x.max(), x.var(), x.std(), x > 1, abs(x), -x, cs.softmax(tensor(2))[0]
    assert {type(y.data) for y in found} == {np.ndarray}
