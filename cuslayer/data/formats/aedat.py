"""AEDAT: reads versions 3.1 and 4, by the first line of the file; writes 3.1.

AEDAT 3.1, of cAER, jAER and DVS128 Gesture, is a text header and packets, little-endian. A packet has a header of 28
bytes. These are type and source of the events, size of an event, offset of the time in it, number of overflows of the
31-bit time, then the capacity, the number of events, and the number of valid ones. A polarity event is 8 bytes: a word
of validity 1 bit, polarity 1, y 15, x 15, from the lowest bit, and the time in microseconds. Other packets (frames,
inertial sensors) and invalid events are skipped.

AEDAT 4, of DV and dv-processing, is a header, packets, and a table of packets. Each is a FlatBuffer: four bytes for the
position of its root table and four for its identifier. A table begins with the distance back to its vtable. This has
two bytes for its length, two for the length of the table, and two per field for the position of the field in the table,
or 0 if it is absent. The libraries dv-processing and aedat crash on some damaged files and return wrong counts for
others, so every length is checked here, and every count against the table of packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree

import numpy as np

from cuslayer._base.extras import optional
from cuslayer.backend import Array
from cuslayer.data.events import Events
from cuslayer.data.formats import base

_MAGIC_3, _MAGIC_4 = b"#!AER-DAT3.1\r\n", b"#!AER-DAT4.0\r\n"
_END = b"#!END-HEADER"
_LONGEST_LINE = 4096
_HEADER = np.dtype(
    [("kind", "<i2"), ("source", "<i2")]
    + [(name, "<i4") for name in ("size", "offset", "overflow", "capacity", "number", "valid")]
)
_EVENT_3 = np.dtype([("word", "<u4"), ("time", "<i4")])
_POLARITY, _TIME_OFFSET, _TIME_BITS, _POSITION_BITS = 1, 4, 31, 15
# The largest number of events in a written packet.
_PACKET = 8192

_EVENT_4 = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
# Bytes of a packet without its events, and of the table of packets for each packet, with room for other writers.
_OVERHEAD, _ENTRY = 1 << 12, 1 << 8
_NONE, _LZ4, _LZ4_HIGH, _ZSTD, _ZSTD_HIGH = range(5)
# Bytes that are decompressed at a time.
_STEP = 1 << 18
# The least memory that every reader should have for the window of a zstandard frame.
_WINDOW = 1 << 23


def read(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the polarity events of an AEDAT file."""
    first = file.readline(64)
    if first == _MAGIC_3:
        return _read_3(file, size, base.Limit(size, most))
    if first == _MAGIC_4:
        return _read_4(file, size, base.Limit(size, most))
    if first.startswith(b"#!AER-DAT"):
        version = first[9:].strip().decode("latin1").encode("unicode_escape").decode("ascii")
        raise base.Unreadable(f"is AEDAT {version}, not 3.1 or 4.0")
    raise base.Unreadable("is no AEDAT file: its first line must begin with #!AER-DAT" if size else "is empty")


