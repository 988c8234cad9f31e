"""Arrays that change in place between forward and backward: what the tape notices, and what it need not."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._parameter import Bounded
from cuslayer._tape import Tensor, differentiable

CHANGES = {
    "augmented": lambda w: setattr(w, "data", operator.imul(w.data, 2)),
    "step of an optimizer": lambda w: cs.SGD([w], lr=0.1).step(),
    "clamp": lambda w: w.clamp(),
}


def changed_weight():
    w = Bounded([3.0, 5.0], most=4.0)
    w.grad = np.ones(2, np.float32)
    return w


@pytest.mark.parametrize("change", CHANGES)
def test_backward_refuses_an_array_that_changed_since_forward(change):
    x, w = Tensor([2.0, 2.0], requires_grad=True), changed_weight()
    u = x * w
    CHANGES[change](w)
    with pytest.raises(ValueError, match=r"^backward: multiply needs an array that was changed in place since forward"):
        u.sum().backward()
    u = x * w
    x.data *= 2
    with pytest.raises(ValueError, match="multiply needs an array that was changed"):
        u.sum().backward()
    assert x.grad is None


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w.detach(),
        lambda w: w.reshape(2, 1).reshape(2),
        lambda w: w[:],
        lambda w: w.squeeze().T,
        lambda w: cs.functions.on_gradient(w, callback=print),
        lambda w: w.detach()[:2].reshape(1, 2)[0],
    ],
)
def test_views_count_the_changes_of_their_array(view):
    x, w = Tensor([2.0, 2.0], requires_grad=True), changed_weight()
    u = x * view(w)
    w.data *= 2
    with pytest.raises(ValueError, match="changed in place since forward"):
        u.sum().backward()
    x.grad, seen = None, view(w)
    u = x * w
    seen.data += 1
    with pytest.raises(ValueError, match="changed in place since forward"):
        u.sum().backward()


@pytest.mark.parametrize("operation", ["exp", "sqrt", "softmax", "divide"])
def test_a_result_that_backward_needs_is_not_changed(operation):
    x = Tensor([2.0, 3.0], requires_grad=True)
    y = x / x if operation == "divide" else getattr(cs, operation)(x)
    y.data *= 0.5
    with pytest.raises(ValueError, match=f"^backward: {operation} needs an array"):
        y.sum().backward()


def test_what_backward_does_not_need_may_change():
    w = changed_weight()
    for make, gradient in {
        (lambda w: w + 1.0): [1.0, 1.0],
        (lambda w: (w - [2.0, 2.0]).reshape(2, 1).sum()): [1.0, 1.0],
        (lambda w: w * np.array([2.0, 3.0], np.float32)): [2.0, 3.0],
        (lambda w: w.astype("float64").copy() * [4.0, 5.0]): [4.0, 5.0],
    }.items():
        u, w.grad = make(w), None
        w.data -= 1
        u.sum().backward()
        assert w.grad.tolist() == gradient


def test_an_operation_of_ones_own_needs_all_of_its_arrays():
    @differentiable
    def own(a, b, /):
        return a * b, lambda g: (g * b, g * a)

    x, w = Tensor([1.0], requires_grad=True), Tensor([2.0])
    u = own(x, w)
    w.data *= 3
    with pytest.raises(ValueError, match=r"^backward: own needs an array"):
        u.backward()
