"""`health`: measure rates, potentials and errors of a network, and try settings on copies to find those that help."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.data.batches import pairs, preserved_epoch
from cuslayer.inspection.health.figures import Batches, Measured, Tally, measure, share_of
from cuslayer.inspection.health.result import LEAST_DESIRED, Advice, FirstStep, LayerHealth, NetworkHealth
from cuslayer.inspection.structure import check_loss, default_loss, note_rates
from cuslayer.layers.base import Synapse
from cuslayer.layers.pool import Windowed
from cuslayer.network.calibration import Run
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Address, Node
from cuslayer.network.input import SILENT_INPUT, finite_input
from cuslayer.network.walk import Unit, Visit, Walk, check_network, check_neurons, copied, eval_mode, units
from cuslayer.neurons.base import as_neuron
from cuslayer.optim import Optimizer
from cuslayer.tape import Tensor, as_tensor, gradients, no_grad

# Advised rates: of hidden neurons, and of an output without a desired rate, in Hz and at most as a share of the highest
# rate; of an output with a desired rate at most this share of the highest.
_RATE, _SHARE, _SHARE_DESIRED = 50.0, 0.25, 0.9
# How often the rate of a layer that is still saturated is halved. Factors between this and its inverse are not worth
# advice.
_SCALE_HALVINGS, _WORTH = 4, 0.8
# A layer whose potentials have a larger median distance from the threshold, in widths of the surrogate, gets a wider
# surrogate, if that is narrower than _NARROW thresholds.
_FAR, _NARROW = 3.0, 0.5
# The accepted errors of the first layer, as multiples of that of the last.
_VANISHES, _EXPLODES = 0.01, 1000.0
# The accepted root mean square change of the potentials by one step without warm-up, in thresholds: of the layer that
# changes most. The advised rate changes them by _AIM. Both are larger with a warm-up of at least _EARLY steps, whose
# rate at step _EARLY decides whether the loss rises.
_LEAST, _AIM, _LARGEST = 0.03, 0.4, 1.25
_EARLY, _AIM_WARM, _LARGEST_WARM = 5, 0.8, 3.0
# A step that changes the potentials by less is not the reason if the loss rises or the output falls silent.
_MOVES = 0.3
# The number of steps with the same gradient over which the change is averaged: momentum adds up. An advised rate is
# halved so often until the loss does not rise. The reason of the advice also names the change at a relative rate.
_STEPS, _RATE_HALVINGS, _RELATIVE = 10, 6, 0.05


@check.operation
def health(
    net: Any, loader: Iterable[Any], *, loss: Any = None, optimizer: Optimizer | None = None, batches: int = 1
) -> NetworkHealth:
    """Diagnose a network and suggest settings to change.

    The diagnosis has, for each layer, the firing rates, the shares of silent and saturated neurons, the distances of
    potentials from the threshold, and the size of the errors; with an optimizer also what its first step does. The
    first of these that finds something gives the advice:

    1. Scales: ``weight_scale``, ``gain`` of a pooling layer, or ``scale``, before neurons whose rate is out of range or
       that are saturated. Hidden neurons are to fire at 5 to 200 Hz on average. The output is to fire at a fifth to
       five times of the rate that the loss desires, counted as at least 5 Hz; if the loss has no `desired_rate`, it
       must not be silent. Neurons are saturated if the median distance of potentials from the threshold is over 5
       theta, if the largest potentials from input alone have a median of over 20 theta, or, without a desired rate, if
       more than a third is locked in refraction. The new scales are found as `calibrate` does, for hidden
       neurons at 50 Hz and an output at what the loss desires; less where neurons are saturated at that rate.
    2. ``tau_rho``, if it is under 0.5 and the potentials of a layer have a median distance of over three surrogate
       widths from theta: ``rho(u) = scale_rho / w exp(-|u - theta| / w)`` is largest for a width w of ``|u - theta|``.
    3. ``scale_rho``, if the error of the first layer is less than 1/100 or more than 1000 times that of the last. Each
       of the L layers of neurons multiplies the error by it, so a factor of ``(last / first)^(1 / (L - 1))`` makes the
       two equal.
    4. ``lr``, if an optimizer is given. It is too large if a step without warm-up changes the potentials of a layer by
       more than 1.25 theta (root mean square; 3 with a warm-up), or by more than 0.3 theta while the loss of the batch
       rises by half or the output falls silent; too small if no potentials change by more than 0.03 theta. With the
       new value they change by 0.4 theta at most (0.8 with a warm-up).

    Advice is tried on a copy first and given only if it helps: faults are fewer or less bad, errors do not vanish, and
    the loss does not rise by more than half. If the network has learned something (the loss is 30 % smaller than with
    the outputs of other samples), the loss must not rise by more than 2 %, and only 1 and a rate that is too large
    give advice.

    Where the input is 0 everywhere there is no advice, and the hints of the result say so. They also name layers that
    never fire or get no error, where no setting helps.

    `Advice.apply` makes a change. Apply all of it, and call `health` again until there is nothing to change. Neither
    the network nor the optimizer, their gradients and the random generator change here. Dropout is off.

    Args:
        net: a `Network` or `Sequential`.
        loader: batches (x, target), such as a `Loader`.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        optimizer: the optimizer of the network's parameters; without one the learning rate is not judged.
        batches: number of batches to use, from the first. Scales and steps are computed from the first one.

    Returns:
        The diagnosis: it prints as a table, and `plot` draws it.

    Raises:
        TypeError: net is not a network or has no neurons, loss is not a function, optimizer is not an optimizer,
            batches is not an integer, or advice is due and the network cannot be copied.
        ValueError: the loader has no batch, one does not fit the network or the loss, or the optimizer has none of the
            network's parameters.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> x = np.random.default_rng(0).random((100, 4, 20)) < 0.1
    >>> net = Sequential(Dense(20, 8, weight_scale=0.1), SRM(), Dense(8, 2), SRM())
    >>> found = health(net, [(x, [0, 1, 0, 1])])
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
        raise ValueError("loader must have a batch with a sample, got none")
    found = measure(net, given, loss)
    note_rates(net, {layer.layer: layer.rate for layer in found.layers})
    steps = None if optimizer is None else _Steps(net, optimizer, given[0], loss)
    silent, advice = not any(as_tensor(x).data.any() for x, _ in given), list[Advice]()
    if not silent:
        advice = _scale_advice(net, given, loss, found) or _surrogate_advice(net, given, loss, found)
        if steps is not None and not advice:
            advice = steps.advice(found)
    step = None if steps is None else steps.first()
    hints = _hints(found, {each.layer for each in advice if each.setting != "lr"}, silent)
    return NetworkHealth(found.layers, tuple(advice), found.loss, step, hints)


