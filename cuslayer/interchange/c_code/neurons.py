"""Neurons in C: a loop over the neurons of a layer, printed from their step, and filters of samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.c_code.program import Program, Ring, Stage, loop, stored
from cuslayer.kernels.constants import flushed_taps, side_by_side
from cuslayer.kernels.step.kind import Kind
from cuslayer.kernels.step.kind import name as named
from cuslayer.kernels.step.print_c import C, field_of, number, statements, word
from cuslayer.neurons.base import StepByStep
from cuslayer.neurons.dynamics import to_array

_SINGLE = np.dtype(np.float32)


def write_step(
    program: Program, stage: Stage, by_step: StepByStep, x: str = "x[j]", before: str = "", after: str = ""
) -> None:
    """Add neurons that are written as a step.

    Args:
        program: the file.
        stage: the neurons, or a read-out.
        by_step: their step.
        x: the expression of the weighted input of neuron j.
        before: statements before the loop over the neurons.
        after: statements after it.
    """
    spiking = by_step.spiking
    kind: Kind = spiking.kind
    if len(kind.inputs) > 1:
        raise stage.refused("its step has a second input")
    size = stage.output.size
    states = [program.state("float", field_of(stage.number, state), size) for state in kind.states]
    for state, start in zip(states, kind.start or (0.0,) * len(states), strict=True):
        if start:
            program.starts.append(loop("j", size, f"{state}[j] = {number(start)};"))
    constants = dict(zip(kind.numbers, spiking.numbers(_SINGLE), strict=True))
    first = getattr(spiking, "first", 0)
    if first:
        x = f"state->step < {first}u ? 0.0f : {x}"
    lags = dict(zip(kind.lags, spiking.lags, strict=True))
    rings = rings_of_past(program, stage, kind, lags, "float")
    show = C(kind, program.name)
    learning = (program.learning or {}).get(stage.number)
    body = statements(show, kind, "float", learning.used() if learning else ())
    body += [f"{state}[j] = {show.show(named(after))};" for state, after in zip(states, kind.after, strict=True)]
    for of, ring in rings.items():
        body.append(f"{ring.now}[j] = {'(uint8_t)' if of == kind.spike else ''}{word(of)};")
    spike = word(kind.spike) if kind.fires else ""
    body += sent(program, stage, word(kind.potential), spike, graded=spiking.graded)
    if learning:
        body += learning.inside(program)
        before = f"{before}\n{learning.before()}"
    used = used_names("\n".join(body))
    values = {name: f"{state}[j]" for name, state in zip(kind.states, states, strict=True)}
    values |= {name: number(value) for name, value in constants.items()}
    values |= _columns(program, stage, by_step, used)
    values[kind.inputs[0]] = x
    for earlier in kind.past:
        lag = lags[earlier.lag]
        values[earlier.name] = f"(float){rings[earlier.of].before(lag)}[j]" if lag else "0.0f"
    body[:0] = [f"const float {word(name)} = {value};" for name, value in values.items() if word(name) in used]
    fades = _fades(
        program, {states[kind.states.index(state)]: constants[factor] for state, factor in kind.fading}, size
    )
    for function in show.functions:
        program.call(function)
    turns = [ring.turn for ring in rings.values()]
    program.function(
        stage, "\n".join([before, *fades, loop("j", size, *body), *turns, after]), potentials=not stage.is_read_out
    )


def used_names(text: str) -> set[str]:
    """Return the words of a text of C."""
    return set(re.findall(r"\w+", text))


def _columns(program: Program, stage: Stage, by_step: StepByStep, used: set[str]) -> Mapping[str, str]:
    """Return the expressions of the constants that may differ between neurons, of those whose names are used."""
    spiking = by_step.spiking
    arrays = [np.asarray(to_numpy(to_array(keep))) for keep in by_step.keeps.values()]
    names = spiking.labels or spiking.kind.columns
    columns = side_by_side(names, arrays, np.empty(0, _SINGLE), stage.output.shape)
    return {
        name: program.value(field_of(stage.number, name), column, "j", stage.output.size)
        for name, column in zip(spiking.kind.columns, columns, strict=True)
        if word(name) in used
    }


def rings_of_past(program: Program, stage: Stage, kind: Kind, lags: Mapping[str, int], number: str) -> dict[str, Ring]:
    """Return a ring buffer for the input and one for the spike, by its name, as far as a step's `ago` reads them."""
    rings = {}
    for of in dict.fromkeys(earlier.of for earlier in kind.past):
        rows = max(lags[earlier.lag] for earlier in kind.past if earlier.of == of)
        if rows:
            spikes = of == kind.spike
            what = f"past_{'spikes' if spikes else 'inputs'}_{stage.number}"
            rings[of] = Ring.of(program, what, "uint8_t" if spikes else number, rows, stage.output.size)
    return rings


