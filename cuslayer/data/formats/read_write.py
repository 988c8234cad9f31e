"""The two doors of every event file, `read_events` and `write_events`: the suffix chooses the format."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from cuslayer import check
from cuslayer.data.events import Events
from cuslayer.data.formats import aedat, hdf5, npy
from cuslayer.data.formats import base as form
from cuslayer.data.formats import slayer as bs
from cuslayer.files import write_whole

FORMATS = {
    ".bs2": bs.CAMERA,
    ".bin": bs.CAMERA,
    ".bs1": bs.NEURONS,
    ".bs3": bs.CHANNELS,
    ".npy": npy.NPY,
    ".h5": hdf5.HDF5,
    ".hdf5": hdf5.HDF5,
    ".aedat": aedat.AEDAT3,
    ".aedat4": aedat.AEDAT4,
}

T = TypeVar("T")


def read_events(path: str | os.PathLike[str], *, unit: str | None = None) -> Events:
    """Return the events in a file, in the file's order and channels, with times in ms.

    | suffix | events | size of an event |
    |---|---|---|
    | `.bs1` | neuron 0 .. 65535, p 0 or 1, up to 8.4 s | 5 bytes |
    | `.bs2`, `.bin` | x and y 0 .. 255, p 0 or 1, up to 8.4 s | 5 bytes |
    | `.bs3` | x and y 0 .. 4095, p 0 .. 255, up to 16.8 s | 7 bytes |
    | `.npy` | an array of columns x, y, p, t or x, p, t of any type | 32 bytes |
    | `.h5`, `.hdf5` | `events/x`, `/y` (or none), `/p` and `/t` of any type | 11 bytes and more |
    | `.aedat` | AEDAT 3.1 or 4: x and y 0 .. 32767, p 0 or 1 | 8 bytes |
    | `.aedat4` | the same; written as AEDAT 4 | 16 bytes |

    Times are as in the file: those of AEDAT 4 count from 1970. `cuslayer.data.FromStart` takes them to 0.

    Args:
        path: the file. HDF5 needs h5py (the extra hdf5); AEDAT 4 with compression lz4 or zstandard (aedat).
        unit: the unit of the times in a `.npy` file (None: ms) or an HDF5 file (None: what the file says, or us):
            "s", "ms", "us" or "ns".

    Raises:
        ImportError: the library that the format needs is missing.
        ValueError: the file is missing, empty, cut short, not a file, of another kind, or contradicts itself; or
            unit is unknown or given for a format that has its own.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_events(f"{folder}/one.bs2", Events([1.5], [33], [2], [1]))
    ...     read_events(f"{folder}/one.bs2")
    Events(1 events in 2-D, 1.5 to 1.5 ms)
    """
    op = "read_events"

    def read(file: BinaryIO, size: int) -> Events:
        known = _format(op, Path(path))
        return known.read(file, size, _unit(op, Path(path), known, unit))

    return opened(op, Path(path), read)


def write_events(path: str | os.PathLike[str], events: Events, *, unit: str | None = None) -> None:
    """Write events to a file, whose suffix chooses the format: see `read_events`.

    Times are rounded to microseconds, or to the unit that is asked for; a `.npy` file in ms holds them as they are.
    The file is written beside its place and then renamed: it is never there by half.

    Args:
        path: the file; what lies there is replaced.
        events: the events; SLAYER's own formats, `.bs1` to `.bs3`, have no file of none.
        unit: the unit of the times in a `.npy` or an HDF5 file, as in `read_events`.

    Raises:
        ImportError: the library that the format needs is missing.
        TypeError: events is not an Events.
        ValueError: the suffix is unknown, the format cannot hold an event, or the file cannot be written.

    >>> write_events("one.bs2", Events([1.5], [256], [2], [1]))
    Traceback (most recent call last):
    ValueError: write_events: x must be at most 255 in a .bs2 file, event 0 has 256
    """
    op, path = "write_events", Path(path)
    if not isinstance(events, Events):
        raise TypeError(f"{op}: events must be Events, got {type(events).__name__}")
    known = _format(op, path)
    unit = _unit(op, path, known, unit)
    written(op, path, lambda file: known.write(file, events, path.suffix, unit))


def opened(op: str, path: Path, read: Callable[[BinaryIO, int], T]) -> T:
    """Return what `read` makes of a file and its size; raise ValueError that names the file."""
    try:
        with path.open("rb") as file:
            return read(file, os.fstat(file.fileno()).st_size)
    except OSError as problem:
        raise ValueError(f"{op}: {path} {_why(path, problem)}") from None
    except form.Unreadable as problem:
        raise ValueError(f"{op}: {path} {problem}") from None


def written(op: str, path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file; raise ValueError that names the file where that cannot be."""
    try:
        write_whole(path, write)
    except OSError as problem:
        raise ValueError(f"{op}: {path} {_why(path, problem)}") from None


def _format(op: str, path: Path) -> form.Format:
    """Return the format that a file's suffix stands for."""
    suffix = path.suffix.lower()
    if suffix == ".bsn":
        other = op.replace("events", "counts")
        raise ValueError(f"{op}: {path} is for numbers of spikes, not events; {other} is its door")
    if suffix not in FORMATS:
        raise ValueError(f"{op}: {path} must end in one of {', '.join(FORMATS)}{check.nearest(suffix, FORMATS)}")
    return FORMATS[suffix]


def _unit(op: str, path: Path, known: form.Format, unit: str | None) -> str:
    """Return the unit that is asked for, or the format's own."""
    if unit is None:
        return known.unit or ""
    if known.unit is None:
        raise ValueError(f"{op}: unit must be None for a {path.suffix} file, which has microseconds, got {unit!r}")
    return check.one_of(op, "unit", unit, form.PER_MS)


def _why(path: Path, problem: OSError) -> str:
    """Return in a few words why a file cannot be read or written."""
    if path.is_dir():
        return "is a folder, not a file"
    if isinstance(problem, FileNotFoundError):
        return "does not exist" if path.parent.is_dir() else f"has no folder {path.parent} to be in"
    return f"cannot be opened ({problem.strerror or type(problem).__name__})"
