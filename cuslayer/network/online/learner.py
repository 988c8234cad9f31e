"""A network that learns forward in time, chunk by chunk; `rule.py` has the rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor, as_tensor, gradients, no_grad
from cuslayer.backend import Array, generator_state, load_generator_state
from cuslayer.layers.base import as_layer, form_of
from cuslayer.network.graph import INPUT, Graph, GraphNode, feeds
from cuslayer.network.online.population import Population
from cuslayer.network.online.rule import Online
from cuslayer.network.stream import Chunked
from cuslayer.neurons.base import is_neuron

# The bytes of the rows of a chunk for one neuron's synapses, and its maximum and minimum of steps.
_BYTES = 1 << 18
_MOST = 256
_LEAST = 8


class OnlineLearner:
    """A network that runs chunk by chunk and adds gradients to its parameters, forward in time.

    Args:
        graph: the graph of the network.
        rule: the rule.

    Raises:
        ValueError: a stage mixes steps, has parameters without a trace, or neurons that are not written as a step.
    """

    def __init__(self, graph: Graph, rule: Online) -> None:
        self.graph = graph
        self.rule = rule
        self.populations: dict[int, Population] = {}
        for node in graph.nodes:
            if _fires_or_reads(node):
                self.populations[node.number] = Population(graph, node, rule)
            else:
                _check_stage(node)
        for population in self.populations.values():
            for source in population.sources:
                if source != INPUT and self.populations[source].next is None:
                    self.populations[source].next = population
        for population in self.populations.values():
            population.check()
        self.reset()

    @property
    def of_batch(self) -> bool:
        """Whether the output of a sample depends on other samples or on random numbers."""
        return any(as_layer(node.stage).of_batch for node in self.graph.nodes)

    def reset(self) -> None:
        """Begin before the first step; feedback weights stay."""
        self.end_step()
        self._runs = self._stages()
        self._traced = self._stages()
        self._pending: _Chunk | None = None
        for population in self.populations.values():
            population.reset()

    def _stages(self) -> dict[int, Callable[..., Any]]:
        """Return the stages by number, each with a state of its own if it has one."""
        stages = {}
        for node in self.graph.nodes:
            continued = node.stage.continued() if hasattr(node.stage, "continued") else None
            stages[node.number] = continued or node.stage
        return stages

    def steps_of_chunk(self) -> int:
        """Return the number of steps of a chunk whose traces stay in a cache."""
        width = max((population.width for population in self.populations.values()), default=1)
        return int(min(max(_BYTES // (4 * max(width, 1)), _LEAST), _MOST))

    def run(self, x: Tensor) -> Array:
        """Return the output of the next steps; the traces move on with the last ones, without an error."""
        if self._pending is not None:
            self.learn(None)
        values: dict[int, Tensor] = {INPUT: x}
        drawn = generator_state()
        with no_grad():
            for node in self.graph.nodes:
                inputs = [values[number] for number in node.inputs]
                population = self.populations.get(node.number)
                if population is None:
                    values[node.number] = as_tensor(self._runs[node.number](*inputs))
                else:
                    values[node.number] = population.run(inputs[0], self._runs[node.number])
        self._pending = _Chunk(values, drawn)
        return values[self.graph.output].data

    def learn(self, g: Array | None) -> None:
        """Add the gradients of the parameters for a gradient g of the output of the last call; None for no error."""
        chunk = self._pending
        if chunk is None:
            raise ValueError("learn must follow a step; call step before each learn")
        self._pending = None
        after = generator_state()
        load_generator_state(chunk.drawn)
        try:
            y = self._differentiable(chunk.values)
        finally:
            load_generator_state(after)
        steps = len(chunk.values[INPUT])
        if g is not None:
            y.backward(g)
        elif self.rule.rule != "factored":
            # The traces of synapses move on in backward.
            gradients(y, (), np.zeros(y.shape, np.float32 if y.dtype == bool else y.dtype))
        for population in self.populations.values():
            population.steps += steps

    def _differentiable(self, values: dict[int, Tensor]) -> Tensor:
        """Return the output as a tensor whose backward has no path in time; its values are those of the last call."""
        traced: dict[int, Tensor] = {INPUT: values[INPUT]}
        for population in self.populations.values():
            of_sources = {source: population.source(traced[source], source) for source in population.sources}
            traced[population.node.number] = population.traced(self._evaluated(population.before, of_sources))
        if self.graph.output in traced:
            return traced[self.graph.output]
        sources, _ = feeds(self.graph.nodes, [self.graph.output])
        return self._evaluated(self.graph.output, {source: traced[source] for source in sources})

    def _evaluated(self, output: int, values: dict[int, Tensor]) -> Tensor:
        """Return the output of stages without state for the outputs of the neurons, or the input, before them."""
        if output in values:
            return values[output]
        _, stages = feeds(self.graph.nodes, [output])
        outputs = dict(values)
        for number in sorted(stages):
            inputs = (outputs[before] for before in self.graph.nodes[number].inputs)
            outputs[number] = as_tensor(self._traced[number](*inputs))
        return outputs[output]

    def end_step(self) -> None:
        """Let adaptive feedback weights follow the weights that an optimizer has changed."""
        for population in self.populations.values():
            population.end_step()


@dataclass
class _Chunk:
    values: dict[int, Tensor]
    drawn: Any  # the state of the random generator before it


def _fires_or_reads(node: GraphNode) -> bool:
    return is_neuron(node.stage) or form_of(node.stage) == "read_out"


def _check_stage(node: GraphNode) -> None:
    """Raise ValueError unless a step of a stage's output depends on the same step of its input."""
    layer = as_layer(node.stage)
    text = f"layer {node} {check.one_line(node.stage)} cannot learn online"
    if layer.normalizes:
        raise ValueError(f"{text}: its mean and variance are those of all steps")
    if getattr(layer, "memory", None) != 0 and not layer.of_batch:  # such as Dropout
        raise ValueError(f"{text}: its output depends on other steps")
    if form_of(layer) == "conv" and getattr(layer, "bias", None) is not None:
        raise ValueError(f"{text}: its bias has no trace; use bias=False")


class OnlinePass(Chunked):
    """A pass over x (T, N, ...) whose gradients come from traces, for training.

    The first pass gives the output, and so the gradient of any loss. The second runs with traces: of all samples, or,
    if each synapse has a trace, one sample after the other, so that memory does not grow with the batch.
    """

    def __init__(self, net: Any, learner: OnlineLearner, x: Tensor) -> None:
        super().__init__(net, learner.graph, x, learner.steps_of_chunk(), whole=False)
        self._learner = learner

    def backward(self, g: Array) -> None:
        """Add the gradients of the parameters for a gradient g of the output."""
        learner = self._learner
        after = generator_state()
        g = self._ended(g)
        samples = self._x.shape[1]
        together = learner.rule.rule == "factored" or learner.of_batch
        parts = [slice(0, samples)] if together else [slice(n, n + 1) for n in range(samples)]
        try:
            for part in parts:
                load_generator_state(self._before[0][1])
                learner.reset()
                for place in self._places:
                    learner.run(Tensor(np.ascontiguousarray(self._x.data[place, part])))
                    learner.learn(np.ascontiguousarray(g[place, part]))
        finally:
            load_generator_state(after)
