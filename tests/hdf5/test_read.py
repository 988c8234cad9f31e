"""Files that h5py writes, of every layout and version, are read as h5py reads them."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest

from cuslayer.hdf5 import Damaged, Dataset, Group, open_root
from cuslayer.hdf5.checksum import fletcher32, lookup3

VERSIONS = [("earliest", "latest"), ("v108", "v108"), ("v110", "v110"), ("latest", "latest")]
GZIP = {"compression": "gzip", "shuffle": True, "fletcher32": True}


def written(version=("earliest", "latest"), **options):
    """Return a file in memory and h5py's object for it."""
    raw = io.BytesIO()
    return raw, h5py.File(raw, "w", libver=version, **options)


def root(raw):
    content = raw.getvalue()
    return open_root("test", io.BytesIO(content), len(content))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (64,)},
        {"chunks": (7,), "fletcher32": True},
        {"chunks": (64,), **GZIP},
        {"chunks": (7,), "maxshape": (None,)},
        {"chunks": (64,), "maxshape": (None,), **GZIP},
        {"chunks": (5000,), "maxshape": (None,), "compression": "gzip"},
        {"chunks": (64,), "compression": "lzf"},
        {"chunks": (64,), "scaleoffset": 0},
    ],
)
@pytest.mark.parametrize("size", [0, 1, 64, 1000])
def test_columns_of_every_layout(version, options, size):
    if size == 0 and options and "maxshape" not in options:
        pytest.skip("a chunk cannot be empty")
    if "maxshape" not in options and "chunks" in options:
        options = options | {"chunks": (min(size, *options["chunks"]),)}
    if options.get("compression") == "lzf" or "scaleoffset" in options:
        size = min(size, 200)
    for dtype in ("<i8", ">u2", "u1") if "scaleoffset" in options else ("<i8", ">u2", "u1", "<f4", ">f8", "<f2"):
        x = np.random.default_rng(size).integers(0, 200, size).astype(dtype)
        raw, file = written(version)
        with file:
            file.create_dataset("a/x", data=x, **options)
        found = root(raw).get("a").get("x")
        assert (found.shape, found.type.dtype, found.nbytes) == (x.shape, x.dtype, x.nbytes)
        assert (found.read() == x).all()


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
@pytest.mark.parametrize("mask", range(8))
def test_filters_that_a_chunk_leaves_out(compression, mask):
    """Bit i of a chunk's mask leaves out filter i, in the order of writing."""
    x, y = np.arange(100, dtype="<i4"), np.arange(100, dtype="<i4") // 9
    every = ("shuffle", True), ("compression", compression), ("fletcher32", True)
    raw, file = written()
    with file:
        some = {name: value for i, (name, value) in enumerate(every) if not mask >> i & 1}
        chunk = file.create_dataset("some", data=x, chunks=(100,), **some).id.read_direct_chunk((0,))
        # The chunk beside has every filter.
        both = file.create_dataset("x", (200,), x.dtype, chunks=(100,), **dict(every))
        both.id.write_direct_chunk((0,), chunk[1], chunk[0] << 1 | mask)
        both[100:] = y
        assert (both[:100] == x).all()
    assert root(raw).get("x").read().tolist() == [*x, *y]


@pytest.mark.parametrize("size", [70, 1100, 3000])
def test_arrays_of_many_chunks_in_pages(size):
    """Fixed and extensible arrays of more than 1024 chunks are in pages, of which some may not be there."""
    for maxshape in (None, (None,)):
        raw, file = written(("latest", "latest"))
        with file:
            column = file.create_dataset("x", (size,), "i2", chunks=(1,), maxshape=maxshape)
            column[:] = np.arange(size)
        assert (root(raw).get("x").read() == np.arange(size)).all()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chunks", [None, (2, 3, 2), (5, 7, 4)])
def test_arrays_of_several_axes(version, chunks):
    x = np.arange(140).reshape(5, 7, 4)
    raw, file = written(version)
    with file:
        file.create_dataset("x", data=x, chunks=chunks)
    assert (root(raw).get("x").read() == x).all()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("members", [0, 1, 8, 9, 700])
def test_groups_of_any_size(version, members):
    raw, file = written(version)
    with file:
        group = file.create_group("g")
        for i in range(members):
            group[f"member {i}"] = i
    found = root(raw).get("g")
    assert isinstance(found, Group)
    assert found.names() == sorted(f"member {i}" for i in range(members))
    assert [found.get(name).read() for name in found.names()] == [int(name.split()[1]) for name in found.names()]
    assert found.get("other") is None


