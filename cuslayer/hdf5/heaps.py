"""Heaps: names of old groups (local), texts of variable length (global), links and attributes of new groups (fractal).

None of their loops depends on a length that may be zero: a free object of size 0 in a global heap makes the C library
of HDF5 run for ever.
"""

from __future__ import annotations

from bisect import bisect_right

from cuslayer.hdf5.source import NOWHERE, Cursor, Damaged, Source


class LocalHeap:
    """The names of the members of a group."""

    def __init__(self, source: Source, address: int) -> None:
        cursor = source.metadata(address, 8 + 2 * source.length_size + source.offset_size)
        cursor.expect(b"HEAP", 0)
        cursor.skip(3)
        size = cursor.length()
        cursor.length()
        self._raw = source.metadata(cursor.address(), size).raw

    def name(self, offset: int) -> str:
        """Return the name at an offset."""
        end = self._raw.find(b"\0", offset)
        if end < 0:
            raise Damaged("a name has no end")
        return self._raw[offset:end].decode(errors="backslashreplace")


def global_objects(source: Source, address: int) -> dict[int, bytes]:
    """Return the objects of a global heap by their indices."""
    head = source.metadata(address, 8 + source.length_size)
    head.expect(b"GCOL", 1)
    head.skip(3)
    cursor = source.metadata(address, head.length())
    cursor.skip(head.position)
    found: dict[int, bytes] = {}
    while cursor.left() >= 8 + source.length_size:
        index = cursor.integer(2)
        cursor.skip(6)
        size = cursor.length()
        if not index:
            break
        found.setdefault(index, cursor.take(size))
        cursor.skip(min(-size % 8, cursor.left()))
    return found


class FractalHeap:
    """The objects of a fractal heap by their identifiers."""

    def __init__(self, source: Source, address: int) -> None:
        offset, length = source.offset_size, source.length_size
        cursor = source.metadata(address, 26 + 3 * offset + 12 * length)
        cursor.expect(b"FRHP", 0)
        cursor.skip(2)
        if cursor.integer(2):
            raise Damaged("a fractal heap has filters, which are not read")
        self._checked = bool(cursor.integer(1) & 2)
        largest_object = cursor.integer(4)
        cursor.skip(2 * offset + 10 * length)
        self._width = cursor.integer(2)
        self._first, largest = cursor.length(), cursor.length()
        bits = cursor.integer(2)
        cursor.skip(2)
        root, rows = cursor.address(), cursor.integer(2)
        cursor.check_sum()
        if not self._width or not 0 < self._first <= largest or self._first & (self._first - 1) or bits > 64:
            raise Damaged("a fractal heap contradicts itself")
        self._source, self._address = source, address
        self._offset_bytes = (bits + 7) // 8
        self._length_bytes = (min(largest, largest_object).bit_length() + 7) // 8
        self._direct_rows = (largest // self._first).bit_length() + 1
        # Beginning, size and address of each direct block, in order.
        self._blocks: list[tuple[int, int, int]] = []
        if root != NOWHERE:
            if rows:
                self._indirect(root, rows, 0)
            else:
                self._blocks.append((0, self._first, root))

    def _indirect(self, address: int, rows: int, start: int) -> None:
        """Collect the direct blocks below an indirect block."""
        source = self._source
        size = 9 + source.offset_size + self._offset_bytes + self._width * rows * source.offset_size
        cursor = source.metadata(address, size)
        cursor.expect(b"FHIB", 0)
        cursor.address()
        cursor.skip(self._offset_bytes)
        for row in range(rows):
            block = self._first << max(0, row - 1)
            for _ in range(self._width):
                child = cursor.address()
                if child != NOWHERE and row < self._direct_rows:
                    self._blocks.append((start, block, child))
                elif child != NOWHERE:
                    below = (block // (self._first * self._width)).bit_length()
                    self._indirect(child, below, start)
                start += block
        cursor.check_sum()

    def object(self, identifier: bytes) -> Cursor:
        """Return the object of an identifier."""
        cursor = Cursor(self._source, identifier, self._address)
        kind = cursor.integer(1)
        if kind >> 4 == 2:  # a tiny object is in its identifier
            return Cursor(self._source, cursor.take((kind & 15) + 1), self._address)
        if kind >> 4:
            raise Damaged("a fractal heap has a huge object, which is not read")
        offset, length = cursor.integer(self._offset_bytes), cursor.integer(self._length_bytes)
        place = bisect_right(self._blocks, offset, key=lambda block: block[0]) - 1
        start, size, address = self._blocks[place] if place >= 0 else (0, 0, 0)
        if offset + length > start + size:
            raise Damaged("an object of a fractal heap reaches past its block")
        return self._source.metadata(address + offset - start, length)
