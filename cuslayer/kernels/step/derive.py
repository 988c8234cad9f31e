"""The adjoint of a neuron's step, derived from its assignments in reverse order.

The derivative of the spike is the surrogate. Where the step continues with a spike, as in ``u - c.theta if s else u``,
backward differentiates one of three things: the whole step (``exact``), the step as if the neuron had not fired, or the
step with the spike as a constant. The reverse of `flushed` is `flushed`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, cast

import numpy as np

from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import DynamicSpiking, least_state, side_by_side
from cuslayer.kernels.step.kind import (
    GRAD,
    GRADED,
    NEXT_SENT,
    SENT,
    SLOPE,
    Kind,
    Past,
    Statement,
    is_atom,
    later,
    name,
    names_in,
    negative,
    number,
)
from cuslayer.kernels.step.spike_times import NEXT_STEP


@dataclass(frozen=True)
class Adjoint:
    """Backward over one step."""

    body: tuple[Statement, ...]  # the assignments; the first compute values of forward again
    saved: tuple[str, ...]  # the values of forward that it needs, except the potential
    old: tuple[str, ...]  # the states before the step that it needs
    before: tuple[Statement, ...]  # assignments that compute these states from the saved values of the step before
    states: tuple[ast.expr, ...]  # for each state its gradient before the step
    inputs: tuple[ast.expr, ...]  # the gradient of each input
    # The terms of the step for the gradient of each constant that differs between neurons.
    columns: tuple[ast.expr, ...]
    past: tuple[Past, ...] = ()  # the values of later steps that it needs, which its assignments have computed there


@cache
def adjoint(kind: Kind, exact: bool, trained: bool, saves: tuple[str, ...] | None = None) -> Adjoint:
    """Return the adjoint of a kind: with all paths through the spike if `exact`, saving at least the values `saves`."""
    own = kind.own_backward(exact)
    if own is not None:
        states = own.results[: len(kind.states)]
        inputs = own.results[len(kind.states) :]
        columns = tuple(number(0.0) for _ in kind.columns) if trained else ()
        return Adjoint(own.body, own.saved, (), (), states, inputs, columns, own.past)
    return _Reverse(kind, exact, trained).adjoint(saved(kind, exact, trained) if saves is None else saves)


@cache
def saved(kind: Kind, exact: bool, trained: bool) -> tuple[str, ...]:
    """Return the values that forward saves for backward; a more demanding backward saves the same and more."""
    if not kind.derived:
        return ()
    if kind.own is not None and kind.own_exact is not None:
        return tuple(dict.fromkeys((*kind.own.saved, *kind.own_exact.saved)))
    if trained:
        before = saved(kind, True, False)
    else:
        before = saved(kind, False, False) if exact else ()
    return adjoint(kind, exact, trained, before).saved


@dataclass(frozen=True, kw_only=True)
class StepSpiking(DynamicSpiking):
    """A kind of neuron with the values of its constants and the surrogate gradient, an argument of kernels."""

    kind: Kind
    values: tuple[float, ...]  # the constants of all neurons, in the order of ``kind.numbers``
    lags: tuple[int, ...] = ()  # numbers of steps, in the order of ``kind.lags``; 0 for never
    labels: tuple[str, ...] = ()  # the names of ``kind.columns`` in errors

    def numbers(self, dtype: DType) -> tuple[Any, ...]:
        """Return the constants of all neurons in a number type."""
        return tuple(map(dtype.type, self.values))

    @property
    def by_name(self) -> dict[str, float]:
        """The constants of all neurons, with numbers of steps, by their names in the step."""
        names = (*self.kind.numbers, *self.kind.lags)
        return dict(zip(names, (*self.values, *self.lags), strict=True))

    @property
    def forward(self) -> StepSpiking:
        """The neurons without the values that only a gradient of spike times needs: to run them elsewhere."""
        if self.kind.crossing is None:
            return self
        kind = self.kind.crossing.of.with_columns(self.kind.columns)
        values = self.by_name
        lags = tuple(int(values[name]) for name in kind.lags)
        return replace(self, kind=kind, values=tuple(values[name] for name in kind.numbers), lags=lags)

    def lags_within(self, steps: int) -> dict[str, int]:
        """Return the numbers of steps by name; 0 where a signal of `steps` steps is not longer."""
        return {name: lag if lag < steps else 0 for name, lag in zip(self.kind.lags, self.lags, strict=True)}

    def rounded(self, dtype: DType) -> Array:
        """Return the constants of all neurons and the absolute value below which states become 0, for the CPU."""
        return np.array([*self.values, least_state(dtype)], dtype)

    def adjoint(self, trained: bool) -> Adjoint:
        """Return backward over one step, with or without gradients of the columns' constants."""
        return adjoint(self.kind, self.exact, trained)

    def saved(self, trained: bool) -> tuple[str, ...]:
        """Return the values that forward saves for backward, with or without gradients of the columns' constants."""
        return saved(self.kind, self.exact, trained)

    @cached_property
    def fusable(self) -> bool:
        """Whether a pass with the layer before takes the neurons.

        Then their states start at 0, their spikes are 1, they have one input, and backward needs only the potential
        from forward.
        """
        one_input = len(self.kind.inputs) == 1 and self.kind.derived and not any(self.kind.start)
        return one_input and self.kind.fires and not self.graded and not self.saved(False) and not self.old(False)

    def old(self, trained: bool) -> tuple[int, ...]:
        """Return the numbers of the states of the step before that backward needs."""
        return tuple(map(self.kind.states.index, self.adjoint(trained).old))

    def placed(self, constants: Any, like: Array, features: tuple[int, ...]) -> Array | None:
        """Return the constants of neurons of a shape for fused passes, (constants, K)."""
        if not self.fusable:
            raise ValueError(
                f"spiking must be of neurons with `one_pass`, got {self.kind.name}; call layer and neurons"
            )
        return side_by_side(self.labels, constants, like, features)

    def fire(self, k: Any, x: Array, constants: Any) -> tuple[Array, Array]:
        """Return the potentials and spikes for a weighted input (T, columns), which may be overwritten."""
        u, s, _ = k.scan.forward(x[None], constants, self, overwrite=True)
        return u, s

    def fire_adjoint(self, k: Any, g: Array, u: Array, constants: Any, *, overwrite: bool = True) -> Array:
        """Return the gradient of the weighted input in `fire`; with `overwrite`, it may overwrite u."""
        gradients, _ = k.scan.adjoint(g, u, u[None][:0], constants, self, overwrite=overwrite)
        of_input: Array = gradients[0]
        return of_input


