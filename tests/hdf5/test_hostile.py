"""HDF5 files that are made to do harm: each is refused by one line, with little work and memory."""

from __future__ import annotations

import io
import re
import tracemalloc

import h5py
import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Events, read_events, write_events
from cuslayer.hdf5 import Damaged, open_root, source
from cuslayer.hdf5.source import NOWHERE, Cursor
from tests.support.effort import at_most

COLUMNS = ("x", "y", "p", "t")


# Of functions, to refuse a file: many times what is needed, and far less than what the file asks for.
CALLS = 300_000


@pytest.fixture
def refused(tmp_path):
    """Check that `read_events` refuses a file with a message, with little work and 64 MB."""

    def refused(message, path=tmp_path / "a.h5", reader=read_events):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=re.escape(message)) as caught, at_most(CALLS):
                reader(path)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    return refused


def with_columns(path, *names, **options):
    """Return an open file that has some of the columns."""
    file = h5py.File(path, "w", **options)
    for name in names:
        file[f"events/{name}"] = np.arange(4)
    return file


def test_data_in_another_file_is_not_read(tmp_path, refused):
    (tmp_path / "secret").write_bytes(bytes(range(64)))
    for version in ("earliest", "latest"):
        with with_columns(tmp_path / "a.h5", "y", "p", "t", libver=version) as file:
            external = [(str(tmp_path / "secret"), 0, 4)]
            file.create_dataset("events/x", (4,), "u1", external=external)
        refused("events/x has its data in another file, which is not read")


def test_a_virtual_data_set_is_not_read(tmp_path, refused):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(4)
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (4,))
    with with_columns(tmp_path / "a.h5", "y", "p", "t", libver="latest") as file:
        file.create_virtual_dataset("events/x", layout)
    refused("events/x is made of data of other files, which is not read")


@pytest.mark.parametrize("version", ["earliest", "latest"])
@pytest.mark.parametrize("link", [h5py.ExternalLink("other.h5", "x"), h5py.SoftLink("/x")])
def test_links_are_not_followed(tmp_path, refused, link, version):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(4)
    with with_columns(tmp_path / "a.h5", "y", "p", "t", libver=version) as file:
        file["x"], file["events/x"] = np.arange(4), link
    refused("events/x is a link to another place or file, which is not followed")
    with with_columns(tmp_path / "a.h5", libver=version) as file:
        file["events"] = link
    refused("events is a link to another place or file, which is not followed")


@pytest.mark.parametrize("options", [{"external": [("/etc/passwd", 0, 4)]}, {"link": h5py.ExternalLink("b", "x")}])
def test_networks_are_of_one_file_too(tmp_path, refused, options):
    cs.export_hdf5(cs.Network("3-2", cs.SRM()), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "a") as file:
        del file["layer/1/weight"]
        if "link" in options:
            file["layer/1/weight"] = options["link"]
        else:
            file.create_dataset("layer/1/weight", (4,), "u1", **options)
    refused("is damaged or no HDF5: layer/1/weight ", tmp_path / "a.net", cs.import_hdf5)


def bomb(path, events, **options):
    """Write a file of zeros, compressed as far as possible, or of a declared size only."""
    with h5py.File(path, "w") as file:
        for name in COLUMNS:
            chunks = {"chunks": (1 << 16,), "compression": "gzip", "compression_opts": 9} | options
            column = file.create_dataset(f"events/{name}", (events,), "i8", **chunks)
            part = np.zeros(1 << 16, "i8")
            for first in range(0, min(events, 1 << 20), 1 << 16):
                column[first : first + (1 << 16)] = part


def test_a_file_that_unfolds_is_refused_before_memory_is_taken(tmp_path, refused):
    bomb(tmp_path / "a.h5", 1 << 20)
    assert (tmp_path / "a.h5").stat().st_size < 200_000
    refused("must hold at most 524288 events, got 1048576; max_events=1048576 reads them")
    assert len(read_events(tmp_path / "a.h5", max_events=1 << 20)) == 1 << 20
    bomb(tmp_path / "a.h5", 1 << 40)
    refused(f"must hold at most 524288 events, got {1 << 40}")


