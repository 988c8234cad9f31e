from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data import Events, read_events, write_events
from cuslayer.data.events import flat_bins

SHARED = Path(__file__).parents[2] / "shared/data"
SHAPE = (4, 5, 2)


def one(t=1.0, x=0, y=0, p=0):
    return Events([t], [x], None if y is None else [y], [p])


def refuses(message, kind=ValueError):
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


# Events


def test_events_copy_the_callers_arrays_and_cannot_be_edited():
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


def test_events_to_spikes_leaves_the_events_alone():
    events = Events([3.0, 1.0], [1, 0], [0, 2], [1, 0])
    events.to_spikes(SHAPE, 2, rounding="nearest")
    assert events == Events([3.0, 1.0], [1, 0], [0, 2], [1, 0])


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
        (([1.0, 2.0], [1], [1, 2], [0, 0]), "Events: x must be as long as t, got 1 and 2"),
        (([1.0, 2.0], [1, 1], [1], [0, 0]), "Events: y must be as long as t, got 1 and 2"),
        (([1.0, 2.0], [1, 1], None, [0]), "Events: p must be as long as t, got 1 and 2"),
        (([[1.0]], [1], [1], [0]), "Events: t must be 1-D, got shape (1, 1)"),
        (([1.0], [[1], [1, 2]], [1], [0]), "Events: x must be 1-D, got rows of unequal length"),
        (([1.0, np.nan], [1, 1], [1, 1], [0, 0]), "Events: t must be finite, event 1 is at nan"),
        (([1.0, 2.0], [1, -1], [1, 1], [0, 0]), "Events: x must lie in 0 .. 2**63 - 1, event 1 has -1"),
        (
            ([1.0], np.array([2**63], np.uint64), None, [0]),
            "Events: x must lie in 0 .. 2**63 - 1, event 0 has 9223372036854775808",
        ),
    ],
)
def test_events_refuse_wrong_values(arrays, message):
    with refuses(message):
        Events(*arrays)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((["a"], [1], [1], [0]), "Events: t must be numbers, got <U1"),
        (([1.0], [1.5], [1], [0]), "Events: x must be integers, got float64"),
    ],
)
def test_events_refuse_wrong_types(arrays, message):
    with refuses(message, TypeError):
        Events(*arrays)


# Spikes


def test_spikes_lie_where_and_when_their_events_do():
    spikes = Events([0.0, 2.9, 2.1], [4, 0, 0], [3, 1, 1], [1, 0, 0]).to_spikes(SHAPE, 3)
    assert spikes.shape == (3, 4, 5, 2)
    assert spikes.dtype == bool
    assert [tuple(i) for i in np.argwhere(spikes)] == [(0, 3, 4, 1), (2, 1, 0, 0)]


@given(st.integers(0, 100_000), st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.1, 2.5, 0.001]))
def test_an_event_on_the_edge_of_a_bin_is_in_that_bin(k, dt):
    for t in (k * dt, round(k * dt, 6)):
        step, _ = flat_bins(one(t), SHAPE, 200_000, dt, "floor")
        assert step[0] == k


def test_rounding_to_the_nearest_bin_takes_halves_to_the_even_one():
    step, _ = flat_bins(Events([0.5, 1.5, 1.6, 1.4], [0] * 4, [0] * 4, [0] * 4), SHAPE, 9, 1.0, "nearest")
    assert step.tolist() == [0, 2, 2, 1]
    step, _ = flat_bins(Events([0.5, 1.999], [0] * 2, [0] * 2, [0] * 2), SHAPE, 9, 1.0, "floor")
    assert step.tolist() == [0, 1]


@pytest.mark.parametrize(("rounding", "kept"), [("floor", 2), ("nearest", 1)])
def test_events_after_the_last_bin_are_left_out(rounding, kept):
    events = Events([1.0, 2.9, 3.0, 1e300], [0, 1, 2, 3], [0] * 4, [0] * 4)
    assert events.to_spikes(SHAPE, 3, rounding=rounding).sum() == kept


def test_events_of_on_alone_stay_in_channel_one():
    spikes = one(p=1).to_spikes(SHAPE, 2)
    assert spikes[1, 0, 0].tolist() == [False, True]


def test_one_channel_merges_the_polarities():
    events = Events([0.0, 0.0], [0, 1], [0, 0], [0, 1])
    assert events.to_spikes((1, 2, 1), 1).ravel().tolist() == [True, True]


