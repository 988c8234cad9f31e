"""Shared parts of the event formats: files, the limit of events, units of time, and checks of columns."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.files import write_whole
from cuslayer.backend import Array
from cuslayer.data.events import Events, Floats, Ints

T = TypeVar("T")

# Units of time, and how many of each are a millisecond.
PER_MS = {"s": 1e-3, "ms": 1.0, "us": 1e3, "ns": 1e6}
# Integer times up to this bound are exact as float64 ms: Unix microseconds fit until 2041.
EXACT = 2**51
# Events per block of reading: a block stays in the CPU's cache while it is decoded.
BLOCK = 1 << 15
# The largest estimate of a number of events that gets memory at once, 2 GB.
MOST_AT_FIRST = 1 << 26
# Files of any size may hold so many events, whose columns take 16 MB.
_FEW, _EVENT_BYTES = 1 << 19, 32
_NO_FILES = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}


class Missing(ValueError):
    """There are no files of a part of a data set, which its maker may keep."""


class Unreadable(ValueError):
    """An invalid file; the message follows the name of the file, such as "is empty"."""


class Format(NamedTuple):
    """A file format."""

    # A function of an open file, its size in bytes, a unit and the largest number of events, None by default; returns
    # events or raises Unreadable.
    read: Callable[..., Events]
    # A function of an open file, events, the suffix and a unit, None if the format is only read.
    write: Callable[[BinaryIO, Events, str, str], None] | None = None
    unit: str | None = None  # the default unit of times; None if the format has only one unit


class Limit:
    """The number of events that a file may have, checked before memory is taken for them.

    By default it is 524,288, or one event for each 4 bytes of the file (3 bytes in a one-dimensional recording), if
    that is more: no uncompressed file of whole columns has more, and the events take at most eight times the size of
    the file. Prophesee's `.raw`, where events share words, may have one for each byte.
    """

    def __init__(self, size: int, most: int | None) -> None:
        self._size, self._most = size, most

    def most(self, columns: int = 4) -> int:
        """Return the number of events for a number of columns of one byte each."""
        return max(_FEW, self._size // columns) if self._most is None else self._most

    def check(self, count: int, columns: int = 4, *, more: bool = False) -> None:
        """Raise Unreadable if the count is too high; with `more`, further events may follow."""
        if count > self.most(columns):
            found = "more; max_events= raises the limit" if more else f"{count}; max_events={count} reads them"
            raise Unreadable(f"must hold at most {self.most(columns)} events, got {found}")
        if count * _EVENT_BYTES > check._machine_memory():
            raise Unreadable(f"must fit into memory, its {count} events take {count * _EVENT_BYTES / 2**30:.4g} GiB")


class Packets:
    """Collects events packet by packet, as columns t, x, y, p, or t, x, p in one dimension.

    The capacity may be estimated much too high: the operating system allocates only written pages.
    """

    def __init__(self, capacity: int, *, flat: bool = False) -> None:
        self.count, self._flat = 0, flat
        kinds = [np.float64] + [np.int64] * (2 if flat else 3)
        self._columns: list[npt.NDArray[Any]] = [np.empty(max(capacity, 1), k) for k in kinds]

    def add(self, *columns: Array) -> None:
        """Append a packet of events."""
        first, self.count = self.count, self.count + len(columns[0])
        for i, values in enumerate(columns):
            if self.count > len(self._columns[i]):
                larger = np.empty(2 * self.count, dtype=self._columns[i].dtype)
                larger[:first] = self._columns[i][:first]
                self._columns[i] = larger
            self._columns[i][first : self.count] = values

    def joined(self) -> Events:
        """Return the events of all packets."""
        t, x, *y, p = (column[: self.count] for column in self._columns)
        return Events._own(t, x, None if self._flat else y[0], p)


def read_block(file: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes."""
    raw = file.read(size)
    if len(raw) != size:
        raise Unreadable("was cut short while it was read")
    return raw


