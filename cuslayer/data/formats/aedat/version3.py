"""AEDAT 3.1, written by cAER and jAER and used by DVS128 Gesture: a text header, then packets, little-endian.

A packet has a header of 28 bytes: type and source of the events, size of an event, offset of the time in it, number of
overflows of the 31-bit time, then the capacity, the number of events, and the number of valid ones. A polarity event
is 8 bytes: a word of validity 1 bit, polarity 1, y 15, x 15, from the lowest bit, and the time in microseconds. Other
packets (frames, inertial sensors) and invalid events are skipped.

There is no maintained library for this format alone, so it is parsed here. Inconsistent files are rejected.
"""

from __future__ import annotations

from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events, Floats
from cuslayer.data.formats import base

Words: TypeAlias = "npt.NDArray[Any]"

MAGIC = b"#!AER-DAT3.1\r\n"
_END = b"#!END-HEADER"
_LONGEST_LINE = 4096
_HEADER = np.dtype(
    [("kind", "<i2"), ("source", "<i2")]
    + [(name, "<i4") for name in ("size", "offset", "overflow", "capacity", "number", "valid")]
)
_EVENT = np.dtype([("word", "<u4"), ("time", "<i4")])
_POLARITY = 1
_TIME_OFFSET = 4
_TIME_BITS = 31
_POSITION_BITS = 15
# The largest number of events in a packet that is written.
_PACKET = 8192


def read(file: BinaryIO, size: int, limit: base.Limit) -> Events:
    """Read the polarity events of a file after its first line."""
    _skip_header(file)
    packets = base.Packets(min(size // _EVENT.itemsize, limit.most()))
    sources: set[int] = set()
    position = file.tell()
    while position < size:
        if size - position < _HEADER.itemsize:
            raise base.Unreadable(f"is cut off at byte {size}, in the header of a packet")
        head = np.frombuffer(base.read_block(file, _HEADER.itemsize), dtype=_HEADER)[0]
        kind, number, each = int(head["kind"]), int(head["number"]), int(head["size"])
        if number < 0 or each < 1 or head["capacity"] != number or not 0 <= head["valid"] <= number:
            raise base.Unreadable(f"has a packet at byte {position} whose header contradicts itself")
        if kind < 0:
            raise base.Unreadable(f"has a packet at byte {position} that is compressed: only Format RAW can be read")
        if number * each > size - position - _HEADER.itemsize:
            raise base.Unreadable(f"is cut off at byte {size}, in the packet at byte {position}")
        raw = base.read_block(file, number * each)
        if kind == _POLARITY:
            if each != _EVENT.itemsize or head["offset"] != _TIME_OFFSET or head["overflow"] < 0:
                raise base.Unreadable(f"has a packet at byte {position} whose header contradicts itself")
            sources.add(int(head["source"]))
            limit.check(packets.count + int(head["valid"]))
            packets.add(*_polarities(raw, position, int(head["overflow"]), int(head["valid"])))
        position += _HEADER.itemsize + len(raw)
    if not sources:
        raise base.Unreadable("must hold a packet of events, got none")
    if len(sources) > 1:
        raise base.Unreadable(f"must hold the events of one camera, got those of {len(sources)}")
    return packets.joined()


def _skip_header(file: BinaryIO) -> None:
    while True:
        line = file.readline(_LONGEST_LINE)
        if not line.startswith(b"#") or not line.endswith(b"\n"):
            raise base.Unreadable("must have a header of lines that begin with #, up to #!END-HEADER")
        words = line.strip()
        if words == _END:
            return
        if words.lower().startswith(b"#format:") and words.split(b":", 1)[1].strip() != b"RAW":
            raise base.Unreadable("is compressed: only Format RAW can be read")


def _polarities(raw: bytes, position: int, overflow: int, valid: int) -> tuple[Floats, Words, Words, Words]:
    """Return t, x, y, p of the valid events of a packet."""
    events = np.frombuffer(raw, dtype=_EVENT)
    mask = (events["word"] & 1).astype(np.bool_)
    events = events if mask.all() else events[mask]
    if len(events) != valid:
        raise base.Unreadable(
            f"has a packet at byte {position} of {len(events)} valid events whose header says {valid}"
        )
    if events["time"].size and events["time"].min() < 0:
        raise base.Unreadable(f"has a packet at byte {position} with a time below 0")
    word = events["word"].copy()
    time = base.times((overflow << _TIME_BITS) + events["time"].astype(np.int64), "us")
    return time, word >> 17, word >> 2 & (2**_POSITION_BITS - 1), word >> 1 & 1


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write polarity events in the given order, all valid."""
    base.check_two_dimensional(suffix, events)
    base.check_at_most("write_events", suffix, "x", events.x, 2**_POSITION_BITS - 1)
    base.check_at_most("write_events", suffix, "y", np.asarray(events.y), 2**_POSITION_BITS - 1)
    base.check_at_most("write_events", suffix, "p", events.p, 1)
    us = base.rounded_times("write_events", suffix, "t", events.t, "us", 0, base.EXACT)
    records = np.empty(len(events), dtype=_EVENT)
    records["word"] = events.x << 17 | np.asarray(events.y) << 2 | events.p << 1 | 1
    overflow, records["time"] = us >> _TIME_BITS, us & (2**_TIME_BITS - 1)
    file.write(MAGIC + b"#Format: RAW\r\n#Source 1: cuslayer\r\n" + _END + b"\r\n")
    # All times of a packet have the same overflow. Without events one empty packet is written, because a file without
    # packets could be truncated.
    runs = np.flatnonzero(np.diff(overflow, prepend=-1)) if len(events) else np.zeros(1, dtype=np.int64)
    for first, end in zip(runs, np.append(runs, len(events))[1:], strict=True):
        for start in range(first, max(end, 1), _PACKET):
            part = records[start : min(start + _PACKET, end)]
            n = len(part)
            head = (_POLARITY, 1, _EVENT.itemsize, _TIME_OFFSET, int(overflow[first]) if n else 0, n, n, n)
            file.write(np.array(head, dtype=_HEADER).tobytes())
            file.write(part.tobytes())
