"""HDF5: data sets `events/x`, `events/y`, `events/p` and `events/t` of equal length, as in DSEC and others.

Times are whole microseconds unless the attribute `unit` of `events/t`, or the caller, gives another unit. A file
without `events/y` is a one-dimensional recording. h5py reads the files, behind the guards of `cuslayer.hdf5_files`.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.extras import optional
from cuslayer.hdf5_files import Damaged, attribute, blocks, member, opened

_CHUNK = 1 << 16


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of an HDF5 file; unit "" means the unit of the file."""
    if not size:
        raise base.Unreadable("is empty")
    try:
        with opened(file) as root:
            return _events(root, unit, base.Limit(size, most))
    except Damaged as problem:
        text = str(problem)
        raise base.Unreadable(text if text.startswith("must ") else f"cannot be read as HDF5 ({text})") from None


def _events(root: Any, unit: str, limit: base.Limit) -> Events:
    group = member(root, "events")
    if not hasattr(group, "keys"):
        raise base.Unreadable("must hold a group events with x, y, p and t")
    found = {name: member(group, name) for name in "txyp"}
    if found["y"] is None:
        del found["y"]
    for name, column in found.items():
        if not hasattr(column, "dtype") or column.dtype.kind not in "iuf" or column.ndim != 1:
            raise base.Unreadable(f"must hold numbers of shape (events,) in events/{name}")
        count = len(found["t"])
        if len(column) != count:
            raise base.Unreadable(f"must hold as much in events/{name} as in events/t, got {len(column)} and {count}")
    limit.check(count, len(found))
    if not unit:
        unit = attribute(found["t"], "unit") or ("?" if "unit" in found["t"].attrs else "us")
        if unit not in base.PER_MS:
            got = check.one_line(str(unit))
            raise base.Unreadable(f"must give the unit of events/t as one of {', '.join(base.PER_MS)}, got {got}")
    whole: dict[str, Any] = {name: np.empty(count, np.float64 if name == "t" else np.int64) for name in found}
    for name, column in found.items():
        for first, values in blocks(column):
            part = base.times(values, unit, first) if name == "t" else base.integers(name, values, first)
            whole[name][first : first + len(part)] = part
    return Events._own(whole["t"], whole["x"], whole.get("y"), whole["p"])


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events; the unit is stored as an attribute of the times."""
    h5py = optional("h5py", "hdf5")
    unit = unit or "us"
    columns: dict[str, npt.NDArray[Any]] = {"x": _smallest_type(events.x), "p": _smallest_type(events.p)}
    if events.y is not None:
        columns["y"] = _smallest_type(events.y)
    columns["t"] = base.in_unit(events, suffix, unit)
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=("v110", "v110")) as made:
        group = made.create_group("events")
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
