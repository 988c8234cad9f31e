"""Files of cameras: AEDAT 3.1 and 4, Prophesee's .dat and .raw; streams in blocks, and inconsistent files."""

import io

import lz4.frame
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuslayer.data import Events, FromStart, read_events, write_events
from cuslayer.data.formats import base
from cuslayer.data.formats.aedat import FlatTable, decompress
from cuslayer.data.formats.prophesee import FORMATS, _Clock
from tests.support.event_bytes import DAT as CD
from tests.support.event_bytes import FILES, dat_bytes, evt2, raw_bytes, words
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
FIELDS = [{"capacity": 2}, {"number": -1}, {"valid": 2}, {"size": 0}, {"size": 4}, {"offset": 0}, {"overflow": -1}]
CONTRADICTS = f"has a packet at byte {len(HEADER)} whose header contradicts itself"


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
        (HEADER.replace(b"RAW", b"Serial-TS"), "is compressed: only Format RAW can be read"),
        (HEADER, "must hold a packet of events"),
        (HEADER + packet([ONE])[:27], f"is cut off at byte {len(HEADER) + 27}, in the header of a packet"),
        (HEADER + packet([ONE])[:-1], f"is cut off at byte {len(HEADER) + 35}, in the packet at byte {len(HEADER)}"),
        (
            HEADER + packet([ONE], kind=-32767),
            f"has a packet at byte {len(HEADER)} that is compressed: only Format RAW can be read",
        ),
        (HEADER + packet([ONE], valid=0), f"has a packet at byte {len(HEADER)} of 1 valid events whose header says 0"),
        (HEADER + packet([(1, 1, 1, 1, -1)]), f"has a packet at byte {len(HEADER)} with a time below 0"),
        (HEADER + packet([ONE], overflow=2**30), f"must hold times within 2**51 of 0, event 0 is at {2**61 + 1000} us"),
        (HEADER + packet([ONE]) + packet([ONE], source=2), "must hold the events of one camera"),
        *((HEADER + packet([ONE], **field), CONTRADICTS) for field in FIELDS),
    ],
)
def test_inconsistent_aedat3_raises(tmp_path, raw, message):
    path = tmp_path / "a.aedat"
    path.write_bytes(raw)
    refused(f"read_events: {path} {message}", lambda: read_events(path))


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
        (swap(b">EVTS<", b">IMUS<"), "must hold one stream of events"),
        (swap(b">TRIG<", b">EVTS<"), "must hold one stream of events"),
        (swap(b"</dv>", b"</dx>"), "has no list of its streams in its header"),
        (put(FIRST - 8, 7), f"has a packet at byte {FIRST - 8} of a stream that its header does not list"),
        (put(FIRST - 4, 2**30), f"is cut off at byte {len(RAW)}, in the packet at byte {FIRST - 8}"),
        (put(FIRST + 28, 1), f"has a packet at byte {FIRST - 8} of 112 bytes for 1 events"),
        (put(FIRST + 28, -1), "has a vector that reaches past its end"),
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
    with pytest.raises(ValueError, match=r"^has a compression of an unknown kind, 9$"):
        decompress(b"", 9, 0)
    # A table without fields: its vtable has only the 4 bytes of lengths.
    table = FlatTable.root(bytes.fromhex("10000000 0c000000 54455354 04000400 04000000".replace(" ", "")), b"TEST")
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


# Prophesee's .dat and .raw: the words of each format, streams in blocks, and inconsistent files


EVT2 = b"% evt 2.0\n% end\n"
EVT21 = b"% evt 2.1\n% format EVT21;endianness=little;height=320;width=320\n% end\n"
EVT3 = b"% date 2024-01-01 10:00:00\n% format EVT3;height=720;width=1280\n% geometry 1280x720\n% end\n"


def decoded(raw, known=FORMATS[".raw"], most=None):
    return known.read(io.BytesIO(raw), len(raw), "", most)


def columns(events):
    return [np.rint(events.t * 1000).astype(int).tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()]


def test_words_of_evt2():
    stream = [evt2(1, 5, 9, 9), 8 << 28 | 3, evt2(1, 63, 2047, 5), evt2(0, 0, 6, 2047), 0xA << 28, 0xE << 28]
    stream += [8 << 28 | 2, evt2(1, 1, 7, 8)]
    # The first event comes before any time; a time that falls a little is kept.
    found = columns(decoded(EVT2 + words(stream, "<u4")))
    assert found == [[3 * 64 + 63, 3 * 64, 2 * 64 + 1], [2047, 6, 7], [5, 2047, 8], [1, 0, 1]]


