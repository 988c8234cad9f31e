"""Faults at a chosen change of a file: the death of the process, or a disk that is full.

A change is a file opened for writing, a write, a flush to the disk, a rename, a removal, or a folder made. A death can
come before it, after it, and in the middle of a write; a full disk refuses it, or takes half of a write. These moments
are counted in the order in which they come, from 1.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = ("death", "full")
_CALLS = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "truncate")
# What takes no space can be done on a full disk.
_FREE = ("unlink", "remove", "rmdir")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Disk:
    """Counts the moments of changes under a folder, and does something at one of them.

    Args:
        root: the folder; files elsewhere are left alone.
        kind: "death" or "full".
        at: the number of the moment; None to count only.

    Attributes:
        moments: the number of moments so far.
    """

    def __init__(self, root: Path, kind: str = "death", at: int | None = None) -> None:
        self.root, self.kind, self.at = os.path.realpath(root), kind, at
        self.moments = 0
        self._full = False
        self._descriptors: set[int] = set()
        self._real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name) for name in ("open", "write", "fsync", *_CALLS)
        }
        self._open = io.open

    def install(self) -> None:
        """Replace the functions of `os` and `io` that change files."""
        for name in _CALLS:
            setattr(os, name, lambda *a, name=name, **k: self._call(name, *a, **k))
        os.open, os.write, os.fsync = self._open_descriptor, self._write, self._fsync
        io.open = builtins.open = self._open_file

    def real(self, name: str) -> Callable[..., Any]:
        """Return a function of `os` as it was."""
        return self._real[name]

    def within(self, path: Any) -> bool:
        """Return whether a path, or an open descriptor, is under the folder."""
        if isinstance(path, int):
            return path in self._descriptors
        if not isinstance(path, (str, bytes, os.PathLike)):
            return False
        return os.path.realpath(os.fsdecode(path)).startswith(self.root)

    def moment(self, *, needs_space: bool = True, done: bool = False) -> None:
        """Count a moment before a change, or after it, where only a death can come; at the chosen one, do it."""
        if self.kind == "full" and (done or not needs_space):
            return
        self.moments += 1
        if self.moments == self.at:
            if self.kind == "death":
                os.kill(os.getpid(), signal.SIGKILL)
            self._full = True
        if self._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, data: Any, write: Callable[[Any], int | None]) -> int | None:
        """Write, with a moment before, in the middle and after."""
        self.moment()
        part = memoryview(data).cast("B")
        half = len(part) // 2
        if half:
            # The kernel takes what has room, so that a full disk has a part of what was to be written.
            if self.at == self.moments + 1:
                write(part[:half])
            self.moment()
        written = write(part)
        self.moment(done=True)
        return written

    def _call(self, name: str, path: Any, *more: Any, **options: Any) -> Any:
        real = self._real[name]
        if not self.within(path):
            return real(path, *more, **options)
        self.moment(needs_space=name not in _FREE)
        found = real(path, *more, **options)
        self.moment(done=True)
        return found

    def _open_descriptor(self, path: Any, flags: int, *more: Any, **options: Any) -> int:
        if not flags & _WRITES or not self.within(path):
            descriptor = self._real["open"](path, flags, *more, **options)
        else:
            self.moment()
            descriptor = self._real["open"](path, flags, *more, **options)
            self.moment(done=True)
        if self.within(path):
            self._descriptors.add(descriptor)
        else:
            self._descriptors.discard(descriptor)
        return descriptor

    def _write(self, descriptor: int, data: Any) -> int | None:
        def real(part: Any) -> int:
            return self._real["write"](descriptor, part)

        return self.write(data, real) if self.within(descriptor) else real(data)

    def _fsync(self, descriptor: int) -> None:
        if not self.within(descriptor):
            return self._real["fsync"](descriptor)
        self.moment(needs_space=False)
        self._real["fsync"](descriptor)
        return self.moment(done=True)

    def _open_file(self, path: Any, mode: str = "r", buffering: int = -1, *text: Any, **options: Any) -> Any:
        if not set(mode) & set("wxa+") or not self.within(path):
            return self._open(path, mode, buffering, *text, **options)
        if not isinstance(path, int):
            self.moment()
        raw = _File(self, path, mode.replace("b", "").replace("t", ""), options.get("closefd", True))
        self._descriptors.add(raw.fileno())
        self.moment(done=True)
        if buffering == 0:
            return raw
        binary = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        if "b" in mode:
            return binary
        kept = {name: options[name] for name in ("encoding", "errors", "newline") if name in options}
        return io.TextIOWrapper(binary, *text, **kept)


class _File(io.FileIO):
    """An open file whose writes have moments."""

    def __init__(self, disk: Disk, path: Any, mode: str, closefd: bool) -> None:
        super().__init__(path, mode, closefd)
        self._disk = disk

    def write(self, data: Any) -> int | None:
        return self._disk.write(data, super().write)

    def close(self) -> None:
        if not self.closed:
            self._disk._descriptors.discard(self.fileno())
        super().close()