def sent(program: Program, stage: Stage, potential: str, spike: str, *, graded: bool = False) -> list[str]:
    """Return the statements by which neuron j sends what it sends, and writes its potential."""
    kept = [] if stage.is_read_out else ["if (potentials) {", f"potentials[j] = {potential};", "}"]
    if stage.output.spikes:
        return [*kept, f"if ({spike}) {{", f"fired[number++] = ({program.name}_index)j;", "}"]
    return [*kept, f"y[j] = {spike} ? {potential} : 0.0f;" if graded else f"y[j] = {potential};"]


def _fades(program: Program, states: dict[str, Any], size: int) -> list[str]:
    """Return the loops that replace small states, given with the factor of a step, by 0 before some steps."""
    loops = []
    for always in (True, False):
        fading = [state for state, factor in states.items() if bool(factor < _SINGLE.type(0.1)) == always]
        if fading:
            flushed = program.call("flushed")
            text = loop("j", size, *(f"{state}[j] = {flushed}({state}[j]);" for state in fading))
            loops.append(text if always else f"if (state->step % 8u == 0u) {{\n{text}\n}}")
    return loops


def filtered(program: Program, stage: Stage, taps: Array, source: str, target: str, *, channels: int, size: int) -> str:
    """Return the statements that filter numbers by samples (filters, K), the results of the filters side by side.

    Args:
        program: the file.
        stage: the stage.
        taps: the samples.
        source: statements that write the numbers to the row ROW.
        target: the array for the results.
        channels: the numbers that each filter maps together.
        size: the numbers.
    """
    filters, count = taps.shape
    name = program.array(f"taps_{stage.number}", taps)
    ring = Ring.of(program, f"filter_{stage.number}", "float", count, size)
    place = "j" if filters == 1 else f"(j / {channels}u * {filters}u + i) * {channels}u + j % {channels}u"
    inner = loop("j", size, f"{target}[{place}] = (float)({target}[{place}] + (float)(tap * row[j]));")
    steps = loop(
        "k", count, f"const float tap = {name}[i * {count}u + k];", f"const float *row = {ring.before('k')};", inner
    )
    zeros = loop("j", size, f"{target}[{place}] = 0.0f;")
    return "\n".join([re.sub(r"\bROW\b", ring.now, source), loop("i", filters, zeros, steps), ring.turn])


def write_filter(program: Program, stage: Stage) -> None:
    """Add a filter of samples, or several."""
    weight = to_numpy(stage.layer.weight.data)
    taps = weight if weight.ndim == 2 else weight[None]
    given = stage.given
    channels = given.shape[-1] if given.shape else 1
    source = stored(given, "ROW")
    program.function(stage, filtered(program, stage, taps, source, "y", channels=channels, size=given.size))


def filtered_read_out(program: Program, stage: Stage, weighted: str, response: Array) -> None:
    """Add a read-out whose filter has samples; `weighted` writes its weighted input to y."""
    size = stage.output.size
    taps = flushed_taps(response, _SINGLE)[None]
    source = "\n".join([weighted, loop("j", size, "ROW[j] = y[j];")])
    program.function(stage, filtered(program, stage, taps, source, "y", channels=1, size=size))


def write_sampled(program: Program, stage: Stage) -> None:
    """Add spike response neurons whose responses have samples: `SampledSRM`."""
    neurons = stage.layer
    size = stage.output.size
    sums = program.state("float", f"filtered_{stage.number}", size)
    response = flushed_taps(neurons.response, _SINGLE)[None]
    body = [filtered(program, stage, response, loop("j", size, "ROW[j] = x[j];"), sums, channels=1, size=size)]
    refractory = flushed_taps(neurons.spiking.refractory, _SINGLE)
    # A sum with samples of 0 and above has no negative 0.
    lift = "-0.0f" if (np.signbit(refractory[1:])).all() else "0.0f"
    inside = [f"float u = (float)({sums}[j] + {lift});"]
    theta = number(neurons.spiking.surrogate(_SINGLE)[0])
    ring = None
    if len(refractory) > 1:
        name = program.array(f"refractory_{stage.number}", refractory)
        ring = Ring.of(program, f"past_spikes_{stage.number}", "uint8_t", len(refractory) - 1, size)
        added = f"if ({ring.before('k')}[j]) {{\nu = (float)(u + {name}[k]);\n}}"
        inside.append(f"for (uint32_t k = 1; k < {len(refractory)}u; k++) {{\n{added}\n}}")
        inside.append(f"{ring.now}[j] = u >= {theta};")
    inside += sent(program, stage, "u", f"u >= {theta}")
    body.append(loop("j", size, *inside))
    if ring is not None:
        body.append(ring.turn)
    program.function(stage, "\n".join(body), potentials=True)
