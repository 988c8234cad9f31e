"""HDF5: data sets `events/x`, `events/y`, `events/p` and `events/t` of equal length, as in DSEC and others.

Times are whole microseconds unless the attribute `unit` of `events/t`, or the caller, gives another unit. A file
without `events/y` is a one-dimensional recording.

h5py reads the files, behind guards: what a file may make the C library open, load or allocate is checked before. Hard
links only; no external or virtual data; no filters but those that h5py has; no size that the file cannot have.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.extras import optional

_CHUNK = 1 << 16
# Bytes of a chunk that any file may have, as a chunk may be larger than its data set; and how many times the bytes of
# the data set, or of the file, all chunks together may have.
_LARGEST_CHUNK, _MOST_TIMES = 1 << 23, 8
_GZIP, _LZF = 1, 32000
# The filters that load no plugin: gzip, shuffle, checksums, lzf.
_FILTERS = (_GZIP, 2, 3, _LZF)


@contextmanager
def opened(op: str, file: BinaryIO) -> Iterator[Any]:
    """Open an HDF5 file for the block, of which `member` returns the members; raise Unreadable if it is damaged."""
    h5py = optional(op, "h5py", "hdf5")
    try:
        with h5py.File(file, "r") as root:
            yield root
    except (base.Unreadable, MemoryError):
        raise
    except Exception as problem:  # h5py raises many types
        text = next(iter(str(problem).splitlines()), "").encode("unicode_escape").decode("ascii")
        raise base.Unreadable(f"cannot be read as HDF5 ({text or type(problem).__name__})") from None


def member(group: Any, name: str, size: int) -> Any:
    """Return a group or a data set in a group of a file of `size` bytes; None if there is none.

    Raises:
        Unreadable: it is a link, has data in other files, is compressed by a plugin, or its parts are missing or larger
            than those of a data set in a file of this size.
    """
    h5py = optional("read_events", "h5py", "hdf5")
    path, links = f"{group.name}/{name}".strip("/"), group.id.links
    if not links.exists(name.encode()):
        return None
    if links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise base.Unreadable(f"has a link to another place or file at {path}, which is not followed")
    found = group[name]
    if isinstance(found, h5py.Dataset):
        _check_storage(h5py, found, path, size)
    return found


def _check_storage(h5py: Any, data: Any, path: str, size: int) -> None:
    """Raise Unreadable unless the values of a data set are whole, in the file, and no larger than they say."""
    options = data.id.get_create_plist()
    layout = options.get_layout()
    if layout == h5py.h5d.VIRTUAL or options.get_external_count():
        raise base.Unreadable(f"has data of {path} in other files, which are not read")
    filters = [options.get_filter(i)[0] for i in range(options.get_nfilters())]
    if not set(filters) <= set(_FILTERS):
        raise base.Unreadable(f"has {path} compressed by filter {max(filters)}; gzip, lzf and shuffle are read")
    shape, count = data.shape or (), 0 if data.shape is None else math.prod(data.shape)
    nbytes = count * data.dtype.itemsize
    if layout == h5py.h5d.CONTIGUOUS and data.id.get_storage_size() < nbytes:
        raise base.Unreadable(f"must hold all of {path}, a part is missing")
    if layout != h5py.h5d.CHUNKED:
        return
    sides = options.get_chunk()
    grid = [range(0, n, k) for n, k in zip(shape, sides, strict=True)]
    each, chunks = math.prod(sides) * data.dtype.itemsize, math.prod(map(len, grid))
    if each > max(_LARGEST_CHUNK, size) or chunks * each > max(_LARGEST_CHUNK, _MOST_TIMES * max(nbytes, size)):
        raise base.Unreadable(f"has {chunks} chunks of {each} bytes in {path}, too much for its {size} bytes")
    if data.id.get_num_chunks() < chunks:
        raise base.Unreadable(f"must hold all of {path}, a part is missing")
    if _GZIP in filters or _LZF in filters:
        _check_chunks(data, path, filters, product(*grid), each)


def _check_chunks(data: Any, path: str, filters: list[int], starts: Any, most: int) -> None:
    """Raise Unreadable if a chunk unfolds to more than `most` bytes, which the C library would not notice in time."""
    for start in starts:
        mask, raw = data.id.read_direct_chunk(start)
        if _GZIP in filters and not mask >> filters.index(_GZIP) & 1:
            raw = zlib.decompressobj().decompress(raw, most + 5)
        if len(raw) > most + 4:
            raise base.Unreadable(f"has a chunk of more than {most} bytes in {path}")


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of an HDF5 file; unit "" means the unit of the file."""
    if not size:
        raise base.Unreadable("is empty")
    with opened("read_events", file) as root:
        return _events(root, size, unit, base.Limit(size, most))


def _events(root: Any, size: int, unit: str, limit: base.Limit) -> Events:
    group = member(root, "events", size)
    if not hasattr(group, "keys"):
        raise base.Unreadable("must hold a group events with x, y, p and t")
    found = {name: member(group, name, size) for name in "txyp"}
    if found["y"] is None:
        del found["y"]
    for name, column in found.items():
        if not hasattr(column, "dtype") or column.dtype.kind not in "iuf" or len(column.shape or ()) != 1:
            raise base.Unreadable(f"must hold numbers of shape (events,) in events/{name}")
        count = len(found["t"])
        if len(column) != count:
            raise base.Unreadable(f"must hold as much in events/{name} as in events/t, got {len(column)} and {count}")
    limit.check(count, len(found))
    if not unit:
        own = found["t"].attrs.get("unit", "us")
        unit = own.decode("ascii") if isinstance(own, bytes) else own
        if not isinstance(unit, str) or unit not in base.PER_MS:
            raise base.Unreadable(f"must give the unit of events/t as one of {', '.join(base.PER_MS)}, got {unit!r}")
    whole = {name: _column(name, column, unit) for name, column in found.items()}
    return Events._own(whole["t"], whole["x"], whole.get("y"), whole["p"])


def _column(name: str, column: Any, unit: str) -> npt.NDArray[Any]:
    """Return a column, converted in parts of whole chunks."""
    whole = np.empty(len(column), np.float64 if name == "t" else np.int64)
    chunk = column.chunks[0] if column.chunks else 1
    step = -(-_CHUNK // chunk) * chunk
    for first in range(0, len(column), step):
        values = column[first : first + step]
        part = base.times(values, unit, first) if name == "t" else base.integers(name, values, first)
        whole[first : first + len(part)] = part
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
