"""Event files: one format per module, and `read_events`, `write_events`, which choose the format by the suffix."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import BinaryIO

from cuslayer._base import check
from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.data.formats.slayer import SpikeCounts, read_counts, write_counts

__all__ = ["FORMATS", "SpikeCounts", "read_counts", "read_events", "write_counts", "write_events"]

# The formats by suffix, of all modules here; from the last, so that SLAYER's come first.
FORMATS: dict[str, base.Format] = {
    suffix: known
    for module in sorted(iter_modules(__path__), key=lambda module: module.name, reverse=True)
    for suffix, known in getattr(import_module(f"{__name__}.{module.name}"), "FORMATS", {}).items()
}


@check.operation
def read_events(path: str | os.PathLike[str], *, unit: str | None = None, max_events: int | None = None) -> Events:
    """Read the events of a file, in the order and with the channels of the file, times in ms.

    | suffix | events | bytes per event |
    |---|---|---|
    | `.bs1` | neuron 0 .. 65535, p 0 or 1, up to 8.4 s | 5 |
    | `.bs2`, `.bin` | x and y 0 .. 255, p 0 or 1, up to 8.4 s | 5 |
    | `.bs3` | x and y 0 .. 4095, p 0 .. 255, up to 16.8 s | 7 |
    | `.npy` | an array of columns x, y, p, t or x, p, t of any type | 32 |
    | `.h5`, `.hdf5` | `events/x`, `/y` (optional), `/p` and `/t` of any type | 11 or more |
    | `.aedat` | AEDAT 3.1 or 4, written as 3.1: x and y 0 .. 32767, p 0 or 1 | 8 |
    | `.aedat4` | the same; only read | 16 |
    | `.dat` | Prophesee: x and y 0 .. 16383, p 0 or 1; only read | 8 |
    | `.raw` | Prophesee's EVT 2.0, 2.1 or 3.0: x and y 0 .. 2047, p 0 or 1; only read | 2 to 8 |

    Times are as in the file: AEDAT 4 counts from 1970; `cuslayer.data.FromStart` makes them start at 0.

    Args:
        path: the file. HDF5 needs h5py (extra hdf5), compressed AEDAT 4 lz4 or zstandard (extra aedat).
        unit: "s", "ms", "us" or "ns": the unit of the times in a `.npy` file (default ms) or an HDF5 file (default: as
            the file says, or us).
        max_events: the largest number of events to read, checked before memory is taken. By default 524,288, or one
            event for each 4 bytes of the file (3 bytes in a one-dimensional recording, 1 in a `.raw` file), if that is
            more: only a file compressed to less needs this argument.

    Raises:
        ImportError: the library that the format needs is not installed.
        TypeError: max_events is not an integer.
        ValueError: the file is missing, empty, truncated, a folder, a device, of another format or inconsistent; it has
            more than max_events events; or unit is unknown or the format has its own.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_events(f"{folder}/one.bs2", Events([1.5], [33], [2], [1]))
    ...     read_events(f"{folder}/one.bs2")
    Events(1 events in 2-D, 1.5 to 1.5 ms)
    """
    file_path = check.path("path", path)
    if max_events is not None:
        check.integer("max_events", max_events, least=0)

    def read(file: BinaryIO, size: int) -> Events:
        known = _format(file_path, "read_counts")
        return known.read(file, size, _unit(file_path, known, unit), max_events)

    return base.read_file(file_path, read)


@check.operation
def write_events(path: str | os.PathLike[str], events: Events, *, unit: str | None = None) -> None:
    """Write events to a file in the format of its suffix: see `read_events`.

    Times are rounded to microseconds, or to the given unit; a `.npy` file in ms has them exactly. The file is replaced
    atomically.

    Args:
        path: the file; an existing one is replaced.
        events: the events; SLAYER's formats, `.bs1` to `.bs3`, need at least one.
        unit: the unit of the times in a `.npy` or an HDF5 file, as in `read_events`.

    Raises:
        ImportError: the library that the format needs is not installed.
        TypeError: events is not an Events.
        ValueError: the suffix is unknown or of a format that is only read, the format cannot hold an event, or the file
            cannot be written.

    >>> write_events("one.bs2", Events([1.5], [256], [2], [1]))
    Traceback (most recent call last):
    ValueError: write_events: x must be at most 255 in a .bs2 file, event 0 has 256
    """
    path = check.path("path", path)
    if not isinstance(events, Events):
        raise TypeError(f"events must be Events, got {type(events).__name__}")
    known = _format(path, "write_counts")
    unit = _unit(path, known, unit)
    write = known.write
    if write is None:
        written = ", ".join(suffix for suffix, each in FORMATS.items() if each.write)
        raise ValueError(f"{path} cannot be written, {path.suffix} files are only read; write {written}")
    base.write_file(path, lambda file: write(file, events, path.suffix, unit))


def _format(path: Path, instead: str) -> base.Format:
    """Return the format of a file by its suffix; `instead` is the function for numbers of spikes."""
    suffix = path.suffix.lower()
    if suffix == ".bsn":
        raise ValueError(f"{path} is for numbers of spikes, not events; use {instead}")
    if suffix not in FORMATS:
        raise ValueError(f"{path} must end in one of {', '.join(FORMATS)}{check.nearest(suffix, FORMATS)}")
    return FORMATS[suffix]


def _unit(path: Path, known: base.Format, unit: str | None) -> str:
    """Return the given unit, or the default of the format."""
    if unit is None:
        return known.unit or ""
    if known.unit is None:
        raise ValueError(f"unit must be None for a {path.suffix} file, which has microseconds, got {unit!r}")
    return check.one_of("unit", unit, base.PER_MS)
