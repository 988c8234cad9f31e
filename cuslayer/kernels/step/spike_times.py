"""The step of neurons whose gradient is that of exact spike times (EventProp).

A crossing of the threshold moves by ``-du / slope`` in time. The loss then changes by what an earlier spike would
change: in other layers, by the gradient of a spike one step later less its own, and in the neuron itself, by the states
after a spike one step earlier less its own. Forward computes the slope and these states, so that backward at a step
needs the gradient of the next step alone.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import cast

from cuslayer.kernels.step.kind import MARK, Crossing, Kind, Statement, is_condition, name, names_in, number

# The lag of the gradient at the next step, a constant that is 1.
NEXT_STEP = "timed_step"
# The rise of a potential in a step, in thresholds, below which it does not cross: a constant, `LEAST_SLOPE` times dt.
LEAST = "timed_least"
# Thresholds per ms. The gradient of a slower potential is so large that it would only disturb learning.
LEAST_SLOPE = 0.005
# The potential before a step that follows a spike: its rise is too small.
_UNKNOWN = 1e18


def constants_of(dt: float) -> dict[str, float]:
    """Return the constants that a timed kind has in addition, for a step of dt ms."""
    return {NEXT_STEP: 1, LEAST: LEAST_SLOPE * dt}


@cache
def timed(kind: Kind) -> Kind:
    """Return the kind whose gradient is that of exact spike times; itself if it does not fire."""
    if not kind.fires:
        return kind
    fired, after_spike = _steps(kind, "fired", True, {})
    changed = [place for place, after in enumerate(after_spike) if after != kind.after[place]]
    earlier = {kind.states[place]: _new(kind.states[place]) for place in changed}
    silent, after_earlier = _steps(kind, "early", False, earlier)
    threshold = cast(ast.Compare, kind.definitions[kind.spike])
    before, rise, crosses, fires, divisor, inverse, end = map(
        _new, ("before", "rise", "crosses", "fires", "divisor", "inverse", "end")
    )
    least = ast.BinOp(name(LEAST), ast.Mult(), threshold.comparators[0])
    body = [
        *fired,
        *silent,
        (rise, ast.BinOp(threshold.left, ast.Sub(), name(before))),
        (crosses, ast.Compare(name(rise), [ast.Gt()], [least])),
        (fires, ast.BoolOp(ast.And(), [name(kind.spike), name(crosses)])),
        (divisor, ast.IfExp(name(fires), name(rise), number(1.0))),
        (inverse, ast.BinOp(name(fires), ast.Div(), name(divisor))),
        (end, ast.IfExp(name(kind.spike), number(_UNKNOWN), threshold.left)),
    ]
    moved = []
    for state, after, usual in zip(kind.states, after_earlier, kind.after, strict=True):
        if after != usual:
            change = ast.BinOp(name(after), ast.Sub(), name(usual))
            moved.append((state, _new(f"moved_{state}")))
            body.append((moved[-1][1], ast.BinOp(change, ast.Mult(), name(inverse))))
    further = (*earlier.values(), before)
    return replace(
        kind,
        states=(*kind.states, *further),
        body=(*kind.body, *body),
        after=(*kind.after, *(after_spike[place] for place in changed), end),
        start=(*kind.start, *(kind.start[place] for place in changed), 0.0),
        numbers=(*kind.numbers, LEAST),
        lags=(*kind.lags, NEXT_STEP),
        unfired=False,
        own=None,
        own_exact=None,
        crossing=Crossing(kind, inverse, tuple(moved), further),
    )


def _new(word: str) -> str:
    """Return a name that no step can have."""
    return f"timed_{word}{MARK}"


def _steps(kind: Kind, prefix: str, fires: bool, states: Mapping[str, str]) -> tuple[list[Statement], list[str]]:
    """Return the assignments of a step that fires or not, and the names of its states after it.

    The states before it may have other names. Values that are as in the step itself keep their names.
    """
    rewrite = _Rewrite(kind, fires, states)
    body = []
    for target, value in kind.body:
        if target == kind.spike:
            continue
        rewritten = rewrite.visit(copy.deepcopy(value))  # it changes what it visits
        if is_condition(value) and isinstance(rewritten, ast.Constant):
            rewrite.known[target] = rewritten
        elif ast.dump(rewritten) != ast.dump(value):
            rewrite.known[target] = name(_new(f"{prefix}_{target}"))
            body.append((_new(f"{prefix}_{target}"), rewritten))
    after = []
    for usual in kind.after:
        value = rewrite.known.get(usual, name(usual))
        if isinstance(value, ast.Constant):  # the spike is a state
            body.append((_new(f"{prefix}_{usual}"), value))
            value = name(body[-1][0])
        after.append(cast(ast.Name, value).id)
    used = set(after)
    for target, value in reversed(body):
        used |= set(names_in(value)) if target in used else set()
    return [(target, value) for target, value in body if target in used], after


class _Rewrite(ast.NodeTransformer):
    """Replaces the spike by 1 or 0, in arithmetic and as a condition, and names by others."""

    def __init__(self, kind: Kind, fires: bool, names: Mapping[str, str]) -> None:
        self.fires = fires
        self.threshold = cast(ast.Compare, kind.definitions[kind.spike])
        self.known: dict[str, ast.expr] = {old: name(new) for old, new in names.items()}
        self.known[kind.spike] = number(float(fires))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.known.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return ast.Call(node.func, [self.visit(argument) for argument in node.args], [])

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        sides = (ast.dump(node.left), ast.dump(node.comparators[0]))
        if sides == (ast.dump(self.threshold.left), ast.dump(self.threshold.comparators[0])):
            return number(float(isinstance(node.ops[0], (ast.Gt, ast.GtE)) == self.fires))
        return cast(ast.expr, self.generic_visit(node))

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test = self.visit(node.test)
        if isinstance(test, ast.Constant):
            return self.visit(node.body if test.value else node.orelse)
        return ast.IfExp(test, self.visit(node.body), self.visit(node.orelse))
