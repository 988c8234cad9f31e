"""Prophesee's files: `.dat`, and `.raw` in EVT 2.0, 2.1 or 3.0, as the header says.

A header has lines of % and a name and a value, up to "% end" if present. Numbers are little-endian, times in
microseconds; layouts are written from the highest bit. The readers skip triggers, words for extensions, and events
before the first word of time, which have no known time.

`.dat` has the type and the size of an event, one byte each, and events of 8 bytes: the time, 32 bits, and a word. The
word has polarity 1 bit, y 14, x 14; in version 1 of the format polarity 1, y 8, x 9.

A word of EVT 2.0 has 32 bits; times begin again from 0 after 34 bits:

    0000 or 0001, OFF or ON     time 6, x 11, y 11
    1000                        higher bits of the time, 28

A word of EVT 2.1 has 64 bits: one half is a word of EVT 2.0, the other has a bit for each pixel from x + 31 to x.

A word of EVT 3.0 has 16 bits; times begin again after 24 bits. A change of the higher bits sets the lower to 0:

    0000    row of the next events, the lowest 11 bits
    0010    an event: polarity 1, x 11
    0011    first column of the next groups of pixels: polarity 1, x 11
    0100    a group: one bit for each of the pixels x + 11 to x; the next group begins 12 pixels on
    0101    a group: one bit for each of the pixels x + 7 to x, the lowest 8; the next group begins 8 pixels on
    0110    lower bits of the time, 12
    1000    higher bits of the time, 12

Source: Prophesee's documentation, "Data Encoding Formats". No library reads all of them without the camera's software.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.backend import Array, DType
from cuslayer.data.events import Events, Ints
from cuslayer.data.formats import base

_LONGEST_LINE, _MOST_LINES = 4096, 256
_EVENT_DAT = np.dtype([("time", "<u4"), ("word", "<u4")])
# The types of events with a polarity, and the bits of x and y in each version.
_KINDS = (0, 12)
_BITS = {"1": (9, 8), "2": (14, 14)}
_VERSIONS = {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}
_ON, _TIME = 1, 8
_LOW_BITS, _HIGH_BITS, _POSITION_BITS = 6, 28, 11
_POSITION = 2**_POSITION_BITS - 1
_ROW, _EVENT, _FIRST, _GROUP_12, _GROUP_8, _LOW, _HIGH = 0, 2, 3, 4, 5, 6, 8
_TIME_BITS = 12


def read_dat(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of a `.dat` file."""
    version = _read_header(file, size).get("version", "1")
    if version not in _BITS:
        raise base.Unreadable(f"is version {version} of the format, not 1 or 2")
    if size - file.tell() < 2:
        raise base.Unreadable(f"is cut off at byte {size}, behind its header")
    kind, each = base.read_block(file, 2)
    if kind not in _KINDS or each != _EVENT_DAT.itemsize:
        raise base.Unreadable(f"must hold events of type 0 or 12 and 8 bytes, got type {kind} and {each} bytes")
    count, rest = divmod(size - file.tell(), _EVENT_DAT.itemsize)
    if rest:
        raise base.Unreadable(f"has {size - file.tell()} bytes of events, not a multiple of {_EVENT_DAT.itemsize}")
    base.Limit(size, most).check(count)
    packets = base.Packets(count)
    across, down = _BITS[version]
    for _, events in base.records(file, count, _EVENT_DAT):
        word = events["word"].astype(np.int64)
        x, y, p = word & 2**across - 1, word >> across & 2**down - 1, word >> across + down & 1
        packets.add(base.times(events["time"].astype(np.int64), "us"), x, y, p)
    return packets.joined()


def read_raw(file: BinaryIO, size: int, unit: str, most: int | None = None) -> Events:
    """Read the events of a `.raw` file."""
    header = _read_header(file, size)
    name, _, options = header.get("format", _VERSIONS.get(header.get("evt", ""), "")).partition(";")
    if name not in _DECODERS:
        found = name or header.get("evt") or "none"
        raise base.Unreadable(f"must have EVT 2.0, 2.1 or 3.0 as the format in its header, got {found}")
    # Without this option, the halves of a word of EVT 2.1 have the order of the first such cameras.
    decoder = _DECODERS[name](swapped="endianness=little" not in options.split(";"))
    start, limit, each = file.tell(), base.Limit(size, most), decoder.word.itemsize
    if (size - start) % each:
        raise base.Unreadable(f"has {size - start} bytes of events, not a multiple of {each}")
    count = (size - start) // each
    packets = base.Packets(min(count, limit.most(1), base.MOST_AT_FIRST))
    for first, words in base.records(file, count, decoder.word):
        t, x, y, p = decoder.decode(words)
        limit.check(packets.count + len(t), 1, more=first + len(words) < count)
        packets.add(base.times(t, "us"), x, y, p)
    return packets.joined()


def _read_header(file: BinaryIO, size: int) -> dict[str, str]:
    """Return the values of a header by name, in lower case, and move the file past it."""
    if not size:
        raise base.Unreadable("is empty")
    found: dict[str, str] = {}
    for _ in range(_MOST_LINES):
        position = file.tell()
        line = file.readline(_LONGEST_LINE)
        # Without "% end", the header ends where no line of text follows.
        if not line.startswith(b"% ") or not line.endswith(b"\n") or not line.isascii():
            file.seek(position)
            if not found:
                raise base.Unreadable("must begin with a header of lines that begin with %")
            return found
        name, _, value = line[2:].decode("ascii").strip().partition(" ")
        found.setdefault(name.rstrip(":").lower(), value.strip().encode("unicode_escape").decode("ascii"))
        if name == "end":
            return found
    raise base.Unreadable(f"must have a header of at most {_MOST_LINES} lines")


