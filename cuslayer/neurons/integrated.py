"""The parts of a potential whose step is not linear: what each input and each earlier spike adds to it.

With its spikes held as they were, a neuron's potential is a function of its input alone. Its parts are integrated
gradients: the mean derivative on the straight line from no input to the input, times the input. They and the potential
without input sum to the potential. That one is divided by leaving out the spikes, the earliest first; what stays
without spikes is the rest. Where the step is linear, these are the terms of its sum.

Away from its own course a neuron may leave all bounds: with v^2 in the step, if no spike is held where it would fire.
Then the steps are split in two. Of the later ones the states between are inputs too, as distances from the start; their
parts are divided among the earlier steps in turn. At last each step is alone, and nothing leaves its bounds.

Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", arXiv 1703.01365.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.step.kind import GRAD, Kind
from cuslayer.kernels.step.smooth import evaluated
from cuslayer.neurons.held import Held, held

# Gauss-Legendre points of a part of the line, exact for polynomials of degree 9.
NODES = 5
# A line has 1, 8 or 64 such parts.
MOST_PARTS = 64
# Accepted remainder, as a share of what is divided: of the line, and of rounding in the neuron's own type.
FINE = 1e-5
# The parts of several steps may be so much larger than what is divided.
MOST_SIZE = 10.0


class PotentialParts(NamedTuple):
    """What a neuron's input and its spikes add to its potential at a step, or to a weighted sum of its potentials.

    Attributes:
        of_input: the contribution of a weighted input of 1 at each step, (T,) float64.
        of_spikes: the contribution of the neuron's spike at each step, (T,) float64.
        rest: what is there without input and spikes.
    """

    of_input: Array
    of_spikes: Array
    rest: float = 0.0


class _Course:
    """The course of a neuron, and runs of its step that leave it."""

    def __init__(self, step: Held, constants: Mapping[str, Any], inputs: Array, spikes: Array) -> None:
        self.step = step
        self.spikes = spikes  # (spikes, T)
        self.start = np.array(step.kind.start)
        self.derivatives = [step.derivative(output) for output in step.outputs]
        # The course itself is rounded as the neuron rounds: near an unstable point, rounding grows.
        self.constants = {name: inputs.dtype.type(value) for name, value in constants.items()}
        variables, outputs = self.run(self.start[:, None].astype(inputs.dtype), inputs[..., None], spikes[..., None])
        # The states (states, T) before each step, and all outputs (outputs, T).
        self.states = variables[: len(self.start), :, 0].astype(np.float64)
        self.outputs = outputs[..., 0].astype(np.float64)
        self.inputs = inputs.astype(np.float64)  # (inputs, T)
        self.constants = {name: np.float64(value) for name, value in self.constants.items()}

    def run(self, state: Array, inputs: Array, spikes: Array) -> tuple[Array, Array]:
        """Return the variables and the outputs, (names, steps, runs), of runs from a state (states, runs) on."""
        runs = max(state.shape[1], inputs.shape[2], spikes.shape[2])
        variables = np.zeros((len(self.step.variables), inputs.shape[1], runs), inputs.dtype)
        outputs = np.zeros((len(self.step.outputs), inputs.shape[1], runs), inputs.dtype)
        variables[len(state) :] = inputs
        for t in range(inputs.shape[1]):
            variables[: len(state), t] = state
            known = self.values(variables[:, t], spikes[:, t])
            for of_output, output in zip(outputs, self.step.outputs, strict=True):
                of_output[t] = known[output]
            state = outputs[:-1, t]
        return variables, outputs

    def values(self, variables: Array, spikes: Array) -> dict[str, Any]:
        """Return the values of all names of a step."""
        known = dict(self.constants)
        known.update(zip(self.step.variables, variables, strict=True))
        known.update(zip((spike for spike, _ in self.step.spikes), spikes, strict=True))
        for target, value in self.step.kind.body:
            known[target] = evaluated(self.step.kind, value, known)
        return known

    def slopes(self, variables: Array, spikes: Array) -> Array:
        """Return the derivatives (outputs, variables, ...) of a step."""
        known = self.values(variables, spikes)
        known[GRAD] = 1.0
        slopes = np.zeros((len(self.step.outputs), *variables.shape))
        for of_output, (body, results) in zip(slopes, self.derivatives, strict=True):
            of_names = dict(known)
            for target, value in body:
                of_names[target] = evaluated(self.step.kind, value, of_names)
            for of_variable, result in zip(of_output, results, strict=True):
                of_variable[...] = evaluated(self.step.kind, result, of_names)
        # The branch of an if that is not taken may divide by 0.
        return np.nan_to_num(slopes, nan=0.0, posinf=0.0, neginf=0.0)


class _Span:
    """The parts of a sum over some steps: of potentials, and of the distances of the states behind from the start."""

    def __init__(self, course: _Course, first: int, weights: Array, of_states: Array, lags: Sequence[int]) -> None:
        self.course = course
        self.weights = weights  # of the potentials, (steps,)
        self.of_states = of_states  # (states,)
        steps = slice(first, first + len(weights))
        self.inputs = course.inputs[:, steps, None]
        self.spikes = course.spikes[:, steps, None]
        self.origin = course.start[:, None]
        self.change = course.states[:, first, None] - self.origin
        own = course.outputs[:, steps]
        behind = own[:-1, -1] - course.start
        self.whole = float(weights @ own[-1] + of_states @ behind)
        self.size = float(abs(weights) @ abs(own[-1]) + abs(of_states) @ abs(behind))
        self.of_spikes, self.rest = self._without_input(first, lags)
        self.accurate = False
        parts = 1
        while not self.accurate and parts <= MOST_PARTS:
            self._integrate(parts)
            parts *= 8

    def _sums(self, outputs: Array) -> Array:
        """Return the sum in each of several runs."""
        return self.weights @ outputs[-1] + self.of_states @ (outputs[:-1, -1] - self.origin)

    def _without_input(self, first: int, lags: Sequence[int]) -> tuple[dict[int, float], float]:
        """Return the share of each spike, by its step, and the rest: spikes are left out, the earliest first."""
        rows, steps, _ = np.nonzero(self.spikes)
        fired = steps + first - np.array(lags, np.int64)[rows]
        times = np.unique(fired)
        present = fired[:, None] >= np.append(times, self.course.inputs.shape[1])
        spikes = np.zeros((*self.spikes.shape[:2], len(times) + 1))
        spikes[rows, steps] = present
        sums = self._sums(self.course.run(self.origin, 0 * self.inputs, spikes)[1])
        shares = sums[:-1] - sums[1:]
        return dict(zip(times.tolist(), shares.tolist(), strict=True)), float(sums[-1])

    def _integrate(self, parts: int) -> None:
        """Set the contributions of the inputs and the states, by a line that is split in parts."""
        places, shares = _points(parts)
        runs = self.origin + self.change * places, self.inputs * places, self.spikes
        variables, _ = self.course.run(*runs)
        slopes = self.course.slopes(variables, self.spikes)
        states = len(self.origin)
        of_outputs = np.zeros((states + 1, len(places)))
        of_outputs[:-1] = self.of_states[:, None]
        self.of_inputs = np.zeros(self.inputs.shape[:2])
        for t in range(len(self.weights) - 1, -1, -1):
            of_outputs[-1] = self.weights[t]
            of_variables = np.einsum("ok,ovk->vk", of_outputs, slopes[:, :, t])
            self.of_inputs[:, t] = of_variables[states:] @ shares
            of_outputs[:-1] = of_variables[:states]
        self.of_change = of_outputs[:-1] @ shares
        found = (*(self.of_inputs * self.inputs[..., 0]).ravel(), *(self.of_change * self.change[:, 0]))
        known = (*found, *self.of_spikes.values(), self.rest)
        near = sum(map(abs, known)) <= MOST_SIZE * self.size or len(self.weights) == 1
        self.accurate = near and abs(self.whole - sum(known)) <= FINE * self.size

    @property
    def middle(self) -> int:
        """The step at which the steps are split: behind the spike in the middle, or in the middle."""
        behind = 1 + np.flatnonzero(self.spikes[:1, :-1].any(axis=(0, 2)))
        return int(behind[len(behind) // 2]) if len(behind) else len(self.weights) // 2


@cache
def _points(parts: int) -> tuple[Array, Array]:
    """Return the Gauss-Legendre points of a line from 0 to 1 that is split in parts, and their weights."""
    places, weights = np.polynomial.legendre.leggauss(NODES)
    all_places = (np.arange(parts)[:, None] + (places + 1) / 2) / parts
    return all_places.ravel(), np.tile(weights / 2, parts) / parts


def _late(x: Array, lag: int) -> Array:
    """Return x (T,) of some steps ago, 0 before the first step."""
    return np.concatenate([np.zeros(min(lag, len(x)), x.dtype), x])[: len(x)]


def parts_of_step(kind: Kind, constants: Mapping[str, Any], x: Array, spikes: Array, weights: Array) -> PotentialParts:
    """Return the parts of a weighted sum of a neuron's potentials.

    Args:
        kind: the kind of neuron.
        constants: the constants of the step and its numbers of steps, by name.
        x: (T,), the weighted input.
        spikes: (T,), whether the neuron has fired.
        weights: (T,), the weight of the potential of each step in the sum.
    """
    step = held(kind)
    end = int(np.flatnonzero(weights).max(initial=-1)) + 1
    fired = (spikes[:end] != 0).astype(x.dtype)
    # A lag of 0 means never.
    input_lags = [0, *(int(constants[lag]) or end for lag in step.lags[1:])]
    spike_lags = [0, *(int(constants[lag]) or end for _, lag in step.spikes[1:])][: len(step.spikes)]
    inputs = np.stack([_late(x[:end], lag) for lag in input_lags])
    held_spikes = np.zeros((len(spike_lags), end), x.dtype)
    for row, lag in zip(held_spikes, spike_lags, strict=True):
        row[:] = _late(fired, lag)
    of_input = np.zeros(len(weights))
    of_spikes = np.zeros(len(weights))
    rest = 0.0
    with np.errstate(all="ignore"):
        course = _Course(step, constants, inputs, held_spikes)
        of_states = np.zeros(len(step.kind.states))
        spans = [(0, end)] if end else []
        while spans:
            first, last = spans.pop()
            span = _Span(course, first, weights[first:last], of_states, spike_lags)
            if not span.accurate and last - first > 1:
                spans += [(first, first + span.middle), (first + span.middle, last)]
                continue
            for row, lag in zip(span.of_inputs, input_lags, strict=True):
                late = min(max(first, lag), last)
                of_input[late - lag : last - lag] += row[late - first :]
            for time, share in span.of_spikes.items():
                of_spikes[time] += share
            rest += span.rest
            of_states = span.of_change
    return PotentialParts(of_input, of_spikes, rest)
