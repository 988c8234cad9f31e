"""A lock of a folder: one process at a time writes to it."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from cuslayer.files import alive, guarded, not_written

LOCK = "lock"
# Of an attempt to lock a file that another process has locked.
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_RETRIES = 100


class Taken(ValueError):
    """Another process has the lock, or its file is another's."""


class Lost(ValueError):
    """This process no longer has the lock: another one may use the folder."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder for the block.

    The lock is one of the system on the file ``lock``, which names the process; it ends when the process does, however
    that dies. Where the file system has no locks, the process that the file names must run no more.

    A lock can be lost: someone removes its file, or removes, moves or replaces the folder. So each `write_whole` into
    the folder first looks whether the file and the folder at their paths are still the ones that were locked.

    Args:
        folder: the folder, which exists.

    Raises:
        Taken: another process, or another part of this one, has the lock.
        NotWritten: the file cannot be written.
        Lost: a file is to be written within the block, and the lock is lost; it is not written.
    """
    path = folder / LOCK
    number = _acquire(path)
    try:
        held = partial(_is_held, number, path, folder.stat())
    except OSError as problem:
        os.close(number)
        raise not_written(f"train: {folder}", problem) from None
    try:
        with guarded(folder, partial(_check_held, folder, held)):
            yield
    finally:
        # A lock that is lost may be another's now.
        own = held()
        # Where a file that is open cannot be removed, it stays; the lock ends all the same.
        with suppress(OSError):
            if own:
                path.unlink()
        os.close(number)
        with suppress(OSError):
            if own and sys.platform == "win32":
                path.unlink()


def _acquire(path: Path) -> int:
    """Return the number of the locked file."""
    for _ in range(_RETRIES):
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as problem:
            raise not_written(f"train: {path}", problem) from None
        if not _lock(number):
            owner = _owner(number)
            os.close(number)
            raise Taken(f"train: {path.parent} is in use by {owner}")
        # The process that had the lock may have removed the file after it was opened here.
        if _is_at(number, path):
            if os.fstat(number).st_size and not _read(number):
                os.close(number)
                raise Taken(f"train: {path} is not the lock of a run; remove it, or name another folder")
            try:
                _write(number)
            except OSError as problem:
                with suppress(OSError):
                    path.unlink()
                os.close(number)
                raise not_written(f"train: {path}", problem) from None
            return number
        os.close(number)
    raise Taken(f"train: {path.parent} is in use by processes that begin and end")


def _lock(number: int) -> bool:
    """Lock an open file for this process; return False if another one has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            # Far behind the text, which others may read.
            os.lseek(number, 1 << 30, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno in _TAKEN:
            return False
        # The file system has no locks.
        about = _read(number)
        return not about or (about["host"] == socket.gethostname() and not alive(about["process"]))
    return True


def _is_at(number: int, path: Path) -> bool:
    """Return whether an open file is the one at a path, and not behind a link there."""
    try:
        return os.path.samestat(os.fstat(number), path.lstat())
    except OSError:
        return False


def _is_held(number: int, path: Path, folder: os.stat_result) -> bool:
    """Return whether the lock at a path is the open file, in the folder in which it was locked."""
    try:
        return os.path.samestat(folder, path.parent.stat()) and _is_at(number, path)
    except OSError:
        return False


def _check_held(folder: Path, held: Callable[[], bool]) -> None:
    if not held():
        what = "the folder or its lock was removed, moved or replaced"
        raise Lost(f"train: {folder} is no longer in use by this process: {what}; nothing more is written there")


def _read(number: int) -> dict[str, Any]:
    """Return what a lock says of its process; empty if it says nothing."""
    try:
        os.lseek(number, 0, os.SEEK_SET)
        found = json.loads(os.read(number, 1000))
        return {"process": int(found["process"]), "host": str(found["host"]), "since": str(found["since"])}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _write(number: int) -> None:
    """Name this process in its lock."""
    about = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.lseek(number, 0, os.SEEK_SET)
    os.ftruncate(number, 0)
    os.write(number, json.dumps(about).encode())


def _owner(number: int) -> str:
    """Return the process that has a lock, for a message."""
    for _ in range(_RETRIES):
        about = _read(number)
        if about:
            host, since = (" ".join(about[name].split()) for name in ("host", "since"))
            return f"process {about['process']} on {host} since {since}"
        # It may have locked the file a moment ago.
        time.sleep(0.002)
    return "another process"
