"""HDF5: data sets `events/x`, `events/y`, `events/p` and `events/t` of equal length, as in DSEC and others.

Times are whole microseconds unless the attribute `unit` of `events/t`, or the caller, gives another unit. A file
without `events/y` is a one-dimensional recording. Files are written with checksums.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.extras import optional

_CHUNK = 1 << 16


def read(file: BinaryIO, size: int, unit: str) -> Events:
    """Read the events of an HDF5 file; unit "" means the unit of the file."""
    h5py = optional("read_events", "h5py", "hdf5")
    try:
        with h5py.File(file, "r") as opened:
            return _events(h5py, opened, unit)
    except base.Unreadable:
        raise
    except Exception as problem:  # h5py raises many types for errors of HDF5
        raise base.Unreadable(f"cannot be read as HDF5 ({' '.join(str(problem).split())})") from None


def _events(h5py: Any, opened: Any, unit: str) -> Events:
    group = opened.get("events")
    if not isinstance(group, h5py.Group):
        raise base.Unreadable("must hold a group events with x, y, p and t")
    columns = {name: group.get(name) for name in ("t", "x", "y", "p")}
    if columns["y"] is None:
        del columns["y"]
    for name, column in columns.items():
        if not isinstance(column, h5py.Dataset) or column.ndim != 1 or column.dtype.kind not in "biuf":
            raise base.Unreadable(f"must hold numbers of shape (events,) in events/{name}")
        if len(column) != len(columns["t"]):
            raise base.Unreadable(
                f"must hold as much in events/{name} as in events/t, got {len(column)} and {len(columns['t'])}"
            )
        if not _complete(column):
            raise base.Unreadable(f"must hold all of events/{name}, a part is missing")
    own = columns["t"].attrs.get("unit", "us")
    if not unit and own not in base.PER_MS:
        raise base.Unreadable(f"must give the unit of events/t as one of {', '.join(base.PER_MS)}, got {own!r}")
    t = base.times(columns["t"][()], unit or own)
    x, p = (base.integers(name, columns[name][()]) for name in ("x", "p"))
    y = base.integers("y", columns["y"][()]) if "y" in columns else None
    return Events._own(t, x, y, p)


def _complete(column: Any) -> bool:
    """Return whether a data set was written completely: HDF5 reads missing parts as zeros."""
    if column.chunks is not None:
        return bool(column.id.get_num_chunks() == -(-len(column) // column.chunks[0]))
    return bool(column.id.get_storage_size() == column.size * column.dtype.itemsize)


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events; the unit is stored as an attribute of the times."""
    h5py = optional("write_events", "h5py", "hdf5")
    unit = unit or "us"
    columns: dict[str, npt.NDArray[Any]] = {"x": _smallest_type(events.x), "p": _smallest_type(events.p)}
    if events.y is not None:
        columns["y"] = _smallest_type(events.y)
    columns["t"] = base.in_unit(events, suffix, unit)
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("v110", "v110")) as opened:
        group = opened.create_group("events")
        for name, values in columns.items():
            # A chunk cannot be empty, so a file without events is not chunked.
            chunks = {"chunks": (min(_CHUNK, len(values)),), "fletcher32": True} if len(values) else {}
            group.create_dataset(name, data=values, **chunks)
        group["t"].attrs["unit"] = unit
    file.write(memory.getbuffer())


def _smallest_type(values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return non-negative integers in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max()) if values.size else 0))


HDF5 = base.Format(read, write, "")