def _hints(found: Measured, advised: Collection[Any], silent_input: bool) -> tuple[str, ...]:
    """Return what no setting would change: silent input, layers that never fire, and layers that get no error."""
    hints = [f"the input is 0 everywhere; {SILENT_INPUT}"] if silent_input else []
    for layer in found.layers:
        if layer.fault != "silent" or layer.layer in advised:
            continue
        if not layer.driven:
            why = "its weighted input is 0: the layer before it sends no spikes, or has weights of 0"
        elif not layer.peak:
            why = "its input never raises the potential; draw the weights before it anew, or give that layer a bias"
        else:
            why = (
                f"its input raises the potential to {layer.peak:.3g} in the median, theta is {layer.theta:g}, and no "
                "scale of the weights helps; draw them anew, or change the neurons"
            )
        hints.append(f"{layer.name} never fires: {why}")
    without = [layer for layer in found.layers if not layer.error and layer.rates.size]
    if not without or not found.loss:  # at a loss of 0 there is nothing to learn
        return tuple(hints)
    if len(without) == len(found.layers):
        why = "the surrogate is 0 at all potentials, or the loss has no gradient here"
        return (*hints, f"no layer gets an error: {why}")
    why = "the surrogate is 0 at all its potentials, or the weights after it are 0"
    return (*hints, *(f"{layer.name} gets no error: {why}" for layer in without))


def _scale_advice(net: Any, batches: Batches, loss: Any, before: Measured) -> list[Advice]:
    """Return new scales for layers before neurons that are silent or saturated or whose rate is out of range.

    On a copy of the network, layer after layer, the weights before such neurons are scaled as `calibrate` does, and the
    batches are run again. There is no advice unless faults are fewer or less bad then, errors do not vanish, and the
    loss is accepted. The loss of a silent network, or of one whose errors vanish, says nothing, since it cannot fall.
    """
    if not before.badness:
        return []
    seen = {layer.layer: layer for layer in before.layers}
    of_neurons = {u.neurons.number: u for u in units(net) if u.neurons is not None}
    layers = {number: seen[unit.address] for number, unit in of_neurons.items()}
    wanted = {number: _wanted(layer) for number, layer in layers.items()}
    stuck, x = before.vanished or before.layers[-1].silent, as_tensor(batches[0][0])
    found: list[Advice] = []
    for _ in range(_SCALE_HALVINGS + 1):
        with copied(net) as (twin,):
            run = _Rescale(dict(wanted), layers)
            with eval_mode(twin), no_grad():
                run.scale(twin, x)
            after = measure(twin, batches, loss)
            vanishes = after.vanished and not before.vanished
            if after.badness < before.badness and not vanishes and (stuck or before.accepts(after.loss)):
                found = _scales(net, twin, run, of_neurons, layers)
        faults = {layer.layer: layer.fault for layer in after.layers}
        still = [number for number in run.scaled if faults[of_neurons[number].address] in ("saturated", "fast")]
        if not still:
            break
        for number in still:
            wanted[number] /= 2
    return found


