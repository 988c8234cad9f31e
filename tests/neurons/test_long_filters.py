"""Filters of any length: their cut is found by bisection, and samples past all memory are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels.step import filters
from cuslayer.kernels.step.filters import Alpha
from tests.support.effort import at_most

pytestmark = pytest.mark.all


def scanned(alpha: Alpha, level: float) -> int:
    """Return the first sample under a level, one after another."""
    k = math.floor(alpha.tau / alpha.dt)
    while k * alpha.dt <= alpha.tau or abs(alpha.value(k)) >= level:
        k += 1
    return k


@pytest.mark.parametrize("amplitude", [1.0, -20.0, 1e-5, 1e30])
@pytest.mark.parametrize("tau", [0.1, 1.0, 12.7])
@pytest.mark.parametrize("dt", [0.1, 0.3, 1.0, 7.0])
def test_the_cut_is_the_first_sample_under_the_level(amplitude: float, tau: float, dt: float) -> None:
    for cutoff in (0.01, 1e-6, 0.5, 1e-300):
        alpha = Alpha(amplitude, tau, dt, cutoff)
        assert alpha.taps == scanned(alpha, cutoff)
        assert len(alpha.samples()) == alpha.taps


def test_the_cut_of_a_time_constant_of_any_length_takes_few_samples() -> None:
    for tau in (1e6, 1e9, 1e15):
        with at_most(2000):
            alpha = Alpha(1.0, tau, 1.0, 0.01)
            assert abs(alpha.value(alpha.taps)) < 0.01 <= abs(alpha.value(alpha.taps - 2 - alpha.taps // 10**14))
    with pytest.warns(UserWarning, match="dt must be at least a thousandth"):
        srm = cs.SRM(tau_sr=1e9, tau_ref=1e9)
    assert srm(np.full((5, 2, 3), 1e10, np.float32)).data.any()


def test_more_samples_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"^response: 76,383,\d{3} samples for tau=1e\+07 and dt=1 need 2\.44 GB, 1 GB are free$"
    monkeypatch.setattr(filters, "available_memory", lambda: 10**9)
    with pytest.raises(MemoryError, match=message):
        Alpha(1.0, 1e7, 1.0, 0.01).samples()
    monkeypatch.setattr(filters, "available_memory", lambda: None)
    with pytest.raises(MemoryError, match=r"^response: [\d,]+ samples for tau=1e\+18 and dt=0\.01 need \S+ PB$"):
        Alpha(1.0, 1e18, 0.01, 0.01).samples()


@pytest.mark.parametrize("name", ["tau_sr", "tau_ref"])
def test_a_time_constant_past_float64(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^SRM: {name} must be at most 1e\+15 dt, got 1e\+300 and 1, both in ms$"):
        cs.SRM(**{name: 1e300})