def test_chunks_that_are_larger_than_they_say_are_refused(tmp_path, refused):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in COLUMNS:
            column = file.create_dataset(f"events/{name}", (64,), "i8", chunks=(64,), compression="gzip")
            zeros = h5py.File(io.BytesIO(), "w").create_dataset(
                "x", data=np.zeros(1 << 20, "i8"), chunks=(1 << 20,), compression="gzip"
            )
            column.id.write_direct_chunk((0,), zeros.id.read_direct_chunk((0,))[1])
    refused("a chunk is cut off, or has more than 516 bytes")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in COLUMNS:
            file.create_dataset(f"events/{name}", (64,), "i8", chunks=(1 << 24,), maxshape=(None,), compression="gzip")
    refused("the chunks of events/t have 134217728 bytes, at most 8388608 are read")


def in_chunks_of_one(path, events):
    with h5py.File(path, "w", libver="latest") as file:
        for name in COLUMNS:
            column = file.create_dataset(f"events/{name}", (events,), "u1", chunks=(1,), scaleoffset=0)
            column[:] = np.arange(events) % 9


def test_chunks_of_one_event_share_a_file_of_h5py(tmp_path, refused, monkeypatch):
    in_chunks_of_one(tmp_path / "a.h5", 300)
    opened, kind = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda *args, **options: opened.append(args) or kind(*args, **options))
    assert read_events(tmp_path / "a.h5").x.tolist() == [i % 9 for i in range(300)]
    assert len(opened) <= len(COLUMNS)
    opened.clear()
    in_chunks_of_one(tmp_path / "a.h5", 3000)
    size, reached = (tmp_path / "a.h5").stat().st_size, len(opened)
    refused(f"events/t has 3000 chunks of 1 bytes in a file of {size}; fewer and larger chunks are read")
    assert len(opened) == reached


def test_chunks_that_are_larger_than_their_data_set_are_refused_together(tmp_path, refused):
    """Each chunk may have 8 MB, whatever the size of its data set; not thousands of them."""
    cs.export_hdf5(cs.Network("3-2", cs.SRM()), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "a") as file:
        del file["layer/1/weight"]
        side = 1 << 20
        file.create_dataset("layer/1/weight", (40, 1), "f8", chunks=(1, side), maxshape=(40, None), compression="gzip")
    refused(f"layer/1/weight has 40 chunks of {8 * side} bytes in a file of ", tmp_path / "a.net", cs.import_hdf5)


def test_a_network_that_unfolds_is_refused(tmp_path, refused):
    cs.export_hdf5(cs.Network("3-2", cs.SRM()), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "a") as file:
        del file["layer/1/weight"]
        zeros = np.zeros(1 << 22, "f8")
        file.create_dataset("layer/1/weight", data=zeros, chunks=(1 << 16,), compression="gzip", compression_opts=9)
    refused("layer/1/weight has 33554432 bytes, more than may be left", tmp_path / "a.net", cs.import_hdf5)
    with pytest.raises(ValueError, match=r"layer/1/weight has shape \(4194304,\)"):
        cs.import_hdf5(tmp_path / "a.net", max_bytes=1 << 26)
    with pytest.raises(TypeError, match="max_bytes must be an integer, got str"):
        cs.import_hdf5(tmp_path / "a.net", max_bytes="many")


def test_groups_within_groups_without_end_are_refused(tmp_path, refused):
    with h5py.File(tmp_path / "a.net", "w") as file:
        file["g/g"] = file.require_group("g")
    refused("its groups must not be nested deeper than 8", tmp_path / "a.net", cs.import_hdf5)


def test_a_free_object_of_size_zero_ends(tmp_path):
    """The C library runs for ever: it moves on by the size of the object."""
    with with_columns(tmp_path / "a.h5", *COLUMNS) as file:
        file["events/t"].attrs["unit"] = "ms"
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    assert len(read_events(tmp_path / "a.h5")) == 4
    heap = raw.index(b"GCOL")
    raw[heap + 16 : heap + 18] = bytes(2)
    raw[heap + 24 : heap + 32] = bytes(8)
    (tmp_path / "a.h5").write_bytes(raw)
    with pytest.raises(ValueError, match=r"cannot be read as HDF5 \(a global heap has no object 1\)$"):
        read_events(tmp_path / "a.h5")
    # With the unit given, the attribute is not read.
    assert len(read_events(tmp_path / "a.h5", unit="us")) == 4


def test_what_is_written_has_no_text_of_variable_length(tmp_path):
    for unit in ("s", "ms", "us", "ns"):
        write_events(tmp_path / "a.h5", Events([1.0], [2], [3], [1]), unit=unit)
        assert b"GCOL" not in (tmp_path / "a.h5").read_bytes()
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["events/t"].attrs["unit"] == unit.encode()
        assert read_events(tmp_path / "a.h5").t.tolist() == [1.0]


