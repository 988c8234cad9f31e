"""As much of FlatBuffers as AEDAT 4 needs, read so that nothing outside the buffer is ever looked at.

A buffer of a known length has the place of its root table in its first four bytes and a name of four letters after
them. A table begins with the distance back to its list of fields: two bytes of the list's length, two of the table's,
and two for each field, the field's place in the table or 0 where it is left out. Little-endian throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.data.formats import base as form


@dataclass(frozen=True)
class Table:
    """A table in a buffer, by its place."""

    raw: bytes
    place: int

    @classmethod
    def root(cls, raw: bytes, name: bytes) -> Table:
        """Return the root table of a buffer that begins with its own length.

        Raises:
            Unreadable: the length is wrong, or the buffer has another name.
        """
        if len(raw) < 12 or int.from_bytes(raw[:4], "little") != len(raw) - 4 or raw[8:12] != name:
            raise form.Unreadable(f"has a part that should be {name.decode()} and is not")
        return cls(raw, 4 + int.from_bytes(raw[4:8], "little"))

    def integer(self, field: int, size: int, default: int = 0) -> int:
        """Return a signed integer of `size` bytes."""
        place = self._field(field)
        return self._at(place, size) if place else default

    def pair(self, field: int) -> tuple[int, int]:
        """Return a struct of two 32-bit integers, zeros where it is left out."""
        place = self._field(field)
        return (self._at(place, 4), self._at(place + 4, 4)) if place else (0, 0)

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Return the place and the length of a vector whose entries have so many bytes each."""
        place = self._field(field)
        if not place:
            return 0, 0
        start = place + self._at(place, 4)
        count = self._at(start, 4)
        if count < 0 or start + 4 + count * size > len(self.raw):
            raise form.Unreadable("has a vector that reaches past its end")
        return start + 4, count

    def tables(self, field: int) -> list[Table]:
        """Return the tables of a vector."""
        start, count = self.vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self.raw, place + self._at(place, 4)) for place in places]

    def _field(self, field: int) -> int:
        """Return the place of a field, or 0 where it is left out."""
        fields = self.place - self._at(self.place, 4)
        if self._at(fields, 2) < 6 + 2 * field:
            return 0
        offset = self._at(fields + 4 + 2 * field, 2)
        return self.place + offset if offset else 0

    def _at(self, place: int, size: int) -> int:
        if not 0 <= place <= len(self.raw) - size:
            raise form.Unreadable("has a table that reaches past its end")
        return int.from_bytes(self.raw[place : place + size], "little", signed=True)
