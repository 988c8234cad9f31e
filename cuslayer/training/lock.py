"""The lock on the folder of a run: only the process that has it writes there."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cuslayer._base.files import guarded, not_written, remove_leftovers
from cuslayer.training.run_folder import NAMES

LOCK = "lock"


class Taken(ValueError):
    """Another process has the lock, or its file belongs to something else."""

    operation = "train"  # also if a sweep or a checkpoint raises it


class Lost(ValueError):
    """This process no longer has the lock: another one may use the folder."""

    operation = "train"


class Lock:
    """A lock on a file; it ends with the process, however that dies.

    Anyone may remove the file, or remove, move or replace its folder. `held` says whether both are still the same.
    """

    def __init__(self, path: Path, busy: Path, wait: float = 0.0) -> None:
        from filelock import FileLock, Timeout  # imports asyncio

        self._path = path
        with suppress(OSError):
            # From an earlier version, from filelock's soft lock, or empty.
            if path.is_file() and not path.is_symlink() and not re.match(rb"\{|[0-9]+\s|$", path.read_bytes()[:20]):
                raise Taken(f"train: {path} is not the lock of a run; remove it, or name another folder")
        self._lock = FileLock(path, timeout=wait)
        try:
            self._lock.acquire()
            self._own = path.lstat(), path.parent.stat()
        except Timeout:
            raise Taken(f"train: {busy} is in use by another process") from None
        except (OSError, NotImplementedError) as problem:
            self._lock.release()
            # If the file system has no locks, the lowest version of filelock raises the other error.
            no_locks = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
            raise not_written(f"{path}", problem if isinstance(problem, OSError) else no_locks) from None

    def held(self) -> bool:
        """Return whether the file and the folder at their paths are still the locked ones."""
        file, folder = self._own
        return is_same(self._path.parent, folder) and is_same(self._path, file)

    def release(self) -> None:
        """End the lock; a file that now belongs to another process stays."""
        # If the system cannot remove open files, filelock removes it.
        with suppress(OSError):
            if sys.platform != "win32" and self.held():
                self._path.unlink()
        self._lock.release()


def is_same(path: Path, before: os.stat_result) -> bool:
    """Return whether a file or a folder, which may be a link's target, is still the same."""
    try:
        return os.path.samestat(path.stat() if path.is_dir() else path.lstat(), before)
    except OSError:
        return False


@contextmanager
def locked(folder: Path, same: os.stat_result | None = None, *, wait: float = 0.0) -> Iterator[None]:
    """Lock a folder for the block; before each write, `write_whole` checks that the lock still holds."""

    def check_held(held: bool) -> None:
        if not held:
            what = "the folder or its lock was removed, moved or replaced"
            raise Lost(f"train: {folder} is no longer in use by this process: {what}; nothing more is written there")

    check_held(same is None or is_same(folder, same))
    lock = Lock(folder / LOCK, folder, wait)
    try:
        with guarded(folder, lambda: check_held(lock.held())):
            yield
    finally:
        lock.release()


@contextmanager
def locked_folder(out: Path, *, numbered: bool = False) -> Iterator[Path]:
    """Create the folder of a run with its parents, lock it for the block, and remove old temporary files.

    If the block raises an error, empty folders created here are removed.
    """
    out, created = _made(out, numbered)
    try:
        with locked(out):
            remove_leftovers(out, NAMES)
            yield out
    except Lost:
        raise
    except BaseException:
        with suppress(OSError):
            for folder in created:
                folder.rmdir()
        raise


def _made(out: Path, numbered: bool) -> tuple[Path, list[Path]]:
    """Create a folder with its parents; return it, and all created folders, the innermost first."""
    while True:
        created = [folder for folder in (out, *out.parents) if not folder.exists()]
        try:
            out.mkdir(parents=True, exist_ok=not numbered)
        except FileExistsError as problem:
            if not numbered:
                raise not_written(f"out {out}", problem) from None
            out = out.with_name(str(int(out.name) + 1))
        except OSError as problem:
            raise not_written(f"out {out}", problem) from None
        else:
            return out, created
