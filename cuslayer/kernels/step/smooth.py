"""The smooth twin of a neuron's step, in which a spike is a number between 0 and 1: its adjoint against differences.

There ``a if s else b`` is ``s a + (1 - s) b``, so the derivative of the whole step exists, and must equal the result of
`derive.py`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Any, cast

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.step.derive import adjoint
from cuslayer.kernels.step.kind import GRAD, GRADED, SLOPE, Kind, Past, later

_OPERATORS: dict[type, Any] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv},
    **{ast.GtE: operator.ge, ast.Gt: operator.gt, ast.Lt: operator.lt, ast.LtE: operator.le},
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.USub: operator.neg, ast.Not: np.logical_not},
    **{ast.And: np.logical_and, ast.Or: np.logical_or},
}
_FUNCTIONS: dict[str, Any] = {
    **{"abs": np.abs, "min": np.minimum, "max": np.maximum, "exp": np.exp, "rint": np.rint, "trunc": np.trunc},
    "flushed": np.asarray,
}


def evaluated(kind: Kind, expression: ast.expr, known: Mapping[str, Any]) -> Any:
    """Return the value of an expression of known names, numbers or arrays."""

    def value_of(operand: ast.expr) -> Any:
        return evaluated(kind, operand, known)

    if isinstance(expression, ast.Constant):
        return expression.value
    if isinstance(expression, ast.Name):
        return known[expression.id]
    if isinstance(expression, ast.BinOp):
        return _OPERATORS[type(expression.op)](value_of(expression.left), value_of(expression.right))
    if isinstance(expression, ast.UnaryOp):
        return _OPERATORS[type(expression.op)](value_of(expression.operand))
    if isinstance(expression, ast.Compare):
        return _OPERATORS[type(expression.ops[0])](value_of(expression.left), value_of(expression.comparators[0]))
    if isinstance(expression, ast.BoolOp):
        first, *others = map(value_of, expression.values)
        for value in others:
            first = _OPERATORS[type(expression.op)](first, value)
        return first
    if isinstance(expression, ast.IfExp):
        test = value_of(expression.test)
        body = value_of(expression.body)
        orelse = value_of(expression.orelse)
        if isinstance(expression.test, ast.Name) and expression.test.id == kind.spike:
            return test * body + (1 - test) * orelse
        return np.where(test, body, orelse)
    call = cast(ast.Call, expression)
    return _FUNCTIONS[cast(ast.Name, call.func).id](*map(value_of, call.args))


def _run(kind: Kind, body: Sequence[tuple[str, ast.expr]], known: dict[str, Any]) -> None:
    """Add the values of assignments; a spike is the logistic function of the distance from the threshold."""
    for name, expression in body:
        if name == kind.spike:
            known[name] = 1 / (1 + np.exp(known["theta"] - known[kind.potential]))
        else:
            known[name] = evaluated(kind, expression, known)


class _Earlier:
    """The values of some steps ago: of a step's inputs and spikes, or of a backward's own values."""

    def __init__(self, past: Sequence[Past], numbers: Mapping[str, Any], like: Array | float = 0.0) -> None:
        self._past = past
        self._lags = [int(numbers[value.lag]) for value in past]
        self._zero = like
        self._steps: list[list[Any]] = []

    @property
    def longest(self) -> int:
        return max(self._lags, default=0)

    def now(self) -> dict[str, Any]:
        """Return the values by their names in the assignments."""
        values = {}
        for number, (value, lag) in enumerate(zip(self._past, self._lags, strict=True)):
            values[value.name] = self._steps[-lag][number] if 0 < lag <= len(self._steps) else self._zero
        return values

    def add(self, known: Mapping[str, Any]) -> None:
        """Keep the values of a step."""
        self._steps.append([known[value.of] for value in self._past])


def _forward(kind: Kind, numbers: Mapping[str, Any], inputs: Array) -> list[dict[str, Any]]:
    """Return the values of each step for the inputs (inputs, T, neurons)."""
    steps: list[dict[str, Any]] = []
    states = {state: np.full(inputs.shape[2], value) for state, value in zip(kind.states, kind.start, strict=True)}
    earlier = _Earlier(kind.past, numbers, np.zeros(inputs.shape[2]))
    for t in range(inputs.shape[1]):
        known = {**numbers, **states, **dict(zip(kind.inputs, inputs[:, t], strict=True)), **earlier.now()}
        _run(kind, kind.body, known)
        earlier.add(known)
        steps.append(known)
        states = {state: known[after] for state, after in zip(kind.states, kind.after, strict=True)}
    return steps


def error_of_own(kind: Kind, numbers: Mapping[str, float], exact: bool, graded: bool, seed: int) -> float:
    """Return the relative difference between a kind's own backward and the derived adjoint, for one step.

    States, inputs and gradients of 100 neurons are random; see `error_of_adjoint`.
    """
    draw = np.random.default_rng(seed).standard_normal
    backs = adjoint(kind, exact, False), adjoint(replace(kind, own=None, own_exact=None), exact, False)
    names = [*kind.states, *kind.inputs, *(value.name for value in kind.past)]
    known: dict[str, Any] = {**numbers, **{name: draw(100) for name in names}}
    for name, expression in kind.body:
        known[name] = evaluated(kind, expression, known)
    known |= {GRAD: draw(100), GRADED: graded, SLOPE: abs(draw(100))}
    known |= {later(state): draw(100) for state in kind.states}
    results = []
    for back in backs:
        values = dict(known)
        for name, expression in back.body:
            values[name] = evaluated(kind, expression, values)
        gradients = [evaluated(kind, gradient, values) for gradient in (*back.states, *back.inputs)]
        results.append(np.stack([np.broadcast_to(gradient, 100) for gradient in gradients]))
    own, derived = results
    return float(np.abs(own - derived).max() / max(np.abs(derived).max(), np.finfo(float).tiny))


def small_response(kind: Kind, numbers: Mapping[str, float]) -> Iterator[float]:
    """Yield the change of the potential by a small input, for each step, per input, if the neuron does not fire."""
    fed = silent_potentials(kind, numbers, 1e-3)
    unfed = silent_potentials(kind, numbers)
    yield from ((u - rest) / 1e-3 for u, rest in zip(fed, unfed, strict=False))


def silent_potentials(kind: Kind, numbers: Mapping[str, float], first: float = 0.0) -> Iterator[float]:
    """Yield the potential of each step for an input in the first one, if the neuron does not fire, while finite."""
    states: dict[str, Any] = dict(zip(kind.states, kind.start, strict=True))
    inputs = {name: first * (name == kind.inputs[0]) for name in kind.inputs}
    earlier = _Earlier(kind.past, numbers)
    unchanged = 0
    while True:
        known: dict[str, Any] = {**numbers, **states, **inputs, **earlier.now()}
        with np.errstate(all="ignore"):
            for name, expression in kind.body:
                known[name] = 0.0 if name == kind.spike else evaluated(kind, expression, known)
        potential = float(known[kind.potential])
        if not math.isfinite(potential):
            return
        yield potential
        before = states, inputs
        states = {state: known[after] for state, after in zip(kind.states, kind.after, strict=True)}
        inputs = dict.fromkeys(kind.inputs, 0.0)
        earlier.add(known)
        unchanged = unchanged + 1 if (states, inputs) == before else 0
        if unchanged > earlier.longest:
            yield from repeat(potential)  # at rest


def error_of_adjoint(kind: Kind, numbers: Mapping[str, float], seed: int, step: float) -> float:
    """Return the relative error of the derived adjoint of the smooth twin against a central difference."""
    generator = np.random.default_rng(seed)
    shape = len(kind.inputs), 20, 5
    theta = abs(numbers.get("theta", 1.0)) or 1.0
    reverse = adjoint(kind, True, True)
    inputs = generator.normal(0.3, 1, shape) * theta
    weights = generator.standard_normal(shape[1:])
    own = {name: numbers[name] * generator.uniform(0.8, 1.0, 5) for name in kind.columns}
    along = generator.standard_normal(shape)
    along_own = {name: generator.standard_normal(5) for name in own}

    def total(distance: float) -> float:
        moved = {name: own[name] + distance * along_own[name] for name in own}
        steps = _forward(kind, {**numbers, **moved}, inputs + distance * along)
        output = kind.spike or kind.potential
        return float(sum((known[output] * w).sum() for known, w in zip(steps, weights, strict=True)))

    numeric = (total(step) - total(-step)) / (2 * step)
    analytic = 0.0
    errors = dict.fromkeys(kind.states, np.zeros(5))
    later_values = _Earlier(reverse.past, numbers, np.zeros(5))
    for t, known in reversed(list(enumerate(_forward(kind, {**numbers, **own}, inputs)))):
        s = known[kind.spike] if kind.fires else 0.0
        known |= {GRAD: weights[t], GRADED: False, SLOPE: s * (1 - s)}
        known |= {later(state): error for state, error in errors.items()} | later_values.now()
        _run(kind, reverse.body, known)
        later_values.add(known)
        errors = {
            state: evaluated(kind, value, known) for state, value in zip(kind.states, reverse.states, strict=True)
        }
        analytic += sum((evaluated(kind, value, known) * along[i, t]).sum() for i, value in enumerate(reverse.inputs))
        pairs = zip(kind.columns, reverse.columns, strict=True)
        analytic += sum((evaluated(kind, value, known) * along_own[name]).sum() for name, value in pairs)
    largest = max(abs(analytic), abs(numeric))
    return abs(analytic - numeric) / largest if largest else 0.0
