"""Event files: `.bs2` and N-MNIST's `.bin` for cameras, `.bs1` for neurons without a place.

Each event is five bytes, big-endian. A camera's: x 8 bits, y 8 bits, polarity 1 bit, time in microseconds 23
bits. A neuron's: its number 16 bits, polarity 1 bit, time in microseconds 23 bits.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.events import Events
from cuslayer.data.files import write_whole

# How many coordinates an event has, by the file's suffix.
DIMENSIONS = {".bs2": 2, ".bin": 2, ".bs1": 1}

# The first byte; then the second byte, the polarity and the time as one word.
_RECORD = np.dtype([("head", "u1"), ("word", ">u4")])
_LONGEST_US = 2**23 - 1
_US_PER_MS = 1000.0


def read_events(path: str | os.PathLike[str]) -> Events:
    """Return the events in a file, in the file's order, with times in ms.

    Args:
        path: a `.bs2`, `.bin` or `.bs1` file.

    Raises:
        ValueError: the file is missing, empty, cut short, not a file, or of another kind.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_events(f"{folder}/one.bs2", Events([1.5], [33], [2], [1]))
    ...     read_events(f"{folder}/one.bs2")
    Events(1 events in 2-D, 1.5 to 1.5 ms)
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as problem:
        raise ValueError(f"read_events: {path} {_why(path, problem)}") from None
    dimensions = _dimensions("read_events", path)
    if not raw:
        raise ValueError(f"read_events: {path} is empty")
    if len(raw) % _RECORD.itemsize:
        raise ValueError(f"read_events: {path} is {len(raw)} bytes, not a multiple of {_RECORD.itemsize}")
    return decode(raw, dimensions)


def write_events(path: str | os.PathLike[str], events: Events) -> None:
    """Write events to a file, whose suffix chooses the format; times are rounded to microseconds.

    The file is written beside its place and then renamed: it is never there by half.

    Args:
        path: a `.bs2`, `.bin` or `.bs1` file; what lies there is replaced.
        events: one event or more.

    Raises:
        TypeError: events is not an Events.
        ValueError: the suffix is unknown, the format cannot hold an event, or the file cannot be written.

    >>> write_events("one.bs2", Events([1.5], [256], [2], [1]))
    Traceback (most recent call last):
    ValueError: write_events: x must be at most 255 in a .bs2 file, event 0 has 256
    """
    path = Path(path)
    if not isinstance(events, Events):
        raise TypeError(f"write_events: events must be Events, got {type(events).__name__}")
    dimensions = _dimensions("write_events", path)
    _holds(path.suffix, dimensions, events)
    raw = encode(events)
    try:
        write_whole(path, lambda file: file.write(raw.data))
    except OSError as problem:
        raise ValueError(f"write_events: {path} {_why(path, problem)}") from None


def decode(raw: bytes | npt.NDArray[np.uint8], dimensions: int) -> Events:
    """Return the events in raw, five bytes each, with times in ms."""
    records = np.frombuffer(raw, dtype=_RECORD)
    word = records["word"].astype(np.uint32)
    t = (word & _LONGEST_US) / _US_PER_MS
    x = records["head"].astype(np.int64)
    second = np.right_shift(word, 24, dtype=np.int64)
    word >>= 23
    p = np.bitwise_and(word, 1, dtype=np.int64)
    if dimensions == 1:
        return Events._own(t, x << 8 | second, None, p)
    return Events._own(t, x, second, p)


def encode(events: Events) -> npt.NDArray[np.uint8]:
    """Return events, which must fit, as bytes, five each."""
    second = events.x & 0xFF if events.y is None else events.y
    records = np.empty(len(events), dtype=_RECORD)
    records["head"] = events.x >> 8 if events.y is None else events.x
    records["word"] = second << 24 | events.p << 23 | _microseconds(events).astype(np.int64)
    return records.view(np.uint8)


def _microseconds(events: Events) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.rint(events.t * _US_PER_MS)


def _holds(suffix: str, dimensions: int, events: Events) -> None:
    """Raise ValueError unless the format can hold every event."""
    came = 1 if events.y is None else 2
    if came != dimensions:
        raise ValueError(f"write_events: events must be in {dimensions}-D for a {suffix} file, got {came}-D")
    if not len(events):
        raise ValueError(f"write_events: events must not be empty for a {suffix} file, got none")
    limits = [("x", events.x, 0xFF if dimensions == 2 else 0xFFFF), ("p", events.p, 1)]
    if events.y is not None:
        limits.append(("y", events.y, 0xFF))
    for name, values, most in limits:
        if values.max() > most:
            first = int(np.argmax(values > most))
            raise ValueError(
                f"write_events: {name} must be at most {most} in a {suffix} file, event {first} has {values[first]}"
            )
    time = _microseconds(events)
    if time.min() < 0 or time.max() > _LONGEST_US:
        first = int(np.argmax((time < 0) | (time > _LONGEST_US)))
        raise ValueError(
            f"write_events: t must lie in 0 .. {_LONGEST_US / _US_PER_MS} ms in a {suffix} file,"
            f" event {first} is at {events.t[first]} ms"
        )


def _dimensions(op: str, path: Path) -> int:
    """Return how many coordinates the file's events have, by its suffix."""
    suffix = path.suffix.lower()
    if suffix not in DIMENSIONS:
        known = ", ".join(DIMENSIONS)
        raise ValueError(f"{op}: {path} must end in one of {known}{check.nearest(suffix, DIMENSIONS)}")
    return DIMENSIONS[suffix]


def _why(path: Path, problem: OSError) -> str:
    """Return in a few words why a file cannot be read or written."""
    if path.is_dir():
        return "is a folder, not a file"
    if isinstance(problem, FileNotFoundError):
        return "does not exist" if path.parent.is_dir() else f"has no folder {path.parent} to be in"
    return f"cannot be opened ({problem.strerror or type(problem).__name__})"
