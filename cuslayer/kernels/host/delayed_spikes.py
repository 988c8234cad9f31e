"""Delays of spikes: the steps of a column are bits of words, and a delay is a shift of them; for compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled
from cuslayer.kernels.host.simd import store_bits
from cuslayer.kernels.host.spike_words import WORD, place_of, transpose_bits


@compiled
def shifts_of(delay: Any, steps: int, wide: int) -> tuple[Any, Any]:
    """Return how many words back, less one, and how many bits to the right the words of delayed columns begin.

    Both have a number for each place of a line of a block with so many columns, `wide`.
    """
    back, right = np.zeros(wide, np.int64), np.zeros(wide, np.uint64)
    for m in range(delay.size):
        steps_back, place = min(max(delay[m], -steps - 1), steps), place_of(m, wide)
        back[place] = (steps_back + WORD - 1) // WORD - 1
        right[place] = -steps_back % WORD
    return back, right


@compiled
def delayed_line(line: Any, words: Any, begin: int, back: Any, right: Any) -> None:
    """Write 64 steps, from `begin` on, of the delayed columns whose words are given: step by step, a bit a column.

    That of column ``64 i + c`` is bit c of word ``n t + i``, of n words a step.
    """
    one, most, last = np.uint64(1), np.uint64(WORD - 1), len(words) - 1
    for place in range(line.size):
        at = begin // WORD - back[place]
        early, later = words[min(max(at, 0), last), place], words[min(max(at + 1, 0), last), place]
        line[place] = (early >> right[place]) | ((later << one) << (most - right[place]))
    transpose_bits(line)


@compiled
def store_step(row: Any, line: Any, i: int) -> None:
    """Write step i of a line of `delayed_line` as bytes, 0 or 1."""
    squares = line.size // WORD
    for n in range(squares):
        store_bits(row, n * WORD, line[i * squares + n])