def test_a_recording_in_one_dimension_becomes_neurons():
    spikes = Events([0.0, 1.0], [2, 0], None, [1, 0]).to_spikes(3, 2)
    assert spikes.tolist() == [[False, False, True], [True, False, False]]
    assert (Events([0.0, 1.0], [2, 0], None, [1, 0]).to_spikes((3,), 2) == spikes).all()


def test_sum_counts_up_to_255_and_refuses_more():
    counts = Events([0.5] * 255, [1] * 255, [2] * 255, [1] * 255).to_spikes(SHAPE, 2, binning="sum")
    assert counts.dtype == np.uint8
    assert counts[0, 2, 1, 1] == 255
    assert counts.sum() == 255
    many = Events([1.5] * 256, [1] * 256, [2] * 256, [1] * 256)
    with refuses("to_spikes: a bin must hold at most 255 events, bin (1, 2, 1, 1) has 256"):
        many.to_spikes(SHAPE, 2, binning="sum")


def test_no_events_are_no_spikes():
    none = Events([], [], [], [])
    assert none.to_spikes(SHAPE, 2).sum() == 0
    assert none.to_spikes(SHAPE, 2, binning="sum").sum() == 0


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
    with refuses(f"to_spikes: events must lie within {message}"):
        events.to_spikes(shape, 5)


@pytest.mark.parametrize(
    ("events", "arguments", "message"),
    [
        (one(-0.5), {}, "t must not be negative, event 0 is at -0.5 ms"),
        (one(), {"shape": 3}, "shape must be (H, W, C) for events in 2-D, got (3,)"),
        (one(y=None), {}, "shape must be a number of neurons for events in 1-D, got (4, 5, 2)"),
        (one(), {"shape": (3, 4)}, "shape must be (H, W, C), or a number of neurons, got (3, 4)"),
        (one(), {"shape": (3, 0, 2)}, "shape must be at least 1, got 0"),
        (one(), {"steps": 0}, "steps must be at least 1, got 0"),
        (one(), {"dt": 0.0}, "dt must be positive, got 0"),
        (one(), {"binning": "summ"}, "binning must be one of or, sum, got 'summ'; did you mean sum?"),
        (one(), {"rounding": "ceil"}, "rounding must be one of floor, nearest, got 'ceil'"),
    ],
)
def test_to_spikes_refuses_wrong_arguments(events, arguments, message):
    with refuses(f"to_spikes: {message}"):
        events.to_spikes(**({"shape": SHAPE, "steps": 5} | arguments))


# Files


@pytest.mark.parametrize("suffix", [".bs2", ".bin", ".BS2"])
def test_camera_files_are_these_bytes(tmp_path, suffix):
    path = tmp_path / f"one{suffix}"
    events = Events([0.0, 8388.607, 65.793], [1, 255, 0x12], [2, 255, 0x34], [1, 1, 0])
    raw = bytes([1, 2, 0x80, 0, 0]) + bytes([255] * 5) + bytes([0x12, 0x34, 0x01, 0x01, 0x01])
    write_events(path, events)
    assert path.read_bytes() == raw
    assert read_events(path) == events


def test_neuron_files_are_these_bytes(tmp_path):
    path = tmp_path / "one.bs1"
    events = Events([0.001, 0.256], [0x1234, 65535], None, [0, 1])
    write_events(path, events)
    assert path.read_bytes() == bytes([0x12, 0x34, 0, 0, 1, 0xFF, 0xFF, 0x80, 1, 0])
    assert read_events(path) == events


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 255), st.integers(0, 255), st.integers(0, 1)), min_size=1
    )
)
def test_camera_events_survive_a_file(tmp_path_factory, rows):
    us, x, y, p = (np.array(column) for column in zip(*rows, strict=True))
    path = tmp_path_factory.getbasetemp() / "survive.bs2"
    events = Events(us / 1000, x, y, p)
    write_events(path, events)
    assert read_events(path) == events


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 65535), st.integers(0, 1)), min_size=1),
    st.floats(-0.49, 0.49),
)
def test_neuron_events_survive_a_file_to_the_microsecond(tmp_path_factory, rows, off):
    us, x, p = (np.array(column) for column in zip(*rows, strict=True))
    path = tmp_path_factory.getbasetemp() / "survive.bs1"
    write_events(path, Events((us + off) / 1000, x, None, p))
    assert read_events(path) == Events(us / 1000, x, None, p)


