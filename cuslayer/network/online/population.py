"""Neurons of a network that learns forward in time, and the errors of their potentials."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Gradient, Pullback, Tensor, as_tensor, differentiable
from cuslayer.backend import Array, generator, namespace
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.tangent import NotLinear, tangent
from cuslayer.layers.base import as_layer, form_of
from cuslayer.layers.dense import dense
from cuslayer.network.graph import INPUT, Graph, GraphNode, feeds
from cuslayer.network.online.rule import Online
from cuslayer.network.online.traces import InputTraces, Synapses, with_ones
from cuslayer.neurons.base import StepByStep, as_neuron, is_stateful
from cuslayer.neurons.dynamics import kept_share

# Adaptive feedback weights follow the changes of the layer's weights, and forget where they began by this share.
_FORGOTTEN = 1e-3


def _neurons_of(node: GraphNode) -> StepByStep:
    """Return the neurons of a stage, written as a step."""
    stage: Any = node.stage
    by_step = stage.simulation if form_of(stage) == "read_out" else as_neuron(getattr(stage, "neuron", stage)).as_step
    text = f"layer {node} {check.one_line(stage)} cannot learn online"
    if by_step is None or is_stateful(stage):
        why = "its state goes on from call to call" if by_step is not None else "it is not written as a step"
        raise ValueError(f"{text}: {why}")
    trained = [name for name, value in by_step.keeps.items() if isinstance(value, Tensor) and value.requires_grad]
    if trained:
        raise ValueError(f"{text}: its constants are trained, {', '.join(trained)}; use trained=False")
    try:
        tangent(by_step.spiking.kind, by_step.spiking.exact, by_step.spiking.graded)
    except NotLinear as problem:
        raise ValueError(f"{text}: {problem}") from None
    return by_step


class Population:
    """Neurons or a read-out of a network, and the traces of the synapses before them."""

    def __init__(self, graph: Graph, node: GraphNode, rule: Online) -> None:
        self.node = node
        self.rule = rule
        self.by_step = _neurons_of(node)
        self.next: Population | None = None
        stage: Any = node.stage
        self.recurrent: Any = getattr(stage, "own_layer", None)
        self.reads_out = form_of(stage) == "read_out"
        last = node if self.reads_out or node.inputs[0] == INPUT else graph.nodes[node.inputs[0]]
        # The dense layer whose output they take, and the node before it, or before the neurons if there is none.
        self.dense: Any = last.stage if form_of(last.stage) in ("dense", "read_out") else None
        self.before = last.inputs[0] if self.dense is not None else node.inputs[0]
        sources, stages = feeds(graph.nodes, [self.before])
        self.sources = sorted(sources)
        self.stages = [graph.nodes[number] for number in sorted(stages)]
        self._feedback: Array | None = None
        self.reset()

    def check(self) -> None:
        """Raise ValueError unless all parameters before the neurons have traces."""
        rule = self.rule.rule
        text = f"layer {self.node} {check.one_line(self.node.stage)} cannot learn online by {rule}"
        if self.recurrent is not None and rule != "eprop":
            raise ValueError(f"{text}: its neurons have synapses to each other; use eprop")
        if self.recurrent is not None and (form_of(self.recurrent) != "dense" or self.recurrent.delays is not None):
            raise ValueError(f"{text}: its own layer must be Dense without delays")
        for node in self.stages:
            if as_layer(node.stage).parameters() and not self.factored:
                text = f"layer {node} {check.one_line(node.stage)} cannot learn online by {rule}"
                raise ValueError(f"{text}: only Dense right before neurons has traces of synapses; use factored")

    @property
    def factored(self) -> bool:
        """Whether traces are of inputs and neurons, not of synapses."""
        return self.rule.rule == "factored"

    @property
    def width(self) -> int:
        """The number of synapses of a neuron."""
        return 1 if self.dense is None else int(self.dense.weight.shape[0]) + 1

    @property
    def spiking(self) -> StepSpiking:
        """The kind of neuron and its constants."""
        return self.by_step.spiking

    def reset(self) -> None:
        """Begin before the first step."""
        self.steps = 0
        self.errors: Array | None = None  # the gradient of the output in the last chunk, before the slopes
        self._neurons: Any = None
        self._mean_slope: Array | None = None
        self._own: Array | None = None  # the last spikes of recurrent neurons
        self._synapses: list[Synapses] = []
        self._traces: dict[int, InputTraces] = {}

    # Forward: the neurons themselves.

    def run(self, x: Tensor, continued: Callable[..., Any]) -> Tensor:
        """Return the output of the next steps, and keep what the traces need of them."""
        from cuslayer.kernels.online import cpu as online  # imports Numba

        weighted = self.dense.biased(dense(x, self.dense.effective_weight())) if self.reads_out else x
        given = weighted.data
        if namespace(given) is not np:
            raise ValueError("online learning runs on the CPU, got an array of a GPU")
        rows = given.reshape(len(given), -1)
        spikes: Any = None
        if self.recurrent is not None:
            spikes = as_tensor(continued(weighted)).data
            rows = rows + self._returned(spikes).reshape(rows.shape)
        if self._neurons is None:
            constants = _constants(self.by_step, given)
            self._neurons = online.Neurons(self.spiking, constants, rows.shape[1], rows.dtype)
        self.linear = self._neurons.run(np.ascontiguousarray(rows))
        if self.reads_out:
            self.linear = self.linear._replace(slopes=np.ones_like(self.linear.slopes))
        self.output = self._output(given.shape) if spikes is None else spikes
        return Tensor(self.output)

    def _returned(self, spikes: Array) -> Array:
        """Return the weighted input of recurrent neurons from their own spikes, and keep these spikes."""
        delay = self.node.stage.steps
        flat = spikes.reshape(*spikes.shape[:2], -1)
        before = np.zeros((delay, *flat.shape[1:]), bool) if self._own is None else self._own
        joined = np.concatenate([before, flat])
        self._own = joined[len(flat) :]
        self.returning = joined[: len(flat)]
        weight: Array = self.recurrent.effective_weight().data
        return self.returning @ weight

    def _output(self, shape: tuple[int, ...]) -> Array:
        u: Array = self.linear.u.reshape(shape)
        if self.reads_out or not self.spiking.kind.fires:
            return u
        s: Array = self.linear.s.reshape(shape).view(bool)
        return np.where(s, u, u.dtype.type(0)) if self.spiking.graded else s

    @property
    def shape(self) -> tuple[int, int, int]:
        """The steps, samples and neurons of the last chunk."""
        steps, samples = self.output.shape[:2]
        return steps, samples, math.prod(self.output.shape[2:])

    # The differentiable pass: what takes the place of paths in time.

    def source(self, x: Tensor, number: int) -> Tensor:
        """Return what stages before the neurons take: the output of other neurons, or in its place its traces."""
        if not self.factored:
            return x
        if number not in self._traces:
            self._traces[number] = InputTraces(self)
        return _replaced(x, value=self._traces[number].of(x.data))

    def traced(self, x: Tensor) -> Tensor:
        """Return the output as a tensor whose backward follows the rule; x is the output of the stages before."""
        if self.dense is None:
            return _fired(x, population=self)
        bias = () if self.dense.bias is None else (self.dense.bias,)
        own = () if self.recurrent is None else (self.recurrent.effective_weight(),)
        weight = self.dense.effective_weight()
        return _learned(x.reshape(*x.shape[:2], -1), weight, *bias, *own, population=self)

    def error(self, g: Array) -> Array:
        """Return the error (T, N, J) of the potential at each step for a gradient g of the output."""
        g = g.reshape(self.shape)
        slopes: Array = self.linear.slopes.reshape(self.shape)
        if self.next is None:
            return g * slopes
        share = self.next.keep
        if self._mean_slope is None:
            self._mean_slope = np.zeros(self.shape[1:], slopes.dtype)
        means = np.empty(self.shape, slopes.dtype)
        for t in range(len(means)):
            means[t] = self._mean_slope = share * self._mean_slope + (1 - share) * slopes[t]
        return g * means * self.next.gain

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """The area of the response to an input, and its mean lag in steps."""
        response = abs(_response(self.node.stage))
        area = float(response.sum()) or 1.0
        return area, float((response * np.arange(len(response))).sum()) / area

    @property
    def gain(self) -> float:
        """The change of the potential by a constant input, with the signs of the response left out."""
        return self._moments[0]

    @property
    def keep(self) -> float:
        """The decay factor of an average over as many steps as the response takes."""
        return self._moments[1] / (1 + self._moments[1])

    def gradients(self, x: Array, g: Array, *, bias: bool) -> list[Array]:
        """Return the gradients of the weight, of the bias and of the recurrent weight, for a gradient of the output."""
        error = self.error(g)
        self.errors = g.reshape(self.shape)
        inputs = [with_ones(x) if bias else x]
        if self.recurrent is not None:
            inputs.append(self.returning.astype(x.dtype))
        if not self._synapses:
            self._synapses = [Synapses(self, rows.shape[2]) for rows in inputs]
        found = [
            synapses.gradient(rows, self.errors, error) for synapses, rows in zip(self._synapses, inputs, strict=True)
        ]
        if bias:
            found[:1] = [found[0][:-1], found[0][-1]]
        return [error, *found]

    def back(self, error: Array, weight: Array) -> Array:
        """Return the gradient of the input of the dense layer, by its weight or by feedback weights."""
        if self.rule.feedback != "symmetric" and self.sources != [INPUT]:
            if self._feedback is None:
                size = float(np.sqrt(np.mean(np.square(weight))))
                self._feedback = (size * generator().standard_normal(weight.shape)).astype(weight.dtype)
                self._weight_before = weight.copy()
            weight = self._feedback
        return error @ weight.T

    def end_step(self) -> None:
        """Let adaptive feedback weights follow the weight that an optimizer has changed."""
        if self.rule.feedback == "adaptive" and self._feedback is not None:
            weight = self.dense.effective_weight().data
            self._feedback = (1 - _FORGOTTEN) * self._feedback + (weight - self._weight_before)
            self._weight_before = weight.copy()

    def feedback_of(self, weight: Array) -> Array:
        """Return the weights by which errors go back."""
        return weight if self._feedback is None else self._feedback


def _constants(by_step: StepByStep, like: Array) -> Array:
    """Return the constants of neurons that may differ, for kernels."""
    columns = tuple(np.asarray(keep.data if isinstance(keep, Tensor) else keep) for keep in by_step.keeps.values())
    spiking = by_step.spiking
    return side_by_side(spiking.labels or spiking.kind.columns, columns, like, like.shape[2:])


def _response(stage: Any) -> Array:
    """Return the response of neurons, or of a read-out."""
    if form_of(stage) != "read_out":
        return as_neuron(stage).response
    if stage.neuron is not None:
        return as_neuron(stage.neuron).response
    keep = float(np.mean(kept_share(stage.tau, stage.dt)))
    return keep ** np.arange(max(int(math.log(1e-3) / math.log(keep)), 1)) if 0 < keep < 1 else np.ones(1)


@differentiable
def _replaced(x: Array, /, *, value: Array) -> tuple[Array, Pullback]:
    """Return a value in the place of x."""
    return value, lambda g: (g,)


@differentiable
def _fired(x: Array, /, *, population: Population) -> tuple[Array, Pullback]:
    """Return the output of a population; the gradient of its input is the error of its potential."""
    shape = x.shape

    def pullback(g: Array) -> tuple[Gradient, ...]:
        population.errors = g.reshape(population.shape)
        return (population.error(g).reshape(shape),)

    return population.output, pullback


@differentiable
def _learned(x: Array, weight: Array, /, *more: Array, population: Population) -> tuple[Array, Pullback]:
    """Return the output of a population; the gradients of its weights follow from the traces."""
    rows = x.astype(weight.dtype)
    bias = population.dense.bias is not None

    def pullback(g: Array) -> tuple[Gradient, ...]:
        error, *found = population.gradients(rows, g, bias=bias)
        return population.back(error, weight), *found

    return population.output, pullback