class _Rescale(Run):
    """Scales only the layers before neurons that are out of range with the changes made so far.

    A layer from neurons to themselves keeps its scale: an advice is the setting of one layer of the network.
    """

    scales_own = False

    def __init__(self, wanted: dict[int, float], before: dict[int, LayerHealth]) -> None:
        super().__init__(wanted, set())
        self.before = before

    def needs_scale(self, node: Node, x: Tensor, spikes: Tensor) -> bool:
        layer, at = self.before[node.number], Visit(node, (x,), Unit(None, node))
        tally = Tally(node.address, "", as_neuron(node.stage), layer.output, layer.desired)
        tally.count(x, spikes, at.potentials)
        return bool(x.data.size and tally.health().fault)


def _wanted(layer: LayerHealth) -> float:
    """Return the rate in Hz at which a layer is to fire."""
    if layer.desired is None:
        return min(_RATE, _SHARE * layer.most)
    return min(max(layer.desired, LEAST_DESIRED), _SHARE_DESIRED * layer.most)


def _scales(net: Any, twin: Any, run: Run, of_neurons: dict[int, Unit], layers: dict[int, LayerHealth]) -> list[Advice]:
    """Return the changes that a run made to a copy as advice for the network."""
    rates = {row.layer: row for row in run.rows}
    same = {id(mine.stage): node for mine, node in zip(graph_of(twin).nodes, graph_of(net).nodes, strict=True)}
    found: list[Advice] = []
    for number, (scaled, factor) in run.scaled.items():
        if _WORTH <= factor <= 1 / _WORTH:
            continue
        unit, row = of_neurons[number], rates[of_neurons[number].address]
        reason = f"{_fault(layers[number], row.before)}; with this value at {row.rate:.3g} Hz"
        for node in (same[id(layer)] for layer in scaled):
            layer, setting, now = node.stage, "scale", 1.0
            if isinstance(layer, Windowed):
                setting, now = "gain", layer.gain
            elif isinstance(layer, Synapse):
                setting, now = "weight_scale", _weight_scale(layer)
            name = unit.name
            if unit.layer is None or unit.layer.stage is not layer:
                name = f"layer {node} ({layer!r}) before {name}"
            found.append(Advice(unit.address, name, setting, now, _rounded(now * factor), reason, at=node.address))
    return found


def _fault(layer: LayerHealth, now: float) -> str:
    """Return what is wrong with a layer; `now` is its rate when the layers before it have their new scale."""
    low, high = layer.accepted
    if layer.fault in ("silent", "slow"):
        return f"{layer.never:.0%} of the neurons never fire, their mean rate is {layer.rate:.3g} Hz"
    if layer.fault == "saturated":
        return (
            f"{layer.locked:.0%} of the neurons fire as often as refraction lets them, whatever comes in; u is "
            f"{layer.distance:.3g} from theta in the median, and the largest potential from input alone "
            f"{layer.peak:.3g}; theta is {layer.theta:g}"
        )
    if layer.fault == "fast":
        return f"the neurons fire at {layer.rate:.3g} Hz, which is over {high:.3g} Hz"
    side = f"under {low:.3g} Hz" if now < low else f"over {high:.3g} Hz" if now > high else "saturated"
    return f"with the changes before them the neurons would fire at {now:.3g} Hz, {side}"


def _weight_scale(layer: Synapse) -> float:
    """Return the weight_scale of uniform weights with the root mean square of the present ones, as hooks leave them.

    If a hook rounds all of them to zero, those before the hook count.
    """
    with no_grad():
        weight: Array = to_numpy(layer.effective_weight().data)
    if not weight.any():
        weight = to_numpy(layer.weight.data)
    fan_in = getattr(layer, "fan_in", None)
    inputs = fan_in() if callable(fan_in) else len(weight)
    return math.sqrt(3.0 * inputs * float(np.mean(np.square(weight, dtype=np.float64))))


