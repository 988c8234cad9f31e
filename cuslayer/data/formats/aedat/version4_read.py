"""Reading of AEDAT 4, written by DV and dv-processing: a header, packets, and a table of packets, each a FlatBuffer.

The libraries dv-processing and aedat crash on some damaged files and return wrong counts for others. The file is
therefore parsed here, with checks of every length, and of every count against the table; lz4 and zstandard decompress
packets.
"""

from __future__ import annotations

from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.data.formats.aedat.decompress import decompress
from cuslayer.data.formats.aedat.flatbuffer import Table

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
# Bytes of a packet beside its events, and of the table of packets for each packet, with room for other writers.
_OVERHEAD, _ENTRY = 1 << 12, 1 << 8


def read(file: BinaryIO, size: int, limit: base.Limit) -> Events:
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
    packets = base.Packets(min(size // EVENT.itemsize, limit.most()))
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
            most = EVENT.itemsize * (limit.most() - packets.count) + _OVERHEAD
            content = decompress(raw, compression, most)
            if content is None:
                raise base.Unreadable(
                    f"must hold at most {limit.most()} events, got more; max_events= raises the limit"
                )
            counts[position + 8] = _add_polarities(packets, content, position)
            limit.check(packets.count)
        position += 8 + length
    if position < size:
        table = decompress(base.read_block(file, size - position), compression, _OVERHEAD + _ENTRY * number_of_packets)
        if table is None:
            raise base.Unreadable(f"must have a table of its {number_of_packets} packets, got one that is larger")
        _check_counts(Table.root(table, b"FTAB"), stream, counts)
    return packets.joined()


def _streams(header: Table) -> tuple[set[int], int]:
    """Return the streams listed in the header's XML, and the one of polarity events."""
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
    start, count = Table.root(raw, b"EVTS").vector(0, EVENT.itemsize)
    if count and not 0 <= len(raw) - (start + count * EVENT.itemsize) < EVENT.itemsize:
        raise base.Unreadable(f"has a packet at byte {position} of {len(raw)} bytes for {count} events")
    events = np.frombuffer(raw, dtype=EVENT, count=count, offset=start)
    if count and events["p"].max() > 1:
        raise base.Unreadable(f"has a packet at byte {position} with a polarity of {events['p'].max()}")
    for first in range(0, count, base.BLOCK):
        some = events[first : first + base.BLOCK]
        t = base.times(some["t"].astype(np.int64), "us", first)
        x, y = (base.integers(name, some[name], first) for name in ("x", "y"))
        packets.add(t, x, y, some["p"].astype(np.int64))
    return count


def _check_counts(table: Table, stream: int, counts: dict[int, int]) -> None:
    """Raise Unreadable unless the table of packets has the packets and counts that were read."""
    listed = {entry.integer(0, 8): entry.integer(2, 8) for entry in table.tables(0) if entry.pair(1)[0] == stream}
    if listed != counts:
        raise base.Unreadable(
            f"holds {sum(counts.values())} events in {len(counts)} packets,"
            f" and its table speaks of {sum(listed.values())} in {len(listed)}"
        )