def test_a_time_that_begins_again_goes_on():
    most = 2**28 - 1
    stream = [8 << 28 | most, evt2(1, 63, 1, 1), 8 << 28 | 0, evt2(1, 0, 1, 1), 8 << 28 | most, 8 << 28 | 1]
    times = columns(decoded(EVT2 + words([*stream, evt2(0, 0, 1, 1)], "<u4")))[0]
    assert times == [2**34 - 1, 2**34, 2 * 2**34 + 64]


@pytest.mark.parametrize(
    ("header", "order"),
    [(EVT21, (1, 0)), (b"% evt 2.1\n% end\n", (0, 1)), (EVT21.replace(b"little", b"legacy"), (0, 1))],
)
def test_words_of_evt21(header, order):
    # Each word as its half with the time, and its mask.
    stream = [(8 << 28 | 3, 77), (evt2(1, 2, 64, 9), 0x80000005), (evt2(0, 4, 32, 1), 0), (evt2(0, 5, 0, 1), 2)]
    raw = words(np.array(stream)[:, list(order)].reshape(-1), "<u4")
    assert columns(decoded(header + raw)) == [[194, 194, 194, 197], [64, 66, 95, 1], [9, 9, 9, 1], [1, 1, 1, 0]]


def test_words_of_evt3():
    high, low, row, event, first, group12, group8 = (kind << 12 for kind in (8, 6, 0, 2, 3, 4, 5))
    stream = [row | 3, event | 9, high | 1, event | 1 << 11 | 700, low | 5, row | 1 << 11 | 719, event | 4]
    stream += [first | 1 << 11 | 100, group12 | 0x801, group8 | 0xF81, group8 | 2, 0xE << 12, 0x7 << 12, 0xF << 12 | 1]
    # The same higher bits again change nothing; others set the lower bits to 0.
    stream += [high | 1, event | 1, high | 2, event | 2]
    t, x = [4096, *[4101] * 7, 8192], [700, 4, 100, 111, 112, 119, 121, 1, 2]
    assert columns(decoded(EVT3 + words(stream, "<u2"))) == [t, x, [3, *[719] * 8], [1, 0, *[1] * 5, 0, 0]]


def loop(stream):
    """Return the columns of a stream of EVT 3.0, decoded word by word."""
    high, low, row, x, p, passed, found = -1, 0, 0, 0, 0, 0, []
    for word in stream:
        kind, value = word >> 12, word & 4095
        if kind == 8:
            if high >= 0 and value - high % 4096 <= -2048:
                passed += 4096
            low = low if high == value + passed else 0
            high = value + passed
        elif kind == 6:
            low = value
        elif kind == 0:
            row = value & 2047
        elif kind == 3:
            x, p = value & 2047, value >> 11
        elif kind == 2 and high >= 0:
            found.append((high * 4096 + low, value & 2047, row, value >> 11))
        elif kind in (4, 5):
            size = 12 if kind == 4 else 8
            found += [(high * 4096 + low, x + i, row, p) for i in range(size) if value >> i & 1 and high >= 0]
            x += size
    return [list(column) for column in zip(*found, strict=True)] or [[], [], [], []]


# Groups over several words; after 16.8 s and 33.6 s, words before the next time of a block.
STATE = [8 << 12 | 4095, 6 << 12 | 9, 11, 3 << 12 | 1 << 11 | 50, 4 << 12 | 5, 5 << 12 | 6, 4 << 12 | 1 << 11, 8 << 12]
STATE += [2 << 12 | 7, 6 << 12 | 3, 5 << 12 | 1, 2 << 12 | 8, 8 << 12 | 1, 2 << 12 | 9, 8 << 12 | 4095, 8 << 12]
STATE += [*[2 << 12 | 10] * 3, 8 << 12 | 1, 2 << 12]


