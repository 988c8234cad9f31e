"""`quantize`: the integer twin of a network."""

from __future__ import annotations

import ast
import copy
import math
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.integers.fixed import (
    ARITHMETIC,
    MOST_FRACTION,
    MOST_OF_PRODUCTS,
    MOST_SHIFT,
    UNLIMITED_BITS,
    Evaluate,
    Factor,
    FixedStep,
    guarded,
    multiplies,
    unsupported,
)
from cuslayer.interchange.integers.layers import (
    VALUE_BITS,
    Counts,
    GlobalCounts,
    IntegerJoin,
    Numbers,
    Rescaled,
    Rounded,
)
from cuslayer.interchange.integers.neurons import MOST_SCALE, IntegerNeurons, IntegerReadOut, returned
from cuslayer.interchange.recordings import recording_of
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.step.kind import is_condition
from cuslayer.layers import Dense, Dropout
from cuslayer.layers.base import Shape, form_of
from cuslayer.layers.weight_hooks import MOST_BITS, whole_channels
from cuslayer.network.graph import INPUT, Graph, GraphNode
from cuslayer.network.network import Container, Sequential
from cuslayer.network.walk import Walk, check_network, eval_mode
from cuslayer.neurons.base import StepByStep, as_neuron, is_neuron
from cuslayer.neurons.dynamics import to_array

# Bits of headroom over the largest state of the recording, and bits that a step has more than its states.
_HEADROOM = 1
_MORE = 4
# Whole numbers below it are exact in float32.
_EXACT = 1 << 24
# Bits of a sum of weights, of a sum of branches, and of the value of 1 in a step, at most.
_MOST_SUM = 46
_JOIN_BITS = 30
_MOST_LEFT = 50
# Bits of an input after the point, at most: float32 has this power of two.
_MOST_POINT = 120
_POOLS = ("pool", "unpool", "mean", "global_mean")


