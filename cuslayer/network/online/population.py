"""Neurons of a network that learns forward in time: the errors of their potentials, and the traces before them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._tape import Gradient, Pullback, Tensor, as_tensor, differentiable, on_potential, to_shape
from cuslayer.backend import Array, generator, namespace
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.step.tangent import NotLinear, tangent
from cuslayer.layers.base import as_layer, form_of
from cuslayer.layers.dense import dense
from cuslayer.network.graph import INPUT, Graph, GraphNode, feeds
from cuslayer.network.online.rule import Online
from cuslayer.neurons.base import StepByStep, as_neuron, is_stateful
from cuslayer.neurons.dynamics import kept_share

# The maximum number of samples of a response.
_SAMPLES = 1024
# Adaptive feedback weights follow the changes of the layer's weights, and forget where they began by this share.
_FORGOTTEN = 1e-3


def _neurons_of(node: GraphNode) -> StepByStep | None:
    """Return the neurons of a stage, written as a step; None if their potential is a sampled response."""
    stage: Any = node.stage
    neuron: Any = None if form_of(stage) == "read_out" else as_neuron(getattr(stage, "neuron", stage))
    by_step = stage.simulation if neuron is None else neuron.as_step
    text = f"layer {node} {check.one_line(stage)} cannot learn online"
    if is_stateful(stage):
        raise ValueError(f"{text}: its state goes on from call to call")
    if getattr(neuron, "gradient", None) == "eventprop":
        raise ValueError(f"{text}: the gradient of exact spike times needs a later step; use gradient='slayer'")
    if by_step is None or not by_step.spiking.kind.derived:
        if (
            getattr(neuron, "gradient", None) != "slayer"
            or len(neuron.response) > _SAMPLES
            or not hasattr(neuron, "continued")
        ):
            raise ValueError(f"{text}: it is not written as a step, nor a response of at most {_SAMPLES} samples")
        return None
    spiking = by_step.spiking
    trained = bool(_trained(by_step))
    if trained and spiking.kind.own_backward(spiking.exact) is not None:
        raise ValueError(f"{text}: trained constants need the gradient of the step, got one with its own backward")
    try:
        tangent(spiking.kind, spiking.exact, spiking.graded, trained)
    except NotLinear as problem:
        raise ValueError(f"{text}: {problem}") from None
    found: StepByStep = by_step
    return found


def _trained(by_step: StepByStep | None) -> dict[int, Tensor]:
    """Return the trained constants of neurons by their numbers."""
    values = enumerate(by_step.keeps.values() if by_step is not None else ())
    return {number: value for number, value in values if isinstance(value, Tensor) and value.requires_grad}


class Population:
    """Neurons or a read-out of a network, and the traces of the synapses before them."""

    def __init__(self, graph: Graph, node: GraphNode, rule: Online) -> None:
        self.node = node
        self.rule = rule
        self.trained = bool(_trained(_neurons_of(node)))
        self.next: Population | None = None
        stage: Any = node.stage
        self.recurrent: Any = getattr(stage, "own_layer", None)
        self.reads_out = form_of(stage) == "read_out"
        last = node if self.reads_out or node.inputs[0] == INPUT else graph.nodes[node.inputs[0]]
        # The dense layer whose output they take, and the node before it, or before the neurons if there is none.
        self.dense: Any = last.stage if form_of(last.stage) in ("dense", "read_out") else None
        self.dense_number = last.number
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

    def reset(self) -> None:
        """Begin before the first step."""
        self.steps = 0
        self.by_step = _neurons_of(self.node)
        self.errors: Any = None  # the gradient of the output in the last chunk, before the slopes
        self.neurons: Any = None
        self._mean_slope: Array | None = None
        self._own: Array | None = None  # the last spikes of recurrent neurons
        self._synapses: dict[str | None, _Synapses] = {}
        self._traces: dict[int, _InputTraces] = {}

    # Forward: the neurons themselves.

    def run(self, x: Tensor, continued: Callable[..., Any]) -> Tensor:
        """Return the output of the next steps, and keep what the traces need of them."""
        from cuslayer.kernels.online import cpu as online  # imports Numba

        weighted = self.dense.biased(dense(x, self.dense.effective_weight())) if self.reads_out else x
        given = weighted.data
        if namespace(given) is not np:
            raise ValueError("online learning runs on the CPU, got an array of a GPU")
        # An optimizer step may have changed trained constants.
        by_step = _neurons_of(self.node) if self.trained else self.by_step
        spikes: Any = None
        if by_step is None:
            self._run_sampled(weighted, continued)
        else:
            rows = given.reshape(len(given), given.shape[1] * math.prod(given.shape[2:]))
            if self.recurrent is not None:
                spikes = as_tensor(continued(weighted)).data
                rows = rows + self._returned(spikes).reshape(rows.shape)
            if self.neurons is None:
                constants = _constants(by_step, given)
                self.neurons = online.Neurons(by_step.spiking, constants, rows.shape[1], rows.dtype, self.trained)
            elif self.trained:
                self.neurons.constants = _constants(by_step, given)
            self.linear = self.neurons.run(np.ascontiguousarray(rows))
        if self.reads_out:
            self.linear = self.linear._replace(slopes=np.ones_like(self.linear.slopes))
        self.output = self._output(given.shape, by_step) if spikes is None else spikes
        if self.next is not None:
            if self._mean_slope is None:
                self._mean_slope = np.zeros(self.linear.slopes.shape[1], given.dtype)
            self._mean_slopes = online.average(self.linear.slopes, self._mean_slope, self.window[1])
        return Tensor(self.output)

    def _returned(self, spikes: Array) -> Array:
        """Return the weighted input of recurrent neurons from their own spikes, and keep these spikes."""
        delay = self.node.stage.steps
        flat = spikes.reshape(*spikes.shape[:2], math.prod(spikes.shape[2:]))
        before = np.zeros((delay, *flat.shape[1:]), bool) if self._own is None else self._own
        joined = np.concatenate([before, flat])
        self._own = joined[len(flat) :]
        self.returning = joined[: len(flat)]
        weight: Array = self.recurrent.effective_weight().data
        return self.returning @ weight

    def _run_sampled(self, x: Tensor, continued: Callable[..., Any]) -> None:
        """Run neurons whose potential is a sampled response."""
        from cuslayer.kernels.online import cpu as online

        neuron: Any = as_neuron(self.node.stage)
        if self.neurons is None:
            self.neurons = online.Sampled(neuron.response, x.dtype)
        potentials: list[Array] = []
        with on_potential(lambda saved: potentials.append(np.array(saved.values))):
            spikes = as_tensor(continued(x)).data
        u = potentials[0].reshape(len(spikes), spikes[0].size if len(spikes) else 0)
        spiking = getattr(neuron, "constants", None) or neuron.spiking
        slopes = kernels.cpu.sampled_srm.surrogate_adjoint(np.ones_like(u), u, spiking)
        self.linear = self.neurons.linear(u, np.ascontiguousarray(spikes).reshape(u.shape), slopes)

    def _output(self, shape: tuple[int, ...], by_step: StepByStep | None) -> Array:
        u: Array = self.linear.u.reshape(shape)
        if self.reads_out or not (by_step is None or by_step.spiking.kind.fires):
            return u
        s: Array = self.linear.s.reshape(shape).view(bool)
        return np.where(s, u, u.dtype.type(0)) if by_step is not None and by_step.spiking.graded else s

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
        parameters: dict[str, Tensor] = {}
        if self.dense is not None:
            x = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
            parameters["weight"] = weight = self.dense.effective_weight()
            if x.shape[2] != weight.shape[0]:
                places = x.shape[2] // weight.shape[0]
                raise ValueError(f"layer {self.node} cannot learn online: its Dense layer maps {places} places")
            if self.dense.bias is not None:
                parameters["bias"] = self.dense.bias
        if self.recurrent is not None:
            parameters["recurrent"] = self.recurrent.effective_weight()
        if self.trained:
            constants = _trained(_neurons_of(self.node))
            parameters |= {f"constant {number}": constant for number, constant in constants.items()}
        return _learned(x, *parameters.values(), population=self, names=tuple(parameters))

    def error(self, g: Array) -> Array:
        """Return the error (T, N, J) of the potential at each step for a gradient g of the output."""
        g = g.reshape(self.shape)
        if self.next is None:
            return g * self.linear.slopes.reshape(self.shape)
        return g * self._mean_slopes.reshape(self.shape) * self.window[0]

    @cached_property
    def window(self) -> tuple[float, float]:
        """How earlier changes of the potential act on the next potential: their weight, and the decay of the weights.

        A change now comes with earlier ones, whose expected size is the autocorrelation of the response. The next
        response weights them.
        """
        own = _response(self.node.stage)
        lags = np.correlate(own, own, "full")[len(own) - 1 :] / np.square(own).sum()
        after = _response(cast(Population, self.next).node.stage)
        count = min(len(lags), len(after))
        weights = after[:count] * lags[:count]
        size = float(abs(weights).sum())
        mean_lag = float((abs(weights) * np.arange(count)).sum()) / size if size else 0.0
        return float(weights.sum()) or 1.0, mean_lag / (1 + mean_lag)

    def gradients(self, x: Array, g: Array, names: Sequence[str]) -> dict[str, Array]:
        """Return the gradients of parameters by name, for inputs x of the dense layer and a gradient of the output."""
        self.errors = g.reshape(self.shape)
        found: dict[str, Array] = {}
        if "bias" in names:
            both = self._gradient("weight", _with_ones(x))
            found = {"weight": both[:-1], "bias": both[-1]}
        elif "weight" in names:
            found["weight"] = self._gradient("weight", x)
        if "recurrent" in names:
            found["recurrent"] = self._gradient("recurrent", self.returning.astype(g.dtype))
        if self.neurons.tangent.columns:
            ones = np.eye(self.neurons.tangent.columns, dtype=g.dtype)[:, None]
            rows = self._gradient(None, np.repeat(ones, self.shape[1], axis=1))
            found |= {f"constant {number}": row for number, row in enumerate(rows)}
        return found

    def _gradient(self, name: str | None, rows: Array) -> Array:
        """Return the gradient (I, J) of the weights from some inputs, or of the constants for no name."""
        if name not in self._synapses:
            self._synapses[name] = _Synapses(self, None if name is None else rows.shape[2])
        return self._synapses[name].gradient(rows, self.errors)

    def back(self, error: Array, weight: Array | None) -> Array:
        """Return the gradient of the input of the dense layer, by its weight or by feedback weights."""
        if weight is None:
            return error
        if self.rule.feedback != "symmetric" and self.sources != [INPUT]:
            if self._feedback is None:
                drawn = np.asarray(generator().standard_normal(weight.shape), weight.dtype)
                self._feedback = np.sqrt(np.square(weight).mean()) * drawn
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


def _with_ones(x: Array) -> Array:
    """Return inputs with a further one that is always 1, of the bias."""
    return np.concatenate([x, np.ones((*x.shape[:2], 1), x.dtype)], axis=2)


class _Synapses:
    """The traces of the synapses of a population from some inputs, or by its neurons' constants for a width of None."""

    def __init__(self, population: Population, width: int | None) -> None:
        from cuslayer.kernels.online import cpu as online

        self._population = population
        _, samples, neurons = population.shape
        self._shared = population.neurons.shared is not None
        after = population.next
        self._copies = 1
        self._of: Any = None
        self._to: Any = None
        if population.factored and width is not None:
            return
        self._of = online.Tangents(population.neurons, samples if self._shared else samples * neurons, width)
        if after is None:
            return
        own = after.neurons.shared is None
        if own and after.next is None and after.dense is not None and not after.stages:
            self._copies = after.shape[2]
        self._to = online.Tangents(after.neurons, samples * neurons * self._copies, width or self._of.part.columns)

    def gradient(self, x: Array, g: Array) -> Array:
        """Return the gradient (I, J) of the weight, for inputs (T, N, I) and a gradient g of the output (T, N, J)."""
        from cuslayer.kernels.online import cpu as online

        population = self._population
        after = population.next
        start = population.steps
        linear = population.linear
        if self._of is None:
            return np.tensordot(x, population.error(g), axes=((0, 1), (0, 1)))
        of = self._of, linear.written
        if after is None and self._shared:
            return np.tensordot(
                online.follow(x, self._of, linear.written, start), population.error(g), axes=((0, 1), (0, 1))
            )
        if after is None:
            return online.at_output(x, population.error(g), of, start)
        shared = online.follow(x, self._of, linear.written, start) if self._shared else None
        slopes = linear.slopes.reshape(population.shape)
        to = self._to, self._written(after)
        return online.accumulate(x, shared, slopes, self._errors(g, after), of, to, start)

    def _errors(self, g: Array, after: Population) -> Array:
        """Return the errors (T, N, J, copies) of the potentials after the neurons."""
        if self._copies == 1:
            return g[..., None]
        sent = after.errors * after.linear.slopes.reshape(after.shape)
        weight = after.feedback_of(after.dense.effective_weight().data)
        return sent[:, :, None, :] * weight

    def _written(self, after: Population) -> Array:
        """Return the coefficients of the neurons after these: for each of them, or their mean."""
        written: Array = after.linear.written
        if written.shape[1] == 1 or self._copies > 1:
            return written
        _, samples, neurons = after.shape
        return np.ascontiguousarray(written.reshape(len(written), samples, neurons).mean(axis=2))


