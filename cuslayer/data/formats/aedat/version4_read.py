"""Reading of AEDAT 4, written by DV and dv-processing: a header, packets, and a table of packets, each a FlatBuffer.

The libraries dv-processing and aedat crash on some damaged files and return wrong counts for others. The file is
therefore parsed here, with checks of every length, and of every count against the table; lz4 and zstandard decompress
packets.
"""

from __future__ import annotations

from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np

from cuslayer.data.events import Events, Floats, Ints
from cuslayer.data.formats import base
from cuslayer.data.formats.aedat.flatbuffer import Table
from cuslayer.extras import optional

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
_NONE, _LZ4, _LZ4_HIGH, _ZSTD, _ZSTD_HIGH = range(5)
# The largest decompressed packet in bytes: 16 million events. DV's packets have some thousand.
_LARGEST = 1 << 28


def read(file: BinaryIO, size: int, unit: str) -> Events:
    """Read the polarity events of a file after its first line."""
    start = file.read(4)
    rest = size - file.tell()
    if int.from_bytes(start, "little") > rest or len(start) < 4:
        raise base.Unreadable(f"is cut off at byte {size}, in its header")
    header = Table.root(start + base.read_block(file, int.from_bytes(start, "little")), b"IOHE")
    compression = header.integer(0, 4)
    end = header.integer(1, 8, default=-1)
    if not -1 <= end <= size:
        raise base.Unreadable(f"is cut off at byte {size}, its table of packets should be at byte {end}")
    streams, stream = _streams(header)
    counts: dict[int, int] = {}
    packets = base.Packets(size // EVENT.itemsize)
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
        if number == stream:
            counts[position + 8] = packets.add(*_polarities(_decompress(raw, compression), position))
        position += 8 + length
    if position < size:
        table = _decompress(base.read_block(file, size - position), compression)
        _check_counts(Table.root(table, b"FTAB"), stream, counts)
    return packets.joined()


def _streams(header: Table) -> tuple[set[int], int]:
    """Return the streams listed in the header's XML, and the one of polarity events."""
    start, length = header.vector(2, 1)
    try:
        tree = ElementTree.fromstring(header.raw[start : start + length])
        nodes = tree.findall("./node[@name='outInfo']/node")
        kinds = {int(node.attrib["name"]): node.findtext("./attr[@key='typeIdentifier']") for node in nodes}
    except (ElementTree.ParseError, ValueError, KeyError):
        raise base.Unreadable("has no list of its streams in its header") from None
    ours = [number for number, kind in kinds.items() if kind == "EVTS"]
    if len(ours) != 1:
        raise base.Unreadable(f"must hold one stream of events, got {len(ours)} among {len(kinds)} streams")
    return set(kinds), ours[0]


def _decompress(raw: bytes, compression: int) -> bytes:
    if compression == _NONE:
        return raw
    if compression in (_LZ4, _LZ4_HIGH):
        frame = optional("read_events", "lz4.frame", "aedat")
        try:
            decompressor = frame.LZ4FrameDecompressor()
            content = bytes(decompressor.decompress(raw, max_length=_LARGEST))
            complete = decompressor.eof and not decompressor.unused_data
        except (RuntimeError, MemoryError, EOFError):
            complete = False
    elif compression in (_ZSTD, _ZSTD_HIGH):
        zstandard = optional("read_events", "zstandard", "aedat")
        try:
            # A truncated frame is shorter than the length in its content, which the caller checks.
            content = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=False).read(_LARGEST)
            complete = True
        except (zstandard.ZstdError, MemoryError):
            complete = False
    else:
        raise base.Unreadable(f"has a compression of an unknown kind, {compression}")
    if not complete:
        raise base.Unreadable("has a packet that cannot be unpacked")
    return content


def _polarities(raw: bytes, position: int) -> tuple[Floats, Ints, Ints, Ints]:
    """Return t, x, y, p of the events of a packet, which must end with its last event."""
    start, count = Table.root(raw, b"EVTS").vector(0, EVENT.itemsize)
    if count and not 0 <= len(raw) - (start + count * EVENT.itemsize) < EVENT.itemsize:
        raise base.Unreadable(f"has a packet at byte {position} of {len(raw)} bytes for {count} events")
    events = np.frombuffer(raw, dtype=EVENT, count=count, offset=start)
    if count and events["p"].max() > 1:
        raise base.Unreadable(f"has a packet at byte {position} with a polarity of {events['p'].max()}")
    t = base.times(events["t"].astype(np.int64), "us")
    return t, base.integers("x", events["x"]), base.integers("y", events["y"]), events["p"].astype(np.int64)


def _check_counts(table: Table, stream: int, counts: dict[int, int]) -> None:
    """Raise Unreadable unless the table of packets has the packets and counts that were read."""
    listed = {entry.integer(0, 8): entry.integer(2, 8) for entry in table.tables(0) if entry.pair(1)[0] == stream}
    if listed != counts:
        raise base.Unreadable(
            f"holds {sum(counts.values())} events in {len(counts)} packets,"
            f" and its table speaks of {sum(listed.values())} in {len(listed)}"
        )
