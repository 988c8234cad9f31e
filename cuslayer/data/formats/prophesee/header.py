"""The header of Prophesee's files: lines of % and a name and a value, up to "% end" where there is one."""

from __future__ import annotations

from typing import BinaryIO

from cuslayer.data.formats import base

_LONGEST_LINE = 4096
_MOST_LINES = 256


def read_header(file: BinaryIO, size: int) -> dict[str, str]:
    """Return the values of a header by name, in lower case, and leave the file behind it.

    Raises:
        Unreadable: the file is empty, has no header, or one without an end.
    """
    if not size:
        raise base.Unreadable("is empty")
    found: dict[str, str] = {}
    for _ in range(_MOST_LINES):
        position = file.tell()
        line = file.readline(_LONGEST_LINE)
        # Without "% end", the header ends where no line of text follows.
        if not line.startswith(b"% ") or not line.endswith(b"\n") or not line.isascii():
            file.seek(position)
            if not found:
                raise base.Unreadable("must begin with a header of lines that begin with %")
            return found
        name, _, value = line[2:].decode("ascii").strip().partition(" ")
        found.setdefault(name.rstrip(":").lower(), _printable(value.strip()))
        if name == "end":
            return found
    raise base.Unreadable(f"must have a header of at most {_MOST_LINES} lines")


def _printable(value: str) -> str:
    return value.encode("unicode_escape").decode("ascii")