def _read_3(file: BinaryIO, size: int, limit: base.Limit) -> Events:
    """Read the polarity events of AEDAT 3.1 after its first line."""
    _skip_header(file)
    packets = base.Packets(min(size // _EVENT_3.itemsize, limit.most(), base.MOST_AT_FIRST))
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
            if each != _EVENT_3.itemsize or head["offset"] != _TIME_OFFSET or head["overflow"] < 0:
                raise base.Unreadable(f"has a packet at byte {position} whose header contradicts itself")
            sources.add(int(head["source"]))
            limit.check(packets.count + int(head["valid"]))
            packets.add(*_polarities(raw, position, int(head["overflow"]), int(head["valid"])))
        position += _HEADER.itemsize + len(raw)
    if not sources:
        raise base.Unreadable("must hold a packet of events, got none")
    if len(sources) > 1:
        raise base.Unreadable(f"must hold the events of one camera, got events of {len(sources)}")
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


def _polarities(raw: bytes, start: int, overflow: int, valid: int) -> tuple[Array, ...]:
    """Return t, x, y, p of the valid events of a packet."""
    events = np.frombuffer(raw, dtype=_EVENT_3)
    mask = (events["word"] & 1).astype(np.bool_)
    events = events if mask.all() else events[mask]
    if len(events) != valid:
        raise base.Unreadable(f"has a packet at byte {start} of {len(events)} valid events whose header says {valid}")
    if events["time"].size and events["time"].min() < 0:
        raise base.Unreadable(f"has a packet at byte {start} with a time below 0")
    word = events["word"].copy()
    time = base.times((overflow << _TIME_BITS) + events["time"].astype(np.int64), "us")
    return time, word >> 17, word >> 2 & (2**_POSITION_BITS - 1), word >> 1 & 1


def _write_3(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write polarity events in the given order, all valid."""
    base.check_dimensions(suffix, events, 2)
    for name, most in (("x", 2**_POSITION_BITS - 1), ("y", 2**_POSITION_BITS - 1), ("p", 1)):
        base.check_at_most(suffix, name, getattr(events, name), most)
    us = base.rounded_times(suffix, "t", events.t, "us", 0, base.EXACT)
    records = np.empty(len(events), dtype=_EVENT_3)
    records["word"] = events.x << 17 | np.asarray(events.y) << 2 | events.p << 1 | 1
    overflow, records["time"] = us >> _TIME_BITS, us & (2**_TIME_BITS - 1)
    file.write(_MAGIC_3 + b"#Format: RAW\r\n#Source 1: cuslayer\r\n" + _END + b"\r\n")
    # All times of a packet have the same overflow. Without events it writes one empty packet, because a file without
    # packets could be truncated.
    runs = np.flatnonzero(np.diff(overflow, prepend=-1)) if len(events) else np.zeros(1, dtype=np.int64)
    for first, end in zip(runs, np.append(runs, len(events))[1:], strict=True):
        for start in range(first, max(end, 1), _PACKET):
            part = records[start : min(start + _PACKET, end)]
            n = len(part)
            head = (_POLARITY, 1, _EVENT_3.itemsize, _TIME_OFFSET, int(overflow[first]) if n else 0, n, n, n)
            file.write(np.array(head, dtype=_HEADER).tobytes())
            file.write(part.tobytes())


def _read_4(file: BinaryIO, size: int, limit: base.Limit) -> Events:
    """Read the polarity events of AEDAT 4 after its first line."""
    start = file.read(4)
    rest = size - file.tell()
    if int.from_bytes(start, "little") > rest or len(start) < 4:
        raise base.Unreadable(f"is cut off at byte {size}, in its header")
    header = FlatTable.root(start + base.read_block(file, int.from_bytes(start, "little")), b"IOHE")
    compression = header.integer(0, 4)
    end = header.integer(1, 8, default=-1)
    if not -1 <= end <= size:
        raise base.Unreadable(f"is cut off at byte {size}, its table of packets should be at byte {end}")
    streams, stream = _streams(header)
    counts: dict[int, int] = {}
    packets = base.Packets(min(size // _EVENT_4.itemsize, limit.most(), base.MOST_AT_FIRST))
    number_of_packets = 0
    position = file.tell()
    while position < (size if end < 0 else end):
        if size - position < 8:
            raise base.Unreadable(f"is cut off at byte {size}, in the header of a packet")
        head = base.read_block(file, 8)
        number, length = (int.from_bytes(head[i : i + 4], "little", signed=True) for i in (0, 4))
        if not 0 <= length <= (size if end < 0 else end) - position - 8:
            raise base.Unreadable(f"is cut off at byte {size}, in the packet at byte {position}")
        raw = base.read_block(file, length)
        if number not in streams:
            raise base.Unreadable(f"has a packet at byte {position} of a stream that its header does not list")
        number_of_packets += 1
        if number == stream:
            most = _EVENT_4.itemsize * (limit.most() - packets.count) + _OVERHEAD
            content = decompress(raw, compression, most)
            if content is None:
                raise base.Unreadable(f"must hold at most {limit.most()} events, got more; max_events= raises it")
            counts[position + 8] = _add_polarities(packets, content, position)
            limit.check(packets.count)
        position += 8 + length
    if position < size:
        table = decompress(base.read_block(file, size - position), compression, _OVERHEAD + _ENTRY * number_of_packets)
        if table is None:
            raise base.Unreadable(f"must have a table of its {number_of_packets} packets, got one that is larger")
        _check_counts(FlatTable.root(table, b"FTAB"), stream, counts)
    return packets.joined()


def _streams(header: FlatTable) -> tuple[set[int], int]:
    """Return the streams listed in the header's XML, and the stream of polarity events."""
    start, length = header.vector(2, 1)
    text = header.raw[start : start + length]
    try:
        if b"<!" in text:  # a document type may define words that unfold to gigabytes
            raise ValueError
        tree = ElementTree.fromstring(text)
        nodes = tree.findall("./node[@name='outInfo']/node")
        kinds = {int(node.attrib["name"]): node.findtext("./attr[@key='typeIdentifier']") for node in nodes}
    except (ElementTree.ParseError, ValueError, KeyError):
        raise base.Unreadable("has no list of its streams in its header") from None
    ours = [number for number, kind in kinds.items() if kind == "EVTS"]
    if len(ours) != 1:
        raise base.Unreadable(f"must hold one stream of events, got {len(ours)} among {len(kinds)} streams")
    return set(kinds), ours[0]


def _add_polarities(packets: base.Packets, raw: bytes | bytearray, position: int) -> int:
    """Add the events of a packet, which must end with its last event; return their number."""
    start, count = FlatTable.root(raw, b"EVTS").vector(0, _EVENT_4.itemsize)
    if count and not 0 <= len(raw) - (start + count * _EVENT_4.itemsize) < _EVENT_4.itemsize:
        raise base.Unreadable(f"has a packet at byte {position} of {len(raw)} bytes for {count} events")
    events = np.frombuffer(raw, dtype=_EVENT_4, count=count, offset=start)
    if count and events["p"].max() > 1:
        raise base.Unreadable(f"has a packet at byte {position} with a polarity of {events['p'].max()}")
    for first in range(0, count, base.BLOCK):
        some = events[first : first + base.BLOCK]
        t = base.times(some["t"].astype(np.int64), "us", first)
        x, y = (base.integers(name, some[name], first) for name in ("x", "y"))
        packets.add(t, x, y, some["p"].astype(np.int64))
    return count


def _check_counts(table: FlatTable, stream: int, counts: dict[int, int]) -> None:
    """Raise Unreadable unless the table of packets has the packets and counts that were read."""
    listed = {entry.integer(0, 8): entry.integer(2, 8) for entry in table.tables(0) if entry.pair(1)[0] == stream}
    if listed != counts:
        raise base.Unreadable(
            f"holds {sum(counts.values())} events in {len(counts)} packets,"
            f" and its table speaks of {sum(listed.values())} in {len(listed)}"
        )


class FlatTable(NamedTuple):
    """A table of a FlatBuffer at a byte position, with bounds checks on every access."""

    raw: bytes | bytearray
    position: int

    @classmethod
    def root(cls, raw: bytes | bytearray, name: bytes) -> FlatTable:
        """Return the root table of a size-prefixed buffer with an identifier."""
        if len(raw) < 12 or int.from_bytes(raw[:4], "little") != len(raw) - 4 or raw[8:12] != name:
            raise base.Unreadable(f"has a part that should be {name.decode()} and is not")
        return cls(raw, 4 + int.from_bytes(raw[4:8], "little"))

    def integer(self, field: int, size: int, default: int = 0) -> int:
        """Return a signed integer of `size` bytes, or the default if it is absent."""
        position = self._field(field)
        return self._integer(position, size) if position else default

    def pair(self, field: int) -> tuple[int, int]:
        """Return a struct of two 32-bit integers, zeros if it is absent."""
        position = self._field(field)
        return (self._integer(position, 4), self._integer(position + 4, 4)) if position else (0, 0)

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Return the position and the length of a vector of entries of `size` bytes."""
        position = self._field(field)
        if not position:
            return 0, 0
        start = position + self._integer(position, 4)
        count = self._integer(start, 4)
        if count < 0 or start + 4 + count * size > len(self.raw):
            raise base.Unreadable("has a vector that reaches past its end")
        return start + 4, count

    def tables(self, field: int) -> list[FlatTable]:
        """Return the tables of a vector."""
        start, count = self.vector(field, 4)
        positions = range(start, start + 4 * count, 4)
        return [FlatTable(self.raw, position + self._integer(position, 4)) for position in positions]

    def _field(self, field: int) -> int:
        """Return the position of a field, or 0 if it is absent."""
        vtable = self.position - self._integer(self.position, 4)
        if self._integer(vtable, 2) < 6 + 2 * field:
            return 0
        offset = self._integer(vtable + 4 + 2 * field, 2)
        return self.position + offset if offset else 0

    def _integer(self, position: int, size: int) -> int:
        if not 0 <= position <= len(self.raw) - size:
            raise base.Unreadable("has a table that reaches past its end")
        return int.from_bytes(self.raw[position : position + size], "little", signed=True)


def decompress(raw: bytes, compression: int, most: int) -> bytes | bytearray | None:
    """Return the content of a packet, one frame of a compression, or None if it has more than `most` bytes."""
    if compression == _NONE:
        return raw if len(raw) <= most else None
    if compression in (_LZ4, _LZ4_HIGH):
        parts = _lz4(optional("lz4.frame", "aedat"), raw)
    elif compression in (_ZSTD, _ZSTD_HIGH):
        parts = _zstandard(optional("zstandard", "aedat"), raw, most)
    else:
        raise base.Unreadable(f"has a compression of an unknown kind, {compression}")
    content = bytearray()
    try:
        for part in parts:
            content += part
            if len(content) > most:
                return None
    except Exception:  # the libraries raise many types
        raise base.Unreadable("has a packet that cannot be unpacked") from None
    return content


def _lz4(library: ModuleType, raw: bytes) -> Iterator[bytes]:
    decompressor = library.LZ4FrameDecompressor()
    while not decompressor.eof and (raw or not decompressor.needs_input):
        yield decompressor.decompress(raw, max_length=_STEP)
        raw = b""
    if not decompressor.eof or decompressor.unused_data:
        raise EOFError


def _zstandard(library: ModuleType, raw: bytes, most: int) -> Iterator[bytes]:
    # A truncated frame is shorter than the length in its content, which the caller checks.
    decompressor = library.ZstdDecompressor(max_window_size=max(_WINDOW, most))
    reader = decompressor.stream_reader(raw, read_across_frames=False)
    yield from iter(lambda: reader.read(_STEP), b"")


FORMATS = {".aedat": base.Format(read, _write_3), ".aedat4": base.Format(read)}
