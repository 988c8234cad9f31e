"""Saved networks with branches: nested, shared and joined as before."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs

SRM = cs.SRM(theta=1.0)


@pytest.mark.parametrize("join", ["add", "concatenate"])
def test_branches(tmp_path, join):
    cs.seed(0)
    shared = cs.Dense(4, 4)
    inner = cs.Parallel(shared, cs.Sequential(cs.Dense(4, 4), SRM, cs.Dropout(0.5)))
    branches = cs.Parallel(cs.Sequential(shared, SRM), cs.Sequential(), inner, join=join)
    net = cs.Sequential(cs.Dense(4, 4), SRM, branches, cs.Dense(4 if join == "add" else 12, 2), SRM)
    net.train(False)
    cs.save(net, tmp_path / "net.npz")
    other = cs.load(tmp_path / "net.npz")
    x = np.random.default_rng(0).random((20, 2, 4)) < 0.3
    assert repr(other) == repr(net)
    assert other[2].join == join
    assert other[2, 0, 0] is other[2, 2, 0]
    assert not other[2, 2, 1, 2].training
    np.testing.assert_array_equal(net(x).numpy(), other(x).numpy())
    assert list(other.state()) == list(net.state())