class _Reverse:
    def __init__(self, kind: Kind, exact: bool, trained: bool) -> None:
        self.kind = kind
        self.exact = exact
        self.trained = trained
        self.terms: dict[str, list[ast.expr]] = {}
        self.body: list[Statement] = []

    def adjoint(self, saves: tuple[str, ...]) -> Adjoint:
        kind = self.kind
        crossing = kind.crossing
        for state, after in zip(kind.states, kind.after, strict=True):
            if crossing is None or state not in crossing.states:
                self.push(name(after), name(later(state)))
        grad = name(GRAD)
        of_potential = self.terms.setdefault(kind.potential, [])
        past = self.later_values()
        if crossing is not None:
            self.body.append((SENT, add([grad, *self.terms.get(kind.spike, [])])))
            past = (*past, Past(NEXT_SENT, SENT, NEXT_STEP))
            moves = [multiply(name(later(state)), name(moved)) for state, moved in crossing.moved]
            wait = ast.BinOp(name(NEXT_SENT), ast.Sub(), name(SENT))
            self.terms[kind.spike] = [*moves, negative(multiply(wait, name(crossing.inverse)))]
        elif kind.fires:
            graded_spike = ast.BoolOp(ast.And(), [name(GRADED), name(kind.spike)])
            of_potential.append(ast.IfExp(graded_spike, grad, number(0.0)))
            carried = ast.IfExp(name(GRADED), ast.BinOp(grad, ast.Mult(), name(kind.potential)), grad)
            self.terms.setdefault(kind.spike, []).insert(0, carried)
        else:
            of_potential.append(grad)
        for target, value in reversed(kind.body):
            if target in self.terms:
                self.push(value, self.gradient(target), target)
        for earlier in kind.past:
            self.body.append((f"of_{earlier.name}", ast.Call(name("flushed"), [self.total(earlier.name)], [])))
        states = tuple(self.total(state) for state in kind.states)
        inputs = tuple(self.total(weighted) for weighted in kind.inputs)
        columns = tuple(self.total(column) for column in kind.columns) if self.trained else ()
        states = self.live(states, (*inputs, *columns), past)
        targets = [target for target, _ in self.body]
        past = tuple(value for value in past if value.of in targets)
        return self.with_values(Adjoint((), saves, (), (), states, inputs, columns, past))

    def later_values(self) -> tuple[Past, ...]:
        """Add to the gradients of inputs and the spike what later steps that use them again have computed."""
        past = []
        for earlier in self.kind.past:
            if earlier.of in self.kind.inputs or self.exact or self.kind.crossing:
                past.append(Past(f"ago_of_{earlier.name}", f"of_{earlier.name}", earlier.lag))
                self.terms.setdefault(earlier.of, []).append(name(past[-1].name))
        return tuple(past)

    def live(
        self, states: Sequence[ast.expr], results: Sequence[ast.expr], past: Sequence[Past]
    ) -> tuple[ast.expr, ...]:
        """Drop the gradients of states, and the assignments, that change no result."""
        used = set[str]()
        before = -1
        while len(used) != before:
            before = len(used)
            wanted = [value for state, value in zip(self.kind.states, states, strict=True) if later(state) in used]
            used.update(used_name for value in (*results, *wanted) for used_name in names_in(value))
            used.update(value.of for value in past if value.name in used)
            used.update(used_name for target, value in self.body if target in used for used_name in names_in(value))
        self.body = [(target, value) for target, value in self.body if target in used]
        pairs = zip(self.kind.states, states, strict=True)
        return tuple(value if later(state) in used else number(0.0) for state, value in pairs)

    def assign(self, target: str, value: ast.expr) -> ast.expr:
        """Add an assignment, unless the value is a name or a number, and return an expression for the value."""
        if is_atom(value):
            return value
        self.body.append((target, value))
        return name(target)

    def total(self, variable: str) -> ast.expr:
        """Return the gradient of a name as the sum of its terms."""
        return add(self.terms.get(variable, []))

    def gradient(self, variable: str) -> ast.expr:
        """Assign the gradient of a name and return it."""
        value = self.kind.definitions[variable]
        total = self.total(variable)
        if is_flushed(value):
            total = ast.Call(name("flushed"), [total], [])
        return self.assign(f"of_{variable}'", total)

    def push(self, value: ast.expr, g: ast.expr, target: str = "") -> None:
        """Add the gradient g of an expression, which may be assigned to a target, to the gradients of its names."""
        if is_zero(g):
            return
        if isinstance(value, ast.Name):
            self.push_name(value.id, g)
        elif isinstance(value, ast.UnaryOp):
            self.push(value.operand, negative(g))
        elif isinstance(value, ast.BinOp):
            self.push_arithmetic(value, g)
        elif isinstance(value, ast.IfExp):
            self.push_choice(value, g)
        elif isinstance(value, ast.Compare):
            if target == self.kind.spike:
                rise = g if self.kind.crossing else multiply(name(SLOPE), g)
                self.push(value.left, rise)
                self.push(value.comparators[0], negative(rise))
        elif isinstance(value, ast.Call):
            self.push_call(cast(ast.Name, value.func).id, value.args, g, target)

    def push_name(self, variable: str, g: ast.expr) -> None:
        kind = self.kind
        if variable in kind.numbers or (variable in kind.columns and not self.trained):
            return
        if variable == kind.spike and not self.exact:
            return
        self.terms.setdefault(variable, []).append(g)

    def as_unfired(self, value: ast.expr) -> ast.expr:
        """Return a factor as if the neuron had not fired, where the gradient omits its spikes."""
        if self.exact or not self.kind.unfired or self.kind.spike not in names_in(value):
            return value
        if isinstance(value, ast.Name):
            return number(0.0)
        if isinstance(value, ast.BinOp):
            return ast.BinOp(self.as_unfired(value.left), value.op, self.as_unfired(value.right))
        if isinstance(value, ast.UnaryOp):
            return negative(self.as_unfired(value.operand))
        if isinstance(value, ast.IfExp):
            return self.as_unfired(value.orelse)
        return value

    def push_arithmetic(self, value: ast.BinOp, g: ast.expr) -> None:
        left = self.as_unfired(value.left)
        right = self.as_unfired(value.right)
        if isinstance(value.op, ast.Add):
            self.push(left, g)
            self.push(right, g)
        elif isinstance(value.op, ast.Sub):
            self.push(left, g)
            self.push(right, negative(g))
        elif isinstance(value.op, ast.Mult):
            self.push(left, multiply(g, right))
            self.push(right, multiply(g, left))
        else:
            share = ast.BinOp(g, ast.Div(), right)
            self.push(left, share)
            self.push(right, negative(ast.BinOp(multiply(share, left), ast.Div(), right)))

    def push_choice(self, value: ast.IfExp, g: ast.expr) -> None:
        spikes = isinstance(value.test, ast.Name) and value.test.id == self.kind.spike
        if spikes and self.exact:
            self.push_name(self.kind.spike, multiply(g, difference(value.body, value.orelse)))
        elif spikes and self.kind.unfired:
            self.push(value.orelse, g)
            return
        self.push(value.body, ast.IfExp(value.test, g, number(0.0)))
        self.push(value.orelse, ast.IfExp(value.test, number(0.0), g))

    def push_call(self, function: str, arguments: Sequence[ast.expr], g: ast.expr, target: str) -> None:
        if function == "flushed":
            small = bool(target) or (isinstance(g, ast.Name) and is_flushed(dict(self.body).get(g.id)))
            self.push(arguments[0], g if small else ast.Call(name("flushed"), [g], []))
        elif function == "exp":
            self.push(arguments[0], multiply(g, name(target)))
        elif function == "abs":
            self.push(arguments[0], by_order(arguments[0], number(0.0), g, number(0.0), negative(g)))
        elif function in ("min", "max"):
            left, right = arguments
            half = multiply(number(0.5), g)  # at ties, as `maximum` of arrays
            above, below = (g, number(0.0)) if function == "max" else (number(0.0), g)
            self.push(left, by_order(left, right, above, half, below))
            self.push(right, by_order(left, right, below, half, above))

    def with_values(self, bare: Adjoint) -> Adjoint:
        """Return the adjoint with the values of forward that it uses: computed again, saved, or of the step before."""
        results = (*bare.states, *bare.inputs, *bare.columns)
        used = [used_name for value in (*(value for _, value in self.body), *results) for used_name in names_in(value)]
        values = _Values(self.kind, bare.saved)
        values.want(used)
        old = tuple(state for state in self.kind.states if state in values.old)
        after = [self.kind.after[self.kind.states.index(state)] for state in old]
        values.want(after)
        body = (*values.again(used), *self.body)
        before = values.again(after)
        return replace(bare, body=body, saved=tuple(values.saved), old=old, before=before)


