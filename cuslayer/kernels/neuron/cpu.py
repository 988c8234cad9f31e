"""Neurons of every kind over time on the CPU: twins of `neuron_loops.cuh`.

The loops exist once, and are compiled once. They call the functions of a kind for a row of neurons by their addresses.
`printer.py` prints these functions; Numba compiles them and keeps them on disk under a digest of their text.

The loops run over blocks of columns; see `cuslayer/_base/jit.py`. The states, constants and other rows of a block lie
one after the other in one array.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from cuslayer._base.jit import BLOCK, GRAIN, address_of, columns, compiled, inlined, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.host.llvm import call
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.states import at_rest, least_of, load_states, repeat, store_states
from cuslayer.kernels.neuron import printer
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.neuron.kind import Kind
from cuslayer.kernels.surrogate.cpu import slopes

_WORDS = {"_exp": np.exp, "_rint": np.rint, "_trunc": np.trunc, "_carray": vars(numba)["carray"], "__name__": __name__}


@compiled
def call_row(address: int, memory: Any, given: Any, potential: Any, fired: Any, c: Any, width: int, flag: int) -> None:
    """Call a function of `row_functions`; for its arrays see `printer.py`."""
    call(address, (memory, given, potential, fired, c, width, flag))


def row_functions(text: str, dtype: np.dtype[Any]) -> dict[str, int]:
    """Return the addresses of the functions of a text of `printer`, compiled for a number type."""
    found: dict[str, Any] = {}
    exec(compile(text, __file__, "exec"), dict(_WORDS), found)
    digest = hashlib.sha256(f"{text}{dtype}".encode()).hexdigest()[:20]
    pointer: Any = types.CPointer
    real, marks = pointer(numba.from_dtype(dtype)), pointer(types.uint8)
    arguments = real, real, real, marks, real, types.int64, types.int64
    for name, function in found.items():
        function.__qualname__ = f"{name}_{digest}"
        found[name] = address_of(function, types.void(*arguments))
    return found


@cache
def forward_row(kind: Kind, saves: tuple[str, ...], dtype: np.dtype[Any]) -> int:
    """Return the address of the function that runs a row of a kind for a step."""
    return row_functions(printer.forward_row(kind, saves), dtype)["forward_row"]


class BackwardRow(NamedTuple):
    """Functions that run a row of a kind back over a step."""

    row: int  # the address of the function
    old_row: int  # the address of the function that computes the states before the step


@cache
def backward_row(kind: Kind, exact: bool, trained: bool, dtype: np.dtype[Any]) -> BackwardRow:
    """Return the functions that run a row of a kind back over a step."""
    found = row_functions(printer.backward_rows(kind, exact, trained), dtype)
    return BackwardRow(found["backward_row"], found["old_row"])


@compiled
def _forward(
    first: int, last: int, states: Any, inputs: Any, constants: Any, u: Any, s: Any, kept: Any, c: Any, row: int
) -> None:
    most, parts = min(BLOCK, last - first), len(states) + len(constants)
    more = parts + len(kept)
    memory = scratch((more + len(inputs) - 1) * most, u)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        width = high - low
        load_states(memory, states, low, width)
        for i in range(len(constants)):
            at = (len(states) + i) * width
            repeat(memory[at : at + width], constants[i], low)
        for t in range(inputs.shape[1]):
            for i in range(1, len(inputs)):
                place = (more + i - 1) * width
                copy(memory[place : place + width], inputs[i, t, low:high])
            call_row(row, memory, inputs[0, t, low:high], u[t, low:high], s[t, low:high], c, width, 0)
            for i in range(len(kept)):
                place = (parts + i) * width
                copy(kept[i, t, low:high], memory[place : place + width])
        store_states(states, memory, low, width)


def forward(
    inputs: Array, constants: Array, spiking: StepSpiking, states: Array | None = None, saves: tuple[str, ...] = ()
) -> tuple[Array, Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), and values for backward, (values, T, ...).

    Args:
        inputs: (inputs, T, ...), the weighted inputs.
        constants: (constants, K), constants that differ between neurons: column m has number m % K.
        spiking: the kind of neuron and its other constants.
        states: (states, columns), the states before the first step, overwritten by those after the last; by default 0.
        saves: the names of the values for backward: `StepSpiking.saved`.
    """
    shape, dtype = inputs.shape[1:], inputs.dtype
    u, s, kept = empty(shape, dtype), empty(shape, bool), empty((len(saves), *shape), dtype)
    states = at_rest(len(spiking.kind.states), u) if states is None else states
    flat, row = columns(u), forward_row(spiking.kind, saves, dtype)
    given = np.ascontiguousarray(inputs).reshape(len(inputs), *flat.shape)
    written = flat, columns(s.view(np.uint8)), kept.reshape(len(saves), *flat.shape)
    parallel_for(_forward, flat.shape[1], states, given, constants, *written, numbers_of(spiking, u), row, grain=GRAIN)
    return u, s, kept


