"""`.npy`: an array (events, 4) of columns x, y, p, t, or (events, 3) of columns x, p, t, as in SLAYER.

The header is parsed here by its published grammar; NumPy would evaluate it as Python. An array of other than plain
numbers, or of another length than the file, is rejected before memory is allocated.
"""

from __future__ import annotations

import math
import re
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_DTYPE = re.compile(rb"'descr': *'([<>|=]?(?:b1|[iu][1248]|f[248]))'")
_ORDER = re.compile(rb"'fortran_order': *(True|False)")
_SHAPE = re.compile(rb"'shape': *\((\d{1,18}), *([34]),?\)")
# The largest integer up to which float64 is exact.
_EXACT_INTEGER = 2**53


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of a `.npy` file."""
    count, columns, dtype, fortran_order = _header(file, size)
    base.Limit(size, most).check(count, columns)
    t = np.empty(count)
    positions = [np.empty(count, dtype=np.int64) for _ in range(columns - 1)]
    names = ("x", "y", "p") if columns == 4 else ("x", "p")

    def store(column: int, values: npt.NDArray[Any], first: int) -> None:
        part = slice(first, first + len(values))
        if column == columns - 1:
            t[part] = base.times(values, unit, first)
        else:
            positions[column][part] = base.integers(names[column], values, first)

    if fortran_order:
        for column in range(columns):
            for first in range(0, count, base.BLOCK):
                some = min(base.BLOCK, count - first)
                store(column, np.frombuffer(base.read_block(file, some * dtype.itemsize), dtype), first)
    else:
        for first in range(0, count, base.BLOCK):
            some = min(base.BLOCK, count - first)
            rows = np.frombuffer(base.read_block(file, some * columns * dtype.itemsize), dtype).reshape(some, columns)
            for column in range(columns):
                store(column, rows[:, column], first)
    return Events._own(t, positions[0], positions[1] if columns == 4 else None, positions[-1])


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events, as float64 for times in s or ms, as int64 for us or ns."""
    columns = [events.x, *([] if events.y is None else [events.y]), events.p]
    time = base.in_unit(events, suffix, unit)
    if time.dtype == np.float64:
        for name, values in zip(("x", "p") if events.y is None else ("x", "y", "p"), columns, strict=True):
            base.check_at_most("write_events", suffix, name, values, _EXACT_INTEGER)
    np.lib.format.write_array(file, np.stack([*columns, time], axis=1).astype(time.dtype), allow_pickle=False)


def _header(file: BinaryIO, size: int) -> tuple[int, int, np.dtype[Any], bool]:
    """Return the number of events and of columns, their type, and whether the array is in Fortran order."""
    start = file.read(8)
    if start[:6] != _MAGIC:
        raise base.Unreadable("is empty" if not size else "is no .npy file: it does not begin with \\x93NUMPY")
    if len(start) < 8 or start[6] not in (1, 2, 3):
        raise base.Unreadable("is a .npy file of an unknown version")
    prefix = file.read(2 if start[6] == 1 else 4)
    length = int.from_bytes(prefix, "little")
    text = file.read(min(length, _LONGEST_HEADER))
    dtype, order, shape = (pattern.search(text) for pattern in (_DTYPE, _ORDER, _SHAPE))
    if len(text) != length or dtype is None or order is None or shape is None:
        raise base.Unreadable("must hold numbers of shape (events, 4) for x, y, p, t or (events, 3) for x, p, t")
    count, columns = int(shape[1]), int(shape[2])
    kind = np.dtype(dtype[1].decode())
    rest, expected = size - file.tell(), math.prod((count, columns, kind.itemsize))
    if rest != expected:
        raise base.Unreadable(f"holds {rest} bytes of numbers, and its header speaks of {expected}")
    return count, columns, kind, order[1] == b"True"


NPY = base.Format(read, write, "ms")