class _Values:
    """Which values of forward a backward has, and how it gets them."""

    def __init__(self, kind: Kind, saved: Iterable[str]) -> None:
        self.kind = kind
        self.saved = dict.fromkeys(saved)
        self.old = set[str]()
        # Values that no assignment has: they are saved.
        self.outside = frozenset((*kind.inputs, *(earlier.name for earlier in kind.past)))

    def want(self, names: Iterable[str]) -> None:
        """Save the values that cannot be computed again from the potential and saved values."""
        for variable in names:
            if variable in self.kind.states:
                self.old.add(variable)
            elif variable in self.outside or (variable in self.kind.definitions and not self.computable(variable)):
                self.saved[variable] = None

    def computable(self, variable: str) -> bool:
        kind = self.kind
        if variable == kind.potential or variable in self.saved or variable in (*kind.columns, *kind.numbers):
            return True
        return variable in kind.definitions and all(map(self.computable, names_in(kind.definitions[variable])))

    def again(self, names: Iterable[str]) -> tuple[Statement, ...]:
        """Return the assignments that compute names again."""
        wanted: set[str] = set()

        def visit(variable: str) -> None:
            if variable in self.kind.definitions and variable != self.kind.potential and variable not in self.saved:
                wanted.add(variable)
                for wanted_name in names_in(self.kind.definitions[variable]):
                    visit(wanted_name)

        for wanted_name in names:
            visit(wanted_name)
        return tuple(statement for statement in self.kind.body if statement[0] in wanted)


