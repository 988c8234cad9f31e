"""Atomic writes of files, and removal of files from unfinished writes."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# The advice for each system error.
_ADVICE = {
    errno.ENOSPC: "free space there, or write elsewhere",
    errno.EDQUOT: "free some of your quota there, or write elsewhere",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "get the right to write there, or write elsewhere",
    errno.EPERM: "get the right to write there, or write elsewhere",
    errno.ENOLCK: "write to a file system that has locks",
    errno.EOPNOTSUPP: "write to a file system that has locks",
}
# Some file systems do not support a flush to disk.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)

# The temporary files of this process.
_unfinished: set[Path] = set()
# For each folder, the function to call before a file in it is replaced.
_guards: dict[Path, Callable[[], None]] = {}


class NotWritten(OSError, ValueError):
    """A file cannot be written; errno and strerror are as in OSError."""

    def __init__(self, message: str, problem: OSError) -> None:
        super().__init__(message)
        self.errno, self.strerror = problem.errno, problem.strerror

    def __str__(self) -> str:
        return str(self.args[0])


def not_written(what: str, problem: OSError) -> NotWritten:
    """Return the error for a file or folder that cannot be written: the reason and advice."""
    advice = _ADVICE.get(problem.errno or 0)
    why = problem.strerror or type(problem).__name__
    return NotWritten(f"{what} cannot be written ({why}){f'; {advice}' if advice else ''}", problem)


@contextmanager
def guarded(folder: Path, check: Callable[[], None]) -> Iterator[None]:
    """Within the block, let `write_whole` call a function before it changes the folder; an error prevents the write."""
    _guards[folder] = check
    try:
        yield
    finally:
        del _guards[folder]


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, durable: bool = False) -> None:
    """Write a file under a temporary name, then rename it to path: a reader never sees an incomplete file.

    The temporary name is ``.NAME.PID.TOKEN``, with the number of this process.

    Args:
        path: the file; an existing one is replaced.
        write: a function of the open file.
        durable: whether to wait until the content is on disk, so that a power loss leaves the old or the new file;
            `sync_folder` ensures the new one.

    Raises:
        Exception: from the function of `guarded` for this folder; path is unchanged.
        NotWritten: the folder is missing, full or not writable, or path is a folder, a device or a pipe; path is
            unchanged.
    """
    check = _guards.get(path.parent, _allow)
    check()
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        # The rename would replace a device, such as /dev/null, by a file.
        raise NotWritten(f"{path} is a device or a pipe, not a file", OSError(errno.EINVAL, os.strerror(errno.EINVAL)))
    if not path.name:
        raise ValueError(f"{path} is a folder, not a file")
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    _unfinished.add(beside)
    try:
        with beside.open("xb") as file:
            write(file)
            if durable:
                _sync(file)
        # The write may have taken long.
        check()
        os.replace(beside, path)
    except OSError as problem:
        _remove(beside)
        # The name of the temporary file means nothing to the caller.
        if path.is_dir():
            raise NotWritten(f"{path} is a folder, not a file", problem) from None
        raise not_written(str(path), problem) from None
    except BaseException:
        _remove(beside)
        raise
    finally:
        _unfinished.discard(beside)


def _allow() -> None:
    """Allow a write."""


def discard_unfinished() -> None:
    """Remove the temporary files of unfinished writes, before the process ends at once."""
    for path in list(_unfinished):
        _remove(path)


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove temporary files in a folder that dead processes, or this one, have left of files of these names."""
    known = "|".join(map(re.escape, names))
    pattern = re.compile(rf"\.(?:{known})\.([0-9]{{1,10}})\.[0-9a-f]{{16}}")
    for path in folder.iterdir():
        found = pattern.fullmatch(path.name)
        if found and path not in _unfinished and (int(found[1]) == os.getpid() or not alive(int(found[1]))):
            _remove(path)


def alive(process: int) -> bool:
    """Return whether a process of this machine runs; on Windows False, where a file in use cannot be removed."""
    if sys.platform == "win32":
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    with suppress(OSError, IndexError):
        # An ended process is in state Z until its parent reads its exit code.
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in ("Z", "X")
    return True


def _sync(file: BinaryIO) -> None:
    """Wait until a file is on disk."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as problem:
        if problem.errno not in _NO_SYNC:
            raise


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, if the system supports it."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def write_table(
    path: str | Path, header: list[str], rows: Iterable[Iterable[object]], *, durable: bool = False
) -> None:
    """Write rows as CSV, atomically; None becomes an empty field. With `durable`, wait for the disk."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{value:.10g}" if isinstance(value, float) else value for value in row] for row in rows)
    write_text(path, text.getvalue(), durable=durable)


def write_text(path: str | Path, text: str, *, durable: bool = False) -> None:
    """Write a text in UTF-8, atomically; with `durable`, wait for the disk."""
    write_whole(Path(path), lambda file: file.write(text.encode()), durable=durable)


def read_text(path: str | Path, kind: str) -> str:
    """Return the text of a file; raise ValueError if it is missing or no text; messages call it `kind`."""
    try:
        if not os.path.isfile(path):  # reading a pipe may never end
            raise FileNotFoundError
        return Path(path).read_bytes().decode()
    except OSError:
        raise ValueError(f"{path} is no file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no {kind}") from None


def read_table(path: str | Path, *headers: list[str]) -> tuple[list[str], Iterator[list[str]]]:
    """Return which of some headers a file of `write_table` has, and its rows as text, which are read one by one.

    Raises:
        ValueError: the file has none of the headers; the message shows the first.
    """
    rows = _rows(path, io.BytesIO(read_text(path, "CSV").encode()))
    header = next(rows, [])
    if header not in headers:
        raise ValueError(f"{path} does not begin with {','.join(headers[0])}")
    return header, rows


def _rows(path: str | Path, file: io.BytesIO) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.TextIOWrapper(file, "utf-8", newline=""))
    except csv.Error:
        raise ValueError(f"{path} is no CSV") from None
