"""Small files of the formats that are only read, and any file of events for a suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cuslayer.data import Arrays, Events, write_events
from cuslayer.data.formats.aedat import FlatTable
from cuslayer.data.formats.slayer import encode

FILES = Path(__file__).parent / "files"
DAT = b"% Data file containing CD events.\n% Version 2\n% Height 480\n% Width 640\n"


def words(values, kind):
    """Return integers as the bytes of a type."""
    return np.array(values, np.uint64).astype(kind).tobytes()


def evt2(kind, low, x, y):
    """Return a word of EVT 2.0."""
    return kind << 28 | low << 22 | x << 11 | y


def raw_bytes(us, x, y, p):
    """Return a `.raw` file in EVT 2.0."""
    stream = []
    for t, *place, kind in zip(us, x, y, p, strict=True):
        stream += [8 << 28 | int(t) >> 6, evt2(int(kind), int(t) & 63, *map(int, place))]
    return b"% evt 2.0\n% end\n" + words(stream, "<u4")


def dat_bytes(us, x, y, p):
    """Return a `.dat` file of version 2."""
    us, x, y, p = (np.asarray(column, np.int64) for column in (us, x, y, p))
    return DAT + b"\x0c\x08" + words(np.stack([us, p << 28 | y << 14 | x], 1), "<u4")


def packet4(us, x, y, p):
    """Return a packet of AEDAT 4 without compression."""
    events = np.zeros(len(us), np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("rest", "V3")]))
    events["t"], events["x"], events["y"], events["p"] = us, x, y, p
    content = np.array([0, 6, 8, 4], "<u2").tobytes() + np.array([6, 4, len(us)], "<i4").tobytes() + events.tobytes()
    whole = (16).to_bytes(4, "little") + b"EVTS" + content
    return len(whole).to_bytes(4, "little") + whole


def aedat4_bytes(packed, kind="none"):
    """Return a file by DV with another packet of events, and without a table."""
    raw = (FILES / f"dv_{kind}.aedat4").read_bytes()
    header = 14 + 4 + int.from_bytes(raw[14:18], "little")
    table = FlatTable.root(raw[14:header], b"IOHE").integer(1, 8)
    start = raw[:header].replace(table.to_bytes(8, "little"), (-1).to_bytes(8, "little", signed=True))
    return start + (0).to_bytes(4, "little") + len(packed).to_bytes(4, "little") + packed


def write_any(path, us, x, y, p):
    """Write whole microseconds, columns, rows and polarities in the format of the path; `.bs1` has no rows."""
    if path.suffix == ".raw":
        path.write_bytes(raw_bytes(us, x, y, p))
    elif path.suffix == ".dat":
        path.write_bytes(dat_bytes(us, x, y, p))
    elif path.suffix == ".aedat4":
        path.write_bytes(aedat4_bytes(packet4(us, x, y, p)))
    else:
        write_events(path, Events(np.asarray(us) / 1000, x, None if path.suffix == ".bs1" else y, p))
    return path


class Files(Arrays):
    """Events, which a loader bins from the bytes of files."""

    def recording(self, index):
        return encode(self[index][0]).tobytes() if len(self[index][0]) else b""
