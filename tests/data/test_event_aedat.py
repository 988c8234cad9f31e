"""AEDAT 3.1 and 4: files of cameras, and inconsistent files."""

import lz4.frame
import numpy as np
import pytest

from cuslayer.data import Events, FromStart, read_events, write_events
from cuslayer.data.formats.aedat import Table, decompress
from tests.support.event_bytes import FILES
from tests.support.refused import refused, refuses

# The start in us of the recordings in files/.
START = 1_700_000_000_000_000
HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2017-01-01\r\n#!END-HEADER\r\n"


def packet(events, kind=1, size=8, offset=4, overflow=0, valid=None, capacity=None, number=None, source=1):
    """Return a packet of AEDAT 3.1 of events (x, y, p, valid, time)."""
    n = len(events) if number is None else number
    valid = sum(e[3] for e in events) if valid is None else valid
    head = np.array([size, offset, overflow, n if capacity is None else capacity, n, valid], "<i4")
    words = [[x << 17 | y << 2 | p << 1 | good, time & 0xFFFFFFFF] for x, y, p, good, time in events]
    return np.array([kind, source], "<i2").tobytes() + head.tobytes() + np.array(words, "<u4").tobytes()


ONE = (5, 6, 1, 1, 1000)


def test_other_packets_and_invalid_events_are_skipped(tmp_path):
    path = tmp_path / "a.aedat"
    frames = np.array([2, 1], "<i2").tobytes() + np.array([10, 4, 0, 2, 2, 2], "<i4").tobytes() + bytes(20)
    events = packet([ONE, (1, 2, 0, 0, 5), (32767, 32767, 0, 1, 2**31 - 1)]), packet([ONE], overflow=1)
    path.write_bytes(HEADER + events[0] + frames + events[1])
    wanted = Events(np.array([1000, 2**31 - 1, 2**31 + 1000]) / 1000, [5, 32767, 5], [6, 32767, 6], [1, 0, 1])
    assert read_events(path) == wanted


def test_bytes_of_an_aedat3_file(tmp_path):
    path = tmp_path / "a.aedat"
    write_events(path, Events([1.0, 2**31 / 1000 + 1], [5, 6], [6, 7], [1, 0]))
    header = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: cuslayer\r\n#!END-HEADER\r\n"
    assert path.read_bytes() == header + packet([ONE]) + packet([(6, 7, 0, 1, 1000)], overflow=1)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"#!AER-DAT2.0\r\n", "is AEDAT 2.0, not 3.1 or 4.0"),
        (b"#!AER-DAT3.1\r\x1d\x85\n", r"is AEDAT 3.1\r\x1d\x85, not 3.1 or 4.0"),
        (b"x" + HEADER, "is no AEDAT file: its first line must begin with #!AER-DAT"),
        (HEADER[:40], "must have a header of lines that begin with #, up to #!END-HEADER"),
        (HEADER.replace(b"#Source", b"Source"), "must have a header of lines that begin with #, up to #!END-HEADER"),
        (HEADER.replace(b"RAW", b"Serial-TS"), "is compressed: only Format RAW can be read"),
        (HEADER, "must hold a packet of events, got none"),
        (HEADER + packet([ONE])[:27], f"is cut off at byte {len(HEADER) + 27}, in the header of a packet"),
        (HEADER + packet([ONE])[:-1], f"is cut off at byte {len(HEADER) + 35}, in the packet at byte {len(HEADER)}"),
        (
            HEADER + packet([ONE], kind=-32767),
            f"has a packet at byte {len(HEADER)} that is compressed: only Format RAW can be read",
        ),
        (HEADER + packet([ONE], valid=0), f"has a packet at byte {len(HEADER)} of 1 valid events whose header says 0"),
        (HEADER + packet([(1, 1, 1, 1, -1)]), f"has a packet at byte {len(HEADER)} with a time below 0"),
        (HEADER + packet([ONE], overflow=2**30), f"must hold times within 2**51 of 0, event 0 is at {2**61 + 1000} us"),
        (HEADER + packet([ONE]) + packet([ONE], source=2), "must hold the events of one camera, got those of 2"),
    ],
)
def test_inconsistent_aedat3_raises(tmp_path, raw, message):
    path = tmp_path / "a.aedat"
    path.write_bytes(raw)
    refused(f"read_events: {path} {message}", lambda: read_events(path))


@pytest.mark.parametrize(
    "field", [{"capacity": 2}, {"number": -1}, {"valid": 2}, {"size": 0}, {"size": 4}, {"offset": 0}, {"overflow": -1}]
)
def test_a_header_of_a_packet_that_contradicts_itself(tmp_path, field):
    path = tmp_path / "a.aedat"
    path.write_bytes(HEADER + packet([ONE], **field))
    message = f"read_events: {path} has a packet at byte {len(HEADER)} whose header contradicts itself"
    refused(message, lambda: read_events(path))


