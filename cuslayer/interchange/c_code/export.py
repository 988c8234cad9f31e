"""`export_c`: a network as one file of C99, with the bits of its stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.files import write_text
from cuslayer._base.version import __version__
from cuslayer.backend import Array
from cuslayer.interchange.c_code import forms
from cuslayer.interchange.c_code.files import Files
from cuslayer.interchange.c_code.learning import Learning
from cuslayer.interchange.c_code.program import Program, Signal, Stage, plain
from cuslayer.interchange.c_code.selftest import bits_of, checksum, steps_of, words_of, write_selftest
from cuslayer.interchange.integers.layers import Rounded
from cuslayer.interchange.recordings import recording_of
from cuslayer.layers.base import Shape, form_of
from cuslayer.network.graph import INPUT, Graph
from cuslayer.network.online.learner import OnlineLearner
from cuslayer.network.online.rule import Online
from cuslayer.network.stream import Stream
from cuslayer.network.synaptic import fan_out, operations
from cuslayer.network.walk import check_network, eval_mode
from cuslayer.neurons.base import as_neuron, is_neuron

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_SHORT = 65535


# The names of arrays of numbers by their type.
_ROOMS = {"float": "numbers", "int16_t": "values", "int32_t": "sums", "int64_t": "totals"}


@dataclass(frozen=True)
class ExportedC:
    """What `export_c` has written.

    Attributes:
        source: the C file.
        header: its header.
        memory: bytes of the state of a network.
        flash: bytes of the constants, without the recording of the self-test.
        additions: additions of weights a step, the mean over the recording; numbers multiply, too.
    """

    source: Path
    header: Path
    memory: int
    flash: int
    additions: float


@check.operation
def export_c(
    net: Any,
    path: str | Path,
    name: str = "net",
    *,
    recording: Any = None,
    input_shape: int | Shape | None = None,
    learns: bool = False,
) -> ExportedC:
    """Write a network as C99, ``path.c`` and ``path.h``, which computes its spikes and potentials to the bit.

    The file has no dependency, allocates nothing and calls no function of the C library. The weights are constants, and
    one struct is the state of a network. All names begin with ``name_``::

        net_reset(&state)                             the state before the first step
        net_step(&state, events, count, outputs)      a step of spikes: the ascending indices of the inputs that fire
        net_step(&state, values, outputs)             a step of numbers
        net_observe(..., potentials)                  the same, and the potentials of all neurons
        net_selftest()                                0 if the recording in the file gives Python's bits
        net_learn(&state, label, rate)                with `learns`: a step of gradient descent for the last step's
                                                      output; returns the probability that it gave the label
        net_forget()                                  the weights before all learning

    Outputs are the indices of the neurons that fire, and `net_step` returns their number; of a network that ends in
    numbers, such as a `ReadOut`, the numbers. Arithmetic is in float32: compile it without ``-ffast-math``, on x87 with
    ``-std=c99``. `net_selftest` finds a compiler that rounds otherwise.

    Args:
        net: a network in evaluation that `stream` runs, of float32.
        path: the files without their ending; they are written atomically.
        name: how the names of C begin.
        recording: (T, N, ...), spikes or numbers; the self-test runs its first sample, and its type decides what
            `net_step` takes. By default 100 steps in which 10 % of the inputs fire.
        input_shape: (H, W, C), (N,) or N; needed without a recording, unless the network has the shape of its input.
        learns: whether the network learns, as ``net.stream(online="factored")`` with a `CrossEntropyLoss` and `SGD`
            without momentum, up to rounding. It then has dense layers with neurons, and weights in RAM, which all
            states share.

    Returns:
        The files, and the memory and the additions that the network needs.

    Raises:
        ValueError: a stage cannot become C, the name is no name of C, the input's shape is unknown, or a file cannot be
            written.
        TypeError: net is not a network, or an argument has the wrong type.

    >>> import tempfile
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import LIF
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = export_c(Sequential(Dense(4, 3), LIF()), f"{folder}/small")
    >>> found.header.name, found.flash
    ('small.h', 48)
    """
    check_network(net)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name must be letters, digits and _, a letter first, at most 41, got {check.one_line(name)}")
    base = Path(path)
    base = base.with_suffix("") if base.suffix in (".c", ".h") else base
    if not _FILE.fullmatch(base.name):
        raise ValueError(f"path must end in letters, digits and . _ + -, got {base.name!r}")
    graph = net.graph
    learner = OnlineLearner(graph, Online("factored")) if check.flag("learns", learns) else None
    with eval_mode(net):
        x = recording_of(net, recording, input_shape)[:, 0]
        data = x if x.dtype == bool else x.astype(np.float32)
        Stream(net, graph)  # refuses stages that keep no state
        return _Export(graph, data, name, base, learner).write()


def _kind(stage: Any, inputs: tuple[Signal, ...]) -> str:
    """Return the type of the numbers that a stage sends."""
    if form_of(stage) in ("max", "delay") and not inputs[0].spikes:
        return inputs[0].kind
    bits = getattr(stage, "integers", 0)
    return f"int{bits}_t" if bits else "float"


class _Export:
    """A network on its way to a C file."""

    def __init__(self, graph: Graph, recording: Array, name: str, base: Path, learner: OnlineLearner | None) -> None:
        self.graph = graph
        self.learner = learner
        self.recording = recording
        self.name = name
        self.base = base
        self.steps = list(steps_of(graph.nodes, recording))
        first, _ = self.steps[0]
        largest = max(value.size for value in first.values())
        if not all(value.size for value in first.values()):
            raise ValueError("each layer must send something, got an output without elements")
        self.program = Program(name, "uint16_t" if largest <= _SHORT else "uint32_t")
        self.stages = self._stages(first)

    def _stages(self, first: dict[int, Array]) -> list[Stage]:
        """Return the stages that C has, with their signals; arrays of numbers are used again after their last use."""
        spikes = self.recording.dtype == bool
        given = Signal(first[INPUT].shape, spikes, "events" if spikes else "values", "count" if spikes else "")
        self.given = given
        signals = {INPUT: given}
        source = {INPUT: INPUT}  # the stage whose output a stage sends on, or itself
        for node in self.graph.nodes:
            source[node.number] = source[node.inputs[0]] if form_of(node.stage) == "same" else node.number
        last_use = {source[number]: node.number for node in self.graph.nodes for number in node.inputs}
        last_use[source[self.graph.output]] = len(self.graph.nodes)
        rooms: dict[str, tuple[str, int]] = {}  # the types and sizes of arrays by name
        used: dict[int, str] = {}  # by the number of the stage, its array
        stages = []
        for node in self.graph.nodes:
            inputs = tuple(signals[number] for number in node.inputs)
            if source[node.number] != node.number:
                signals[node.number] = inputs[0]
                continue
            sent = first[node.number]
            if sent.dtype == bool:
                output = Signal(sent.shape, True, f"state->spikes_{node.number}", f"state->count_{node.number}")
            else:
                kind = _kind(node.stage, inputs)
                names = (f"{_ROOMS[kind]}_{room}" for room in count())
                room = next(name for name in names if name not in used.values())
                rooms[room] = kind, max(rooms.get(room, (kind, 0))[1], sent.size)
                used[node.number] = room
                output = Signal(sent.shape, False, f"state->{room}", kind=kind)
            signals[node.number] = output
            stages.append(Stage(node, inputs, output))
            used = {number: room for number, room in used.items() if last_use.get(number, -1) > node.number}
        self.rooms = rooms
        self.output = signals[self.graph.output]
        return stages

    def write(self) -> ExportedC:
        """Write both files."""
        program = self.program
        program.outputs = self.output.size
        learning = None
        if self.learner is not None:
            learning = Learning(program, self.learner, {stage.number: stage for stage in self.stages}, self.given)
            program.learning = learning.neurons
        for stage in self.stages:
            forms.write(program, stage)
            if stage.output.spikes:
                program.state(f"{self.name}_index", f"spikes_{stage.number}", stage.output.size)
                program.state("uint32_t", f"count_{stage.number}")
        for room, (kind, size) in self.rooms.items():
            program.state(kind, room, size)
        if learning is not None:
            learning.write()
        if program.longest:
            program.state("float", "row", program.longest)
        if program.flags:
            program.state("uint8_t", "flags", program.flags)
        program.state("uint32_t", "step")
        flash = program.flash
        additions = self._additions()
        test = self._selftest()
        exported = ExportedC(
            self.base.with_name(f"{self.base.name}.c"),
            self.base.with_name(f"{self.base.name}.h"),
            program.memory,
            flash,
            additions,
        )
        files = Files(program, self.base.name, self.given, self.output, self._about(exported), self._order())
        write_text(exported.source, files.source(test))
        write_text(exported.header, files.header())
        return exported

    def _selftest(self) -> str:
        # An array of numbers is used again: after a step only spikes are still there.
        neurons = [stage for stage in self.stages if is_neuron(stage.layer) and stage.output.spikes]
        sums = []
        for sent, potentials in self.steps:
            words = [bits_of(values) for values in potentials.values()]
            words += [words_of(sent[stage.number]) for stage in neurons]
            words.append(words_of(sent[self.graph.output]))
            sums.append(checksum(np.concatenate(words)))
        return write_selftest(self.program, self.recording, sums, neurons, self.output.spikes)

    def _additions(self) -> float:
        """Return the weights that are added in a step, the mean over the recording."""
        total = 0.0
        for stage in self.stages:
            layer = stage.layer
            own = as_neuron(layer).own_layer if is_neuron(layer) else None
            for synapses, source in ((layer, stage.node.inputs[0]), (own, stage.number)):
                sent = np.stack([values[source] for values, _ in self.steps])
                count = None if synapses is None else fan_out(synapses, sent.shape[1:])
                if count is not None:
                    total += float(operations(sent[:, None] != 0, count))
        return total / len(self.steps)

    def _about(self, exported: ExportedC) -> str:
        """Return the comment at the beginning of the header."""
        shape = " x ".join(map(str, self.given.shape)) or "1"
        sent = "The indices of the neurons that fire" if self.output.spikes else "Numbers"
        layers = "\n".join(f"    {stage.node}: {plain(stage.layer)}" for stage in self.stages)
        memory = f"RAM: {exported.memory:,} bytes, the state. Flash: {exported.flash:,} bytes of constants"
        return "\n".join(
            [
                f"A spiking network in C99, written by cuslayer {__version__}:\n\n{layers}\n",
                f"Inputs: {shape}, {self._taken()}. Outputs: {sent.lower()}.",
                f"{memory}, and the recording of the self-test.",
                f"Weights added in a step: {exported.additions:,.1f}, the mean over this recording.\n",
                "Each result is rounded to float, as in Python. Compile without -ffast-math, with -ffp-contract=off,",
                "for which the source asks, and for x87 with -std=c99.",
                f"{self.name}_selftest() returns 0 if the recording in the source gives Python's bits.",
            ]
        )

    def _taken(self) -> str:
        """Return what each input is."""
        if self.given.spikes:
            return "the ascending indices of those that fire"
        first = self.stages[0].layer if self.stages else None
        rounded = f", rounded to {first.described}" if isinstance(first, Rounded) else ""
        return f"a number for each{rounded}"

    def _order(self) -> str:
        """Return which potentials come where."""
        neurons = [stage for stage in self.stages if is_neuron(stage.layer)]
        ends = np.cumsum([0, *(stage.output.size for stage in neurons)])
        places = (f"layer {stage.node} from {end}" for stage, end in zip(neurons, ends, strict=False))
        return ", ".join(places) or "none"
