"""The parts of a potential whose step is not linear: what each input and each earlier spike adds to it.

A step with its spikes held as they were is a function of the states before it and of its input::

    step(state, x) = step(start, 0) + A (state - start) + B x + remainder

A and B are the means of the derivative along the straight line from the start without input to where the neuron was:
the integrated gradients of the step. They make each step linear, so that the potential is a sum over all inputs and
spikes before it. Where the step is linear, A and B are its derivative. The remainder is 0, except where the step jumps.

A line through all steps at once, from no input to the whole input, would leave the neuron's own course: a step with v^2
then grows without a limit, because its spikes do not come where they are held.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.step.derive import adjoint
from cuslayer.kernels.step.kind import GRAD, Kind, Statement, name
from cuslayer.kernels.step.smooth import evaluated

# Gauss-Legendre points of a part of the line, exact for polynomials of degree 9.
NODES = 5
# A line has at most 256 parts: a kink in one of them then leaves an error of 1e-5 of the change of the slope.
MOST_PARTS = 256
# A line is split while the remainder of its step is larger than this share of the step's parts.
FINE = 1e-8


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


class Held(NamedTuple):
    """A step with its spikes held.

    Attributes:
        kind: the step, in which the spikes are numbers, and the inputs of some steps ago are inputs.
        variables: the names of the states before the step and of the inputs.
        outputs: the names of the states after the step, and of the potential.
        lags: for each input its lag's name; empty for the input of the step.
        spikes: the names of the spikes in the step, the step's own first, each with its lag's name.
    """

    kind: Kind
    variables: tuple[str, ...]
    outputs: tuple[str, ...]
    lags: tuple[str, ...]
    spikes: tuple[tuple[str, str], ...]

    def derivative(self, output: str) -> tuple[tuple[Statement, ...], tuple[ast.expr, ...]]:
        """Return assignments, after those of the step, and the derivatives of an output by the variables."""
        alone = replace(self.kind, states=(), after=(), start=(), fading=(), inputs=self.variables, potential=output)
        reverse = adjoint(alone, False, False)
        own = tuple((target, value) for target, value in reverse.body if target not in self.kind.definitions)
        return own, reverse.inputs


def is_explained(kind: Kind) -> bool:
    """Return whether a kind has parts: it has one input, and a derivative."""
    return kind.derived and len(kind.inputs) == 1


@cache
def held(kind: Kind) -> Held:
    """Return the step of a kind with its spikes held."""
    body = kind.body
    if kind.fires:
        threshold = cast(ast.Compare, kind.definitions[kind.spike])
        hold = _Hold(kind.spike, threshold)
        body = tuple((target, hold.visit(copy.deepcopy(value))) for target, value in kind.body if target != kind.spike)
    of_input = [earlier for earlier in kind.past if earlier.of != kind.spike]
    of_spike = [(earlier.name, earlier.lag) for earlier in kind.past if earlier.of == kind.spike]
    inputs = (*kind.inputs, *(earlier.name for earlier in of_input))
    spikes = ((kind.spike, ""), *of_spike) if kind.fires else ()
    alone = replace(
        kind,
        body=body,
        inputs=inputs,
        numbers=(*kind.numbers, *(spike for spike, _ in spikes)),
        spike="",
        own=None,
        own_exact=None,
        past=(),
        unfired=False,
    )
    return Held(
        kind=alone,
        variables=(*kind.states, *inputs),
        outputs=(*kind.after, kind.potential),
        lags=("", *(earlier.lag for earlier in of_input)),
        spikes=spikes,
    )


class _Hold(ast.NodeTransformer):
    """Puts a held spike in the place of each comparison of the potential with the threshold."""

    def __init__(self, spike: str, threshold: ast.Compare) -> None:
        self.spike = spike
        self.sides = _sides(threshold)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if _sides(node) != self.sides or isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            return node
        spike = name(self.spike)
        return spike if isinstance(node.ops[0], (ast.GtE, ast.Gt)) else ast.UnaryOp(ast.Not(), spike)


def _sides(comparison: ast.Compare) -> tuple[str, str]:
    return ast.dump(comparison.left), ast.dump(comparison.comparators[0])


class _Line:
    """The held step of one neuron on the lines from its start without input to where it was at each step."""

    def __init__(self, step: Held, constants: Mapping[str, Any], start: Array, ends: Array, spikes: Array) -> None:
        self.step = step
        self.constants = constants
        self.start = start[:, None]
        self.change = ends - self.start
        self.spikes = spikes
        self.derivatives = [step.derivative(output) for output in step.outputs]

    def slopes(self, at: Array, places: Array) -> Array:
        """Return the derivatives (outputs, variables, K, places) at places, 0 to 1, of the lines of some steps (K,)."""
        variables = self.start[:, None] + self.change[:, at, None] * places
        known = values(self.step, self.constants, variables, self.spikes[:, at, None])
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

    def mean_slopes(self) -> Array:
        """Return the mean derivatives (outputs, variables, T) on the lines."""
        whole = outputs(self.step, self.constants, self.start + self.change, self.spikes)
        whole = whole - outputs(self.step, self.constants, self.start + 0 * self.change, self.spikes)
        means = np.zeros((len(whole), *self.change.shape))
        rough = np.arange(self.change.shape[1])
        parts = 1
        while rough.size and parts <= MOST_PARTS:
            places, weights = _points(parts)
            means[:, :, rough] = self.slopes(rough, places) @ weights
            shares = means[:, :, rough] * self.change[:, rough]
            remainder = abs(whole[:, rough] - shares.sum(axis=1))
            size = abs(shares).sum(axis=1) + abs(whole[:, rough])
            rough = rough[(remainder > FINE * size).any(axis=0)]
            parts *= 4
        return means


@cache
def _points(parts: int) -> tuple[Array, Array]:
    """Return the Gauss-Legendre points of a line from 0 to 1 that is split in parts, and their weights."""
    places, weights = np.polynomial.legendre.leggauss(NODES)
    all_places = (np.arange(parts)[:, None] + (places + 1) / 2) / parts
    return all_places.ravel(), np.tile(weights / 2, parts) / parts


def values(step: Held, constants: Mapping[str, Any], variables: Array, spikes: Array) -> dict[str, Any]:
    """Return the values of all names of a step for the variables (variables, ...) and its spikes (spikes, ...)."""
    known = dict(constants)
    known.update(zip(step.variables, variables, strict=True))
    known.update(zip((spike for spike, _ in step.spikes), spikes, strict=True))
    for target, value in step.kind.body:
        known[target] = evaluated(step.kind, value, known)
    return known


def outputs(step: Held, constants: Mapping[str, Any], variables: Array, spikes: Array) -> Array:
    """Return the outputs (outputs, ...) of a step, as `values`."""
    known = values(step, constants, variables, spikes)
    return np.stack([np.broadcast_to(known[output], variables.shape[1:]) for output in step.outputs])


def ago(x: Array, lag: int) -> Array:
    """Return x (T,) of some steps ago: 0 before the first step, and for 0 steps."""
    late = np.zeros(len(x))
    if lag:
        late[lag:] = x[:-lag]
    return late


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
    x = x.astype(np.float64)
    fired = (spikes != 0).astype(np.float64)
    input_lags = [int(constants[lag]) for lag in step.lags[1:]]
    spike_lags = [int(constants[lag]) for _, lag in step.spikes[1:]]
    inputs = np.stack([x, *(ago(x, lag) for lag in input_lags)])
    held_spikes = np.stack([fired, *(ago(fired, lag) for lag in spike_lags)])[: len(step.spikes)]
    with np.errstate(all="ignore"):
        return _summed(step, constants, inputs, held_spikes, [0, *input_lags], [0, *spike_lags], weights)


def _summed(
    step: Held,
    constants: Mapping[str, Any],
    inputs: Array,
    spikes: Array,
    input_lags: Sequence[int],
    spike_lags: Sequence[int],
    weights: Array,
) -> PotentialParts:
    """Return the parts of a weighted sum of potentials: the slopes of all steps, chained from the last to the first."""
    count = len(step.kind.states)
    steps = inputs.shape[1]
    start = np.array([*step.kind.start, *(0.0 for _ in inputs)])
    ends = np.concatenate([np.zeros((count, steps)), inputs])
    state = start[:count]
    for t in range(steps):
        ends[:count, t] = state
        state = outputs(step, constants, ends[:, t], spikes[:, t])[:count]
    slopes = _Line(step, constants, start, ends, spikes).mean_slopes()
    # What the start and each spike change, without the others.
    at_start = np.broadcast_to(start[:, None], ends.shape)
    unfired = np.zeros_like(spikes)
    before = outputs(step, constants, at_start, unfired)
    drift = before - np.append(start[:count], 0.0)[:, None]
    jumps = []
    for number in range(len(spikes)):
        unfired[number] = spikes[number]
        after = outputs(step, constants, at_start, unfired)
        jumps.append(after - before)
        before = after
    of_input = np.zeros(steps)
    of_spikes = np.zeros(steps)
    rest = 0.0
    of_states = np.zeros(count)
    for t in range(steps - 1, -1, -1):
        of_outputs = np.append(of_states, weights[t])
        rest += float(of_outputs @ drift[:, t])
        for jump, lag in zip(jumps, spike_lags, strict=False):
            if t >= lag:
                of_spikes[t - lag] += of_outputs @ jump[:, t]
        of_variables = of_outputs @ slopes[:, :, t]
        for share, lag in zip(of_variables[count:], input_lags, strict=True):
            if t >= lag:
                of_input[t - lag] += share
        of_states = of_variables[:count]
    return PotentialParts(of_input, of_spikes, rest)
