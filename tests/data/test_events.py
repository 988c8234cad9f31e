"""`Events`: validation, and binning into spikes."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer._tape import Tensor
from cuslayer.data import Events
from cuslayer.data.events import flat_bins
from tests.support.refused import refused, refuses

SHAPE = (4, 5, 2)


def one(t=1.0, x=0, y=0, p=0):
    return Events([t], [x], None if y is None else [y], [p])


# Events


def test_events_are_read_only_copies():
    t, x, y, p = np.array([1.0, 2.0]), np.array([1, 2]), np.array([3, 4]), np.array([0, 1])
    events = Events(t, x, y, p)
    for theirs in (t, x, y, p):
        assert theirs.flags.writeable
        theirs[:] = 0
    assert events == Events([1.0, 2.0], [1, 2], [3, 4], [0, 1])
    for ours in (events.t, events.x, events.y, events.p):
        with pytest.raises(ValueError, match="read-only"):
            ours[0] = 7
    with pytest.raises(AttributeError):
        events.t = t


def test_events_have_dtypes_length_equality_and_a_short_repr():
    events = Events(np.array([1, 2], np.uint8), np.array([1, 2], np.uint16), [3, 4], [False, True])
    assert (events.t.dtype, events.x.dtype, events.p.dtype) == (np.float64, np.int64, np.int64)
    assert len(events) == 2
    assert repr(events) == "Events(2 events in 2-D, 1 to 2 ms)"
    assert repr(Events([], [], None, [])) == "Events(0 events in 1-D)"
    assert events != Events([1, 2], [1, 2], None, [0, 1])
    assert events != Events([1, 2], [1, 2], [3, 5], [0, 1])
    assert events != 3
    assert pickle.loads(pickle.dumps(events)) == events


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1.0, 2.0], [1], [1, 2], [0, 0]), "Events: x must be as long as t"),
        (([1.0, 2.0], [1, 1], [1], [0, 0]), "Events: y must be as long as t"),
        (([1.0, 2.0], [1, 1], None, [0]), "Events: p must be as long as t"),
        (([[1.0]], [1], [1], [0]), "Events: t must be 1-D"),
        (([1.0], [[1], [1, 2]], [1], [0]), "Events: x must be 1-D"),
        (([1.0, np.nan], [1, 1], [1, 1], [0, 0]), "Events: t must be finite, event 1 is at nan"),
        (([1.0, 2.0], [1, -1], [1, 1], [0, 0]), "Events: x must lie in 0 .. 2**63 - 1, event 1 has -1"),
        (
            ([1.0], np.array([2**63], np.uint64), None, [0]),
            "Events: x must lie in 0 .. 2**63 - 1, event 0 has 9223372036854775808",
        ),
    ],
)
def test_events_with_invalid_values_raise(arrays, message):
    refused(message, lambda: Events(*arrays))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((["a"], [1], [1], [0]), "Events: t must be numbers"),
        (([1.0], [1.5], [1], [0]), "Events: x must be integers"),
    ],
)
def test_events_with_invalid_types_raise(arrays, message):
    refused(message, lambda: Events(*arrays))


# Spikes


@given(st.integers(0, 100_000), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.1, 2.5, 0.001]))
def test_an_event_on_the_edge_of_a_bin_is_in_that_bin(k, dt):
    for t in (k * dt, round(k * dt, 6)):
        step, _ = flat_bins(one(t), SHAPE, 200_000, dt, "floor")
        assert step[0] == k


@pytest.mark.parametrize(("rounding", "kept"), [("floor", 2), ("nearest", 1)])
def test_events_after_the_last_bin_are_dropped(rounding, kept):
    events = Events([1.0, 2.9, 3.0, 1e300], [0, 1, 2, 3], [0] * 4, [0] * 4)
    assert events.to_spikes(SHAPE, 3, rounding=rounding).sum() == kept


def test_one_channel_one_dimension_and_counts():
    events = Events([0.0, 0.0], [0, 1], [0, 0], [0, 1])
    assert events.to_spikes((1, 2, 1), 1).ravel().tolist() == [True, True]
    spikes = Events([0.0, 1.0], [2, 0], None, [1, 0]).to_spikes(3, 2)
    assert spikes.tolist() == [[False, False, True], [True, False, False]]
    assert (Events([0.0, 1.0], [2, 0], None, [1, 0]).to_spikes((3,), 2) == spikes).all()
    counts = Events([0.5] * 255, [1] * 255, [2] * 255, [1] * 255).to_spikes(SHAPE, 2, binning="sum")
    assert counts.dtype == np.uint8
    assert counts[0, 2, 1, 1] == 255
    assert counts.sum() == 255
    many = Events([1.5] * 256, [1] * 256, [2] * 256, [1] * 256)
    with refuses("to_spikes: a bin must hold at most 255 events, bin (1, 2, 1, 1) has 256"):
        many.to_spikes(SHAPE, 2, binning="sum")


@pytest.mark.parametrize(
    ("events", "shape", "message"),
    [
        (one(x=5, y=1, p=1), SHAPE, "the sensor (4, 5, 2) (H, W, C), event 0 is at x=5, y=1, p=1"),
        (one(x=4, y=4), SHAPE, "the sensor (4, 5, 2) (H, W, C), event 0 is at x=4, y=4, p=0"),
        (one(p=2), SHAPE, "the sensor (4, 5, 2) (H, W, C), event 0 is at x=0, y=0, p=2"),
        (Events([0.0, 0.0], [2, 3], None, [1, 1]), 3, "3 neurons, event 1 is at x=3"),
    ],
)
def test_an_event_outside_the_sensor_is_named(events, shape, message):
    refused(f"to_spikes: events must lie within {message}", lambda: events.to_spikes(shape, 5))


@pytest.mark.parametrize(
    ("events", "arguments", "message"),
    [
        (one(-0.5), {}, "t must not be negative, event 0 is at -0.5 ms"),
        (one(), {"shape": 3}, "shape must be (H, W, C) for events in 2-D"),
        (one(y=None), {}, "shape must be a number of neurons for events in 1-D"),
        (one(), {"shape": (3, 4)}, "shape must be (H, W, C), or a number of neurons"),
        (one(), {"shape": (3, 0, 2)}, "shape must be at least 1"),
        (one(), {"steps": 0}, "steps must be at least 1"),
        (one(), {"dt": 0.0}, "dt must be positive"),
        (one(), {"binning": "summ"}, "binning must be one of or, sum"),
        (one(), {"rounding": "ceil"}, "rounding must be one of floor, nearest"),
    ],
)
def test_to_spikes_with_invalid_arguments_raises(events, arguments, message):
    refused(f"to_spikes: {message}", lambda: events.to_spikes(**({"shape": SHAPE, "steps": 5} | arguments)))


STEPS_MS = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.7, 1.0, 1.2, 2.5])


@pytest.mark.filterwarnings("ignore:to_spikes:UserWarning")  # short windows, past which all events may lie
@settings(max_examples=200)
@given(
    st.integers(0, 99),
    st.sampled_from([(4,), (3, 4, 2), (2, 5, 1), (2, 5, 3)]),
    st.integers(0, 30),
    st.integers(1, 30),
    STEPS_MS,
    STEPS_MS,
    st.sampled_from(["or", "sum"]),
    st.sampled_from(["floor", "nearest"]),
)
def test_counts_of_any_step_in_bins_of_any_other(seed, shape, length, steps, own, dt, binning, rounding):
    """Also where one channel takes the events of all polarities; "floor" is that of the exact ratio."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.5, (length, *shape)).astype(rng.choice(["u1", "i8"]))
    events = Events.from_spikes(counts if seed % 3 else np.asfortranarray(counts), own)
    assert (np.diff(events.t) >= 0).all()
    sensor = (*shape[:2], 1) if len(shape) == 3 and seed % 2 else shape
    wanted = np.zeros((steps, *sensor), np.uint8)
    for step, row in enumerate(counts):
        exact = math.floor(step * Fraction(str(own)) / Fraction(str(dt)))
        place = round(step * own / dt) if rounding == "nearest" else exact
        if place < steps:
            wanted[place] += row.sum(-1, keepdims=True, dtype="u1") if sensor != shape else row.astype("u1")
    assert len(events) == counts.sum()
    found = events[rng.permutation(len(events))].to_spikes(sensor, steps, dt, binning, rounding)
    assert found.dtype == (np.uint8 if binning == "sum" else np.bool_)
    np.testing.assert_array_equal(found, wanted if binning == "sum" else wanted > 0)


