"""AdaptiveLIF: its state between calls, and the part of a spike."""

from __future__ import annotations

import numpy as np
import pytest

from tests.neurons.test_leaky import keeps, of_kind
from tests.support import step_programs

pytestmark = pytest.mark.all

RNG = np.random.default_rng(13)


def neuron_of(taus=(2.0, 6.0, 20.0, 3.0), **options):
    return of_kind("AdaptiveLIF", taus, **options)


def test_a_state_is_kept_between_calls_when_asked():
    whole, parts = neuron_of(trained=True), neuron_of(trained=True, stateful=True)
    x, g = RNG.normal(0.5, 1, (2, 30, 2, 4)).astype(np.float32)
    expected = whole(x).data
    np.testing.assert_array_equal(np.concatenate([parts(each).data for each in (x[:7], x[7:7], x[7:])]), expected)
    parts.forget()
    parts(x[:7])
    parts(x[7:]).backward(g[7:])
    # The whole run, with no gradient before step 7: only the path within the second call is left of it for the first
    # step, whose states are constants.
    later = step_programs.adaptive_reverse(
        x.astype(float), np.where(np.arange(30)[:, None, None] < 7, 0, g), keeps(neuron_of()), whole, since=7
    )
    for p, name, each in zip(parts.parameters(), whole.time_constants, later[1:], strict=True):
        tau = getattr(neuron_of(), name)
        np.testing.assert_allclose(p.grad, each.sum() * np.exp(-1 / tau) / tau**2, rtol=2e-3)


def test_the_part_of_a_spike():
    neuron = neuron_of((0.5, 4.0, 20.0, 6.0), theta=1.0)
    x = np.zeros((40, 1, 1))
    x[0] = 1.05
    u, s, *_ = step_programs.adaptive(x, keeps(neuron), neuron)
    assert s.sum() == 1
    without = 12 * step_programs.adaptive(x / 12, keeps(neuron), neuron)[0]
    found = (u - without)[:, 0, 0]
    np.testing.assert_allclose(neuron.refractory[:40], found[: len(neuron.refractory)], atol=1e-12)
    assert len(neuron.refractory) > 60
