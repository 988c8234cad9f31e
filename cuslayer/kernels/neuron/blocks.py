"""Blocks of neurons of any kind on the CPU, for the passes that fuse a layer with its neurons.

A block is some neighbouring columns, for a range of time. A pass calls the function of a kind by its address, so the
pass is compiled once for all kinds. Spike response neurons have their own functions here, and one function runs the
rows of every neuron written as a step.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from cuslayer._base.jit import address_of, compiled, inlined
from cuslayer.backend import Array
from cuslayer.kernels.constants import Recurrence, Spiking, SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.host.llvm import call
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy
from cuslayer.kernels.host.states import repeat
from cuslayer.kernels.neuron.cpu import backward_row, call_row, forward_row, numbers_of
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.srm.cpu import backward_block, filters, forward_block, ring_rows
from cuslayer.kernels.surrogate.cpu import slopes

# More steps than any stream has: a filter is cut after its last sample.
ENDLESS = 1 << 62


class Block(NamedTuple):
    """A kind of neuron for a pass, forward or backward."""

    address: int  # the function that runs a block
    states: int  # the numbers of a neuron that go from step to step
    rows: int  # the numbers of a neuron in the memory of a block: the states first, then others
    at: int  # the first row that is a constant of the neuron
    history: int  # the steps before a step (backward: after it) whose inputs (errors) the function reads
    spikes: int  # the steps before a step whose spikes it reads
    numbers: Array  # the constants of all neurons
    places: Array  # integers for the function
    constants: Array  # (constants, K), constants that differ between neurons: column m has number m % K


class Held(NamedTuple):
    """States that blocks of neurons keep from one call to the next; without elements if each call begins anew."""

    memory: Array  # (blocks, rows width), the memory of each block
    inputs: Array  # (blocks, steps, width), a ring buffer of the inputs within the response
    fired: Array  # (blocks, steps, width), a ring buffer of the spikes within refraction, uint8


def held_by(neurons: Block, count: int, width: int, chunk: int) -> Held:
    """Return the states of `count` blocks of a width, for any number of chunks of so many steps; none for a width of 0.

    Ring buffers have a multiple of 128 steps: in a call that begins at a multiple, a step has the same row in the call
    and in the ring buffer. Rows before the first step are not read.
    """
    dtype, rows = neurons.numbers.dtype, [-(-(cut + chunk) // 128) * 128 for cut in (neurons.history, neurons.spikes)]
    count = count if width else 0
    memory = np.empty((count, neurons.rows * width), dtype)
    return Held(memory, empty((count, rows[0], width), dtype), empty((count, rows[1], width), np.uint8))


def forward_of(
    dtype: np.dtype[Any], steps: int, response: Any, spiking: Spiking | StepSpiking, saves: tuple[str, ...] = ()
) -> Block:
    """Return the forward block of neurons for so many steps.

    Args:
        dtype: the number type.
        steps: the number of steps.
        response: the spike response; for neurons written as a step, their constants (constants, K).
        spiking: the neurons' other constants.
        saves: the values for backward, which rows at the end of the memory have after a step.
    """
    none = np.empty((0, 1), dtype)
    if isinstance(spiking, StepSpiking):
        states, row = len(spiking.kind.states), forward_row(spiking.kind, saves, dtype)
        constants, numbers = np.asarray(response, dtype), numbers_of(spiking, none)
        rows = states + len(constants) + len(saves)
        places = np.array([row, rows], np.int64)
        return Block(_functions(dtype)[1], states, rows, states, 0, 0, numbers, places, constants)
    f, nu = filters(dtype, steps, response, spiking)
    numbers = np.array([spiking.surrogate(dtype)[0], *_numbers(f), *_numbers(nu)], dtype)
    places = np.array([f.cut, nu.cut], np.int64)
    return Block(_functions(dtype)[0], 4, 4, 4, f.cut, nu.cut, numbers, places, none)


def backward_of(
    dtype: np.dtype[Any],
    steps: int,
    response: Any,
    spiking: Spiking | StepSpiking,
    exact: bool = False,
    trained: bool = False,
) -> Block:
    """Return the backward block of neurons; see `forward_of`.

    For neurons written as a step, rows after the constants have the values of `load_saved`, if gradients need more than
    the potential, and if constants are `trained` the sums of their gradients. `exact`: whether gradients of spike
    response neurons go through refraction.
    """
    none = np.empty((0, 1), dtype)
    surrogate = surrogate_numbers(spiking, dtype)
    if isinstance(spiking, StepSpiking):
        states, found = len(spiking.kind.states), backward_row(spiking.kind, spiking.exact, trained, dtype)
        constants, own = np.asarray(response, dtype), numbers_of(spiking, none)
        numbers = np.array([*own, *surrogate[1:]], dtype)
        kept, old = len(spiking.saved(trained)), len(spiking.old(trained))
        rows = states + 1 + len(constants) * (1 + trained) + kept + (old + kept if old else 0)
        places = np.array([found.row, rows, states, len(own), surrogate.code, found.old_row], np.int64)
        return Block(_functions(dtype)[5], states, rows, states + 1, 0, 0, numbers, places, constants)
    f, nu = filters(dtype, steps, response, spiking)
    function = 4 if surrogate.code else 3 if exact else 2
    if surrogate.code and not exact:
        nu = nu._replace(gain=dtype.type(0))
    numbers = np.array([*surrogate[1:], *_numbers(f), *_numbers(nu)], dtype)
    states, rows = (2, max(f.cut, 1)) if function == 2 else (4, ring_rows(f, nu))
    places = np.array([surrogate.code, f.cut, nu.cut], np.int64)
    return Block(_functions(dtype)[function], states, states, states, rows, 0, numbers, places, none)


def _numbers(f: Recurrence) -> tuple[Any, Any, Any, Any]:
    return f.decay, f.gain, f.cut_p, f.cut_q


@compiled
def begin(memory: Any, column: int, width: int, b: Block) -> None:
    """Set the memory of a block of `width` neurons, from `column` on, to the states before the first step."""
    memory[: b.rows * width] = 0
    for i in range(len(b.constants)):
        at = (b.at + i) * width
        repeat(memory[at : at + width], b.constants[i], column)


@compiled
def _recurrence(numbers: Any, at: int, cut: int) -> Recurrence:
    return Recurrence(numbers[at], numbers[at + 1], cut, numbers[at + 2], numbers[at + 3])


_array: Any = vars(numba)["carray"]
# The functions of blocks. Each array of rows comes as its address, its number of rows, the distance of two rows, and
# the first of the block's columns.


def _srm_forward(first, last, memory, x, xs, xw, x_at, u, us, uw, u_at, s, ss, sw, s_at, width, numbers, places):  # type: ignore[no-untyped-def]
    n, p = _array(numbers, (9,)), _array(places, (2,))
    rows, potential, fired = _array(x, (xs, xw)), _array(u, (us, uw)), _array(s, (ss, sw))
    state = _array(memory, (4 * width,))
    f, nu = _recurrence(n, 1, p[0]), _recurrence(n, 5, p[1])
    forward_block(first, last, state, rows, x_at, potential, u_at, fired, s_at, width, n[0], f, nu)


def _step_forward(first, last, memory, x, xs, xw, x_at, u, us, uw, u_at, s, ss, sw, s_at, width, numbers, places):  # type: ignore[no-untyped-def]
    p = _array(places, (2,))
    n, own = _array(numbers, (1,)), _array(memory, (p[1] * width,))
    rows, potential, fired = _array(x, (xs, xw)), _array(u, (us, uw)), _array(s, (ss, sw))
    for t in range(first, last):
        given = rows[t % xs, x_at : x_at + width]
        written = potential[t % us, u_at : u_at + width]
        call_row(p[0], own, given, written, fired[t % ss, s_at : s_at + width], n, width, 0)


@compiled
def _srm_rows(memory, width, ring, rs, rw, g, gs, gw, u, us, uw, y, ys, yw):  # type: ignore[no-untyped-def]
    state, errors = _array(memory, (4 * width,)), _array(ring, (rs, rw))
    return state, errors, _array(g, (gs, gw)), _array(u, (us, uw)), _array(y, (ys, yw))


@compiled
def _srm_constants(numbers, places):  # type: ignore[no-untyped-def]
    n, p = _array(numbers, (13,)), _array(places, (3,))
    return SurrogateNumbers(p[0], n[0], n[1], n[2], n[3], n[4]), _recurrence(n, 5, p[1]), _recurrence(n, 9, p[2])


def _srm_backward(  # type: ignore[no-untyped-def]
    first, last, memory, ring, rs, rw, g, gs, gw, g_at, u, us, uw, u_at, y, ys, yw, y_at, width, numbers, places
):
    rows = _srm_rows(memory, width, ring, rs, rw, g, gs, gw, u, us, uw, y, ys, yw)
    state, errors, grads, potential, out = rows
    surrogate, f, _ = _srm_constants(numbers, places)
    backward_block(first, last, state, errors, grads, g_at, potential, u_at, out, y_at, width, surrogate, f, None, None)


def _srm_backward_exact(  # type: ignore[no-untyped-def]
    first, last, memory, ring, rs, rw, g, gs, gw, g_at, u, us, uw, u_at, y, ys, yw, y_at, width, numbers, places
):
    rows = _srm_rows(memory, width, ring, rs, rw, g, gs, gw, u, us, uw, y, ys, yw)
    state, errors, grads, potential, out = rows
    surrogate, f, nu = _srm_constants(numbers, places)
    backward_block(first, last, state, errors, grads, g_at, potential, u_at, out, y_at, width, surrogate, f, nu, None)


def _srm_backward_shaped(  # type: ignore[no-untyped-def]
    first, last, memory, ring, rs, rw, g, gs, gw, g_at, u, us, uw, u_at, y, ys, yw, y_at, width, numbers, places
):
    rows = _srm_rows(memory, width, ring, rs, rw, g, gs, gw, u, us, uw, y, ys, yw)
    state, errors, grads, potential, out = rows
    surrogate, f, nu = _srm_constants(numbers, places)
    backward_block(first, last, state, errors, grads, g_at, potential, u_at, out, y_at, width, surrogate, f, nu, True)


def _step_backward(  # type: ignore[no-untyped-def]
    first, last, memory, ring, rs, rw, g, gs, gw, g_at, u, us, uw, u_at, y, ys, yw, y_at, width, numbers, places
):
    p = _array(places, (6,))
    row, states, own, code = p[0], p[2], p[3], p[4]
    n, cells = _array(numbers, (own + 5,)), _array(memory, (p[1] * width,))
    surrogate = SurrogateNumbers(code, n[own], n[own + 1], n[own + 2], n[own + 3], n[own + 4])
    grads, potential, out = _array(g, (gs, gw)), _array(u, (us, uw)), _array(y, (ys, yw))
    slope = cells[states * width : (states + 1) * width]
    none = np.empty(0, np.uint8)
    for t in range(last - 1, first - 1, -1):
        at = potential[t % us, u_at : u_at + width]
        slopes(slope, at, surrogate)
        call_row(row, cells, grads[t % gs, g_at : g_at + width], at, none, n, width, 0)
        copy(out[t % ys, y_at : y_at + width], slope)


@cache
def _functions(dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the addresses of the functions above for a number type."""
    pointer: Any = types.CPointer
    real, number = pointer(types.float32 if dtype == np.float32 else types.float64), types.int64
    array, marks = (real, number, number, number), (pointer(types.uint8), number, number, number)
    ends = (number, real, pointer(number))
    forward = types.void(number, number, real, *array, *array, *marks, *ends)
    backward = types.void(number, number, real, *array[:3], *array, *array, *array, *ends)
    back = _srm_backward, _srm_backward_exact, _srm_backward_shaped, _step_backward
    return *(address_of(e, forward) for e in (_srm_forward, _step_forward)), *(address_of(e, backward) for e in back)


@inlined
def forward(
    first: int, last: int, memory: Any, x: Any, x_at: int, u: Any, u_at: int, s: Any, s_at: int, width: int, b: Block
) -> None:
    """Run a block of neurons over the steps [first, last).

    `begin` sets the memory before the first step. The inputs, potentials and spikes are `width` columns of x, u and s,
    from x_at, u_at and s_at on. Step t is row t modulo the number of rows: x and s may be ring buffers with `b.history`
    and `b.spikes` steps more.
    """
    call(b.address, (first, last, memory, x, x_at, u, u_at, s, s_at, width, b.numbers, b.places))


@inlined
def backward(
    first: int,
    last: int,
    memory: Any,
    ring: Any,
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

    `begin` sets the memory after the last step. The gradients of the spikes g, the potentials u and the gradients of
    the inputs y are `width` columns each, from g_at, u_at and y_at on. Step t is row t modulo the number of rows. The
    ring buffer (`b.history` or more, width or more), 0 after the last step, is for errors within the filter.
    """
    call(b.address, (first, last, memory, ring, g, g_at, u, u_at, y, y_at, width, b.numbers, b.places))