def by_order(left: ast.expr, right: ast.expr, above: ast.expr, equal: ast.expr, below: ast.expr) -> ast.expr:
    """Return one of three expressions: for ``left > right``, for ``left == right``, and otherwise."""
    equality = ast.Compare(left, [ast.Eq()], [right])
    return ast.IfExp(ast.Compare(left, [ast.Gt()], [right]), above, ast.IfExp(equality, equal, below))


def is_flushed(value: ast.expr | None) -> bool:
    """Return whether an expression is a call of `flushed`."""
    return isinstance(value, ast.Call) and cast(ast.Name, value.func).id == "flushed"


def is_zero(value: ast.expr) -> bool:
    """Return whether an expression is the number 0."""
    return isinstance(value, ast.Constant) and value.value == 0


def multiply(left: ast.expr, right: ast.expr) -> ast.expr:
    """Return a product, simplified for a factor of 1, 0 or -1."""
    for factor, other in ((left, right), (right, left)):
        if isinstance(factor, ast.Constant) and factor.value in (0, 1):
            return other if factor.value else factor
    if isinstance(right, ast.UnaryOp) and isinstance(right.op, ast.USub):
        return negative(multiply(left, right.operand))
    if isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub):
        return negative(multiply(left.operand, right))
    return ast.BinOp(left, ast.Mult(), right)


