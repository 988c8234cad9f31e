"""EVT 2.0, words of 32 bits, and EVT 2.1, words of 64, of which one holds up to 32 neighbouring pixels.

From the highest bit, a word of EVT 2.0 is

    0000 or 0001, OFF or ON     time 6, x 11, y 11
    1000                        higher bits of the time, 28

and a word of EVT 2.1

    0000 or 0001, OFF or ON     time 6, x 11, y 11, one bit for each of the pixels x + 31 to x
    1000                        higher bits of the time, 28, and 32 bits without a meaning

Times are in microseconds; after 34 bits they begin again from 0.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Events, Ints
from cuslayer.data.formats import base
from cuslayer.data.formats.prophesee.clock import Clock

_OFF, _ON, _TIME = 0, 1, 8
_LOW_BITS, _HIGH_BITS, _POSITION_BITS = 6, 28, 11
_POSITION = 2**_POSITION_BITS - 1
# Times that are written: a fall by half of the range would be read as a new beginning.
_WRITTEN_BITS = _LOW_BITS + _HIGH_BITS - 1


class Words32:
    """Decodes a stream of words of EVT 2.0, block by block."""

    word: np.dtype[Any] = np.dtype("<u4")

    def __init__(self, swapped: bool) -> None:
        self._clock = Clock(_HIGH_BITS)

    def decode(self, raw: bytes) -> tuple[Ints, Ints, Ints, Ints]:
        """Return t in microseconds, x, y, p of the events of the next block."""
        return self._events(np.frombuffer(raw, dtype=self.word).astype(np.int64))[:4]

    def _events(self, words: Ints) -> tuple[Ints, Ints, Ints, Ints, npt.NDArray[np.bool_]]:
        kind = words >> 28
        high = self._clock.advance(kind == _TIME, words & 2**_HIGH_BITS - 1)
        events = (kind <= _ON) & (high >= 0)
        word = words[events]
        t = high[events] << _LOW_BITS | word >> 2 * _POSITION_BITS & 2**_LOW_BITS - 1
        return t, word >> _POSITION_BITS & _POSITION, word & _POSITION, word >> 28, events


class Words64(Words32):
    """Decodes a stream of words of EVT 2.1, block by block.

    Args:
        swapped: whether the half of a word with the time comes first.
    """

    word: np.dtype[Any] = np.dtype("<u8")

    def __init__(self, swapped: bool) -> None:
        super().__init__(swapped)
        self._first, self._second = (0, 1) if swapped else (1, 0)

    def decode(self, raw: bytes) -> tuple[Ints, Ints, Ints, Ints]:
        """Return t in microseconds, x, y, p of the events of the next block."""
        halves = np.frombuffer(raw, dtype="<u4").reshape(-1, 2)
        t, x, y, p, events = self._events(halves[:, self._first].astype(np.int64))
        mask = np.ascontiguousarray(halves[events, self._second], dtype="<u4")
        found, bit = np.nonzero(np.unpackbits(mask.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little"))
        return t[found], x[found] + bit, y[found], p[found]


def write(file: BinaryIO, events: Events, suffix: str, unit: str) -> None:
    """Write events in the given order, as EVT 2.0."""
    base.check_two_dimensional(suffix, events)
    y = np.asarray(events.y)
    base.check_at_most("write_events", suffix, "x", events.x, _POSITION)
    base.check_at_most("write_events", suffix, "y", y, _POSITION)
    base.check_at_most("write_events", suffix, "p", events.p, 1)
    us = base.rounded_times("write_events", suffix, "t", events.t, "us", 0, 2**_WRITTEN_BITS - 1)
    high, low = us >> _LOW_BITS, us & 2**_LOW_BITS - 1
    # A word of time in front of each event whose higher bits are others than those of the event before.
    changes = np.flatnonzero(np.diff(high, prepend=-1))
    words: npt.NDArray[Any] = events.p << 28 | low << 2 * _POSITION_BITS | events.x << _POSITION_BITS | y
    words = np.insert(words, changes, _TIME << 28 | high[changes])
    shape = f"height={y.max(initial=0) + 1};width={events.x.max(initial=0) + 1}"
    file.write(f"% evt 2.0\n% format EVT2;{shape}\n% end\n".encode("ascii"))
    file.write(words.astype("<u4").tobytes())
