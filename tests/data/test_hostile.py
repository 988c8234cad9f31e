"""Recordings, lists and shapes that are made to do harm: each is refused by one line, in little memory."""

import os
import re
import socket
import threading
import tracemalloc

import h5py
import lz4.frame
import numpy as np
import pytest
import zstandard

import cuslayer as cs
from cuslayer._base import check
from cuslayer.data import EventFolder, Events, Loader, open_folder, read_counts, read_events, write_events
from cuslayer.data.formats import FORMATS
from tests.support.event_bytes import FILES, aedat4_bytes, packet4, write_any
from tests.support.refused import raises, refused, refuses

ONE = Events([1.0], [2], [3], [1])


# What is no file


@pytest.mark.parametrize("suffix", [*FORMATS, ".bsn"])
def test_what_is_no_file_is_not_opened(tmp_path, suffix):
    read = read_counts if suffix == ".bsn" else read_events
    pipe, to_device, folder, plug = (tmp_path / f"{name}{suffix}" for name in ("pipe", "device", "folder", "plug"))
    os.mkfifo(pipe)
    to_device.symlink_to("/dev/zero")
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(plug))
        for path, what in ((pipe, "named pipe"), (to_device, "device"), (folder, "folder"), (plug, "socket")):
            with refuses(f"{read.__name__}: {path} is a {what}, not a file"):
                read(path)
    raises(rf"^{read.__name__}: path must not hold a zero byte", lambda: read(f"a\0{suffix}"))


def test_a_pipe_that_takes_the_place_of_a_file_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "a.bs2"
    path.write_bytes(bytes(5))
    status = os.stat(path)
    path.unlink()
    os.mkfifo(path)
    with monkeypatch.context() as patch:  # pytest itself needs os.stat to show a failure
        patch.setattr("os.stat", lambda _: status)
        refused(f"read_events: {path} is a named pipe, not a file", lambda: read_events(path))


def test_a_pipe_in_a_folder_of_recordings(tmp_path):
    """The loader reads the bytes of `.bs2` files itself."""
    for number in (1, 2):
        write_events(tmp_path / f"{number}.bs2", ONE)
    (tmp_path / "train.txt").write_text("1 0\n2 1\n")
    data = EventFolder(tmp_path, tmp_path / "train.txt", (34, 34, 2))
    (tmp_path / "2.bs2").unlink()
    os.mkfifo(tmp_path / "2.bs2")
    assert data.recording(1) is None
    problems = []

    def read():
        try:
            list(Loader(data, 2, steps=10))
        except ValueError as problem:
            problems.append(str(problem))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(600)  # reading a pipe would never end
    assert problems == [f"read_events: {tmp_path}/2.bs2 is a named pipe, not a file"]


# Limits of events


