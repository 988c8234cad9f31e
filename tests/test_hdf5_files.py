"""HDF5 files of unknown origin: what would open another file, or unfold beyond its size, is refused."""

from __future__ import annotations

import ctypes
import io
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from cuslayer._base import hdf5_files
from cuslayer._base.hdf5_files import _MOST_TEXTS, FEW, Damaged, attribute, blocks, member, opened, tree

h5py = pytest.importorskip("h5py")
GZIP = {"compression": "gzip", "compression_opts": 9}


def written(fill, version="latest"):
    """Return an HDF5 file in memory that a function has filled."""
    raw = io.BytesIO()
    with h5py.File(raw, "w", libver=version) as file:
        fill(file)
    return raw


def read(raw, most=FEW):
    with opened(raw) as root:
        return tree(root, most)


def refused(message, fill, most=FEW, version="latest"):
    raw = written(fill, version)
    with pytest.raises(Damaged, match=re.escape(message)) as caught:
        read(raw, most)
    assert "\n" not in str(caught.value)


def test_numbers_texts_and_groups():
    x = np.arange(140).reshape(5, 7, 4)

    def fill(file):
        file["g/x"] = x
        file.create_dataset("packed", data=x, chunks=(2, 3, 2), shuffle=True, fletcher32=True, **GZIP)
        file.create_dataset("lzf", data=x, chunks=(2, 3, 2), compression="lzf")
        file["one"], file["flag"], file["flags"], file["empty"] = 7, True, [True, False], np.zeros((0, 2))
        file["text"], file["fixed"], file["row"] = "é", np.array([b"word", b"b"]), np.array(["a", "b"], "O")
        file["table"] = np.array([["a", "b"]], "O")
        file["none"] = np.zeros(0, "S3")
        shrunk = file.create_dataset("shrunk", data=np.arange(40), chunks=(8,), maxshape=(None,))
        shrunk.resize((11,))

    for version in ("earliest", "latest"):
        found = read(written(fill, version))
        assert (found["g"]["x"] == x).all()
        assert (found["packed"] == x).all()
        assert (found["lzf"] == x).all()
        assert (found["one"], found["flag"], found["flags"].tolist()) == (7, True, [True, False])
        assert [found[name] for name in ("text", "fixed", "row", "none")] == ["é", "word", "a", ""]
        assert (found["table"].tolist(), found["empty"].shape) == ([["a", "b"]], (0, 2))
        assert found["shrunk"].tolist() == list(range(11))


def test_parts_of_a_column_and_an_attribute():
    def fill(file):
        file.create_dataset("x", data=np.arange(1000), chunks=(7,))
        file["x"].attrs["unit"] = "ms"
        file["x"].attrs["fixed"] = np.bytes_("us")
        file["x"].attrs["many"] = ["a", "b"]
        file["x"].attrs["number"] = 3

    with opened(written(fill)) as root:
        column = member(root, "x")
        parts = list(blocks(column, 50))
        assert [first for first, _ in parts] == list(range(0, 1000, 49))
        assert np.concatenate([values for _, values in parts]).tolist() == list(range(1000))
        names = ("unit", "fixed", "many", "number", "other")
        assert [attribute(column, name) for name in names] == ["ms", "us", None, None, None]
        assert member(root, "y") is None


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_other_files_are_not_opened(tmp_path, version):
    (tmp_path / "secret").write_bytes(bytes(64))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(4)
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (4,))
    external = [(str(tmp_path / "secret"), 0, 4)]
    for message, fill in (
        ("a/x has its data in another file", lambda f: f.create_dataset("a/x", (4,), "u1", external=external)),
        ("x is made of data of other files", lambda f: f.create_virtual_dataset("x", layout)),
        ("x is a link to another place", lambda f: f.update({"x": h5py.ExternalLink(tmp_path / "other.h5", "x")})),
        ("x is a link to another place", lambda f: f.update({"y": 1, "x": h5py.SoftLink("/y")})),
    ):
        refused(message, fill, version=version)


def test_what_unfolds_is_refused():
    def declared(file):
        file.create_dataset("x", (1 << 40,), "i8", chunks=(1 << 16,), **GZIP)

    def zeros(file):
        file.create_dataset("x", data=np.zeros(1 << 22), chunks=(1 << 16,), **GZIP)

    def wide(file):
        file.create_dataset("x", (40, 1), "f8", chunks=(1, 1 << 20), maxshape=(40, None), **GZIP)

    def larger(file):
        column = file.create_dataset("x", (64,), "i8", chunks=(64,), compression="gzip")
        big = h5py.File(io.BytesIO(), "w").create_dataset("x", data=np.zeros(1 << 20), chunks=(1 << 20,), **GZIP)
        column.id.write_direct_chunk((0,), big.id.read_direct_chunk((0,))[1])

    def twice(file):
        file["a"] = np.arange(4)
        file["b"] = file["a"]

    def circle(file):
        file["g/g"] = file.require_group("g")

    def deep(file):
        file["/".join("abcdefghijk")] = 1

    def many(file):
        file["x"] = np.array(["a"] * (_MOST_TEXTS + 1), "O")

    for message, fill in (
        ("must hold all of x, a part is missing", declared),
        ("x has 33554432 bytes, more than may be left; max_bytes= reads them", zeros),
        ("x has 40 chunks of 8388608 bytes in a file of ", wide),
        ("a chunk of x has other bytes than its 512", larger),
        ("b must have one name, it has two", twice),
        ("g/g must have one name, it has two", circle),
        ("its groups must not be nested deeper than 8", deep),
        ("x has 4097 texts, at most 4096 are read", many),
    ):
        refused(message, fill)
    refused("x has 8 bytes, more than may be left", lambda f: f.update({"x": 1.0}), most=7)


