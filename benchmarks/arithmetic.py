"""The multiplications and additions of CPU kernels, and how many the machine does in a second, for kernels.py.

The exponential of surrogate gradients counts as what the machine could multiply and add in the time of one, measured.

A kernel's operations are those of its formula: one multiplication and one addition for each tap, weight or spike that
it cannot leave out. A kernel that needs fewer, as Winograd's convolution does, may reach more than the whole.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.exponential import exp_of_negative
from cuslayer.kernels.host.products import add_product
from cuslayer.kernels.host.vectors import REGISTER_BYTES

# Independent sums of the loop that measures the machine, in vectors: enough to fill the pipelines, few enough that none
# leaves the registers.
_VECTORS = 24 if REGISTER_BYTES == 64 else 12
_LANES = REGISTER_BYTES // 4
_SUMS = _VECTORS * _LANES
_ROUNDS = 200_000
# Of the fixed point of Loihi's neuron, for a step: the halves of two states, saturation, refraction and the spike.
LOIHI = 36


def _rounds_of(typing_context: Any, sums: Any, factor: Any, rounds: Any) -> Any:
    """Multiply and add each of the sums so many times, in registers: from arrays, stores would take longer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, index = ir.VectorType(ir.FloatType(), _LANES), ir.IntType(64)
        data = context.make_array(sums)(context, builder, arguments[0]).data
        places = [builder.gep(data, [ir.Constant(index, n * _LANES)]) for n in range(_VECTORS)]
        places = [builder.bitcast(place, vector.as_pointer()) for place in places]
        before = [builder.load(place, align=4) for place in places]
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], ir.Constant(index, 0))
        places_of_first = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), None)
        each = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), places_of_first)
        start, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        turn, totals = builder.phi(index), [builder.phi(vector) for _ in before]
        after = [add_product(builder, f"v{_LANES}f32", total, each, each) for total in totals]
        following = builder.add(turn, ir.Constant(index, 1))
        for phi, value, other in zip(
            [turn, *totals], [ir.Constant(index, 0), *before], [following, *after], strict=True
        ):
            phi.add_incoming(value, start)
            phi.add_incoming(other, loop)
        builder.cbranch(builder.icmp_signed("<", following, arguments[2]), loop, done)
        builder.position_at_end(done)
        for place, value in zip(places, after, strict=True):
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return types.none(sums, types.float32, types.int64), generate


_multiply_and_add_all: Any = intrinsic(_rounds_of)


@compiled
def _multiply_and_add(first: int, last: int, sums: np.ndarray, factor: np.float32, rounds: int) -> None:
    for part in range(first, last):
        _multiply_and_add_all(sums[part], factor, rounds)


@compiled
def _exponentials(first: int, last: int, out: np.ndarray, values: np.ndarray, rounds: int) -> None:
    for part in range(first, last):
        row = out[part]
        for _ in range(rounds):
            for j in range(values.size):
                row[j] = exp_of_negative(-abs(values[j]))


def exponential(most: float, parts: int = 16, rounds: int = _ROUNDS // 16, repeats: int = 5) -> float:
    """Return how many operations, at `most` a second, take as long as a float32 exponential, on all cores."""
    values = np.random.default_rng(0).standard_normal(1024, np.float32) * 10
    out, times = np.empty((parts, values.size), np.float32), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        parallel_for(_exponentials, parts, out, values, rounds // parts, grain=1)
        times.append(time.perf_counter() - start)
    return most * float(np.median(times[1:])) / (values.size * parts * (rounds // parts))


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