SUFFIXES = [".bs1", ".bs2", ".npy", ".h5", ".aedat", ".aedat4", ".dat", ".raw"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_limit_of_events_of_every_format(tmp_path, suffix):
    n = 20
    path = write_any(tmp_path / f"a{suffix}", np.arange(n), *np.zeros((3, n), int))
    assert len(read_events(path, max_events=n)) == n
    for most in (n - 1, 0):
        rule = re.escape(f"read_events: {path} must hold at most {most} events, got ")
        with pytest.raises(ValueError, match=f"^{rule}(20; max|more; max)"):
            read_events(path, max_events=most)
    refused("read_events: max_events must be at least 0", lambda: read_events(path, max_events=-1))
    with refuses("read_events: max_events must be an integer"):
        read_events(path, max_events=1.5)


def test_files_without_compression_need_no_argument(tmp_path):
    n = (1 << 19) + 5
    for columns in (3, 4):
        np.save(tmp_path / "a.npy", np.zeros((n, columns), np.uint8))
        assert len(read_events(tmp_path / "a.npy")) == n
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xpt":
            file[f"events/{name}"] = np.zeros(n, np.uint8)
    assert len(read_events(tmp_path / "a.h5")) == n


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_events_that_are_larger_than_memory(tmp_path, monkeypatch, suffix):
    path = write_any(tmp_path / f"a{suffix}", *np.zeros((4, 20), int))
    monkeypatch.setattr(check, "_machine_memory", lambda: 20 * 32)
    assert len(read_events(path)) == 20
    monkeypatch.setattr(check, "_machine_memory", lambda: 20 * 32 - 1)
    raises(f"^read_events: {path} must fit into memory, its 20 events take .* GiB$", lambda: read_events(path))


def test_a_file_of_holes_in_a_folder_of_recordings(folder):
    """It takes no space on the disk, and more memory than there is."""
    os.truncate(folder / "3.bs2", 5 << 38)
    with pytest.raises(ValueError, match=rf"^read_events: {folder}/3\.bs2 must fit into memory, its "):
        list(Loader(EventFolder(folder, folder / "test.txt"), 1, steps=10))


@pytest.mark.parametrize("kind", ["lz4", "zstd"])
def test_a_packet_that_unfolds_is_refused_in_steps(tmp_path, kind):
    path = tmp_path / "a.aedat4"
    pack = {"lz4": lz4.frame.compress, "zstd": zstandard.ZstdCompressor(level=19).compress}[kind]
    path.write_bytes(aedat4_bytes(pack(packet4(*np.zeros((4, 1000), int))), kind))
    assert len(read_events(path)) == 1000
    path.write_bytes(aedat4_bytes(pack(packet4(*np.zeros((4, 1 << 20), int))), kind))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        raises(r"must hold at most 524288 events, got more; max_events= raises", lambda: read_events(path))
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_words_of_a_header_do_not_unfold(tmp_path):
    """A document type defines words of XML, each ten of the one before."""
    raw = (FILES / "dv_none.aedat4").read_bytes()
    text = raw[raw.index(b"<dv") : raw.index(b"</dv>") + 5]
    own = b'<!DOCTYPE d [<!ENTITY a "b">]><dv>&a;'
    (tmp_path / "a.aedat4").write_bytes(raw.replace(text, own.ljust(len(text) - 5) + b"</dv>"))
    with refuses(f"read_events: {tmp_path}/a.aedat4 has no list of its streams in its header"):
        read_events(tmp_path / "a.aedat4")


# Lists


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        write_events(tmp_path / f"{number}.bs2", ONE)
    (tmp_path / "test.txt").write_text("3 0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"1 {10**30}\n", f"line 1 must have a class below {2**31}"),
        ("1 0\n2 2147483648\n", "line 2 must have a class below 2147483648"),
        (f"{'9' * 5000} 0\n", f"line 1 must have a number below {10**18}"),
        ("1 0\n# again\n1 1\n", "line 3 must name another recording, 1 is in line 1"),
        ("1 0\n01 0\n", "line 2 must name another recording, 1 is in line 1"),
    ],
)
def test_lines_of_a_list(folder, text, message):
    (folder / "train.txt").write_text(text)
    refused(f"open_folder: {folder}/train.txt {message}", lambda: open_folder(folder))
    refused(f"EventFolder: {folder}/train.txt {message}", lambda: EventFolder(folder, folder / "train.txt"))


def test_a_list_of_more_lines_than_recordings(folder):
    with (folder / "train.txt").open("wb") as file:
        file.truncate(10**9)  # takes no room on the disk
    size = (1 << 20) + 100 * 5
    with refuses(f"open_folder: list {folder}/train.txt must have at most {size} bytes for the 5 files of {folder}"):
        open_folder(folder)


def test_the_limit_of_events_of_a_folder(folder):
    (folder / "train.txt").write_text("1 0\n2 1\n")
    train, test = open_folder(folder, max_events=0)
    for data in (train, test, EventFolder(folder, folder / "train.txt", max_events=0)):
        with pytest.raises(ValueError, match=r"must hold at most 0 events, got 1; max_events=1 reads them$"):
            data[0]
        with pytest.raises(ValueError, match=r"must hold at most 0 events, got 1; max_events=1 reads them$"):
            list(Loader(data, 1, steps=10))
    assert len(open_folder(folder, max_events=1)[0][0][0]) == 1
    with refuses("EventFolder: max_events must be an integer"):
        open_folder(folder, max_events="1")


