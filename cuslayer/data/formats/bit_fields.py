"""Records of big-endian bit fields, as in SLAYER's event files."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Ints
from cuslayer.data.formats import base

_US_PER_MS = 1000.0


class Packed:
    """A record of bit fields in whole bytes.

    Args:
        bits: the width of each field in bits, the highest bits first.
        times: the fields that are times: microseconds in the file, milliseconds in arrays.

    >>> pair = Packed({"n": 12, "t": 12}, times=("t",))
    >>> raw = pair.pack(np.array([[1, 4095], [7, 1000]]))
    >>> raw.tobytes().hex(), pair.unpack(raw)
    ('001007fff3e8', {'n': array([   1, 4095]), 't': array([0.007, 1.   ])})
    """

    def __init__(self, bits: dict[str, int], times: tuple[str, ...]) -> None:
        self.bits = bits
        self.times = times
        self.bytes = sum(bits.values()) // 8
        offsets, formats = [], []
        self._shifts: dict[str, tuple[int, int]] = {}
        end = 0
        for name, width in bits.items():
            end += width
            # The smallest integer type that contains the field and ends with its last byte.
            last = -(-end // 8)
            shift = 8 * last - end
            size = next(size for size in (1, 2, 4) if 8 * size >= width + shift)
            offsets.append(last - size)
            formats.append(f">u{size}")
            self._shifts[name] = (shift, 2**width - 1 if 8 * size > width + shift else 0)
        self._record = np.dtype({"names": list(bits), "formats": formats, "offsets": offsets, "itemsize": self.bytes})

    def read(self, file: BinaryIO, size: int, most: int | None = None) -> dict[str, npt.NDArray[Any]]:
        """Read the columns of a file of `size` bytes.

        Raises:
            Unreadable: the file is empty, ends within a record, or has more than `most` records.
        """
        if not size:
            raise base.Unreadable("is empty")
        if size % self.bytes:
            raise base.Unreadable(f"is {size} bytes, not a multiple of {self.bytes}")
        count = size // self.bytes
        base.Limit(size, most).check(count)
        columns = self._empty(count)
        for first in range(0, count, base.BLOCK):
            some = min(base.BLOCK, count - first)
            self._decode(base.read_block(file, some * self.bytes), columns, first, first + some)
        return columns

    def unpack(self, raw: bytes | npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of whole records."""
        count = len(raw) // self.bytes
        columns = self._empty(count)
        self._decode(raw, columns, 0, count)
        return columns

    def pack(self, columns: Any) -> npt.NDArray[np.uint8]:
        """Return the bytes of columns of integers, one per field in order; the values must fit."""
        raw = np.zeros((len(columns[0]), self.bytes), dtype=np.uint8)
        end = 0
        for (name, width), column in zip(self.bits.items(), columns, strict=True):
            start, end = end, end + width
            last = -(-end // 8)
            values = column << self._shifts[name][0]
            for byte in range(last - 1, start // 8 - 1, -1):
                raw[:, byte] |= (values & 0xFF).astype(np.uint8)
                values = values >> 8
        return raw.reshape(-1)

    def _empty(self, count: int) -> dict[str, npt.NDArray[Any]]:
        return {name: np.empty(count, dtype=np.float64 if name in self.times else np.int64) for name in self.bits}

    def _decode(
        self, raw: bytes | npt.NDArray[np.uint8], columns: dict[str, npt.NDArray[Any]], first: int, last: int
    ) -> None:
        """Decode records into [first, last) of the columns."""
        records = np.frombuffer(raw, dtype=self._record)
        for name, (shift, mask) in self._shifts.items():
            values: Ints = records[name].astype(np.int64)
            if shift:
                values >>= shift
            if mask:
                values &= mask
            if name in self.times:
                np.divide(values, _US_PER_MS, out=columns[name][first:last])
            else:
                columns[name][first:last] = values