def _rounded(value: float) -> float:
    return float(f"{value:.2e}")


def _surrogate_advice(net: Any, batches: Batches, loss: Any, before: Measured) -> list[Advice]:
    """Return wider surrogates for layers far from the threshold; if there are none, another height for all.

    The advice is applied to a copy; there is none unless more potentials are within one width of the threshold, or the
    errors of the first and the last layer become more equal. Spikes and the loss do not depend on the surrogate. A
    network that has learned something gets none.
    """
    if before.learned:
        return []
    far = [
        seen
        for seen in before.layers
        if seen.width < _NARROW * abs(seen.theta) and seen.distance > _FAR * seen.width and not seen.fault
    ]
    far = [seen for seen in far if hasattr(net[seen.layer], "tau_rho")]
    if far:
        wider = list[Advice]()
        for seen in far:
            now, away = net[seen.layer].tau_rho, seen.distance / seen.width
            reason = (
                f"in the median u is {seen.distance:.3g} from theta, {away:.3g} widths of the surrogate, which has "
                f"fallen to {math.exp(-away):.1g} of its height there and lets no error pass"
            )
            wider.append(Advice(seen.layer, seen.name, "tau_rho", now, _rounded(now * away), reason))
        after = _after(net, wider, batches, loss)
        wide = {layer.layer: layer.within for layer in after.layers}
        return wider if all(wide[seen.layer] > seen.within for seen in far) and not after.vanished else []
    share, first = None if any(layer.silent for layer in before.layers) else before.share, before.layers[0]
    if share is None or _VANISHES <= share <= _EXPLODES or not hasattr(net[first.layer], "scale_rho"):
        return []
    reason = (
        f"the error {'vanishes' if share < 1 else 'explodes'} on its way back: here it is {share:.2g} times that of "
        "the last layer, and scale_rho multiplies it in each layer"
    )
    now = net[first.layer].scale_rho
    value = _rounded(now * share ** (-1 / (len(before.layers) - 1)))
    found = [Advice(first.layer, first.name, "scale_rho", now, value, reason)]
    then = _after(net, found, batches, loss).share
    return found if then is not None and abs(math.log(then)) < abs(math.log(share)) else []


def _after(net: Any, advice: Sequence[Advice], batches: Batches, loss: Any) -> Measured:
    """Return what batches show of a copy of a network with changed settings."""
    with copied(net) as (twin,):
        for each in advice:
            each.apply(twin)
        return measure(twin, batches, loss)


