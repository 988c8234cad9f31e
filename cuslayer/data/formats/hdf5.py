"""HDF5: data sets `events/x`, `events/y`, `events/p` and `events/t` of equal length, as in DSEC and others.

Times are whole microseconds unless the attribute `unit` of `events/t`, or the caller, gives another unit. A file
without `events/y` is a one-dimensional recording. Files are read by `cuslayer.hdf5`, without the C library, and written
by h5py with checksums.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.extras import optional
from cuslayer.hdf5 import Damaged, Dataset, Group, open_root

_CHUNK = 1 << 16


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of an HDF5 file; unit "" means the unit of the file."""
    try:
        return _events(open_root("read_events", file, size), unit, base.Limit(size, most))
    except Damaged as problem:
        text = str(problem)
        raise base.Unreadable(text if text.startswith("must ") else f"cannot be read as HDF5 ({text})") from None


def _events(root: Group, unit: str, limit: base.Limit) -> Events:
    group = root.get("events")
    if not isinstance(group, Group):
        raise base.Unreadable("must hold a group events with x, y, p and t")
    found = {name: group.get(name) for name in ("t", "x", "y", "p")}
    if found["y"] is None:
        del found["y"]
    columns: dict[str, Dataset] = {}
    for name, column in found.items():
        if not isinstance(column, Dataset) or len(column.shape) != 1 or column.type.dtype.kind not in "iuf":
            raise base.Unreadable(f"must hold numbers of shape (events,) in events/{name}")
        columns[name] = column
        count = columns["t"].size
        if column.size != count:
            raise base.Unreadable(f"must hold as much in events/{name} as in events/t, got {column.size} and {count}")
    limit.check(count, len(columns))
    if not unit:
        own = columns["t"].attribute("unit")
        unit = "us" if own is None else own
        if not isinstance(unit, str) or unit not in base.PER_MS:
            raise base.Unreadable(f"must give the unit of events/t as one of {', '.join(base.PER_MS)}, got {own!r}")
    t = _column(columns["t"], np.float64, lambda values, first: base.times(values, unit, first))
    x, p = (_positions(name, columns[name]) for name in ("x", "p"))
    return Events._own(t, x, _positions("y", columns["y"]) if "y" in columns else None, p)


def _positions(name: str, column: Dataset) -> npt.NDArray[np.int64]:
    return _column(column, np.int64, lambda values, first: base.integers(name, values, first))


def _column(column: Dataset, dtype: Any, convert: Callable[[npt.NDArray[Any], int], Any]) -> npt.NDArray[Any]:
    """Return a column, converted part by part."""
    whole = np.empty(column.size, dtype)
    for (first,), values in column.blocks():
        whole[first : first + len(values)] = convert(values, first)
    return whole


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
        # Of a fixed length: text of a variable length is in a part of the file that has no checksum.
        group["t"].attrs.create("unit", unit, dtype=h5py.string_dtype("ascii", len(unit)))
    file.write(memory.getbuffer())


def _smallest_type(values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return non-negative integers in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max()) if values.size else 0))


HDF5 = base.Format(read, write, "")
