"""Populations with synapses to themselves on the CPU: one loop over time for each sample.

In a step the spikes of `delay` steps before are walked: each adds its weights to the weighted input. Backward runs from
the last step to the first: a spike gets the errors of the weighted inputs that it has reached. A sample is computed by
one thread, whatever else is computed with it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.neuron.blocks import Block, begin, forward_of
from cuslayer.kernels.neuron.blocks import forward as run_forward
from cuslayer.kernels.recurrent.constants import Geometry, Program, StepProgram
from cuslayer.kernels.recurrent.steps import StepNumbers, backward_step, numbers
from cuslayer.kernels.recurrent.synapses import backward_synapse, receive_errors, send_spikes, synapse
from cuslayer.kernels.spikes.cpu import list_row

# More steps than any stream has: a filter is cut after its last sample.
_ENDLESS = 1 << 62


class Held:
    """The state of a population between calls.

    Attributes:
        steps: the number of steps so far.
        states: (samples, states x neurons).
        inputs: (samples, steps, neurons), a ring buffer of the weighted inputs within the response.
        fired: (samples, steps, neurons), a ring buffer of the spikes within refraction and delay, uint8.
    """

    def __init__(self, x: Array, program: Program, delay: int, steps: int) -> None:
        samples, neurons = x.shape[1], math.prod(x.shape[2:])
        inputs, spikes = program.memory(steps)
        self.steps = 0
        self.states = np.zeros((samples, program.states * neurons), x.dtype)
        self.inputs = np.zeros((samples, inputs + 1, neurons), x.dtype)
        self.fired = np.zeros((samples, max(spikes, delay) + 1, neurons), np.uint8)

    def last_spikes(self, delay: int) -> Array:
        """Return the spikes of the last `delay` steps, (delay, samples, neurons)."""
        at = np.arange(self.steps - delay, self.steps) % self.fired.shape[1]
        return np.ascontiguousarray(self.fired[:, at].swapaxes(0, 1)).view(bool)

    def by_column(self, states: int) -> Array:
        """Return a copy of the states as (states, columns)."""
        samples = len(self.states)
        return self.states.reshape(samples, states, -1).swapaxes(0, 1).reshape(states, -1).copy()


def held(x: Array, program: Program, delay: int) -> Held:
    """Return the state of a population before its first step, for any number of calls."""
    return Held(x, program, delay, _ENDLESS)


@compiled
def _forward(
    first: int,
    last: int,
    start: int,
    x: Any,
    synapse: Any,
    delay: int,
    states: Any,
    inputs: Any,
    fired: Any,
    u: Any,
    more: Any,
    s: Any,
    b: Block,
) -> None:
    width, size, kept = x.shape[2], states.shape[1], b.rows - len(more)
    total, index = np.empty(width, x.dtype), np.empty(width, np.int32)
    memory = np.empty(b.rows * width, x.dtype)
    for n in range(first, last):
        begin(memory, 0, width, b)
        memory[:size] = states[n]
        for k in range(x.shape[0]):
            t = start + k
            given, now = inputs[n, t % inputs.shape[1]], t % fired.shape[1]
            count = list_row((t - delay) % fired.shape[1], fired[n], index, 0)
            send_spikes(total, index, count, synapse)
            for j in range(width):
                given[j] = x[k, n, j] + total[j]
            run_forward(t, t + 1, memory, inputs[n], 0, u[k, n : n + 1], 0, fired[n], 0, width, b)
            s[k, n] = fired[n, now]
            for i in range(len(more)):
                more[i, k, n] = memory[(kept + i) * width : (kept + i + 1) * width]
        states[n] = memory[:size]


def forward(
    x: Array,
    weight: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    before: Held | None = None,
    saves: tuple[str, ...] = (),
) -> tuple[Array, Array, Array]:
    """Return the potential u and the spikes s, (T, N, ...), and what else backward needs, (values, T, N, ...).

    Args:
        x: (T, N, ...), the weighted input from other layers.
        weight: that of a dense layer (neurons, neurons), or of a convolution.
        program: the neurons.
        constants: (constants, K), those of which each neuron has its own.
        delay: the steps after which a spike reaches its own population.
        geometry: that of a convolution.
        before: the state before the first step, which becomes that after the last; by default 0.
        saves: the names of what backward needs besides the potential, as `saved` of the program says.
    """
    steps, samples, neurons = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    endless = before is not None
    before = Held(x, program, delay, steps) if before is None else before
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    more, flat = empty((len(saves), *x.shape), x.dtype), (steps, samples, neurons)
    response = constants if isinstance(program, StepProgram) else program.response
    block = forward_of(x.dtype, _ENDLESS if endless else steps, response, program.spiking, saves)
    given = np.ascontiguousarray(x).reshape(flat), synapse(weight, x.shape[2:], geometry), delay
    written = u.reshape(flat), more.reshape(len(saves), *flat), s.view(np.uint8).reshape(flat)
    held = before.states, before.inputs, before.fired
    parallel_for(_forward, samples, before.steps, *given, *held, *written, block, grain=1)
    before.steps += steps
    return u, s, more


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    more: Any,
    y: Any,
    synapse: Any,
    delay: int,
    errors: int,
    history: int,
    c: Any,
) -> None:
    steps, width = g.shape[0], g.shape[2]
    state, ring = np.empty(errors * width, g.dtype), np.empty((history, width), g.dtype)
    slope, total = np.empty(width, g.dtype), np.empty(width, g.dtype)
    for n in range(first, last):
        state[:] = 0
        ring[:] = 0
        for t in range(steps - 1, -1, -1):
            if t + delay < steps:
                receive_errors(total, y[t + delay, n], synapse)
            else:
                total[:] = 0
            for j in range(width):
                total[j] += g[t, n, j]
            backward_step(t, n, state, ring, slope, total, u, more, y[t, n], c)


def adjoint(
    g: Array,
    u: Array,
    more: Array,
    weight: Array,
    program: Program,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    states: Array | None = None,
) -> Array:
    """Return the gradient of the weighted input, (T, N, ...), of that of the spikes from later layers g.

    A spike gets, besides g, the weights times the gradients of the weighted inputs `delay` steps later.

    Args:
        g: (T, N, ...).
        u: (T, N, ...), the potential.
        more: what else `forward` has returned.
        weight: see `forward`, as all others.
        program: the neurons.
        constants: see `forward`.
        delay: the delay.
        geometry: that of a convolution.
        states: (states, columns), the states before the first step; by default 0.
    """
    steps, samples, neurons = g.shape[0], g.shape[1], math.prod(g.shape[2:])
    y, flat = empty(g.shape, g.dtype), (steps, samples, neurons)
    more = more[: len(program.saved(False))]  # behind these are what gradients of constants need
    c = numbers(program, g.dtype, steps, constants, (samples, neurons), states)
    arrays = np.ascontiguousarray(g).reshape(flat), u.reshape(flat), more.reshape(len(more), *flat), y.reshape(flat)
    size = program.states
    if isinstance(c, StepNumbers):
        size += 1 + len(constants) + len(more) + (len(c.old) + len(more) if len(c.old) else 0)
    sizes = backward_synapse(weight, g.shape[2:], geometry), delay, size, max(program.memory(steps)) + 1
    parallel_for(_adjoint, samples, *arrays, *sizes, c, grain=1)
    return y
