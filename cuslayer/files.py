"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file beside path, then put it in path's place: a reader never sees half of it.

    Args:
        path: where the file shall be; what lies there is replaced.
        write: called with the open file.

    Raises:
        OSError: the folder is missing, full or not writable; path is as it was.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with beside.open("xb") as file:
            write(file)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