def test_many_long_names():
    """More than the half megabyte of names that the first level of a fractal heap holds."""
    raw, file = written(("latest", "latest"))
    names = [f"{i:0200d}" for i in range(3000)]
    with file:
        group = file.create_group("g")
        group[names[0]] = 7
        for name in names[1:]:
            group[name] = group[names[0]]
    found = root(raw).get("g")
    assert found.names() == names
    assert found.get(names[-1]).read() == 7


@pytest.mark.parametrize("version", VERSIONS)
def test_attributes(version):
    raw, file = written(version)
    with file:
        file["x"] = 3
        for i in range(30):
            file["x"].attrs[f"a{i}"] = i
        file["x"].attrs["variable"] = "ms"
        file["x"].attrs["fixed"] = np.bytes_("us")
        file["x"].attrs["several"] = [1.5, 2.5]
    found = root(raw).get("x")
    assert [found.attribute(f"a{i}") for i in range(30)] == list(range(30))
    assert (found.attribute("variable"), found.attribute("fixed")) == ("ms", "us")
    assert found.attribute("several").tolist() == [1.5, 2.5]
    assert found.attribute("other") is None


@pytest.mark.parametrize("version", VERSIONS)
def test_numbers_and_texts(version):
    raw, file = written(version)
    with file:
        for name, value in {
            "a": 7,
            "b": True,
            "c": "text",
            "d": np.array([b"word"]),
            "e": np.array(["é"], "O"),
        }.items():
            file[name] = value
        file["f"] = [True, False]
        file["none"] = h5py.Empty("f4")
    found = root(raw)
    assert [found.get(name).read() for name in "abcde"] == [7, True, "text", "word", "é"]
    assert found.get("f").read().tolist() == [True, False]
    assert found.get("none").read().shape == (0,)


def test_a_user_block_before_the_file():
    raw, file = written(userblock_size=1024)
    with file:
        file["x"] = [1, 2, 3]
    assert root(raw).get("x").read().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (np.dtype([("a", "i4")]), "neither numbers nor text"),
        (np.dtype((np.int32, (3,))), "neither numbers nor text"),
        (h5py.vlen_dtype(np.int32), "neither numbers nor text"),
        (h5py.ref_dtype, "neither numbers nor text"),
        ("c8", "neither numbers nor text"),
        (np.dtype("g"), "are not IEEE's are not read"),
    ],
)
def test_other_types_are_refused(dtype, message):
    raw, file = written()
    with file:
        file.create_dataset("x", (2,), dtype)
    with pytest.raises(Damaged, match=message):
        root(raw).get("x")


def test_a_committed_type_is_refused():
    raw, file = written()
    with file:
        file["kind"] = np.dtype("i4")
        file.create_dataset("x", (2,), file["kind"])
    with pytest.raises(Damaged, match=r"^x is no data set whose parts are all in its header$"):
        root(raw).get("x")


def test_parts_that_were_not_written_are_missing():
    for options in ({"chunks": (2,)}, {}, {"chunks": (2,), "maxshape": (None,)}):
        for version in VERSIONS:
            raw, file = written(version)
            with file:
                column = file.create_dataset("x", (9,), "i4", **options)
                if options:
                    column[3] = 1
            found = root(raw).get("x")
            assert isinstance(found, Dataset)
            with pytest.raises(Damaged, match=r"^must hold all of x, a part is missing$"):
                found.read()


def test_a_data_set_that_was_made_smaller():
    for version in VERSIONS:
        raw, file = written(version)
        with file:
            column = file.create_dataset("x", data=np.arange(40), chunks=(8,), maxshape=(None,))
            column.resize((11,))
        assert root(raw).get("x").read().tolist() == list(range(11))


def test_checksums_of_the_specification():
    assert hex(lookup3(b"Four score and seven years ago")) == "0x17770551"
    assert hex(lookup3(b"")) == "0xdeadbeef"
    long = np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8).tobytes()
    sums = np.cumsum(np.frombuffer(long, ">u2").astype(np.uint64))
    assert fletcher32(long) == int(sums.sum()) % 65535 << 16 | int(sums[-1]) % 65535
    assert fletcher32(b"\xff" * 5) == fletcher32(b"\xff" * 4 + b"\xff\0")
