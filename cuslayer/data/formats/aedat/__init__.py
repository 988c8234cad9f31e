"""AEDAT: reads version 3.1 or 4, by the first line of the file; writes `.aedat` as 3.1 and `.aedat4` as 4."""

from __future__ import annotations

from typing import BinaryIO

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.data.formats.aedat import version3, version4_read, version4_write

_READERS = {version3.MAGIC: version3.read, version4_read.MAGIC: version4_read.read}


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the polarity events of an AEDAT file."""
    first = file.readline(64)
    if first not in _READERS:
        if first.startswith(b"#!AER-DAT"):
            raise base.Unreadable(f"is AEDAT {first[9:].strip().decode(errors='replace')}, not 3.1 or 4.0")
        raise base.Unreadable("is no AEDAT file: its first line must begin with #!AER-DAT" if size else "is empty")
    return _READERS[first](file, size, base.Limit(size, most))


AEDAT3 = base.Format(read, version3.write)
AEDAT4 = base.Format(read, version4_write.write)
