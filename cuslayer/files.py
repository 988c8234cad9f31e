"""Atomic writes of files, and archives of arrays with a JSON description."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO


class NotWritten(OSError, ValueError):
    """A file cannot be written.

    Attributes:
        errno, strerror: those of the error of the system.
    """

    def __init__(self, message: str, problem: OSError) -> None:
        super().__init__(message)
        self.message, self.errno, self.strerror = message, problem.errno, problem.strerror

    def __str__(self) -> str:
        return self.message


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, op: str | None = None) -> None:
    """Write a file under a temporary name, then rename it to path: a reader never sees an incomplete file.

    Args:
        path: the file; an existing one is replaced.
        write: called with the open file.
        op: the operation that begins the message of an error; None for none.

    Raises:
        NotWritten: the folder is missing, full or not writable, or path is a folder, a device or a pipe; path is
            unchanged.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        # The rename would put a file in the place of a device, such as /dev/null.
        what = f"{path} is a device or a pipe, not a file"
        raise NotWritten(f"{op}: {what}" if op else what, OSError(errno.EINVAL, os.strerror(errno.EINVAL)))
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            write(file)
        os.replace(beside, path)
    except OSError as problem:
        _remove(beside)
        why = problem.strerror or type(problem).__name__
        reason = "is a folder, not a file" if path.is_dir() else f"cannot be written ({why})"
        # The name of the temporary file means nothing to the caller.
        raise NotWritten(f"{op}: {path} {reason}" if op else f"{path} {reason}", problem) from None
    except BaseException:
        _remove(beside)
        raise


def write_archive(path: Path, about: Any, arrays: Mapping[str, Any], *, op: str | None = None) -> None:
    """Write an npz file of arrays and the JSON text `about`, atomically; errors are those of `write_whole`."""
    import numpy as np

    text = np.array(json.dumps(about))
    write_whole(path, lambda file: np.savez(file, about=text, **arrays), op=op)


def read_archive(path: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """Return what `write_archive` wrote. A damaged file raises any error of the readers of zip, npy and JSON."""
    import numpy as np

    # np.load leaves a damaged file open if it opened the file itself. Without pickle no code in the file can run.
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("about"))), arrays


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