@pytest.mark.parametrize(
    ("options", "raw"),
    [
        ({"compression": "gzip"}, zlib.compress(bytes(511))),
        ({"compression": "lzf"}, b"\x07" + bytes(8)),
        # Unfolds to 264 times its size, for which lzf of h5py takes hours.
        ({"compression": "lzf"}, b"\x00\x00" + b"\xe0\xff\x00" * 100),
        ({"compression": "lzf"}, b"\x07"),
        ({"shuffle": True}, bytes(8)),
        ({"fletcher32": True}, bytes(512)),
        ({}, bytes(8)),
        ({"compression": "gzip"}, zlib.compress(bytes(512)) + bytes(600)),
    ],
)
def test_chunks_of_other_sizes_are_refused(options, raw):
    def fill(file):
        file.create_dataset("x", (64,), "i8", chunks=(64,), **options).id.write_direct_chunk((0,), raw)

    refused("a chunk of x has other bytes than its 512", fill, version="earliest")


def test_chunks_of_any_bytes_and_filters():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 1 << 8, (50, 9)).astype(np.uint8)
    for packing in ("gzip", "lzf", None):
        for shuffle in (False, True):
            for sums in (False, True):
                for values in (x, x // 64, 0 * x):
                    options = {"compression": packing, "shuffle": shuffle, "fletcher32": sums, "chunks": (7, 4)}
                    raw = written(lambda file, values=values, o=options: file.create_dataset("x", data=values, **o))
                    assert (read(raw)["x"] == values).all()


@pytest.mark.parametrize(("mask", "raw"), [(0b11, bytes(512)), (0b10, zlib.compress(bytes(512)))])
def test_a_chunk_may_leave_out_filters(mask, raw):
    def fill(file):
        options = {"chunks": (64,), "compression": "gzip", "fletcher32": True}
        file.create_dataset("x", (64,), "i8", **options).id.write_direct_chunk((0,), raw, mask)

    assert (read(written(fill))["x"] == np.zeros(64)).all()


def test_texts_that_share_a_part_of_the_file_are_counted_each():
    raw = written(lambda file: file.update({"x": np.array(["a" * 20_000] + [""] * 999, "O")}))
    with h5py.File(raw) as file:
        place = file["x"].id.get_offset()
    content = bytearray(raw.getvalue())
    content[place : place + 16_000] = content[place : place + 16] * 1000
    with pytest.raises(Damaged, match=r"x has 20000 bytes, more than may be left"):
        read(io.BytesIO(content))


def test_groups_of_compressed_names_are_refused():
    maps = Path("/proc/self/maps")
    lines = [line for line in maps.read_text().splitlines() if "/libhdf5-" in line] if maps.exists() else []
    if not lines:
        pytest.skip("the C library of HDF5 must be h5py's own, on Linux")

    def fill(file):
        made = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        assert ctypes.CDLL(lines[0].split()[-1]).H5Pset_deflate(ctypes.c_int64(made.id), 9) == 0
        h5py.h5g.create(file.id, b"g", gcpl=made)

    refused("g has names that are compressed", fill)


def test_other_types_are_refused():
    for dtype in (np.dtype([("a", "i4")]), h5py.vlen_dtype(np.int32), h5py.ref_dtype, "c8"):
        refused("x has neither numbers nor text", lambda file, dtype=dtype: file.create_dataset("x", (2,), dtype))
    refused("x holds nothing", lambda file: file.update({"x": h5py.Empty("f4")}))
    refused("kind is neither a group nor a data set", lambda file: file.update({"kind": np.dtype("i4")}))
    for options in ({}, {"chunks": (2,)}):
        refused("a part is missing", lambda file, options=options: file.create_dataset("x", (9,), "i4", **options))


def test_damaged_files():
    raw = written(lambda file: file.update({"a/x": np.arange(9), "b": "text"})).getvalue()
    for content in (b"", b"nothing", *(raw[:end] for end in range(0, len(raw), 97))):
        with pytest.raises(Damaged):
            read(io.BytesIO(content))


@pytest.mark.parametrize(("groups", "inner"), [(8000, 0), (90, 90)])
def test_many_groups_are_refused_before_they_are_read(groups, inner, monkeypatch):
    read_members = []
    monkeypatch.setattr(hdf5_files, "member", lambda *given: read_members.append(given) or member(*given))

    def fill(file):
        for number in range(groups):
            group = file.create_group(f"g{number}")
            for other in range(inner):
                group.create_group(f"h{other}")

    refused("it must have at most 4,096 groups and data sets", fill)
    assert len(read_members) <= 4096


def test_a_name_that_is_no_text():
    refused("the file has a name that is no UTF-8", lambda file: h5py.h5g.create(file.id, b"a\xff"))
