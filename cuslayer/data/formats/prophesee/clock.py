"""The higher bits of the times of a stream, which words of their own set."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer.data.events import Ints


def last_set(sets: npt.NDArray[np.bool_], values: Any, before: int) -> Ints:
    """Return for each word the value of the last word up to it that sets one, or the value before the first.

    >>> last_set(np.array([False, True, False, True]), np.array([7, 8, 9, 3]), -1)
    array([-1,  8,  8,  3])
    """
    # Position 0 is the value before the first word.
    at = np.maximum.accumulate(np.where(sets, np.arange(1, len(sets) + 1), 0))
    return np.concatenate([np.array([before], np.int64), values])[at]


class Clock:
    """The higher bits of the time at each word, counted on where they begin again from 0.

    Args:
        bits: the number of bits that a word sets.
    """

    def __init__(self, bits: int) -> None:
        self._half = 2 ** (bits - 1)
        # The bits of the last word that set them, -1 before the first, and what is added to them.
        self._last, self._passed = -1, 0

    def advance(self, sets: npt.NDArray[np.bool_], values: Ints) -> Ints:
        """Return the higher bits at each word of a block, -1 before the first word that sets them.

        A fall by half of the range or more is a new beginning; a smaller one is kept as it is.
        """
        found = values[sets]
        if not len(found):
            return np.full(len(values), self._last + self._passed if self._last >= 0 else -1, np.int64)
        passed = self._passed + 2 * self._half * np.cumsum(np.diff(found, prepend=self._last) <= -self._half)
        before = self._last + self._passed if self._last >= 0 else -1
        self._last, self._passed = int(found[-1]), int(passed[-1])
        everywhere = np.zeros(len(values), np.int64)
        everywhere[sets] = found + passed
        return last_set(sets, everywhere, before)
