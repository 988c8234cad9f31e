"""`quantize`: the integer twin of a network."""

from __future__ import annotations

import ast
import copy
import math
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.integers.fixed import (
    ARITHMETIC,
    MOST_FRACTION,
    MOST_OF_PRODUCTS,
    Evaluate,
    Factor,
    FixedStep,
    multiplies,
    unsupported,
)
from cuslayer.interchange.integers.neurons import MOST_SCALE, IntegerNeurons, IntegerReadOut
from cuslayer.interchange.recordings import recording_of
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.step.kind import is_condition
from cuslayer.layers import Dense, Dropout
from cuslayer.layers.base import Shape, form_of
from cuslayer.layers.weight_hooks import MOST_BITS, whole_channels
from cuslayer.network.graph import Graph, GraphNode
from cuslayer.network.network import graph_of
from cuslayer.network.walk import Walk, check_network, eval_mode
from cuslayer.neurons.base import StepByStep, as_neuron, is_neuron
from cuslayer.neurons.dynamics import to_array

# Bits of headroom over the largest state of the recording, and bits that a step has more than its states.
_HEADROOM = 1
_MORE = 4


@check.operation
def quantize(net: Any, recording: Any = None, *, weights: int = 8, states: int = 16) -> Any:
    """Return the integer twin of a network: integer weights with a scale for each channel, states in fixed point.

    Per output channel ``w = scale n``, n from ``1 - 2^(weights-1)`` to ``2^(weights-1) - 1``. A state has `states` bits
    and saturates. A decay is a factor of 16 bits and a shift. `BatchNorm`, bias and the gain of pooling become part of
    the scale. The twin is a network: it runs, is recorded and streamed; `export_c` writes it with the same bits. An SRM
    keeps its two states for each response, without the input of earlier steps that cuts the response.

    Args:
        net: a network in float32 whose layers take spikes; it stays as it is.
        recording: (T, N, ...), spikes, by which the states' points are set: the largest state that occurs fits. Take
            one of the data. By default 100 steps in which 10 % of the inputs fire.
        weights: bits of a weight, 2 to 8.
        states: bits of a state, 16 or 32.

    Returns:
        The twin, in evaluation.

    Raises:
        ValueError: a layer has no integer form, or an argument is out of range.
        TypeError: net is not a network.

    Source: for a scale for each channel Krishnamoorthi 2018, arXiv 1806.08342.

    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import LIF
    >>> x = np.random.default_rng(0).random((50, 1, 4)) < 0.5
    >>> net = Sequential(Dense(4, 3, weight_scale=3.0), LIF())
    >>> twin = quantize(net, x)
    >>> int(twin[0].weight.data.max()) <= 127, bool((twin(x).data == net(x).data).mean() > 0.9)
    (True, True)
    """
    check_network(net)
    bits = check.integer("weights", weights, least=2)
    if bits > MOST_BITS:
        raise ValueError(f"weights must be 2 to {MOST_BITS} bits, got {bits}")
    if states not in (16, 32):
        raise ValueError(f"states must be 16 or 32 bits, got {states!r}")
    x = Tensor(recording_of(net, recording))
    if x.dtype != bool:
        raise ValueError(f"recording must be spikes, got {x.dtype}; integers take no numbers")
    twin = copy.deepcopy(net).eval()
    quantizing = _Quantizing(graph_of(net), graph_of(twin), twin, bits, states)
    with eval_mode(net), no_grad():
        for at in Walk(net, x):
            quantizing.visit(at.node, [to_numpy(given.data) for given in at.inputs])
            at.output  # noqa: B018 runs the stage
    return twin


