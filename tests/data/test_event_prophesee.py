"""Prophesee's .dat and .raw: the words of each format, streams in blocks, and inconsistent files."""

import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuslayer.data import Events, read_events
from cuslayer.data.formats import base
from cuslayer.data.formats.prophesee import DAT, RAW, _Clock
from tests.support.event_bytes import DAT as CD
from tests.support.event_bytes import dat_bytes, evt2, raw_bytes, words
from tests.support.refused import refused, refuses

EVT2 = b"% evt 2.0\n% end\n"
EVT21 = b"% evt 2.1\n% format EVT21;endianness=little;height=320;width=320\n% end\n"
EVT3 = b"% date 2024-01-01 10:00:00\n% format EVT3;height=720;width=1280\n% geometry 1280x720\n% end\n"


def decoded(raw, known=RAW, most=None):
    return known.read(io.BytesIO(raw), len(raw), "", most)


def columns(events):
    return [np.rint(events.t * 1000).astype(int).tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist()]


def test_words_of_evt2():
    stream = [evt2(1, 5, 9, 9), 8 << 28 | 3, evt2(1, 63, 2047, 5), evt2(0, 0, 6, 2047), 0xA << 28, 0xE << 28]
    stream += [8 << 28 | 2, evt2(1, 1, 7, 8)]
    # The first event comes before any time; a time that falls a little is kept.
    assert columns(decoded(EVT2 + words(stream, "<u4"))) == [
        [3 * 64 + 63, 3 * 64, 2 * 64 + 1],
        [2047, 6, 7],
        [5, 2047, 8],
        [1, 0, 1],
    ]


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
    assert columns(decoded(header + raw)) == [
        [194, 194, 194, 197],
        [64, 66, 95, 1],
        [9, 9, 9, 1],
        [1, 1, 1, 0],
    ]


def test_words_of_evt3():
    high, low, row, event, first, group12, group8 = (kind << 12 for kind in (8, 6, 0, 2, 3, 4, 5))
    stream = [row | 3, event | 9, high | 1, event | 1 << 11 | 700, low | 5, row | 1 << 11 | 719, event | 4]
    stream += [first | 1 << 11 | 100, group12 | 0x801, group8 | 0xF81, group8 | 2, 0xE << 12, 0x7 << 12, 0xF << 12 | 1]
    # The same higher bits again change nothing; others set the lower bits to 0.
    stream += [high | 1, event | 1, high | 2, event | 2]
    assert columns(decoded(EVT3 + words(stream, "<u2"))) == [
        [4096, *[4101] * 7, 8192],
        [700, 4, 100, 111, 112, 119, 121, 1, 2],
        [3, *[719] * 8],
        [1, 0, *[1] * 5, 0, 0],
    ]


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
        assert decoded(dat_bytes(us, *wide), DAT) == Events(us / 1000, *wide)


def test_headers_of_other_files():
    raw = b"% Data file\n% Version 1\n\x00\x08" + words([10, 1 << 17 | 200 << 9 | 303], "<u4")
    assert columns(decoded(raw, DAT)) == [[10], [303], [200], [1]]
    assert decoded(raw.replace(b"% Version 1\n", b""), DAT) == decoded(raw, DAT)
    raw = words([8 << 28 | 0x25, evt2(1, 0, 1, 1)], "<u4")
    assert raw[:1] == b"%"
    for end in (b"", b"% end\n"):
        assert columns(decoded(b"% evt 2.0\n" + end + raw))[0] == [0x25 * 64]


@pytest.mark.parametrize(
    ("suffix", "raw", "message"),
    [
        (".raw", b"", "is empty"),
        (".raw", words([8 << 28], "<u4"), "must begin with a header of lines that begin with %"),
        (".raw", b"% evt 4.0\n% end\n", "must have EVT 2.0, 2.1 or 3.0 as the format in its header, got 4.0"),
        (".raw", b"% format HISTO3D\n", "must have EVT 2.0, 2.1 or 3.0 as the format in its header, got HISTO3D"),
        (".raw", b"% x\x1b y\n", "must have EVT 2.0, 2.1 or 3.0 as the format in its header, got none"),
        (".raw", b"% evt \x1b[2J\n", r"must have EVT 2.0, 2.1 or 3.0 as the format in its header, got \x1b[2J"),
        (".raw", b"% a b\n" * 257, "must have a header of at most 256 lines"),
        (".raw", EVT2 + b"12345", "has 5 bytes of events, not a multiple of 4"),
        (".raw", EVT21 + b"1234", "has 4 bytes of events, not a multiple of 8"),
        (".raw", EVT3 + b"1", "has 1 bytes of events, not a multiple of 2"),
        (".dat", b"", "is empty"),
        (".dat", b"\x0c\x08", "must begin with a header of lines that begin with %"),
        (".dat", CD.replace(b"Version 2", b"Version 3"), "is version 3 of the format, not 1 or 2"),
        (".dat", CD + b"\x0c", f"is cut off at byte {len(CD) + 1}, behind its header"),
        (".dat", CD + b"\x0e\x08", "must hold events of type 0 or 12 and 8 bytes, got type 14 and 8 bytes"),
        (".dat", CD + b"\x0c\x10", "must hold events of type 0 or 12 and 8 bytes, got type 12 and 16 bytes"),
        (".dat", CD + b"\x0c\x08123", "has 3 bytes of events, not a multiple of 8"),
    ],
)
def test_inconsistent_files(tmp_path, suffix, raw, message):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(raw)
    refused(f"read_events: {path} {message}", lambda: read_events(path))


def test_a_stream_that_unfolds_is_refused_without_an_argument(tmp_path):
    group = words([8 << 12, 3 << 12] + [4 << 12 | 4095] * 50_000, "<u2")
    (tmp_path / "a.raw").write_bytes(EVT3 + group)
    with refuses(
        f"read_events: {tmp_path}/a.raw must hold at most 524288 events, got 600000; max_events=600000 reads them"
    ):
        read_events(tmp_path / "a.raw")
    assert len(read_events(tmp_path / "a.raw", max_events=600_000)) == 600_000
    # One event for each byte of a large file.
    (tmp_path / "a.raw").write_bytes(EVT3 + words([8 << 12] + [5 << 12 | 3] * 600_000, "<u2"))
    assert len(read_events(tmp_path / "a.raw")) == 1_200_000


def test_a_clock_without_a_word_of_time_has_none():
    clock = _Clock(4)
    nothing = np.zeros(2, np.bool_)
    assert clock.advance(nothing, np.array([5, 6])).tolist() == [-1, -1]
    assert clock.advance(np.array([False, True]), np.array([9, 15])).tolist() == [-1, 15]
    assert clock.advance(nothing, np.array([5, 6])).tolist() == [15, 15]
    assert clock.advance(np.array([True, True]), np.array([7, 8])).tolist() == [23, 24]
