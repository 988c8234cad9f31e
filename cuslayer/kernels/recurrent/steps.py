"""One step back of neurons, for the loops of recurrent populations.

The type of the constants decides, when a loop is compiled, which function runs: that of spike response neurons, or that
of neurons that are written as a step, which calls rows that `neuron/cpu.py` has compiled.

Its arguments: the step and the sample; the memory, 0 after the last step; a ring buffer for filters; a row of scratch
memory; the gradient of the spikes; the potential (T, N, neurons) and what else forward has saved (values, T, N,
neurons); the gradient of the weighted input, which is written; and the constants.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from cuslayer.backend import Array
from cuslayer.jit import compiled
from cuslayer.kernels.constants import Recurrence
from cuslayer.kernels.host.rows import copy
from cuslayer.kernels.host.states import flush, flushed
from cuslayer.kernels.neuron.cpu import BackwardRow, backward_row, call_row, numbers_of
from cuslayer.kernels.recurrent.constants import Program, SrmProgram
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes


class SrmNumbers(NamedTuple):
    """Spike response neurons, in the number type of the arrays.

    Attributes:
        response: the spike response.
        refractory: the refractory response.
        surrogate: the surrogate.
        exact: whether backward includes the path through refraction.
    """

    response: Recurrence
    refractory: Recurrence
    surrogate: SurrogateNumbers
    exact: bool


class StepNumbers(NamedTuple):
    """Neurons that are written as a step, in the number type of the arrays.

    Attributes:
        constants: (constants x neurons,), those of which each neuron has its own, one after the other.
        numbers: the other constants, and the absolute value under which states become 0.
        surrogate: the surrogate.
        old: the states before the first step that backward needs, (states, N, neurons).
        rows: the functions that run a row of neurons back.
        none: an array without elements.
    """

    constants: Array
    numbers: Array
    surrogate: SurrogateNumbers
    old: Array
    rows: BackwardRow
    none: Array


def numbers(
    program: Program, dtype: np.dtype[Any], steps: int, constants: Array, shape: tuple[int, int], before: Array | None
) -> SrmNumbers | StepNumbers:
    """Return the constants of N x neurons for so many steps, and what backward needs of the states before the first."""
    surrogate = surrogate_numbers(program.spiking, dtype)
    if isinstance(program, SrmProgram):
        response, refractory = program.response, program.spiking.refractory
        filters = response.recurrence(dtype, steps), refractory.recurrence(dtype, steps)
        return SrmNumbers(*filters, surrogate, program.exact)
    spiking, neurons = program.spiking, shape[1]
    old = list(spiking.old(False))
    states = np.zeros((len(old), *shape), dtype) if before is None else before[old].reshape(len(old), *shape)
    each = np.tile(constants, neurons // max(constants.shape[1], 1)).reshape(-1)
    rows = backward_row(spiking.kind, spiking.exact, False, dtype)
    return StepNumbers(each, numbers_of(spiking, constants), surrogate, states, rows, np.empty(0, np.uint8))


def backward_step(
    t: int, n: int, memory: Any, ring: Any, slope: Any, grad: Any, u: Any, kept: Any, out: Any, c: Any
) -> None:
    """Run a row of neurons back over the step t; for compiled loops."""
    raise TypeError("runs in compiled loops only")


@compiled
def _backward_srm(
    t: int, n: int, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: SrmNumbers
) -> None:
    f, nu, width = c.response, c.refractory, grad.size
    through = nu.gain if c.exact else grad.dtype.type(0)
    old, old_refractory = ring[(t + f.cut) % len(ring)], ring[(t + nu.cut) % len(ring)]
    row = ring[t % len(ring)]
    slopes(slope, u[t, n], c.surrogate)
    flush(t, state[: 2 * width], f.decay)
    flush(t, state[2 * width :], nu.decay)
    for j in range(width):
        q = f.decay * (state[j] + state[j + width]) - f.cut_q * old[j]
        r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * old_refractory[j]
        value = flushed(slope[j] * (grad[j] + through * r))
        state[j] = q
        state[j + width] = f.decay * state[j + width] + value - f.cut_p * old[j]
        state[j + 2 * width] = r
        state[j + 3 * width] = nu.decay * state[j + 3 * width] + value - nu.cut_p * old_refractory[j]
        row[j] = value
        out[j] = f.gain * q


@compiled
def _backward_kind(
    t: int, n: int, memory: Any, ring: Any, slope: Any, grad: Any, u: Any, kept: Any, out: Any, c: StepNumbers
) -> None:
    """Run neurons that are written as a step back; memory: as `printer.backward_rows` has it."""
    width, old, count = grad.size, len(c.old), len(kept)
    at_old = memory.size - (old + (count if old > 0 else 0)) * width
    at_kept, at_constants = at_old - count * width, at_old - count * width - c.constants.size
    if c.rows.threshold >= 0:
        for j in range(width):
            ring[0, j] = u[t, n, j] - c.constants[c.rows.threshold * width + j]
        slopes(slope, ring[0], c.surrogate)
    else:
        slopes(slope, u[t, n], c.surrogate)
    copy(memory[at_constants - width : at_constants], slope)
    copy(memory[at_constants:at_kept], c.constants)
    for i in range(count):
        copy(memory[at_kept + i * width :][:width], kept[i, t, n])
    if old > 0:
        for i in range(count if t > 0 else 0):
            copy(memory[at_old + (old + i) * width :][:width], kept[i, t - 1, n])
        if t > 0:
            before = u[t - 1, n]
            call_row(c.rows.old_row, memory, before, before, c.none, c.numbers, width, 0)
        else:
            for i in range(old):
                copy(memory[at_old + i * width :][:width], c.old[i, n])
    call_row(c.rows.row, memory, grad, u[t, n], c.none, c.numbers, width, 0)
    copy(out, memory[at_constants - width : at_constants])


@overload(backward_step)
def _backward_step(
    t: Any, n: Any, memory: Any, ring: Any, slope: Any, grad: Any, u: Any, kept: Any, out: Any, c: Any
) -> Any:
    step: Any = _backward_srm if c.instance_class is SrmNumbers else _backward_kind

    def run(t: Any, n: Any, memory: Any, ring: Any, slope: Any, grad: Any, u: Any, kept: Any, out: Any, c: Any) -> Any:
        step(t, n, memory, ring, slope, grad, u, kept, out, c)

    return run
