"""`.bsn`, SLAYER's file of spike counts: how many spikes a neuron has, or should have, in a time interval.

Big-endian, 80 bits per entry: neuron 16, start 24 and end 24 of the interval in microseconds, spike count 16.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.events import Floats, Ints, integers, times
from cuslayer.data.formats import base
from cuslayer.data.formats.bit_fields import Packed
from cuslayer.data.formats.read_write import read_file, write_file

_LAYOUT = Packed({"neuron": 16, "start": 24, "end": 24, "count": 16}, times=("start", "end"))


class SpikeCounts:
    """Spike counts: neuron[i] has count[i] spikes from start[i] to end[i], in ms.

    The times of the spikes within an interval are not known, so these are not events. The arrays are read-only copies
    of shape (entries,): start and end float64, neuron and count int64.

    Args:
        neuron: indices of neurons, from 0.
        start: starts of the intervals in ms.
        end: ends of the intervals in ms, not before the starts.
        count: numbers of spikes, from 0.

    Raises:
        TypeError: start or end are not numbers, or neuron or count are not integers.
        ValueError: the arrays differ in length or are not 1-D, an interval ends before it starts, a time is not finite,
            or another value is negative.

    >>> SpikeCounts([3, 4], [0.0, 0.0], [300.0, 300.0], [60, 10])
    SpikeCounts(2 entries, 70 spikes)
    """

    __slots__ = ("count", "end", "neuron", "start")

    def __init__(self, neuron: npt.ArrayLike, start: npt.ArrayLike, end: npt.ArrayLike, count: npt.ArrayLike) -> None:
        op, what = "SpikeCounts", "entry"
        self.neuron: Ints = integers(op, "neuron", neuron, what=what)
        self.start: Floats = times(op, "start", start, what=what)
        self.end: Floats = times(op, "end", end, what=what)
        self.count: Ints = integers(op, "count", count, what=what)
        for name in ("start", "end", "count"):
            length = len(getattr(self, name))
            if length != len(self.neuron):
                raise ValueError(f"{op}: {name} must be as long as neuron, got {length} and {len(self.neuron)}")
        if (self.end < self.start).any():
            worst = int(np.argmax(self.end < self.start))
            span = f"{self.start[worst]} .. {self.end[worst]} ms"
            raise ValueError(f"{op}: end must not lie before start, entry {worst} has {span}")

    def __len__(self) -> int:
        return len(self.neuron)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikeCounts):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SpikeCounts({len(self)} entries, {self.count.sum()} spikes)"


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
    path = check.path("read_counts", "path", path)
    _suffix("read_counts", path)
    return read_file("read_counts", path, read)


def read(file: BinaryIO, size: int) -> SpikeCounts:
    """Read spike counts from an open file of `size` bytes."""
    columns: dict[str, Any] = _LAYOUT.read(file, size)
    wrong = columns["end"] < columns["start"]
    if wrong.any():
        raise base.Unreadable(f"has a span that ends before it starts, in entry {int(wrong.argmax())}")
    return SpikeCounts(**columns)


def write_counts(path: str | os.PathLike[str], counts: SpikeCounts) -> None:
    """Write spike counts to a `.bsn` file, atomically; times are rounded to microseconds.

    Raises:
        TypeError: counts is not a SpikeCounts.
        ValueError: the suffix is not .bsn, counts is empty, an entry does not fit, or the file cannot be written.

    >>> write_counts("wanted.bsn", SpikeCounts([70000], [0.0], [300.0], [60]))
    Traceback (most recent call last):
    ValueError: write_counts: neuron must be at most 65535 in a .bsn file, entry 0 has 70000
    """
    op = "write_counts"
    path = check.path(op, "path", path)
    if not isinstance(counts, SpikeCounts):
        raise TypeError(f"{op}: counts must be SpikeCounts, got {type(counts).__name__}")
    _suffix(op, path)
    if not len(counts):
        raise ValueError(f"{op}: counts must not be empty for a .bsn file, got none")
    columns = []
    for name, width in _LAYOUT.bits.items():
        values = getattr(counts, name)
        if name in _LAYOUT.times:
            values = base.rounded_times(op, ".bsn", name, values, "us", 0, 2**width - 1, what="entry")
        else:
            base.check_at_most(op, ".bsn", name, values, 2**width - 1, what="entry")
        columns.append(values)
    raw = _LAYOUT.pack(columns)
    write_file(op, path, lambda file: file.write(raw.data))


def _suffix(op: str, path: Path) -> None:
    if path.suffix.lower() != ".bsn":
        raise ValueError(f"{op}: {path} must end in .bsn")