def add(terms: Sequence[ast.expr]) -> ast.expr:
    """Return the sum of terms; ``g if s else 0`` and ``0 if s else g`` are g."""
    remaining = list(terms)
    for term in terms:
        if isinstance(term, ast.IfExp) and is_zero(term.orelse):
            opposite = ast.dump(ast.IfExp(term.test, term.orelse, term.body))
            matching = next((value for value in remaining if ast.dump(value) == opposite), None)
            if matching is not None and term in remaining:
                remaining[remaining.index(term)] = term.body
                remaining.remove(matching)
    if not remaining:
        return number(0.0)
    total = remaining[0]
    for term in remaining[1:]:
        if isinstance(term, ast.UnaryOp) and isinstance(term.op, ast.USub):
            total = ast.BinOp(total, ast.Sub(), term.operand)
        else:
            total = ast.BinOp(total, ast.Add(), term)
    return total


def _signed(value: ast.expr, sign: int = 1) -> list[tuple[int, ast.expr]]:
    """Return the terms of a sum, each with its sign."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Add, ast.Sub)):
        return [*_signed(value.left, sign), *_signed(value.right, sign if isinstance(value.op, ast.Add) else -sign)]
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return _signed(value.operand, -sign)
    return [] if is_zero(value) else [(sign, value)]


def difference(left: ast.expr, right: ast.expr) -> ast.expr:
    """Return ``left - right`` without rounding their common terms."""
    terms = _signed(left)
    for sign, value in _signed(right, -1):
        common = next((i for i, (s, v) in enumerate(terms) if s == -sign and ast.dump(v) == ast.dump(value)), None)
        if common is not None:
            del terms[common]
            continue
        for i, (s, v) in enumerate(terms):  # k u - u is (k - 1) u
            if s == -sign and isinstance(v, ast.BinOp) and isinstance(v.op, ast.Mult):
                factors = {ast.dump(v.left): v.right, ast.dump(v.right): v.left}
                if ast.dump(value) in factors:
                    reduced = ast.BinOp(factors[ast.dump(value)], ast.Sub(), number(1.0))
                    terms[i] = s, ast.BinOp(reduced, ast.Mult(), value)
                    break
        else:
            terms.append((sign, value))
    return add([value if sign > 0 else negative(value) for sign, value in terms])
