"""Learning forward in time: gradients from traces of synapses, in memory that does not grow with the number of steps.

Backward needs a whole recording. A trace needs no later step: it holds what a weight has changed so far. With W from
inputs x to neurons j, and the next neurons k::

    e_ij[t] = d s_j[t] / d W_ij                     the tangent of neuron j for the input x_i
    F_ij[t] = the tangent of the next neurons' potential for the input e_ij
    dL / dW_ij = sum over t of (sum over k of W_jk G_k[t]) F_ij[t]        G_k the error of potential k at step t

"exact" keeps e and F for each synapse. For one layer of neurons between input and output, this is the gradient of
backward. "factored" keeps two numbers, the trace P of an input through both filters and the mean slope R of a neuron,
in place of F::

    F_ij[t] = R_j[t] P_i[t]

"eprop" is "exact" for recurrent layers too: it drops the paths through recurrent synapses to other neurons. Its
feedback may use random weights in the place of W_jk. In deeper networks an error goes on to earlier layers at the same
step, weighted by R.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Gradient, Pullback, Tensor, as_tensor, differentiable, gradients, no_grad
from cuslayer.backend import Array, generator, generator_state, load_generator_state, namespace
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.tangent import NotLinear, tangent
from cuslayer.layers.base import as_layer, form_of
from cuslayer.layers.dense import dense
from cuslayer.network.graph import INPUT, Graph, GraphNode, feeds
from cuslayer.neurons.base import StepByStep, as_neuron, is_neuron, is_stateful
from cuslayer.neurons.dynamics import kept_share

RULES = "exact", "factored", "eprop"
FEEDBACK = "symmetric", "random", "adaptive"
# Adaptive feedback weights follow the changes of the layer's weights, and forget where they began by this share.
_FORGOTTEN = 1e-3
# The bytes of the rows of a chunk for one neuron's synapses, and its maximum and minimum of steps.
_BYTES = 1 << 18
_MOST = 256
_LEAST = 8


@dataclass(frozen=True)
class Online:
    """A rule that learns forward in time, for ``Trainer(online=)`` and ``net.stream(online=)``.

    Args:
        rule: "exact", "factored" or "eprop". "exact" and "eprop" keep a trace for each synapse and sample, "factored"
            for each input and each neuron.
        feedback: for "eprop", the weights by which errors reach a layer: "symmetric" for the layer's own, "random" for
            fixed random ones, "adaptive" for random ones that follow the changes of the layer's own.

    Raises:
        ValueError: rule or feedback is unknown, or feedback is not "symmetric" for another rule.

    Source: Bellec and others 2020, "A solution to the learning dilemma for recurrent networks of spiking neurons",
    Nature Communications 11:3625; Xiao and others 2022, "Online training through time for spiking neural networks",
    arXiv 2210.04195; Wang and others 2026, braintrace.

    >>> Online("eprop", feedback="random")
    Online(rule='eprop', feedback='random')
    """

    rule: str = "exact"
    feedback: str = "symmetric"

    def __post_init__(self) -> None:
        check.one_of("rule", self.rule, RULES)
        check.one_of("feedback", self.feedback, FEEDBACK)
        if self.feedback != "symmetric" and self.rule != "eprop":
            raise ValueError(f"feedback must be symmetric for the rule {self.rule}, got {self.feedback}; use eprop")


def as_rule(given: object) -> Online:
    """Return a rule by its name, or itself."""
    if isinstance(given, Online):
        return given
    if not isinstance(given, str):
        raise check.mistyped("online", f"must be Online or one of {', '.join(RULES)}", given)
    check.one_of("online", given, RULES)
    return Online(given)


class OnlineLearner:
    """A network that runs chunk by chunk and adds gradients to its parameters, forward in time.

    Args:
        graph: the graph of the network.
        rule: the rule.

    Raises:
        ValueError: a stage mixes steps, has parameters without a trace, or neurons that are not written as a step.
    """

    def __init__(self, graph: Graph, rule: Online) -> None:
        self._graph = graph
        self.rule = rule
        self._populations: dict[int, _Population] = {}
        for node in graph.nodes:
            if _fires_or_reads(node):
                self._populations[node.number] = _Population(graph, node, rule)
            else:
                _check_stage(node)
        for population in self._populations.values():
            for source in population.sources:
                if source != INPUT and self._populations[source].next is None:
                    self._populations[source].next = population
        for population in self._populations.values():
            population.check()
        self.reset()

    def reset(self) -> None:
        """Begin before the first step."""
        self._runs = {node.number: as_layer(node.stage).continued() or node.stage for node in self._graph.nodes}
        self._steps = 0
        self._pending: _Chunk | None = None
        for population in self._populations.values():
            population.reset()

    def steps_of_chunk(self) -> int:
        """Return the number of steps of a chunk whose traces stay in a cache."""
        width = max((population.width for population in self._populations.values()), default=1)
        return int(min(max(_BYTES // (4 * max(width, 1)), _LEAST), _MOST))

    def run(self, x: Tensor) -> Array:
        """Return the output of the next steps; the traces move on with the last ones, without an error."""
        if self._pending is not None:
            self.learn(None)
        values: dict[int, Tensor] = {INPUT: x}
        drawn = generator_state()
        with no_grad():
            for node in self._graph.nodes:
                inputs = [values[number] for number in node.inputs]
                population = self._populations.get(node.number)
                if population is None:
                    values[node.number] = as_tensor(self._runs[node.number](*inputs))
                else:
                    values[node.number] = population.run(inputs[0], self._runs[node.number])
        self._pending = _Chunk(values, drawn)
        return values[self._graph.output].data

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
        for population in self._populations.values():
            population.steps += steps

    def _differentiable(self, values: dict[int, Tensor]) -> Tensor:
        """Return the output as a tensor whose backward has no path in time; its values are those of the last call."""
        traced: dict[int, Tensor] = {INPUT: values[INPUT]}
        for population in self._populations.values():
            of_sources = {source: population.source(traced[source], source) for source in population.sources}
            traced[population.node.number] = population.traced(self._evaluated(population.before, of_sources))
        if self._graph.output in traced:
            return traced[self._graph.output]
        sources, _ = feeds(self._graph.nodes, [self._graph.output])
        return self._evaluated(self._graph.output, {source: traced[source] for source in sources})

    def _evaluated(self, output: int, values: dict[int, Tensor]) -> Tensor:
        """Return the output of stages without state for the outputs of the neurons, or the input, before them."""
        if output in values:
            return values[output]
        _, stages = feeds(self._graph.nodes, [output])
        found = dict(values)
        for number in sorted(stages):
            node = self._graph.nodes[number]
            found[number] = as_tensor(node.stage(*(found[before] for before in node.inputs)))
        return found[output]

    def end_step(self) -> None:
        """Let adaptive feedback weights follow the weights that an optimizer has changed."""
        for population in self._populations.values():
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
    if getattr(layer, "memory", None) != 0:
        raise ValueError(f"{text}: its output depends on other steps")
    if form_of(layer) == "conv" and layer.bias is not None:
        raise ValueError(f"{text}: its bias has no trace; use bias=False")


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


class _Population:
    """Neurons or a read-out of a network, and the traces of the synapses before them."""

    def __init__(self, graph: Graph, node: GraphNode, rule: Online) -> None:
        self.node = node
        self.rule = rule
        self.by_step = _neurons_of(node)
        self.next: _Population | None = None
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
        self._synapses: list[_Synapses] = []
        self._traces: dict[int, _InputTraces] = {}

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
        self.output = _output(self.spiking, self.linear, given.shape) if spikes is None else spikes
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
            self._traces[number] = _InputTraces(self)
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
        inputs = [_with_ones(x) if bias else x]
        if self.recurrent is not None:
            inputs.append(self.returning.astype(x.dtype))
        if not self._synapses:
            self._synapses = [_Synapses(self, rows.shape[2]) for rows in inputs]
        found = [synapses.gradient(rows, self.errors, error) for synapses, rows in zip(self._synapses, inputs, strict=True)]
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


def _output(spiking: StepSpiking, linear: Any, shape: tuple[int, ...]) -> Array:
    u: Array = linear.u.reshape(shape)
    if not spiking.kind.fires:
        return u
    s: Array = linear.s.reshape(shape).view(bool)
    return np.where(s, u, u.dtype.type(0)) if spiking.graded else s


def _response(stage: Any) -> Array:
    """Return the response of neurons, or of a read-out."""
    if form_of(stage) != "read_out":
        return as_neuron(stage).response
    if stage.neuron is not None:
        return as_neuron(stage.neuron).response
    keep = float(np.mean(kept_share(stage.tau, stage.dt)))
    return keep ** np.arange(max(int(math.log(1e-3) / math.log(keep)), 1)) if 0 < keep < 1 else np.ones(1)


def _with_ones(x: Array) -> Array:
    """Return inputs with a further one that is always 1, of the bias."""
    return np.concatenate([x, np.ones((*x.shape[:2], 1), x.dtype)], axis=2)


class _Synapses:
    """The traces of the synapses of a population from some inputs."""

    def __init__(self, population: _Population, width: int) -> None:
        from cuslayer.kernels.online import cpu as online

        self._population = population
        steps, samples, neurons = population.shape
        dtype = population.linear.slopes.dtype
        self._shared = population.linear.written.shape[1] == 1
        after = population.next
        self._copies = 1
        self._of: Any = None
        self._to: Any = None
        if population.factored:
            return
        self._of = online.Tangents(population.spiking, samples if self._shared else samples * neurons, width, dtype)
        if after is None:
            return
        own = after.linear.written.shape[1] > 1
        if own and after.next is None and after.dense is not None and not after.stages:
            self._copies = after.shape[2]
        self._to = online.Tangents(after.spiking, samples * neurons * self._copies, width, dtype)

    def gradient(self, x: Array, g: Array, error: Array) -> Array:
        """Return the gradient (I, J) of the weight, for a gradient g of the output and the errors of the potential."""
        from cuslayer.kernels.online import cpu as online

        population = self._population
        after = population.next
        start = population.steps
        linear = population.linear
        if population.factored:
            scaled = error if after is None else error / after.gain
            return np.tensordot(x, scaled, axes=((0, 1), (0, 1)))
        of = self._of, linear.written
        if after is None and self._shared:
            return np.tensordot(online.follow(x, self._of, linear.written, start), error, axes=((0, 1), (0, 1)))
        if after is None:
            return online.at_output(x, error, of, start)
        shared = online.follow(x, self._of, linear.written, start) if self._shared else None
        slopes = linear.slopes.reshape(population.shape)
        to = self._to, self._written(after)
        return online.accumulate(x, shared, slopes, self._errors(g, after), of, to, start)

    def _errors(self, g: Array, after: _Population) -> Array:
        """Return the errors (T, N, J, copies) of the potentials after the neurons."""
        if self._copies == 1:
            return g[..., None]
        assert after.errors is not None
        sent = after.errors * after.linear.slopes.reshape(after.shape)
        weight = after.feedback_of(after.dense.effective_weight().data)
        return sent[:, :, None, :] * weight

    def _written(self, after: _Population) -> Array:
        """Return the coefficients of the neurons after these: for each of them, or their mean."""
        written: Array = after.linear.written
        if written.shape[1] == 1 or self._copies > 1:
            return written
        steps, samples, neurons = after.shape
        return np.ascontiguousarray(written.reshape(len(written), samples, neurons).mean(axis=2))


class _InputTraces:
    """The traces of inputs through the response of neurons, and of the neurons after them, of all neurons' mean."""

    def __init__(self, population: _Population) -> None:
        self._population = population
        self._own: Any = None
        self._after: Any = None

    def of(self, x: Array) -> Array:
        """Return the traces of inputs (T, N, ...) in the last chunk."""
        population = self._population
        after = population.next
        rows = x.reshape(*x.shape[:2], -1).astype(population.linear.slopes.dtype)
        self._own = self._own or self._tangents(population, rows)
        trace = self._followed(rows, self._own, population)
        if after is not None:
            self._after = self._after or self._tangents(after, rows)
            trace = self._followed(trace, self._after, after)
        return trace.reshape(x.shape)

    def _tangents(self, population: _Population, rows: Array) -> Any:
        from cuslayer.kernels.online import cpu as online

        return online.Tangents(population.spiking, rows.shape[1], rows.shape[2], rows.dtype)

    def _followed(self, rows: Array, tangents: Any, population: _Population) -> Array:
        from cuslayer.kernels.online import cpu as online

        written: Array = population.linear.written
        if written.shape[1] > 1:
            means = written.reshape(len(written), rows.shape[1], -1).mean(axis=2)
            written = np.ascontiguousarray(means)
        return online.follow(rows, tangents, written, self._population.steps)


@differentiable
def _replaced(x: Array, /, *, value: Array) -> tuple[Array, Pullback]:
    """Return a value in the place of x."""
    return value, lambda g: (g,)


@differentiable
def _fired(x: Array, /, *, population: _Population) -> tuple[Array, Pullback]:
    """Return the output of a population; the gradient of its input is the error of its potential."""
    shape = x.shape

    def pullback(g: Array) -> tuple[Gradient, ...]:
        population.errors = g.reshape(population.shape)
        return (population.error(g).reshape(shape),)

    return population.output, pullback


@differentiable
def _learned(x: Array, weight: Array, /, *more: Array, population: _Population) -> tuple[Array, Pullback]:
    """Return the output of a population; the gradients of its weights follow from the traces."""
    rows = x.astype(weight.dtype)
    bias = population.dense.bias is not None

    def pullback(g: Array) -> tuple[Gradient, ...]:
        error, *found = population.gradients(rows, g, bias=bias)
        return population.back(error, weight), *found

    return population.output, pullback