class _Quantizing:
    """A network while its stages are replaced."""

    def __init__(self, graph: Graph, twin_graph: Graph, twin: Any, bits: int, states: int) -> None:
        self.nodes, self.output = graph.nodes, graph.output
        self.twin = twin
        self.bits = bits
        self.states = states
        self.own = [node.stage for node in twin_graph.nodes]
        # By the number of a stage of numbers: the value of a sum of 1, and what is added, for each channel.
        self.scales: dict[int, tuple[Array, Array]] = {}
        # The same of layers that have integer weights, which may have several places.
        self.whole: dict[int, tuple[Array, Array]] = {}

    def visit(self, node: GraphNode, inputs: list[Array]) -> None:
        """Replace a stage, for its inputs in float."""
        form = form_of(node.stage)
        number = node.number
        before = node.inputs[0]
        spikes = all(given.dtype == bool for given in inputs)
        if is_neuron(node.stage):
            if before in self.scales:
                self._replace(node, self._neurons(node, inputs[0], *self.scales[before]))
            elif as_neuron(node.stage).weight_grid is None:
                raise self._refused(node, "neurons need a layer of weights or pooling of spikes before them")
        elif form == "norm" and before in self.scales:
            scale, added = self.scales[before]
            centre, factor, offset = node.stage.fixed_map(np.empty((1, node.stage.features), np.float32)).astype(float)
            self.scales[number] = scale * factor, (added - centre) * factor + offset
            self._replace(node, Dropout(0.0).eval())
        elif form == "same" and before in self.scales:
            self.scales[number] = self.scales[before]
        elif not spikes:
            raise self._refused(node, "it takes numbers, also of added branches; integers need spikes")
        elif form == "read_out":
            self._replace(node, self._read_out(node, inputs[0]))
        elif form in ("dense", "conv", "conv_transpose", "pool", "unpool"):
            self._weigh(node, form)
        elif form not in ("same", "delay", "join", "max", "vote") or (form == "delay" and node.stage.linear):
            raise self._refused(node, "it has no integer form")

    def _weigh(self, node: GraphNode, form: str | None) -> None:
        """Make the weights of a layer integers, or the gain of pooling 1; neurons must follow."""
        number = node.number
        layer = self.own[number]
        neurons = self._neurons_after(number)
        grid = neurons.weight_grid
        if form in ("pool", "unpool"):
            if layer.weight_hook:
                raise self._refused(node, "its taps differ")
            if grid is None:
                self.scales[number] = np.array([node.stage.gain]), np.zeros(1)
                layer.gain = 1.0
                layer.integers = True
        elif grid is not None:
            self._round(layer, *grid)
        else:
            if id(layer) not in self.whole:
                self.whole[id(layer)] = self._whole(layer, node)
            self.scales[number] = self.whole[id(layer)]

    def _neurons_after(self, number: int) -> Any:
        """Return the neurons that alone take the output of a stage, through a normalization; else raise ValueError."""
        takers = [node for node in self.nodes if number in node.inputs]
        if len(takers) == 1 and number != self.output:
            (taker,) = takers
            if is_neuron(taker.stage):
                return as_neuron(taker.stage)
            if form_of(taker.stage) in ("norm", "same"):
                return self._neurons_after(taker.number)
        raise self._refused(self.nodes[number], "neurons, and nothing else, must take its sums")

    def _round(self, layer: Any, step: float, limits: tuple[float, float]) -> None:
        """Round the weights of a layer to the multiples that its neurons take, with fewer bits to fewer of them."""
        step *= 1 << (8 - self.bits)
        weight = np.asarray(to_numpy(layer.effective_weight().data), np.float64)
        layer.weight_hook = None
        rounded = np.clip(np.rint(weight / step) * step, *limits)
        vars(layer)["weight"] = Tensor(rounded.astype(np.float32), requires_grad=True)

    def _refused(self, node: GraphNode, why: str) -> ValueError:
        return ValueError(f"layer {node} {check.one_line(node.stage)} cannot become integers: {why}")

    def _replace(self, node: GraphNode, stage: Any) -> None:
        container = self.twin
        for position in node.path[:-1]:
            container = container.stages[position]
        container.stages[node.path[-1]] = stage
        self.own[node.number] = stage

    def _whole(self, layer: Any, node: GraphNode) -> tuple[Array, Array]:
        """Make the weights of a layer integers, and return their scale and the bias, for each output channel."""
        if layer.weight.dtype != np.float32:
            raise self._refused(node, f"its weight must be float32, got {layer.weight.dtype}")
        weight = to_numpy(layer.effective_weight().data)
        if not np.isfinite(weight).all():
            raise self._refused(node, "its weight must be finite")
        view, per_output = layer.per_output_shapes()
        axes = tuple(axis for axis, size in enumerate(per_output) if size == 1)
        numbers, scale = whole_channels(weight, self.bits, view, axes)
        whole = numbers.reshape(weight.shape)
        bias = np.zeros(1) if layer.bias is None else np.asarray(to_numpy(layer.bias.data), np.float64)
        layer.bias = None
        layer.weight_hook = None
        vars(layer)["weight"] = Tensor(whole.astype(np.float32), requires_grad=True)
        layer.integers = True
        return _by_channel(scale, view), bias

    def _neurons(
        self, node: GraphNode, x: Array, scale: Array, added: Array, *, integrator: StepByStep | None = None
    ) -> IntegerNeurons:
        """Return the neurons of a stage in fixed point, for their weighted input (T, N, ...)."""
        stage = node.stage
        recurrent = form_of(stage) == "recurrent"
        neuron = as_neuron(stage.neuron if recurrent else stage) if integrator is None else None
        by_step = integrator if neuron is None else neuron.as_step
        shape = x.shape[2:]
        if by_step is None or by_step.spiking.graded or len(by_step.spiking.kind.inputs) > 1:
            raise self._refused(node, "neurons must be written as a step of one input, and fire spikes")
        kind = by_step.spiking.kind
        wrong = unsupported(kind)
        if wrong:
            raise self._refused(node, f"its step calls {wrong}")
        lags = dict(zip(kind.lags, by_step.spiking.lags, strict=True))
        if neuron is not None and neuron.srm_form is not None:
            lags = dict.fromkeys(lags, 0)
        layer = None
        back = None
        back_scale = np.zeros(1)
        if recurrent:
            layer = copy.deepcopy(stage.layer)
            if layer.delays is not None:
                raise self._refused(node, "its synapses to itself have delays")
            back_scale, _ = self._whole(layer, node)
        constants = _constants(by_step, shape)
        largest = _largest(FixedStep(kind, constants, 0, (), 64, lags), stage, x)
        points = tuple(self.states - 1 - _HEADROOM - _exponent(most) for most in largest)
        most = MOST_OF_PRODUCTS if multiplies(kind, constants) else MOST_FRACTION
        points = tuple(min(point, most - _MORE) for point in points)
        fraction = min(max(points, default=0) + _MORE, most)
        step = FixedStep(kind, constants, fraction, points, self.states, lags)
        unit = 2.0**fraction
        whole_added = np.rint(_of_neurons(added * unit, shape)).astype(np.int64)
        if recurrent:
            back = Factor.of(_of_neurons(back_scale * unit, shape), MOST_SCALE)
        factor = Factor.of(_of_neurons(scale * unit, shape), MOST_SCALE)
        delay = stage.steps if recurrent else 0
        return IntegerNeurons(neuron or stage, step, factor, whole_added, layer, back, delay, neuron is None)

    def _read_out(self, node: GraphNode, x: Array) -> IntegerReadOut:
        layer = node.stage
        if layer.simulation is None:
            raise self._refused(node, "its filter has samples")
        dense = Dense(layer.in_features, layer.out_features, weight_hook=layer.weight_hook)
        dense.weight = layer.weight.data
        dense.bias = layer.bias
        weighted = dense(Tensor(x)).data
        scale, added = self._whole(dense, node)
        return IntegerReadOut(dense.eval(), self._neurons(node, weighted, scale, added, integrator=layer.simulation))


