"""Prints the step of a neuron in JavaScript, for the page that runs it; `kernels/neuron/printer.py` prints its CUDA."""

from __future__ import annotations

import ast
from typing import cast

import numpy as np

from cuslayer.kernels.neuron.kind import Kind, is_condition
from cuslayer.kernels.neuron.printer import ATOM, Cuda


class _JavaScript(Cuda):
    """JavaScript, in which each result is rounded to float32. Names begin with _, as no word of the language does."""

    def show_name(self, name: str) -> str:
        return f"_{name}"

    def number(self, value: float) -> str:
        return repr(float(np.float32(value)))

    def call(self, function: str, given: list[str]) -> str:
        return f"{function}({', '.join(given)})"

    def _show(self, value: ast.expr, condition: bool) -> tuple[str, int]:
        text, strength = super()._show(value, condition)
        return (f"f32({text})", ATOM) if isinstance(value, ast.BinOp) else (text, strength)


def javascript(kind: Kind) -> str | None:
    """Return the text of a function of JavaScript that runs a row of neurons for a step, in float32.

    It is given the row's width, the states one after the other, the constants of each neuron (column j has those at j %
    period) and those of all, and the weighted input x. It writes the potentials u and the spikes s. A step that has an
    exponential, whose last bit is not the same everywhere, gives None.
    """
    calls = (node.func for _, value in kind.body for node in ast.walk(value) if isinstance(node, ast.Call))
    if "exp" in {cast(ast.Name, each).id for each in calls}:
        return None
    show = _JavaScript(kind.conditions)
    given = {each: f"states[j + {i} * width]" for i, each in enumerate(kind.states)}
    given |= {each: f"columns[(j % period) + {i} * period]" for i, each in enumerate(kind.columns)}
    loop = [(each, at) for each, at in (given | {kind.inputs[0]: "x[j]"}).items()]
    loop += [(each, show.show(value, condition=is_condition(value))) for each, value in kind.body]
    lines = [f"const {show.show_name(each)} = numbers[{i}];" for i, each in enumerate(kind.numbers)]
    lines += ["for (let j = 0; j < width; j++) {"]
    lines += [f"  const {show.show_name(each)} = {text};" for each, text in loop]
    results = [*((f"states[j + {i} * width]", each) for i, each in enumerate(kind.after))]
    results += [("u[j]", kind.potential), ("s[j]", kind.spike)]
    lines += [f"  {place} = {show.show_name(each)};" for place, each in results]
    inside = "\n".join(f"  {line}" for line in (*lines, "}"))
    return f"(width, states, columns, period, numbers, x, u, s) => {{\n{inside}\n}}"
