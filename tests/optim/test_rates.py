"""Rates relative to the size of a parameter, and warm-up: against plain loops, in groups, and in states."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from tests.optim.test_groups import make as make
from tests.optim.test_groups import move


def parameter(*values):
    return cs.Tensor(np.array(values or (3.0, -4.0)), requires_grad=True)


def test_plain_loops():
    """Of gradient descent and Adam, step by step."""
    size, g = np.sqrt((9 + 16) / 2), np.array([0.5, -2.0])
    a, b = parameter(), parameter()
    sgd, adam = cs.SGD([a], 0.1, relative=True, warmup=3), cs.Adam([b], 0.1, relative=True, warmup=3)
    w, v, m, s = a.data.copy(), b.data.copy(), 0.0, 0.0
    for step in range(1, 6):
        rate = 0.1 * size * min(step / 3, 1.0)
        w -= rate * g
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        v -= rate * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
        for p, optimizer in ((a, sgd), (b, adam)):
            p.grad = g.copy()
            optimizer.step()
        np.testing.assert_allclose(a.data, w, rtol=1e-12)
        np.testing.assert_allclose(b.data, v, rtol=1e-12)


def test_a_relative_rate_is_the_rate_times_the_first_size(make):
    a, b = parameter(), parameter()
    relative, plain = make([a], lr=0.1, relative=True), make([b], lr=0.1 * np.sqrt(12.5))
    for seed in range(6):
        move(relative, seed=seed)
        move(plain, seed=seed)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


def test_warm_up_is_a_schedule_of_steps(make):
    a, b = parameter(), parameter()
    warm, plain = make([a], lr=0.1, warmup=4), make([b], lr=0.1)
    for step in range(1, 8):
        plain.lr = 0.1 * min(step / 4, 1.0)
        move(warm, seed=step)
        move(plain, seed=step)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)
    assert warm.lr == 0.1


def test_options_of_groups(make):
    a, b, c, d = (parameter() for _ in range(4))
    groups = [{"params": [a], "relative": True, "warmup": 0}, {"params": [b]}, {"params": [c], "warmup": 3}]
    optimizer = make([*groups, {"params": [d], "lr": 0.3}], lr=0.1, warmup=2)
    alone = [parameter() for _ in range(4)]
    options = [{"relative": True}, {"warmup": 2}, {"warmup": 3}, {"lr": 0.3, "warmup": 2}]
    others = [make([p], **{"lr": 0.1, **o}) for p, o in zip(alone, options, strict=True)]
    for seed in range(5):
        g = np.random.default_rng(seed).standard_normal(2)
        for p in (a, b, c, d, *alone):
            p.grad = g.copy()
        for each in (optimizer, *others):
            each.step()
    for p, q in zip((a, b, c, d), alone, strict=True):
        assert (p.data == q.data).all()


def test_a_parameter_of_zeros_has_the_rate_itself(make):
    for shape in ((2,), (0,), (1,), ()):
        a, b = (cs.Tensor(np.zeros(shape), requires_grad=True) for _ in range(2))
        one, other = make([a], lr=0.1, relative=True), make([b], lr=0.1)
        move(one, 3)
        move(other, 3)
        assert (a.data == b.data).all()
        assert np.isfinite(a.data).all()


def test_the_size_is_that_before_the_first_step():
    """Not that at the time when the optimizer is made: calibration may come between."""
    a = parameter()
    optimizer = cs.SGD([a], 0.1, relative=True)
    a.data *= 10.0
    a.grad = np.ones(2)
    optimizer.step()
    np.testing.assert_allclose(a.data, np.array([30.0, -40.0]) - 0.1 * 10 * np.sqrt(12.5), rtol=1e-12)


def test_frozen_parameters_warm_up_later(make):
    a, b = parameter(), parameter(1.0)
    optimizer = make([a, b], lr=0.1, relative=True, warmup=4)
    a.requires_grad = False
    move(optimizer, 6)
    a.requires_grad = True
    late, first = a.data.copy(), parameter()
    fresh = make([first], lr=0.1, relative=True, warmup=4)
    a.grad, first.grad = np.ones(2), np.ones(2)
    optimizer.step()
    fresh.step()
    np.testing.assert_allclose(a.data - late, first.data - [3, -4], rtol=1e-9)


@pytest.mark.parametrize("steps", [0, 2, 5])
def test_a_loaded_state_continues_to_the_bit(make, steps):
    a, b = parameter(), parameter(1.0, 2.0, 3.0)
    options = {"lr": 0.1, "relative": True, "warmup": 4}
    whole = make([a, b], **options)
    move(whole, steps)
    state = whole.state()
    assert [name for name in state if name.endswith(".size")] == (["0.size", "1.size"] if steps else [])
    c, d = parameter(*a.data), parameter(*b.data)
    again = make([c, d], **options)
    again.load_state(state)
    assert {name: x.tobytes() for name, x in again.state().items()} == {n: x.tobytes() for n, x in state.items()}
    move(whole, 4, seed=7)
    move(again, 4, seed=7)
    assert (a.data == c.data).all()
    assert (b.data == d.data).all()


def test_errors():
    for options, message in (
        ({"relative": 1}, "relative must be a bool, got int"),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"warmup": 1.5}, "warmup must be an integer, got float"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"^SGD: {message}$"):
            cs.SGD([parameter()], **options)
        with pytest.raises((ValueError, TypeError), match=f"^Adam: group 1's {message}$"):
            cs.Adam([{"params": [parameter()]}, {"params": [parameter()], **options}])


def test_a_state_with_a_wrong_size():
    optimizer = cs.Adam([parameter()], relative=True)
    move(optimizer)
    with pytest.raises(
        ValueError, match=r"^load_state: optimizer's 0\.size has shape \(2,\), the parameter's has shape \(\)$"
    ):
        optimizer.load_state(optimizer.state() | {"0.size": np.ones(2)})
    with pytest.raises(ValueError, match=r"^load_state: optimizer's 1\.size is unknown$"):
        optimizer.load_state(optimizer.state() | {"1.size": np.array(1.0)})
