"""`diagnose`: measure rates, potentials and errors of a network, and try on copies which settings help."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.sequences import ended, own
from cuslayer._tape import Tensor, as_tensor, gradients, no_grad
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.data.batches import none_in, pairs, preserved_epoch
from cuslayer.inspection.network_health import (
    EDGES,
    LEAST_DESIRED,
    Advice,
    FirstStep,
    LayerHealth,
    NetworkHealth,
    scaled_by,
)
from cuslayer.inspection.structure import check_loss, default_loss, note_rates
from cuslayer.layers.base import as_layer
from cuslayer.loss.base import desired_rate
from cuslayer.network.calibration import CalibrationRun
from cuslayer.network.graph import SILENT_INPUT, Address, feeds, finite_input, output_neurons
from cuslayer.network.join import on_gradient
from cuslayer.network.walk import Unit, Walk, check_network, check_neurons, copied, eval_mode, units
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.optim import Adam, Optimizer

if TYPE_CHECKING:
    from cuslayer.network.network import Container, Sequential

Batches: TypeAlias = "Sequence[tuple[Any, Any]]"

# Number of potentials used per layer and batch, evenly spread.
_MOST = 2**20
# The share of zeros from which an input is sparse, and the share of the way to the threshold that the mean subtracted
# from it may be.
_SPARSE, _CONSTANT = 0.5, 0.3
# The share of potentials within one width of the surrogate under which it is too narrow.
_NEAR = 0.02
# The factor from which weights among neurons are too large.
_LOUD = 4.0
# How often to halve the rate of a layer that is still saturated.
_SCALE_HALVINGS = 4
# The accepted root mean square change of the potentials by one step, in thresholds, for the layer that changes most:
# the least, and the advised and the largest without a warm-up and with one of at least _EARLY steps.
_LEAST_MOVE, _EARLY, _MOVES, _MOVES_WARM = 0.03, 5, (0.4, 1.25), (0.8, 3.0)
# The number of steps with the same gradient over which the change is averaged: momentum adds up.
_STEPS = 10


@check.operation
def diagnose(
    net: Container,
    loader: Iterable[object],
    *,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Optimizer | None = None,
    batches: int = 1,
) -> NetworkHealth:
    """Diagnose a network and suggest settings to change.

    The diagnosis has, for each layer, the firing rates, the shares of silent and saturated neurons, the distances of
    potentials from the threshold, and the size of the errors. With an optimizer it also has the effect of its first
    step. The first of these that finds something gives the advice:

    1. ``center=False`` for a `BatchNorm`, if over half of its input is 0 and the mean that it subtracts, alone, moves
       potentials by over 0.3 of the distance from rest to theta (root mean square of the channels). In silent places
       the mean is a constant current, which a long response sums up, and half of the channels then fire whatever comes
       in. With ``scale="none"`` there would be nothing left: leave the layer out. Also smaller weights among neurons,
       as by `Recurrent.balance`, if they are over 4 times as large.
    2. Scales: ``weight_scale``, ``gain`` of a pooling layer, or ``scale``, before neurons that are silent or saturated
       or whose rate is out of range (`LayerHealth.fault`). It finds them like `calibrate`, for hidden neurons at 50 Hz
       and an output at the rate that the loss desires; less where neurons are saturated at that rate.
    3. ``tau_rho``, if it is below 0.5 and under 2 % of the potentials are within one surrogate width of theta:
       ``rho(u) = scale_rho / w exp(-|u - theta| / w)`` is largest for a width w of ``|u - theta|``.
    4. ``scale_rho`` of each layer of neurons, which multiplies its error, if the error of the first layer is less than
       1/100 or more than 1000 times the last one's. Then all errors get the size of the last one. An optimizer that
       divides by the size of errors, `Adam`, learns with large ones, except where a skip connection adds two of them.
    5. ``lr``, if a step without warm-up changes the potentials of a layer by more than 1.25 theta (root mean square; 3
       with a warm-up), or of all layers by less than 0.03 theta. A change of more than 0.3 theta is enough if the loss
       of the batch rises by half or the output falls silent. The new value changes them by at most 0.4 theta (0.8).

    It tries scales on a copy, and advises them only if faults are fewer or less bad, errors do not vanish, and the loss
    rises by at most half. A network has learned something if its loss is 30 % smaller than with the outputs of other
    samples. Its loss must not rise by more than 2 %, and only 2 and a rate that is too large give advice. Apply all of
    it, and call `diagnose` again until there is nothing to change. The hints name faults that no setting helps. The
    network, the optimizer, their gradients and the random generator do not change. Dropout is off.

    Args:
        net: a `Network` or `Sequential`.
        loader: batches (x, target), such as a `Loader`.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassign`.
        optimizer: the optimizer of the network's parameters; without one there is no advice on the learning rate.
        batches: number of batches to use, from the first. The first one gives scales and steps.

    Returns:
        The diagnosis: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is not a network or has no neurons, loss is not a function, optimizer is not an optimizer,
            batches is not an integer, or advice needs a copy of a network that cannot be copied.
        ValueError: the loader has no batch, one does not fit the network or the loss, or the optimizer has none of the
            network's parameters.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> x = np.random.default_rng(0).random((100, 4, 20)) < 0.1
    >>> net = Sequential(Dense(20, 8, weight_scale=0.1), SRM(), Dense(8, 2), SRM())
    >>> found = diagnose(net, [(x, [0, 1, 0, 1])])
    >>> found[1].never, found.advice[0].setting, found.advice[0].value > 0.5
    (1.0, 'weight_scale', True)
    """
    check_network(net)
    check_loss(loss)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be an optimizer, such as Adam, got {type(optimizer).__name__}")
    if optimizer is not None and not {id(p) for p in net.parameters()} & {id(p) for p in optimizer.parameters}:
        raise ValueError("optimizer must have parameters of net, got none of them")
    count = check.integer("batches", batches, least=1)
    check_neurons(net)
    with preserved_epoch(loader):
        given = list(pairs(islice(loader, count), loader))
    for x, _ in given:
        check.time_first("x", finite_input("x", x))
    given = [(x, target) for x, target in given if as_tensor(x).shape[1]]
    if not given:
        raise ValueError(f"loader must have a batch with a sample, {none_in(loader)}")
    found = _measure(net, given, loss)
    note_rates(net, {layer.layer: layer.rate for layer in found.layers})
    steps = None if optimizer is None else _Steps(net, optimizer, given[0], loss)
    silent, advice = not any(as_tensor(x).data.any() for x, _ in given), list[Advice]()
    if not silent:
        advice = _norm_advice(net, given[0][0], found) + _recurrent_advice(net, given[0][0], found)
        advice = advice or _scale_advice(net, given, loss, found)
        advice = advice or _surrogate_advice(net, given, loss, found, isinstance(optimizer, Adam))
        if steps is not None and not advice:
            advice = steps.advice(found)
    hints = _hints(found, {each.layer for each in advice if each.setting != "lr"}, silent)
    first = None if steps is None else steps.first()
    return replace(found, advice=tuple(advice), first_step=first, hints=tuple(hints))


def _of(figure: Callable[[Array], float], values: Array) -> float:
    """Return a figure of values, such as their mean; 0 without any."""
    return float(figure(values)) if values.size else 0.0


def _counted(neurons: Neuron, x: Tensor, spikes: Tensor, u: Array | None) -> tuple[object, ...]:
    """Return what a batch shows of neurons, from their weighted input x and their potentials u if they are known."""
    s, away = to_numpy(own(spikes)), np.zeros(0)
    if u is not None:
        away = (_sampled(own(Tensor(u, lengths=spikes.lengths))) - neurons.theta) / float(neurons.width)
    with no_grad():
        response = neurons.psp(x.detach())
        response = response if spikes.lengths is None else ended(response, lengths=spikes.lengths)
    alone = to_numpy(response.data)
    peaks = alone.max(axis=0, initial=0.0).ravel() * neurons.peak
    over = (alone >= neurons.gap / neurons.peak).sum(axis=(0, 1))
    return s.shape[0] * s.shape[1], bool(x.data.any()), away, s.sum(axis=(0, 1)), over, peaks


def _figures(unit: Unit, batches: Sequence[object], errors: Sequence[float], **known: Any) -> LayerHealth:
    """Return the figures of neurons from the numbers of batches and the squares of their errors."""
    neurons: Any = unit.model
    steps, driven, away, counts, over, peaks = zip(*batches, strict=True)
    total, width, fired = max(sum(steps), 1), float(neurons.width), sum(counts)
    distances, peak = np.concatenate(away), np.concatenate(peaks)
    histogram, _ = np.histogram(distances.clip(EDGES[0], EDGES[-1]), EDGES)
    return LayerHealth(
        layer=unit.address,
        name=unit.name,
        theta=float(neurons.theta),
        gap=float(neurons.gap),
        width=width,
        rates=fired * (1000.0 / (total * neurons.dt)),
        never=_of(np.mean, fired == 0),
        always=_of(np.mean, fired >= 0.9 * (total / neurons.period)),
        locked=_of(np.mean, sum(over) >= 0.5 * total),
        within=_of(np.mean, abs(distances) <= 1.0),
        histogram=histogram / max(distances.size, 1),
        distance=_of(np.median, abs(distances)) * width,
        peak=_of(np.median, peak[peak > 0]),
        error=math.sqrt(sum(errors)),
        most=neurons.highest_rate,
        driven=any(driven),
        **known,
    )


def _sampled(u: Array) -> Array:
    """Return a copy of every n-th potential, with n coprime to the row length so that all neurons are sampled."""
    stride, row = max(1, math.ceil(u.size / _MOST)), max(math.prod(u.shape[1:]), 1)
    while math.gcd(stride, row) > 1:
        stride += 1
    return to_numpy(u.reshape(-1)[::stride]).astype(np.float64)


def _measure(net: Container, batches: Batches, loss: Callable[..., Tensor] | None) -> NetworkHealth:
    """Run batches (x, target) forward and backward; the network and its gradients do not change."""
    graph = net.graph
    seen = {u.last.number: (u, list[Any](), list[float]()) for u in units(graph) if u.model is not None}
    value, mixed, samples, fires, desired = 0.0, 0.0, 0, False, None
    for x, target in batches:
        with eval_mode(net, spread=True):
            with no_grad(active=False):
                # An input that requires a gradient makes every layer receive one.
                given = as_tensor(x)
                steps = Walk(graph, Tensor(given.data, requires_grad=True))
                for at in steps:
                    if at.number in seen:
                        unit, counted, errors = seen[at.number]
                        at.inputs = (on_gradient(at.inputs[0], callback=partial(_add_square, errors)),)
                        at.output.lengths = given.lengths
                        counted.append(_counted(cast(Neuron, unit.model), at.inputs[0], at.output, at.potentials))
                y = steps.output
                y.lengths = given.lengths
                error = loss or default_loss(net, y, target)
                found = error(y, target)
            with no_grad():
                mixed += max(error(Tensor(other, lengths=y.lengths), target).item() for other in _others(y.data))
            gradients(found)
        desired = None if y.ndim < 3 else desired_rate(error, target, y.shape[-1], len(y))
        value, samples, fires = value + found.item(), samples + y.shape[1], fires or bool(to_numpy(y.stored.any()))
    last = output_neurons(graph)
    layers = (_figures(*each, output=n in last, desired=desired if n in last else None) for n, each in seen.items())
    samples = max(samples, 1)
    return NetworkHealth(tuple(layers), (), value / samples, mixed=mixed / samples, fires=fires)


def _add_square(squares: list[float], g: Array) -> None:
    squares.append(float(np.sum(np.square(to_numpy(g), dtype=np.float64))))


def _others(y: Array) -> Iterator[Array]:
    """Yield outputs (T, N, ...) of other samples: of the next one, and of the one half a batch away."""
    for shift in {min(1, y.shape[1]), y.shape[1] // 2}:
        yield namespace(y).concatenate([y[:, shift:], y[:, :shift]], axis=1)


def _hints(found: NetworkHealth, advised: Collection[object], silent_input: bool) -> Iterator[str]:
    """Yield faults that no setting changes: silent input, layers that never fire, and layers that get no error."""
    if silent_input:
        yield f"the input is 0 everywhere; {SILENT_INPUT}"
    for layer in found.layers:
        if layer.fault != "silent" or layer.layer in advised:
            continue
        why = (
            f"its input raises the potential by {layer.peak:.3g} in the median, it lacks {layer.gap:.3g} to theta, and "
            "no scale of the weights helps; draw them anew, or change the neurons"
        )
        if not layer.driven:
            why = "its weighted input is 0: the layer before it sends no spikes, or has weights of 0"
        elif not layer.peak:
            why = "its input never raises the potential; draw the weights before it anew, or give that layer a bias"
        yield f"{layer.name} never fires: {why}"
    # At a loss of 0 there is nothing to learn.
    without = [layer.name for layer in found.layers if not layer.error and layer.rates.size and found.loss]
    if without and len(without) == len(found.layers):
        yield "no layer gets an error: the surrogate is 0 at all potentials, or the loss has no gradient here"
    else:
        why = "the surrogate is 0 at all its potentials, or the weights after it are 0"
        yield from (f"{name} gets no error: {why}" for name in without)


def _norm_advice(net: Container, x: Any, before: NetworkHealth) -> list[Advice]:
    """Return the layers of `BatchNorm` that should not subtract the mean, a constant current in silent places."""
    graph = net.graph
    x = as_tensor(x)
    found: list[Advice] = []
    constants = dict[int, Array]()
    with eval_mode(net, spread=True), no_grad():
        for at in Walk(graph, x) if not before.learned else ():
            at.output.lengths = x.lengths
            if as_layer(at.stage).normalizes and _of(np.mean, to_numpy(own(at.inputs[0]) == 0)) > _SPARSE:
                constants[at.number] = to_numpy(at.stage.of_silence(at.inputs[0]))
            if at.neurons is None:
                continue
            summed = abs(float(at.neurons.response[: len(x)].sum())) / (abs(at.neurons.gap) or 1.0)
            _, stages = feeds(graph.nodes, at.node.inputs)
            for number in sorted(stages & constants.keys()):
                away = summed * math.sqrt(float(np.mean(np.square(constants.pop(number)))))
                if away > _CONSTANT:
                    node = graph.nodes[number]
                    name = f"layer {node} ({node.described}) before {at.name}" if at.unit.layer is not node else at.name
                    reason = (
                        "most of its input is 0, so the mean that it subtracts is a constant current, which alone "
                        f"moves potentials by {away:.2g} of the distance to theta (root mean square of the channels)"
                    )
                    # With scale="none" the mean is all that it does.
                    setting = "BatchNorm" if node.stage.scale == "none" else "center"
                    found.append(Advice(at.address, name, setting, 1.0, 0.0, reason, at=node.address))
    return found


def _recurrent_advice(net: Container, x: Any, before: NetworkHealth) -> list[Advice]:
    """Return smaller weights among neurons, if they are far larger than those with which errors keep their size."""
    x, found = as_tensor(x), list[Advice]()
    recurrent = [node for node in net.graph.nodes if is_neuron(node.stage) and as_neuron(node.stage).own_layer]
    if before.learned or not recurrent:
        return found
    with copied(net) as (twin,), eval_mode(twin, spread=True), no_grad():
        for at in Walk(twin, x):
            among = None if at.neurons is None else at.neurons.own_layer
            if among is None:
                continue
            _, now = among.scale_setting()
            given = Tensor(at.inputs[0].data, lengths=x.lengths)
            growth = at.stage.growth(given)
            at.stage.balance(given)
            value = _rounded(among.scale_setting()[1])
            if now > _LOUD * value:
                reason = (
                    f"they are {now / value:.2g} times as large as those with which errors keep their size through "
                    f"time; here an error grows {growth:.2g} times in 1,000 steps"
                )
                name = f"{among!r} among {at.name}"
                found.append(Advice(at.address, name, "weight_scale", now, value, reason, at=at.address))
    return found


def _scale_advice(
    net: Container, batches: Batches, loss: Callable[..., Tensor] | None, before: NetworkHealth
) -> list[Advice]:
    """Return scales for layers before neurons out of range, from a copy of the network scaled as by `calibrate`."""
    neurons = {u.last.number: u for u in units(net) if u.neurons is not None}
    layers = dict(zip(neurons, before.layers, strict=True))
    wanted = {number: _wanted(layer) for number, layer in layers.items()}
    fine = {number: layer.accepted for number, layer in layers.items() if layer.fault != "saturated"}
    stuck, found = not before.layers[0].error or before.layers[-1].silent, list[Advice]()
    for _ in range(_SCALE_HALVINGS + 1 if before.badness else 0):
        with copied(net) as (twin,):
            own = {id(as_neuron(node.stage).own_layer) for node in twin.graph.nodes if is_neuron(node.stage)}
            run = CalibrationRun(dict(wanted), own, fine)
            with eval_mode(twin, spread=True), no_grad():
                run.scale(twin, as_tensor(batches[0][0]))
            after = _measure(twin, batches, loss)
            better = after.badness < before.badness and (after.layers[0].error or not before.layers[0].error)
            if better and (stuck or before.accepts(after.loss)):
                found = _scales(net, twin, run, neurons, layers)
        faults = dict(zip(neurons, (layer.fault for layer in after.layers), strict=True))
        still = [number for number in run.scaled if faults[number] in ("saturated", "fast")]
        if not still:
            break
        for number in still:
            wanted[number] /= 2
    return found


def _wanted(layer: LayerHealth) -> float:
    """Return the rate in Hz at which a layer should fire."""
    if layer.desired is None:
        return min(50.0, 0.25 * layer.most)
    return min(max(layer.desired, LEAST_DESIRED), 0.9 * layer.most)


def _scales(
    net: Container, twin: Sequential, run: CalibrationRun, neurons: dict[int, Unit], layers: dict[int, LayerHealth]
) -> list[Advice]:
    """Return the changes that a run made to a copy as advice for the network."""
    rates, found = {row.layer: row for row in run.rows}, list[Advice]()
    same = {id(mine.stage): node for mine, node in zip(twin.graph.nodes, net.graph.nodes, strict=True)}
    for number, (scaled, factor) in run.scaled.items():
        if 0.8 <= factor <= 1 / 0.8:  # not worth advice
            continue
        unit, row = neurons[number], rates[neurons[number].address]
        missed = "" if row.reached else f", and no value gives {row.wanted:.3g} Hz"
        reason = f"{_fault(layers[number], row.before)}; with this value at {row.rate:.3g} Hz{missed}"
        for node in (same[id(layer)] for layer in scaled):
            layer, name = node.stage, unit.name
            setting, now = layer.scale_setting()
            if unit.layer is None or unit.layer.stage is not layer:
                name = f"layer {node} ({layer!r}) before {name}"
            found.append(Advice(unit.address, name, setting, now, _rounded(now * factor), reason, at=node.address))
    return found


def _fault(layer: LayerHealth, now: float) -> str:
    """Return the fault of a layer; `now` is its rate after the layers before it got their new scale."""
    low, high = layer.accepted
    if layer.fault in ("silent", "slow"):
        return f"{layer.never:.0%} of the neurons never fire, their mean rate is {layer.rate:.3g} Hz"
    if layer.fault == "saturated":
        return (
            f"{layer.locked:.0%} of the neurons fire as often as refraction lets them, whatever comes in; u is "
            f"{layer.distance:.3g} from theta in the median, and the largest potential from input alone "
            f"{layer.peak:.3g}; at rest it is {layer.gap:.3g} under theta"
        )
    when = "the neurons fire" if layer.fault else "with the changes before them the neurons would fire"
    return f"{when} at {now:.3g} Hz, which is not within {low:.3g} to {high:.3g} Hz"


def _rounded(value: float) -> float:
    return float(f"{value:.2e}")


def _surrogate_advice(
    net: Container, batches: Batches, loss: Callable[..., Tensor] | None, before: NetworkHealth, adam: bool
) -> list[Advice]:
    """Return wider surrogates for layers far from the threshold; if there are none, other heights."""
    if before.learned:
        return []
    found = list[Advice]()
    for seen in before.layers:
        narrow, away = seen.width < 0.5 * abs(seen.gap) and not seen.fault, seen.distance / seen.width
        if narrow and seen.within < _NEAR and hasattr(net[seen.layer], "tau_rho"):
            now = net[seen.layer].tau_rho
            reason = (
                f"in the median u is {seen.distance:.3g} from theta, {away:.3g} widths of the surrogate; only "
                f"{seen.within:.1%} of the potentials are within one width and let errors pass"
            )
            found.append(Advice(seen.layer, seen.name, "tau_rho", now, _rounded(now * away), reason))
    first, last = before.layers[0], before.layers[-1]
    share = first.error / last.error if last.error else 0.0
    lost = found or not share or any(layer.silent for layer in before.layers)
    # Adam divides by the size of errors, but not where a skip connection adds those of two branches.
    joined = any(len(node.inputs) > 1 for node in net.graph.nodes)
    if not lost and not 0.01 <= share <= (math.inf if adam and not joined else 1000.0):
        found = _heights(net, batches, loss, before)
    return found


def _heights(
    net: Container, batches: Batches, loss: Callable[..., Tensor] | None, before: NetworkHealth
) -> list[Advice]:
    """Return heights of surrogates, with which the errors of all layers have the size of the last layer's."""
    found, after = list[Advice](), before
    with copied(net) as (twin,):
        for seen in reversed(before.layers[:-1]):
            share = after.error(seen.layer)
            if share and hasattr(net[seen.layer], "scale_rho"):
                now = net[seen.layer].scale_rho
                reason = (
                    f"the error is {before.error(seen.layer):.2g} times the last layer's, {share:.2g} times with the "
                    "changes after it; scale_rho multiplies it"
                )
                advice = Advice(seen.layer, seen.name, "scale_rho", now, _rounded(now / share), reason)
                advice.apply(twin)
                after = _measure(twin, batches, loss)
                found.append(advice)
    return found[::-1]


class _Steps:
    """Takes steps of an optimizer for a batch on copies, always from the present weights and state."""

    def __init__(
        self, net: Container, optimizer: Optimizer, batch: tuple[Any, Any], loss: Callable[..., Tensor] | None
    ) -> None:
        self.net, self.optimizer, self.batch, self.loss = net, optimizer, batch, loss
        self.x, self.before = as_tensor(batch[0]), _measure(net, [batch], loss)
        self.warmup = max((group.option("warmup") for group in optimizer.groups), default=0)
        with copied(net, optimizer) as (twin, own):
            for layer in twin.layers_within():
                layer.training = hasattr(layer, "over_lags")
            with no_grad(active=False):
                y = twin(self.x)
                error = (loss or default_loss(net, y, batch[1]))(y, batch[1])
            self.gradients: list[Array | None] = gradients(error, own.parameters)

    @contextmanager
    def _taken(self, factor: float = 1.0, *, steps: int = 1, warm: bool = True, only: Any = None) -> Iterator[Any]:
        """Give a copy of the network after steps with one gradient, of the parameters `only` (None: all)."""
        with copied(self.net, self.optimizer) as (twin, optimizer):
            optimizer.warmup = optimizer.warmup if warm else 0
            optimizer.schedule = scaled_by(optimizer.schedule, factor)
            for options in (group.options for group in optimizer.groups):
                if not warm:
                    options.pop("warmup", None)
                if "lr" in options:
                    options["lr"] = scaled_by(options["lr"], factor)
            delays = [each for each in twin.layers_within() if hasattr(each, "over_lags")]
            narrowing = [(each.taken.data, each.taken.data.copy()) for each in delays]
            for _ in range(steps):
                for number, (p, g) in enumerate(zip(optimizer.parameters, self.gradients, strict=True)):
                    p.grad = None if g is None or (only is not None and number not in only) else g.copy()
                optimizer.step()
                for taken, before in narrowing:  # the step of the optimizer alone moves the potentials
                    taken[...] = before
            yield twin

    def moves(self, *, steps: int = 1, **how: Any) -> dict[Address, float]:
        """Return how much a step moves the potentials of each layer by input alone, root mean square, in thresholds."""
        found = dict[Address, float]()
        with self._taken(steps=steps, **how) as changed:
            twins = changed.graph.nodes
            with eval_mode(self.net, spread=True), eval_mode(changed, spread=True), no_grad():
                for at in Walk(self.net, (self.x, self.x)):
                    if at.neurons is None:
                        old, new = zip(*at.inputs, strict=True)
                        at.output = at.node(*old), twins[at.number](*new)
                        continue
                    neuron, (old, new) = at.neurons, at.inputs[0]
                    change = to_numpy(neuron.psp(Tensor(new.data - old.data)).data).astype(np.float64)
                    size = math.sqrt(float(np.mean(np.square(change))) if change.size else 0.0) * neuron.peak
                    found[at.address] = size / (abs(neuron.gap) or 1.0) / steps
                    at.output = (at.node(old),) * 2
        return found

    def after(self, factor: float = 1.0, **how: Any) -> NetworkHealth:
        """Return the health of the network on the batch after a step."""
        with self._taken(factor, **how) as twin:
            return _measure(twin, [self.batch], self.loss)

    def first(self) -> FirstStep:
        """Return the effect of the optimizer's first step."""
        after, full = self.after(), self.moves(steps=_STEPS, warm=False)
        return FirstStep(self.moves(), full, self.before.loss, after.loss, self.before.fires and not after.fires)

    def advice(self, before: NetworkHealth) -> list[Advice]:
        """Return other learning rates, of the optimizer and of groups with their own; `diagnose` has the rules."""
        groups, found = self.optimizer.groups, list[Advice]()
        owners = [n if "lr" in group.options else None for n, group in enumerate(groups) for _ in group.params]
        for each in dict.fromkeys([None, *owners]):
            name, lr = "optimizer", self.optimizer.base_lr
            if each is not None:
                name, lr = f"group {each} of the optimizer", groups[each].base_lr
            factor, reason = self._factor(before, lr, {n for n, owner in enumerate(owners) if owner == each})
            if reason:
                found.append(Advice(each, name, "lr", lr, _rounded(lr * factor), reason))
        return found

    def _factor(self, before: NetworkHealth, lr: float, numbers: set[int]) -> tuple[float, str]:
        """Return a factor of the learning rate of the parameters with these numbers, and why; "" for no change."""
        moves = self.moves(steps=_STEPS, only=numbers, warm=False) if lr else {}
        most = max(moves.values(), default=0.0)
        if not most or not math.isfinite(most):
            return 1.0, ""
        aim, limit = _MOVES if self.warmup < _EARLY else _MOVES_WARM
        problem = f"more than {limit:g} theta" if most > limit else ""
        if 0.3 <= most <= limit:  # enough to be the reason if the loss rises
            # With a warm-up, the rate at step _EARLY decides whether it does.
            early = self.after(min(1.0, _EARLY / max(self.warmup, 1)), only=numbers, warm=False)
            if self.before.fires and not early.fires:
                problem = "and the output falls silent"
            elif not before.accepts(before.loss + early.loss - self.before.loss):
                problem = f"and the loss of a sample rises from {self.before.loss:.3g} to {early.loss:.3g}"
        if not problem and (before.learned or most >= _LEAST_MOVE):
            return 1.0, ""
        factor = min(aim / most, 0.5) if problem else aim / most
        return factor, (
            f"a step changes the potentials after layer {max(moves, key=lambda address: moves[address])} by {most:.2g} "
            f"theta (root mean square), {problem or f'under {_LEAST_MOVE:g} theta in each layer'}; with this value by "
            f"{most * factor:.2g} theta"
        )
