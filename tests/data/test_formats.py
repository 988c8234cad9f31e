"""Files of events: bytes, round trips over the range of every field, and errors of one line."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.data import Events, SpikeCounts, read_counts, read_events, write_counts, write_events
from cuslayer.data.formats import FORMATS, base, slayer
from tests.support.effort import calls
from tests.support.event_bytes import FILES, write_any
from tests.support.refused import refused, refuses

WRITTEN = ", ".join(suffix for suffix, known in FORMATS.items() if known.write)
KNOWN = ", ".join(FORMATS)
LONG = 2**51
MOST = "2251799813685.248"  # 2**51 us
SHAPES = "must hold numbers of shape (events, 4) for x, y, p, t or (events, 3) for x, p, t"
EMPTY = Events([], [], [], [])
finite = st.floats(allow_nan=False, allow_infinity=False)


def one(t=1.0, x=0, y=0, p=0):
    return Events([t], [x], None if y is None else [y], [p])


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


# SLAYER's formats


@pytest.mark.parametrize(
    ("name", "events", "raw"),
    [
        (
            "a.BS2",
            Events([0.0, 8388.607, 65.793], [1, 255, 0x12], [2, 255, 0x34], [1, 1, 0]),
            "0102800000ffffffffff1234010101",
        ),
        ("a.bin", one(0.001, 3, 4, 1), "0304800001"),
        ("a.bs1", Events([0.001, 0.256], [0x1234, 65535], None, [0, 1]), "1234000001ffff800100"),
        (
            "a.bs3",
            Events([0.001, 16777.215, 66.051], [0xABC, 4095, 1], [0xDEF, 4095, 0x203], [0x12, 255, 2]),
            "abcdef12000001ffffffffffffff00120302010203",
        ),
    ],
)
def test_bytes_of_slayers_files(tmp_path, name, events, raw):
    write_events(tmp_path / name, events)
    assert (tmp_path / name).read_bytes().hex() == raw
    assert read_events(tmp_path / name) == events


@given(
    st.lists(st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 65535), st.integers(0, 1)), min_size=1),
    st.floats(-0.49, 0.49),
)
def test_neuron_events_round_trip_to_the_microsecond(rows, off):
    us, x, p = (np.array(column) for column in zip(*rows, strict=True))
    assert through(".bs1", Events((us + off) / 1000, x, None, p)) == Events(us / 1000, x, None, p)


@pytest.mark.parametrize(
    ("suffix", "least", "most", "x", "p", "events"),
    [(".bs2", 0, 2**23 - 1, 255, 1, 1), (".bs3", 0, 2**24 - 1, 4095, 255, 1), (".aedat", 0, LONG, 2**15 - 1, 1, 0)],
)
@given(data=st.data())
def test_round_trip_of_whole_microseconds(suffix, least, most, x, p, events, data):
    us, *columns = data.draw(recordings(st.integers(least, most), x, p, events))
    assert through(suffix, Events(us / 1000, *columns)) == Events(us / 1000, *columns)


def test_long_files_are_read_in_blocks(tmp_path):
    n = 2 * base.BLOCK + 3
    us, x, y, p = np.arange(n), np.arange(n) % 251, np.arange(n) % 241, np.arange(n) % 2
    for suffix in (".bs2", ".npy", ".h5", ".dat"):
        path = write_any(tmp_path / f"a{suffix}", us, x, y, p)
        assert read_events(path) == Events(us / 1000, x, y, p), suffix
    with pytest.raises(ValueError, match=r"^was cut short while it was read$"):
        FORMATS[".bs2"].read(io.BytesIO(bytes(5)), 10, "")


def test_reading_does_not_loop_over_events(tmp_path):
    """A million events take a few calls for each of 31 blocks of 32,768 events, not one call per event."""
    path = tmp_path / "a.bs3"
    path.write_bytes(bytes(7 * 1_000_000))
    read = []
    found = calls(lambda: read.append(read_events(path)))
    assert len(read[0]) == 1_000_000
    assert 31 < found < 31 * 100


# Counts of spikes


@given(st.lists(st.tuples(*[st.integers(0, 2**16 - 1)] * 2, *[st.integers(0, 2**24 - 1)] * 2), min_size=1))
def test_counts_round_trip(tmp_path_factory, rows):
    neuron, count, a, b = (np.array(column) for column in zip(*rows, strict=True))
    wanted = SpikeCounts(neuron, np.minimum(a, b) / 1000, np.maximum(a, b) / 1000, count)
    path = tmp_path_factory.getbasetemp() / "survive.bsn"
    write_counts(path, wanted)
    assert read_counts(path) == wanted


def test_counts_have_bytes_dtypes_length_and_equality(tmp_path):
    write_counts(tmp_path / "a.bsn", SpikeCounts([0x1234], [0x010203 / 1000], [0x0A0B0C / 1000], [0x5678]))
    assert (tmp_path / "a.bsn").read_bytes().hex() == "12340102030a0b0c5678"
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
        (([1], [0], [1], [1, 2]), "SpikeCounts: count must be as long as index"),
        (([1, 1], [0, 5], [1, 4], [1, 2]), "SpikeCounts: end must not lie before start, entry 1 has 5.0 .. 4.0 ms"),
        (([1], [np.inf], [1], [1]), "SpikeCounts: start must be finite, entry 0 is at inf"),
        (([-1], [0], [1], [1]), "SpikeCounts: index must lie in 0 .. 2**63 - 1, entry 0 has -1"),
        (([70000], [0], [1], [1]), "write_counts: index must be at most 65535 in a .bsn file, entry 0 has 70000"),
        (
            ([1], [0], [20000], [1]),
            "write_counts: end must lie in 0 .. 16777.215 ms in a .bsn file, entry 0 is at 20000.0 ms",
        ),
        (([], [], [], []), "write_counts: counts must not be empty for a .bsn file"),
    ],
)
def test_counts_that_are_invalid_or_do_not_fit_raise(tmp_path, columns, message):
    refused(message, lambda: write_counts(tmp_path / "a.bsn", SpikeCounts(*columns)))


def test_invalid_count_files_raise(tmp_path):
    path = tmp_path / "a.bsn"
    path.write_bytes(bytes.fromhex("00010000020000010001"))
    refused(f"read_counts: {path} has a span that ends before it starts, in entry 0", lambda: read_counts(path))
    path.write_bytes(bytes(11))
    refused(f"read_counts: {path} is 11 bytes, not a multiple of 10", lambda: read_counts(path))
    refused(f"read_counts: {tmp_path}/a.bs1 must end in .bsn", lambda: read_counts(tmp_path / "a.bs1"))
    refused("write_counts: counts must be SpikeCounts", lambda: write_counts(path, [1]))
    with refuses(f"write_events: {path} is for numbers of spikes, not events", "; use write_counts"):
        write_events(path, one())


# Values that do not fit, paths, units


@pytest.mark.parametrize(
    ("suffix", "events", "unit", "message"),
    [
        (".bs2", one(x=256), None, "x must be at most 255 in a .bs2 file, event 0 has 256"),
        (".bs2", one(p=2), None, "p must be at most 1 in a .bs2 file, event 0 has 2"),
        (
            ".bs2",
            Events([1.0, 8388.608], [0, 0], [0, 0], [0, 0]),
            None,
            "t must lie in 0 .. 8388.607 ms in a .bs2 file, event 1 is at 8388.608 ms",
        ),
        (".bs2", one(1e306), None, "t must lie in 0 .. 8388.607 ms in a .bs2 file, event 0 is at 1e+306 ms"),
        (".bs2", one(-0.001), None, "t must lie in 0 .. 8388.607 ms in a .bs2 file, event 0 is at -0.001 ms"),
        (".bs2", one(y=None), None, "events must be in 2-D for a .bs2 file"),
        (".bs1", one(), None, "events must be in 1-D for a .bs1 file"),
        (".bs2", EMPTY, None, "events must not be empty for a .bs2 file"),
        (".npy", one(x=2**53 + 1, y=None), "ms", f"x must be at most {2**53} in a .npy file, event 0 has {2**53 + 1}"),
        (".npy", one(1e300), "us", f"t must lie in -{MOST} .. {MOST} ms in a .npy file, event 0 is at 1e+300 ms"),
        (".h5", one(-3e16), None, f"t must lie in -{MOST} .. {MOST} ms in a .h5 file, event 0 is at -3e+16 ms"),
        (".aedat", one(x=2**15), None, "x must be at most 32767 in a .aedat file, event 0 has 32768"),
        (".aedat", one(p=2), None, "p must be at most 1 in a .aedat file, event 0 has 2"),
        (".aedat", one(-1.0), None, f"t must lie in 0 .. {MOST} ms in a .aedat file, event 0 is at -1.0 ms"),
    ],
)
def test_events_that_do_not_fit_raise_and_leave_the_file(tmp_path, suffix, events, unit, message):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"as it was")
    refused(f"write_events: {message}", lambda: write_events(path, events, unit=unit))
    assert path.read_bytes() == b"as it was"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("suffix", [".aedat4", ".dat", ".raw"])
def test_formats_that_are_only_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with refuses(f"write_events: {path} cannot be written, {suffix} files are only read", f"; write {WRITTEN}"):
        write_events(path, one())


def test_files_are_replaced_atomically(tmp_path, monkeypatch):
    path = tmp_path / "a.bs2"
    path.write_bytes(b"as it was")

    def fail(source, target):
        assert Path(source).read_bytes()
        assert Path(target).read_bytes() == b"as it was"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    refused(f"write_events: {path} cannot be opened (No space left on device)", lambda: write_events(path, one()))
    assert [p.name for p in tmp_path.iterdir()] == ["a.bs2"]


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.bs2", b"", "is empty"),
        ("a.bs2", bytes(23), "is 23 bytes, not a multiple of 5"),
        ("a.txt", bytes(5), f"must end in one of {KNOWN}"),
        ("a.bs1", bytes(4), "is 4 bytes, not a multiple of 5"),
        ("a.bs3", bytes(13), "is 13 bytes, not a multiple of 7"),
        ("a.bsn", bytes(10), "is for numbers of spikes, not events"),
        ("a.h5", b"", "is empty"),
        ("a.bs2", None, "does not exist"),
    ],
)
def test_reading_damaged_files_raises(tmp_path, name, raw, message):
    path = tmp_path / name
    if raw is not None:
        path.write_bytes(raw)
    refused(f"read_events: {path} {message}", lambda: read_events(path))


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("h5py", "a.h5", "hdf5"), ("lz4.frame", "dv_lz4.aedat4", "aedat"), ("zstandard", "dv_zstd.aedat4", "aedat")],
)
def test_error_for_a_missing_library_names_the_extra(tmp_path, monkeypatch, module, name, extra):
    write_events(tmp_path / "a.h5", one())
    monkeypatch.setitem(sys.modules, module, None)
    library = module.split(".")[0]
    message = rf"{library} is not installed; pip install 'cuslayer\[{extra}\]'$"
    with pytest.raises(ImportError, match=f"^read_events: {message}"):
        read_events(tmp_path / name if extra == "hdf5" else FILES / name)
    if extra == "hdf5":
        with pytest.raises(ImportError, match=f"^write_events: {message}"):
            write_events(tmp_path / "b.h5", one())


def test_no_events_and_packets_of_any_size(tmp_path):
    for name in ("a.aedat", "a.npy", "a.h5"):
        write_events(tmp_path / name, EMPTY)
        assert read_events(tmp_path / name) == EMPTY
    packets = base.Packets(0)
    for n in (1, 0, 5, 300):
        packets.add(np.full(n, 0.5), *[np.full(n, n)] * 3)
    assert packets.joined().x.tolist() == [1] + [5] * 5 + [300] * 300


@pytest.mark.parametrize("sign", [1, -1])
def test_integer_times_are_read_up_to_the_exactness_of_float64(sign):
    assert base.times(np.array([sign * base.EXACT]), "us").tolist() == [sign * base.EXACT / 1000]
    with pytest.raises(base.Unreadable, match=r"^must hold times within 2\*\*51 of 0, event 1 is at"):
        base.times(np.array([0, sign * (base.EXACT + 1)]), "us")


# .npy and .h5


@given(recordings(finite, 2**53, 2**53), st.booleans())
def test_npy_round_trip_to_the_bit(columns, flat):
    t, x, y, p = columns
    events = Events(t, x, None if flat else y, p)
    assert through(".npy", events) == events


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@pytest.mark.parametrize(("unit", "per_ms"), [("us", 1e3), ("ns", 1e6)])
@settings(max_examples=40)
@given(data=st.data(), flat=st.booleans())
def test_round_trip_in_whole_units(suffix, unit, per_ms, data, flat):
    whole, x, y, p = data.draw(recordings(st.integers(-LONG, LONG), 2**63 - 1, 2**63 - 1))
    events = Events(whole / per_ms, x, None if flat else y, p)
    assert through(suffix, events, unit) == events


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
@settings(max_examples=40)
@given(columns=recordings(st.floats(-1e15, 1e15), 2**53, 3))
def test_round_trip_in_seconds(suffix, columns):
    t, x, y, p = columns
    found = through(suffix, Events(t, x, y, p), "s")
    np.testing.assert_allclose(found.t, t, rtol=1e-15, atol=1e-300)
    assert found == Events(found.t, x, y, p)


@pytest.mark.parametrize(
    ("dtype", "order", "version"),
    [("<f8", "C", (1, 0)), (">f4", "F", (2, 0)), ("<i4", "F", (1, 0)), (">u2", "C", (2, 0)), ("u1", "F", (1, 0))],
)
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
        (np.zeros((3, 4), np.longdouble), SHAPES),
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
    refused(f"read_events: {tmp_path}/a.npy {message}", lambda: read_events(tmp_path / "a.npy"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"", "is empty"),
        (lambda raw: b"PK" + raw, "is no .npy file ("),
        (lambda raw: raw[:6] + b"\x03" + raw[7:], "is no .npy file ("),
        (lambda raw: raw.replace(b"(2, 4)", b"(((((("), "is no .npy file ("),
        (lambda raw: raw.replace(b"(2, 4), ", b"(-2, 4),"), SHAPES),
        (lambda raw: raw[:-1], "holds 63 bytes of numbers, and its header speaks of 64"),
        (lambda raw: raw + b"?", "holds 65 bytes of numbers, and its header speaks of 64"),
    ],
)
def test_damaged_arrays_raise(tmp_path, change, message):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 4)))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match="^" + re.escape(f"read_events: {path} {message}")):
        read_events(path)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 4), None), allow_pickle=True)
    refused(f"read_events: {tmp_path}/a.npy {SHAPES}", lambda: read_events(tmp_path / "a.npy"))


@pytest.mark.parametrize(("turned", "wrong"), [(False, np.nan), (True, np.inf)])
def test_a_wrong_time_in_a_later_block_has_its_index(tmp_path, turned, wrong):
    rows = np.zeros((base.BLOCK + 9, 4))
    rows[base.BLOCK + 2, 3] = wrong
    np.save(tmp_path / "a.npy", np.asfortranarray(rows) if turned else rows)
    with pytest.raises(ValueError, match=rf"must hold finite times, event {base.BLOCK + 2} is at {wrong} ms$"):
        read_events(tmp_path / "a.npy")


# Damage: flipped bits, missing parts, inserted bytes


def original(name, folder):
    """Return the bytes of a valid file of 120 events or entries."""
    r = np.random.default_rng(0)
    us, x, y, p = np.sort(r.integers(0, 2**22, 120)), *r.integers(0, 200, (2, 120)), np.arange(120) % 2
    path = folder / f"whole{name}"
    if name == ".bsn":
        write_counts(path, SpikeCounts(x, us / 1000, us / 1000 + 5, y))
    elif name.startswith("dv_"):
        path = FILES / name
    else:
        write_any(path, us, x, y, p)
    return path.read_bytes()


def damaged(raw, r):
    """Return raw with one to three faults of one type, half of them in the first 400 bytes, where headers are."""
    found = bytearray(raw)
    kind = r.integers(3)
    for _ in range(r.integers(1, 4)):
        place = int(r.integers(max(1, min(len(found), 400 if r.random() < 0.5 else len(found)))))
        if kind == 0 and found:
            found[place] ^= 1 << int(r.integers(8))
        elif kind == 1:
            del found[place:]
        else:
            found[place:place] = r.bytes(int(r.integers(1, 9)))
    return bytes(found)


@pytest.mark.parametrize(
    ("name", "files", "events"),
    [
        (".bs1", 2000, 5),
        (".bs3", 2000, 7),
        (".bsn", 2000, 10),
        (".npy", 4000, None),
        (".h5", 1000, None),
        (".aedat", 4000, None),
        (".dat", 2000, 8),
        (".raw", 2000, 0),
        ("dv_none.aedat4", 2000, None),
        ("dv_lz4.aedat4", 2000, None),
        ("dv_zstd.aedat4", 2000, None),
    ],
)
def test_a_damaged_file_raises_one_line_or_is_consistent(name, files, events, tmp_path):
    """`events` is the bytes of an event, 0 if they vary, None if the file says how many events it has."""
    raw = original(name, tmp_path)
    known = None if name == ".bsn" else FORMATS[name[name.index(".") :]]
    r = np.random.default_rng(1)
    messages = []
    for _ in range(files):
        broken = damaged(raw, r)
        file, size = io.BytesIO(broken), len(broken)
        try:
            found = slayer._read_counts(file, size) if known is None else known.read(file, size, known.unit or "")
        except ValueError as problem:
            messages.append(str(problem))
            continue
        if events is None:
            assert len(found) == (5 if name.startswith("dv_") else 120)
        elif events:
            assert len(found) == len(broken) // events or name == ".dat"
        if known is not None:
            assert Events(found.t, found.x, found.y, found.p) == found
    assert 0.4 * files < len(messages) <= files or events in (0, 8)
    assert messages
    assert all(message and "\n" not in message for message in messages)


def test_numpy_is_not_asked_for_more_than_the_file(tmp_path):
    """A header that speaks of terabytes takes no memory."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 4)}
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match="holds 0 bytes of numbers"):
        read_events(tmp_path / "a.npy")
