"""The tape: gradients of the arithmetic, how long a chain it walks, and what it lets go of."""

from __future__ import annotations

import gc
import threading
import weakref

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import cuslayer as cs
from cuslayer._tape import Tensor, differentiable
from tests.support import reference

RNG = np.random.default_rng(1)


def normal(*shape):
    return RNG.standard_normal(shape)


# tests/array_functions has those that are functions of NumPy.
OPERATIONS = {
    "add": (lambda a, b: a + b, (3, 4), (3, 4)),
    "add, scalar": (lambda a: 2.5 + a + 1, (3,)),
    "subtract from a number": (lambda a: 1.5 - a, (2, 3)),
    "multiply by itself": (lambda a: a * a, (4,)),
    "divide a number": (lambda a: 2.0 / (a.exp() + 1.0), (5,)),
    "sum, axis": (lambda a: a.sum(axis=1) * a.sum(axis=0, keepdims=True).sum(), (2, 3)),
    "reshape": (lambda a: (a.reshape(3, 2) * 2.0).reshape((6,)), (2, 3)),
    "slice": (lambda a: a[1:, ::2] * a[:2, 1:3], (3, 4)),
    "index, one element": (lambda a: a[1, 2], (3, 4)),
    "index twice": (lambda a: a[np.array([0, 2, 2])], (3, 2)),
    "index list and slice": (lambda a: a[[0, 2], 1:], (3, 4)),
    "new axis": (lambda a: a[:, None] * a, (3,)),
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


def test_gradients_share_no_memory():
    x, y = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    (x + y).sum().backward()
    x.grad[...] = 9
    assert y.grad.tolist() == [1.0]


@pytest.mark.all
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


def test_types_of_data():
    assert Tensor([1, 2]).dtype == np.float32
    assert Tensor([0.5]).dtype == np.float32
    assert Tensor(np.float64(2)).dtype == np.float64
    assert Tensor(np.arange(3, dtype=np.uint8)).dtype == np.float32
    assert Tensor([True]).dtype == bool
    assert Tensor(np.ones((2, 3)).T).data.flags.c_contiguous


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


@pytest.mark.parametrize("index", [np.s_[[0, 2], 1:], np.s_[:, [1, 1]], np.s_[np.array([2, 0, 2]), ..., 0], [1, 1, 1]])
def test_the_gradient_of_an_index_counts_each_time_that_an_element_is_named(index):
    x = Tensor(np.zeros((3, 4)), requires_grad=True)
    g = np.arange(1.0, 1 + x[index].data.size).reshape(x[index].shape)
    x[index].backward(g)
    named = np.arange(12).reshape(3, 4)[index]
    assert x.grad.ravel().tolist() == [g[named == element].sum() for element in range(12)]


@differentiable
def flattened_sum(a, b, /):
    """Give both arrays views of one gradient."""
    return a.ravel() + b.ravel(), lambda g: (g.reshape(a.shape), g.reshape(b.shape))


@differentiable
def twice_the_sum(a, b, /):
    """Give both arrays one gradient, which is not the one that came."""

    def pullback(g):
        both = 2 * g
        return both, both

    return 2 * (a + b), pullback


@pytest.mark.parametrize(
    "fn",
    [
        lambda x, y: (x + y).exp() * 1.0,  # the gradient that came is handed on to both
        lambda x, y: ((x + 1.0) + (y + 1.0)).exp() * 1.0,  # likewise, and each by one that hands it on alone
        lambda x, y: x.reshape(6) + y.reshape(6),  # two views of what came
        lambda x, y: flattened_sum(x, y) * 3.0,
        lambda x, y: twice_the_sum(x, y) * 3.0,
        lambda x, y: twice_the_sum(x + 1.0, y) * 3.0,
        lambda x, y: x.sum() + y.sum(),  # one number, broadcast to both
    ],
)
def test_a_gradient_that_is_edited_in_place_edits_no_other(fn):
    x, y = (Tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
    out = fn(x, y)
    given = np.ones(out.shape)
    out.backward(given)
    expected = y.grad.copy()
    x.grad[...] = 99
    assert (y.grad == expected).all()
    assert (given == 1).all()
    y.grad[...] = 77
    assert (x.grad == 99).all()


def test_a_given_error_stays_the_callers():
    """A leaf is its own tape: what is walked back from it is what was given."""
    x, g = Tensor(np.ones(3), requires_grad=True), np.ones(3)
    x.backward(g)
    x.grad[...] = 99
    assert g.tolist() == [1.0, 1.0, 1.0]


def test_a_scalar_of_float64_is_walked_back_in_float64():
    """Filters correlate a gradient in its own type: one that began in float32 would err by 1e-7."""
    srm, x = cs.SRM(tau_sr=3.0), Tensor(normal(40, 1, 2), requires_grad=True)
    srm.psp(x).sum().backward()
    expected = reference.psp_adjoint(np.ones(x.shape), srm.response)
    np.testing.assert_allclose(x.grad, expected, rtol=1e-12, atol=1e-12)
    w = Tensor(normal(40, 2), requires_grad=True)
    (Tensor(x.data.reshape(40, 2)) * w)[3, 1].exp().backward()
    assert w.grad.dtype == np.float64
    slope = x.data[3, 0, 1] * np.exp(x.data[3, 0, 1] * w.data[3, 1])
    assert w.grad[3, 1] == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_leaf_has_a_gradient_of_its_own_type(dtype):
    x = Tensor(np.ones(2, dtype), requires_grad=True)
    other = np.float32 if dtype == np.float64 else np.float64
    (x * np.ones(2, other)).backward(np.ones(2, other))
    assert x.grad.dtype == dtype
    # That of spikes has the type in which it arrives.
    s = Tensor([True, False], requires_grad=True)
    (s * np.ones(2, dtype)).sum().backward()
    assert s.grad.dtype == dtype


def test_a_number_beside_a_tensor_of_float64_is_not_rounded():
    """0.1 in float32 would err by 1.5e-8 of itself."""
    x = Tensor(np.array([3.0]), requires_grad=True)
    y = (x * 0.1 + 0.2 - 0.3) / 0.7
    y.backward()
    assert y.item() == (3.0 * 0.1 + 0.2 - 0.3) / 0.7
    assert x.grad.item() == pytest.approx(0.1 / 0.7, rel=1e-15)


def test_a_new_gradient_is_not_copied():
    """Also where it is at the address of the gradient from which it was computed, which was freed."""
    made = []

    def pullback(g):
        # Nobody else refers to g: its object is free for the next array.
        del g
        made.clear()
        made.append(np.ones(3))
        return made[-1]

    @differentiable
    def double(x, /):
        return 2 * x, pullback

    for _ in range(20):
        x = Tensor(np.ones(3), requires_grad=True)
        double(double(x)).backward(np.ones(3))
        assert x.grad is made[-1]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=4), st.integers(0, 4), st.integers(0, 4))
