"""Neurons of integers in C: the fixed point of `integers/fixed.py` in 64 bits, states in 16 or 32."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.c_code.neurons import sent, used_names
from cuslayer.interchange.c_code.program import Program, Ring, Stage, loop
from cuslayer.interchange.c_code.returning import Returning, conv_of_returns
from cuslayer.interchange.c_code.synapses import dense
from cuslayer.interchange.integers.fixed import (
    INPUT_BITS,
    PRODUCT_BITS,
    Factor,
    FixedStep,
    constant_of,
    factor_of,
)
from cuslayer.interchange.integers.neurons import IntegerNeurons, IntegerReadOut
from cuslayer.kernels.step.kind import is_condition, names_in
from cuslayer.kernels.step.print_c import field_of, number, word
from cuslayer.kernels.step.print_numba import CFamily
from cuslayer.layers.base import form_of

_INT32 = 1 << 31


class _Printer(CFamily):
    """Expressions of a step in 64 bits; constants that differ between neurons are arrays."""

    def __init__(self, program: Program, stage: Stage, step: FixedStep) -> None:
        super().__init__(step.kind.conditions)
        self.program = program
        self.stage = stage
        self.step = step
        self.size = stage.output.size

    def show_name(self, name: str) -> str:
        return word(name)

    def whole(self, values: Any) -> str:
        """Return the expression of whole numbers, of all neurons or of neuron j."""
        numbers = np.broadcast_to(values, self.stage.output.shape).ravel() if np.ndim(values) else np.asarray(values)
        kind = "int32_t" if np.abs(numbers).max(initial=0) < _INT32 else "int64_t"
        self.program.tables += 1
        text = self.program.value(f"table_{self.program.tables}", numbers, "j", self.size, kind)
        return f"INT64_C({text})" if text.lstrip("-").isdigit() else text

    def fixed(self, value: Any) -> str:
        return self.whole(self.step.fixed(value))

    def scaled(self, value: str, factor: Factor) -> str:
        shifted = self.program.call("shifted")
        return f"{shifted}({value} * {self.whole(factor.mantissa)}, {factor.shift})"

    def number(self, value: float) -> str:
        return self.fixed(value)

    def call(self, function: str, arguments: list[str]) -> str:
        if function in ("min", "max"):
            left, right = arguments
            return f"({left} {'<' if function == 'min' else '>'} {right} ? {left} : {right})"
        if function == "abs":
            return f"({arguments[0]} < 0 ? -{arguments[0]} : {arguments[0]})"
        return arguments[0]

    def _show(self, value: ast.expr, condition: bool) -> tuple[str, int]:
        constant = None if condition else constant_of(value, self.step.constants)
        atom = 7
        if constant is not None:
            return f"({self.fixed(constant)})", atom
        if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Mult, ast.Div)):
            factor, other = factor_of(value, self.step.constants)
            if factor is not None:
                return self.scaled(self.show(other, atom), factor), atom
            shifted = self.program.call("shifted")
            saturated = self.program.call("saturated")
            most = (1 << (PRODUCT_BITS - 1)) - 1
            parts = (f"{saturated}({self.show(part)}, INT64_C({most}))" for part in (value.left, value.right))
            product = " * ".join(parts)
            return f"{shifted}({product}, {self.step.fraction})", atom
        if isinstance(value, ast.Call):
            function = cast(ast.Name, value.func).id
            return f"({self.call(function, [self.show(part, atom) for part in value.args])})", atom
        return super()._show(value, condition)

    def statements(self) -> list[str]:
        """Return the lines of the step's assignments."""
        kind = self.step.kind
        used = {kind.potential, kind.spike, *kind.after}
        lines = list[str]()
        for target, value in reversed(kind.body):
            if target in used:
                used.update(names_in(value))
                condition = is_condition(value)
                shown = self.show(value, condition=condition)
                lines.append(f"const {'int' if condition else 'int64_t'} {word(target)} = {shown};")
        return lines[::-1]


def write_integers(program: Program, stage: Stage) -> None:
    """Add neurons or a read-out of integers."""
    layer = stage.layer
    if isinstance(layer, IntegerReadOut):
        # Within the block, y are the sums of the weights.
        sums = program.state("int32_t", f"sums_of_{stage.number}", stage.output.size)
        summed = dense(program, replace(stage, part=layer.dense))
        _write(program, stage, layer.neurons, f"{sums}[j]", f"{{\nint32_t *y = {sums};\n{summed}\n}}")
    else:
        _write(program, stage, layer, "x[j]", "")


