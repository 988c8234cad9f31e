"""How AEDAT 4 is written: every FlatBuffer laid out by hand, since each has but one shape. `aedat4.py` reads it."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events
from cuslayer.data.formats import base as form
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
_MOST = 2**15 - 1
# Events that one packet has at most.
_PACKET = 8192
# A table whose only field is a vector, after the table's list of fields: 6 bytes that say it is 8 long, field 0 at 4.
_ONE_VECTOR = np.array([0, 6, 8, 4], dtype="<u2").tobytes() + np.array([6, 4], dtype="<i4").tobytes()
# An entry of the table of packets: where a packet is, its stream and length, its events, and its first and last time.
_ENTRY = np.dtype(
    {
        "names": ["fields", "size", "place", "count", "first", "last"],
        "formats": ["<i4", ("<i4", 2), "<i8", "<i8", "<i8", "<i8"],
        "offsets": [0, 4, 12, 20, 28, 36],
        "itemsize": 48,
    }
)


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write polarity events, uncompressed, in the order that they have."""
    form.flat(suffix, events)
    form.at_most("write_events", suffix, "x", events.x, _MOST)
    form.at_most("write_events", suffix, "y", np.asarray(events.y), _MOST)
    form.at_most("write_events", suffix, "p", events.p, 1)
    kept = np.zeros(len(events), dtype=EVENT)
    kept["t"] = form.whole("write_events", suffix, "t", events.t, "us", -form.EXACT, form.EXACT)
    kept["x"], kept["y"], kept["p"] = events.x, np.asarray(events.y), events.p
    width, height = (int(kept[name].max()) + 1 if len(kept) else 1 for name in ("x", "y"))
    info = _INFO.format(width=width, height=height).encode()
    place = len(MAGIC) + len(_header(info, 0))
    packets: list[bytes] = []
    entries = np.zeros(-(-len(kept) // _PACKET), dtype=_ENTRY)
    for i in range(len(entries)):
        part = kept[i * _PACKET : (i + 1) * _PACKET]
        body = _buffer(b"EVTS", _ONE_VECTOR + len(part).to_bytes(4, "little") + part.tobytes())
        packets.append((0).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body)
        entries[i] = (0, (0, len(body)), place + 8, len(part), part["t"].min(), part["t"].max())
        place += len(packets[-1])
    file.write(MAGIC + _header(info, place))
    for packet in packets:
        file.write(packet)
    file.write(_table(entries))


def _buffer(name: bytes, content: bytes) -> bytes:
    """Return a FlatBuffer, its length first, whose content is 8 bytes of a list of fields and then the root table."""
    whole = (16).to_bytes(4, "little") + name + content
    return len(whole).to_bytes(4, "little") + whole


def _header(info: bytes, end: int) -> bytes:
    """Return the file's header: no compression, the place of the table of packets, the streams in XML."""
    # The list of fields lies behind the table, which a negative distance says; the text behind both.
    table = (-16).to_bytes(4, "little", signed=True) + end.to_bytes(8, "little") + (16).to_bytes(4, "little")
    fields = np.array([10, 16, 0, 4, 12, 0], dtype="<u2").tobytes()
    return _buffer(b"IOHE", bytes(8) + table + fields + len(info).to_bytes(4, "little") + info + b"\0")


def _table(entries: npt.NDArray[Any]) -> bytes:
    """Return the table of packets: a vector of places, then the entries, then the list of fields that they share."""
    n = len(entries)
    # The numbers of 8 bytes in an entry, the first of them 12 bytes into it, have to lie on multiples of 8.
    gap = bytes(4 * ((n + 1) % 2))
    vector = 4 * np.arange(n, dtype="<i4")
    start = 4 * n + len(gap)
    offsets = start + _ENTRY.itemsize * np.arange(n) - vector
    entries["fields"] = -(_ENTRY.itemsize * (n - np.arange(n)))
    fields = np.array([14, _ENTRY.itemsize, 12, 4, 20, 28, 36], dtype="<u2").tobytes() + bytes(2)
    content = n.to_bytes(4, "little") + offsets.astype("<i4").tobytes() + gap + entries.tobytes() + fields
    return _buffer(b"FTAB", _ONE_VECTOR + content)
