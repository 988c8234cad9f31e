"""The tape: gradients of the arithmetic, how long a chain it walks, and what it lets go of."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import tape
from cuslayer.tape import Tensor, differentiable

RNG = np.random.default_rng(1)


def normal(*shape):
    return RNG.standard_normal(shape)


OPERATIONS = {
    "add": (lambda a, b: a + b, (3, 4), (3, 4)),
    "add, broadcast": (lambda a, b: a + b, (3, 1, 4), (2, 1)),
    "add, scalar": (lambda a: 2.5 + a + 1, (3,)),
    "subtract": (lambda a, b: a - b, (2, 3), (3,)),
    "subtract from a number": (lambda a: 1.5 - a, (2, 3)),
    "multiply": (lambda a, b: a * b, (2, 3), (2, 1)),
    "multiply by itself": (lambda a: a * a, (4,)),
    "divide": (lambda a, b: a / (b.exp() + 1.0), (2, 3), (3,)),
    "divide a number": (lambda a: 2.0 / (a.exp() + 1.0), (5,)),
    "negate": (lambda a: -a, (3,)),
    "exp": (lambda a: a.exp(), (2, 2)),
    "abs": (lambda a: abs(a) + a.abs(), (3, 3)),
    "sum": (lambda a: a.sum(), (2, 3)),
    "sum, axis": (lambda a: a.sum(axis=1) * a.sum(axis=0, keepdims=True).sum(), (2, 3)),
    "sum, axes": (lambda a: a.sum(axis=(0, -1)), (2, 3, 4)),
    "mean": (lambda a: a.mean() + a.mean(axis=0), (2, 3)),
    "reshape": (lambda a: (a.reshape(3, 2) * 2.0).reshape((6,)), (2, 3)),
    "slice": (lambda a: a[1:, ::2] * a[:2, 1:3], (3, 4)),
    "index, one element": (lambda a: a[1, 2], (3, 4)),
    "index twice": (lambda a: a[np.array([0, 2, 2])], (3, 2)),
    "index by mask": (lambda a: a[np.array([True, False, True])], (3, 2)),
    "new axis": (lambda a: a[:, None] * a, (3,)),
    "matmul": (lambda a, b: a @ b, (3, 4), (4, 2)),
    "matmul, batch": (lambda a, b: a @ b, (5, 3, 4), (4, 2)),
    "nothing": (lambda a: a * 2.0, (0, 3)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradient(name):
    fn, *shapes = OPERATIONS[name]
    assert cs.gradcheck(fn, *(normal(*shape) for shape in shapes)) < 1e-6


def test_gradient_of_a_shared_part_is_the_sum():
    x = Tensor([2.0], requires_grad=True)
    y = x * 3
    (y * y + y).sum().backward()
    assert x.grad.tolist() == [2 * 9 * 2.0 + 3]


def test_gradients_of_two_walks_add_up():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]


def test_gradients_share_no_memory():
    x, y = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    (x + y).sum().backward()
    x.grad[...] = 9
    assert y.grad.tolist() == [1.0]


def test_chain_of_20000_operations():
    x = Tensor(np.ones(3), requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("walked", [False, True])
def test_dropping_the_result_frees_everything_without_the_collector(walked):
    gc.disable()
    try:
        x = Tensor(np.ones(1000), requires_grad=True)
        y = x
        kept = []
        for _ in range(20_000 if not walked else 100):
            y = y * 1.0
            kept.append(weakref.ref(y))
        if walked:
            y.sum().backward()
        del y
        assert not any(ref() is not None for ref in kept)
        arrays = [weakref.ref(x.data)]
        del x
        assert arrays[0]() is None
    finally:
        gc.enable()


def test_backward_frees_what_forward_kept():
    held = []

    @differentiable
    def keep(x, /):
        kept = x.copy()
        held.append(weakref.ref(kept))
        return x * 1, lambda g: g * kept

    x = Tensor([1.0], requires_grad=True)
    y = keep(x)
    assert held[0]() is not None
    y.backward()
    assert held[0]() is None


def test_graph_is_walked_once():
    y = Tensor([1.0], requires_grad=True) * 2
    y.backward()
    with pytest.raises(ValueError, match="backward: this graph has been walked before"):
        y.backward()


def test_a_gradient_that_nobody_wants_is_not_made():
    made = []

    @differentiable
    def pair(a, b, /):
        return a + b, lambda g: (lambda: made.append("a") or g, lambda: made.append("b") or g)

    pair(Tensor([1.0], requires_grad=True), Tensor([1.0])).backward()
    assert made == ["a"]


def test_no_grad_keeps_nothing_and_is_of_its_thread():
    x = Tensor([1.0], requires_grad=True)
    seen = []
    with cs.no_grad():
        assert not (x * 2).requires_grad
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]
    assert (x * 2).requires_grad
    assert not (x.detach() * 2).requires_grad


def test_no_grad_ends_with_an_error():
    with pytest.raises(KeyError), cs.no_grad():
        raise KeyError
    assert tape.grad_enabled()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_do_not_widen(dtype):
    x = Tensor(np.ones(2, dtype), requires_grad=True)
    y = ((2 * x + 1) / 3 - np.float64(0.5)).mean()
    y.backward()
    assert y.dtype == dtype
    assert x.grad.dtype == dtype


def test_types_of_data():
    assert Tensor([1, 2]).dtype == np.float32
    assert Tensor([0.5]).dtype == np.float32
    assert Tensor(np.float64(2)).dtype == np.float64
    assert Tensor(np.arange(3, dtype=np.uint8)).dtype == np.float32
    assert Tensor([True]).dtype == bool
    assert Tensor(np.ones((2, 3)).T).data.flags.c_contiguous


def test_spikes_count_as_one_in_arithmetic():
    s = Tensor([True, False, True])
    assert (s + s).data.tolist() == [2.0, 0.0, 2.0]
    assert (s - s).data.tolist() == [0.0, 0.0, 0.0]
    assert s.sum().item() == 2.0
    assert s.mean().item() == pytest.approx(2 / 3)
    assert (s * np.float64([2, 2, 2])).dtype == np.float64


def test_numpy_array_on_the_left():
    y = np.ones((2, 1)) * Tensor(np.ones((1, 3)))
    assert isinstance(y, Tensor)
    assert y.shape == (2, 3)


def test_reading_a_tensor():
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    assert (x.shape, x.ndim, len(x)) == ((1, 2), 2, 1)
    assert x.numpy() is x.data
    assert repr(x) == "Tensor([[1. 2.]], requires_grad=True)"


def test_gradient_of_a_given_error():
    x = Tensor([1.0, 2.0], requires_grad=True)
    (x * 2).backward([1.0, 10.0])
    assert x.grad.tolist() == [2.0, 20.0]


def test_errors():
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    with pytest.raises(ValueError, match=r"backward: grad is needed for a tensor of shape \(1, 2\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"backward: a gradient has shape \(1,\), its tensor has shape \(1, 2\)"):
        (x * 2).backward([1.0])
    lying = differentiable(lambda x, /: (x * 1, lambda g: g[:, :1]))
    with pytest.raises(ValueError, match=r"backward: a gradient has shape \(1, 1\), its tensor has shape \(1, 2\)"):
        lying(x * 1).sum().backward()
    with pytest.raises(ValueError, match="backward: no gradient is wanted"):
        (x.detach() * 2).sum().backward()
    with pytest.raises(TypeError, match="Tensor: data is a Tensor already"):
        Tensor(x)
    with pytest.raises(TypeError, match="Tensor: data must be real numbers or booleans, got complex128"):
        Tensor(np.ones(2, complex))
    with pytest.raises(ValueError, match="matmul: a has 2 columns, b has 1 rows"):
        x @ x
    with pytest.raises(ValueError, match=r"matmul: both must be matrices, got shapes \(1, 2\) and \(2,\)"):
        x @ np.ones(2)
