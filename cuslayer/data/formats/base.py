"""Helpers of the event formats: the `Format` record, units of time, and checks of columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.events import Events, Floats, Ints

# Units of time, and how many of each are a millisecond.
PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
# Integer times up to this bound are exact as float64 ms: Unix microseconds fit until 2041.
EXACT = 2**51
# Events per block of reading, so that a block stays in the CPU's cache while it is decoded.
BLOCK = 1 << 15
# The largest initial capacity of `Packets` in events, which is 2 GB.
_LARGEST_CAPACITY = 1 << 26
# Files of any size may hold so many events, whose columns take 16 MB.
_FEW, _EVENT_BYTES = 1 << 19, 32


class Unreadable(ValueError):
    """An invalid file; the message follows the name of the file, such as "is empty"."""


class Limit:
    """The number of events that a file may hold, which is checked before memory is taken for them.

    By default it is 524,288, or one event for each 4 bytes of the file (3 bytes in a one-dimensional recording), if
    that is more: no file of whole columns holds more without compression, and the events take at most eight times the
    size of the file. Prophesee's `.raw`, whose words share what events have in common, may hold one for each byte.

    Args:
        size: the size of the file in bytes.
        most: the number of events; None for the default.
    """

    def __init__(self, size: int, most: int | None) -> None:
        self._size, self._most = size, most

    def most(self, columns: int = 4) -> int:
        """Return the number of events for a number of columns, which take one byte each."""
        return max(_FEW, self._size // columns) if self._most is None else self._most

    def check(self, count: int, columns: int = 4, *, more: bool = False) -> None:
        """Raise Unreadable if the count is too high; `more` says that events may follow those that were counted."""
        if count > self.most(columns):
            found = "more; max_events= raises the limit" if more else f"{count}; max_events={count} reads them"
            raise Unreadable(f"must hold at most {self.most(columns)} events, got {found}")
        if count * _EVENT_BYTES > check._machine_memory():
            raise Unreadable(f"must fit into memory, its {count} events take {count * _EVENT_BYTES / 2**30:.4g} GiB")


class Format(NamedTuple):
    """A file format.

    Attributes:
        read: a function of an open file, its size in bytes, a unit and, by default None, the largest number of events
            of `Limit`; returns events or raises Unreadable.
        write: a function of an open file, events, the suffix and a unit; raises ValueError.
        unit: the default unit of times; None if the format has only one unit.
    """

    read: Callable[..., Events]
    write: Callable[[BinaryIO, Events, str, str], None]
    unit: str | None = None


class Packets:
    """Collects events packet by packet.

    The capacity is an estimate and may be much too high: the operating system allocates only pages that are written.

    Attributes:
        count: the number of events so far.
    """

    def __init__(self, capacity: int) -> None:
        self.count = 0
        kinds = (np.float64, np.int64, np.int64, np.int64)
        capacity = min(max(capacity, 1), _LARGEST_CAPACITY)
        self._columns: list[npt.NDArray[Any]] = [np.empty(capacity, dtype=kind) for kind in kinds]

    def add(self, t: Floats, x: npt.NDArray[Any], y: npt.NDArray[Any], p: npt.NDArray[Any]) -> int:
        """Append a packet of events and return their number."""
        first, self.count = self.count, self.count + len(t)
        for i, values in enumerate((t, x, y, p)):
            if self.count > len(self._columns[i]):
                larger = np.empty(2 * self.count, dtype=self._columns[i].dtype)
                larger[:first] = self._columns[i][:first]
                self._columns[i] = larger
            self._columns[i][first : self.count] = values
        return len(t)

    def joined(self) -> Events:
        """Return the events of all packets."""
        return Events._own(*(column[: self.count] for column in self._columns))


def read_block(file: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes."""
    raw = file.read(size)
    if len(raw) != size:
        raise Unreadable("was cut short while it was read")
    return raw


def integers(name: str, values: npt.NDArray[Any], first: int = 0) -> Ints:
    """Return a column of a file as int64; `first` is the index of its first event, for errors.

    Raises:
        Unreadable: a value is negative, not an integer, or too large.
    """
    with np.errstate(invalid="ignore"):
        converted = values.astype(np.int64)
        wrong = converted < 0
        if values.dtype.kind == "f":
            wrong |= converted != values
    if wrong.any():
        worst = int(wrong.argmax())
        raise Unreadable(f"must hold {name} as integers from 0, event {first + worst} has {values[worst]}")
    return converted


def times(values: npt.NDArray[Any], unit: str, first: int = 0) -> Floats:
    """Return a column of times in ms; `first` is the index of its first event, for errors.

    Raises:
        Unreadable: a time is not finite, or is an integer that float64 does not represent exactly.
    """
    if values.dtype.kind == "f":
        ms = values.astype(np.float64)
        with np.errstate(over="ignore"):
            ms = ms * 1e3 if unit == "s" else ms / PER_MS[unit]
        wrong = ~np.isfinite(ms)
        rule = "finite times"
    else:
        wrong = (values > EXACT) | (values < -EXACT) if values.dtype.itemsize == 8 else np.zeros(0, dtype=np.bool_)
        ms = values * 1e3 if unit == "s" else values / PER_MS[unit]
        rule = "times within 2**51 of 0"
    if wrong.any():
        worst = int(wrong.argmax())
        raise Unreadable(f"must hold {rule}, event {first + worst} is at {values[worst]} {unit}")
    return ms


def in_unit(events: Events, suffix: str, unit: str) -> npt.NDArray[Any]:
    """Return times in the unit of a file: float64 for s and ms, int64 for us and ns."""
    if unit == "ms":
        return events.t
    if unit == "s":
        return np.asarray(events.t / 1e3)
    return rounded_times("write_events", suffix, "t", events.t, unit, -EXACT, EXACT)


def rounded_times(
    op: str, suffix: str, name: str, t: Floats, unit: str, least: int, most: int, *, what: str = "event"
) -> Ints:
    """Return times in ms, rounded to whole numbers of a unit.

    Raises:
        ValueError: a time lies outside least .. most.
    """
    factor = PER_MS[unit]
    with np.errstate(over="ignore"):
        rounded = np.rint(t * factor)
    if rounded.size and (rounded.min() < least or rounded.max() > most):
        worst = int(np.argmax((rounded < least) | (rounded > most)))
        raise ValueError(
            f"{op}: {name} must lie in {least / factor if least else 0} .. {most / factor} ms in a {suffix} file,"
            f" {what} {worst} is at {t[worst]} ms"
        )
    return rounded.astype(np.int64)


def check_at_most(op: str, suffix: str, name: str, values: Ints, most: int, *, what: str = "event") -> None:
    """Raise ValueError for the first value that is larger than the format allows."""
    if values.size and values.max() > most:
        worst = int(np.argmax(values > most))
        raise ValueError(f"{op}: {name} must be at most {most} in a {suffix} file, {what} {worst} has {values[worst]}")


def check_two_dimensional(suffix: str, events: Events) -> None:
    """Raise ValueError if the events are one-dimensional."""
    if events.y is None:
        raise ValueError(f"write_events: events must be in 2-D for a {suffix} file, got 1-D")
