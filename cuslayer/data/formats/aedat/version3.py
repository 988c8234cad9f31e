"""AEDAT 3.1, as cAER and jAER write it, and DVS128 Gesture is kept in: a text header, then packets, little-endian.

A packet begins with 28 bytes: what its events are and their source, the size of one, where in it the time is, how
often the 31 bits of the time have run over, then how many events there is room for, are there, and are valid. A
polarity event is 8 bytes: a word of validity 1 bit, polarity 1 bit, y 15 bits, x 15 bits, from the lowest, and
microseconds. Other packets (frames, inertial sensors) and invalid events are passed over.

No library that reads it is kept up: those that do are of one release years ago, or read it as a part of something
larger. So it is read here, and what contradicts itself is refused.
"""

from __future__ import annotations

from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events, Floats
from cuslayer.data.formats import base as form

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
_PLACE_BITS = 15
# Events that one packet has at most when it is written.
_PACKET = 8192


def read(file: BinaryIO, size: int, unit: str) -> Events:
    """Return the polarity events of a file whose first line has been read."""
    _skip_header(file)
    packets = form.Packets(size // _EVENT.itemsize)
    sources: set[int] = set()
    place = file.tell()
    while place < size:
        if size - place < _HEADER.itemsize:
            raise form.Unreadable(f"is cut off at byte {size}, in the header of a packet")
        head = np.frombuffer(form.block(file, _HEADER.itemsize), dtype=_HEADER)[0]
        kind, number, each = int(head["kind"]), int(head["number"]), int(head["size"])
        if number < 0 or each < 1 or head["capacity"] != number or not 0 <= head["valid"] <= number:
            raise form.Unreadable(f"has a packet at byte {place} whose header contradicts itself")
        if kind < 0:
            raise form.Unreadable(f"has a packet at byte {place} that is compressed: only Format RAW can be read")
        if number * each > size - place - _HEADER.itemsize:
            raise form.Unreadable(f"is cut off at byte {size}, in the packet at byte {place}")
        raw = form.block(file, number * each)
        if kind == _POLARITY:
            if each != _EVENT.itemsize or head["offset"] != _TIME_OFFSET or head["overflow"] < 0:
                raise form.Unreadable(f"has a packet at byte {place} whose header contradicts itself")
            sources.add(int(head["source"]))
            packets.add(*_polarities(raw, place, int(head["overflow"]), int(head["valid"])))
        place += _HEADER.itemsize + len(raw)
    if not sources:
        raise form.Unreadable("must hold a packet of events, got none")
    if len(sources) > 1:
        raise form.Unreadable(f"must hold the events of one camera, got those of {len(sources)}")
    return packets.joined()


def _skip_header(file: BinaryIO) -> None:
    while True:
        line = file.readline(_LONGEST_LINE)
        if not line.startswith(b"#") or not line.endswith(b"\n"):
            raise form.Unreadable("must have a header of lines that begin with #, up to #!END-HEADER")
        words = line.strip()
        if words == _END:
            return
        if words.lower().startswith(b"#format:") and words.split(b":", 1)[1].strip() != b"RAW":
            raise form.Unreadable("is compressed: only Format RAW can be read")


def _polarities(raw: bytes, place: int, overflow: int, valid: int) -> tuple[Floats, Words, Words, Words]:
    """Return t, x, y, p of a packet's valid events."""
    events = np.frombuffer(raw, dtype=_EVENT)
    seen = (events["word"] & 1).astype(np.bool_)
    events = events if seen.all() else events[seen]
    if len(events) != valid:
        raise form.Unreadable(f"has a packet at byte {place} of {len(events)} valid events whose header says {valid}")
    if events["time"].size and events["time"].min() < 0:
        raise form.Unreadable(f"has a packet at byte {place} with a time below 0")
    word = events["word"].copy()
    time = form.times((overflow << _TIME_BITS) + events["time"].astype(np.int64), "us")
    return time, word >> 17, word >> 2 & (2**_PLACE_BITS - 1), word >> 1 & 1


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write polarity events, all valid, in the order that they have."""
    form.flat(suffix, events)
    form.at_most("write_events", suffix, "x", events.x, 2**_PLACE_BITS - 1)
    form.at_most("write_events", suffix, "y", np.asarray(events.y), 2**_PLACE_BITS - 1)
    form.at_most("write_events", suffix, "p", events.p, 1)
    us = form.whole("write_events", suffix, "t", events.t, "us", 0, form.EXACT)
    kept = np.empty(len(events), dtype=_EVENT)
    kept["word"] = events.x << 17 | np.asarray(events.y) << 2 | events.p << 1 | 1
    overflow, kept["time"] = us >> _TIME_BITS, us & (2**_TIME_BITS - 1)
    file.write(MAGIC + b"#Format: RAW\r\n#Source 1: cuslayer\r\n" + _END + b"\r\n")
    # A packet's times have one overflow. No events are a packet of none: a file without packets may be one cut off.
    runs = np.flatnonzero(np.diff(overflow, prepend=-1)) if len(events) else np.zeros(1, dtype=np.int64)
    for first, end in zip(runs, np.append(runs, len(events))[1:], strict=True):
        for start in range(first, max(end, 1), _PACKET):
            part = kept[start : min(start + _PACKET, end)]
            n = len(part)
            head = (_POLARITY, 1, _EVENT.itemsize, _TIME_OFFSET, int(overflow[first]) if n else 0, n, n, n)
            file.write(np.array(head, dtype=_HEADER).tobytes())
            file.write(part.tobytes())
