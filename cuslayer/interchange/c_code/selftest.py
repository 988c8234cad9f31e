"""The self-test of a C file: a recording, and for each step a checksum of Python's potentials and spikes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np

from cuslayer._tape import Potentials, Tensor, as_tensor, no_grad, on_potential
from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.c_code.program import Program, loop
from cuslayer.network.graph import INPUT, GraphNode
from cuslayer.neurons.base import is_neuron

# A checksum is the value of a polynomial at this number, modulo 2^32.
_FACTOR = 0x9E3779B1
_NAN = np.uint32(0x7FC00000)


def steps_of(nodes: Sequence[GraphNode], recording: Array) -> Iterator[tuple[dict[int, Array], dict[int, Array]]]:
    """Yield for each step of a recording (T, ...) what stages send, and the potentials of neurons, by their number.

    The stages run one by one, and keep their state from step to step, as in a stream.
    """
    runs = {node.number: _run(node.stage) for node in nodes}
    for frame in recording:
        values: dict[int, Any] = {INPUT: Tensor(frame[None, None])}
        potentials = dict[int, Array]()
        with no_grad():
            for node in nodes:
                found: list[Potentials] = []
                with on_potential(found.append):
                    values[node.number] = as_tensor(runs[node.number](*(values[number] for number in node.inputs)))
                if is_neuron(node.stage):
                    potentials[node.number] = np.array(to_numpy(found[-1].values)).ravel()
        yield {number: to_numpy(value.data)[0, 0] for number, value in values.items()}, potentials


def _run(stage: Any) -> Any:
    """Return a stage in evaluation that keeps its state."""
    if getattr(stage, "training", False):
        stage = copy(stage)
        stage.training = False
    return stage.continued()


def words_of(sent: Array) -> Array:
    """Return a stage's output for a checksum: the indices of spikes and their number, or the bits of numbers."""
    if sent.dtype == bool:
        indices = np.flatnonzero(sent)
        return np.append(indices, len(indices)).astype(np.uint32)
    return bits_of(sent)


def bits_of(numbers: Array) -> Array:
    """Return the bits of numbers; all numbers that are not a number have the same."""
    single = np.ascontiguousarray(numbers, np.float32).ravel()
    return np.where(np.isnan(single), _NAN, single.view(np.uint32))


def checksum(words: Array) -> int:
    """Return the checksum of words: sum of w[n - 1 - k] factor^k."""
    powers = np.full(len(words), _FACTOR, np.uint32)
    powers[:1] = 1
    powers = np.multiply.accumulate(powers, dtype=np.uint32)
    return int((words[::-1] * powers).sum(dtype=np.uint32))


def write_selftest(
    program: Program, recording: Array, checksums: Sequence[int], neurons: Sequence[Any], spikes: bool
) -> str:
    """Return the function of the self-test; `neurons` are the stages whose spikes a checksum has."""
    name = program.name
    expected = program.array("expected", np.array(checksums, np.uint32), "uint32_t")
    flat = recording.reshape(len(recording), recording[0].size)
    if recording.dtype == bool:
        events = [np.flatnonzero(row) for row in flat]
        starts = program.array("recording_starts", np.cumsum([0, *map(len, events)]), "uint32_t")
        data = program.array("recording", np.append(np.concatenate(events), 0), program.index)
        given = f"{data} + {starts}[t], {starts}[t + 1u] - {starts}[t]"
    else:
        data = program.array("recording", flat.astype(np.float32))
        given = f"{data} + t * {flat.shape[1]}u"
    sums = (
        [loop("j", program.neurons, f"sum = sum * {_FACTOR:#x}u + {name}_bits(potentials[j]);")]
        if program.neurons
        else []
    )
    for stage in neurons:
        array, count = (text.replace("state->", "state.") for text in (stage.output.array, stage.output.count))
        sums.append(_summed(array, count))
    if spikes:
        sums.append(_summed("outputs", "sent"))
        outputs = f"static {name}_index outputs[{name}_outputs];"
        call = f"const uint32_t sent = {name}_observe(&state, {given}, outputs, potentials);"
    else:
        sums.append(loop("j", program.outputs, f"sum = sum * {_FACTOR:#x}u + {name}_bits(outputs[j]);"))
        outputs = f"static float outputs[{name}_outputs];"
        call = f"{name}_observe(&state, {given}, outputs, potentials);"
    room = f"static float potentials[{max(1, program.neurons)}];"
    body = "\n".join(sums)
    return f"""
        int {name}_selftest(void)
        {{
        static {name}_state state;
        {outputs}
        {room}
        {name}_reset(&state);
        for (uint32_t t = 0; t < {len(recording)}u; t++) {{
        {call}
        uint32_t sum = 0;
        {body}
        if (sum != {expected}[t]) {{
        return (int)t + 1;
        }}
        }}
        return 0;
        }}
    """


def _summed(array: str, count: str) -> str:
    """Return the statements that add spikes and their number to the checksum."""
    inside = f"sum = sum * {_FACTOR:#x}u + {array}[e];"
    return f"for (uint32_t e = 0; e < {count}; e++) {{\n{inside}\n}}\nsum = sum * {_FACTOR:#x}u + {count};"
