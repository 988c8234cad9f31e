"""`calibrate`: scale the weights of each layer so that its neurons fire at a given rate on real input."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.sequences import Lengths, own, own_steps
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.data.batches import none_in, preserved_epoch
from cuslayer.layers.base import Layer, as_layer
from cuslayer.layers.batch_norm import BatchNorm
from cuslayer.loss.base import desired_rate
from cuslayer.network.errors import balance_errors
from cuslayer.network.graph import Address, Graph, GraphNode, as_input, finite_input, output_neurons
from cuslayer.network.walk import Walk, check_network, check_neurons, eval_mode
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron, mean_rate
from cuslayer.neurons.states import starting_anew

if TYPE_CHECKING:
    from cuslayer.network.network import Container

# The number of neurons, spread over the samples, that a search for a scale uses.
_COLUMNS = 2**14
# The start of a search: the potential has a standard deviation of theta / 2 (Rossbroich et al. 2022, xi = 2).
_START = 0.5
# A rate within 2 % is near enough; a search ends within a quarter of this. If the rate with the new weights differs by
# more than 10 %, the search repeats: hooks and users' layers need not be linear in their weights.
_NEAR, _ACCEPTED, _REPEATS = 0.02, 0.1, 6
# A rate is missed from this difference on; rates of a few spikes are coarse.
_MISSED = 0.5
# The largest factor between two scales of a search, as a power of two.
_REACH = 20
# Smaller factors, which a search tries first, as powers of two.
_EDGES = (1.0, 2.0, 4.0, 8.0)
# The fraction of the highest reachable rate to aim for, if that rate is below the wanted rate.
_SHARE = 0.5
# The factor between the errors of layers from which training sets the scales of surrogates again.
_APART = 4.0
# The number of samples that calibration uses.
SAMPLES = 16
# The minimum rate of the output, Hz: a silent output has no gradient.
_LEAST = 5.0
# The maximum rate, relative to the neurons' highest: neurons that always fire have no gradient either.
_MOST = 0.5


@dataclass(frozen=True)
class LayerCalibration:
    """The scaled weights before one layer of neurons.

    Attributes:
        layer: the position of the neurons, or the path of positions in nested networks.
        name: the scaled layers and the kind of the neurons.
        factor: the factor of the weights or gains; 1 for no change.
        before: the mean firing rate before, Hz.
        rate: the mean firing rate after, Hz.
        wanted: the requested rate, Hz.
        scaled: whether there were weights or gains to scale.
        no_input: whether the neurons have no input, so that no factor could make them fire.
        reached: whether a factor gives the requested rate, up to half of it; True without weights or gains to scale.
    """

    layer: Address
    name: str
    factor: float
    before: float
    rate: float
    wanted: float
    scaled: bool
    no_input: bool = False
    reached: bool = True

    @property
    def _weights(self) -> str:
        if self.no_input:
            return "no input"
        return f"{self.factor:.3g}" if self.scaled else "kept"

    @property
    def _missed(self) -> str:
        return "" if self.reached or self.no_input else f": no factor gives {self.wanted:g} Hz"


@dataclass(frozen=True)
class Calibration:
    """The result of `calibrate`; it prints as a table.

    Attributes:
        layers: one entry for each layer of neurons, in order.
    """

    layers: tuple[LayerCalibration, ...]

    def __str__(self) -> str:
        head = ("weights times", "rate before", "after (Hz)", "layer")
        rows = [(row._weights, f"{row.before:.1f}", f"{row.rate:.1f}", row.name + row._missed) for row in self.layers]
        return "\n".join(check.columns((head, *rows)))


@check.operation
def calibrate(
    net: Container,
    batches: Iterable[Any],
    rate: float = 30.0,
    *,
    output_rate: float | None = None,
    samples: int = SAMPLES,
    keep: Collection[object] = (),
) -> Calibration:
    """Scale the weights of each layer, in order, so that its neurons fire at a given mean rate on real input.

    For each layer in order, it finds a factor c of the weights, so that the neurons after the layer have the given mean
    rate. Their potential is ``u = c psp(W s) + refraction``. It scales gains of pooling layers like weights. A
    `BatchNorm` gets the mean and the variance of the input, and its factor is scaled in place of the weights before it.
    `Recurrent.balance` then scales the weights among `Recurrent` neurons so that errors keep their size through time.
    At the end, neurons with the default scale of the surrogate get a `scale_rho` with which errors keep their size from
    the last neurons to the first, through any number of layers: the norm over samples, steps and neurons, for random
    errors of the output that are the same at every step.

    The search for c is a bisection. It starts where the potential has a standard deviation of ``theta / 2``
    (fluctuation-driven initialization). The directions of the weights do not change. Layers receive spikes from the
    layers before them at the new rates. Dropout is off, and trained delays of synapses are as in the next step.

    Factors are positive. If none reaches the rate, because too few inputs have spikes, the layer gets half of its
    highest possible rate; the table and a warning say so. If the input of a skip connection alone gives the neurons a
    higher rate, the layer gets the scale at the start of the search. A layer that cannot make its neurons fire keeps
    its weights, and so does a layer without neurons after it. A layer at several positions is scaled for the first. The
    result is deterministic.

    Args:
        net: a network; its weights and gains change.
        batches: batches (x, target), or only x (T, N, ...). A `Loader` keeps its epoch.
        rate: the mean firing rate of the neurons of each layer, Hz.
        output_rate: the rate of the last neurons, Hz; by default `rate`.
        samples: the number of samples to use, from the first batches on.
        keep: layers whose weights or gains do not change, as objects or positions; a nested network stands for its
            layers.

    Returns:
        A table of the layers: factors, and rates before and after.

    Raises:
        TypeError: net is not a network or has no neurons, or an argument has the wrong type.
        ValueError: a rate is not positive or not below the neurons' highest, keep has a layer outside the network,
            there is no sample, or a batch does not fit. The network is then unchanged.
        IndexError: the position of a layer to keep is out of range.

    Warns:
        UserWarning: no factor of a layer reaches the rate.

    Source: Rossbroich, Gygax and Zenke 2022, "Fluctuation-driven initialization for spiking neural network training",
    doi 10.1088/2634-4386/ac97bb, for the start of the search.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> x = np.random.default_rng(0).random((300, 8, 50)) < 0.02
    >>> net = Sequential(Dense(50, 40, weight_scale=1), SRM(), Dense(40, 10, weight_scale=1), SRM())
    >>> found = calibrate(net, [x], rate=50)
    >>> [(45 < layer.rate < 55, layer.factor > 1) for layer in found.layers]
    [(True, True), (True, True)]
    """
    found = _scaled(net, batches, rate, output_rate=output_rate, samples=samples, keep=keep)
    missed = ", ".join(f"{row.name} at {row.rate:.3g} Hz" + row._missed for row in found.layers if row._missed)
    if missed:
        check.warn(f"not all neurons fire at the rate: {missed}; change their input, or draw other weights")
    return found


def _scaled(
    net: Container,
    batches: Iterable[object],
    rate: float,
    *,
    output_rate: float | None,
    samples: int = SAMPLES,
    keep: Collection[object] = (),
) -> Calibration:
    """Scale the weights of a network; see `calibrate`."""
    check_network(net)
    rate = check.positive("rate", rate)
    last = rate if output_rate is None else check.positive("output_rate", output_rate)
    samples = check.integer("samples", samples, least=1)
    graph = net.graph
    check_neurons(net)
    wanted = wanted_rates(graph, rate, last)
    kept = _kept(net, keep)
    with preserved_epoch(batches):
        x = _gather(batches, samples)
    with eval_mode(net, spread=True), starting_anew(), no_grad():
        net(x.data[:, :1])  # raises for a wrong input before a weight changes
        run = CalibrationRun(wanted, kept, {})
        run.scale(net, x)
        with no_grad(False):
            balance_errors(net, x)
    return Calibration(tuple(run.rows))


def _kept(net: Container, keep: Collection[object]) -> set[int]:
    """Return the identities of the layers to keep, including layers of nested networks."""
    if not isinstance(keep, Collection) or isinstance(keep, (str, Layer)):
        raise TypeError(f"keep must be layers or positions, got {type(keep).__name__}; pass [layer]")
    stages = [net[layer] for layer in keep]
    layers = (stage.layers_within() if isinstance(stage, Layer) else [stage] for stage in stages)
    return {id(layer) for within in layers for layer in within}


def wanted_rates(graph: Graph, rate: float, last: float) -> dict[int, float]:
    """Return the rate of each node of neurons, Hz, by number; `last` is the rate of the last neurons."""
    found: dict[int, float] = {}
    outputs = output_neurons(graph)
    for node in graph.nodes:
        if not is_neuron(node.stage):
            continue
        wanted = found[node.number] = last if node.number in outputs else rate
        neuron = as_neuron(node.stage)
        if wanted >= neuron.highest_rate:
            name = "output_rate" if wanted == last != rate else "rate"
            most = f"{neuron.highest_rate:g} Hz, the most of {check.one_line(node.stage)}"
            raise ValueError(f"{name} must be under {most}, got {wanted:g}")
    return found


def _gather(batches: Iterable[Any], samples: int) -> Tensor:
    """Return the first samples of batches as one tensor (T, N, ...)."""
    found, left = list[Tensor](), samples
    if not isinstance(batches, Iterable) or isinstance(batches, Tensor) or hasattr(batches, "dtype"):
        raise TypeError(f"batches must be batches (x, target), got {type(batches).__name__}; pass [(x, target)]")
    for batch in batches:
        if isinstance(batch, (tuple, list)) and len(batch) != 2:
            raise ValueError(f"a batch must be x or (x, target), got {len(batch)} items")
        x = as_input(batch[0] if isinstance(batch, (tuple, list)) else batch)
        check.time_first("x", finite_input("x", x))
        if found and not _fits(x, found[0]):
            raise ValueError(f"batches must have one shape, got {x.shape} after {found[0].shape}")
        lengths = None if x.lengths is None else x.lengths[:left]
        found.append(Tensor(x.data[:, :left], lengths=lengths))
        left -= found[-1].shape[1]
        if not left:
            break
    if not any(each.size for each in found):
        raise ValueError(f"batches must have a sample with a time step, {none_in(batches)}")
    return _padded(found)


def _fits(x: Tensor, other: Tensor) -> bool:
    """Return whether two inputs can be joined: they have equally many steps unless both are padded batches."""
    padded = x.lengths is not None and other.lengths is not None
    return x.shape[2:] == other.shape[2:] and (padded or len(x) == len(other))


def _padded(parts: list[Tensor]) -> Tensor:
    """Join inputs, with zeros after shorter ones."""
    xp, steps = namespace(parts[0].data), max(map(len, parts))
    whole = [x.data for x in parts]
    for i, x in enumerate(whole):
        if len(x) < steps:
            whole[i] = xp.concatenate([x, xp.zeros((steps - len(x), *x.shape[1:]), x.dtype)], axis=0)
    known = [x.lengths for x in parts if x.lengths is not None]
    return Tensor(xp.concatenate(whole, axis=1), lengths=np.concatenate(known) if known else None)


@dataclass
class Tracked:
    """The output of a node, and how the layers between it and the neurons before scale it.

    `again` recomputes it with a factor on the output of each layer of `to_scale`; `mixed` is whether a part of it does
    not come from these layers.
    """

    tensor: Tensor
    again: Callable[[float], Tensor]
    to_scale: tuple[Layer, ...] = ()
    mixed: bool = False


class CalibrationRun:
    """Visits the nodes of a network in order and scales the layers before each node of neurons.

    `wanted` has the neurons' rates, Hz, by the number of the node, `fine` the lowest and the highest rate that need no
    scaling, and `scaled` the layers with their factor. `kept` has the identities of layers that are not scaled.
    """

    def __init__(self, wanted: dict[int, float], kept: set[int], fine: Mapping[int, tuple[float, float]]) -> None:
        self.wanted, self.done, self.fine = wanted, kept, fine
        self.rows: list[LayerCalibration] = []
        self.scaled: dict[int, tuple[list[Layer], float]] = {}
        self._lengths: Lengths | None = None

    def scale(self, net: Container, x: Tensor) -> None:
        """Scale the layers of a network for an input, in evaluation mode without gradients."""
        self._lengths = x.lengths
        for at in Walk(net, Tracked(x, lambda factor: x)):
            at.output = self._value(at.node, at.name, *at.inputs)

    def _rate(self, spikes: Tensor, neuron: Neuron) -> float:
        """Return the mean rate, Hz, of spikes up to the end of each recording."""
        spikes.lengths = self._lengths
        return mean_rate(own(spikes), neuron.dt)

    def _value(self, node: GraphNode, name: str, *inputs: Tracked) -> Tracked:
        stage = node.stage
        if node.number in self.wanted:
            return self._neurons(node, name, as_neuron(stage), inputs[0])
        layer = as_layer(stage)
        if layer.normalizes:
            return self._normalized(node, stage, inputs[0])
        data = node(*(value.tensor for value in inputs))
        upstream = tuple({id(layer): layer for value in inputs for layer in value.to_scale}.values())
        # Among several layers without neurons between them, the last one with weights is scaled.
        scalable = layer.scalable and id(stage) not in self.done
        if scalable and (layer.weighted or not upstream):
            x = inputs[0].tensor
            return Tracked(data, lambda factor: _times(node(x), factor), (stage,))
        mixed = any(value.mixed or not value.to_scale for value in inputs) and bool(upstream)
        again = lambda factor: node(*(value.again(factor) for value in inputs))  # noqa: E731
        return Tracked(data, again, upstream, mixed)

    def _normalized(self, node: GraphNode, norm: BatchNorm, x: Tracked) -> Tracked:
        """Return the output of a normalization, which cancels the factor of layers before it."""
        x.tensor.lengths = self._lengths
        norm.observe(x.tensor)
        data, layers = node(x.tensor), tuple[Layer, ...]() if id(norm) in self.done else (norm,)
        if layers and norm.scale == "none" and norm.gain is None:
            layers = (*x.to_scale, norm) if x.to_scale and not x.mixed else ()
        given = x.again if len(layers) > 1 else lambda factor: x.tensor
        return Tracked(data, lambda factor: _times(node(given(1.0)), factor), layers)

    def _neurons(self, node: GraphNode, name: str, neuron: Neuron, x: Tracked) -> Tracked:
        """Scale the layers before neurons, and return the spikes."""
        wanted, factor, spikes = self.wanted[node.number], 1.0, node(x.tensor)
        before = now = self._rate(spikes, neuron)
        layers = [layer for layer in x.to_scale if id(layer) not in self.done]
        low, high = self.fine.get(node.number, (math.inf, -math.inf))
        layers = [] if before > 0 and low <= before <= high else layers
        power = 1.0
        last = 1.0
        no_input = False
        reached = True
        if layers and not x.tensor.data.any():
            factor = _grow(layers, x)
            no_input = not x.tensor.data.any()
            spikes = node(x.tensor)
            now = self._rate(spikes, neuron)
        among = neuron.own_layer
        # New weights among the neurons change their rate, and new rates change these weights.
        balances = 0 if among is None or id(among) in self.done else 2
        for _ in range(_REPEATS + balances if layers else min(balances, 1)):
            near = not layers or abs(now - wanted) <= (_NEAR if factor == 1.0 else _ACCEPTED) * wanted
            given = None if near or not x.mixed else x.again(0.0).data
            step = 1.0
            reached = True
            if not near:
                step, reached = _factor(node, neuron, x.tensor.data, given, wanted, self._lengths)
            if abs(step - 1.0) >= _NEAR:
                if (step > 1.0) != (last > 1.0) and last != 1.0:  # the last one went too far
                    power /= 2
                last, step = step, step**power
                for layer in layers:
                    layer.scale_output(step)
                factor *= step
                x.tensor = x.again(1.0)
            elif balances:
                node.stage.balance(Tensor(x.tensor.data, lengths=self._lengths))
                balances -= 1
            else:  # near enough, or the wanted rate cannot be reached
                break
            spikes = node(x.tensor)
            now = self._rate(spikes, neuron)
        self.done.update(map(id, (*layers, among) if among is not None else layers))
        if factor != 1.0:
            self.scaled[node.number] = layers, factor
        if among is None:  # weights among neurons may change the rate after the search
            reached = reached and (not layers or abs(now - wanted) <= _MISSED * wanted)
        row = LayerCalibration(node.address, name, factor, before, now, wanted, bool(layers), no_input, reached)
        self.rows.append(row)
        return Tracked(spikes, lambda factor: spikes)


def _grow(layers: list[Layer], x: Tracked) -> float:
    """Scale layers with an output of zeros until it is not all 0; return the factor, 1 if they have no input."""
    # A rounding weight hook, such as `quantize`, makes small weights 0.
    for exponent in range(1, _REACH + 1):
        for layer in layers:
            layer.scale_output(2.0)
        x.tensor = x.again(1.0)
        if x.tensor.data.any():
            return 2.0**exponent
    for layer in layers:
        layer.scale_output(2.0**-_REACH)
    x.tensor = x.again(1.0)
    return 1.0


def _times(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


def _factor(
    node: GraphNode, neuron: Neuron, x: Array, fixed: Array | None, wanted: float, lengths: Lengths | None
) -> tuple[float, bool]:
    """Return the factor of x without its part `fixed` for a rate of neurons, Hz, and whether it gives this rate.

    Otherwise it is the factor for a part of the highest rate, or 1 if the neurons never fire.
    """
    kept = None
    if lengths is not None:
        xp = namespace(x)
        here = own_steps(lengths, len(x), xp).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
        kept = _spread(xp.broadcast_to(here, x.shape))
    x, fixed = _spread(x), None if fixed is None else _spread(fixed)
    scaled = x if fixed is None else x - fixed
    size = float(abs(scaled).max())
    if not size:
        return 1.0, False

    def counted(y: Tensor) -> Array:
        return y.data if kept is None else y.data[kept]

    def rate(exponent: float) -> float:
        weighted = scaled * scaled.dtype.type(start * 2.0**exponent)
        spikes = node(Tensor(weighted if fixed is None else weighted + fixed))
        return mean_rate(counted(spikes), neuron.dt)

    gap = abs(neuron.gap) or neuron.width
    deviation = float(to_numpy(counted(neuron.psp(Tensor(scaled)))).std(dtype=np.float64)) * neuron.peak
    start = _START * gap / deviation if deviation > 0 else gap / size
    low, high = -float(_REACH), float(_REACH)
    most = rate(high)
    if most <= wanted:
        # Rates of neurons that oscillate or that strong input blocks need not rise with the scale.
        most, high = max((rate(each), each) for each in (*_EDGES, high))
    if not most:
        return 1.0, False
    # Without their weighted input, neurons may fire by the fixed part, or because their potential rests above theta.
    if (fixed is not None or neuron.gap <= 0) and rate(low) >= wanted:
        return start, False
    reached = most > wanted
    if not reached:
        wanted = _SHARE * most
    # Scales near the start are tried first.
    for edge in _EDGES:
        if rate(-edge) <= wanted <= rate(edge):
            low, high = -edge, edge
            break
    while high - low > 1e-3:
        middle = (low + high) / 2
        found = rate(middle)
        if abs(found - wanted) <= _NEAR / 4 * wanted:
            return start * 2.0**middle, reached
        low, high = (middle, high) if found < wanted else (low, middle)
    return start * 2.0**high, reached


def _spread(x: Array) -> Array:
    """Return the input of about `_COLUMNS` neurons, in the layer's shape, each from random samples."""
    steps, samples, *shape = x.shape
    neurons = int(np.prod(shape))
    count = min(samples, -(-_COLUMNS // max(neurons, 1)))
    if count == samples:
        return x
    first = np.random.default_rng(0).integers(samples, size=neurons)
    chosen = (first + np.arange(count)[:, None]) % samples
    xp = namespace(x)
    columns = x.reshape(steps, samples, neurons)[:, xp.asarray(chosen), xp.asarray(np.arange(neurons))]
    return xp.ascontiguousarray(columns).reshape(steps, count, *shape)


def layers_set(net: Container) -> str:
    """Return the layers whose weights were set or loaded where others are still as drawn; "" otherwise."""
    layers: list[Any] = [layer for layer in net.layers_within() if layer.weighted]
    changed = {id(layer) for layer in layers if not layer.as_drawn}
    if len(changed) == len(layers):
        return ""
    nodes = net.graph.nodes
    return ", ".join(str(n) for n in nodes if changed & {id(layer) for layer in as_layer(n.stage).layers_within()})


@check.operation("Trainer")
def calibrate_initial(
    net: Container, batches: list[Any], rate: float, loss: Callable[..., Tensor] | None, steps: int
) -> Calibration | None:
    """Scale the initial weights of a network; return None, and change nothing, if a weight is not as it was drawn.

    Batches with another shape than the first, such as longer recordings, are not used. Layers with their own
    weight_scale or gain, layers of users' classes, and frozen layers do not change. Rates are at most half of the
    neurons' highest. The output gets the `desired_rate` of the loss. It runs on the first steps. The table says which
    rates no factor reaches; training may reach them.
    """
    nodes = net.graph.nodes
    weighted: list[Any] = [layer for layer in net.layers_within() if layer.weighted]
    drawn = [layer.as_drawn for layer in weighted]
    if not drawn or not all(drawn):
        return None
    inputs = [as_input(x) for x, _ in batches]
    inputs = [x for x in inputs if _fits(x, inputs[0])]
    neurons = [as_neuron(node.stage) for node in nodes if is_neuron(node.stage)]
    if not neurons or not any(x.size for x in inputs):
        return None
    gains = {neuron.pool_gain for neuron in neurons}
    most = _MOST * min(neuron.highest_rate for neuron in neurons)
    output_rate = _output_rate(net, inputs[0], batches[0][1], loss, rate)
    stages = [node.stage for node in nodes if as_layer(node.stage).scalable]
    keep = [stage for stage in stages if not stage.usual_scale_of(gains)]
    back = [(node.stage, as_neuron(node.stage).own_layer) for node in nodes if is_neuron(node.stage)]
    keep += [stage for stage, own in back if own is not None and not own.usual_scale_of(gains)]
    inputs = [_begin(x, steps) for x in inputs]
    return _scaled(net, inputs, min(rate, most), output_rate=min(output_rate, most), keep=keep)


@check.operation("Trainer")
def balance_again(net: Container, batches: Iterable[Any], steps: int) -> None:
    """Set the scales of surrogates again that calibration has set, where training moved the sizes of errors apart.

    It runs on the first steps of the first recordings. Errors of layers that differ by a factor of 4 or less stay.
    """
    with preserved_epoch(batches):
        x = _begin(_gather(batches, SAMPLES), steps)
    with eval_mode(net, spread=True), starting_anew(), np.errstate(over="ignore", invalid="ignore"):
        balance_errors(net, x, apart=_APART)


def _begin(x: Tensor, most: int) -> Tensor:
    """Return the first steps of recordings."""
    lengths = None if x.lengths is None else x.lengths.clip(max=most)
    return x if len(x) <= most else Tensor(x.data[:most], lengths=lengths)


def _output_rate(net: Container, x: Tensor, target: object, loss: Callable[..., Tensor] | None, rate: float) -> float:
    """Return the mean rate, Hz, that a loss desires; `rate` if it desires none."""
    with eval_mode(net), starting_anew(), no_grad():
        output = net(x[:1, :1])
    if not isinstance(output, Tensor):
        return rate  # of a network with several outputs
    outputs = output.shape[-1]
    desired = desired_rate(loss, target, outputs, x.shape[0])
    return rate if desired is None else max(desired, _LEAST)
