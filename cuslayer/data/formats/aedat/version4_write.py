"""Writing of AEDAT 4, without compression: the FlatBuffers have fixed layouts and are built by hand."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base
from cuslayer.data.formats.aedat.version4_read import EVENT, MAGIC

_INFO = """<dv version="2.0">
    <node name="outInfo" path="/outInfo/">
        <node name="0" path="/outInfo/0/">
            <attr key="compression" type="string">NONE</attr>
            <attr key="originalModuleName" type="string">cuslayer</attr>
            <attr key="originalOutputName" type="string">events</attr>
            <attr key="typeDescription" type="string">Array of events (polarity ON/OFF).</attr>
            <attr key="typeIdentifier" type="string">EVTS</attr>
            <node name="info" path="/outInfo/0/info/">
                <attr key="sizeX" type="int">{width}</attr>
                <attr key="sizeY" type="int">{height}</attr>
                <attr key="source" type="string">cuslayer</attr>
            </node>
        </node>
    </node>
</dv>
"""
_LARGEST_POSITION = 2**15 - 1
# The largest number of events in a packet.
_PACKET = 8192
# The vtable (6 bytes; table of 8 bytes, field 0 at byte 4) and the table with one field, a vector.
_ONE_VECTOR = np.array([0, 6, 8, 4], dtype="<u2").tobytes() + np.array([6, 4], dtype="<i4").tobytes()
# An entry of the table of packets: position, stream and length of a packet, event count, first and last time.
_ENTRY = np.dtype(
    {
        "names": ["vtable", "size", "position", "count", "first", "last"],
        "formats": ["<i4", ("<i4", 2), "<i8", "<i8", "<i8", "<i8"],
        "offsets": [0, 4, 12, 20, 28, 36],
        "itemsize": 48,
    }
)


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write polarity events in the given order, uncompressed."""
    base.check_two_dimensional(suffix, events)
    base.check_at_most("write_events", suffix, "x", events.x, _LARGEST_POSITION)
    base.check_at_most("write_events", suffix, "y", np.asarray(events.y), _LARGEST_POSITION)
    base.check_at_most("write_events", suffix, "p", events.p, 1)
    records = np.zeros(len(events), dtype=EVENT)
    records["t"] = base.rounded_times("write_events", suffix, "t", events.t, "us", -base.EXACT, base.EXACT)
    records["x"], records["y"], records["p"] = events.x, np.asarray(events.y), events.p
    width, height = (int(records[name].max()) + 1 if len(records) else 1 for name in ("x", "y"))
    info = _INFO.format(width=width, height=height).encode()
    position = len(MAGIC) + len(_header(info, 0))
    packets: list[bytes] = []
    entries = np.zeros(-(-len(records) // _PACKET), dtype=_ENTRY)
    for i in range(len(entries)):
        part = records[i * _PACKET : (i + 1) * _PACKET]
        body = _buffer(b"EVTS", _ONE_VECTOR + len(part).to_bytes(4, "little") + part.tobytes())
        packets.append((0).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body)
        entries[i] = (0, (0, len(body)), position + 8, len(part), part["t"].min(), part["t"].max())
        position += len(packets[-1])
    file.write(MAGIC + _header(info, position))
    for packet in packets:
        file.write(packet)
    file.write(_table(entries))


def _buffer(name: bytes, content: bytes) -> bytes:
    """Return a size-prefixed FlatBuffer; its content is a vtable of 8 bytes, then the root table."""
    whole = (16).to_bytes(4, "little") + name + content
    return len(whole).to_bytes(4, "little") + whole


def _header(info: bytes, end: int) -> bytes:
    """Return the header of the file: no compression, position of the table of packets, streams as XML."""
    # The vtable follows the table, hence the negative distance; the text follows both.
    table = (-16).to_bytes(4, "little", signed=True) + end.to_bytes(8, "little") + (16).to_bytes(4, "little")
    vtable = np.array([10, 16, 0, 4, 12, 0], dtype="<u2").tobytes()
    return _buffer(b"IOHE", bytes(8) + table + vtable + len(info).to_bytes(4, "little") + info + b"\0")


def _table(entries: npt.NDArray[Any]) -> bytes:
    """Return the table of packets: a vector of offsets, then the entries, then their common vtable."""
    n = len(entries)
    # The 8-byte numbers of an entry, the first at byte 12, must be aligned to 8 bytes.
    gap = bytes(4 * ((n + 1) % 2))
    vector = 4 * np.arange(n, dtype="<i4")
    start = 4 * n + len(gap)
    offsets = start + _ENTRY.itemsize * np.arange(n) - vector
    entries["vtable"] = -(_ENTRY.itemsize * (n - np.arange(n)))
    vtable = np.array([14, _ENTRY.itemsize, 12, 4, 20, 28, 36], dtype="<u2").tobytes() + bytes(2)
    content = n.to_bytes(4, "little") + offsets.astype("<i4").tobytes() + gap + entries.tobytes() + vtable
    return _buffer(b"FTAB", _ONE_VECTOR + content)