def _by_channel(scale: Array, view: Shape) -> Array:
    """Return the scale of each output channel, (outputs,); of a transposed layer group by group."""
    return scale.reshape(scale.shape[-3:-1]).T.ravel() if len(view) == 5 else scale.ravel()


def _of_neurons(values: Array, shape: Shape) -> Array:
    """Return numbers for each channel as numbers for neurons of a shape; one if all are equal."""
    return values.ravel()[:1].reshape(()) if (values == values.ravel()[0]).all() else np.broadcast_to(values, shape)


def _constants(by_step: StepByStep, shape: Shape) -> dict[str, Any]:
    """Return the constants of a step by name, float64: numbers, or of the shape of the neurons."""
    spiking = by_step.spiking
    arrays = [np.asarray(to_numpy(to_array(keep)), np.float64) for keep in by_step.keeps.values()]
    columns = side_by_side(spiking.labels or spiking.kind.columns, arrays, np.empty(0), shape)
    size = math.prod(shape)
    constants: dict[str, Any] = dict(zip(spiking.kind.numbers, map(np.float64, spiking.values), strict=True))
    for name, column in zip(spiking.kind.columns, columns, strict=True):
        tiled = np.tile(column, -(-size // column.size))[:size].reshape(shape)
        constants[name] = _of_neurons(tiled, shape)
    return constants


def _exponent(most: float) -> int:
    """Return the least n with ``most < 2^n``."""
    return math.frexp(most)[1] if most > 0 else 0


def _largest(step: FixedStep, stage: Any, x: Array) -> list[float]:
    """Return the largest absolute value of each state for a weighted input (T, N, ...), in float64."""
    kind = step.kind
    shape = x.shape[1:]
    starts = kind.start or (0.0,) * len(kind.states)
    states = [np.full(shape, start) for start in starts]
    largest = [abs(start) for start in starts]
    inputs: list[Array] = []
    fired: list[Array] = []
    back = np.zeros(shape)
    delay = stage.steps if form_of(stage) == "recurrent" else 0
    for row in x:
        if delay and len(fired) >= delay:
            back = stage.layer(Tensor(fired[-delay][None])).data[0].reshape(shape)
        weighted = row.astype(np.float64) + back
        past = {}
        for earlier in kind.past:
            lag = step.lags[earlier.lag]
            held = fired if earlier.of == kind.spike else inputs
            past[earlier.name] = held[-lag].astype(np.float64) if 0 < lag <= len(held) else np.zeros(shape)
        evaluate = _Float(step, dict(zip(kind.states, states, strict=True)) | {kind.inputs[0]: weighted, **past})
        states = evaluate.run()
        largest = [max(most, float(np.abs(state).max())) for most, state in zip(largest, states, strict=True)]
        inputs.append(weighted)
        fired.append(evaluate.values[kind.spike] if kind.fires else np.zeros(shape, bool))
    return largest


class _Float(Evaluate):
    """Evaluates a step in float64."""

    def fixed(self, number: Any) -> Array:
        return np.asarray(number, np.float64)

    def arithmetic(self, value: ast.BinOp) -> Array:
        left, right = self.value(value.left), self.value(value.right)
        found: Array = ARITHMETIC[type(value.op)](left, right)
        return found

    def run(self) -> list[Array]:
        """Return the states after the step."""
        kind = self.step.kind
        for name, value in kind.body:
            self.values[name] = self.condition(value) if is_condition(value) else self.value(value)
        return [np.asarray(self.value(ast.Name(name)), np.float64) for name in kind.after]
