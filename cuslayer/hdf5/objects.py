"""Groups and data sets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.hdf5.chunks import Chunk, Grid, indexed_chunks, tree_chunks
from cuslayer.hdf5.filters import Decoder, filters_of
from cuslayer.hdf5.header import messages, root_address
from cuslayer.hdf5.links import is_group, members
from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source
from cuslayer.hdf5.types import DATASPACE, DATATYPE, Type, as_plain, attribute, shape_of, type_of

_EXTERNAL, _LAYOUT, _FILTERS = 0x07, 0x08, 0x0B
_COMPACT, _CONTIGUOUS, _CHUNKED, _VIRTUAL = range(4)
# Bytes of a chunk that are decoded at a time in any file; a chunk may be larger than its data set.
_LARGEST_CHUNK = 1 << 23
# The chunks of larger data sets may have so many times the bytes of the data set, or of the file.
_MOST_TIMES = 8
# Chunks that h5py decodes, which takes as long for one element as for thousands: so many in any file, and one more for
# each so many bytes of it.
_FEW_CHUNKS, _CHUNK_BYTES = 1024, 1024
# Elements that are read at a time from a data set without chunks.
_BLOCK = 1 << 16


class Group:
    """A group: its members by name.

    Attributes:
        name: its path in the file.
    """

    def __init__(self, op: str, source: Source, found: list[tuple[int, Cursor]], name: str) -> None:
        self._op, self._source, self.name = op, source, name
        self._links = members(source, found)

    def names(self) -> list[str]:
        """Return the names of the members in alphabetical order."""
        return sorted(self._links)

    def get(self, name: str) -> Group | Dataset | None:
        """Return a member, None if it is missing.

        Raises:
            Damaged: the member is damaged, or is a link to a path or to another file.
        """
        if name not in self._links:
            return None
        path = f"{self.name}/{name}".lstrip("/")
        if self._links[name] == NOWHERE:
            raise Damaged(f"{path} is a link to another place or file, which is not followed")
        found = messages(self._source, self._links[name])
        return (Group if is_group(found) else Dataset)(self._op, self._source, found, path)


class Dataset:
    """A data set, of which nothing is read before it is asked for.

    Attributes:
        name: its path in the file.
        shape: its shape.
        type: the type of its elements.
    """

    def __init__(self, op: str, source: Source, found: list[tuple[int, Cursor]], name: str) -> None:
        self._op, self._source, self._messages, self.name = op, source, found, name
        if any(kind in (_EXTERNAL, -_EXTERNAL) for kind, _ in found):
            raise Damaged(f"{name} has its data in another file, which is not read")
        self.shape = shape_of(self._only(DATASPACE))
        self.type: Type = type_of(self._only(DATATYPE))
        self._filters: Any = []
        for kind, cursor in found:
            if kind == _FILTERS:
                self._filters = filters_of(cursor)
        self._grid: Grid | None = None
        self._chunks: Iterator[Chunk] = iter(())
        self._compact: bytes | None = None
        self._address = NOWHERE
        self._read_layout(self._only(_LAYOUT))

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of all elements."""
        return self.size * self.type.dtype.itemsize

    def attribute(self, name: str) -> Any:
        """Return an attribute: a string, a number or an array; None if it is missing."""
        return attribute(self._source, self._messages, name)

    def blocks(self) -> Iterator[tuple[tuple[int, ...], npt.NDArray[Any]]]:
        """Yield the first element along each axis, and the values, of one part after another.

        Raises:
            Damaged: a part is missing or damaged.
        """
        dtype = self.type.dtype
        if self._grid is not None:
            yield from self._chunked(self._grid)
            return
        step = _BLOCK if len(self.shape) == 1 else max(1, self.size)
        flat = self._compact
        if flat is None and self.size and self._address == NOWHERE:
            raise Damaged(f"must hold all of {self.name}, a part is missing")
        for first in range(0, self.size, step):
            begin, count = first * dtype.itemsize, min(step, self.size - first) * dtype.itemsize
            if flat is None:
                raw = self._source.data(self._address + begin, count)
            else:
                raw = flat[begin : begin + count]
            values = np.frombuffer(raw, dtype)
            if len(self.shape) == 1:
                yield (first,), values
            else:
                yield (0,) * len(self.shape), values.reshape(self.shape)

    def read(self) -> Any:
        """Return all of it: an array, one element of it as a number, or its first text; of texts in a table, all."""
        values = np.empty(self.shape, self.type.dtype)
        for start, part in self.blocks():
            values[tuple(slice(a, a + n) for a, n in zip(start, part.shape, strict=True))] = part
        return as_plain(self._source, self.type, values)

    def _only(self, kind: int) -> Cursor:
        found = [cursor for number, cursor in self._messages if number == kind]
        if len(found) != 1:
            raise Damaged(f"{self.name or 'an object'} is no data set whose parts are all in its header")
        return found[0]

    def _read_layout(self, cursor: Cursor) -> None:
        version = cursor.integer(1)
        if version not in (1, 2, 3, 4, 5):
            raise Damaged(f"the layout of {self.name} has the unknown version {version}")
        if version < 3:
            rank, kind = cursor.integer(1), cursor.integer(1)
            cursor.skip(5)
            address = NOWHERE if kind == _COMPACT else cursor.address()
            sides = [cursor.integer(4) for _ in range(rank)]
        else:
            kind = cursor.integer(1)
        if kind == _VIRTUAL:
            raise Damaged(f"{self.name} is made of data of other files, which is not read")
        if kind == _COMPACT:
            self._compact = cursor.take(cursor.integer(4 if version < 3 else 2))
            if len(self._compact) < self.nbytes:
                raise Damaged(f"{self.name} has {len(self._compact)} bytes for {self.size} elements")
        elif kind == _CONTIGUOUS:
            if version >= 3:
                address = cursor.address()
                length = cursor.length()
                if address != NOWHERE and length < self.nbytes:
                    raise Damaged(f"{self.name} has {length} bytes for {self.size} elements")
            self._address = address
            if address != NOWHERE and address + self.nbytes > self._source.size - self._source.base:
                raise Damaged(f"{self.name} reaches past its end")
        elif kind != _CHUNKED:
            raise Damaged(f"the layout of {self.name} is of the unknown kind {kind}")
        elif version < 4:
            if version == 3:
                rank = cursor.integer(1)
                address = cursor.address()
                sides = [cursor.integer(4) for _ in range(rank)]
            else:
                sides.append(cursor.integer(4) if version < 3 and rank == len(self.shape) else 0)
                sides = sides[: len(self.shape) + 1]
            grid = self._set_grid(sides)
            if address != NOWHERE:
                self._chunks = tree_chunks(self._source, address, grid)
        else:
            flags, rank, width = cursor.integer(1), cursor.integer(1), cursor.integer(1)
            sides = [cursor.integer(width) for _ in range(rank)]
            index = cursor.integer(1)
            self._chunks = indexed_chunks(self._source, index, cursor, self._set_grid(sides), flags)

    def _set_grid(self, sides: list[int]) -> Grid:
        """Set the grid from the sides of a chunk, of which the last is the size of an element, and return it."""
        *shape, itemsize = sides
        size = math.prod(shape) * self.type.dtype.itemsize
        if len(shape) != len(self.shape) or not size or itemsize != self.type.dtype.itemsize:
            raise Damaged(f"the chunks of {self.name} have the sides {sides}")
        if size > max(_LARGEST_CHUNK, self._source.size):
            raise Damaged(f"the chunks of {self.name} have {size} bytes, at most {_LARGEST_CHUNK} are read")
        counts = tuple(-(-n // side) for n, side in zip(self.shape, shape, strict=True))
        self._grid = Grid(tuple(shape), counts, size, bool(self._filters))
        return self._grid

    def _chunked(self, grid: Grid) -> Iterator[tuple[tuple[int, ...], npt.NDArray[Any]]]:
        missing = math.prod(grid.counts)
        decoder = Decoder(self._op, self._filters, math.prod(grid.shape), self.type.dtype)
        size = self._source.size
        slow = decoder.needs_library and missing > _FEW_CHUNKS + size // _CHUNK_BYTES
        if slow or missing * grid.size > max(_LARGEST_CHUNK, _MOST_TIMES * max(self.nbytes, size)):
            got = f"{missing} chunks of {grid.size} bytes in a file of {size}"
            raise Damaged(f"{self.name} has {got}; fewer and larger chunks are read")
        seen: set[tuple[int, ...]] = set()
        for chunk in self._chunks:
            inside = all(a % side == 0 for a, side in zip(chunk.start, grid.shape, strict=True))
            if not inside or chunk.start in seen:
                raise Damaged(f"{self.name} has a chunk at {chunk.start} that is wrong or there twice")
            if any(a >= n for a, n in zip(chunk.start, self.shape, strict=True)):
                continue  # the data set was made smaller
            seen.add(chunk.start)
            missing -= 1
            if not self._filters and chunk.size != grid.size:
                raise Damaged(f"{self.name} has a chunk of {chunk.size} bytes, its elements need {grid.size}")
            raw = self._source.data(chunk.address, chunk.size)
            values = np.frombuffer(decoder.decode(raw, chunk.mask), self.type.dtype).reshape(grid.shape)
            yield chunk.start, values[tuple(slice(n - a) for a, n in zip(chunk.start, self.shape, strict=True))]
        if missing:
            raise Damaged(f"must hold all of {self.name}, a part is missing")


def open_root(op: str, file: BinaryIO, size: int) -> Group:
    """Return the root group of an open file of `size` bytes; `op` is for messages.

    Raises:
        Damaged: the file is not HDF5, or is damaged.
    """
    source = Source(file, size)
    return Group(op, source, messages(source, root_address(source)), "")
