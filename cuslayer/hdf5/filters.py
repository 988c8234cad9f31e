"""Filters of chunks: gzip, shuffle and Fletcher's checksum here, others by h5py in a file of our own."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
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


class Decoder:
    """Decodes the chunks of a data set, all of the same filters, elements and type.

    Attributes:
        needs_library: whether h5py decodes chunks of which no filter is left out.

    Args:
        op: the operation, for errors.
        filters: the filters, in the order of writing.
        elements: the elements of a chunk.
        dtype: the type of an element.
    """

    def __init__(self, op: str, filters: list[Filter], elements: int, dtype: np.dtype[Any]) -> None:
        self._op, self._filters, self._elements, self._dtype = op, filters, elements, dtype
        self.needs_library = _needs_library(filters)
        # h5py's file, and its data set for the filters that a chunk does not leave out.
        self._file: Any = None
        self._made: dict[tuple[Filter, ...], Any] = {}

    def decode(self, raw: bytes, mask: int) -> bytes:
        """Return the elements of a chunk from its bytes in the file; bit i of mask leaves out filter i.

        Raises:
            Damaged: the chunk is damaged, or has more bytes than its elements.
        """
        size = self._elements * self._dtype.itemsize
        used = tuple(each for i, each in enumerate(self._filters) if not mask >> i & 1)
        if _needs_library(used):
            return self._by_library(raw, used)
        for each in reversed(used):
            if each.number == _FLETCHER32:
                raw = _without_checksum(raw)
            elif each.number == _DEFLATE:
                # A checksum that was made before compression adds four bytes.
                raw = _inflated(raw, size + 4 * len(used))
            elif each.values[:1] != (1,):
                raw = _unshuffled(raw, each.values[0] if each.values else self._dtype.itemsize)
        if len(raw) != size:
            raise Damaged(f"a chunk has {len(raw)} bytes for {self._elements} elements of {self._dtype.itemsize}")
        return raw

    def _by_library(self, raw: bytes, filters: tuple[Filter, ...]) -> bytes:
        """Let h5py, with the filters that it has or that a package adds to it, decode a chunk.

        The chunk is written to a new file, so that nothing of the structure of the given file reaches the C library.
        """
        h5py = optional(self._op, "h5py", "hdf5")
        content = np.empty(self._elements, self._dtype)
        try:
            made = self._made.get(filters) or self._make(h5py, filters)
            # It takes the place of the chunk before.
            made.write_direct_chunk((0,), raw)
            made.read(h5py.h5s.ALL, h5py.h5s.ALL, content)
        except Exception as problem:  # h5py raises many types for errors of HDF5
            numbers = ", ".join(str(each.number) for each in filters)
            text = " ".join(str(problem).split())
            raise Damaged(f"a chunk with the filters {numbers} cannot be read: {text}") from None
        return content.tobytes()

    def _make(self, h5py: Any, filters: tuple[Filter, ...]) -> Any:
        """Return a data set of one chunk with some filters, in a file in memory for all chunks."""
        pipeline = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        pipeline.set_chunk((self._elements,))
        for each in filters:
            pipeline.set_filter(each.number, each.flags | h5py.h5z.FLAG_OPTIONAL, each.values)
        if self._file is None:
            self._file = h5py.File(io.BytesIO(), "w")
        space, kind = h5py.h5s.create_simple((self._elements,)), h5py.h5t.py_create(self._dtype)
        made = h5py.h5d.create(self._file.id, None, kind, space, pipeline)
        self._made[filters] = made
        return made


def _needs_library(filters: Iterable[Filter]) -> bool:
    return any(each.number not in (_DEFLATE, _SHUFFLE, _FLETCHER32) for each in filters)


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