class _Steps:
    """Simulates steps of an optimizer for a batch, always from the present weights and the present state.

    Neither the network nor the optimizer changes, nor do their gradients.
    """

    def __init__(self, net: Any, optimizer: Optimizer, batch: tuple[Any, Any], loss: Any) -> None:
        self.net, self.optimizer, self.batch, self.loss = net, optimizer, batch, loss
        self.before = measure(net, [batch], loss)
        self.warmup = max((group.option("warmup") for group in optimizer.groups), default=0)
        with copied(net, optimizer) as (twin, own):
            twin.train(False)
            with no_grad(active=False):
                y = twin(as_tensor(batch[0]))
                error = (loss or default_loss(net, y, batch[1]))(y, batch[1])
            self.gradients: list[Array | None] = gradients(error, own.parameters)

    @contextmanager
    def _taken(
        self, factor: float = 1.0, *, steps: int = 1, only: Collection[int] | None = None, **options: Any
    ) -> Iterator[Any]:
        """Give a copy of the network after steps with one gradient.

        Args:
            factor: the factor of the learning rates.
            steps: the number of steps.
            only: the numbers of the parameters that change; None for all.
            options: other options of the optimizer and all its groups, such as ``warmup=0``.
        """
        with copied(self.net, self.optimizer) as (twin, optimizer):
            for name, value in options.items():
                setattr(optimizer, name, value)
                for group in optimizer.groups:
                    group.options.pop(name, None)
            optimizer.schedule = _scaled(optimizer.schedule, factor)
            for group in optimizer.groups:
                if "lr" in group.options:
                    group.options["lr"] = _scaled(group.options["lr"], factor)
            for _ in range(steps):
                for number, (p, g) in enumerate(zip(optimizer.parameters, self.gradients, strict=True)):
                    p.grad = None if g is None or (only is not None and number not in only) else g.copy()
                optimizer.step()
            yield twin

    def moves(self, *, steps: int = 1, **how: Any) -> dict[Address, float]:
        """Return the root mean square change of the potentials of each layer from input alone, in thresholds a step.

        The layers before it get the same spikes with the old weights and with the new ones.
        """
        found = dict[Address, float]()
        with self._taken(steps=steps, **how) as changed:
            twins, x = graph_of(changed).nodes, as_tensor(self.batch[0])
            with eval_mode(self.net), eval_mode(changed), no_grad():
                for at in Walk(self.net, (x, x)):
                    if at.neurons is None:
                        at.output = (
                            at.node(*(old for old, _ in at.inputs)),
                            twins[at.number](*(y for _, y in at.inputs)),
                        )
                        continue
                    neuron, (old, new) = at.neurons, at.inputs[0]
                    change = to_numpy(neuron.psp(Tensor(new.data - old.data)).data).astype(np.float64)
                    size = math.sqrt(share_of(np.mean, np.square(change))) * neuron.peak
                    found[at.address] = size / (abs(neuron.theta) or 1.0) / steps
                    spikes = at.node(old)
                    at.output = spikes, spikes
        return found

    def after(self, factor: float = 1.0, **how: Any) -> Measured:
        """Return what the batch shows of the network after a step."""
        with self._taken(factor, **how) as twin:
            return measure(twin, [self.batch], self.loss)

    def first(self) -> FirstStep:
        """Return what the first step does, as the optimizer takes it."""
        after, full = self.after(), self.moves(steps=_STEPS, warmup=0)
        rates = {layer.layer: layer.rate for layer in after.layers}
        silent = self.before.fires and not after.fires
        return FirstStep(self.moves(), full, rates, self.before.loss, after.loss, silent)

    def advice(self, before: Measured) -> list[Advice]:
        """Return other learning rates, of the optimizer and of groups with their own; `health` has the rules."""
        found, first, shared = list[Advice](), 0, set[int]()
        for number, group in enumerate(self.optimizer.groups):
            numbers = set(range(first, first + len(group.params)))
            first += len(group.params)
            if "lr" in group.options:
                found += self._rate(before, numbers, number)
            else:
                shared |= numbers
        return self._rate(before, shared, None) + found

    def _rate(self, before: Measured, numbers: set[int], group: int | None) -> list[Advice]:
        """Return another learning rate for the parameters with these numbers, those of a group or of the optimizer."""
        owner = self.optimizer if group is None else self.optimizer.groups[group]
        if not owner.lr:
            return []
        moves = self.moves(steps=_STEPS, only=numbers, warmup=0)
        most = max(moves.values(), default=0.0)
        if not most or not math.isfinite(most):
            return []
        problem = self._problem(before, 1.0, most, numbers)
        factor = (_AIM if self.warmup < _EARLY else _AIM_WARM) / most
        if problem:
            factor = min(factor, 0.5)
        elif before.learned or most >= _LEAST:
            return []
        for _ in range(_RATE_HALVINGS):
            move = most * factor
            if not self._problem(before, factor, move, numbers) and (before.learned or move >= _LEAST):
                relative = self.moves(only=numbers, relative=True, lr=_RELATIVE, warmup=0)
                reason = (
                    f"a step changes the potentials after layer {max(moves, key=lambda address: moves[address])} by "
                    f"{most:.2g} theta (root mean square), {problem or f'under {_LEAST:g} theta in each layer'}; with "
                    f"this value by {move:.2g} theta, with relative=True and lr={_RELATIVE:g} by "
                    f"{max(relative.values(), default=0.0):.2g} theta"
                )
                name = "optimizer" if group is None else f"group {group} of the optimizer"
                return [Advice(group, name, "lr", owner.lr, _rounded(owner.lr * factor), reason)]
            factor /= 2
        return []

    def _problem(self, before: Measured, factor: float, move: float, numbers: set[int]) -> str:
        """Return why a learning rate, times a factor, is too large where a step changes potentials by `move`."""
        limit = _LARGEST if self.warmup < _EARLY else _LARGEST_WARM
        if move > limit:
            return f"more than {limit:g} theta"
        if move < _MOVES:
            return ""
        early = self.after(factor * min(1.0, _EARLY / max(self.warmup, 1)), only=numbers, warmup=0)
        if self.before.fires and not early.fires:
            return "and the output falls silent"
        if not before.accepts(before.loss + early.loss - self.before.loss):
            return f"and the loss of a sample rises from {self.before.loss:.3g} to {early.loss:.3g}"
        return ""


def _scaled(schedule: Any, factor: float) -> Any:
    return lambda epoch: factor * schedule(epoch)