def _write(program: Program, stage: Stage, neurons: IntegerNeurons, x: str, before: str) -> None:
    step = neurons.step
    kind = step.kind
    size = stage.output.size
    show = _Printer(program, stage, step)
    stored = f"int{step.bits}_t"
    most = f"INT64_C({(1 << (step.bits - 1)) - 1})"
    states = [program.state(stored, field_of(stage.number, state), size) for state in kind.states]
    for state, start in zip(states, step.start(()), strict=True):
        if start:
            program.starts.append(loop("j", size, f"{state}[j] = {int(start)};"))
    weighted = show.scaled(f"(int64_t){x}", neurons.factor)
    if np.any(neurons.added):
        weighted += f" + {show.whole(neurons.added)}"
    after = ""
    if neurons.layer is not None:
        text, after, sums = _back(program, stage, neurons)
        before += text
        weighted += f" + {show.scaled(f'(int64_t){sums}[j]', cast(Factor, neurons.back))}"
    limited = program.call("saturated")
    values = {kind.inputs[0]: f"{limited}({weighted}, INT64_C({(1 << (INPUT_BITS - 1)) - 1}))"}
    for name, state, fraction in zip(kind.states, states, step.states, strict=True):
        values[name] = f"(int64_t){state}[j] * INT64_C({1 << (step.fraction - fraction)})"
    rings = _rings(program, stage, step)
    for earlier in kind.past:
        lag = step.lags[earlier.lag]
        spikes = earlier.of == kind.spike
        value = f"(int64_t){rings[earlier.of].before(lag)}[j]" if lag else "0"
        values[earlier.name] = value + (f" * INT64_C({1 << step.fraction})" if lag and spikes else "")
    body = show.statements()
    shifted = program.call("shifted")
    saturated = program.call("saturated")
    for state, name, fraction in zip(states, kind.after, step.states, strict=True):
        value = f"{shifted}({show.show(ast.Name(name))}, {step.fraction - fraction})"
        body.append(f"{state}[j] = ({stored}){saturated}({value}, {most});")
    for of, ring in rings.items():
        body.append(f"{ring.now}[j] = {'(uint8_t)' if of == kind.spike else ''}{word(of)};")
    unit = number(2.0**-step.fraction)
    spike = word(kind.spike) if kind.fires else ""
    body += sent(program, stage, f"(float)((float){word(kind.potential)} * {unit})", spike)
    used = used_names("\n".join(body))
    body[:0] = [f"const int64_t {word(name)} = {value};" for name, value in values.items() if word(name) in used]
    turns = [ring.turn for ring in rings.values()]
    text = "\n".join([before, loop("j", size, *body), *turns, after])
    program.function(stage, text, potentials=not stage.is_read_out)


def _rings(program: Program, stage: Stage, step: FixedStep) -> Mapping[str, Ring]:
    """Return the ring buffers of the inputs and spikes that the step reads again."""
    rings = {}
    kind = step.kind
    for of in dict.fromkeys(earlier.of for earlier in kind.past):
        rows = max(step.lags[earlier.lag] for earlier in kind.past if earlier.of == of)
        if rows:
            spikes = of == kind.spike
            what = f"past_{'spikes' if spikes else 'inputs'}_{stage.number}"
            rings[of] = Ring.of(program, what, "uint8_t" if spikes else "int64_t", rows, stage.output.size)
    return rings


def _back(program: Program, stage: Stage, neurons: IntegerNeurons) -> tuple[str, str, str]:
    """Return the statements that sum the weights of earlier spikes, those that keep the spikes, and the sums."""
    size = stage.output.size
    layer = neurons.layer
    weight: Array = np.asarray(to_numpy(layer.weight.data)).astype(np.int64)
    name = program.array(f"weight_{stage.number}", weight, "int8_t")
    sums = program.state("int32_t", f"back_{stage.number}", size)
    returning = Returning.of(program, stage, neurons.delay)
    if form_of(layer) == "conv":
        added = conv_of_returns(replace(stage, part=layer), name, weight.shape, sums)
    else:
        row = f"const int8_t *row = {name} + back[e] * {size}u;"
        added = f"for (uint32_t e = 0; e < returns; e++) {{\n{row}\n{loop('j', size, f'{sums}[j] += row[j];')}\n}}"
    before = f"""
        {returning.before(neurons.delay)}
        {loop("k", size, f"{sums}[k] = 0;")}
        {added}
    """
    return before, returning.keep, sums