def test_events_of_spikes_have_time_place_and_channel():
    spikes = np.zeros((5, 3, 4, 2), bool)
    spikes[4, 2, 1, 1] = spikes[2, 0, 3, 0] = True
    assert Events.from_spikes(Tensor(spikes), dt=2.0) == Events([4.0, 8.0], [3, 1], [0, 2], [0, 1])
    flat = np.zeros((5, 3), bool)
    flat[3, 1] = True
    assert Events.from_spikes(flat) == Events([3.0], [1], None, [0])


@pytest.mark.parametrize("shape", [(5, 2, 3), (5, 2, 3, 4, 2), (5,), ()])
def test_a_batch_of_spikes_is_refused(shape):
    refused(
        "from_spikes: spikes must be one recording, (T, H, W, C) or (T, C)",
        lambda: Events.from_spikes(np.zeros(shape, bool)),
    )


def test_from_spikes_with_invalid_arguments_raises():
    refused(
        "from_spikes: spikes must be booleans or counts", lambda: Events.from_spikes(np.zeros((3, 2))), "; compare them"
    )
    refused("from_spikes: a count must not be negative", lambda: Events.from_spikes(np.array([[0, -2]])))
    refused("from_spikes: dt must be positive", lambda: Events.from_spikes(np.zeros((3, 2), bool), dt=0))


def test_events_are_indexed_like_an_array():
    events = Events([1.0, 2.0, 3.0], [4, 5, 6], [7, 8, 9], [0, 1, 0])
    flat = Events([1.0, 2.0], [4, 5], None, [0, 0])
    assert events[1] == events[-2] == events[np.int64(1)] == (2.0, 5, 8, 1)
    assert flat[0] == (1.0, 4, None, 0)
    assert list(flat) == [(1.0, 4, None, 0), (2.0, 5, None, 0)]
    both = Events([1.0, 3.0], [4, 6], [7, 9], [0, 0])
    assert events[::2] == events[events.p == 0] == events[[0, 2]] == events[[-3, -1]] == both
    assert events[:0] == events[[]] == Events([], [], [], [])
    assert flat[1:] == Events([2.0], [5], None, [0])
    with pytest.raises(ValueError, match="read-only"):
        events[1:].t[0] = 0


def test_an_index_of_events_out_of_range_raises():
    events = Events([1.0, 2.0, 3.0], [4, 5, 6], [7, 8, 9], [0, 1, 0])
    for index in (3, -4, [0, 5], [0, -4], np.ones(2, bool)):
        with refuses("Events: index must lie within 3 events"):
            events[index]
    refused("Events: index must be an integer, a slice or an array", lambda: events[1.0])
    with refuses("Events: index must be integers or a mask of shape (events,)"):
        events[[0.5]]
