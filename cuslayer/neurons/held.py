"""A neuron's step with its spikes held as they were: a function of the states before it and of its input.

A potential may also be limited to the threshold where the neuron did not fire, so that no other spike is due.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from functools import cache
from typing import NamedTuple, cast

from cuslayer.kernels.step.derive import adjoint
from cuslayer.kernels.step.kind import MARK, Kind, Statement, name, negative

# The name of the potential's limit, and of the potential without it.
LIMIT = f"limit{MARK}"
_UNLIMITED = f"unlimited{MARK}"


class Held(NamedTuple):
    """A step with its spikes held.

    Attributes:
        kind: the step, in which spikes and the potential's limit are numbers, and inputs of some steps ago are inputs.
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
    body = _held_body(kind) if kind.fires else kind.body
    of_input = [earlier for earlier in kind.past if earlier.of != kind.spike]
    of_spike = [(earlier.name, earlier.lag) for earlier in kind.past if earlier.of == kind.spike]
    inputs = (*kind.inputs, *(earlier.name for earlier in of_input))
    spikes = ((kind.spike, ""), *of_spike) if kind.fires else ()
    alone = replace(
        kind,
        body=body,
        inputs=inputs,
        numbers=(*kind.numbers, LIMIT, *(spike for spike, _ in spikes)),
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


def _held_body(kind: Kind) -> tuple[Statement, ...]:
    """Return the assignments of a step in which the spike is a number, and the potential has a limit without one."""
    hold = _Hold(kind.spike, cast(ast.Compare, kind.definitions[kind.spike]))
    body = list[Statement]()
    for target, value in kind.body:
        if target == kind.potential:
            body += _limited(kind, hold.visit(copy.deepcopy(value)))
        elif target != kind.spike:
            body.append((target, hold.visit(copy.deepcopy(value))))
    return tuple(body)


def _limited(kind: Kind, potential: ast.expr) -> list[Statement]:
    """Return assignments that limit a potential, above and, if the neuron fires there too, below."""
    low, lowest, limited = (f"{word}{MARK}" for word in ("low", "lowest", "limited"))
    body = [(_UNLIMITED, potential), (limited, ast.Call(name("min"), [name(_UNLIMITED), name(LIMIT)], []))]
    if kind.two_sided:
        body += [(lowest, negative(name(LIMIT))), (low, ast.Call(name("max"), [name(limited), name(lowest)], []))]
        limited = low
    return [*body, (kind.potential, ast.IfExp(name(kind.spike), name(_UNLIMITED), name(limited)))]


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
