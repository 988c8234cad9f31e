"""The tangent of a neuron's step: what a small change of its input changes later, for learning forward in time.

Backward over one step is linear in the gradients that it takes. Its coefficients, transposed, take the changes of the
states before a step and of its inputs to the changes of the states after it and of the output. So each rule that
learns forward in time has the derivative that backward has, for every kind of neuron and each mode of the gradient.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import cast

from cuslayer.kernels.step.derive import adjoint, is_flushed, is_zero, multiply
from cuslayer.kernels.step.kind import (
    GRAD,
    GRADED,
    SLOPE,
    Kind,
    Statement,
    is_atom,
    later,
    name,
    names_in,
    negative,
    number,
)

# The coefficients of a linear expression, by the names in which it is linear.
Terms = Mapping[str, ast.expr]


@dataclass(frozen=True, eq=False)
class Tangent:
    """The tangent of a step: matrices of expressions, without their zeros.

    A source is a state before the step, the input, a trained constant of the neuron, or a delayed value; numbers count
    them in this order. A delayed value is the sum of values that earlier steps have sent to it, each by its own lag.
    """

    body: tuple[Statement, ...]  # the assignments of the coefficients, after those of the step
    states: tuple[Mapping[int, ast.expr], ...]  # for each state after the step, the coefficients of the sources
    sent: tuple[Mapping[int, ast.expr], ...]  # for each lag, the coefficients of what is sent
    output: Mapping[int, ast.expr]  # the coefficients of the output; `body` has what they need only without `rise`
    # The same without the slope of the spike, which is then a factor of all; None if it is no factor.
    rise: Mapping[int, ast.expr] | None
    columns: int  # the number of trained constants
    delayed: int  # the number of delayed values
    lags: tuple[str, ...]  # the constants that are the lags
    targets: tuple[int, ...]  # for each lag, the delayed value to which it sends
    uniform: bool  # whether only constants of the neurons are in the coefficients, except for the slope

    @property
    def sources(self) -> int:
        """The number of sources."""
        return len(self.states) + 1 + self.columns + self.delayed

    def reached(self, *sources: int) -> set[int]:
        """Return sources, and the sources that a change of them reaches."""
        live = set(sources)
        before = 0
        while len(live) != before:
            before = len(live)
            live |= {at for at, row in enumerate(self.states) if live & set(row)}
            live |= {to for to, row in zip(self.targets, self.sent, strict=True) if live & set(row)}
        return live


class NotLinear(ValueError):
    """An expression is not linear in some names."""


@cache
def tangent(kind: Kind, exact: bool, graded: bool, trained: bool) -> Tangent:
    """Return the tangent of a kind with one input: with all paths through the spike if `exact`.

    If the constants that differ between neurons are `trained`, they are sources too.

    Raises:
        NotLinear: the kind has no adjoint, one that is not linear, or several inputs.
    """
    if not kind.derived or len(kind.inputs) != 1:
        raise NotLinear("the step has no adjoint" if not kind.derived else "the step has several inputs")
    reverse = adjoint(kind, exact, trained)
    basis = (*map(later, kind.states), GRAD, *(value.name for value in reverse.past))
    forms = _Forms(basis, kind.definitions, graded)
    for target, value in reverse.body:
        forms.assign(target, value)
    sent_from = tuple(dict.fromkeys(value.of for value in reverse.past))
    results = (*reverse.states, *reverse.inputs, *reverse.columns, *map(name, sent_from))
    rows = [forms.of(value) for value in results]
    first_delayed = len(results) - len(sent_from)

    def column(of: str) -> dict[int, ast.expr]:
        return {source: row[of] for source, row in enumerate(rows) if of in row}

    states = tuple(column(later(state)) for state in kind.states)
    sent = tuple(column(value.name) for value in reverse.past)
    output = column(GRAD)
    rise = _without_slope(output, forms.body) if kind.fires else output
    carried = [value for part in (*states, *sent, output if rise is None else rise) for value in part.values()]
    return Tangent(
        body=_needed(forms.body, carried),
        states=states,
        sent=sent,
        output=output,
        rise=rise,
        columns=len(reverse.columns),
        delayed=len(sent_from),
        lags=tuple(value.lag for value in reverse.past),
        targets=tuple(first_delayed + sent_from.index(value.of) for value in reverse.past),
        uniform=rise is not None and _only_constants(carried, kind, forms.body),
    )


def _needed(body: Sequence[Statement], values: Sequence[ast.expr]) -> tuple[Statement, ...]:
    """Return the assignments that some values need."""
    used = {variable for value in values for variable in names_in(value)}
    needed = []
    for target, value in reversed(body):
        if target in used:
            used.update(names_in(value))
            needed.append((target, value))
    return tuple(reversed(needed))


def _without_slope(output: Mapping[int, ast.expr], body: Sequence[Statement]) -> dict[int, ast.expr] | None:
    """Return coefficients divided by the slope of the spike; None if it is not a factor of each."""
    definitions = dict(body)

    def written_out(value: ast.expr) -> ast.expr:
        return _Inlined(definitions).visit(copy.deepcopy(value))

    forms = _Forms((SLOPE,), (), False)
    try:
        divided = {source: forms.of(written_out(value)).get(SLOPE) for source, value in output.items()}
    except NotLinear:
        return None
    return {source: value for source, value in divided.items() if value is not None} if all(divided.values()) else None


class _Inlined(ast.NodeTransformer):
    """Puts the assigned expressions in the place of names."""

    def __init__(self, definitions: Mapping[str, ast.expr]) -> None:
        self.definitions = definitions

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self.definitions.get(node.id)
        return node if value is None else self.visit(copy.deepcopy(value))


def _only_constants(values: Sequence[ast.expr], kind: Kind, body: Sequence[Statement]) -> bool:
    """Return whether expressions have only constants of the neurons."""
    definitions = {**kind.definitions, **dict(body)}
    constants = {*kind.numbers, *kind.columns}

    def constant(variable: str) -> bool:
        if variable in constants:
            return True
        return variable in definitions and all(map(constant, names_in(definitions[variable])))

    return all(constant(variable) for value in values for variable in names_in(value))


class _Forms:
    """Linear expressions as their coefficients; `body` has the assignments that these need."""

    def __init__(self, basis: Collection[str], known: Collection[str], graded: bool) -> None:
        self.forms: dict[str, Terms] = {variable: {variable: number(1.0)} for variable in basis}
        self.known = known
        self.graded = graded
        self.body: list[Statement] = []

    def assign(self, target: str, value: ast.expr) -> None:
        """Read an assignment; a step's own values are there already."""
        if target in self.known:
            return
        form = self.of(value)
        if not form:
            self.body.append((target, value))
            return
        named = {}
        for variable, coefficient in form.items():
            if not is_atom(coefficient):
                label = f"{target.rstrip(chr(39))}_by_{variable.rstrip(chr(39))}'"
                self.body.append((label, coefficient))
                coefficient = name(label)
            named[variable] = coefficient
        self.forms[target] = named

    def of(self, value: ast.expr) -> Terms:
        """Return the coefficients of an expression; none if it has no name of the basis."""
        if isinstance(value, ast.Name):
            return self.forms.get(value.id, {})
        if not any(variable in self.forms for variable in names_in(value)):
            return {}
        if is_flushed(value):
            return self.of(cast(ast.Call, value).args[0])
        if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
            return {variable: negative(form) for variable, form in self.of(value.operand).items()}
        if isinstance(value, ast.IfExp) and not self.of(value.test):
            return self.choice(value)
        if isinstance(value, ast.BinOp):
            return self.arithmetic(value)
        raise NotLinear(f"backward must be linear in gradients, got {ast.unparse(value)}")

    def choice(self, value: ast.IfExp) -> Terms:
        test = value.test
        if GRADED in names_in(test):
            if not self.graded:
                return self.part(value.orelse)
            if not isinstance(test, ast.BoolOp):
                return self.part(value.body)
            test = test.values[1]  # whether a spike carries the potential, and there is one
        body = self.part(value.body)
        orelse = self.part(value.orelse)
        zero = number(0.0)
        chosen = {}
        for variable in {**body, **orelse}:
            first = body.get(variable, zero)
            second = orelse.get(variable, zero)
            same = ast.dump(first) == ast.dump(second)
            chosen[variable] = first if same else ast.IfExp(test, first, second)
        return chosen

    def part(self, value: ast.expr) -> Terms:
        """Return the coefficients of a term, which must be 0 where the names of the basis are."""
        form = self.of(value)
        if not form and not is_zero(value) and not any(variable in self.forms for variable in names_in(value)):
            raise NotLinear(f"backward must be linear in gradients, got the term {ast.unparse(value)}")
        return form

    def arithmetic(self, value: ast.BinOp) -> Terms:
        left = self.of(value.left)
        right = self.of(value.right)
        if isinstance(value.op, (ast.Add, ast.Sub)):
            total = dict(self.part(value.left))
            for variable, coefficient in self.part(value.right).items():
                if isinstance(value.op, ast.Sub):
                    coefficient = negative(coefficient)
                before = total.get(variable)
                total[variable] = coefficient if before is None else ast.BinOp(before, ast.Add(), coefficient)
            return total
        if isinstance(value.op, ast.Mult) and not (left and right):
            factor = value.right if left else value.left
            return {variable: multiply(coefficient, factor) for variable, coefficient in (left or right).items()}
        if isinstance(value.op, ast.Div) and not right:
            return {v: ast.BinOp(coefficient, ast.Div(), value.right) for v, coefficient in left.items()}
        raise NotLinear(f"backward must be linear in gradients, got {ast.unparse(value)}")


@cache
def of_samples(length: int) -> Tangent:
    """Return the tangent of a sampled response: the states are the inputs of the last steps, the newest first.

    All coefficients are numbers that the caller has: 1 for each state, then the samples.
    """
    one = number(1.0)
    given = length - 1
    moved = ({given if state == 0 else state - 1: one} for state in range(given))
    output = {given: one} | dict.fromkeys(range(given), one)
    return Tangent((), tuple(moved), (), output, output, 0, 0, (), (), True)