def records(file: BinaryIO, count: int, kind: np.dtype[np.generic]) -> Iterator[tuple[int, Array]]:
    """Yield the index of the first of each block of records, and the block."""
    for first in range(0, count, BLOCK):
        yield first, np.frombuffer(read_block(file, min(BLOCK, count - first) * kind.itemsize), kind)


def integers(name: str, values: Array, first: int = 0) -> Ints:
    """Return a column of a file as int64; `first` is the index of its first event, for errors."""
    with np.errstate(invalid="ignore"):
        converted = values.astype(np.int64)
        wrong = converted < 0
        if values.dtype.kind == "f":
            wrong |= converted != values
    if wrong.any():
        worst = int(wrong.argmax())
        raise Unreadable(f"must hold {name} as integers from 0, event {first + worst} has {values[worst]}")
    return converted


def times(values: Array, unit: str, first: int = 0) -> Floats:
    """Return a column of times in ms, which float64 must hold exactly if they are integers."""
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


def in_unit(events: Events, suffix: str, unit: str) -> Array:
    """Return times in the unit of a file: float64 for s and ms, int64 for us and ns."""
    if unit in ("s", "ms"):
        return events.t if unit == "ms" else np.asarray(events.t / 1e3)
    return rounded_times(suffix, "t", events.t, unit, -EXACT, EXACT)


def rounded_times(suffix: str, name: str, t: Floats, unit: str, least: int, most: int, *, what: str = "event") -> Ints:
    """Return times in ms, rounded to whole numbers of a unit, which must lie in least .. most."""
    factor = PER_MS[unit]
    with np.errstate(over="ignore"):
        rounded = np.rint(t * factor)
    wrong = (rounded < least) | (rounded > most)
    if wrong.any():
        worst = int(wrong.argmax())
        bounds = f"{least / factor if least else 0} .. {most / factor} ms"
        raise ValueError(f"{name} must lie in {bounds} in a {suffix} file, {what} {worst} is at {t[worst]} ms")
    return rounded.astype(np.int64)


def check_at_most(suffix: str, name: str, values: Ints, most: int, *, what: str = "event") -> None:
    """Raise ValueError for the first value that is larger than the format allows."""
    if values.size and values.max() > most:
        worst = int(np.argmax(values > most))
        raise ValueError(f"{name} must be at most {most} in a {suffix} file, {what} {worst} has {values[worst]}")


def check_dimensions(suffix: str, events: Events, wanted: int) -> None:
    """Raise ValueError unless the events are in 1-D or 2-D, as wanted."""
    given = 1 if events.y is None else 2
    if given != wanted:
        raise ValueError(f"events must be in {wanted}-D for a {suffix} file, got {given}-D")


def read_file(path: Path, read: Callable[[BinaryIO, int], T]) -> T:
    """Return `read(file, size)` of an open file; raise ValueError that names the file."""
    try:
        with open_file(path) as file:
            return read(file, os.fstat(file.fileno()).st_size)
    except OSError as problem:
        raise ValueError(f"{path} {_why(path, problem)}") from None
    except Unreadable as problem:
        raise ValueError(f"{path} {problem}") from None
    except MemoryError:
        raise ValueError(f"{path} must fit into memory, there is too little of it") from None


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; refuse a named pipe or a device, which may never end."""
    _check_regular(os.stat(path))  # opening some devices has an effect
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        _check_regular(os.fstat(descriptor))
    except Unreadable:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file by `write(file)`, atomically; raise ValueError that names the operation."""
    try:
        write_whole(path, write)
    except OSError as problem:
        raise ValueError(f"{path} {_why(path, problem)}") from None


def _check_regular(status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise Unreadable(f"is a {_NO_FILES.get(kind, 'device')}, not a file")


def _why(path: Path, problem: OSError) -> str:
    """Return why a file cannot be read or written."""
    if os.path.isdir(path):
        return "is a folder, not a file"
    if os.path.exists(path) and not os.path.isfile(path):
        return "is a device or a pipe, not a file"
    if problem.errno == errno.ENOENT:
        return "does not exist" if os.path.isdir(path.parent) else f"has no folder {path.parent} to be in"
    return f"cannot be opened ({problem.strerror or type(problem).__name__})"
