"""Prophesee's `.dat`: a header, the type and the size of an event, one byte each, and events of 8 bytes.

An event is the time in microseconds, 32 bits, and a word of x 14 bits, y 14, polarity 1, from the lowest bit; in
version 1 of the format x 9 bits, y 8, polarity 1.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.data.formats.prophesee.header import read_header

_EVENT = np.dtype([("time", "<u4"), ("word", "<u4")])
# The types of events with a polarity.
_KINDS = (0, 12)
# Bits of x and y in each version.
_BITS = {"1": (9, 8), "2": (14, 14)}
_TIME_BITS = 32


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of a `.dat` file."""
    version = read_header(file, size).get("version", "1")
    if version not in _BITS:
        raise base.Unreadable(f"is version {version} of the format, not 1 or 2")
    if size - file.tell() < 2:
        raise base.Unreadable(f"is cut off at byte {size}, behind its header")
    kind, each = base.read_block(file, 2)
    if kind not in _KINDS or each != _EVENT.itemsize:
        raise base.Unreadable(f"must hold events of type 0 or 12 and 8 bytes, got type {kind} and {each} bytes")
    count, rest = divmod(size - file.tell(), _EVENT.itemsize)
    if rest:
        raise base.Unreadable(f"has {size - file.tell()} bytes of events, not a multiple of {_EVENT.itemsize}")
    base.Limit(size, most).check(count)
    packets = base.Packets(count)
    across, down = _BITS[version]
    for first in range(0, count, base.BLOCK):
        raw = base.read_block(file, min(base.BLOCK, count - first) * _EVENT.itemsize)
        events = np.frombuffer(raw, dtype=_EVENT)
        word = events["word"].astype(np.int64)
        x, y, p = word & 2**across - 1, word >> across & 2**down - 1, word >> across + down & 1
        packets.add(base.times(events["time"].astype(np.int64), "us"), x, y, p)
    return packets.joined()


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events in the given order, as version 2."""
    base.check_two_dimensional(suffix, events)
    across, down = _BITS["2"]
    y = np.asarray(events.y)
    base.check_at_most("write_events", suffix, "x", events.x, 2**across - 1)
    base.check_at_most("write_events", suffix, "y", y, 2**down - 1)
    base.check_at_most("write_events", suffix, "p", events.p, 1)
    records = np.empty(len(events), dtype=_EVENT)
    records["time"] = base.rounded_times("write_events", suffix, "t", events.t, "us", 0, 2**_TIME_BITS - 1)
    records["word"] = events.x | y << across | events.p << across + down
    width, height = events.x.max(initial=0) + 1, y.max(initial=0) + 1
    lines = "Data file containing CD events.", "Version 2", f"Height {height}", f"Width {width}"
    file.write("".join(f"% {line}\n" for line in lines).encode("ascii") + bytes([_KINDS[1], _EVENT.itemsize]))
    file.write(records.tobytes())
