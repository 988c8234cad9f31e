"""The part of FlatBuffers that AEDAT 4 needs, with bounds checks on every access.

A buffer begins with four bytes for the position of its root table and four for its identifier. A table begins with the
distance back to its vtable: two bytes for the length of the vtable, two for that of the table, and two per field for
the position of the field in the table, or 0 if it is absent. All numbers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.data.formats import base


@dataclass(frozen=True)
class Table:
    """A table in a buffer at a byte position."""

    raw: bytes | bytearray
    position: int

    @classmethod
    def root(cls, raw: bytes | bytearray, name: bytes) -> Table:
        """Return the root table of a size-prefixed buffer.

        Raises:
            Unreadable: the length is wrong, or the buffer has another identifier.
        """
        if len(raw) < 12 or int.from_bytes(raw[:4], "little") != len(raw) - 4 or raw[8:12] != name:
            raise base.Unreadable(f"has a part that should be {name.decode()} and is not")
        return cls(raw, 4 + int.from_bytes(raw[4:8], "little"))

    def integer(self, field: int, size: int, default: int = 0) -> int:
        """Return a signed integer of `size` bytes, or the default if it is absent."""
        position = self._field(field)
        return self._integer(position, size) if position else default

    def pair(self, field: int) -> tuple[int, int]:
        """Return a struct of two 32-bit integers, zeros if it is absent."""
        position = self._field(field)
        return (self._integer(position, 4), self._integer(position + 4, 4)) if position else (0, 0)

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Return the position and the length of a vector of entries of `size` bytes."""
        position = self._field(field)
        if not position:
            return 0, 0
        start = position + self._integer(position, 4)
        count = self._integer(start, 4)
        if count < 0 or start + 4 + count * size > len(self.raw):
            raise base.Unreadable("has a vector that reaches past its end")
        return start + 4, count

    def tables(self, field: int) -> list[Table]:
        """Return the tables of a vector."""
        start, count = self.vector(field, 4)
        positions = range(start, start + 4 * count, 4)
        return [Table(self.raw, position + self._integer(position, 4)) for position in positions]

    def _field(self, field: int) -> int:
        """Return the position of a field, or 0 if it is absent."""
        vtable = self.position - self._integer(self.position, 4)
        if self._integer(vtable, 2) < 6 + 2 * field:
            return 0
        offset = self._integer(vtable + 4 + 2 * field, 2)
        return self.position + offset if offset else 0

    def _integer(self, position: int, size: int) -> int:
        if not 0 <= position <= len(self.raw) - size:
            raise base.Unreadable("has a table that reaches past its end")
        return int.from_bytes(self.raw[position : position + size], "little", signed=True)
