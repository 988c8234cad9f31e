"""HDF5 files of unknown origin as dictionaries of numbers, strings and arrays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cuslayer import check
from cuslayer.hdf5 import Damaged, Group, open_root

# Bytes of arrays that any file may unfold to.
FEW = 1 << 24
_DEEPEST = 8


def read_tree(op: str, path: str | Path, max_bytes: int | None) -> tuple[str, dict[str, Any]]:
    """Return the prefix of errors about a file, and its groups as dictionaries of numbers, strings and arrays.

    Args:
        op: the operation, for errors.
        path: the file.
        max_bytes: the largest number of bytes of all arrays together; by default 16 MB or eight times the size of the
            file, if that is more.

    Raises:
        ValueError: the file is missing, damaged or not HDF5, or has more than max_bytes.
        TypeError: max_bytes is not an integer.
        ImportError: h5py is not installed, which data needs that is compressed otherwise than by gzip.
    """
    path = check.path(op, "path", path)
    if not os.path.isfile(path):
        raise ValueError(f"{op}: {path} is no file")
    prefix = f"{op}: {path}"
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            most = max(FEW, 8 * size) if max_bytes is None else check.integer(prefix, "max_bytes", max_bytes, least=0)
            return prefix, _plain(open_root(op, file, size), [most])
    except OSError as problem:
        raise ValueError(f"{prefix} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except Damaged as problem:
        raise ValueError(f"{prefix} is damaged or no HDF5: {problem}") from None


def _plain(group: Group, left: list[int], depth: int = 0) -> dict[str, Any]:
    """Return a group of the file as a dictionary of numbers, strings and arrays.

    Args:
        group: the group.
        left: the bytes that the arrays of the file may still take, in a list of one.
        depth: the number of groups around it.
    """
    if depth > _DEEPEST:
        raise Damaged(f"its groups must not be nested deeper than {_DEEPEST}")
    found: dict[str, Any] = {}
    for name in group.names():
        member = group.get(name)
        if isinstance(member, Group):
            found[name] = _plain(member, left, depth + 1)
        elif member is not None:
            left[0] -= member.nbytes
            if left[0] < 0:
                raise Damaged(f"{member.name} has {member.nbytes} bytes, more than may be left; max_bytes= reads them")
            found[name] = member.read()
    return found