@given(st.lists(st.integers(0, 2**16 - 1), max_size=300), st.sampled_from([1, 3, 7, 1000]))
@example(STATE, 1)
@example(STATE, 3)
@example(STATE, 4)
def test_any_stream_of_evt3_is_that_of_a_loop_in_any_blocks(stream, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "BLOCK", block)
        assert columns(decoded(EVT3 + words(stream, "<u2"), most=10**6)) == loop(stream)


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), *[st.integers(0, 2**11 - 1)] * 2, st.integers(0, 1)), min_size=1),
    st.integers(0, 7),
)
def test_events_of_any_values(rows, left):
    """The fields of `.dat` have three more bits."""
    us, x, y, p = (np.array(column) for column in zip(*rows, strict=True))
    us, wide = np.sort(us), (8 * x + left, 8 * y + left, p)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "BLOCK", 3)
        assert decoded(raw_bytes(us, x, y, p)) == Events(us / 1000, x, y, p)
        assert decoded(dat_bytes(us, *wide), FORMATS[".dat"]) == Events(us / 1000, *wide)


def test_headers_of_other_files():
    raw = b"% Data file\n% Version 1\n\x00\x08" + words([10, 1 << 17 | 200 << 9 | 303], "<u4")
    assert columns(decoded(raw, FORMATS[".dat"])) == [[10], [303], [200], [1]]
    assert decoded(raw.replace(b"% Version 1\n", b""), FORMATS[".dat"]) == decoded(raw, FORMATS[".dat"])
    raw = words([8 << 28 | 0x25, evt2(1, 0, 1, 1)], "<u4")
    assert raw[:1] == b"%"
    for end in (b"", b"% end\n"):
        assert columns(decoded(b"% evt 2.0\n" + end + raw))[0] == [0x25 * 64]


@pytest.mark.parametrize(
    ("suffix", "raw", "message"),
    [
        (".raw", b"", "is empty"),
        (".raw", words([8 << 28], "<u4"), "must begin with a header of lines that begin with %"),
        (".raw", b"% evt 4.0\n% end\n", "must have EVT 2.0, 2.1 or 3.0 as the format in its header"),
        (".raw", b"% x\x1b y\n", "must have EVT 2.0, 2.1 or 3.0 as the format in its header"),
        (".raw", b"% evt \x1b[2J\n", r"must have EVT 2.0, 2.1 or 3.0 as the format in its header"),
        (".raw", b"% a b\n" * 257, "must have a header of at most 256 lines"),
        (".raw", EVT2 + b"12345", "has 5 bytes of events, not a multiple of 4"),
        (".dat", b"\x0c\x08", "must begin with a header of lines that begin with %"),
        (".dat", CD.replace(b"Version 2", b"Version 3"), "is version 3 of the format, not 1 or 2"),
        (".dat", CD + b"\x0c", f"is cut off at byte {len(CD) + 1}, behind its header"),
        (".dat", CD + b"\x0e\x08", "must hold events of type 0 or 12 and 8 bytes"),
        (".dat", CD + b"\x0c\x10", "must hold events of type 0 or 12 and 8 bytes"),
        (".dat", CD + b"\x0c\x08123", "has 3 bytes of events, not a multiple of 8"),
    ],
)
def test_inconsistent_files(tmp_path, suffix, raw, message):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw)
    refused(f"read_events: {path} {message}", lambda: read_events(path))


def test_a_stream_that_unfolds_is_refused_without_an_argument(tmp_path):
    path, group = tmp_path / "a.raw", words([8 << 12, 3 << 12] + [4 << 12 | 4095] * 50_000, "<u2")
    path.write_bytes(EVT3 + group)
    with refuses(f"read_events: {path} must hold at most 524288 events", "; max_events=600000 reads them"):
        read_events(path)
    assert len(read_events(path, max_events=600_000)) == 600_000
    # One event for each byte of a large file.
    path.write_bytes(EVT3 + words([8 << 12] + [5 << 12 | 3] * 600_000, "<u2"))
    assert len(read_events(path)) == 1_200_000


def test_a_clock_without_a_word_of_time_has_none():
    clock = _Clock(4)
    nothing = np.zeros(2, np.bool_)
    assert clock.advance(nothing, np.array([5, 6])).tolist() == [-1, -1]
    assert clock.advance(np.array([False, True]), np.array([9, 15])).tolist() == [-1, 15]
    assert clock.advance(nothing, np.array([5, 6])).tolist() == [15, 15]
    assert clock.advance(np.array([True, True]), np.array([7, 8])).tolist() == [23, 24]
