"""Prints the step of a neuron in JavaScript, for pages that run or explain it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import cast

import numpy as np

from cuslayer.kernels.step.derive import is_zero
from cuslayer.kernels.step.kind import GRAD, MARK, Kind, Statement, is_condition
from cuslayer.kernels.step.print_numba import ATOM, CFamily, conditions_in
from cuslayer.neurons.held import LIMIT, held


class _Doubles(CFamily):
    """JavaScript. Names begin with _, as no word of the language does."""

    def show_name(self, name: str) -> str:
        return f"_{name.replace(MARK, '$')}"

    def number(self, value: float) -> str:
        return repr(float(np.float32(value)))

    def call(self, function: str, given: list[str]) -> str:
        return f"({given[0]})" if function == "flushed" else f"{function}({', '.join(given)})"

    def assigned(self, body: Iterable[Statement]) -> list[str]:
        """Return the lines of assignments."""
        shown = ((name, self.show(value, condition=is_condition(value))) for name, value in body)
        return [f"const {self.show_name(name)} = {text};" for name, text in shown]


class _JavaScript(_Doubles):
    """JavaScript in which each result is rounded to float32."""

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


def held_javascript(kind: Kind) -> str:
    """Return the text of an object of JavaScript: the step of a kind with its spikes held, and its derivative.

    ``run(z, s, c, limit, out)`` writes the outputs of a step, the states after it and the potential. z has the states
    before it and the inputs, s the spikes, c the constants of all neurons and those of the neuron. ``slopes(z, s, c,
    limit, g, into)`` adds to into the derivatives by z of the sum of the outputs with the weights g.
    """
    step = held(kind)
    derivatives = [step.derivative(output) for output in step.outputs]
    show = _Doubles(conditions_in(step.kind.body, *(body for body, _ in derivatives)))
    spikes = tuple(spike for spike, _ in step.spikes)
    numbers = tuple(name for name in step.kind.numbers if name not in (LIMIT, *spikes))
    places = {"z": step.variables, "s": spikes, "c": (*numbers, *step.kind.columns)}
    head = [
        f"const {show.show_name(name)} = {array}[{at}];"
        for array, names in places.items()
        for at, name in enumerate(names)
    ]
    head += [f"const {show.show_name(LIMIT)} = limit;", *show.assigned(step.kind.body)]
    run = [*head, *(f"out[{at}] = {show.show_name(output)};" for at, output in enumerate(step.outputs))]
    slopes = list(head)
    for at, (body, results) in enumerate(derivatives):
        inside = [f"const {show.show_name(GRAD)} = 1;", *show.assigned(body)]
        shown = ((place, show.show(value)) for place, value in enumerate(results) if not is_zero(value))
        inside += [f"into[{place}] += g[{at}] * finite({text});" for place, text in shown]
        slopes += ["{", *(f"  {line}" for line in inside), "}"]
    functions = {"run: (z, s, c, limit, out)": run, "slopes: (z, s, c, limit, g, into)": slopes}
    texts = []
    for function, lines in functions.items():
        text = "\n".join(f"    {line}" for line in lines)
        texts.append(f"  {function} => {{\n{text}\n  }},")
    return "\n".join(["{", *texts, "}"])