def test_a_gradient_has_the_shape_before_broadcasting(stretched, a_starts, b_starts):
    """Whatever axes are added or stretched, several at once too."""
    shapes = [tuple(1 if axis[n] else 2 + i for i, axis in enumerate(stretched)) for n in (0, 1)]
    shapes = [shapes[0][a_starts:], shapes[1][b_starts:]]
    a, b = (Tensor(normal(*shape), True) for shape in shapes)
    for operation, slopes in ((lambda a, b: a * b, (b.data, a.data)), (lambda a, b: a - b, (1.0, -1.0))):
        a.grad = b.grad = None
        y = operation(a, b)
        g = normal(*y.shape)
        y.backward(g)
        for x, slope in zip((a, b), slopes, strict=True):
            wide = np.broadcast_to(g * slope, y.shape)
            added = y.ndim - x.ndim
            axes = tuple(i for i, size in enumerate(y.shape) if i < added or x.shape[i - added] != size)
            np.testing.assert_allclose(x.grad, wide.sum(axis=axes).reshape(x.shape), atol=1e-12)


def test_a_gradient_of_many_addends_in_float32_is_summed_in_float64():
    bias = Tensor(np.zeros(2, np.float32), requires_grad=True)
    (np.zeros((300_000, 2), np.float32) + bias).backward(np.full((300_000, 2), 0.1, np.float32))
    np.testing.assert_allclose(bias.grad, 30_000, rtol=1e-6)


def forgets(x, y):
    return x * y


def returns_a_pair(x, y):
    return x, y


def has_one_gradient(x, y):
    return x * y, lambda g: g


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (forgets, r"^forgets must return its result and a pullback, got ndarray; return y, lambda g: "),
        (returns_a_pair, r"^returns_a_pair must return its result and a pullback, got a tuple; "),
        (has_one_gradient, r"^backward: the pullback of has_one_gradient must return 2 gradients, .* got 1$"),
    ],
)
def test_a_forgotten_pullback_or_gradient_is_an_error(operation, message):
    x, y = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    with pytest.raises((TypeError, ValueError), match=message):
        differentiable(operation)(x, y).sum().backward()