@pytest.mark.parametrize(
    ("name", "events", "message"),
    [
        ("a.bs2", one(x=256), "x must be at most 255 in a .bs2 file, event 0 has 256"),
        ("a.bin", one(y=300), "y must be at most 255 in a .bin file, event 0 has 300"),
        ("a.bs2", one(p=2), "p must be at most 1 in a .bs2 file, event 0 has 2"),
        ("a.bs1", one(x=65536, y=None), "x must be at most 65535 in a .bs1 file, event 0 has 65536"),
        (
            "a.bs2",
            Events([1.0, 8388.608], [0, 0], [0, 0], [0, 0]),
            "t must lie in 0 .. 8388.607 ms in a .bs2 file, event 1 is at 8388.608 ms",
        ),
        ("a.bs2", one(1e306), "t must lie in 0 .. 8388.607 ms in a .bs2 file, event 0 is at 1e+306 ms"),
        ("a.bs2", one(-0.001), "t must lie in 0 .. 8388.607 ms in a .bs2 file, event 0 is at -0.001 ms"),
        ("a.bs2", one(y=None), "events must be in 2-D for a .bs2 file, got 1-D"),
        ("a.bs1", one(), "events must be in 1-D for a .bs1 file, got 2-D"),
        ("a.bs2", Events([], [], [], []), "events must not be empty for a .bs2 file, got none"),
    ],
)
def test_writing_refuses_what_a_format_cannot_hold(tmp_path, name, events, message):
    path = tmp_path / name
    path.write_bytes(b"as it was")
    with refuses(f"write_events: {message}"):
        write_events(path, events)
    assert path.read_bytes() == b"as it was"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_file_is_never_there_by_half(tmp_path, monkeypatch):
    path = tmp_path / "a.bs2"
    path.write_bytes(b"as it was")

    def fail(source, target):
        assert Path(source).read_bytes()
        assert Path(target).read_bytes() == b"as it was"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with refuses(f"write_events: {path} cannot be opened (No space left on device)"):
        write_events(path, one())
    assert [p.name for p in tmp_path.iterdir()] == ["a.bs2"]


def test_writing_refuses_other_things_and_places(tmp_path):
    with refuses("write_events: events must be Events, got list", TypeError):
        write_events(tmp_path / "a.bs2", [1])
    with refuses(f"write_events: {tmp_path}/a.bs3 must end in one of .bs2, .bin, .bs1; did you mean .bs2?"):
        write_events(tmp_path / "a.bs3", one())
    with refuses(f"write_events: {tmp_path}/no/a.bs2 has no folder {tmp_path}/no to be in"):
        write_events(tmp_path / "no" / "a.bs2", one())
    (tmp_path / "folder.bs2").mkdir()
    with refuses(f"write_events: {tmp_path}/folder.bs2 is a folder, not a file"):
        write_events(tmp_path / "folder.bs2", one())


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.bs2", b"", "is empty"),
        ("a.bs2", bytes(23), "is 23 bytes, not a multiple of 5"),
        ("a.txt", bytes(5), "must end in one of .bs2, .bin, .bs1"),
        ("a.bs2", None, "does not exist"),
    ],
)
def test_reading_refuses_broken_files(tmp_path, name, raw, message):
    path = tmp_path / name
    if raw is not None:
        path.write_bytes(raw)
    with refuses(f"read_events: {path} {message}"):
        read_events(path)


def test_reading_refuses_a_folder(tmp_path):
    with refuses(f"read_events: {tmp_path} is a folder, not a file"):
        read_events(tmp_path)


def test_a_recording_of_nmnist_is_read():
    path = SHARED / "nmnist-small/1.bs2"
    if not path.is_file():
        pytest.skip("the folder shared/data/nmnist-small is missing")
    events = read_events(path)
    raw = path.read_bytes()
    assert len(events) == len(raw) // 5
    assert (events.x[0], events.y[0], events.p[0]) == (raw[0], raw[1], raw[2] >> 7)
    assert events.t[0] == ((raw[2] & 0x7F) << 16 | raw[3] << 8 | raw[4]) / 1000
    assert (np.diff(events.t) >= 0).all()
    assert events.to_spikes((34, 34, 2), 300).any(axis=(0, 1, 2)).all()


def test_numba_is_not_imported_with_the_room():
    code = "import sys, cuslayer.data; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0
