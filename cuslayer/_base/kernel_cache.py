"""Numba's cache of compiled kernels, with digests: damaged files are ignored, and their kernels recompiled.

Numba reads its cache without checks: a damaged file raises any error of pickle, or runs as machine code. Here each file
ends with a digest of its content. A file of code also contains the key of the compiled kernel, because two processes
that compile at the same time may give two kernels the same file.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from contextlib import suppress
from typing import Any

from numba.core.caching import IndexDataCacheFile

_DIGEST = 32


def check_files(dispatcher: Any, stamp: str) -> None:
    """Let a function compiled by Numba use `CheckedCacheFile`, and run even if its code cannot be stored.

    `stamp` is a digest of the sources; files from other sources are ignored.
    """
    cache = dispatcher._cache
    cache._cache_file = CheckedCacheFile(cache._cache_file, stamp)
    save = cache.save_overload

    def save_overload(*arguments: object) -> None:
        with suppress(OSError):  # the disk is full, or the folder is no longer writable
            save(*arguments)

    cache.save_overload = save_overload


class CheckedCacheFile(IndexDataCacheFile):
    """Numba's index and files of one kernel; a damaged file counts as missing, and is replaced."""

    def __init__(self, other: object, stamp: str) -> None:
        vars(self).update(vars(other))
        self._source_stamp = stamp

    def save(self, key: object, data: object) -> None:
        """Store a kernel."""
        files: Any = super()  # Numba has no types
        files.save(key, (key, data))

    def load(self, key: object) -> Any:
        """Return a kernel, or None if it is missing, damaged, or has another key."""
        files: Any = super()
        found = files.load(key)
        return found[1] if found is not None and found[0] == key else None

    def _load_index(self) -> Any:
        found = _read(self._index_path)
        if found is None or found[:2] != (self._version, self._source_stamp):
            return {}
        return found[2]

    def _save_index(self, overloads: object) -> None:
        self._write(self._index_path, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return _read(os.path.join(self._cache_path, name))

    def _save_data(self, name: str, data: object) -> None:
        self._write(os.path.join(self._cache_path, name), data)

    def _write(self, path: str, content: object) -> None:
        files: Any = self
        raw = files._dump(content)
        with files._open_for_write(path) as file:
            file.write(raw + hashlib.sha256(raw).digest())


def _read(path: str) -> Any:
    """Return the content of a file; None if it is missing or damaged, or names classes of another version."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError:
        return None
    content, digest = raw[:-_DIGEST], raw[-_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        return None
    try:
        return pickle.loads(content)
    except (ImportError, AttributeError):
        return None
