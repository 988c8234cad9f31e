"""EVT 3.0: words of 16 bits, each of which sets a part of what the next events have in common, or is an event.

From the highest bit:

    0000    row of the next events, the lowest 11 bits
    0010    an event: polarity 1, x 11
    0011    first column of the next groups of pixels: polarity 1, x 11
    0100    a group: one bit for each of the pixels x + 11 to x; the next group begins 12 pixels on
    0101    a group: one bit for each of the pixels x + 7 to x, the lowest 8; the next group begins 8 pixels on
    0110    lower bits of the time, 12
    1000    higher bits of the time, 12

Times are in microseconds; after 24 bits they begin again from 0. Where the higher bits change, the lower are 0 until
they are set.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.data.events import Ints
from cuslayer.data.formats.prophesee.clock import Clock, last_set

_ROW, _EVENT, _FIRST, _GROUP_12, _GROUP_8, _LOW, _HIGH = 0, 2, 3, 4, 5, 6, 8
_TIME_BITS = 12
_POSITION = 2**11 - 1


class Words16:
    """Decodes a stream of words of EVT 3.0, block by block."""

    word: np.dtype[Any] = np.dtype("<u2")

    def __init__(self, swapped: bool) -> None:
        self._clock = Clock(_TIME_BITS)
        self._high, self._low, self._row = -1, 0, 0
        # Column and polarity of the next group.
        self._column, self._polarity = 0, 0

    def decode(self, raw: bytes) -> tuple[Ints, Ints, Ints, Ints]:
        """Return t in microseconds, x, y, p of the events of the next block."""
        words = np.frombuffer(raw, dtype=self.word).astype(np.int64)
        kind, value = words >> _TIME_BITS, words & 2**_TIME_BITS - 1
        high = self._clock.advance(kind == _HIGH, value)
        changed = (kind == _HIGH) & (np.diff(high, prepend=self._high) != 0)
        low = last_set((kind == _LOW) | changed, np.where(changed, 0, value), self._low)
        row = last_set(kind == _ROW, value & _POSITION, self._row)
        polarity = last_set(kind == _FIRST, value >> 11, self._polarity)
        # The column of a group: the first one, and the pixels of the groups since.
        width = np.where(kind == _GROUP_12, 12, np.where(kind == _GROUP_8, 8, 0))
        passed = np.cumsum(width)
        column = last_set(kind == _FIRST, (value & _POSITION) - passed, self._column) + passed - width
        single, group = kind == _EVENT, width > 0
        bits = np.where(single, 1, np.where(kind == _GROUP_8, value & 255, np.where(group, value, 0)))
        bits[high < 0] = 0
        x, p = np.where(single, value & _POSITION, column), np.where(single, value >> 11, polarity)
        self._high, self._low, self._row = int(high[-1]), int(low[-1]), int(row[-1])
        self._column, self._polarity = int(column[-1] + width[-1]), int(polarity[-1])
        found, bit = np.nonzero(bits[:, None] >> np.arange(12) & 1)
        return (high << _TIME_BITS | low)[found], (x[found] + bit), row[found], p[found]
