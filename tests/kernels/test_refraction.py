"""Refraction by samples over several blocks, on one thread and more, after earlier spikes: a plain loop, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuslayer import jit
from cuslayer.kernels import cpu
from cuslayer.kernels.sampled_srm.constants import SampledSpiking


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "cores", lambda: request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("before", [0, 1, 5, 30])
@pytest.mark.parametrize(
    ("steps", "columns", "samples"), [(0, 3, 4), (1, 1, 1), (12, 33, 2), (40, 65, 6), (9, 4200, 20)]
)
def test_a_sum_adds_the_samples_of_earlier_spikes_in_their_order(
    steps: int, columns: int, samples: int, before: int, dtype: Any
) -> None:
    generator = np.random.default_rng(samples)
    fired = generator.random((before, columns)) < 0.4
    a = generator.standard_normal((steps, columns)).astype(dtype)
    # Zeros of both signs: the product of a sample and no spike has one too.
    a[generator.random(a.shape) < 0.3], a[generator.random(a.shape) < 0.3] = 0.0, -0.0
    a[generator.random(a.shape) < 0.1] = 0.5
    for sign in (np.ones(samples), -np.ones(samples), np.cumprod(-np.ones(samples))):
        taps = (generator.random(samples) * sign).astype(dtype)
        u, s = a.copy(), np.concatenate([fired, np.zeros(a.shape, bool)])
        for t in range(steps):
            for k in range(1, min(before + t + 1, samples)):
                u[t] += taps[k] * s[before + t - k].astype(dtype)
            s[before + t] = u[t] >= dtype(0.5)
        spiking = SampledSpiking(0.5, taps.astype(np.float64), 1.0, 0.1)
        found = cpu.sampled_srm.sampled_spike_after(fired, a, spiking)
        assert found[0].tobytes() == u.tobytes()
        assert found[1].tobytes() == s.tobytes()
