"""The multiplications and additions of CPU kernels, and how many the machine does in a second, for kernels.py.

The exponential of surrogate gradients counts as what the machine could multiply and add in the time of one, measured.

A kernel's operations are those of its formula: one multiplication and one addition for each tap, weight or spike that
it cannot leave out. A kernel that needs fewer, as Winograd's convolution does, may reach more than the whole.
"""

from __future__ import annotations

import time

import numpy as np

from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.exponential import exp_of_negative

# Independent sums of the loop that measures the machine: enough to fill the pipelines, few enough for registers.
_SUMS = 128
_ROUNDS = 200_000
# Of the fixed point of Loihi's neuron, for a step: the halves of two states, saturation, refraction and the spike.
LOIHI = 36


@compiled
def _multiply_and_add(first: int, last: int, sums: np.ndarray, factor: np.float32, rounds: int) -> None:
    for part in range(first, last):
        row = sums[part]
        for _ in range(rounds):
            for j in range(_SUMS):
                row[j] = row[j] * factor + factor


@compiled
def _exponentials(first: int, last: int, out: np.ndarray, values: np.ndarray, rounds: int) -> None:
    for part in range(first, last):
        row = out[part]
        for _ in range(rounds):
            for j in range(values.size):
                row[j] = exp_of_negative(-abs(values[j]))


def exponential(parts: int = 16, rounds: int = _ROUNDS // 16, repeats: int = 5) -> float:
    """Return the operations that all cores do in the time of one float32 exponential in the first cache."""
    values = np.random.default_rng(0).standard_normal(1024, np.float32) * 10
    out, times = np.empty((parts, values.size), np.float32), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        parallel_for(_exponentials, parts, out, values, rounds // parts, grain=1)
        times.append(time.perf_counter() - start)
    return peak() * float(np.median(times[1:])) / (values.size * parts * (rounds // parts))


def peak(parts: int = 16, rounds: int = _ROUNDS, repeats: int = 5) -> float:
    """Return the float32 operations a second of a loop of multiplications and additions on all cores."""
    sums = np.ones((parts, _SUMS), np.float32)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        parallel_for(_multiply_and_add, parts, sums, np.float32(0.5), rounds // parts, grain=1)
        times.append(time.perf_counter() - start)
    return 2 * _SUMS * parts * (rounds // parts) / float(np.median(times[1:]))


def filtered(steps: int, columns: int, taps: int) -> int:
    """Return the operations of a filter: a tap has no input before the first step."""
    return 2 * columns * sum(min(taps, t + 1) for t in range(steps))


def scattered(spikes: np.ndarray, taps: int) -> int:
    """Return the operations of a filter of spikes (T, columns), by spike."""
    steps = len(spikes)
    reached = np.minimum(steps - np.arange(steps), taps)
    return int(2 * (spikes.sum(axis=1) * reached).sum())
