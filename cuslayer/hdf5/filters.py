"""Filters of chunks: gzip, shuffle and Fletcher's checksum here, others by h5py in a file of our own."""

from __future__ import annotations

import io
import zlib
from typing import Any, NamedTuple

import numpy as np

from cuslayer.extras import optional
from cuslayer.hdf5.checksum import fletcher32
from cuslayer.hdf5.source import Cursor, Damaged

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_MOST_FILTERS = 32


class Filter(NamedTuple):
    """A filter: its number, and what it is told."""

    number: int
    flags: int
    values: tuple[int, ...]


def filters_of(cursor: Cursor) -> list[Filter]:
    """Return the filters of a message, in the order of writing."""
    version, count = cursor.integer(1), cursor.integer(1)
    if version not in (1, 2) or count > _MOST_FILTERS:
        raise Damaged(f"a pipeline has version {version} and {count} filters")
    cursor.skip(6 if version == 1 else 0)
    found = []
    for _ in range(count):
        number = cursor.integer(2)
        name = cursor.integer(2) if version == 1 or number >= 256 else 0
        flags, values = cursor.integer(2), cursor.integer(2)
        cursor.skip(name + (-name % 8 if version == 1 else 0))
        found.append(Filter(number, flags, tuple(cursor.integer(4) for _ in range(values))))
        cursor.skip(4 if version == 1 and values % 2 else 0)
    return found


def decode(op: str, raw: bytes, filters: list[Filter], mask: int, elements: int, dtype: np.dtype[Any]) -> bytes:
    """Return the elements of a chunk from its bytes in the file; bit i of mask leaves out filter i.

    Raises:
        Damaged: the chunk is damaged, or has more bytes than its elements.
    """
    size = elements * dtype.itemsize
    used = [each for i, each in enumerate(filters) if not mask >> i & 1]
    if any(each.number not in (_DEFLATE, _SHUFFLE, _FLETCHER32) for each in used):
        return _by_library(op, raw, used, elements, dtype)
    for each in reversed(used):
        if each.number == _FLETCHER32:
            raw = _without_checksum(raw)
        elif each.number == _DEFLATE:
            # A checksum that was made before compression adds four bytes.
            raw = _inflated(raw, size + 4 * len(used))
        elif each.values[:1] != (1,):
            raw = _unshuffled(raw, each.values[0] if each.values else dtype.itemsize)
    if len(raw) != size:
        raise Damaged(f"a chunk has {len(raw)} bytes for {elements} elements of {dtype.itemsize}")
    return raw


def _without_checksum(raw: bytes) -> bytes:
    stored = int.from_bytes(raw[-4:], "little")
    content = raw[:-4]
    # 0 and 65535 are the same sum.
    if len(raw) < 4 or fletcher32(content) != (stored >> 16) % 65535 << 16 | (stored & 0xFFFF) % 65535:
        raise Damaged("the checksum of a chunk is wrong")
    return content


def _inflated(raw: bytes, most: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(raw, most + 1)
    except zlib.error as problem:
        raise Damaged(f"a chunk cannot be unpacked ({problem})") from None
    if not decompressor.eof:
        raise Damaged(f"a chunk is cut off, or has more than {most} bytes")
    return content


def _unshuffled(raw: bytes, itemsize: int) -> bytes:
    if not itemsize or not raw:
        return raw
    whole = len(raw) // itemsize
    first = np.frombuffer(raw, np.uint8, whole * itemsize).reshape(itemsize, whole)
    return first.T.tobytes() + raw[whole * itemsize :]


def _by_library(op: str, raw: bytes, filters: list[Filter], elements: int, dtype: np.dtype[Any]) -> bytes:
    """Let h5py, with the filters that it has or that a package adds to it, decode a chunk.

    The chunk is written to a new file, so that nothing of the structure of the given file reaches the C library.
    """
    h5py = optional(op, "h5py", "hdf5")
    pipeline = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    pipeline.set_chunk((elements,))
    try:
        for each in filters:
            pipeline.set_filter(each.number, each.flags | h5py.h5z.FLAG_OPTIONAL, each.values)
        with h5py.File(io.BytesIO(), "w") as file:
            space = h5py.h5s.create_simple((elements,))
            made = h5py.h5d.create(file.id, b"x", h5py.h5t.py_create(dtype), space, pipeline)
            made.write_direct_chunk((0,), raw)
            content = np.empty(elements, dtype)
            made.read(h5py.h5s.ALL, h5py.h5s.ALL, content)
    except Exception as problem:  # h5py raises many types for errors of HDF5
        numbers = ", ".join(str(each.number) for each in filters)
        raise Damaged(f"a chunk with the filters {numbers} cannot be read: {' '.join(str(problem).split())}") from None
    return content.tobytes()
