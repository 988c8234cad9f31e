"""A dense layer whose synapses have one delay each, on the CPU: a spike adds each of its weights once.

The sums are those of `dense/cpu.py` for the lags of each input side by side, most of whose weights are 0, in its
orders, to the bit: each four spikes that arrive at a step are added to each other first, or those of six neighbouring
inputs in a busy row. So a spike looks at the next ones: one comparison of vectors tells which of them arrive at the
same step, for 64 outputs. A thread takes 64 outputs of a sample, and its spikes from the last step to the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from cuslayer._base.jit import compiled, inlined, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.dense.busy import INPUTS, busy_above
from cuslayer.kernels.host.llvm import BOOL, I32, I64, Bits, Emitter, Flat, Int, Int32, generated, trailing_zeros
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import WORD, find_spikes

# The spikes of a four behind its first one, those of six neighbours, and the last place of a ring that has both sides.
_FOUR, _SIX, _RING = 3, INPUTS - 1, 15


@generated
def _same_step(code: Emitter, lag: Flat, at: Int, other: Int, later: Int32) -> Bits:
    """Return for 64 outputs whether lag[at] is lag[other] and so many steps more, as bits."""
    row = ir.VectorType(I32, WORD)
    return lag.load(at, row).compare("==", lag.load(other, row) + later.splat(WORD)).into("bitcast", I64)


@generated
def _at_least(code: Emitter, lag: Flat, at: Int, least: Int32) -> Bits:
    """Return for 64 outputs whether lag[at] is not under a number, as bits."""
    return lag.load(at, ir.VectorType(I32, WORD)).compare(">=", least.splat(WORD)).into("bitcast", I64)


@generated
def _copy_others(code: Emitter, to: Flat, weight: Flat, at: Int, bits: Bits) -> None:
    """Write 64 weights from a place on to an array of 64, those of bits as 0."""
    row = ir.VectorType(weight.number, WORD)
    chosen = bits.into("bitcast", ir.VectorType(BOOL, WORD))
    to.store(chosen.choose(code.value(0, row), weight.load(at, row)), 0)


@compiled
def _bit(bits: Any, o: int) -> int:
    return int(bits >> np.uint64(o) & np.uint64(1))


@inlined
def _of_four(e: int, place: int, low: int, o: int, width: int, same: Any, added: Any, source: Any, weight: Any) -> Any:
    """Return what spike e adds, with those behind it of its four that arrive at the same step; these are then added.

    `place` is its place in the row, 3 if none behind it counts. There are no jumps, which nobody could foresee.
    """
    real, own, at, even = weight.dtype.type, same[e & _RING], low + o, 1 - (place & 1)
    b, c = _bit(own[1], o) & int((place & 3) < 3), _bit(own[2], o) & int((place & 3) < 2)
    d = _bit(own[3], o) & int((place & 3) < 1)
    added[e + 1 & _RING] |= np.uint64(b) << np.uint64(o)
    added[e + 2 & _RING] |= np.uint64(c) << np.uint64(o)
    added[e + 3 & _RING] |= np.uint64(d) << np.uint64(o)
    of_b, of_c = weight[source[e + 1] * width + at] * real(b), weight[source[e + 2] * width + at] * real(c)
    of_d = weight[source[e + 3] * width + at] * real(d)
    return weight[source[e] * width + at] + of_b * real(even) + ((of_b * real(1 - even) + of_c) + of_d)


@inlined
def _of_six(e: int, shift: int, low: int, o: int, width: int, same: Any, added: Any, spikes: Any, weight: Any) -> Any:
    """Return the same of six neighbouring inputs, whose number among those of all lags is `shift` more than flat[e]."""
    source, flat = spikes
    value, group = weight[source[e] * width + low + o], (shift + flat[e]) // INPUTS
    for k in range(1, _SIX + 1):
        if _bit(same[e & _RING, k], o) and (shift + flat[e + k]) // INPUTS == group:
            value += weight[source[e + k] * width + low + o]
            added[e + k & _RING] |= np.uint64(1) << np.uint64(o)
    return value


@compiled
def _add_delayed(
    first: int, last: int, rows: Any, lag: Any, weight: Any, out: Any, lags: int, inputs: int, most: int, reach: int
) -> None:
    start, index, before, whole = rows
    (done, samples, width), steps = out.shape, whole.shape[1] - lags
    since, blocks = steps - done, (width + WORD - 1) // WORD
    # The spikes of a sample, the last step first: step, place within it, input, and input less those of earlier steps.
    step, rank, source = np.zeros(most, np.int32), np.zeros(most, np.int32), np.zeros(most, np.int32)
    flat = np.zeros(most, np.int64)
    sums, alone = np.empty((steps + lags) * WORD, out.dtype), np.empty(WORD, out.dtype)
    same, added = np.zeros((_RING + 1, _SIX + 1), np.uint64), np.zeros(_RING + 1, np.uint64)
    none, wide = np.uint64(0), np.uint64(WORD)
    for part in range(first, last):
        n, low, count = part // blocks, part % blocks * WORD, 0
        for s in range(steps - 1, -1, -1):
            for e in range(start[s * samples + n], start[s * samples + n + 1]):
                step[count], rank[count], source[count] = s, e - start[s * samples + n], index[e]
                flat[count] = index[e] - s * inputs
                count += 1
        size = min(WORD, width - low)
        there = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(WORD - size)
        sums[:], added[:] = 0, none
        for e in range(count):
            s, at = step[e], source[e] * width + low
            together: Any = none
            for k in range(1, reach + 1):
                bits: Any = none
                if e + k < count and s - step[e + k] < lags:
                    bits = _same_step(lag, at, source[e + k] * width + low, np.int32(step[e + k] - s)) & there
                same[e & _RING, k] = bits
                together |= bits
            others = added[e & _RING]
            together &= ~others
            added[e & _RING] = none
            if s >= since:
                _copy_others(alone, weight, at, others | together)
                for o in range(size):
                    cell = np.uint64(s + lag[np.uint64(at) + np.uint64(o)]) * wide + np.uint64(o)
                    sums[cell] += alone[np.uint64(o)]
            else:
                together = there & ~others & _at_least(lag, at, np.int32(since - s))
                together &= ~_at_least(lag, at, np.int32(steps - s))
            while together:
                o = int(trailing_zeros(together))
                together &= together - np.uint64(1)
                t = s + lag[at + o]
                if whole[n, t] < 0:
                    value = _of_six(e, t * inputs, low, o, width, same, added, (source, flat), weight)
                else:
                    place = before[n, t + 1] - before[n, s + 1] + rank[e]
                    place = place if place < whole[n, t] else 3
                    value = _of_four(e, place, low, o, width, same, added, source, weight)
                sums[t * WORD + o] += value
        out[:, n, low : low + size] = sums[since * WORD : steps * WORD].reshape(done, WORD)[:, :size]


def forward(x: Array, weight: Array, lag: Array, lags: int, since: int = 0) -> Array | None:
    """Return the weighted input of spikes x (T, N, inputs) from step `since` on; None where all lags are faster."""
    (steps, samples, inputs), width = x.shape, weight.shape[1]
    spikes, limit = find_spikes(x.reshape(steps * samples, inputs)), busy_above(lags * inputs, width, weight.itemsize)
    # Nanoseconds of a core, measured on an AMD EPYC: the fewer lags there are, the more spikes arrive at the same step.
    beside, most = spikes.count * lags, limit * steps * samples
    of_lags = min(beside, most) * (1 + width / 16) + lags * inputs * (0.6 * steps * samples + 10.0 * width)
    if spikes.count * width * (1.5 + (100.0 if beside > most else 36.0) / lags) > of_lags:
        return None
    before, whole = np.zeros((samples, steps + lags + 1), np.int64), np.zeros((samples, steps + lags), np.int64)
    np.cumsum(np.diff(spikes.start).reshape(steps, samples).T, axis=1, out=before[:, 1 : steps + 1])
    number = before[:, 1 : steps + 1] - before[:, np.maximum(np.arange(1, steps + 1) - lags, 0)]
    whole[:, :steps] = np.where(number > limit, -1, number - number % 4)
    out = empty((steps - since, samples, width), weight.dtype)
    flat = [np.concatenate([a.reshape(-1), np.zeros(WORD, a.dtype)]) for a in (lag, weight)]
    parts, reach = samples * -(-width // WORD), _SIX if (whole < 0).any() else _FOUR
    rows, most = (spikes.start, spikes.index, before, whole), int(before.max(initial=0)) + _SIX
    parallel_for(_add_delayed, parts, rows, *flat, out, lags, inputs, most, reach, grain=1)
    return out
