"""The parts of a potential whose step is not linear: what each input and each earlier spike adds to it.

With its spikes held as they were, a neuron's potential is a function of its input alone. Its parts are integrated
gradients: the mean derivative on the straight line from no input to the input, times the input. They and the potential
without input sum to the potential. That one is divided by leaving out the spikes, the earliest first; what stays
without spikes is the rest. Where the step is linear, these are the terms of its sum.

Away from its own course a neuron may leave all bounds, with v^2 in the step: where it would fire, no spike is held.
Then its potential is limited to the threshold at all steps at which it did not fire.

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
FINEST = 2.0**-14
# The most intervals of a line at once, times steps.
MOST_VALUES = 1 << 16
# Accepted remainder of an interval, as a share of what is divided.
FINE = 1e-6
# Accepted remainder of all parts, before the potential is limited.
ACCEPTED = 1e-5
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
        self.inputs = inputs  # (inputs, T)
        self.spikes = spikes  # (spikes, T)
        self.start = np.array(step.kind.start)
        self.derivatives = [step.derivative(output) for output in step.outputs]

    def run(self, inputs: Array, spikes: Array, limit: float) -> tuple[Array, Array]:
        """Return the variables and the outputs, (names, T, runs), of runs with inputs and spikes (names, T, runs)."""
        runs = max(inputs.shape[2], spikes.shape[2])
        variables = np.zeros((len(self.step.variables), inputs.shape[1], runs))
        outputs = np.zeros((len(self.step.outputs), inputs.shape[1], runs))
        states = len(self.start)
        variables[states:] = inputs
        state = np.broadcast_to(self.start[:, None], (states, runs))
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
    """A weighted sum of potentials on the line from no input to a neuron's input."""

    def __init__(self, course: _Course, weights: Array, lags: Sequence[int], limit: float) -> None:
        self.course = course
        self.weights = weights
        self.lags = lags
        self.limit = limit
        self.inputs = course.inputs[..., None]
        self.spikes = course.spikes[..., None]

    def run(self, places: Array, spikes: Array) -> tuple[Array, Array]:
        """Return the variables, and the sums, of runs at places of the line, or with spikes of their own."""
        variables, outputs = self.course.run(self.inputs * places, spikes, self.limit)
        return variables, self.weights @ outputs[-1]

    def by_spikes(self) -> tuple[Array, float]:
        """Return the share of each spike (T,), and the rest: spikes are left out without input, the earliest first."""
        rows, steps = np.nonzero(self.course.spikes)
        fired = steps - np.array(self.lags, np.int64)[rows]
        times = np.unique(fired)
        spikes = np.zeros((*self.course.spikes.shape, len(times) + 1))
        spikes[rows, steps] = fired[:, None] >= np.append(times, len(self.weights))
        _, sums = self.run(np.zeros(1), spikes)
        shares = np.zeros(len(self.weights))
        shares[times] = sums[:-1] - sums[1:]
        return shares, float(sums[-1])

    def by_inputs(self, accuracy: float) -> Array:
        """Return the contributions of inputs of 1 (inputs, T): the mean derivatives on the line.

        Intervals of the line are halved until each has the change of the sum, up to an accuracy.
        """
        mean = np.zeros(self.course.inputs.shape)
        starts = np.zeros(1)
        width = 1.0
        most = max(1, MOST_VALUES // mean.size)
        while True:
            places = starts[:, None] + width * _PLACES
            _, ends = self.run(np.concatenate([starts, starts + width]), self.spikes)
            of_inputs = self._slopes(places.ravel()).reshape(*mean.shape, *places.shape) @ _SHARES * width
            change = ends[len(starts) :] - ends[: len(starts)]
            rough = ~(abs(change - (of_inputs * self.inputs).sum(axis=(0, 1))) <= accuracy)
            finest = width <= FINEST or 2 * rough.sum() > most
            mean += of_inputs[..., finest | ~rough].sum(axis=2)
            if finest or not rough.any():
                return mean
            width /= 2
            starts = np.concatenate([starts[rough], starts[rough] + width])

    def _slopes(self, places: Array) -> Array:
        """Return the derivatives of the sum by the inputs at places of the line, (inputs, T, places)."""
        variables, _ = self.run(places, self.spikes)
        slopes = self.course.slopes(variables, self.spikes, self.limit)
        states = len(self.course.start)
        of_outputs = np.zeros((states + 1, len(places)))
        of_inputs = np.zeros((*self.course.inputs.shape, len(places)))
        for t in range(len(self.weights) - 1, -1, -1):
            of_outputs[-1] = self.weights[t]
            of_variables = np.einsum("ok,ovk->vk", of_outputs, slopes[:, :, t])
            of_inputs[:, t] = of_variables[states:]
            of_outputs[:-1] = of_variables[:states]
        return of_inputs


def _divided(course: _Course, weights: Array, lags: Sequence[int]) -> tuple[Array, Array, float]:
    """Return the contributions of inputs of 1, the shares of the spikes, and the rest."""
    _, outputs = course.run(course.inputs[..., None], course.spikes[..., None], np.inf)
    potentials = outputs[-1, :, 0]
    theta = abs(float(course.constants.get("theta", 0.0)))
    whole = weights @ potentials
    size = abs(weights) @ np.maximum(abs(potentials), theta)
    for limit in (np.inf, theta):
        total = _Sum(course, weights, lags, limit)
        of_spikes, rest = total.by_spikes()
        of_inputs = total.by_inputs(FINE * size)
        shares = [*(of_inputs * course.inputs).ravel(), *of_spikes, rest]
        if np.abs(shares).sum() <= MOST_SIZE * size and abs(whole - sum(shares)) <= ACCEPTED * size:
            break
    return of_inputs, of_spikes, rest


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
    with np.errstate(all="ignore"):
        course = _Course(step, constants, inputs, held_spikes)
        of_inputs, of_spikes, rest = _divided(course, weights[:end], spike_lags)
    of_input = np.zeros(len(weights))
    for row, lag in zip(of_inputs, input_lags, strict=True):
        of_input[: max(0, end - lag)] += row[lag:]
    return PotentialParts(of_input, np.append(of_spikes, np.zeros(len(weights) - end)), rest)
