"""Which C a stage of a network becomes, by what it declares: a layer by its form, neurons by their step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cuslayer.backend import to_numpy
from cuslayer.interchange.c_code.integers import WRITTEN, write_integers
from cuslayer.interchange.c_code.neurons import filtered_read_out, write_filter, write_sampled, write_step
from cuslayer.interchange.c_code.program import Program, Ring, Stage, loop, stored
from cuslayer.interchange.c_code.returning import Returning, conv_of_returns
from cuslayer.interchange.c_code.synapses import (
    conv,
    conv_transpose,
    count_max,
    dense,
    listed,
    max_pool,
    norm,
    pool,
    row_of_flags,
    row_of_sums,
    weight_of,
)
from cuslayer.kernels.constants import Window
from cuslayer.kernels.step.print_c import number
from cuslayer.layers.base import form_of
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.neurons.sampled_srm import SampledSRM


def write(program: Program, stage: Stage) -> None:
    """Add a stage to a C file; raise ValueError if C cannot have it."""
    layer = stage.layer
    form = form_of(layer)
    if form == "recurrent":
        _write_recurrent(program, stage)
    elif isinstance(layer, WRITTEN):
        write_integers(program, stage)
    elif form == "read_out":
        _write_read_out(program, stage)
    elif is_neuron(layer):
        _write_neurons(program, stage)
    elif form == "filter":
        write_filter(program, stage)
    elif form in _BODIES:
        program.function(stage, _BODIES[form](program, stage))
    elif form != "same":
        raise stage.refused("export_c knows the library's layers, and layers with a form")


def _write_neurons(program: Program, stage: Stage) -> None:
    neurons = as_neuron(stage.layer)
    if stage.given.spikes:
        raise stage.refused("neurons take numbers, got spikes; put a layer before them")
    by_step = neurons.as_step
    if by_step is not None:
        write_step(program, stage, by_step)
    elif isinstance(neurons, SampledSRM) and neurons.continued() is not None:
        write_sampled(program, stage)
    else:
        raise stage.refused("neurons must be SRM, SampledSRM, or written as a step")


def _write_read_out(program: Program, stage: Stage) -> None:
    layer = stage.layer
    weighted = dense(program, stage)
    if layer.simulation is not None:
        write_step(program, stage, layer.simulation, "y[j]", weighted)
    else:
        filtered_read_out(program, stage, weighted, as_neuron(layer.neuron).response)


def _write_recurrent(program: Program, stage: Stage) -> None:
    """Add neurons that receive their own spikes: a ring buffer has the spikes of the last steps."""
    layer = stage.layer
    inner = layer.layer
    size = stage.output.size
    delays = inner.delays
    lags = 1 if delays is None else delays.lags
    own = replace(stage, part=inner)
    sums = program.state("float", f"back_{stage.number}", size)
    weight = weight_of(own)
    name = program.array(f"weight_{stage.number}", weight)
    returning = Returning.of(program, stage, layer.steps + lags - 1)
    if form_of(inner) == "conv":
        before = f"""
            {returning.before(layer.steps)}
            {loop("k", size, f"{sums}[k] = 0.0f;")}
            {conv_of_returns(own, name, weight.shape, sums)}
        """
    elif delays is None:
        add = program.call("add_rows")
        before = f"""
            {returning.before(layer.steps)}
            {add}({name}, {size}u, back, returns, 0u, {row_of_sums(program, size)}, {sums});
        """
    else:
        lag = program.array(f"lag_{stage.number}", to_numpy(delays.whole_lags()), "uint16_t")
        before = _delayed_rows(program, stage, returning, (name, lag, sums), layer.steps, lags)
    by_step = as_neuron(layer.neuron).as_step
    if by_step is None:
        raise stage.refused("its neurons must be written as a step")
    write_step(program, stage, by_step, f"(float)({sums}[j] + x[j])", before, returning.keep)


def _delayed_rows(
    program: Program, stage: Stage, returning: Returning, arrays: tuple[str, str, str], delay: int, lags: int
) -> str:
    """Return the statements that add the rows of earlier spikes, those of six neighbours to each other first.

    A spike of neuron i at a lag is input ``lag neurons + i``.
    """
    size = stage.output.size
    weight, lag, sums = arrays
    six = row_of_sums(program, size)
    flush = loop("j", size, f"{sums}[j] = (float)({sums}[j] + {six}[j]);", f"{six}[j] = 0.0f;")
    return f"""
        uint32_t group = UINT32_MAX;
        {loop("j", size, f"{sums}[j] = 0.0f;", f"{six}[j] = 0.0f;")}
        for (uint32_t lag = 0; lag < {lags}u; lag++) {{
        const uint32_t before = lag + {delay}u;
        {returning.before("before")}
        for (uint32_t e = 0; e < returns; e++) {{
        const uint32_t i = back[e];
        if ((lag * {size}u + i) / 6u != group) {{
        {flush}
        group = (lag * {size}u + i) / 6u;
        }}
        for (uint32_t j = 0; j < {size}u; j++) {{
        if ({lag}[i * {size}u + j] == lag) {{
        {six}[j] = (float)({six}[j] + {weight}[i * {size}u + j]);
        }}
        }}
        }}
        }}
        {flush}
    """


def _delay(program: Program, stage: Stage) -> str:
    """Return the statements of a delay of each neuron."""
    layer = stage.layer
    given = stage.given
    steps, shares = (np.broadcast_to(values, given.shape).ravel() for values in layer.lags())
    if steps.min() < 0:
        raise stage.refused("a delay must not be below 0")
    rows = int(steps.max()) + 1 + bool(layer.linear)
    numbers = layer.linear or not given.spikes
    kind = given.kind if numbers else "uint8_t"
    ring = Ring.of(program, f"sent_{stage.number}", kind, rows, given.size)
    lag = program.value(f"lag_{stage.number}", steps, "j", given.size, "uint32_t")
    sent = ring.before(lag)
    parts = [stored(given, ring.now)]
    if layer.linear:
        near, far = (
            program.value(f"{what}_{stage.number}", values.astype(np.float32), "j", given.size)
            for what, values in (("near", 1 - shares), ("far", shares))
        )
        before = ring.before(f"({lag} + 1u)")
        parts.append(
            loop("j", given.size, f"y[j] = (float)((float)({near} * {sent}[j]) + (float)({far} * {before}[j]));")
        )
    elif given.spikes:
        parts.append(loop("j", given.size, f"if ({sent}[j]) {{", f"fired[number++] = ({program.name}_index)j;", "}"))
    else:
        parts.append(loop("j", given.size, f"y[j] = {sent}[j];"))
    return "\n".join([*parts, ring.turn])


def _vote(program: Program, stage: Stage) -> str:
    """Return the statements of the mean over groups of channels."""
    if not stage.given.spikes:
        raise stage.refused("it takes numbers, whose sums have no order of their own; put neurons before it")
    channels = stage.given.shape[-1]
    groups = stage.layer.groups
    place = f"y[events[e] % {channels}u / {channels // groups}u]"
    share = number(np.float32(groups / stage.given.size))
    return "\n".join(
        [
            loop("k", groups, "y[k] = 0.0f;"),
            f"for (uint32_t e = 0; e < count; e++) {{\n{place} = (float)({place} + 1.0f);\n}}",
            loop("k", groups, f"y[k] = (float)(y[k] * {share});"),
        ]
    )


def _join(program: Program, stage: Stage) -> str:
    """Return the statements that join branches."""
    how = stage.layer.how
    size = stage.output.size
    if how == "concatenate":
        return _concatenation(program, stage)
    if stage.output.spikes:  # and, iand
        flags = row_of_flags(program, size)
        inside = f"if ({'' if how == 'and' else '!'}{flags}[events1[e]]) {{\nfired[number++] = events1[e];\n}}"
        return f"""
            {loop("k", size, f"{flags}[k] = 0;")}
            for (uint32_t e = 0; e < count0; e++) {{
            {flags}[events0[e]] = 1;
            }}
            for (uint32_t e = 0; e < count1; e++) {{
            {inside}
            }}
        """
    if how == "add":
        parts = [loop("k", size, "y[k] = 0.0f;")]
        for position, signal in enumerate(stage.inputs):
            if signal.spikes:
                add = f"y[events{position}[e]] = (float)(y[events{position}[e]] + 1.0f);"
                parts.append(f"for (uint32_t e = 0; e < count{position}; e++) {{\n{add}\n}}")
            elif position:
                parts.append(loop("k", size, f"y[k] = (float)(y[k] + x{position}[k]);"))
            else:
                parts = [loop("k", size, "y[k] = x0[k];")]
        return "\n".join(parts)
    raise stage.refused(f"{how!r} of numbers; put neurons at the end of both branches")


def _concatenation(program: Program, stage: Stage) -> str:
    channels = stage.output.shape[-1]
    size = stage.output.size
    spikes = stage.output.spikes
    array = row_of_flags(program, size) if spikes else "y"
    parts = [loop("k", size, f"{array}[k] = 0;")]
    for position, (signal, offset) in enumerate(
        zip(stage.inputs, stage.layer.offsets([signal.shape for signal in stage.inputs]), strict=True)
    ):
        own = signal.shape[-1]
        if signal.spikes:
            at = f"events{position}[e] / {own}u * {channels}u + {offset}u + events{position}[e] % {own}u"
            parts.append(f"for (uint32_t e = 0; e < count{position}; e++) {{\n{array}[{at}] = 1;\n}}")
        else:
            at = f"k / {own}u * {channels}u + {offset}u + k % {own}u"
            parts.append(loop("k", signal.size, f"{array}[{at}] = x{position}[k];"))
    return "\n".join(parts) + (listed(program, array, size) if spikes else "")


def _relu(program: Program, stage: Stage) -> str:
    """Return the statements of the positive part."""
    if stage.given.spikes:
        return stored(stage.given, "y")
    return loop("j", stage.given.size, "y[j] = x[j] > 0.0f ? x[j] : 0.0f;")


def _quantized_relu(program: Program, stage: Stage) -> str:
    """Return the statements of the positive part, clipped and rounded to steps."""
    levels = stage.layer.levels
    step = np.float32(to_numpy(stage.layer.limit.data)) / np.float32(levels)
    # The floor of what is clipped: a whole number that an integer holds, without a library of mathematics.
    value = f"const float value = (float)((float)(y[j] / {number(step)}) + 0.5f);"
    clipped = f"const float inside = value < 0.0f ? 0.0f : value > {levels}.0f ? {levels}.0f : value;"
    rounded = f"y[j] = (float)((float)(int32_t)inside * {number(step)});"
    return "\n".join([stored(stage.given, "y"), loop("j", stage.given.size, value, clipped, rounded)])


def _first_step(program: Program, stage: Stage) -> str:
    """Return the statements of a signal that is 0 after its first step."""
    later = program.state("uint8_t", f"later_{stage.number}", 1)
    silence = loop("j", stage.given.size, "y[j] = 0.0f;")
    return f"{stored(stage.given, 'y')}\nif ({later}[0]) {{\n{silence}\n}}\n{later}[0] = 1;"


def _winners(program: Program, stage: Stage) -> str:
    """Return the statements that let the largest numbers pass: those with fewer than k larger ones."""
    layer = stage.layer
    size = stage.given.size
    among = stage.given.shape[-1] if layer.among == "channels" else size
    return f"""
        for (uint32_t row = 0; row < {size}u; row += {among}u) {{
        for (uint32_t j = 0; j < {among}u; j++) {{
        uint32_t larger = 0;
        for (uint32_t i = 0; i < {among}u; i++) {{
        if (x[row + i] > x[row + j] || (i < j && x[row + i] == x[row + j])) {{
        larger++;
        }}
        }}
        y[row + j] = larger < {layer.k}u ? x[row + j] : 0.0f;
        }}
        }}
    """


def _global_mean(program: Program, stage: Stage) -> str:
    return pool(program, stage, _WholeFrame(stage.given.shape))


class _WholeFrame:
    """A window of the size of a frame, and the gain of its mean."""

    weight_hook = None

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.window = Window.of(shape[:2], shape[:2], 0, 1)
        self.gain = 1.0 / math.prod(shape[:2])


_BODIES: dict[str | None, Callable[[Program, Stage], str]] = {
    "dense": dense,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "pool": lambda program, stage: pool(program, stage, stage.layer),
    "mean": lambda program, stage: pool(program, stage, stage.layer),
    "unpool": lambda program, stage: pool(program, stage, stage.layer, transposed=True),
    "max": max_pool,
    "count_max": count_max,
    "global_mean": _global_mean,
    "norm": norm,
    "delay": _delay,
    "vote": _vote,
    "join": _join,
    "winners": _winners,
    "first_step": _first_step,
    "relu": _relu,
    "quantized_relu": _quantized_relu,
}
