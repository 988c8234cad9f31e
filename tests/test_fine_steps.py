"""Times in ms with steps other than 1 ms: 0.3 / 0.1 is 2.9999999999999996 as a float, which is 3 steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Events
from cuslayer.data.fast_binning import bin_recordings

pytestmark = pytest.mark.all

FINE = cs.SRM(dt=0.1)
# Each quotient but the last is below its integer as a float.
EDGES = [(0.3, 3), (0.6, 6), (0.7, 7), (1.2, 12), (0.5, 5)]


def spikes(*shape, rate=0.4):
    return np.random.default_rng(5).random(shape) < rate


@pytest.mark.parametrize("make", [cs.loss.SpikeMaxLoss, cs.loss.ProbabilityWindowLoss])
@pytest.mark.parametrize(("start", "stop"), [(EDGES[0], EDGES[2]), (EDGES[1], EDGES[3])])
def test_regions_of_losses(make, start, stop):
    """The loss in a window equals the loss of the spikes in that window only; the window is one step."""
    s, labels = spikes(15, 2, 3), [0, 2]
    width = {"width": 0.1} if make is cs.loss.ProbabilityWindowLoss else {}
    value = make(FINE, window=(start[0], stop[0]), **width)(s, labels).item()
    assert value == pytest.approx(make(FINE, **width)(s[start[1] : stop[1]], labels).item(), rel=1e-6)


def test_the_window_of_a_record():
    net = cs.Network("4-3", FINE)
    for (start, first), (stop, last) in pairwise(EDGES[:-1]):
        with cs.record(net, window=(start, stop)) as seen:
            net(spikes(20, 1, 4))
        assert seen[1].potential.coords["time"].tolist() == pytest.approx(np.arange(first, last) * 0.1)


def test_frames_on_their_edges():
    """In bins of 0.4 ms, 1.2 / 0.4 is 2.9999999999999996 as a float."""
    for times, titles in {
        (1.2, 1.7): ["1.2 to 1.6 ms", "1.6 to 2 ms"],
        (0.1, 1.2): ["0 to 0.4 ms", "0.4 to 0.8 ms", "0.8 to 1.2 ms", "1.2 to 1.6 ms"],
    }.items():
        ax = cs.plot.frames(Events(times, [0, 0], [0, 0], [1, 1]), duration=0.4)
        assert [text.get_text() for text in ax.texts] == titles
    ax = cs.plot.frames(spikes(6, 1, 2, 2, 2), duration=0.3, dt=0.1)
    assert [text.get_text() for text in ax.texts] == ["0 to 0.3 ms", "0.3 to 0.6 ms"]
    # The third event is on the edge between the third and the fourth frame.
    events = Events([0.1, 0.5, 1.2, 1.7], [0, 1, 2, 0], [0, 0, 0, 0], [1, 1, 1, 1])
    animation = cs.plot.animation(events, duration=0.4)
    assert len(animation) == 5
    lit = [(animation.show(at).images[0].get_array()[0, :, 0] < 1).nonzero()[0].tolist() for at in range(5)]
    assert lit == [[0], [1], [], [2], [0]]


@pytest.mark.parametrize("rounding", ["floor", "nearest"])
def test_microseconds_in_bins_of_a_tenth(rounding):
    """Halfway between two steps the float decides, as in SLAYER's rint(t / Ts): 0.15 / 0.1 is 1.4999999999999998."""
    found = {50: (0, 0), 100: (1, 1), 140: (1, 1), 150: (1, 1), 160: (1, 2), 250: (2, 2), 300: (3, 3), 350: (3, 3)}
    us = np.array([*found, 549, 551])
    expected = [at[rounding == "nearest"] for at in [*found.values(), (5, 5), (5, 6)]]
    events = Events(us / 1000, np.arange(10), np.zeros(10, int), np.zeros(10, int))
    binned = events.to_spikes((1, 10, 2), 9, 0.1, rounding=rounding)
    assert binned[:, 0, :, 0].argmax(axis=0).tolist() == expected
    assert binned.sum() == 10
    raw = b"".join(bytes([x, 0]) + int(t).to_bytes(3, "big") for x, t in enumerate(us))
    assert (bin_recordings([raw], (1, 10, 2), 9, 0.1, rounding)[0][:, 0] == binned).all()


@pytest.mark.parametrize("dt", [0.25, 2.0])
def test_an_explanation_is_in_ms(dt):
    net = cs.Sequential(cs.Dense(1, 1), cs.SRM(theta=10.0, tau_sr=2.0, dt=dt))
    net[0].weight.data[:] = 3.0
    x = np.zeros((20, 1, 1), bool)
    x[[2, 5]] = True
    why = cs.explain(net, x, 1, 0, 8)
    assert (why.time, why.dt, why.spikes[0].time) == (8, dt, 5 if dt == 2.0 else 2)
    assert f"neuron 0 at {8 * dt:g} ms (step 8), sample 0: silent" in repr(why)
    assert f"2 spikes at {2 * dt:g}, {5 * dt:g} ms" in repr(why)
    lines = repr(why.trace(1, most=2)).splitlines()
    assert sorted(line.split(" at ")[1] for line in lines[1:]) == sorted(f"{step * dt:g} ms" for step in (2, 5))
