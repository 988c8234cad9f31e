"""SLAYER's files: `.bs2`, `.bs3` and N-MNIST's `.bin` for cameras, `.bs1` for neurons, `.bsn` of spike counts.

Big-endian bit fields, with times in microseconds:

    .bs1        40 bits   neuron 16, polarity 1, time 23
    .bs2, .bin  40 bits   x 8, y 8, polarity 1, time 23
    .bs3        56 bits   x 12, y 12, channel 8, time 24
    .bsn        80 bits   neuron 16, start 24 and end 24 of an interval, spike count 16
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.data import events as columns_of
from cuslayer.data.events import Events, Floats, Ints
from cuslayer.data.formats import base

_US_PER_MS = 1000.0
_TIMES = ("t", "start", "end")


class Packed:
    """A record of bit fields in whole bytes, the highest bits first; `t`, `start` and `end` are times.

    >>> pair = Packed(n=12, t=12)
    >>> raw = pair.pack([np.array([1, 7]), np.array([4095, 1000])])
    >>> raw.tobytes().hex(), pair.unpack(raw)
    ('001fff0073e8', {'n': array([1, 7]), 't': array([4.095, 1.   ])})
    """

    def __init__(self, **bits: int) -> None:
        self.bits = bits
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

    def read(self, file: BinaryIO, size: int, most: int | None = None) -> dict[str, Array]:
        """Return the columns of a file of `size` bytes, with times in ms."""
        if not size:
            raise base.Unreadable("is empty")
        if size % self.bytes:
            raise base.Unreadable(f"is {size} bytes, not a multiple of {self.bytes}")
        count = size // self.bytes
        base.Limit(size, most).check(count)
        return self._columns(count, base.records(file, count, self._record))

    def unpack(self, raw: bytes | npt.NDArray[np.uint8]) -> dict[str, Array]:
        """Return the columns of whole records, with times in ms."""
        records = np.frombuffer(raw, self._record)
        return self._columns(len(records), [(0, records)])

    def pack(self, columns: Sequence[Array]) -> npt.NDArray[np.uint8]:
        """Return the bytes of columns of integers, one per field in order; the values must fit."""
        raw = np.zeros((len(columns[0]), self.bytes), dtype=np.uint8)
        end = 0
        for (name, width), column in zip(self.bits.items(), columns, strict=True):
            start, end = end, end + width
            values = column << self._shifts[name][0]
            for byte in range(-(-end // 8) - 1, start // 8 - 1, -1):
                raw[:, byte] |= (values & 0xFF).astype(np.uint8)
                values = values >> 8
        return raw.reshape(-1)

    def fitting(self, suffix: str, columns: dict[str, Array], *, what: str = "event") -> npt.NDArray[np.uint8]:
        """Return the bytes of columns with times in ms; raise ValueError for a value that has too many bits."""
        found = []
        for name, width in self.bits.items():
            if name in _TIMES:
                values = base.rounded_times(suffix, name, columns[name], "us", 0, 2**width - 1, what=what)
            else:
                values = columns[name]
                base.check_at_most(suffix, name, values, 2**width - 1, what=what)
            found.append(values)
        return self.pack(found)

    def _columns(self, count: int, blocks: Iterable[tuple[int, Array]]) -> dict[str, Array]:
        columns = {name: np.empty(count, np.float64 if name in _TIMES else np.int64) for name in self.bits}
        for first, records in blocks:
            for name, (shift, mask) in self._shifts.items():
                values: Ints = records[name].astype(np.int64)
                if shift:
                    values >>= shift
                if mask:
                    values &= mask
                part = columns[name][first : first + len(records)]
                part[:] = values / _US_PER_MS if name in _TIMES else values
        return columns


_NEURONS = Packed(x=16, p=1, t=23)
_CAMERA = Packed(x=8, y=8, p=1, t=23)
_CHANNELS = Packed(x=12, y=12, p=8, t=24)
_COUNTS = Packed(index=16, start=24, end=24, count=16)


def decode(raw: bytes | npt.NDArray[np.uint8]) -> Events:
    """Return the events of the bytes of a `.bs2` file, which must be whole records."""
    return Events._own(**_CAMERA.unpack(raw))


def encode(events: Events, suffix: str = ".bs2", layout: Packed = _CAMERA) -> npt.NDArray[np.uint8]:
    """Return events as the bytes of a `.bs2` file; raise ValueError for an event that does not fit."""
    base.check_dimensions(suffix, events, 2 if "y" in layout.bits else 1)
    if not len(events):
        raise ValueError(f"events must not be empty for a {suffix} file, got none")
    return layout.fitting(suffix, {name: getattr(events, name) for name in layout.bits})


def _read(layout: Packed, file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    return Events._own(**layout.read(file, size, most))


def _write(layout: Packed, file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    file.write(encode(events, suffix, layout).data)


_LAYOUTS = {".bs2": _CAMERA, ".bin": _CAMERA, ".bs1": _NEURONS, ".bs3": _CHANNELS}
FORMATS = {suffix: base.Format(partial(_read, layout), partial(_write, layout)) for suffix, layout in _LAYOUTS.items()}


@check.named
class SpikeCounts:
    """Spike counts: neuron index[i] has count[i] spikes from start[i] to end[i], in ms.

    The times of the spikes within an interval are not known, so these are not events. The arrays are read-only copies
    of shape (entries,): start and end float64, index and count int64.

    Args:
        index: indices of neurons, from 0.
        start: starts of the intervals in ms.
        end: ends of the intervals in ms, not before the starts.
        count: numbers of spikes, from 0.

    Raises:
        TypeError: start or end are not numbers, or index or count are not integers.
        ValueError: the arrays differ in length or are not 1-D, an interval ends before it starts, a time is not finite,
            or another value is negative.

    >>> SpikeCounts([3, 4], [0.0, 0.0], [300.0, 300.0], [60, 10])
    SpikeCounts(2 entries, 70 spikes)
    """

    __slots__ = ("count", "end", "index", "start")

    def __init__(self, index: npt.ArrayLike, start: npt.ArrayLike, end: npt.ArrayLike, count: npt.ArrayLike) -> None:
        what = "entry"
        self.index: Ints = columns_of.integers("index", index, what=what)
        self.start: Floats = columns_of.times("start", start, what=what)
        self.end: Floats = columns_of.times("end", end, what=what)
        self.count: Ints = columns_of.integers("count", count, what=what)
        for name in ("start", "end", "count"):
            length = len(getattr(self, name))
            if length != len(self.index):
                raise ValueError(f"{name} must be as long as index, got {length} and {len(self.index)}")
        if (self.end < self.start).any():
            worst = int(np.argmax(self.end < self.start))
            span = f"{self.start[worst]} .. {self.end[worst]} ms"
            raise ValueError(f"end must not lie before start, entry {worst} has {span}")

    def __len__(self) -> int:
        return len(self.index)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikeCounts):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SpikeCounts({len(self)} entries, {self.count.sum()} spikes)"


@check.operation
def read_counts(path: str | os.PathLike[str]) -> SpikeCounts:
    """Read the spike counts of a `.bsn` file, times in ms.

    Raises:
        ValueError: the file is missing, empty, truncated, a folder, of another format, or has an interval that ends
            before it starts.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_counts(f"{folder}/wanted.bsn", SpikeCounts([3], [0.0], [300.0], [60]))
    ...     read_counts(f"{folder}/wanted.bsn")
    SpikeCounts(1 entries, 60 spikes)
    """
    return base.read_file(_count_file(path), _read_counts)


def _read_counts(file: BinaryIO, size: int) -> SpikeCounts:
    columns: dict[str, Any] = _COUNTS.read(file, size)
    wrong = columns["end"] < columns["start"]
    if wrong.any():
        raise base.Unreadable(f"has a span that ends before it starts, in entry {int(wrong.argmax())}")
    return SpikeCounts(**columns)


@check.operation
def write_counts(path: str | os.PathLike[str], counts: SpikeCounts) -> None:
    """Write spike counts to a `.bsn` file, atomically; times are rounded to microseconds.

    Raises:
        TypeError: counts is not a SpikeCounts.
        ValueError: the suffix is not .bsn, counts is empty, an entry does not fit, or the file cannot be written.

    >>> write_counts("wanted.bsn", SpikeCounts([70000], [0.0], [300.0], [60]))
    Traceback (most recent call last):
    ValueError: write_counts: index must be at most 65535 in a .bsn file, entry 0 has 70000
    """
    path = _count_file(path)
    if not isinstance(counts, SpikeCounts):
        raise TypeError(f"counts must be SpikeCounts, got {type(counts).__name__}")
    if not len(counts):
        raise ValueError("counts must not be empty for a .bsn file, got none")
    columns = {name: getattr(counts, name) for name in _COUNTS.bits}
    base.write_file(path, lambda file: file.write(_COUNTS.fitting(".bsn", columns, what="entry").data))


def _count_file(path: str | os.PathLike[str]) -> Path:
    found = check.path("path", path)
    if found.suffix.lower() != ".bsn":
        raise ValueError(f"{found} must end in .bsn")
    return found
