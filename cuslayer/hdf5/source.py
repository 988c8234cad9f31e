"""Bytes of a file with a check of every access, and a bound on all of them together."""

from __future__ import annotations

from typing import BinaryIO

from cuslayer.hdf5.checksum import lookup3

# An address that is not set.
NOWHERE = -1
# Bytes of metadata that any file may take to be read, and what an access costs beside its bytes.
_ALLOWANCE, _COST = 1 << 20, 64


class Damaged(ValueError):
    """A file that is not valid HDF5, or has what is not read; the message says what, without the file."""


class Source:
    """An open file.

    Metadata of a valid file is read once, so that twice the size of the file is enough for any number of accesses. A
    damaged file, in which structures refer to each other in a circle, exceeds it.

    Attributes:
        size: the size of the file in bytes.
        base: the byte at which addresses begin.
        offset_size: the bytes of an address.
        length_size: the bytes of a length.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size
        self.base, self.offset_size, self.length_size = 0, 8, 8
        self._budget = _ALLOWANCE + 2 * size

    def metadata(self, address: int, count: int) -> Cursor:
        """Return a cursor over bytes of the file's structure."""
        self._budget -= count + _COST
        if self._budget < 0:
            raise Damaged("its parts refer to each other in a circle")
        return Cursor(self, self.data(address, count), address)

    def data(self, address: int, count: int) -> bytes:
        """Return bytes of the file."""
        start = self.base + address
        if address < 0 or count < 0 or start + count > self.size:
            raise Damaged(f"{count} bytes at {address} reach past its end")
        self._file.seek(start)
        raw = self._file.read(count)
        if len(raw) != count:
            raise Damaged("it was cut short while it was read")
        return raw


class Cursor:
    """A position in a part of the metadata.

    Attributes:
        source: the file.
        raw: the bytes of the part.
        position: the next byte.
    """

    def __init__(self, source: Source, raw: bytes, address: int) -> None:
        self.source, self.raw, self.position, self._address = source, raw, 0, address

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        start, self.position = self.position, self.position + count
        if count < 0 or self.position > len(self.raw):
            raise Damaged(f"its part at {self._address} is too short")
        return self.raw[start : self.position]

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        self.take(count)

    def integer(self, size: int) -> int:
        """Return an unsigned integer of some bytes."""
        return int.from_bytes(self.take(size), "little")

    def address(self) -> int:
        """Return an address, NOWHERE if it is not set."""
        size = self.source.offset_size
        value = self.integer(size)
        return NOWHERE if value == (1 << 8 * size) - 1 else value

    def length(self) -> int:
        """Return a length."""
        return self.integer(self.source.length_size)

    def expect(self, signature: bytes, *versions: int) -> None:
        """Check the signature and the version of a structure."""
        if self.take(len(signature)) != signature:
            raise Damaged(f"its part at {self._address} should be {signature.decode('latin-1')} and is not")
        if versions and (version := self.integer(1)) not in versions:
            raise Damaged(f"its part {signature.decode('latin-1')} has the unknown version {version}")

    def rest(self) -> Cursor:
        """Return a cursor over the bytes from here on."""
        return Cursor(self.source, self.raw[self.position :], self._address + self.position)

    def left(self) -> int:
        """Return the number of bytes from here on."""
        return len(self.raw) - self.position

    def check_sum(self) -> None:
        """Check that the next four bytes are the checksum of all before them."""
        content = self.raw[: self.position]
        if self.integer(4) != lookup3(content):
            raise Damaged(f"the checksum of its part at {self._address} is wrong")
