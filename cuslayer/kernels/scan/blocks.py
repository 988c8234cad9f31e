"""Blocks of neurons on the CPU: the scan over time that every pass runs, of any kind of neuron.

A block is some neighbouring columns, for a range of time. `print_numba.py` prints the functions of a kind from its
step; Numba compiles them and keeps them on disk under a digest of their text. A pass calls a function by its address,
so the pass is compiled once for all kinds.
"""

from __future__ import annotations

import hashlib
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from cuslayer._base.jit import address_of, compiled, inlined
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import surrogate_numbers
from cuslayer.kernels.host.llvm import call, multiply_add, whole_registers
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.numbers import exp_of_negative, exp_of_step
from cuslayer.kernels.host.rows import LANES, copy
from cuslayer.kernels.host.states import repeat
from cuslayer.kernels.step import print_numba
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.kind import Curve, Kind

# More steps than any stream has: no delayed value is omitted.
ENDLESS = 1 << 62

# What the printed functions use.
_WORDS: dict[str, Any] = {
    "__name__": __name__,
    "_carray": vars(numba)["carray"],
    "_exp": exp_of_step,
    "_exp_of_negative": exp_of_negative,
    "_inlined": inlined,
    "_multiply_add": multiply_add,
    "_rint": np.rint,
    "_trunc": np.trunc,
    "_whole_registers": whole_registers,
    "_zeros": np.zeros,
}


class Block(NamedTuple):
    """A kind of neuron for a pass, forward or backward."""

    address: int  # the function that runs a block
    states: int  # the numbers of a neuron that go from step to step
    rows: int  # the numbers of a neuron in the memory of a block: the states first, then others
    at: int  # the first row that is a constant of the neuron
    history: int  # the steps before a step whose inputs the function reads; backward, the rows of its ring buffer
    spikes: int  # the steps before a step whose spikes it reads
    numbers: Array  # the constants of all neurons; backward, then of the surrogate
    integers: Array  # numbers of steps
    constants: Array  # (constants, K), constants that differ between neurons: column m has number m % K
    old_row: int  # backward, the address of the function that computes the states before a step
    graded: int  # backward, whether a spike carries the potential


class Held(NamedTuple):
    """States that blocks of neurons keep from one call to the next; without elements if each call begins anew."""

    memory: Array  # (blocks, rows width), the memory of each block
    inputs: Array  # (blocks, steps, width), a ring buffer of the inputs that later steps read
    fired: Array  # (blocks, steps, width), a ring buffer of the spikes that later steps read, uint8


