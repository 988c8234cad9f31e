"""AEDAT 4, as DV and dv-processing write it: a header, packets, and a table of the packets, each a FlatBuffer.

The libraries that read it, dv-processing and aedat, are well kept, yet end the process on some damaged files and count
wrong on others. So the containers are opened here, with every length checked and every count compared with the
table's, and what is compressed is left to lz4 and zstandard. What is written is not compressed.
"""

from __future__ import annotations

from typing import BinaryIO
from xml.etree import ElementTree

import numpy as np

from cuslayer.data.events import Events, Floats, Ints
from cuslayer.data.formats import base as form
from cuslayer.data.formats.aedat.flatbuffer import Table
from cuslayer.extras import optional

MAGIC = b"#!AER-DAT4.0\r\n"
EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)
_NONE, _LZ4, _LZ4_HIGH, _ZSTD, _ZSTD_HIGH = range(5)
# What one packet may be unpacked to: 16 million events. DV's packets have some thousand.
_LARGEST = 1 << 28


def read(file: BinaryIO, size: int, unit: str) -> Events:
    """Return the polarity events of a file whose first line has been read."""
    start = file.read(4)
    left = size - file.tell()
    if int.from_bytes(start, "little") > left or len(start) < 4:
        raise form.Unreadable(f"is cut off at byte {size}, in its header")
    header = Table.root(start + form.block(file, int.from_bytes(start, "little")), b"IOHE")
    compression = header.integer(0, 4)
    end = header.integer(1, 8, default=-1)
    if not -1 <= end <= size:
        raise form.Unreadable(f"is cut off at byte {size}, its table of packets should be at byte {end}")
    streams, stream = _streams(header)
    counts: dict[int, int] = {}
    packets = form.Packets(size // EVENT.itemsize)
    place = file.tell()
    while place < (size if end < 0 else end):
        if size - place < 8:
            raise form.Unreadable(f"is cut off at byte {size}, in the header of a packet")
        head = form.block(file, 8)
        number, length = (int.from_bytes(head[i : i + 4], "little", signed=True) for i in (0, 4))
        if not 0 <= length <= (size if end < 0 else end) - place - 8:
            raise form.Unreadable(f"is cut off at byte {size}, in the packet at byte {place}")
        raw = form.block(file, length)
        if number not in streams:
            raise form.Unreadable(f"has a packet at byte {place} of a stream that its header does not list")
        if number == stream:
            counts[place + 8] = packets.add(*_polarities(_unpacked(raw, compression), place))
        place += 8 + length
    if place < size:
        _compare(Table.root(_unpacked(form.block(file, size - place), compression), b"FTAB"), stream, counts)
    return packets.joined()


def _streams(header: Table) -> tuple[set[int], int]:
    """Return the streams that the header's XML lists, and the one of them that is of events."""
    start, length = header.vector(2, 1)
    try:
        tree = ElementTree.fromstring(header.raw[start : start + length])
        nodes = tree.findall("./node[@name='outInfo']/node")
        kinds = {int(node.attrib["name"]): node.findtext("./attr[@key='typeIdentifier']") for node in nodes}
    except (ElementTree.ParseError, ValueError, KeyError):
        raise form.Unreadable("has no list of its streams in its header") from None
    ours = [number for number, kind in kinds.items() if kind == "EVTS"]
    if len(ours) != 1:
        raise form.Unreadable(f"must hold one stream of events, got {len(ours)} among {len(kinds)} streams")
    return set(kinds), ours[0]


def _unpacked(raw: bytes, compression: int) -> bytes:
    if compression == _NONE:
        return raw
    if compression in (_LZ4, _LZ4_HIGH):
        frame = optional("read_events", "lz4.frame", "aedat")
        try:
            unpacker = frame.LZ4FrameDecompressor()
            whole = bytes(unpacker.decompress(raw, max_length=_LARGEST))
            complete = unpacker.eof and not unpacker.unused_data
        except (RuntimeError, MemoryError, EOFError):
            complete = False
    elif compression in (_ZSTD, _ZSTD_HIGH):
        zstandard = optional("read_events", "zstandard", "aedat")
        try:
            # A frame that is cut off ends sooner than the length at its beginning says, which the caller compares.
            whole = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=False).read(_LARGEST)
            complete = True
        except (zstandard.ZstdError, MemoryError):
            complete = False
    else:
        raise form.Unreadable(f"has a compression of an unknown kind, {compression}")
    if not complete:
        raise form.Unreadable("has a packet that cannot be unpacked")
    return whole


def _polarities(raw: bytes, place: int) -> tuple[Floats, Ints, Ints, Ints]:
    """Return t, x, y, p of a packet, which must end with its last event."""
    start, count = Table.root(raw, b"EVTS").vector(0, EVENT.itemsize)
    if count and not 0 <= len(raw) - (start + count * EVENT.itemsize) < EVENT.itemsize:
        raise form.Unreadable(f"has a packet at byte {place} of {len(raw)} bytes for {count} events")
    events = np.frombuffer(raw, dtype=EVENT, count=count, offset=start)
    if count and events["p"].max() > 1:
        raise form.Unreadable(f"has a packet at byte {place} with a polarity of {events['p'].max()}")
    t = form.times(events["t"].astype(np.int64), "us")
    return t, form.integers("x", events["x"]), form.integers("y", events["y"]), events["p"].astype(np.int64)


def _compare(table: Table, stream: int, counts: dict[int, int]) -> None:
    """Raise Unreadable unless the file's own table has the packets that were found, and their counts."""
    listed = {entry.integer(0, 8): entry.integer(2, 8) for entry in table.tables(0) if entry.pair(1)[0] == stream}
    if listed != counts:
        raise form.Unreadable(
            f"holds {sum(counts.values())} events in {len(counts)} packets,"
            f" and its table speaks of {sum(listed.values())} in {len(listed)}"
        )
