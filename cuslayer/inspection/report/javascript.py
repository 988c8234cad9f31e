"""Prints the step of a neuron in JavaScript, for the page that runs it; `kernels/step/print_cuda.py` prints CUDA."""

from __future__ import annotations

import ast
from typing import cast

import numpy as np

from cuslayer.kernels.step.kind import MARK, Kind, is_condition
from cuslayer.kernels.step.print_numba import ATOM, CFamily


class _JavaScript(CFamily):
    """JavaScript, in which each result is rounded to float32. Names begin with _, as no word of the language does."""

    def show_name(self, name: str) -> str:
        return f"_{name.replace(MARK, '$')}"

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
    period) and of all, the step t, and the weighted inputs x and the spikes s of all steps. It writes the potentials u
    and the spikes. A step that has an exponential, whose last bit is not the same everywhere, gives None.
    """
    calls = (node.func for _, value in kind.body for node in ast.walk(value) if isinstance(node, ast.Call))
    if "exp" in {cast(ast.Name, each).id for each in calls}:
        return None
    show = _JavaScript(kind.conditions)
    given = {each: f"states[j + {i} * width]" for i, each in enumerate(kind.states)}
    given |= {each: f"columns[(j % period) + {i} * period]" for i, each in enumerate(kind.columns)}
    given[kind.inputs[0]] = "x[t * width + j]"
    for earlier in kind.past:
        array = "s" if earlier.of == kind.spike else "x"
        lag = f"lags[{kind.lags.index(earlier.lag)}]"
        given[earlier.name] = f"{lag} > 0 && t >= {lag} ? {array}[(t - {lag}) * width + j] : 0"
    loop = list(given.items())
    loop += [(each, show.show(value, condition=is_condition(value))) for each, value in kind.body]
    lines = [f"const {show.show_name(each)} = numbers[{i}];" for i, each in enumerate(kind.numbers)]
    for state, factor in kind.fading:
        place = f"states[j + {kind.states.index(state)} * width]"
        lines.append(f"if (t % 8 === 0 || {show.show_name(factor)} < f32(0.1))")
        lines.append(f"  for (let j = 0; j < width; j++) {place} = flushed({place});")
    lines += ["for (let j = 0; j < width; j++) {"]
    lines += [f"  const {show.show_name(each)} = {text};" for each, text in loop]
    results = [*((f"states[j + {i} * width]", each) for i, each in enumerate(kind.after))]
    results += [("u[j]", kind.potential), *([("s[t * width + j]", kind.spike)] if kind.fires else [])]
    lines += [f"  {place} = {show.show_name(each)};" for place, each in results]
    inside = "\n".join(f"  {line}" for line in (*lines, "}"))
    return f"(width, states, columns, period, numbers, lags, t, x, u, s) => {{\n{inside}\n}}"
