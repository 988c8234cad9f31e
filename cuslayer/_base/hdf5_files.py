"""HDF5 files of unknown origin, read by h5py behind guards.

HDF5's C library opens other files that a file names, and allocates as much memory as a file says. These functions check
each member before they open or read it: one hard link leads to it, its data are in the file itself, and its size is in
proportion to the file. A limit remains: a maliciously damaged structure may hang the C library.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer.backend import Array

# The bytes that the arrays of any file may take.
FEW = 1 << 24
# The bytes that the chunks of any data set may take. Larger chunks may take at most _TIMES the size of the data set, or
# of the file.
_CHUNKS, _TIMES = 1 << 23, 8
# The number of texts in a data set. Each is read separately, as several of variable length may refer to one part of the
# file.
_MOST_TEXTS = 1 << 12
_DEEPEST = 8
# The groups and data sets of a file that is read whole.
_MOST_MEMBERS = 1 << 12
_GZIP, _FLETCHER32, _LZF = 1, 3, 32000
# gzip, shuffle, checksums and lzf: for others the C library would load a plugin.
_FILTERS = (_GZIP, 2, _FLETCHER32, _LZF)


class Damaged(ValueError):
    """A file is not HDF5, is damaged, or has unsupported content; the message says what, without the file's name."""

    def __init__(self, message: str) -> None:
        super().__init__(check.printable(message))


@contextmanager
def h5py_errors() -> Iterator[None]:
    """Raise Damaged for all errors of h5py within the block: the C library's errors have many types."""
    try:
        yield
    except Damaged:
        raise
    except Exception as problem:
        raise Damaged(str(problem).strip() or type(problem).__name__) from None


@contextmanager
def opened(file: BinaryIO) -> Iterator[Any]:
    """Yield the root group of an open file, whose members `member` returns."""
    h5py = optional("h5py", "hdf5")
    with h5py_errors():
        root = h5py.File(file, "r")
    try:
        with h5py_errors():
            _check_group(h5py, root, "the file")
        yield root
    finally:
        root.close()


def member(group: Any, name: str) -> Any:
    """Return a member of a group: h5py's group or data set, after all checks; None if it is missing."""
    h5py = optional("h5py", "hdf5")
    path, key = f"{group.name}/{name}".strip("/"), name.encode("utf-8", "surrogateescape")
    with h5py_errors():
        links = group.id.links
        if not links.exists(key):
            return None
        if links.get_info(key).type != h5py.h5l.TYPE_HARD:
            raise Damaged(f"{path} is a link to another place or file, which is not followed")
        found = group[name]
        if isinstance(found, h5py.Dataset):
            _check(h5py, found, path)
        elif isinstance(found, h5py.Group):
            _check_group(h5py, found, path)
        else:
            raise Damaged(f"{path} is neither a group nor a data set")
    return found


def attribute(data: Any, name: str) -> str | None:
    """Return an attribute that is one text; None if it is missing or anything else."""
    with h5py_errors():
        shape = data.attrs.get_id(name).shape if name in data.attrs else None
        if shape is None or math.prod(shape) != 1:
            return None
        found = np.ravel(data.attrs[name])[0]
    found = found.decode(errors="backslashreplace") if isinstance(found, bytes) else found
    return found if isinstance(found, str) else None


