"""`.npy`: an array (events, 4) of columns x, y, p, t, or (events, 3) of columns x, p, t, as in SLAYER.

NumPy reads the header. An array of other than plain numbers, or of another length than the file, is rejected before
memory is allocated.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# The largest integer up to which float64 is exact.
_EXACT_INTEGER = 2**53


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
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
    whole: Any = None
    if by_columns:
        whole = np.frombuffer(base.read_block(file, rest), dtype).reshape((count, columns), order="F")
    packets = base.Packets(count, flat=columns == 3)
    names = "xyp" if columns == 4 else "xp"
    for first in range(0, count, base.BLOCK):
        some = min(base.BLOCK, count - first)
        rows: npt.NDArray[Any]
        if by_columns:
            rows = whole[first : first + some]
        else:
            rows = np.frombuffer(base.read_block(file, some * row), dtype).reshape(some, columns)
        positions = [base.integers(name, rows[:, i], first) for i, name in enumerate(names)]
        packets.add(base.times(rows[:, -1], unit, first), *positions)
    return packets.joined()


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events, as float64 for times in s or ms, as int64 for us or ns."""
    names = "xp" if events.y is None else "xyp"
    time = base.in_unit(events, suffix, unit)
    if time.dtype == np.float64:
        for name in names:
            base.check_at_most(suffix, name, getattr(events, name), _EXACT_INTEGER)
    columns = [*(getattr(events, name) for name in names), time]
    np.lib.format.write_array(file, np.stack(columns, axis=1).astype(time.dtype), allow_pickle=False)


NPY = base.Format(read, write, "ms")
