"""One step back of neurons, for the loops of recurrent populations.

The type of the constants decides, when a loop is compiled, which function runs: that of spike response neurons, or that
of neurons that are written as a step, which calls rows that `neuron/cpu.py` has compiled.

Its arguments: the step and the sample; the memory, 0 after the last step; a ring buffer for filters; a row of scratch
memory; the gradient of the spikes; the potential (T, N, neurons) and what else forward has saved (values, T, N,
neurons); the gradient of the weighted input, which is written; and the constants.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload

from cuslayer.jit import compiled
from cuslayer.kernels.host.tiles import copy
from cuslayer.kernels.host.underflow import flush, flushed
from cuslayer.kernels.neuron.cpu import call_row
from cuslayer.kernels.recurrent.constants import SrmNumbers, StepNumbers
from cuslayer.kernels.surrogate.cpu import slopes


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
