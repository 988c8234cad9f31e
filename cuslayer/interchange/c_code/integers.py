"""Integers in C: the fixed point of `integers/fixed.py` in 64 bits, states in 16 or 32, and layers without weights."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any, cast

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.c_code.neurons import rings_of_past, sent, used_names
from cuslayer.interchange.c_code.program import Program, Stage, loop
from cuslayer.interchange.c_code.returning import Returning, conv_of_returns
from cuslayer.interchange.c_code.synapses import dense, kinds
from cuslayer.interchange.integers.fixed import (
    INPUT_BITS,
    PRODUCT_BITS,
    STEP_BITS,
    Factor,
    FixedStep,
    constant_of,
    factor_of,
)
from cuslayer.interchange.integers.layers import VALUE_BITS, IntegerJoin, Numbers, Rescaled, Rounded
from cuslayer.interchange.integers.neurons import IntegerNeurons, IntegerReadOut
from cuslayer.kernels.step.print_c import field_of, number, statements, word
from cuslayer.kernels.step.print_numba import ATOM, CFamily
from cuslayer.layers.base import form_of

_INT32 = 1 << 31
# What `write_integers` writes.
WRITTEN = (IntegerJoin, IntegerNeurons, IntegerReadOut, Numbers, Rescaled, Rounded)


def _whole(program: Program, values: Any, shape: tuple[int, ...], index: str = "j") -> str:
    """Return the expression of whole numbers, of all neurons or by the index of a neuron."""
    numbers = np.broadcast_to(values, shape).ravel() if np.ndim(values) else np.asarray(values)
    kind = "int32_t" if np.abs(numbers).max(initial=0) < _INT32 else "int64_t"
    program.tables += 1
    text = program.value(f"table_{program.tables}", numbers, index, int(np.prod(shape)), kind)
    return f"INT64_C({text})" if text.lstrip("-").isdigit() else text


def _limited(program: Program, value: str, bits: int) -> str:
    """Return a value within the range of signed numbers of some bits."""
    return f"{program.call('saturated')}({value}, INT64_C({(1 << (bits - 1)) - 1}))"


def _scaled(program: Program, value: str, factor: Factor, shape: tuple[int, ...], index: str = "j") -> str:
    """Return a value times a factor."""
    if factor.shift == 0 and np.all(factor.mantissa == 1):
        return value
    product = f"{value} * {_whole(program, factor.mantissa, shape, index)}"
    if factor.shift < 0:
        product = _limited(program, product, factor.left_bits)
    return f"{program.call('shifted')}({product}, {factor.shift})"


class _Printer(CFamily):
    """Expressions of a step in 64 bits; constants that differ between neurons are arrays."""

    def __init__(self, program: Program, stage: Stage, step: FixedStep) -> None:
        super().__init__(step.kind.conditions)
        self.program = program
        self.step = step
        self.shape = stage.output.shape

    def show_name(self, name: str) -> str:
        return word(name)

    def fixed(self, value: Any) -> str:
        return _whole(self.program, self.step.fixed(value), self.shape)

    def number(self, value: float) -> str:
        return self.fixed(value)

    def call(self, function: str, arguments: list[str]) -> str:
        if function == "saturated":
            return _limited(self.program, arguments[0], STEP_BITS)
        if function in ("min", "max"):
            left, right = arguments
            return f"({left} {'<' if function == 'min' else '>'} {right} ? {left} : {right})"
        if function == "abs":
            return f"({arguments[0]} < 0 ? -{arguments[0]} : {arguments[0]})"
        return arguments[0]

    def _show(self, value: ast.expr, condition: bool) -> tuple[str, int]:
        constant = None if condition else constant_of(value, self.step.constants)
        if constant is not None:
            return f"({self.fixed(constant)})", ATOM
        if isinstance(value, ast.BinOp) and isinstance(value.op, (ast.Mult, ast.Div)):
            factor, other = factor_of(value, self.step.constants)
            if factor is not None:
                return _scaled(self.program, self.show(other, ATOM), factor, self.shape), ATOM
            parts = (_limited(self.program, self.show(part), PRODUCT_BITS) for part in (value.left, value.right))
            product = " * ".join(parts)
            return f"{self.program.call('shifted')}({product}, {self.step.fraction})", ATOM
        if isinstance(value, ast.Call):
            function = cast(ast.Name, value.func).id
            return f"({self.call(function, [self.show(part, ATOM) for part in value.args])})", ATOM
        return super()._show(value, condition)


def write_integers(program: Program, stage: Stage) -> None:
    """Add neurons or a read-out of integers, or a layer without weights."""
    layer = stage.layer
    if isinstance(layer, IntegerReadOut):
        # Within the block, y are the sums of the weights.
        part = replace(stage, part=layer.dense)
        kind = kinds(part)[1]
        sums = program.state(kind, f"sums_of_{stage.number}", stage.output.size)
        summed = dense(program, part)
        _write(program, stage, layer.neurons, f"{sums}[j]", f"{{\n{kind} *y = {sums};\n{summed}\n}}")
    elif isinstance(layer, IntegerNeurons):
        _write(program, stage, layer, "x[j]", "")
    elif isinstance(layer, IntegerJoin):
        program.function(stage, _join(program, stage, layer))
    elif isinstance(layer, Rounded):
        program.function(stage, _rounded(program, stage, layer))
    else:
        size = stage.output.size
        if isinstance(layer, Rescaled):
            value = _scaled(program, "(int64_t)x[j]", layer.factor, stage.output.shape)
            value = _added(program, value, layer.added, stage.output.shape)
            value = f"(int16_t){_limited(program, value, VALUE_BITS)}"
        else:
            scale, added = (
                program.value(f"{what}_{stage.number}", np.broadcast_to(values, stage.output.shape), "j", size)
                for what, values in (("scale", layer.scale), ("added", layer.added))
            )
            value = f"(float)((float)((float)x[j] * {scale}) + {added})"
        program.function(stage, loop("j", size, f"y[j] = {value};"))


def _rounded(program: Program, stage: Stage, layer: Rounded) -> str:
    """Return the statements that round the input."""
    size = stage.output.size
    if stage.given.spikes:
        one = int(layer.mapped(np.ones(1, np.float32))[0])
        return loop("j", size, "y[j] = 0;") + f"\nfor (uint32_t e = 0; e < count; e++) {{\ny[events[e]] = {one};\n}}"
    rounded = program.call("rounded")
    return loop("j", size, f"y[j] = {rounded}((float)(x[j] * {number(2.0**layer.point)}));")


def _added(program: Program, value: str, added: Array, shape: tuple[int, ...], index: str = "j") -> str:
    """Return a value plus whole numbers."""
    return f"{value} + {_whole(program, added, shape, index)}" if np.any(added) else value


def _join(program: Program, stage: Stage, layer: IntegerJoin) -> str:
    """Return the statements that join branches, each times its factor."""
    kind = stage.output.kind
    size = stage.output.size
    concatenated = layer.how == "concatenate"
    offsets = layer.offsets([signal.shape for signal in stage.inputs]) if concatenated else [0] * len(stage.inputs)
    parts = [loop("k", size, "y[k] = 0;")]
    for position, (signal, offset) in enumerate(zip(stage.inputs, offsets, strict=True)):
        end = str(position) if len(stage.inputs) > 1 else ""
        factor = layer.factors[position]
        own = signal.shape[-1]
        place = f"j / {own}u * {stage.output.shape[-1]}u + {offset}u + j % {own}u" if concatenated else "j"
        if signal.spikes:
            value = _whole(program, factor.times(np.int64(1)), signal.shape)
            inside = f"const uint32_t j = events{end}[e];\ny[{place}] += ({kind}){value};"
            parts.append(f"for (uint32_t e = 0; e < count{end}; e++) {{\n{inside}\n}}")
        else:
            value = _scaled(program, f"(int64_t)x{end}[j]", factor, signal.shape)
            value = _added(program, value, layer.added[position], signal.shape)
            parts.append(loop("j", signal.size, f"y[{place}] += ({kind})({value});"))
    return "\n".join(parts)


def _write(program: Program, stage: Stage, neurons: IntegerNeurons, x: str, before: str) -> None:
    step = neurons.step
    kind = step.kind
    shape = stage.output.shape
    size = stage.output.size
    show = _Printer(program, stage, step)
    stored = f"int{step.bits}_t"
    states = [program.state(stored, field_of(stage.number, state), size) for state in kind.states]
    for state, start in zip(states, step.start(()), strict=True):
        if start:
            program.starts.append(loop("j", size, f"{state}[j] = {int(start)};"))
    weighted = _scaled(program, f"(int64_t){x}", neurons.factor, shape)
    weighted = _added(program, weighted, neurons.added, shape)
    after = ""
    if neurons.layer is not None:
        text, after, sums = _back(program, stage, neurons)
        before += text
        weighted += f" + {_scaled(program, f'(int64_t){sums}[j]', cast(Factor, neurons.back), shape)}"
    values = {kind.inputs[0]: _limited(program, weighted, INPUT_BITS)}
    for name, state, fraction in zip(kind.states, states, step.states, strict=True):
        values[name] = f"(int64_t){state}[j] * INT64_C({1 << (step.fraction - fraction)})"
    rings = rings_of_past(program, stage, kind, step.lags, "int64_t")
    for earlier in kind.past:
        lag = step.lags[earlier.lag]
        spikes = earlier.of == kind.spike
        value = f"(int64_t){rings[earlier.of].before(lag)}[j]" if lag else "0"
        values[earlier.name] = value + (f" * INT64_C({int(step.fixed(1.0))})" if lag and spikes else "")
    body = statements(show, kind, "int64_t")
    shifted = program.call("shifted")
    for state, name, fraction in zip(states, kind.after, step.states, strict=True):
        value = f"{shifted}({show.show(ast.Name(name))}, {step.fraction - fraction})"
        body.append(f"{state}[j] = ({stored}){_limited(program, value, step.bits)};")
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


def _back(program: Program, stage: Stage, neurons: IntegerNeurons) -> tuple[str, str, str]:
    """Return the statements that sum the weights of earlier spikes, those that keep the spikes, and the sums."""
    size = stage.output.size
    layer = neurons.layer
    weight: Array = np.asarray(to_numpy(layer.weight.data)).astype(np.int64)
    name = program.array(f"weight_{stage.number}", weight, "int8_t")
    part = replace(stage, part=layer)
    sums = program.state(kinds(part)[1], f"back_{stage.number}", size)
    returning = Returning.of(program, stage, neurons.reach)
    if form_of(layer) == "conv":
        added = returning.before(neurons.delay) + conv_of_returns(part, name, weight.shape, sums)
    else:
        row = f"const int8_t *row = {name} + back[e] * {size}u;"
        rows = loop("j", size, f"{sums}[j] += row[j];")
        before = returning.before(neurons.delay)
        if layer.delays is not None:
            steps = program.array(f"lag_{stage.number}", to_numpy(layer.delays.whole_lags()), "uint16_t")
            row += f"\nconst uint16_t *lags = {steps} + back[e] * {size}u;"
            rows = loop("j", size, "if (lags[j] == lag) {", f"{sums}[j] += row[j];", "}")
            before = f"const uint32_t before = lag + {neurons.delay}u;\n{returning.before('before')}"
        added = f"{before}\nfor (uint32_t e = 0; e < returns; e++) {{\n{row}\n{rows}\n}}"
        if layer.delays is not None:
            added = loop("lag", layer.delays.lags, added)
    before = f"{loop('k', size, f'{sums}[k] = 0;')}\n{added}"
    return before, returning.keep, sums
