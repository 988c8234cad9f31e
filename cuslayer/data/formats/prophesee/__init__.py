"""Prophesee's files: `.dat`, and `.raw` in EVT 2.0, 2.1 or 3.0, as the header says, written in EVT 2.0.

The layouts are those of Prophesee's documentation, "Data Encoding Formats". Words are little-endian. Events before the
first word of time are skipped, since their time is unknown; so are triggers and words for extensions.

There is no maintained library that reads all of them without the camera's own software, so they are parsed here.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Protocol

import numpy as np

from cuslayer.data.events import Events, Ints
from cuslayer.data.formats import base
from cuslayer.data.formats.prophesee import dat, evt2, evt3
from cuslayer.data.formats.prophesee.header import read_header


class Decoder(Protocol):
    """Decodes a stream of words, block by block.

    Attributes:
        word: the type of a word.
    """

    word: np.dtype[Any]

    def __init__(self, swapped: bool) -> None: ...

    def decode(self, raw: bytes) -> tuple[Ints, Ints, Ints, Ints]:
        """Return t in microseconds, x, y, p of the events of the next block."""


_DECODERS: dict[str, type[Decoder]] = {"EVT2": evt2.Words32, "EVT21": evt2.Words64, "EVT3": evt3.Words16}
_VERSIONS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of a `.raw` file."""
    header = read_header(file, size)
    name, _, options = header.get("format", _VERSIONS.get(header.get("evt", ""), "")).partition(";")
    if name not in _DECODERS:
        found = name or header.get("evt") or "none"
        raise base.Unreadable(f"must have EVT 2.0, 2.1 or 3.0 as the format in its header, got {found}")
    # Without a word about it, the halves of a word of EVT 2.1 are in the order of the first cameras that had it.
    decoder = _DECODERS[name](swapped="endianness=little" not in options.split(";"))
    start, limit = file.tell(), base.Limit(size, most)
    if (size - start) % decoder.word.itemsize:
        raise base.Unreadable(f"has {size - start} bytes of events, not a multiple of {decoder.word.itemsize}")
    packets = base.Packets(min((size - start) // decoder.word.itemsize, limit.most(1)))
    for first in range(start, size, base.BLOCK * decoder.word.itemsize):
        raw = base.read_block(file, min(base.BLOCK * decoder.word.itemsize, size - first))
        t, x, y, p = decoder.decode(raw)
        limit.check(packets.count + len(t), 1, more=first + len(raw) < size)
        packets.add(base.times(t, "us"), x, y, p)
    return packets.joined()


DAT = base.Format(dat.read, dat.write)
RAW = base.Format(read, evt2.write)