class _InputTraces:
    """The traces of inputs through the response of neurons, and of the neurons after them, of all neurons' mean."""

    def __init__(self, population: Population) -> None:
        self._population = population
        self._own: Any = None
        self._after: Any = None

    def of(self, x: Array) -> Array:
        """Return the traces of inputs (T, N, ...) in the last chunk."""
        population = self._population
        after = population.next
        rows = x.reshape(*x.shape[:2], math.prod(x.shape[2:])).astype(population.linear.slopes.dtype)
        self._own = self._own or self._tangents(population, rows)
        trace = self._followed(rows, self._own, population)
        if after is not None:
            self._after = self._after or self._tangents(after, rows)
            trace = self._followed(trace, self._after, after)
            trace /= population.window[0]  # of the error, which goes on to earlier layers too
        return trace.reshape(x.shape)

    def _tangents(self, population: Population, rows: Array) -> Any:
        from cuslayer.kernels.online import cpu as online

        return online.Tangents(population.neurons, rows.shape[1], rows.shape[2])

    def _followed(self, rows: Array, tangents: Any, population: Population) -> Array:
        from cuslayer.kernels.online import cpu as online

        written: Array = population.linear.written
        if written.shape[1] > 1:
            means = written.reshape(len(written), rows.shape[1], written.shape[1] // rows.shape[1]).mean(axis=2)
            written = np.ascontiguousarray(means)
        return online.follow(rows, tangents, written, self._population.steps)


@differentiable
def _replaced(x: Array, /, *, value: Array) -> tuple[Array, Pullback]:
    """Return a value in the place of x."""
    return value, lambda g: (g,)


@differentiable
def _learned(x: Array, /, *parameters: Array, population: Population, names: Sequence[str]) -> tuple[Array, Pullback]:
    """Return the output of a population; the gradients of its parameters follow from the traces."""
    shape = x.shape
    features = population.output.shape[2:]

    def pullback(g: Array) -> tuple[Gradient, ...]:
        g = g.astype(population.linear.slopes.dtype, copy=False)
        found = population.gradients(x.astype(g.dtype), g, names)
        weight = parameters[0] if "weight" in names else None
        back = lambda: population.back(population.error(g), weight).reshape(shape)  # noqa: E731
        of_parameters = []
        for name, parameter in zip(names, parameters, strict=True):
            gradient = found[name]
            if name.startswith("constant"):
                gradient = to_shape(gradient.reshape(features), parameter.shape)
            of_parameters.append(gradient.astype(parameter.dtype, copy=False))
        return back, *of_parameters

    return population.output, pullback
