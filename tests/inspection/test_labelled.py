"""Tests of the axis labels of recorded arrays, and of their conversion to xarray."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.record.labelled import Labelled

FORWARD = {"weighted", "filtered", "refractory", "potential", "spikes", "surrogate"}
ERRORS = {"spikes_error", "potential_error", "weighted_error"}


def spikes_for(shape):
    return np.random.default_rng(0).random(shape) < 0.2


def test_labels():
    net = cs.Network("6x6x2-3c3", cs.SRM(dt=0.5))
    with cs.record(net, window=(2, 7), samples=1) as seen:
        net(spikes_for((20, 2, 6, 6, 2)))
    u = seen[0].potential
    assert isinstance(u, Labelled)
    assert u.dims == ("time", "sample", "row", "column", "channel")
    assert u.shape == (10, 1, 6, 6, 3)
    assert u.coords["time"].tolist() == list(np.arange(2, 7, 0.5))
    assert u.coords["sample"].tolist() == [1]
    assert repr(u) == "Labelled(potential: time 10, sample 1, row 6, column 6, channel 3; float32)"
    assert type(u + 1.0) is np.ndarray
    assert type(u[2:4]) is np.ndarray
    assert len(u) == 10
    assert np.array(u, copy=True) is not u.values
    assert (np.maximum(u, 0.0) == np.maximum(u.values, 0.0)).all()
    assert "time 10, sample 1, row 6, column 6, channel 3; weighted, potential" in repr(seen)


def test_xarray():
    net = cs.Network("6x6x2-3c3", cs.SRM())
    x = spikes_for((20, 2, 6, 6, 2))
    with cs.record(net, neurons=[(1, 2, 0), (3, 4, 2)]) as seen:
        out = net(x)
    data = seen[0].potential.to_xarray()
    assert (data.sel(time=7.0, sample=1).values == seen[0].potential[7, 1]).all()
    assert data.row.values.tolist() == [1, 3]
    assert set(seen[0].to_xarray()) == FORWARD
    out.backward(np.ones(out.shape, np.float32))
    assert set(seen[0].to_xarray()) == FORWARD | ERRORS


def test_xarray_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    net = cs.Network("4-3", cs.SRM())
    with cs.record(net) as seen:
        net(np.ones((5, 1, 4), bool))
    with pytest.raises(ImportError, match=r"^to_xarray: xarray is not installed; pip install 'cuslayer\[xarray\]'$"):
        seen[1].potential.to_xarray()
