"""The parts of a potential whose step is not linear: what each input and each earlier spike adds to it.

With its spikes held as they were, a neuron's potential is a function of its input alone. Its parts are integrated
gradients: the mean derivative on the straight line from no input to the input, times the input. They and the potential
without input sum to the potential. That one is divided by leaving out the spikes, the earliest first; what stays
without spikes is the rest. Where the step is linear, these are the terms of its sum.

Away from its own course a neuron may leave all bounds, with v^2 in the step: where it would fire, no spike is held.
Then its potential is limited to the threshold at all steps at which it did not fire. If the line is still too rough,
the steps are split in two. Of the later ones the states between are inputs too, as distances from the start; their
parts are divided among the earlier steps in turn.

Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", arXiv 1703.01365.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.step.kind import GRAD, Kind
from cuslayer.kernels.step.smooth import evaluated
from cuslayer.neurons.held import LIMIT, Held, held

# Gauss-Legendre points of an interval, exact for polynomials of degree 9, and their weights.
_PLACES, _SHARES = (values / 2 for values in np.polynomial.legendre.leggauss(5))
_PLACES = _PLACES + 0.5
# The shortest interval of a line.
FINEST = 2.0**-12
# The most intervals of a line at once, times steps.
MOST_VALUES = 1 << 14
# The most runs at once, times steps, without some of the spikes.
MOST_RUNS = 1 << 18
# Accepted remainder of an interval, as a share of what is divided.
REMAINDER = 1e-6
# Accepted remainder of all parts, before the potential is limited.
ACCEPTED = 1e-4
# The parts may be so much larger than what is divided, before the potential is limited.
MOST_SIZE = 100.0


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
    """A neuron with its input and its spikes, and runs of its step that leave its course."""

    def __init__(self, step: Held, constants: Mapping[str, Any], inputs: Array, spikes: Array) -> None:
        self.step = step
        self.constants = {name: np.float64(value) for name, value in constants.items()}
        self.theta = abs(float(constants.get("theta", 0.0)))
        self.inputs = inputs  # (inputs, T)
        self.spikes = spikes  # (spikes, T)
        self.start = np.array(step.kind.start)
        self.derivatives = [step.derivative(output) for output in step.outputs]
        variables, outputs = self.run(self.start[:, None], inputs[..., None], spikes[..., None], np.inf)
        self.states = variables[: len(self.start), :, 0]  # before each step
        self.outputs = outputs[..., 0]

    def run(self, state: Array, inputs: Array, spikes: Array, limit: float) -> tuple[Array, Array]:
        """Return the variables and outputs, (names, steps, runs), of runs from states, with inputs and spikes."""
        runs = max(state.shape[1], inputs.shape[2], spikes.shape[2])
        variables = np.zeros((len(self.step.variables), inputs.shape[1], runs))
        outputs = np.zeros((len(self.step.outputs), inputs.shape[1], runs))
        states = len(self.start)
        variables[states:] = inputs
        for t in range(inputs.shape[1]):
            variables[:states, t] = state
            known = self.values(variables[:, t], spikes[:, t], limit)
            for of_output, output in zip(outputs, self.step.outputs, strict=True):
                of_output[t] = known[output]
            state = outputs[:-1, t]
        return variables, outputs

    def values(self, variables: Array, spikes: Array, limit: float) -> dict[str, Any]:
        """Return the values of all names of a step."""
        known = {**self.constants, LIMIT: np.float64(limit)}
        known.update(zip(self.step.variables, variables, strict=True))
        known.update(zip((spike for spike, _ in self.step.spikes), spikes, strict=True))
        for target, value in self.step.kind.body:
            known[target] = evaluated(self.step.kind, value, known)
        return known

    def slopes(self, variables: Array, spikes: Array, limit: float) -> Array:
        """Return the derivatives (outputs, variables, ...) of a step."""
        known = self.values(variables, spikes, limit)
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


class _Sum:
    """A sum over some steps, on the line from no input to the input, and from the start to the states before them.

    ``weights @ u + of_states @ (states - start)``, with the potentials u and the states behind the steps.
    """

    def __init__(self, course: _Course, first: int, weights: Array, of_states: Array, limit: float) -> None:
        self.course = course
        self.weights = weights
        self.of_states = of_states
        self.limit = limit
        self.first = first
        self.steps = slice(first, first + len(weights))
        self.inputs = course.inputs[:, self.steps, None]
        self.spikes = course.spikes[:, self.steps, None]
        self.start = course.start[:, None]
        self.change = course.states[:, first, None] - self.start

    def run(self, places: Array, spikes: Array) -> tuple[Array, Array]:
        """Return the variables, and the sums, of runs at places of the line, or with spikes of their own."""
        state = self.start + self.change * places
        variables, outputs = self.course.run(state, self.inputs * places, spikes, self.limit)
        return variables, self.weights @ outputs[-1] + self.of_states @ (outputs[:-1, -1] - self.start)

    def by_spikes(self, lags: Sequence[int]) -> tuple[Array, float]:
        """Return the share of each spike (T,), and the rest: spikes are left out without input, the earliest first."""
        rows, steps, _ = np.nonzero(self.spikes)
        fired = self.first + steps - np.array(lags, np.int64)[rows]
        times = np.unique(fired)
        shares = np.zeros(self.course.inputs.shape[1])
        first_spikes = np.append(times, len(shares))
        sums = np.zeros(len(first_spikes))
        most = max(1, MOST_RUNS // len(self.weights))
        for begin in range(0, len(sums), most):
            runs = slice(begin, begin + most)
            spikes = np.zeros((*self.spikes.shape[:2], len(sums[runs])))
            spikes[rows, steps] = fired[:, None] >= first_spikes[runs]
            _, sums[runs] = self.run(np.zeros(1), spikes)
        shares[times] = sums[:-1] - sums[1:]
        return shares, float(sums[-1])

    def by_inputs(self, accuracy: float) -> tuple[Array, Array]:
        """Return the mean derivatives on the line, by the inputs (inputs, steps) and by the states before the steps.

        Intervals of the line are halved until each has the change of the sum, up to an accuracy.
        """
        shape = self.inputs.shape[:2]
        means = np.zeros(shape[0] * shape[1] + len(self.start))
        changes = np.concatenate([self.inputs.ravel(), self.change.ravel()])
        starts = np.zeros(1)
        width = 1.0
        most = max(1, MOST_VALUES // means.size)
        while True:
            places = starts[:, None] + width * _PLACES
            _, ends = self.run(np.concatenate([starts, starts + width]), self.spikes)
            slopes = self._slopes(places.ravel()).reshape(-1, *places.shape) @ _SHARES * width
            remainders = ends[len(starts) :] - ends[: len(starts)] - changes @ slopes
            rough = ~(abs(remainders) <= accuracy)
            finest = width <= FINEST or 2 * rough.sum() > most
            means += slopes[:, finest | ~rough].sum(axis=1)
            if finest or not rough.any():
                return means[: -len(self.start)].reshape(shape), means[-len(self.start) :]
            width /= 2
            starts = np.concatenate([starts[rough], starts[rough] + width])

    def _slopes(self, places: Array) -> Array:
        """Return the derivatives of the sum at places, by the inputs and by the states before the steps."""
        variables, _ = self.run(places, self.spikes)
        slopes = self.course.slopes(variables, self.spikes, self.limit)
        states = len(self.start)
        of_outputs = np.zeros((states + 1, len(places)))
        of_outputs[:-1] = self.of_states[:, None]
        of_inputs = np.zeros((*self.inputs.shape[:2], len(places)))
        for t in range(len(self.weights) - 1, -1, -1):
            of_outputs[-1] = self.weights[t]
            of_variables = np.einsum("ok,ovk->vk", of_outputs, slopes[:, :, t])
            of_inputs[:, t] = of_variables[states:]
            of_outputs[:-1] = of_variables[:states]
        return np.concatenate([of_inputs.reshape(-1, len(places)), of_outputs[:-1]])


class _Division(NamedTuple):
    """The parts of a sum over some steps."""

    of_inputs: Array  # (inputs, steps), the contributions of inputs of 1
    of_states: Array  # those of the states before the steps, as distances from the start
    of_spikes: Array  # (T,), the shares of the spikes
    rest: float
    accepted: bool


def _divided(course: _Course, first: int, weights: Array, of_states: Array, lags: Sequence[int]) -> _Division:
    """Return the parts of a sum over some steps: without a limit, else with it."""
    outputs = course.outputs[:, first : first + len(weights)]
    change = outputs[:-1, -1] - course.start
    whole = weights @ outputs[-1] + of_states @ change
    size = abs(weights) @ np.maximum(abs(outputs[-1]), course.theta) + abs(of_states) @ abs(change)
    for limit in (np.inf, course.theta):
        total = _Sum(course, first, weights, of_states, limit)
        of_spikes, rest = total.by_spikes(lags)
        of_inputs, of_change = total.by_inputs(REMAINDER * size)
        by_inputs = (of_inputs * total.inputs[..., 0]).ravel()
        shares = np.concatenate([by_inputs, of_change * total.change[:, 0], of_spikes, [rest]])
        near = len(weights) == 1 or abs(shares).sum() <= MOST_SIZE * size
        accepted = bool(near and abs(whole - shares.sum()) <= ACCEPTED * size)
        if accepted:
            break
    return _Division(of_inputs, of_change, of_spikes, rest, accepted)


def _middle(spikes: Array) -> int:
    """Return where steps are split: behind the spike in the middle, or in the middle."""
    behind = 1 + np.nonzero(spikes[:, :-1])[1]
    return int(behind[len(behind) // 2]) if len(behind) else spikes.shape[1] // 2


def _late(x: Array, lag: int) -> Array:
    """Return x (T,) of some steps ago, 0 before the first step."""
    return np.concatenate([np.zeros(min(lag, len(x))), x])[: len(x)]


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
    x = x[:end].astype(np.float64)
    fired = (spikes[:end] != 0).astype(np.float64)
    # A lag of 0 means never.
    input_lags = [0, *(int(constants[lag]) or end for lag in step.lags[1:])]
    spike_lags = [0, *(int(constants[lag]) or end for _, lag in step.spikes[1:])][: len(step.spikes)]
    inputs = np.stack([_late(x, lag) for lag in input_lags])
    held_spikes = np.zeros((len(spike_lags), end))
    for row, lag in zip(held_spikes, spike_lags, strict=True):
        row[:] = _late(fired, lag)
    lags = input_lags, spike_lags
    with np.errstate(all="ignore"):
        course = _Course(step, constants, inputs, held_spikes)
        parts = _in_spans(course, weights[:end], lags, split=False)
        if not parts.accepted:
            pieces = _in_spans(course, weights[:end], lags, split=True)
            parts = pieces if pieces.near else parts
    missing = np.zeros(len(weights) - end)
    return PotentialParts(np.append(parts.of_input, missing), np.append(parts.of_spikes, missing), parts.rest)


class _Parts(NamedTuple):
    of_input: Array
    of_spikes: Array
    rest: float
    accepted: bool
    near: bool  # whether the parts are not much larger than the sum


def _in_spans(course: _Course, weights: Array, lags: tuple[Sequence[int], Sequence[int]], split: bool) -> _Parts:
    """Return the parts of a weighted sum, of all steps at once, or split where they are not accepted."""
    end = len(weights)
    of_input = np.zeros(end)
    of_spikes = np.zeros(end)
    rest = 0.0
    of_states = np.zeros(len(course.start))
    spans = [(0, end)] if end else []
    accepted = True
    while spans:
        first, last = spans.pop()
        division = _divided(course, first, weights[first:last], of_states, lags[1])
        if split and not division.accepted and last - first > 1:
            middle = first + _middle(course.spikes[:1, first:last])
            spans += [(first, middle), (middle, last)]
            continue
        for row, lag in zip(division.of_inputs, lags[0], strict=True):
            late = min(max(first, lag), last)
            of_input[late - lag : last - lag] += row[late - first :]
        of_spikes += division.of_spikes
        rest += division.rest
        of_states = division.of_states
        accepted &= division.accepted
    shares = abs(of_input * course.inputs[0]).sum() + abs(of_spikes).sum() + abs(rest)
    near = shares <= MOST_SIZE * (abs(weights) @ np.maximum(abs(course.outputs[-1]), course.theta))
    return _Parts(of_input, of_spikes, rest, accepted, bool(near))
