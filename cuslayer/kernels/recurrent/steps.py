"""One step of neurons of each kind, forward and back, for loops that know only their number of states.

Which function runs is decided by the type of the constants when a loop is compiled. The arithmetic is that of the
kernels of the kind, in its order.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload

from cuslayer.jit import compiled
from cuslayer.kernels.adaptive import cpu as adaptive
from cuslayer.kernels.host.underflow import flush, flushed
from cuslayer.kernels.leaky import cpu as leaky
from cuslayer.kernels.recurrent.constants import AdaptiveNumbers, LeakyNumbers, SrmNumbers
from cuslayer.kernels.srm.cpu import forward_block
from cuslayer.kernels.surrogate.cpu import slopes


def forward_step(t: int, state: Any, inputs: Any, fired: Any, rows: Any, c: Any) -> None:
    """Run a row of neurons for the step t; for compiled loops.

    Args:
        t: the step.
        state: (states x neurons,), 0 before the first step.
        inputs: a ring buffer (steps, neurons) of the weighted inputs, that of step t included.
        fired: a ring buffer (steps, neurons) of the spikes, uint8; that of step t is written.
        rows: (3, neurons): the potential is written to the first, and what else backward may need to the others.
        c: the constants.
    """
    raise TypeError("runs in compiled loops only")


def backward_step(
    t: int, n: int, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: Any
) -> None:
    """Run a row of neurons back over the step t; for compiled loops.

    Args:
        t: the step.
        n: the sample.
        state: (errors x neurons,), 0 after the last step.
        ring: a ring buffer (steps, neurons), 0 after the last step.
        slope: (neurons,), scratch memory.
        grad: (neurons,), the gradient of the spikes.
        u: (neurons,), the potential.
        more: (arrays, T, N, neurons), what else forward has saved.
        out: (neurons,), the gradient of the weighted input, written.
        c: the constants.
    """
    raise TypeError("runs in compiled loops only")


@compiled
def _forward_srm(t: int, state: Any, inputs: Any, fired: Any, rows: Any, c: SrmNumbers) -> None:
    constants = c.theta, c.response, c.refractory
    forward_block(t, t + 1, state, inputs, 0, rows[:1], 0, fired, 0, inputs.shape[1], constants)


@compiled
def _backward_srm(
    t: int, n: int, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: SrmNumbers
) -> None:
    f, nu, width = c.response, c.refractory, grad.size
    through = nu.gain if c.exact else grad.dtype.type(0)
    old, old_refractory = ring[(t + f.cut) % len(ring)], ring[(t + nu.cut) % len(ring)]
    row = ring[t % len(ring)]
    slopes(slope, u, c.surrogate)
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
def _forward_leaky(t: int, state: Any, inputs: Any, fired: Any, rows: Any, c: LeakyNumbers) -> None:
    given, s = inputs[t % len(inputs)], fired[t % len(fired)]
    leaky.forward_row(state, c.keep, given, rows[0], s, c.surrogate.theta, c.reset, c.least)


@compiled
def _backward_leaky(
    t: int, n: int, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: LeakyNumbers
) -> None:
    slopes(slope, u, c.surrogate)
    leaky.backward_row(state, c.keep, slope, grad, u, out, c.surrogate.theta, c.backward_reset, False, c.least)


@compiled
def _forward_adaptive(t: int, state: Any, inputs: Any, fired: Any, rows: Any, c: AdaptiveNumbers) -> None:
    given, s = inputs[t % len(inputs)], fired[t % len(fired)]
    adaptive.forward_row(state, c.keep, given, rows[0], s, rows[1], rows[2], c.adaptation, c.least)


@compiled
def _backward_adaptive(
    t: int, n: int, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: AdaptiveNumbers
) -> None:
    states = 4 * grad.size
    # Without the path through adaptation the threshold's rise is not saved, and is multiplied by nothing.
    risen = more[0, t, n] if len(more) > 0 else u
    slopes(slope, u, c.surrogate)
    adaptive.backward_row(
        state[:states], state[states:], c.keep, slope, grad, u, risen, out, c.adaptation, c.exact, False, c.least
    )


_FORWARD: dict[type, Any] = {SrmNumbers: _forward_srm, LeakyNumbers: _forward_leaky, AdaptiveNumbers: _forward_adaptive}
_BACKWARD: dict[type, Any] = {
    SrmNumbers: _backward_srm,
    LeakyNumbers: _backward_leaky,
    AdaptiveNumbers: _backward_adaptive,
}


@overload(forward_step)
def _forward_step(t: Any, state: Any, inputs: Any, fired: Any, rows: Any, c: Any) -> Any:
    step: Any = _FORWARD[c.instance_class]

    def run(t: Any, state: Any, inputs: Any, fired: Any, rows: Any, c: Any) -> Any:
        step(t, state, inputs, fired, rows, c)

    return run


@overload(backward_step)
def _backward_step(
    t: Any, n: Any, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: Any
) -> Any:
    step: Any = _BACKWARD[c.instance_class]

    def run(t: Any, n: Any, state: Any, ring: Any, slope: Any, grad: Any, u: Any, more: Any, out: Any, c: Any) -> Any:
        step(t, n, state, ring, slope, grad, u, more, out, c)

    return run