def blocks(column: Any, size: int = 1 << 16) -> Iterator[tuple[int, Array]]:
    """Yield the first index and the values of each part of a column in order, in whole chunks."""
    chunk = column.chunks[0] if column.chunks else 1
    step = max(1, size // chunk) * chunk
    for first in range(0, len(column), step):
        with h5py_errors():
            values = column[first : first + step]
        yield first, values


def tree(group: Any, most: int) -> dict[str, object]:
    """Return a group as a dictionary of numbers, texts (the first of several) and arrays, of at most `most` bytes."""
    return _tree(group, [most], set(), 0)


@contextmanager
def checked(path: str | Path, max_bytes: int | None) -> Iterator[tuple[BinaryIO, dict[str, object]]]:
    """Yield an open file and its `tree`, of at most `max_bytes`; errors within the block name the file.

    By default the limit is 16 MB or eight times the size of the file, whichever is more.
    """
    path = check.path("path", path)
    if not os.path.isfile(path):
        raise ValueError(f"{path} is no file")
    most = None if max_bytes is None else check.integer("max_bytes", max_bytes, least=0)
    try:
        with path.open("rb") as file:
            with opened(file) as root:
                document = tree(root, max(FEW, 8 * path.stat().st_size) if most is None else most)
            with check.about(path):
                yield file, document
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except Damaged as problem:
        raise ValueError(f"{path} is damaged or no HDF5: {problem}") from None


def _tree(group: Any, left: list[int], seen: set[object], depth: int) -> dict[str, object]:
    h5py = optional("h5py", "hdf5")
    if depth > _DEEPEST:
        raise Damaged(f"its groups must not be nested deeper than {_DEEPEST}")
    found: dict[str, Any] = {}
    with h5py_errors():
        if len(group) + len(seen) > _MOST_MEMBERS:
            raise Damaged(f"it must have at most {_MOST_MEMBERS:,} groups and data sets")
        names = list(group)
    if not all(isinstance(name, str) for name in names):  # h5py returns bytes for one that is no UTF-8
        raise Damaged(f"{group.name.strip('/') or 'the file'} has a name that is no UTF-8")
    for name in names:
        each = member(group, name)
        with h5py_errors():
            info = h5py.h5o.get_info(each.id)
        if (info.fileno, info.addr) in seen:
            raise Damaged(f"{each.name.strip('/')} must have one name, it has two")
        seen.add((info.fileno, info.addr))
        found[name] = _tree(each, left, seen, depth + 1) if isinstance(each, h5py.Group) else _plain(each, left)
    return found


def _plain(data: Any, left: list[int]) -> Any:
    """Return a data set as a number, a text or an array; `left` has the remaining number of bytes."""

    def take(count: int) -> None:
        left[0] -= count
        if left[0] < 0:
            raise Damaged(f"{data.name.strip('/')} has {count} bytes, more than may be left; max_bytes= reads them")

    take(data.nbytes)
    with h5py_errors():
        if data.dtype.kind not in "OS":
            values = data[()]
            return values if data.ndim else values.item()
        if data.size > _MOST_TEXTS:
            raise Damaged(f"{data.name.strip('/')} has {data.size} texts, at most {_MOST_TEXTS} are read")
        texts = np.empty(data.shape, object)
        for index in np.ndindex(data.shape):
            text = data[index]
            take(len(text))
            texts[index] = text.rstrip(b"\0").decode(errors="backslashreplace")
    return texts if texts.ndim > 1 else next(iter(texts.ravel()), "")


def _check_group(h5py: ModuleType, group: Any, path: str) -> None:
    """Refuse a group with compressed names: they expand without a bound."""
    made = group.id.get_create_plist()
    # h5py reads filters only of data sets; both kinds of objects have the same list.
    filters = h5py.h5p.PropDCID(made.id)
    h5py.h5i.inc_ref(filters)
    if filters.get_nfilters():
        raise Damaged(f"{path} has names that are compressed, which are not read")


def _check(h5py: ModuleType, data: Any, path: str) -> None:
    """Refuse a data set that reads other files, has neither numbers nor text, is incomplete, or expands too far."""
    made = data.id.get_create_plist()
    if made.get_external_count():
        raise Damaged(f"{path} has its data in another file, which is not read")
    if made.get_layout() == h5py.h5d.VIRTUAL:
        raise Damaged(f"{path} is made of data of other files, which is not read")
    if any(made.get_filter(i)[0] not in _FILTERS for i in range(made.get_nfilters())):
        raise Damaged(f"{path} is compressed in another way; gzip, lzf, shuffle and checksums are read")
    if data.dtype.kind not in "biufS" and h5py.check_string_dtype(data.dtype) is None:
        raise Damaged(f"{path} has neither numbers nor text")
    if data.shape is None:
        raise Damaged(f"{path} holds nothing")
    whole = data.id.get_storage_size() >= data.nbytes
    if data.chunks:
        size, chunk = data.file.id.get_filesize(), math.prod(data.chunks) * data.dtype.itemsize
        count = math.prod(-(-n // side) for n, side in zip(data.shape, data.chunks, strict=True))
        if chunk > max(_CHUNKS, size) or count * chunk > max(_CHUNKS, _TIMES * max(data.nbytes, size)):
            raise Damaged(f"{path} has {count} chunks of {chunk} bytes in a file of {size}; fewer or smaller are read")
        whole = data.id.get_num_chunks() == count
        if whole:
            _check_chunks(data, made, path, chunk)
    if not whole:
        raise Damaged(f"must hold all of {path}, a part is missing")


def _check_chunks(data: Any, made: Any, path: str, size: int) -> None:
    """Refuse chunks of another size than promised: the C library reads or writes beyond their memory."""
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    place = next((i for i, each in enumerate(filters) if each in (_GZIP, _LZF)), len(filters))
    if set(filters[place + 1 :]) - {_FLETCHER32}:
        raise Damaged(f"{path} has a filter after its compression, which is not read")
    # A checksum adds four bytes.
    sums = [4 * (each == _FLETCHER32) for each in filters]
    packed = place < len(filters)

    def wrong(chunk: Any) -> bool | None:
        used = [n for i, n in enumerate(sums) if not chunk.filter_mask >> i & 1]
        least = size + sum(used)
        # Incompressible bytes grow a little.
        fits = 0 < chunk.size <= least + least // 64 + 64 if packed else chunk.size == least
        return None if fits else True

    if data.id.chunk_iter(wrong):
        raise Damaged(f"a chunk of {path} has other bytes than its {size}")
    if not packed:
        return
    for index in np.ndindex(*(-(-n // side) for n, side in zip(data.shape, data.chunks, strict=True))):
        mask, raw = data.id.read_direct_chunk(tuple(i * side for i, side in zip(index, data.chunks, strict=True)))
        used = [0 if mask >> i & 1 else n for i, n in enumerate(sums)]
        wanted, raw = size + sum(used[:place]), raw[: len(raw) - sum(used[place:])]
        if mask >> place & 1:
            count = len(raw)
        elif filters[place] == _GZIP:
            count = len(zlib.decompressobj().decompress(raw, wanted + 1))
        else:
            from cuslayer.kernels.host.preparation import unfolded_bytes

            count = unfolded_bytes(np.frombuffer(raw, np.uint8))
        if count != wanted:
            raise Damaged(f"a chunk of {path} has other bytes than its {size}")