def test_structures_in_a_circle_end():
    """A continuation of an object header names itself, or the header's first block."""
    raw = io.BytesIO()
    with h5py.File(raw, "w") as file:
        group = file.create_group("g")
        for i in range(9):
            group.attrs[f"attribute {i}"] = np.arange(20)
    content = bytearray(raw.getvalue())
    place = content.index((0x10).to_bytes(2, "little") + (16).to_bytes(2, "little"))
    target = int.from_bytes(content[place + 8 : place + 16], "little")
    content[target : target + 32] = content[place : place + 32]
    for number in range(6):
        content[target + 32 * number : target + 32 * number + 24] = content[place : place + 24]
    with pytest.raises(Damaged), at_most(CALLS):
        open_root("test", io.BytesIO(content), len(content)).get("g")


def test_metadata_has_a_budget():
    file = source.Source(io.BytesIO(bytes(1000)), 1000)

    def circle():
        for _ in range(100_000):
            file.metadata(0, 100)

    with pytest.raises(Damaged, match=r"^its parts refer to each other in a circle$"):
        circle()


@pytest.mark.parametrize(("address", "count"), [(990, 11), (-1, 4), (0, -1), (NOWHERE, 1), (2**64, 1)])
def test_bytes_outside_of_the_file(address, count):
    with pytest.raises(Damaged, match=f"^{count} bytes at {address} reach past its end$"):
        source.Source(io.BytesIO(bytes(1000)), 1000).data(address, count)


def test_a_part_that_ends_too_early():
    cursor = Cursor(source.Source(io.BytesIO(b""), 0), b"abcd", 7)
    assert (cursor.left(), cursor.integer(2), cursor.left()) == (4, 0x6261, 2)
    with pytest.raises(Damaged, match=r"^its part at 7 is too short$"):
        cursor.integer(4)


def test_a_wrong_checksum_of_metadata(tmp_path, refused):
    write_events(tmp_path / "a.h5", Events([1.0], [2], [3], [1]))
    raw = bytearray((tmp_path / "a.h5").read_bytes())
    raw[raw.index(b"OHDR") + 8] ^= 1
    (tmp_path / "a.h5").write_bytes(raw)
    refused("cannot be read as HDF5 (the checksum of its part at 48 is wrong)")


def test_a_file_that_is_cut_off(tmp_path, refused):
    write_events(tmp_path / "a.h5", Events([1.0], [2], [3], [1]))
    raw = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(raw[:-1])
    refused(f"cannot be read as HDF5 (it is cut off at byte {len(raw) - 1}, and should have {len(raw)})")
    for end in range(0, len(raw), 97):
        (tmp_path / "a.h5").write_bytes(raw[:end])
        refused("cannot be read as HDF5 (")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer", 3, "layer must be a group, got 3"),
        ("layer/1/shape", "many", "layer/1/shape must be three numbers from 1, got 'many'"),
        ("layer/1/shape", np.inf, "layer/1/shape must be three numbers from 1, got inf"),
        ("layer/1/shape", np.ones(10**6), "layer/1/shape must be three numbers from 1, got array("),
        ("layer/1/shape", 2**40, "layer/1/weight has shape (2, 3), its layer expects 3298534883328 numbers"),
        ("layer/0/shape", [2**40, 1, 1], "layer/1/weight has shape (2, 3), its layer expects 2199023255552 numbers"),
        ("layer/1/weight", "none", "layer/1/weight must be numbers, got <U4"),
        ("layer/1/delay", "late", "layer/1 is wrong: "),
        ("layer/1/delayShift", [True, False], "layer/1 is wrong: "),
        ("layer/1/neuron", 3, "layer/1 is wrong: "),
        ("simulation/Ts", "fast", "simulation/Ts must be a number, got str"),
    ],
)
def test_entries_of_a_network_that_are_of_another_kind(tmp_path, name, value, message):
    cs.export_hdf5(cs.Network("3-2", cs.SRM()), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net", "a") as file:
        if name in file:
            del file[name]
        file[name] = value
    with pytest.raises((ValueError, TypeError), match=f"^import_hdf5: {re.escape(f'{tmp_path}/a.net: {message}')}"):
        cs.import_hdf5(tmp_path / "a.net")
