"""HDF5 recordings: what h5py writes is read; files made to do harm are refused by one line, in little memory."""

import re
import tracemalloc

import h5py
import numpy as np
import pytest

from cuslayer.data import Events, read_events, write_events

COLUMNS = ("x", "y", "p", "t")
GZIP = {"compression": "gzip", "shuffle": True, "fletcher32": True}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


@pytest.fixture
def refused(path):
    """Check that `read_events` refuses a file with a message, in 64 MB."""

    def refused(message):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=re.escape(f"read_events: {path} {message}")) as caught:
                read_events(path)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        assert "\n" not in str(caught.value)

    return refused


def with_columns(path, *names, events=4, **options):
    """Return an open file that has some of the columns."""
    file = h5py.File(path, "w", **options)
    for name in names:
        file[f"events/{name}"] = np.arange(events)
    return file


@pytest.mark.parametrize("version", [("earliest", "latest"), ("v110", "v110"), ("latest", "latest")])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (700,), "fletcher32": True},
        {"chunks": (64,), "maxshape": (None,), **GZIP},
        {"chunks": (5000,), "maxshape": (None,), "compression": "gzip"},
        {"chunks": (64,), "compression": "lzf"},
    ],
)
def test_columns_of_every_layout(path, version, options):
    n = 200 if options.get("chunks") != (700,) else (1 << 16) + 9
    x = np.random.default_rng(0).integers(0, 200, n)
    with h5py.File(path, "w", libver=version, userblock_size=512) as file:
        for name, dtype in zip(COLUMNS, ("u1", ">u2", "<i8", ">f4"), strict=True):
            file.create_dataset(f"events/{name}", data=x.astype(dtype), **options)
        file["ms_to_idx"], file["t_offset"] = np.zeros(3), 49_599_301_523  # as in DSEC
    assert read_events(path) == Events(x.astype("f4").astype(float) / 1000, x, x, x)
    assert read_events(path, unit="ns").t[-1] == float(x[-1]) / 1e6


def test_filters_that_a_chunk_leaves_out(path):
    """A library may leave out gzip for a chunk that it would not shorten; the second chunk has every filter."""
    x, both = np.arange(100, dtype="<i4"), {}
    with h5py.File(path, "w") as file:
        for name in COLUMNS:
            both = file.create_dataset(f"events/{name}", (200,), x.dtype, chunks=(100,), compression="gzip")
            both[100:] = x
            both.id.write_direct_chunk((0,), x.tobytes(), 1)
    assert read_events(path).x.tolist() == [*x, *x]


def test_the_unit_of_a_file(path):
    events = Events([1.5, 2.25], [70_000, 4], None, [0, 300])
    for unit in (None, "s", "ms", "us", "ns"):
        write_events(path, events, unit=unit)
        assert read_events(path) == events
        # Text of variable length lies where the C library may run for ever.
        assert b"GCOL" not in path.read_bytes()
    with h5py.File(path) as file:
        kinds = {name: column.dtype.name for name, column in file["events"].items()}
        assert kinds == {"p": "uint16", "t": "int64", "x": "uint32"}
        assert file["events/t"].attrs["unit"] == b"ns"
    for unit, got in (("min", "'min'"), (3, "'[?]'")):
        with h5py.File(path, "a") as file:
            file["events/t"].attrs["unit"] = unit
        with pytest.raises(ValueError, match=f"must give the unit of events/t as one of s, ms, us, ns, got .*{got}"):
            read_events(path)
    with h5py.File(path, "a") as file:
        file["events/t"].attrs["unit"] = "ms"
    assert read_events(path).t.tolist() == [1_500_000, 2_250_000]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": [1], "t": [1]}, "must hold numbers of shape (events,) in events/p"),
        ({"x": [[1]], "p": [1], "t": [1]}, "must hold numbers of shape (events,) in events/x"),
        ({"x": [b"a"], "p": [1], "t": [1]}, "must hold numbers of shape (events,) in events/x"),
        ({"x": [1j], "p": [1], "t": [1]}, "cannot be read as HDF5 (events/x has neither numbers nor text)"),
        ({"x": h5py.Empty("f4"), "p": [1], "t": [1]}, "cannot be read as HDF5 (events/x holds nothing)"),
        ({"x": [1, 2], "p": [1], "t": [1]}, "must hold as much in events/x as in events/t, got 2 and 1"),
        ({"x": [1], "p": [-1], "t": [1]}, "must hold p as integers from 0, event 0 has -1"),
        ({"x": [1], "p": [1], "t": [np.nan]}, "must hold finite times, event 0 is at nan us"),
    ],
)
def test_columns_that_are_no_events(path, refused, columns, message):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[f"events/{name}"] = values
    refused(message)


def test_damaged_or_incomplete_files(path, refused):
    with h5py.File(path, "w") as file:
        file["events"] = [1, 2]
    refused("must hold a group events with x, y, p and t")
    for options in ({"chunks": (2,)}, {}, {"chunks": (2,), "maxshape": (None,)}):
        with with_columns(path, "x", "p") as file:
            column = file.create_dataset("events/t", (4,), "i4", **options)
            if options:
                column[3] = 1
        refused("must hold all of events/t, a part is missing")
    path.write_bytes(b"no HDF5")
    refused("cannot be read as HDF5 (")
    write_events(path, Events(np.arange(99), np.full(99, 77), np.full(99, 77), np.ones(99, int)))
    raw = path.read_bytes()
    for end in (len(raw) - 1, 97, 970):
        path.write_bytes(raw[:end])
        refused("cannot be read as HDF5 (")
    for place in (raw.index(bytes([77] * 50)) + 20, raw.index(b"OHDR") + 8):  # of events, of the file's structure
        broken = bytearray(raw)
        broken[place] ^= 1
        path.write_bytes(broken)
        refused("cannot be read as HDF5 (")


def test_other_filters_and_links(path, refused):
    with with_columns(path, "y", "p", "t") as file:
        file.create_dataset("events/x", (4,), "i8", chunks=(4,), compression=32001, allow_unknown_filter=True)
        file["events/x"].id.write_direct_chunk((0,), b"blosc")
    refused("cannot be read as HDF5 (events/x is compressed in another way; gzip, lzf, shuffle and checksums are read)")
    # Links, sizes and chunks have more tests in tests/test_hdf5_files.py.
    with with_columns(path, "y", "p", "t") as file:
        file["events/x"] = h5py.ExternalLink("other.h5", "x")
    refused("cannot be read as HDF5 (events/x is a link to another place or file, which is not followed)")


def test_a_file_that_unfolds_is_refused_before_memory_is_taken(path, refused):
    for events in (1 << 20, 1 << 21):
        with h5py.File(path, "w") as file:
            for name in COLUMNS:
                chunks = {"chunks": (1 << 16,), "compression": "gzip", "compression_opts": 9}
                file.create_dataset(f"events/{name}", data=np.zeros(events, "i4"), **chunks)
        assert path.stat().st_size < 300_000
        refused(f"must hold at most 524288 events, got {events}; max_events={events} reads them")
    assert len(read_events(path, max_events=1 << 21)) == 1 << 21