def held_by(neurons: Block, count: int, width: int, chunk: int) -> Held:
    """Return the states of `count` blocks of a width, for any number of chunks of `chunk` steps; none for a width of 0.

    Ring buffers have a multiple of 128 steps: in a call that begins at a multiple, a step has the same row in the call
    and in the ring buffer. Rows before the first step are not read.
    """
    dtype = neurons.numbers.dtype
    rows = [-(-(steps + chunk) // 128) * 128 for steps in (neurons.history, neurons.spikes)]
    count = count if width else 0
    memory = np.empty((count, neurons.rows * width), dtype)
    return Held(memory, empty((count, rows[0], width), dtype), empty((count, rows[1], width), np.uint8))


def forward_of(dtype: DType, steps: int, constants: Array, spiking: StepSpiking, saves: tuple[str, ...] = ()) -> Block:
    """Return the forward block of neurons for a number of steps.

    Args:
        dtype: the number type.
        steps: the number of steps.
        constants: (constants, K), the constants that differ between neurons.
        spiking: the kind of neuron and its other constants.
        saves: the values for backward, which rows of the memory after the constants have after a step.
    """
    return _forward_block(dtype, steps, spiking, saves)._replace(constants=constants)


def backward_of(dtype: DType, steps: int, constants: Array, spiking: StepSpiking, trained: bool = False) -> Block:
    """Return the backward block of neurons; see `forward_of`.

    Rows after the constants have the values of `load_saved`, if gradients need more than the potential, and if
    constants are `trained` the sums of their gradients.
    """
    return _backward_block(dtype, steps, spiking, trained)._replace(constants=constants)


@lru_cache(256)
def _forward_block(dtype: DType, steps: int, spiking: StepSpiking, saves: tuple[str, ...]) -> Block:
    """Return the forward block without the constants that differ between neurons."""
    kind = spiking.kind
    states = len(kind.states)
    lags = spiking.lags_within(steps)
    return Block(
        address=_forward_address(kind, saves, dtype),
        states=states,
        rows=states + len(kind.columns) + len(saves) + len(kind.inputs) - 1,
        at=states,
        history=max((lags[past.lag] for past in kind.past if past.of != kind.spike), default=0),
        spikes=max((lags[past.lag] for past in kind.past if past.of == kind.spike), default=0),
        numbers=spiking.rounded(dtype),
        integers=np.array([*lags.values()], np.int64),
        constants=np.empty((0, 1), dtype),
        old_row=0,
        graded=0,
    )


@lru_cache(256)
def _backward_block(dtype: DType, steps: int, spiking: StepSpiking, trained: bool) -> Block:
    """Return the backward block without the constants that differ between neurons."""
    kind = spiking.kind
    surrogate = surrogate_numbers(spiking, dtype).values()
    lags = spiking.lags_within(steps)
    adjoint = spiking.adjoint(trained)
    values = print_numba.ring_values(kind, spiking.exact, trained)
    longest = max((lags[value.lag] for value in adjoint.past), default=0)
    columns = len(kind.columns)
    saved = len(spiking.saved(trained))
    old = len(adjoint.old)
    states = len(kind.states)
    addresses = _backward_addresses(kind, spiking.exact, trained, spiking.shape.curve, dtype)
    return Block(
        address=addresses[0],
        states=states,
        rows=states + columns * (1 + trained) + saved + (old + saved if old else 0) + len(kind.inputs) - 1,
        at=states,
        history=len(values) * (longest + 1) if longest else len(values),
        spikes=0,
        numbers=np.array([*spiking.rounded(dtype), *surrogate], dtype),
        integers=np.array([*lags.values()], np.int64),
        constants=np.empty((0, 1), dtype),
        old_row=addresses[-1],
        graded=int(spiking.graded),
    )


def addresses_of(text: str, dtype: DType, signatures: dict[str, Any]) -> tuple[int, ...]:
    """Return the addresses of the functions with a signature of a text of `print_numba`, compiled for a number type."""
    words = _WORDS | {"_real": dtype.type}
    exec(compile(text, __file__, "exec"), words)
    digest = hashlib.sha256(f"{text}{dtype}".encode()).hexdigest()[:20]
    addresses = []
    for name in (name for name in signatures if name in words):
        words[name].__qualname__ = f"{name}_{digest}"
        addresses.append(address_of(words[name], signatures[name]))
    return tuple(addresses)


def _signatures(dtype: DType) -> dict[str, Any]:
    pointer: Any = types.CPointer
    real = pointer(numba.from_dtype(dtype))
    number = types.int64
    array = (real, number, number, number)
    spikes = (pointer(types.uint8), number, number, number)
    end = (number, real, pointer(number))
    return {
        "forward": types.void(number, number, real, *array, *array, *spikes, *end),
        "backward": types.void(number, number, real, *array, *array, *array, *array, *end, number),
        "old_row": types.void(real, real, real, number),
    }


@cache
def _forward_address(kind: Kind, saves: tuple[str, ...], dtype: DType) -> int:
    return addresses_of(print_numba.forward_scan(kind, saves), dtype, _signatures(dtype))[0]


@cache
def _backward_addresses(kind: Kind, exact: bool, trained: bool, curve: Curve, dtype: DType) -> tuple[int, ...]:
    return addresses_of(print_numba.backward_scan(kind, exact, trained, curve), dtype, _signatures(dtype))


@compiled
def padded(width: int) -> int:
    """Return the distance of the rows of a buffer for a block of `width` columns.

    An odd number of cache lines: at distances of a power of two, rows evict each other from a cache.
    """
    return (-(-width // LANES) | 1) * LANES


@compiled
def begin(memory: Array, column: int, width: int, b: Block) -> None:
    """Set the memory of a block of `width` neurons, from `column` on, to the states before the first step."""
    memory[: b.rows * width] = 0
    for i in range(len(b.constants)):
        at = (b.at + i) * width
        repeat(memory[at : at + width], b.constants[i], column)


@inlined
def forward(
    first: int,
    last: int,
    memory: Array,
    x: Array,
    x_at: int,
    u: Array,
    u_at: int,
    s: Array,
    s_at: int,
    width: int,
    b: Block,
) -> None:
    """Run a block of neurons over the steps [first, last).

    `begin` sets the memory before the first step. The inputs, potentials and spikes are `width` columns of x, u and s,
    from x_at, u_at and s_at on. Step t is row t modulo the number of rows: x and s may be ring buffers with `b.history`
    and `b.spikes` steps more.
    """
    call(b.address, (first, last, memory, x, x_at, u, u_at, s, s_at, width, b.numbers, b.integers))


@inlined
def backward(
    first: int,
    last: int,
    memory: Any,
    ring: Any,
    ring_at: int,
    g: Any,
    g_at: int,
    u: Any,
    u_at: int,
    y: Any,
    y_at: int,
    width: int,
    b: Block,
) -> None:
    """Run a block of neurons backward over the steps [first, last).

    `begin` sets the memory after the last step. The ring buffer, the gradients of the spikes g, the potentials u and
    the gradients of the inputs y are `width` columns each, from ring_at, g_at, u_at and y_at on. Step t is row t modulo
    the number of rows. The ring buffer (`b.history`, width or more), 0 after the last step, has values of later steps.
    """
    call(
        b.address,
        (first, last, memory, ring, ring_at, g, g_at, u, u_at, y, y_at, width, b.numbers, b.integers, b.graded),
    )


@inlined
def load_saved(
    memory: Any, width: int, t: int, first: int, u: Any, saved: Any, states: Any, old: Any, b: Block
) -> None:
    """Write the values for backward over the step t, except the potential, to the memory's parts after the constants.

    For `width` columns from the first on, these are the saved values of the step; with numbers of old states, also the
    old states and the saved values of the step before.
    """
    at = b.at + len(b.constants)
    for i in range(len(saved)):
        copy(memory[(at + i) * width : (at + i + 1) * width], saved[i, t, first : first + width])
    at_old = at + len(saved)
    at_earlier = at_old + len(old)
    if len(old) and t > 0:
        for i in range(len(saved)):
            place = (at_earlier + i) * width
            copy(memory[place : place + width], saved[i, t - 1, first : first + width])
        call(b.old_row, (memory, u[t - 1, first : first + width], b.numbers, width))
    elif len(old):
        for i in range(len(old)):
            copy(memory[(at_old + i) * width : (at_old + i + 1) * width], states[old[i], first : first + width])
