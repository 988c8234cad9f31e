"""HDF5 files that are made to do harm: each is refused by one line, with little work and memory."""

from __future__ import annotations

import io
import re
import tracemalloc

import h5py
import numpy as np
import pytest

import cuslayer as cs
from cuslayer.hdf5 import Damaged, open_root, source
from cuslayer.hdf5.source import NOWHERE, Cursor
from tests.support.effort import at_most

COLUMNS = ("x", "y", "p", "t")


# Of functions, to refuse a file: many times what is needed, and far less than what the file asks for.
CALLS = 300_000


@pytest.fixture
def refused(tmp_path):
    """Check that `read_events` refuses a file with a message, with little work and 64 MB."""

    def refused(message, path=tmp_path / "a.net", reader=cs.import_hdf5):
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
