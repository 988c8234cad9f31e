"""Where the chunks of a data set are: the indexes of old and of new files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source

_DEEPEST = 16


class Chunk(NamedTuple):
    """A chunk: its first element along each axis, its address, its bytes in the file, and the filters left out."""

    start: tuple[int, ...]
    address: int
    size: int
    mask: int


class Grid(NamedTuple):
    """The chunks of a data set: their shape, their number along each axis, their bytes without filters."""

    shape: tuple[int, ...]
    counts: tuple[int, ...]
    size: int
    filtered: bool

    def start(self, number: int) -> tuple[int, ...]:
        """Return the first element of a chunk by its number in row-major order."""
        place = []
        for count, side in zip(reversed(self.counts), reversed(self.shape), strict=True):
            place.append(number % count * side)
            number //= count
        return tuple(reversed(place))


def tree_chunks(source: Source, address: int, grid: Grid, level: int = _DEEPEST) -> Iterator[Chunk]:
    """Yield the chunks in a B-tree of version 1, as files of HDF5 1.8 and before have it."""
    rank, offset = len(grid.shape), source.offset_size
    head = source.metadata(address, 8)
    head.expect(b"TREE", 1)
    depth, count = head.integer(1), head.integer(2)
    if depth >= level:
        raise Damaged("a B-tree is too deep")
    cursor = source.metadata(address + 8, 2 * offset + count * (16 + 8 * rank + offset))
    cursor.skip(2 * offset)
    for _ in range(count):
        size, mask = cursor.integer(4), cursor.integer(4)
        start = tuple(cursor.integer(8) for _ in range(rank))
        cursor.skip(8)
        child = cursor.address()
        if depth:
            yield from tree_chunks(source, child, grid, depth)
        else:
            yield Chunk(start, child, size, mask)


def indexed_chunks(source: Source, kind: int, cursor: Cursor, grid: Grid, flags: int) -> Iterator[Chunk]:
    """Yield the chunks of a layout of version 4, whose cursor is at the description of the index."""
    if kind == 1:  # a single chunk
        size, mask = (cursor.length(), cursor.integer(4)) if flags & 2 else (grid.size, 0)
        yield Chunk(grid.start(0), cursor.address(), size, mask)
    elif kind == 2:  # one after the other
        start = cursor.address()
        for number in range(math.prod(grid.counts) if start != NOWHERE else 0):
            yield Chunk(grid.start(number), start + number * grid.size, grid.size, 0)
    elif kind in (3, 4):
        cursor.skip(1 if kind == 3 else 5)
        address = cursor.address()
        if address != NOWHERE:
            read = _fixed_array if kind == 3 else _extensible_array
            yield from _numbered(grid, read(source, address, grid))
    else:
        raise Damaged(f"an index of chunks of the kind {kind} is not read")


def _numbered(grid: Grid, entries: Iterator[Chunk | None]) -> Iterator[Chunk]:
    """Yield the chunks that are there, with their places; entries are in row-major order."""
    most = math.prod(grid.counts)
    for number, entry in enumerate(entries):
        if number >= most:
            return
        if entry is not None:
            yield entry._replace(start=grid.start(number))


def _entries(cursor: Cursor, grid: Grid, count: int, each: int) -> Iterator[Chunk | None]:
    """Yield entries of an array; None for chunks that are not there."""
    for _ in range(count):
        entry = Cursor(cursor.source, cursor.take(each), 0)
        address, size, mask = entry.address(), grid.size, 0
        if grid.filtered:
            size, mask = entry.integer(each - cursor.source.offset_size - 4), entry.integer(4)
        yield None if address == NOWHERE else Chunk((), address, size, mask)


def _fixed_array(source: Source, address: int, grid: Grid) -> Iterator[Chunk | None]:
    head = source.metadata(address, 12 + source.length_size + source.offset_size)
    head.expect(b"FAHD", 0)
    head.skip(1)
    each, bits, count, block = head.integer(1), head.integer(1), head.length(), head.address()
    head.check_sum()
    _check_entry(source, grid, each)
    prefix = 6 + source.offset_size
    page = 1 << min(bits, 60)
    if block == NOWHERE:
        return
    if count <= page:
        cursor = source.metadata(block, prefix + count * each + 4)
        cursor.expect(b"FADB", 0)
        cursor.skip(prefix - 5)
        found = list(_entries(cursor, grid, count, each))
        cursor.check_sum()
        yield from found
        return
    pages = -(-count // page)
    cursor = source.metadata(block, prefix + -(-pages // 8) + 4)
    cursor.expect(b"FADB", 0)
    cursor.skip(prefix - 5)
    there = cursor.take(-(-pages // 8))
    cursor.check_sum()
    at = block + len(cursor.raw)
    for number in range(pages):
        some = min(page, count - number * page)
        yield from _page(source, grid, at, some, each, bool(there[number // 8] >> (7 - number % 8) & 1))
        at += page * each + 4


def _page(source: Source, grid: Grid, address: int, count: int, each: int, there: bool) -> Iterator[Chunk | None]:
    if not there:
        yield from (None for _ in range(count))
        return
    cursor = source.metadata(address, count * each + 4)
    found = list(_entries(cursor, grid, count, each))
    cursor.check_sum()
    yield from found


def _extensible_array(source: Source, address: int, grid: Grid) -> Iterator[Chunk | None]:
    head = source.metadata(address, 16 + 6 * source.length_size + source.offset_size)
    head.expect(b"EAHD", 0)
    head.skip(1)
    each, bits, in_index, least, pointers, page_bits = (head.integer(1) for _ in range(6))
    head.skip(6 * source.length_size)
    index = head.address()
    head.check_sum()
    _check_entry(source, grid, each)
    for size in (least, pointers):
        if not size or size & (size - 1):
            raise Damaged("an extensible array contradicts itself")
    if index == NOWHERE:
        return
    super_blocks = 1 + bits - (least.bit_length() - 1)
    in_blocks = 2 * (pointers.bit_length() - 1)  # super blocks whose data blocks the index block lists itself
    direct, indirect = 2 * (pointers - 1), max(0, super_blocks - in_blocks)
    offset = source.offset_size
    cursor = source.metadata(index, 6 + offset + in_index * each + (direct + indirect) * offset + 4)
    cursor.expect(b"EAIB", 0)
    cursor.skip(1 + offset)
    found = list(_entries(cursor, grid, in_index, each))
    blocks, more = ([cursor.address() for _ in range(count)] for count in (direct, indirect))
    cursor.check_sum()
    yield from found
    prefix = 6 + offset + (bits + 7) // 8
    page = 1 << page_bits
    for number in range(super_blocks):
        some, elements = 1 << number // 2, least << (number + 1) // 2
        pages = -(-elements // page) if elements > page else 0
        if number < in_blocks:
            addresses, blocks, there = blocks[:some], blocks[some:], b""
        else:
            at = more[number - in_blocks]
            if at == NOWHERE:
                yield from (None for _ in range(min(some * elements, math.prod(grid.counts))))
                continue
            bitmap = -(-pages // 8) if pages else 0
            cursor = source.metadata(at, prefix + some * (bitmap + offset) + 4)
            cursor.expect(b"EASB", 0)
            cursor.skip(prefix - 5)
            there = cursor.take(some * bitmap)
            addresses = [cursor.address() for _ in range(some)]
            cursor.check_sum()
        for i, block in enumerate(addresses):
            if block == NOWHERE:
                yield from (None for _ in range(min(elements, math.prod(grid.counts))))
                continue
            cursor = source.metadata(block, prefix + (0 if pages else elements * each) + 4)
            cursor.expect(b"EADB", 0)
            cursor.skip(prefix - 5)
            found = list(_entries(cursor, grid, 0 if pages else elements, each))
            cursor.check_sum()
            yield from found
            own = there[i * -(-pages // 8) : (i + 1) * -(-pages // 8)]
            for p in range(pages):
                at = block + prefix + 4 + p * (page * each + 4)
                yield from _page(source, grid, at, page, each, bool(own[p // 8] >> (7 - p % 8) & 1) if own else True)


def _check_entry(source: Source, grid: Grid, each: int) -> None:
    least = source.offset_size + (5 if grid.filtered else 0)
    if each < least or each > least + 7:
        raise Damaged(f"an array of chunks has entries of {each} bytes")
