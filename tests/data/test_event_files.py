"""`read_events` and `write_events` of SLAYER's formats: bytes, round trips, errors."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data import Events, read_events, write_events
from cuslayer.data.formats import FORMATS, base
from tests.support.counted import calls

SHARED = Path(__file__).parents[3] / "shared/data"
KNOWN = ".bs2, .bin, .bs1, .bs3, .npy, .h5, .hdf5, .aedat, .aedat4, .dat, .raw"


def one(t=1.0, x=0, y=0, p=0):
    return Events([t], [x], None if y is None else [y], [p])


def refuses(message, kind=ValueError):
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


@pytest.mark.parametrize("suffix", [".bs2", ".bin", ".BS2"])
def test_bytes_of_camera_files(tmp_path, suffix):
    path = tmp_path / f"one{suffix}"
    events = Events([0.0, 8388.607, 65.793], [1, 255, 0x12], [2, 255, 0x34], [1, 1, 0])
    raw = bytes([1, 2, 0x80, 0, 0]) + bytes([255] * 5) + bytes([0x12, 0x34, 0x01, 0x01, 0x01])
    write_events(path, events)
    assert path.read_bytes() == raw
    assert read_events(path) == events


def test_bytes_of_a_neuron_file(tmp_path):
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
def test_camera_events_round_trip(tmp_path_factory, rows):
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
def test_neuron_events_round_trip_to_the_microsecond(tmp_path_factory, rows, off):
    us, x, p = (np.array(column) for column in zip(*rows, strict=True))
    path = tmp_path_factory.getbasetemp() / "survive.bs1"
    write_events(path, Events((us + off) / 1000, x, None, p))
    assert read_events(path) == Events(us / 1000, x, None, p)


def test_bytes_of_a_channel_file(tmp_path):
    path = tmp_path / "one.bs3"
    events = Events([0.001, 16777.215, 66.051], [0xABC, 4095, 1], [0xDEF, 4095, 0x203], [0x12, 255, 2])
    write_events(path, events)
    raw = bytes([0xAB, 0xCD, 0xEF, 0x12, 0, 0, 1]) + bytes([255] * 7) + bytes([0x00, 0x12, 0x03, 2, 1, 2, 3])
    assert path.read_bytes() == raw
    assert read_events(path) == events


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
        ("a.bs3", one(x=4096), "x must be at most 4095 in a .bs3 file, event 0 has 4096"),
        ("a.bs3", one(y=4096), "y must be at most 4095 in a .bs3 file, event 0 has 4096"),
        ("a.bs3", one(p=256), "p must be at most 255 in a .bs3 file, event 0 has 256"),
        ("a.bs3", one(16777.216), "t must lie in 0 .. 16777.215 ms in a .bs3 file, event 0 is at 16777.216 ms"),
        ("a.bs2", one(y=None), "events must be in 2-D for a .bs2 file, got 1-D"),
        ("a.bs1", one(), "events must be in 1-D for a .bs1 file, got 2-D"),
        ("a.bs2", Events([], [], [], []), "events must not be empty for a .bs2 file, got none"),
    ],
)
def test_writing_events_that_do_not_fit_raises(tmp_path, name, events, message):
    path = tmp_path / name
    path.write_bytes(b"as it was")
    with refuses(f"write_events: {message}"):
        write_events(path, events)
    assert path.read_bytes() == b"as it was"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_files_are_replaced_atomically(tmp_path, monkeypatch):
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


def test_writing_invalid_objects_or_paths_raises(tmp_path):
    with refuses("write_events: events must be Events, got list", TypeError):
        write_events(tmp_path / "a.bs2", [1])
    with refuses(f"write_events: {tmp_path}/a.bs4 must end in one of {KNOWN}; did you mean .bs3?"):
        write_events(tmp_path / "a.bs4", one())
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
        ("a.txt", bytes(5), f"must end in one of {KNOWN}"),
        ("a.bs1", bytes(4), "is 4 bytes, not a multiple of 5"),
        ("a.bs3", bytes(13), "is 13 bytes, not a multiple of 7"),
        ("a.bsn", bytes(10), "is for numbers of spikes, not events; use read_counts"),
        ("a.bs2", None, "does not exist"),
    ],
)
def test_reading_damaged_files_raises(tmp_path, name, raw, message):
    path = tmp_path / name
    if raw is not None:
        path.write_bytes(raw)
    with refuses(f"read_events: {path} {message}"):
        read_events(path)


def test_long_files_are_read_in_blocks(tmp_path):
    n = 2 * base.BLOCK + 3
    events = Events(np.arange(n) / 1000, np.arange(n) % 251, np.arange(n) % 241, np.arange(n) % 2)
    write_events(tmp_path / "a.bs2", events)
    assert read_events(tmp_path / "a.bs2") == events


def test_a_file_that_shrinks_during_reading_raises():
    with refuses("was cut short while it was read"):
        FORMATS[".bs2"].read(io.BytesIO(bytes(5)), 10, "")


@pytest.mark.parametrize("suffix", [".bs2", ".bs3"])
def test_reading_does_not_loop_over_events(tmp_path, suffix):
    """A million events take a few calls for each of 31 blocks of 32,768 events, not one call per event."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes({".bs2": 5, ".bs3": 7}[suffix] * 1_000_000))
    read = []
    found = calls(lambda: read.append(read_events(path)))
    assert len(read[0]) == 1_000_000
    assert 31 < found < 31 * 100


@pytest.mark.parametrize("function", [read_events, lambda path, **unit: write_events(path, one(), **unit)])
def test_a_unit_is_only_for_formats_with_several(tmp_path, function):
    (tmp_path / "a.bs2").write_bytes(bytes(5))
    with pytest.raises(ValueError, match=r"unit must be None for a \.bs2 file, which has microseconds, got 'ms'$"):
        function(tmp_path / "a.bs2", unit="ms")
    (tmp_path / "a.npy").write_bytes(bytes(5))
    with pytest.raises(ValueError, match=r"unit must be one of s, ms, us, ns, got 'min'"):
        function(tmp_path / "a.npy", unit="min")


def test_reading_a_folder_raises(tmp_path):
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
