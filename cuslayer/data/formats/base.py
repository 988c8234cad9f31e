"""What the event formats share: their parts, the units of their times, and how a column is taken or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events, Floats, Ints

# The units that times may be in, and how many of each make a millisecond.
PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
# Times further from 0 than this many units lose the last of them in float64 ms: Unix microseconds fit until 2041.
EXACT = 2**51
# Numbers are taken from a file in blocks of so many events, which stay in cache while they are taken apart.
BLOCK = 1 << 15
# Room for so many events, which is 2 GB, is the most that is made on a guess.
_ROOM = 1 << 26


class Unreadable(ValueError):
    """What is wrong with a file, in words that follow its name: "is empty"."""


class Format(NamedTuple):
    """One kind of file.

    Attributes:
        read: from an open file, its size in bytes and a unit to the events; it raises Unreadable.
        write: into an open file, from events, the file's suffix and a unit; it raises ValueError.
        unit: the unit of times where none is named; None where the format knows but one.
    """

    read: Callable[[BinaryIO, int, str], Events]
    write: Callable[[BinaryIO, Events, str, str], None]
    unit: str | None = None


class Packets:
    """Events that come a packet at a time, `room` of them about.

    Memory that is never written to is never taken, so that the guess may be far too high.
    """

    def __init__(self, room: int) -> None:
        self._count = 0
        kinds = (np.float64, np.int64, np.int64, np.int64)
        self._columns: list[npt.NDArray[Any]] = [np.empty(min(max(room, 1), _ROOM), dtype=kind) for kind in kinds]

    def add(self, t: Floats, x: npt.NDArray[Any], y: npt.NDArray[Any], p: npt.NDArray[Any]) -> int:
        """Take a packet of events and return how many they are."""
        first, self._count = self._count, self._count + len(t)
        for i, values in enumerate((t, x, y, p)):
            if self._count > len(self._columns[i]):
                larger = np.empty(2 * self._count, dtype=self._columns[i].dtype)
                larger[:first] = self._columns[i][:first]
                self._columns[i] = larger
            self._columns[i][first : self._count] = values
        return len(t)

    def joined(self) -> Events:
        """Return the events of all packets."""
        return Events._own(*(column[: self._count] for column in self._columns))


def block(file: BinaryIO, size: int) -> bytes:
    """Return the next `size` bytes."""
    raw = file.read(size)
    if len(raw) != size:
        raise Unreadable("was cut short while it was read")
    return raw


def integers(name: str, values: npt.NDArray[Any], first: int = 0) -> Ints:
    """Return a column of a file as int64; `first` is its first event's number.

    Raises:
        Unreadable: a value is negative, no integer, or too large.
    """
    with np.errstate(invalid="ignore"):
        taken = values.astype(np.int64)
        wrong = taken < 0
        if values.dtype.kind == "f":
            wrong |= taken != values
    if wrong.any():
        worst = int(wrong.argmax())
        raise Unreadable(f"must hold {name} as integers from 0, event {first + worst} has {values[worst]}")
    return taken


def times(values: npt.NDArray[Any], unit: str, first: int = 0) -> Floats:
    """Return a column of times in ms; `first` is its first event's number.

    Raises:
        Unreadable: a time is not finite, or is an integer that float64 does not hold exactly.
    """
    if values.dtype.kind == "f":
        taken = values.astype(np.float64)
        with np.errstate(over="ignore"):
            taken = taken * 1e3 if unit == "s" else taken / PER_MS[unit]
        wrong = ~np.isfinite(taken)
        rule = "finite times"
    else:
        wrong = (values > EXACT) | (values < -EXACT) if values.dtype.itemsize == 8 else np.zeros(0, dtype=np.bool_)
        taken = values * 1e3 if unit == "s" else values / PER_MS[unit]
        rule = "times within 2**51 of 0"
    if wrong.any():
        worst = int(wrong.argmax())
        raise Unreadable(f"must hold {rule}, event {first + worst} is at {values[worst]} {unit}")
    return taken


def in_unit(events: Events, suffix: str, unit: str) -> npt.NDArray[Any]:
    """Return the times as a file keeps them: float64 for s and ms, whole numbers for us and ns."""
    if unit == "ms":
        return events.t
    if unit == "s":
        return np.asarray(events.t / 1e3)
    return whole("write_events", suffix, "t", events.t, unit, -EXACT, EXACT)


def whole(op: str, suffix: str, name: str, t: Floats, unit: str, least: int, most: int, *, what: str = "event") -> Ints:
    """Return times in ms as whole numbers of a unit.

    Raises:
        ValueError: a time lies outside least .. most; it is named.
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


def at_most(op: str, suffix: str, name: str, values: Ints, most: int, *, what: str = "event") -> None:
    """Raise ValueError unless the format can hold every value, the first that it cannot being named."""
    if values.size and values.max() > most:
        worst = int(np.argmax(values > most))
        raise ValueError(f"{op}: {name} must be at most {most} in a {suffix} file, {what} {worst} has {values[worst]}")


def flat(suffix: str, events: Events) -> None:
    """Raise ValueError unless the events are in two dimensions."""
    if events.y is None:
        raise ValueError(f"write_events: events must be in 2-D for a {suffix} file, got 1-D")