# Shapes


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: ONE.to_spikes((2**20, 2**20, 1), 1), "to_spikes: the bins"),
        (lambda: ONE.to_spikes((2**31, 2**31, 2**31), 2**31), "to_spikes: the bins"),
        (lambda: Events.from_spikes(np.full((1, 4), 2**61)), "from_spikes: the events"),
        (lambda: cs.encode_poisson(np.ones((1, 9)), steps=10**15, rate=1.0), "encode_poisson: the spikes"),
        (lambda: cs.encode_latency(np.ones((1, 9)), steps=10**15), "encode_latency: the spikes"),
        (lambda: cs.functions.replicate(np.ones((1, 9)), steps=10**15), "replicate: the result"),
    ],
)
def test_arrays_that_are_larger_than_memory(make, shape):
    raises(rf"^{shape} must fit into memory, got shape .* GiB, this machine has .* GiB$", lambda: make())


def test_batches_that_are_larger_than_memory(folder):
    data = EventFolder(folder, folder / "test.txt", (2**20, 2**20, 1))
    with refuses("Loader: a batch must fit into memory"):
        Loader(data, 4, steps=10)


def test_labels_that_are_too_large(folder):
    class Data:
        shape = (3,)

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return np.zeros((5, 3), bool), 10**30

    with refuses("Loader: sample 0: label must be an integer from 0, under 2147483648"):
        list(Loader(Data(), 1, steps=5))


def test_names_that_are_too_long(folder):
    name = "a" * 5000
    raises(r"^read_events: a+\.bs2 cannot be opened \(File name too long\)$", lambda: read_events(f"{name}.bs2"))
    refused(f"open_folder: folder {name} does not exist", lambda: open_folder(name))
    refused(f"EventFolder: list {name} does not exist", lambda: EventFolder(folder, name))
    for read in (cs.interchange.import_hdf5, cs.training.load_config):
        with refuses(f"{read.__name__}: {name} is no file"):
            read(name)


def test_logs_are_regular_files(tmp_path):
    for name in ("loss.txt", "metrics.csv"):
        os.mkfifo(tmp_path / name)
    refused(f"load_stats: {tmp_path}/metrics.csv is no file", lambda: cs.training.Stats.load(tmp_path / "metrics.csv"))
    refused(f"Stats: {tmp_path}/loss.txt is no file", lambda: cs.training.Stats.load_slayer(f"{tmp_path}/"))


# HDF5 recordings: what h5py writes is read; files made to do harm are refused


COLUMNS = ("x", "y", "p", "t")
GZIP = {"compression": "gzip", "shuffle": True, "fletcher32": True}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.h5"


@pytest.fixture
def denied(path):
    """Check that `read_events` refuses a file with a message, in 64 MB."""

    def denied(message):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=re.escape(f"read_events: {path} {message}")) as caught:
                read_events(path)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        assert "\n" not in str(caught.value)

    return denied


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
def test_columns_that_are_no_events(path, denied, columns, message):
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[f"events/{name}"] = values
    denied(message)


def test_incomplete_files(path, denied):
    """tests/test_hdf5_files.py and tests/data/test_formats.py have damaged ones, the former links and sizes too."""
    with h5py.File(path, "w") as file:
        file["events"] = [1, 2]
    denied("must hold a group events with x, y, p and t")
    for options in ({"chunks": (2,)}, {}, {"chunks": (2,), "maxshape": (None,)}):
        with with_columns(path, "x", "p") as file:
            column = file.create_dataset("events/t", (4,), "i4", **options)
            if options:
                column[3] = 1
        denied("must hold all of events/t, a part is missing")


def test_other_filters(path, denied):
    with with_columns(path, "y", "p", "t") as file:
        file.create_dataset("events/x", (4,), "i8", chunks=(4,), compression=32001, allow_unknown_filter=True)
        file["events/x"].id.write_direct_chunk((0,), b"blosc")
    denied("cannot be read as HDF5 (events/x is compressed in another way; gzip, lzf, shuffle and checksums are read)")


@pytest.mark.all
def test_a_file_that_unfolds_is_refused_before_memory_is_taken(path, denied):
    for events in (1 << 20, 1 << 21):
        with h5py.File(path, "w") as file:
            for name in COLUMNS:
                chunks = {"chunks": (1 << 16,), "compression": "gzip", "compression_opts": 9}
                file.create_dataset(f"events/{name}", data=np.zeros(events, "i4"), **chunks)
        assert path.stat().st_size < 300_000
        denied(f"must hold at most 524288 events, got {events}; max_events={events} reads them")
    assert len(read_events(path, max_events=1 << 21)) == 1 << 21