def _last_set(sets: npt.NDArray[np.bool_], values: object, before: int) -> Ints:
    """Return for each word the last value that a word up to it sets, or the value before the first."""
    # Position 0 is the value before the first word.
    at = np.maximum.accumulate(np.where(sets, np.arange(1, len(sets) + 1), 0))
    return np.concatenate([np.array([before], np.int64), values])[at]


class _Clock:
    """The higher bits of the time at each word; they go on where a word's bits begin again from 0."""

    def __init__(self, bits: int) -> None:
        self._half = 2 ** (bits - 1)
        # The bits of the last word that set them, -1 before the first, and their offset.
        self._last, self._passed = -1, 0

    def advance(self, sets: npt.NDArray[np.bool_], values: Ints) -> Ints:
        """Return the higher bits at each word of a block, -1 before the first word that sets them."""
        found = values[sets]
        if not len(found):
            return np.full(len(values), self._last + self._passed if self._last >= 0 else -1, np.int64)
        passed = self._passed + 2 * self._half * np.cumsum(np.diff(found, prepend=self._last) <= -self._half)
        before = self._last + self._passed if self._last >= 0 else -1
        self._last, self._passed = int(found[-1]), int(passed[-1])
        everywhere = np.zeros(len(values), np.int64)
        everywhere[sets] = found + passed
        return _last_set(sets, everywhere, before)


class _Words32:
    """Decodes a stream of words of EVT 2.0, block by block: t in microseconds, x, y, p."""

    word: DType = np.dtype("<u4")

    def __init__(self, swapped: bool) -> None:
        self._clock = _Clock(_HIGH_BITS)
        # The half of a word of EVT 2.1 with the time, and the half with the pixels.
        self._first, self._second = (0, 1) if swapped else (1, 0)

    def decode(self, block: Array) -> tuple[Ints, Ints, Ints, Ints]:
        return self._events(block.astype(np.int64))[:4]

    def _events(self, words: Ints) -> tuple[Ints, Ints, Ints, Ints, npt.NDArray[np.bool_]]:
        kind = words >> 28
        high = self._clock.advance(kind == _TIME, words & 2**_HIGH_BITS - 1)
        events = (kind <= _ON) & (high >= 0)
        word = words[events]
        t = high[events] << _LOW_BITS | word >> 2 * _POSITION_BITS & 2**_LOW_BITS - 1
        return t, word >> _POSITION_BITS & _POSITION, word & _POSITION, word >> 28, events


class _Words64(_Words32):
    """Decodes a stream of words of EVT 2.1, block by block."""

    word: DType = np.dtype("<u8")

    def decode(self, block: Array) -> tuple[Ints, Ints, Ints, Ints]:
        halves = block.view("<u4").reshape(-1, 2)
        t, x, y, p, events = self._events(halves[:, self._first].astype(np.int64))
        mask = np.ascontiguousarray(halves[events, self._second], dtype="<u4")
        found, bit = np.nonzero(np.unpackbits(mask.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little"))
        return t[found], x[found] + bit, y[found], p[found]


class _Words16:
    """Decodes a stream of words of EVT 3.0, block by block."""

    word: DType = np.dtype("<u2")

    def __init__(self, swapped: bool) -> None:
        self._clock = _Clock(_TIME_BITS)
        self._high, self._low, self._row = -1, 0, 0
        # Column and polarity of the next group.
        self._column, self._polarity = 0, 0

    def decode(self, block: Array) -> tuple[Ints, Ints, Ints, Ints]:
        words = block.astype(np.int64)
        kind, value = words >> _TIME_BITS, words & 2**_TIME_BITS - 1
        high = self._clock.advance(kind == _HIGH, value)
        changed = (kind == _HIGH) & (np.diff(high, prepend=self._high) != 0)
        low = _last_set((kind == _LOW) | changed, np.where(changed, 0, value), self._low)
        row = _last_set(kind == _ROW, value & _POSITION, self._row)
        polarity = _last_set(kind == _FIRST, value >> 11, self._polarity)
        # The column of a group: the first one, and the pixels of the groups since.
        width = np.where(kind == _GROUP_12, 12, np.where(kind == _GROUP_8, 8, 0))
        passed = np.cumsum(width)
        column = _last_set(kind == _FIRST, (value & _POSITION) - passed, self._column) + passed - width
        single, group = kind == _EVENT, width > 0
        bits = np.where(single, 1, np.where(kind == _GROUP_8, value & 255, np.where(group, value, 0)))
        bits[high < 0] = 0
        x, p = np.where(single, value & _POSITION, column), np.where(single, value >> 11, polarity)
        self._high, self._low, self._row = int(high[-1]), int(low[-1]), int(row[-1])
        self._column, self._polarity = int(column[-1] + width[-1]), int(polarity[-1])
        found, bit = np.nonzero(bits[:, None] >> np.arange(12) & 1)
        return (high << _TIME_BITS | low)[found], (x[found] + bit), row[found], p[found]


_DECODERS: dict[str, Any] = {"EVT2": _Words32, "EVT21": _Words64, "EVT3": _Words16}
FORMATS = {".dat": base.Format(read_dat), ".raw": base.Format(read_raw)}
