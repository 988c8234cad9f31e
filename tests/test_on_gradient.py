"""Gradients are reported while backward goes on."""

from __future__ import annotations

import numpy as np

from cuslayer._tape import Tensor, differentiable, on_gradient


def test_a_gradient_is_reported_when_it_is_complete():
    """Of a leaf that several operations have; of one on a path without gradient nothing may be reported."""
    x, y, z = (Tensor(np.array([v]), requires_grad=True) for v in (2.0, 3.0, 5.0))
    found = []

    def note(leaf):
        found.append((leaf, leaf.grad.tolist()))

    @differentiable
    def stops(a, /):
        return a * 1, lambda g: None

    with on_gradient(note):
        (x * y + x * x + stops(z * 1) + y).backward()
        (z * 2).backward()
    assert [(leaf is x, leaf is y, grad) for leaf, grad in found] == [
        (True, False, [7.0]),
        (False, True, [3.0]),
        (False, False, [2.0]),
    ]
    (x * y).backward()
    assert len(found) == 3