@check.operation
def quantize(net: Any, recording: Any = None, *, weights: int = 8, states: int = 16) -> Any:
    """Return the integer twin of a network: integer weights with a scale for each channel, states in fixed point.

    Per output channel ``w = scale n``, n from ``1 - 2^(weights-1)`` to ``2^(weights-1) - 1``. A state has `states` bits
    and saturates. A decay is a factor of 16 bits and a shift. `BatchNorm`, bias and the gain of pooling become part of
    the scale. Numbers as input are rounded to 16 bits, and saturate; mean pooling sums; branches of spikes add up as
    whole numbers, others are first rescaled to one scale. The twin is a network: it runs, is recorded and streamed;
    `export_c` writes it with the same bits. An SRM keeps its two states for each response, without the input of earlier
    steps that cuts the response.

    Args:
        net: a network in float32; it stays as it is.
        recording: (T, N, ...), spikes or numbers, by which the points of states and inputs are set: twice the largest
            that occurs fits. Take a batch of the data. By default 100 steps in which 10 % of the inputs fire.
        weights: bits of a weight, 2 to 8.
        states: bits of a state, 16 or 32.

    Returns:
        The twin, in evaluation.

    Raises:
        ValueError: a layer has no integer form, net is a twin, or an argument is out of range.
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
    if any(isinstance(node.stage, (Rounded, IntegerNeurons, IntegerReadOut)) for node in net.graph.nodes):
        raise ValueError("net must be in float, got an integer twin; quantize the network that it was made of")
    recorded = recording_of(net, recording)
    twin = _apart(copy.deepcopy(net)).eval()
    quantizing = _Quantizing(net.graph, twin, bits, states)
    quantizing.begin(recorded)
    with eval_mode(net), no_grad():
        for at in Walk(net, Tensor(recorded)):
            quantizing.visit(at.node, [to_numpy(x.data) for x in at.inputs], to_numpy(at.output.data))
    return twin


class _Whole(NamedTuple):
    """What whole numbers of a stage stand for: n is ``scale n + added``, numbers for all neurons or each channel."""

    scale: Array
    added: Array
    most: int  # the largest |n|
    wide: bool = True  # whether they are in float64, unless neurons alone take them

    def fits(self, form: str | None) -> bool:
        """Return whether a stage of a form takes the numbers as they are; None stands for neurons."""
        if form in (None, "norm", "same", "join", "recurrent"):
            return True
        if form == "max":
            return bool((self.scale > 0).all())
        plain = not np.any(self.added)
        return plain and (form in _POOLS or (self.scale.size == 1 and bool(self.scale > 0)))


_SPIKES = _Whole(np.ones(1), np.zeros(1), 1, wide=False)


class _Weights(NamedTuple):
    """The integer weights of a layer: their scale and the bias of each channel, and the sum of |n| of an output."""

    scale: Array
    bias: Array
    total: int


class _Quantizing:
    """A network while its stages are replaced."""

    def __init__(self, graph: Graph, twin: Any, bits: int, states: int) -> None:
        self.nodes = graph.nodes
        self.output = graph.output
        self.twin = twin
        self.bits = bits
        self.states = states
        self.own = [node.stage for node in twin.graph.nodes]
        # What a stage sends by its number; nothing of spikes.
        self.sent: dict[int, _Whole] = {}
        # By the identity of a layer, which may have several places.
        self.weights: dict[int, _Weights] = {}

    def begin(self, x: Array) -> None:
        """Round the input (T, N, ...) if it is numbers."""
        if x.dtype != bool and self.nodes:
            point = min(VALUE_BITS - 1 - _HEADROOM - _exponent(float(np.abs(x).max())), _MOST_POINT)
            self.sent[INPUT] = _Whole(np.array([2.0**-point]), np.zeros(1), 1 << (VALUE_BITS - 1))
            self.twin.stages[0] = Sequential(Rounded(point), self.twin.stages[0]).eval()

    def visit(self, node: GraphNode, inputs: list[Array], output: Array) -> None:
        """Replace a stage, for its inputs and its output in float."""
        form = form_of(node.stage)
        wholes = [self.sent.get(number) for number in node.inputs]
        before = wholes[0]
        spikes = all(whole is None for whole in wholes)
        of_grid = is_neuron(node.stage) and as_neuron(node.stage).weight_grid is not None
        if not of_grid and any(whole is None and x.dtype != bool for whole, x in zip(wholes, inputs, strict=True)):
            raise self._refused(node, "the numbers that it takes are no integers; put neurons before it")
        if is_neuron(node.stage):
            if before is not None:
                self._replace(node, self._neurons(node, inputs[0], before))
            elif not of_grid:
                raise self._refused(node, "neurons need a layer of weights or pooling of spikes before them")
        elif form == "norm" and before is not None:
            centre, factor, offset = node.stage.fixed_map(np.empty((1, node.stage.features), np.float32)).astype(float)
            added = (before.added - centre) * factor + offset
            self.sent[node.number] = before._replace(scale=before.scale * factor, added=added)
            self._replace(node, Dropout(0.0).eval())
        elif form == "delay" and node.stage.linear:
            raise self._refused(node, "its delays are not whole steps")
        elif form in ("same", "max", "delay") and before is not None:
            self.sent[node.number] = before
        elif form == "join" and (not spikes or node.stage.how == "add"):
            self._join(node, [_SPIKES if whole is None else whole for whole in wholes], [x.shape[2:] for x in inputs])
        elif form == "read_out":
            self._replace(node, self._read_out(node, inputs[0], before or _SPIKES))
        elif form in _POOLS:
            self._pool(node, form, before, inputs[0].shape[2:])
        elif form in ("dense", "conv", "conv_transpose"):
            self._weigh(node, before)
        elif form not in ("same", "delay", "join", "max", "vote"):
            raise self._refused(node, "it has no integer form")
        elif not spikes:
            raise self._refused(node, "it takes numbers; put neurons before it")
        if node.number in self.sent:
            self._fit(node, output)

    def _fit(self, node: GraphNode, output: Array) -> None:
        """Rescale the whole numbers of a stage if one that takes them needs it."""
        whole = self.sent[node.number]
        stage = self._place(node)
        shape = output.shape[2:]
        if node.number == self.output:
            numbers = Numbers(_of_neurons(whole.scale, shape), _of_neurons(whole.added, shape))
            self._put(node, Sequential(stage, numbers))
            return
        takers = [taker.stage for taker in self.nodes if node.number in taker.inputs]
        if all(whole.fits(None if is_neuron(taker) else form_of(taker)) for taker in takers):
            return
        point = VALUE_BITS - 1 - _HEADROOM - _exponent(float(np.abs(output).max()))
        factor = _factor(_of_neurons(whole.scale * 2.0**point, shape), whole.most)
        added = _whole_numbers(_of_neurons(whole.added * 2.0**point, shape))
        self._put(node, Sequential(stage, Rescaled(factor, added)))
        self.sent[node.number] = _Whole(np.array([2.0**-point]), np.zeros(1), 1 << (VALUE_BITS - 1))

    def _join(self, node: GraphNode, wholes: list[_Whole], shapes: list[Shape]) -> None:
        """Join branches of whole numbers: scales that are multiples of the least stay exact."""
        if node.stage.how not in ("add", "concatenate"):
            raise self._refused(node, f"it joins numbers by {node.stage.how!r}")
        scales = np.concatenate([whole.scale.ravel() for whole in wholes])
        unit = float(np.abs(scales).min())
        if (
            not unit
            or any(np.any(whole.added) or whole.scale.size > 1 for whole in wholes)
            or not _multiples(scales, unit)
        ):
            # The largest sum then has 30 bits.
            sizes = [np.abs(whole.scale) * whole.most + np.abs(whole.added) for whole in wholes]
            unit = 2.0 ** (_exponent(sum(float(size.max()) for size in sizes)) - _JOIN_BITS)
        factors = []
        added = []
        for whole, shape in zip(wholes, shapes, strict=True):
            multiples = whole.scale.size == 1 and _multiples(whole.scale, unit)
            scale = _of_neurons(whole.scale / unit, shape)
            factors.append(Factor(_whole_numbers(scale), 0) if multiples else _factor(scale, whole.most))
            added.append(_whole_numbers(_of_neurons(whole.added / unit, shape)))
        terms = zip(wholes, factors, added, strict=True)
        mosts = [int(np.max(factor.times(np.int64(whole.most)) + np.abs(bias))) + 1 for whole, factor, bias in terms]
        most = sum(mosts) if node.stage.how == "add" else max(mosts)
        join = IntegerJoin(node.stage.how, factors, added).eval()
        join.integers = self._bits(node, most)
        self.own[node.number] = join
        vars(self._place(node))["_join"] = join
        self.sent[node.number] = _Whole(np.array([unit]), np.zeros(1), most)

    def _pool(self, node: GraphNode, form: str, before: _Whole | None, shape: Shape) -> None:
        """Let pooling sum; its gain becomes a part of the scale."""
        layer = self.own[node.number]
        if getattr(layer, "weight_hook", None):
            raise self._refused(node, "its taps differ")
        if before is None and self._grid(node) is not None:
            return
        window = shape[:2] if form == "global_mean" else node.stage.kernel_size
        whole = before or _SPIKES
        most = whole.most * math.prod(window)
        if most >= _EXACT and not whole.wide:
            raise self._refused(node, "its sums have more than 24 bits")
        gain = 1.0 / math.prod(window) if form == "global_mean" else node.stage.gain
        if form == "mean":
            layer = Counts(layer.kernel_size, stride=layer.stride, padding=layer.padding, dilation=layer.dilation)
            self._replace(node, layer.eval())
        elif form == "global_mean":
            layer = GlobalCounts()
            self._replace(node, layer.eval())
        else:
            layer.gain = 1.0
        layer.integers = max(getattr(layer, "integers", 0), self._bits(node, most))
        self.sent[node.number] = whole._replace(scale=whole.scale * gain, most=most)

    def _weigh(self, node: GraphNode, before: _Whole | None) -> None:
        """Make the weights of a layer integers."""
        layer = self.own[node.number]
        grid = self._grid(node)
        if grid is None:
            self.sent[node.number] = self._weighted(layer, node, before or _SPIKES, self._only_to_neurons(node.number))
        elif before is None:
            self._round(layer, *grid)
        else:
            raise self._refused(node, "its neurons take weights of spikes only")

    def _grid(self, node: GraphNode) -> Any:
        """Return the multiples that the neurons after a layer take as weights; None without."""
        takers = [taker for taker in self.nodes if node.number in taker.inputs]
        grids = [as_neuron(taker.stage).weight_grid for taker in takers if is_neuron(taker.stage)]
        grids += [self._grid(taker) for taker in takers if form_of(taker.stage) in ("norm", "same")]
        grids = [grid for grid in grids if grid is not None]
        if grids and len(takers) > 1:
            raise self._refused(node, "neurons, and nothing else, must take its sums")
        return grids[0] if grids else None

    def _only_to_neurons(self, number: int) -> bool:
        """Return whether neurons alone take the output of a stage, also through a normalization."""
        takers = [taker for taker in self.nodes if number in taker.inputs]
        return number != self.output and all(
            is_neuron(taker.stage) or (form_of(taker.stage) in ("norm", "same") and self._only_to_neurons(taker.number))
            for taker in takers
        )

    def _round(self, layer: Any, step: float, limits: tuple[float, float]) -> None:
        """Round the weights of a layer to the multiples that its neurons take, with fewer bits to fewer of them."""
        step *= 1 << (8 - self.bits)
        weight = np.asarray(to_numpy(layer.effective_weight().data), np.float64)
        layer.weight_hook = None
        rounded = np.clip(np.rint(weight / step) * step, *limits)
        vars(layer)["weight"] = Tensor(rounded.astype(np.float32), requires_grad=True)

    def _refused(self, node: GraphNode, why: str) -> ValueError:
        return ValueError(f"layer {node} {check.one_line(node.stage)} cannot become integers: {why}")

    def _place(self, node: GraphNode) -> Any:
        """Return what the twin has at the path of a node: its stage, or the branches of a join."""
        stage = self.twin
        for position, place in enumerate(node.path):
            stage = stage.stages[place]
            if not position and INPUT in self.sent and place == 0:
                stage = stage.stages[1]
        return stage

    def _put(self, node: GraphNode, stage: Any) -> None:
        """Set what the twin has at the path of a node."""
        container = self.twin
        for position, place in enumerate(node.path):
            rounded = not position and INPUT in self.sent and place == 0
            if rounded:
                container = container.stages[0]
            place += rounded
            if position == len(node.path) - 1:
                container.stages[place] = stage
            container = container.stages[place]

    def _replace(self, node: GraphNode, stage: Any) -> None:
        self._put(node, stage)
        self.own[node.number] = stage

    def _weighted(self, layer: Any, node: GraphNode, before: _Whole, narrow: bool = True) -> _Whole:
        """Make the weights of a layer integers, and return what its sums stand for.

        Sums of more than 24 bits, and those that not only neurons take, are in float64.
        """
        weights = self.weights.get(id(layer))
        if weights is None:
            weights = self.weights[id(layer)] = self._integers(layer, node)
        most = weights.total * before.most
        if not narrow or before is not _SPIKES or most >= _EXACT:
            vars(layer)["weight"] = Tensor(layer.weight.data.astype(np.float64), requires_grad=True)
        layer.integers = max(getattr(layer, "integers", 0), self._bits(node, most))
        return _Whole(weights.scale * before.scale, weights.bias, most)

    def _integers(self, layer: Any, node: GraphNode) -> _Weights:
        """Make the weights of a layer integers."""
        if layer.weight.dtype != np.float32:
            raise self._refused(node, f"its weight must be float32, got {layer.weight.dtype}")
        weight = to_numpy(layer.effective_weight().data)
        if not np.isfinite(weight).all():
            raise self._refused(node, "its weight must be finite")
        view, per_output = layer.per_output_shapes()
        axes = tuple(axis for axis, size in enumerate(per_output) if size == 1)
        numbers, scale = whole_channels(weight, self.bits, view, axes)
        bias = np.zeros(1) if layer.bias is None else np.asarray(to_numpy(layer.bias.data), np.float64)
        layer.bias = None
        layer.weight_hook = None
        vars(layer)["weight"] = Tensor(numbers.reshape(weight.shape).astype(np.float32), requires_grad=True)
        return _Weights(_by_channel(scale, view), bias, int(np.abs(numbers).sum(axis=axes).max(initial=0)))

    def _bits(self, node: GraphNode, most: int) -> int:
        """Return the bits of the type of a stage's sums, for the largest."""
        if most >> _MOST_SUM:
            raise self._refused(node, f"its sums have more than {_MOST_SUM} bits; put neurons before it")
        return 32 if most < 1 << 31 else 64

    def _neurons(
        self, node: GraphNode, x: Array, before: _Whole, *, integrator: StepByStep | None = None
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
        constants = _constants(by_step, shape)
        largest = _largest(FixedStep(kind, constants, 0, (), 64, lags), stage, x)
        points = tuple(self.states - 1 - _HEADROOM - _exponent(most) for most in largest)
        most = MOST_OF_PRODUCTS if multiplies(kind, constants) else MOST_FRACTION
        points = tuple(min(point, most - _MORE) for point in points)
        # A state has at most 62 bits in the step.
        most = min(most, min(points, default=0) + UNLIMITED_BITS - self.states)
        fraction = min(max(points, default=0) + _MORE, most)
        points = tuple(min(point, fraction) for point in points)
        step = guarded(FixedStep(kind, constants, fraction, points, self.states, lags))
        unit = 2.0**fraction
        layer = None
        back = None
        if recurrent:
            layer = copy.deepcopy(stage.layer)
            sums = self._weighted(layer, node, _SPIKES)
            back = _factor(_of_neurons(sums.scale * unit, shape), sums.most)
        factor = _factor(_of_neurons(before.scale * unit, shape), before.most)
        added = _whole_numbers(_of_neurons(before.added * unit, shape))
        delay = stage.steps if recurrent else 0
        return IntegerNeurons(neuron or stage, step, factor, added, layer, back, delay, neuron is None)

    def _read_out(self, node: GraphNode, x: Array, before: _Whole) -> IntegerReadOut:
        layer = node.stage
        if layer.simulation is None:
            raise self._refused(node, "its filter has samples")
        dense = Dense(layer.in_features, layer.out_features)
        vars(dense)["weight"] = Tensor(layer.effective_weight().data, requires_grad=True)
        dense.bias = layer.bias
        weighted = dense(Tensor(x)).data
        sums = self._weighted(dense, node, before)
        return IntegerReadOut(dense.eval(), self._neurons(node, weighted, sums, integrator=layer.simulation))


def _apart(stage: Any) -> Any:
    """Return a stage with networks of its own for each place."""
    if not isinstance(stage, Container):
        return stage
    stage = copy.copy(stage)
    stage.stages[:] = map(_apart, stage.stages)
    return stage


def _multiples(scales: Array, unit: float) -> bool:
    """Return whether scales are whole multiples of one, at most 255."""
    ratios = scales / unit
    return bool((np.abs(ratios - np.rint(ratios)) < 1e-9).all() and (np.abs(ratios) < 256).all())


def _factor(scale: Array, most: int) -> Factor:
    """Return the factor of whole numbers up to a largest: products have 61 bits, and shifts to the left are few."""
    limit = 2.0**_MOST_LEFT
    return Factor.of(np.clip(scale, -limit, limit), min(MOST_SCALE, (1 << (MOST_SHIFT - 1 - most.bit_length())) - 1))


def _whole_numbers(numbers: Array) -> Array:
    """Return the nearest whole numbers, within 60 bits."""
    return np.rint(np.clip(numbers, -(2.0**60), 2.0**60)).astype(np.int64)


def _by_channel(scale: Array, view: Shape) -> Array:
    """Return the scale of each output channel, (outputs,); of a transposed layer group by group."""
    return scale.reshape(scale.shape[-3:-1]).T.ravel() if len(view) == 5 else scale.ravel()


def _of_neurons(values: Array, shape: Shape) -> Array:
    """Return numbers for each channel or neuron as numbers for neurons of a shape; one if all are equal."""
    if (values == values.ravel()[0]).all():
        return values.ravel()[:1].reshape(())
    return values.reshape(shape) if values.size == math.prod(shape) else np.broadcast_to(values, shape)


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
            back = returned(stage.layer, fired, delay).reshape(shape)
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
