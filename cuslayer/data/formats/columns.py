"""Arrays of columns: `.npy` and HDF5.

`.npy` is an array (events, 4) of columns x, y, p, t, or (events, 3) of columns x, p, t, as in SLAYER. NumPy reads the
header. The reader refuses an array of other than plain numbers, or of another length than the file, before it takes
memory.

HDF5 has data sets `events/x`, `events/y`, `events/p` and `events/t` of equal length, as in DSEC and others. Times are
whole microseconds unless the attribute `unit` of `events/t`, or the caller, gives another unit. A file without
`events/y` is a one-dimensional recording. h5py reads the files, behind the guards of `cuslayer._base.hdf5_files`.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.hdf5_files import Damaged, attribute, member, opened
from cuslayer._base.hdf5_files import blocks as column_blocks
from cuslayer.backend import Array
from cuslayer.data.events import Events
from cuslayer.data.formats import base

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# The largest integer up to which float64 is exact.
_EXACT_INTEGER = 2**53
_CHUNK = 1 << 16


def _read_npy(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of a `.npy` file."""
    try:
        shape, by_columns, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except Exception as problem:  # NumPy raises many types for a damaged header
        raise base.Unreadable(f"is no .npy file ({type(problem).__name__})" if size else "is empty") from None
    if len(shape) != 2 or shape[0] < 0 or shape[1] not in (3, 4) or dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise base.Unreadable("must hold numbers of shape (events, 4) for x, y, p, t or (events, 3) for x, p, t")
    count, columns = shape
    rest, row = size - file.tell(), columns * dtype.itemsize
    if rest != count * row:
        raise base.Unreadable(f"holds {rest} bytes of numbers, and its header speaks of {count * row}")
    base.Limit(size, most).check(count, columns)
    packets = base.Packets(count, flat=columns == 3)
    names = "xyp" if columns == 4 else "xp"
    blocks = base.records(file, count, np.dtype((dtype, (columns,))))
    if by_columns:
        whole = np.frombuffer(base.read_block(file, rest), dtype).reshape((count, columns), order="F")
        blocks = ((first, whole[first : first + base.BLOCK]) for first in range(0, count, base.BLOCK))
    for first, rows in blocks:
        positions = [base.integers(name, rows[:, i], first) for i, name in enumerate(names)]
        packets.add(base.times(rows[:, -1], unit, first), *positions)
    return packets.joined()


def _write_npy(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events, as float64 for times in s or ms, as int64 for us or ns."""
    names = "xp" if events.y is None else "xyp"
    time = base.in_unit(events, suffix, unit)
    if time.dtype == np.float64:
        for name in names:
            base.check_at_most(suffix, name, getattr(events, name), _EXACT_INTEGER)
    columns = [*(getattr(events, name) for name in names), time]
    np.lib.format.write_array(file, np.stack(columns, axis=1).astype(time.dtype), allow_pickle=False)


def _read_hdf5(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of an HDF5 file; unit "" means the unit of the file."""
    if not size:
        raise base.Unreadable("is empty")
    try:
        with opened(file) as root:
            return _hdf5_events(root, unit, base.Limit(size, most))
    except Damaged as problem:
        text = str(problem)
        raise base.Unreadable(text if text.startswith("must ") else f"cannot be read as HDF5 ({text})") from None


def _hdf5_events(root: Any, unit: str, limit: base.Limit) -> Events:
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
        for first, values in column_blocks(column):
            part = base.times(values, unit, first) if name == "t" else base.integers(name, values, first)
            whole[name][first : first + len(part)] = part
    return Events._own(whole["t"], whole["x"], whole.get("y"), whole["p"])


def _write_hdf5(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
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
        # Of a fixed length: text of a variable length is in a part of the file without a checksum.
        group["t"].attrs.create("unit", unit, dtype=h5py.string_dtype("ascii", len(unit)))
    file.write(memory.getbuffer())


def _smallest_type(values: npt.NDArray[np.int64]) -> Array:
    """Return non-negative integers in the smallest type for them."""
    return values.astype(np.min_scalar_type(int(values.max()) if values.size else 0))


_HDF5 = base.Format(_read_hdf5, _write_hdf5, "")
FORMATS = {".npy": base.Format(_read_npy, _write_npy, "ms"), ".h5": _HDF5, ".hdf5": _HDF5}
