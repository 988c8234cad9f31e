"""Each format over the range of its fields, and its errors."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import aedat
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data import Events, SpikeCounts, read_counts, read_events, write_counts, write_events
from cuslayer.data.formats import FORMATS, base
from cuslayer.data.formats import spike_counts as counts

FILES = Path(__file__).parents[1] / "support" / "files"
LONG = 2**51
MOST = "2251799813685.248"  # 2**51 us
SHAPES = "must hold numbers of shape (events, 4) for x, y, p, t or (events, 3) for x, p, t"
finite = st.floats(allow_nan=False, allow_infinity=False)


def refuses(message, kind=ValueError):
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


def through(suffix, events, unit=None):
    """Return events after writing and reading."""
    known, file = FORMATS[suffix], io.BytesIO()
    known.write(file, events, suffix, unit or known.unit or "")
    size = file.tell()
    file.seek(0)
    return known.read(file, size, unit or known.unit or "")


def recordings(time, x, p, least=0):
    """Return a strategy of 2-D recordings with fields in the given ranges."""
    rows = st.lists(st.tuples(time, st.integers(0, x), st.integers(0, x), st.integers(0, p)), min_size=least)
    return rows.map(lambda found: [np.array(column) for column in zip(*found, strict=True)] or [np.empty(0, int)] * 4)


@settings(deadline=None)
@given(recordings(st.integers(0, 2**24 - 1), 4095, 255, least=1))
def test_bs3_round_trip(columns):
    us, x, y, p = columns
    assert through(".bs3", Events(us / 1000, x, y, p)) == Events(us / 1000, x, y, p)


@settings(deadline=None)
@pytest.mark.parametrize(("suffix", "least"), [(".aedat", 0), (".aedat4", -LONG)])
@given(data=st.data())
def test_aedat_round_trip(suffix, least, data):
    us, x, y, p = data.draw(recordings(st.integers(least, LONG), 2**15 - 1, 1))
    assert through(suffix, Events(us / 1000, x, y, p)) == Events(us / 1000, x, y, p)


@settings(deadline=None)
@given(recordings(finite, 2**53, 2**53), st.booleans())
def test_npy_round_trip_to_the_bit(columns, flat):
    t, x, y, p = columns
    events = Events(t, x, None if flat else y, p)
    assert through(".npy", events) == events


@settings(deadline=None)
@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize(("unit", "per_ms"), [("us", 1e3), ("ns", 1e6)])
@given(data=st.data(), flat=st.booleans())
def test_round_trip_in_whole_units(suffix, unit, per_ms, data, flat):
    whole, x, y, p = data.draw(recordings(st.integers(-LONG, LONG), 2**63 - 1, 2**63 - 1))
    events = Events(whole / per_ms, x, None if flat else y, p)
    assert through(suffix, events, unit) == events


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize("unit", ["s", "ms"])
@given(columns=recordings(st.floats(-1e15, 1e15), 2**53, 3))
@settings(deadline=None)
def test_round_trip_in_fractions_of_a_unit(suffix, unit, columns):
    t, x, y, p = columns
    found = through(suffix, Events(t, x, y, p), unit)
    np.testing.assert_allclose(found.t, t, rtol=1e-15, atol=1e-300)
    assert found == Events(found.t, x, y, p)


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2**16 - 1)] * 2, *[st.integers(0, 2**24 - 1)] * 2), min_size=1))
def test_bsn_round_trip(tmp_path_factory, rows):
    neuron, count, a, b = (np.array(column) for column in zip(*rows, strict=True))
    wanted = SpikeCounts(neuron, np.minimum(a, b) / 1000, np.maximum(a, b) / 1000, count)
    path = tmp_path_factory.getbasetemp() / "survive.bsn"
    write_counts(path, wanted)
    assert read_counts(path) == wanted


def test_bytes_of_a_count_file(tmp_path):
    write_counts(tmp_path / "a.bsn", SpikeCounts([0x1234], [0x010203 / 1000], [0x0A0B0C / 1000], [0x5678]))
    assert (tmp_path / "a.bsn").read_bytes().hex() == "12340102030a0b0c5678"


def test_counts_have_dtypes_length_and_equality():
    some = SpikeCounts([1, 2], [0, 1], [2.5, 1], [60, 0])
    assert [getattr(some, n).dtype.name for n in some.__slots__] == ["int64", "float64", "int64", "float64"]
    assert len(some) == 2
    assert some != SpikeCounts([1, 2], [0, 1], [2.5, 1], [60, 1])
    assert some != 3
    with pytest.raises(ValueError, match="read-only"):
        some.count[0] = 7


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1], [0], [1], [1, 2]), "count must be as long as neuron, got 2 and 1"),
        (([1, 1], [0, 5], [1, 4], [1, 2]), "end must not lie before start, entry 1 has 5.0 .. 4.0 ms"),
        (([1], [np.inf], [1], [1]), "start must be finite, entry 0 is at inf"),
        (([-1], [0], [1], [1]), "neuron must lie in 0 .. 2**63 - 1, entry 0 has -1"),
    ],
)
def test_invalid_counts_raise(columns, message):
    with refuses(f"SpikeCounts: {message}"):
        SpikeCounts(*columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([70000], [0], [1], [1]), "neuron must be at most 65535 in a .bsn file, entry 0 has 70000"),
        (([1], [0], [1], [65536]), "count must be at most 65535 in a .bsn file, entry 0 has 65536"),
        (([1], [-1], [1], [1]), "start must lie in 0 .. 16777.215 ms in a .bsn file, entry 0 is at -1.0 ms"),
        (([1], [0], [20000], [1]), "end must lie in 0 .. 16777.215 ms in a .bsn file, entry 0 is at 20000.0 ms"),
        (([], [], [], []), "counts must not be empty for a .bsn file, got none"),
    ],
)
def test_writing_counts_that_do_not_fit_raises(tmp_path, columns, message):
    with refuses(f"write_counts: {message}"):
        write_counts(tmp_path / "a.bsn", SpikeCounts(*columns))


def test_invalid_count_files_raise(tmp_path):
    path = tmp_path / "a.bsn"
    path.write_bytes(bytes.fromhex("00010000020000010001"))
    with refuses(f"read_counts: {path} has a span that ends before it starts, in entry 0"):
        read_counts(path)
    path.write_bytes(bytes(11))
    with refuses(f"read_counts: {path} is 11 bytes, not a multiple of 10"):
        read_counts(path)
    with refuses(f"read_counts: {tmp_path}/a.bs1 must end in .bsn"):
        read_counts(tmp_path / "a.bs1")
    with refuses("write_counts: counts must be SpikeCounts, got list", TypeError):
        write_counts(path, [1])
    with refuses(f"write_events: {path} is for numbers of spikes, not events; use write_counts"):
        write_events(path, Events([1], [1], [1], [1]))
    assert len(counts.read(io.BytesIO(bytes(10)), 10)) == 1


# Values that do not fit a format


@pytest.mark.parametrize(
    ("suffix", "columns", "unit", "message"),
    [
        (".npy", ([1], [2**53 + 1], None, [0]), "ms", f"x must be at most {2**53}, event 0 has {2**53 + 1}"),
        (".npy", ([1], [0], [0], [2**60]), "s", f"p must be at most {2**53}, event 0 has {2**60}"),
        (".npy", ([1e300], [0], [0], [0]), "us", f"t must lie in -{MOST} .. {MOST} ms, event 0 is at 1e+300 ms"),
        (
            ".h5",
            ([-3e16], [0], [0], [0]),
            "us",
            f"t must lie in -{MOST} .. {MOST} ms, event 0 is at -3e+16 ms",
        ),
        (".aedat", ([1, 2], [0, 2**15], [0, 0], [0, 0]), "", "x must be at most 32767, event 1 has 32768"),
        (".aedat", ([1], [0], [2**15], [0]), "", "y must be at most 32767, event 0 has 32768"),
        (".aedat", ([1], [0], [0], [2]), "", "p must be at most 1, event 0 has 2"),
        (".aedat", ([-1], [0], [0], [0]), "", f"t must lie in 0 .. {MOST} ms, event 0 is at -1.0 ms"),
        (".aedat", ([1], [0], None, [0]), "", "events must be in 2-D, got 1-D"),
        (".aedat4", ([1], [2**15], [0], [0]), "", "x must be at most 32767, event 0 has 32768"),
        (".aedat4", ([1], [0], [2**15], [0]), "", "y must be at most 32767, event 0 has 32768"),
        (".aedat4", ([1], [0], [0], [2]), "", "p must be at most 1, event 0 has 2"),
        (
            ".aedat4",
            ([3e16], [0], [0], [0]),
            "",
            f"t must lie in -{MOST} .. {MOST} ms, event 0 is at 3e+16 ms",
        ),
        (".aedat4", ([1], [0], None, [0]), "", "events must be in 2-D, got 1-D"),
    ],
)
def test_errors_name_the_value_that_does_not_fit(suffix, columns, unit, message):
    rule, came = message.split(", ")
    where = "for" if "2-D" in rule else "in"
    with refuses(f"write_events: {rule} {where} a {suffix} file, {came}"):
        through(suffix, Events(*columns), unit)


# .npy


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i4", ">u2", "u1", "<u8"])
def test_arrays_of_every_layout_are_read(tmp_path, dtype, order, version):
    array = np.array([[3, 4, 1, 200], [250, 6, 0, 7], [1, 2, 9, 8]], dtype=dtype, order=order)
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, version=version)
    assert read_events(path) == Events([200, 7, 8], [3, 250, 1], [4, 6, 2], [1, 0, 9])
    assert read_events(path, unit="us") == Events([0.2, 0.007, 0.008], [3, 250, 1], [4, 6, 2], [1, 0, 9])
    np.save(path, array[:, [0, 2, 3]])
    assert read_events(path, unit="s") == Events([200e3, 7e3, 8e3], [3, 250, 1], None, [1, 0, 9])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5)), SHAPES),
        (np.zeros(4), SHAPES),
        (np.zeros((3, 4), complex), SHAPES),
        (np.array([[0, 0, 0, 0], [0, 1.5, 0, 0]]), "must hold y as integers from 0, event 1 has 1.5"),
        (np.array([[0, 0, -1, 0]]), "must hold p as integers from 0, event 0 has -1"),
        (np.array([[np.nan, 0, 0, 0]]), "must hold x as integers from 0, event 0 has nan"),
        (np.array([[0, 0, 0, np.inf]]), "must hold finite times, event 0 is at inf ms"),
        (np.array([[0, 0, 2**51 + 1]]), f"must hold times within 2**51 of 0, event 0 is at {2**51 + 1} ms"),
        (np.array([[2**63, 0, 1]], np.uint64), f"must hold x as integers from 0, event 0 has {2**63}"),
    ],
)
def test_arrays_without_events_raise(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with refuses(f"read_events: {tmp_path}/a.npy {message}"):
        read_events(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"", "is empty"),
        (lambda raw: b"PK" + raw, "is no .npy file: it does not begin with \\x93NUMPY"),
        (lambda raw: raw[:6] + b"\x09" + raw[7:], "is a .npy file of an unknown version"),
        (lambda raw: raw[:-1], "holds 63 bytes of numbers, and its header speaks of 64"),
        (lambda raw: raw + b"?", "holds 65 bytes of numbers, and its header speaks of 64"),
    ],
)
def test_damaged_arrays_raise(tmp_path, change, message):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 4)))
    path.write_bytes(change(path.read_bytes()))
    with refuses(f"read_events: {path} {message}"):
        read_events(path)


# HDF5


def hdf5_of(path, **columns):
    with h5py.File(path, "w") as file:
        group = file.create_group("events")
        for name, values in columns.items():
            group[name] = values
    return path


def test_files_of_dsecs_layout_are_read(tmp_path):
    path = tmp_path / "events.h5"
    x, p, t = np.array([3, 4], np.uint16), np.array([0, 1], np.uint8), np.array([1500, 2500], np.uint32)
    hdf5_of(path, x=x, y=x, p=p, t=t)
    with h5py.File(path, "a") as file:
        file["ms_to_idx"], file["t_offset"] = np.zeros(3), 49_599_301_523
    assert read_events(path) == Events([1.5, 2.5], [3, 4], [3, 4], [0, 1])
    assert read_events(path, unit="ns") == Events([0.0015, 0.0025], [3, 4], [3, 4], [0, 1])


def test_the_unit_of_a_file(tmp_path):
    events = Events([1.5, 2.25], [70_000, 4], None, [0, 300])
    for unit in (None, "s", "ms", "us", "ns"):
        write_events(tmp_path / "a.hdf5", events, unit=unit)
        assert read_events(tmp_path / "a.hdf5") == events
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert {name: column.dtype.name for name, column in file["events"].items()} == {
            "p": "uint16",
            "t": "int64",
            "x": "uint32",
        }
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["events/t"].attrs["unit"] = "min"
    with refuses(f"read_events: {tmp_path}/a.hdf5 must give the unit of events/t as one of s, ms, us, ns, got 'min'"):
        read_events(tmp_path / "a.hdf5")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1], "t": [1]}, "must hold numbers of shape (events,) in events/p"),
        ({"x": [[1]], "p": [1], "t": [1]}, "must hold numbers of shape (events,) in events/x"),
        ({"x": [b"a"], "p": [1], "t": [1]}, "must hold numbers of shape (events,) in events/x"),
        ({"x": [1, 2], "p": [1], "t": [1]}, "must hold as much in events/x as in events/t, got 2 and 1"),
        ({"x": [1], "p": [-1], "t": [1]}, "must hold p as integers from 0, event 0 has -1"),
        ({"x": [1], "p": [1], "t": [np.nan]}, "must hold finite times, event 0 is at nan us"),
    ],
)
def test_hdf5_without_events_raises(tmp_path, columns, message):
    with refuses(f"read_events: {tmp_path}/a.h5 {message}"):
        read_events(hdf5_of(tmp_path / "a.h5", **columns))


def test_damaged_or_incomplete_hdf5_raises(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["events"] = [1, 2]
    with refuses(f"read_events: {path} must hold a group events with x, y, p and t"):
        read_events(path)
    for chunks in ((2,), None):
        with h5py.File(path, "w") as file:
            for name in "xpt":
                file.create_dataset(f"events/{name}", shape=4, dtype="i4", chunks=chunks)
        with refuses(f"read_events: {path} must hold all of events/t, a part is missing"):
            read_events(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"^read_events: .*a\.h5 cannot be read as HDF5 \(.*\)$"):
        read_events(path)


def test_checksums_of_hdf5_detect_a_flipped_bit(tmp_path):
    path = tmp_path / "a.h5"
    write_events(path, Events(np.arange(99), np.full(99, 77), np.full(99, 77), np.ones(99, int)))
    raw = bytearray(path.read_bytes())
    raw[raw.index(bytes([77] * 50)) + 20] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"^read_events: .*a\.h5 cannot be read as HDF5 \(.*\)$"):
        read_events(path)


@pytest.mark.parametrize(
    ("module", "suffix", "extra"),
    [("h5py", ".h5", "hdf5"), ("lz4.frame", "lz4.aedat4", "aedat"), ("zstandard", "zstd.aedat4", "aedat")],
)
def test_error_for_a_missing_library_names_the_extra(tmp_path, monkeypatch, module, suffix, extra):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for column in "xypt":
            file.create_dataset(f"events/{column}", data=np.arange(99), compression="lzf")
    assert read_events(tmp_path / "a.h5").x.tolist() == list(range(99))
    monkeypatch.setitem(sys.modules, module, None)
    name = module.split(".")[0]
    with refuses(f"read_events: {name} is not installed; pip install 'cuslayer[{extra}]'", ImportError):
        read_events(tmp_path / "a.h5" if suffix == ".h5" else FILES / f"dv_{suffix}")


def test_packets_of_any_size_are_joined():
    packets = base.Packets(0)
    for n in (1, 0, 5, 300):
        assert packets.add(np.full(n, 0.5), *[np.full(n, n)] * 3) == n
    assert packets.joined().x.tolist() == [1] + [5] * 5 + [300] * 300


def test_another_reader_reads_written_aedat4(tmp_path):
    """An independent reader of AEDAT 4 returns the same events."""
    n = 20_000
    r = np.random.default_rng(0)
    us, x, y, p = np.sort(r.integers(0, 10**15, n)), r.integers(0, 346, n), r.integers(0, 260, n), r.integers(0, 2, n)
    x[0], y[0] = 345, 259
    write_events(tmp_path / "a.aedat4", Events(us / 1000, x, y, p))
    decoder = aedat.Decoder(tmp_path / "a.aedat4")
    assert decoder.id_to_stream() == {0: {"type": "events", "width": 346, "height": 260}}
    found = np.concatenate([packet["events"] for packet in decoder])
    for field, wanted in (("t", us), ("x", x), ("y", y), ("on", p)):
        assert (found[field] == wanted).all()


@pytest.mark.parametrize(("turned", "wrong"), [(False, np.nan), (True, np.inf)])
def test_a_wrong_time_in_a_later_block_has_its_index(tmp_path, turned, wrong):
    rows = np.zeros((base.BLOCK + 9, 4))
    rows[base.BLOCK + 2, 3] = wrong
    np.save(tmp_path / "a.npy", np.asfortranarray(rows) if turned else rows)
    with pytest.raises(ValueError, match=rf"must hold finite times, event {base.BLOCK + 2} is at {wrong} ms$"):
        read_events(tmp_path / "a.npy")


@pytest.mark.parametrize("sign", [1, -1])
def test_integer_times_are_read_up_to_the_exactness_of_float64(sign):
    assert base.times(np.array([sign * base.EXACT]), "us").tolist() == [sign * base.EXACT / 1000]
    with pytest.raises(base.Unreadable, match=r"^must hold times within 2\*\*51 of 0, event 1 is at"):
        base.times(np.array([0, sign * (base.EXACT + 1)]), "us")