@pytest.mark.parametrize("name", ["none", "lz4", "zstd"])
def test_files_of_dv_processing_are_read(name):
    """Files of dv-processing 2.0: five events of a camera, a trigger, and a table of packets."""
    events = read_events(FILES / f"dv_{name}.aedat4")
    us = np.rint(events.t * 1000).astype(np.int64)
    assert us.tolist() == [START + 1001 * i for i in range(5)]
    assert events == Events(events.t, [0, 10, 20, 30, 40], [259, 258, 257, 256, 255], [0, 1, 0, 1, 0])
    assert FromStart()(events, (260, 346, 2)).t.tolist() == pytest.approx([1.001 * i for i in range(5)], abs=1e-3)


def damaged(change, name="none"):
    raw = bytearray((FILES / f"dv_{name}.aedat4").read_bytes())
    return bytes(change(raw) or raw)


def put(position, value, size=4):
    def change(raw):
        raw[position : position + size] = value.to_bytes(size, "little", signed=True)

    return change


def swap(old, new):
    return lambda raw: bytes(raw).replace(old, new)


RAW = (FILES / "dv_none.aedat4").read_bytes()
FIRST = RAW.index(b"EVTS\0\0") - 8  # the length of the first packet of events
TABLE = RAW.index(b"FTAB") - 8
CUT = f"is cut off at byte {TABLE - 1}, its table of packets should be at byte {TABLE}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:16], "is cut off at byte 16, in its header"),
        (lambda raw: raw[:200], "is cut off at byte 200, in its header"),
        (lambda raw: raw[:-1], "has a part that should be FTAB and is not"),
        (lambda raw: raw[: TABLE - 1], CUT),
        (swap(b"IOHE", b"IOHX"), "has a part that should be IOHE and is not"),
        (swap(b"EVTS\0\0", b"EVTX\0\0"), "has a part that should be EVTS and is not"),
        (swap(b">EVTS<", b">IMUS<"), "must hold one stream of events, got 0 among 2 streams"),
        (swap(b">TRIG<", b">EVTS<"), "must hold one stream of events, got 2 among 2 streams"),
        (swap(b"</dv>", b"</dx>"), "has no list of its streams in its header"),
        (put(FIRST - 8, 7), f"has a packet at byte {FIRST - 8} of a stream that its header does not list"),
        (put(FIRST - 4, 2**30), f"is cut off at byte {len(RAW)}, in the packet at byte {FIRST - 8}"),
        (put(FIRST + 28, 1), f"has a packet at byte {FIRST - 8} of 112 bytes for 1 events"),
        (put(FIRST + 28, -1), "has a vector that reaches past its end"),
        (put(FIRST + 28, 300), "has a vector that reaches past its end"),
        (put(FIRST + 4, 2**20), "has a table that reaches past its end"),
        (put(FIRST + 32 + 12, 2, 1), f"has a packet at byte {FIRST - 8} with a polarity of 2"),
        (put(FIRST + 32 + 8, -1, 2), "must hold x as integers from 0, event 0 has -1"),
        (put(FIRST + 32, 2**60, 8), f"must hold times within 2**51 of 0, event 0 is at {2**60} us"),
    ],
)
def test_inconsistent_aedat4_raises(tmp_path, change, message):
    path = tmp_path / "a.aedat4"
    path.write_bytes(damaged(change))
    refused(f"read_events: {path} {message}", lambda: read_events(path))


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_packets_that_cannot_be_decompressed_raise(tmp_path, name):
    path = tmp_path / "a.aedat4"
    raw = (FILES / f"dv_{name}.aedat4").read_bytes()
    magic = lz4.frame.compress(b"")[:4] if name == "lz4" else bytes.fromhex("28b52ffd")
    path.write_bytes(raw.replace(magic, b"\0\0\0\0"))
    refused(f"read_events: {path} has a packet that cannot be unpacked", lambda: read_events(path))


def test_unknown_compressions_and_absent_fields():
    refused("has a compression of an unknown kind, 9", lambda: decompress(b"", 9, 0))
    # A table without fields: its vtable has only the 4 bytes of lengths.
    table = Table.root(bytes.fromhex("10000000 0c000000 54455354 04000400 04000000".replace(" ", "")), b"TEST")
    assert (table.integer(0, 4, default=7), table.pair(0), table.tables(0)) == (7, (0, 0), [])


def test_other_counts_in_the_table_raise(tmp_path):
    """The table has six events for a packet of five."""
    raw = bytearray(RAW)
    entry = raw.index((5).to_bytes(8, "little") + (START).to_bytes(8, "little"), TABLE)
    raw[entry] = 6
    path = tmp_path / "a.aedat4"
    path.write_bytes(raw)
    with refuses(f"read_events: {path} holds 5 events in 1 packets, and its table speaks of 6 in 1"):
        read_events(path)


def test_a_recording_without_a_table_is_read_to_the_end(tmp_path):
    """A camera that lost power leaves the position of the table at -1."""
    path = tmp_path / "a.aedat4"
    raw = RAW[:TABLE].replace(TABLE.to_bytes(8, "little"), (-1).to_bytes(8, "little", signed=True))
    path.write_bytes(raw)
    assert read_events(path) == read_events(FILES / "dv_none.aedat4")
    path.write_bytes(raw + bytes(3))
    refused(f"read_events: {path} is cut off at byte {TABLE + 3}, in the header of a packet", lambda: read_events(path))