def numbers_of(spiking: StepSpiking, beside: Array) -> Array:
    """Return the constants of all neurons, and the absolute value below which states become 0, as rows take them."""
    return np.array([*spiking.numbers(beside.dtype), least_of(beside)], beside.dtype)


@inlined
def load_saved(
    memory: Any,
    at: int,
    width: int,
    t: int,
    first: int,
    u: Any,
    kept: Any,
    states: Any,
    old: Any,
    old_row: int,
    c: Any,
    graded: int,
) -> None:
    """Write the values for backward over the step t, except the potential, to the memory's parts from `at` on.

    For `width` columns from the first on, these are the saved values of the step; with numbers of old states, also the
    old states and the saved values of the step before.
    """
    for i in range(len(kept)):
        copy(memory[(at + i) * width : (at + i + 1) * width], kept[i, t, first : first + width])
    at_old = at + len(kept)
    at_earlier = at_old + len(old)
    if len(old) > 0 and t > 0:
        for i in range(len(kept)):
            to = (at_earlier + i) * width
            copy(memory[to : to + width], kept[i, t - 1, first : first + width])
        before = u[t - 1, first : first + width]
        call_row(old_row, memory, before, before, np.empty(0, np.uint8), c, width, graded)
    elif len(old) > 0:
        for i in range(len(old)):
            copy(memory[(at_old + i) * width : (at_old + i + 1) * width], states[old[i], first : first + width])


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    kept: Any,
    states: Any,
    old: Any,
    constants: Any,
    later: Any,
    y: Any,
    sums: Any,
    surrogate: SurrogateNumbers,
    c: Any,
    rows_of: BackwardRow,
    graded: int,
) -> None:
    most, count = min(BLOCK, last - first), len(states)
    # See `printer.backward_rows`.
    at_constants = count + 1
    at_kept = at_constants + len(constants)
    at_sums = at_kept + len(kept) + (len(old) + len(kept) if len(old) > 0 else 0)
    at_more = at_sums + len(sums)
    memory = scratch((at_more + len(y) - 1) * most, g)
    none = np.empty(0, np.uint8)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        width = high - low
        memory[:] = 0
        load_states(memory, later, low, width)
        slope = memory[count * width : at_constants * width]
        for i in range(len(constants)):
            at = (at_constants + i) * width
            repeat(memory[at : at + width], constants[i], low)
        for t in range(g.shape[0] - 1, -1, -1):
            grads, potential = g[t, low:high], u[t, low:high]
            slopes(slope, potential, surrogate)
            load_saved(memory, at_kept, width, t, low, u, kept, states, old, rows_of.old_row, c, graded)
            call_row(rows_of.row, memory, grads, potential, none, c, width, graded)
            copy(y[0, t, low:high], slope)
            for i in range(1, len(y)):
                at = (at_more + i - 1) * width
                copy(y[i, t, low:high], memory[at : at + width])
        store_states(later, memory, low, width)
        store_states(sums, memory[at_sums * width :], low, width)


def adjoint(
    g: Array,
    u: Array,
    kept: Array,
    constants: Array,
    spiking: StepSpiking,
    states: Array | None = None,
    trained: bool = False,
    later: Array | None = None,
) -> tuple[Array, Array]:
    """Return the gradients of the inputs, (inputs, T, ...), and of the constants by column, (constants, columns).

    Args:
        g: (T, ...), the gradient of the spikes.
        u: the potential.
        kept: the values that `forward` has saved.
        constants: see `forward`.
        spiking: the kind of neuron, its other constants, and the surrogate.
        states: the states before the first step; by default 0.
        trained: whether to compute the gradients of the constants; else there are none.
        later: the gradients of the states after the last step, overwritten by those before the first; by default 0.
    """
    flat, kind = columns(np.ascontiguousarray(g)), spiking.kind
    y = empty((len(kind.inputs), *g.shape), g.dtype)
    sums = np.empty((len(kind.columns) if trained else 0, flat.shape[1]), g.dtype)
    states = at_rest(len(kind.states), g) if states is None else states
    later = at_rest(len(kind.states), g) if later is None else later
    old = np.array(spiking.old(trained), np.int64)
    arrays = flat, columns(np.ascontiguousarray(u)), kept.reshape(len(kept), *flat.shape), states, old, constants
    written = later, y.reshape(len(y), *flat.shape), sums
    rows = backward_row(kind, spiking.exact, trained, g.dtype)
    flags = surrogate_numbers(spiking, g.dtype), numbers_of(spiking, g), rows, int(spiking.graded)
    parallel_for(_adjoint, flat.shape[1], *arrays, *written, *flags, grain=GRAIN)
    return y, sums
