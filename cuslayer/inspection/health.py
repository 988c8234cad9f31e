"""`health`: measure rates, potentials and errors of a network, and try settings on copies to find those that help."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.data.batches import pairs, preserved_epoch
from cuslayer.inspection.structure import check_loss, default_loss, note_rates
from cuslayer.layers.base import Synapse
from cuslayer.layers.pool import Windowed
from cuslayer.loss.base import desired_rate
from cuslayer.network.calibration import Run
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Address, output_neurons
from cuslayer.network.input import SILENT_INPUT, finite_input
from cuslayer.network.join import on_gradient
from cuslayer.network.walk import Unit, Walk, check_network, check_neurons, copied, eval_mode, units
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.optim import Optimizer
from cuslayer.optim.schedules import Constant
from cuslayer.plot.style import axes_grid, open_frame, palette, percent_axis
from cuslayer.tape import Tensor, as_tensor, gradients, no_grad

Batches: TypeAlias = "Sequence[tuple[Any, Any]]"

# The settings of layers, which scale their output.
SCALES = ("weight_scale", "gain", "scale")
# The edges of the histogram of u - theta, in widths of the surrogate.
EDGES = np.linspace(-6.0, 6.0, 49)
# Number of potentials used per layer and batch, evenly spread.
_MOST = 2**20
# How bad a fault is: a slow layer is better than a saturated one, a silent layer is worst.
_BADNESS = {"": 0, "slow": 1, "fast": 1, "saturated": 2, "silent": 3}
# The least rate in Hz that an output is to have, whatever the loss desires.
_LEAST_DESIRED = 5.0
# How often the rate of a layer that is still saturated is halved.
_SCALE_HALVINGS = 4
# The accepted root mean square change of the potentials by one step, in thresholds, of the layer that changes most: the
# least, and the advised and the largest without a warm-up and with one of at least _EARLY steps.
_LEAST_MOVE, _EARLY, _MOVES, _MOVES_WARM = 0.03, 5, (0.4, 1.25), (0.8, 3.0)
# The number of steps with the same gradient over which the change is averaged: momentum adds up.
_STEPS = 10


@check.operation
def health(
    net: Any, loader: Iterable[Any], *, loss: Any = None, optimizer: Optimizer | None = None, batches: int = 1
) -> NetworkHealth:
    """Diagnose a network and suggest settings to change.

    The diagnosis has, for each layer, the firing rates, the shares of silent and saturated neurons, the distances of
    potentials from the threshold, and the size of the errors; with an optimizer also what its first step does. The
    first of these that finds something gives the advice:

    1. Scales: ``weight_scale``, ``gain`` of a pooling layer, or ``scale``, before neurons that are silent or saturated
       or whose rate is out of range (`LayerHealth.fault`). They are found as `calibrate` does, for hidden neurons at
       50 Hz and an output at what the loss desires; less where neurons are saturated at that rate.
    2. ``tau_rho``, if it is under 0.5 and potentials have a median distance of over three surrogate widths from theta:
       ``rho(u) = scale_rho / w exp(-|u - theta| / w)`` is largest for a width w of ``|u - theta|``.
    3. ``scale_rho``, which multiplies the error in each of the L layers of neurons, by ``(last / first)^(1 / (L - 1))``
       if the error of the first layer is less than 1/100 or more than 1000 times that of the last.
    4. ``lr``, if a step without warm-up changes the potentials of a layer by more than 1.25 theta (root mean square; 3
       with a warm-up), or by more than 0.3 theta while the loss of the batch rises by half or the output falls silent,
       or those of all layers by less than 0.03 theta. With the new value they change by at most 0.4 theta (0.8).

    Scales are tried on a copy first and given only if faults are fewer or less bad, errors do not vanish, and the loss
    does not rise by more than half. If the network has learned something (the loss is 30 % smaller than with
    the outputs of other samples), the loss must not rise by more than 2 %, and only 1 and a rate that is too large
    give advice. Apply all of it, and call `health` again until there is nothing to change. The hints name what no
    setting helps. Neither the network nor the optimizer, their gradients and the random generator change here. Dropout
    is off.

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
    found = _measure(net, given, loss)
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


@dataclass(frozen=True)
class LayerHealth:
    """Activity and errors of a layer and its neurons.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks.
        name: the name of the layer.
        theta: the threshold.
        width: the width of the surrogate, ``tau_rho theta``.
        rates: the firing rate of each neuron in Hz, in the shape of the layer.
        never: the share of neurons that never fired.
        always: the share of neurons that fired in at least 90 % of the steps in which they can, one in `period`.
        locked: the share of neurons locked in refraction: their input alone would keep the potential above the
            threshold at least half of the time, so they fire as often as refraction allows.
        within: the share of all potentials within one width of the threshold.
        histogram: shares of all potentials by ``(u - theta) / width``, 48 bins from -6 to 6; values beyond count in the
            first or the last.
        distance: the median of ``|u - theta|``.
        peak: the median, over neurons and samples, of the largest potential from input alone; only positive ones
            count, 0 without any.
        error: the Euclidean norm of the error on the weighted input, over all neurons and steps.
        most: the highest rate that the neurons can have, Hz.
        output: whether no other neurons come after them.
        desired: the mean rate that the loss desires of them, Hz; None for hidden neurons, or if the loss has none.
        driven: whether any weighted input of theirs is not 0.
    """

    layer: Address
    name: str
    theta: float
    width: float
    rates: Array
    never: float
    always: float
    locked: float
    within: float
    histogram: Array
    distance: float
    peak: float
    error: float
    most: float
    output: bool
    desired: float | None
    driven: bool

    @property
    def rate(self) -> float:
        """The mean firing rate of a neuron in Hz."""
        return _of(np.mean, self.rates)

    @property
    def silent(self) -> bool:
        """Whether no neuron fired."""
        return not self.rates.any()

    @property
    def accepted(self) -> tuple[float, float]:
        """The lowest and the highest accepted mean rate, Hz.

        For hidden neurons 5 and 200 Hz. For the output a fifth and five times the rate that the loss desires, which is
        counted as at least 5 Hz; without a desired rate, any rate above 0. The lowest rate is at most 5 % of the
        highest that the neurons can have. The highest is at most 60 % of it, unless the loss desires more.
        """
        low, high, aim = 5.0, 200.0, 0.0
        if self.output:
            aim = 0.0 if self.desired is None else max(self.desired, _LEAST_DESIRED)
            low, high = aim / 5.0, aim * 5.0 or math.inf
        return min(low, 0.05 * self.most), min(high, max(0.6 * self.most, aim))

    @property
    def fault(self) -> str:
        """What is out of range: "silent", "slow", "fast" or "saturated"; empty if nothing is.

        Neurons are saturated if the median distance of potentials from the threshold is over 5 theta, if the median of
        the largest potentials from input alone is over 20 theta, or, without a desired rate, if more than a third is
        locked in refraction.
        """
        low, high = self.accepted
        if not self.rates.size:
            return ""
        if self.silent or self.rate < low:
            return "silent" if self.silent else "slow"
        # With weights of both signs, about half of a layer has a negative input and cannot be locked. An output that is
        # to fire often is over the threshold most of the time.
        locked, theta = self.locked > 1 / 3 and self.desired is None, abs(self.theta)
        if locked or self.distance > 5.0 * theta or self.peak > 20.0 * theta:
            return "saturated"
        return "fast" if self.rate > high else ""


class FirstStep(NamedTuple):
    """What one step of an optimizer does to a batch.

    Attributes:
        moves: for each layer of neurons, by address, the root mean square change of the potentials from input alone by
            the new weights of the layers before it, in thresholds; at the rate of the first step.
        full: the same without warm-up, for the mean of ten steps with one gradient.
        loss: the mean loss per sample of the batch before the step.
        loss_after: the same after the step.
        silent: whether the output falls silent: it has spikes before the step and none after.
    """

    moves: Mapping[Address, float]
    full: Mapping[Address, float]
    loss: float
    loss_after: float
    silent: bool


@dataclass(frozen=True)
class Advice:
    """A setting to change; `apply` changes it.

    The settings:

    - ``weight_scale`` of a layer with weights: they are multiplied by ``value / now``. `now` is the weight_scale of
      uniform weights with the present root mean square. A new layer gets it as an argument.
    - ``gain`` of a pooling layer.
    - ``scale`` of any other layer with one parameter: the parameter is multiplied by `value`.
    - ``tau_rho`` of the neurons of a layer.
    - ``scale_rho`` of all neurons.
    - ``lr`` of the optimizer or of a group with a rate of its own.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks; for lr the number
            of the optimizer's group, None for the optimizer itself.
        name: the name of the layer, or the optimizer.
        setting: one of the names above.
        now: the present value.
        value: the advised value.
        reason: why to change it.
        at: the address of the layer whose weights or gain to scale; for other settings None.
    """

    layer: Address | None
    name: str
    setting: str
    now: float
    value: float
    reason: str
    at: Address | None = None

    @property
    def change(self) -> str:
        """The change and its reason as text."""
        return f"{self.setting} {self.value:g} instead of {self.now:.3g}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.name}: {self.change}"

    @check.operation
    def apply(self, net: Any, optimizer: Any = None) -> None:
        """Change the setting.

        Weights and gains change in place. Neurons are exchanged for ones with the new value, in this network only. A
        schedule of the learning rate is multiplied by ``value / now``.

        Args:
            net: the network that `health` was given, or one of the same layers.
            optimizer: its optimizer; only lr needs it.

        Raises:
            TypeError: net is not a network, or the advice is of lr and optimizer is not an optimizer.
        """
        check_network(net)
        if self.setting in SCALES:
            net[self.at].scale_output(self.value / self.now)
        elif self.setting == "lr":
            if not isinstance(optimizer, Optimizer):
                raise TypeError(f"lr needs the optimizer, got {type(optimizer).__name__}; pass apply(net, optimizer)")
            group = None if self.layer is None else optimizer.groups[self.layer]  # type: ignore[index]
            schedule = optimizer.schedule if group is None else group.options["lr"]
            constant = isinstance(schedule, Constant) or not self.now
            (group or optimizer).lr = self.value if constant else _scaled(schedule, self.value / self.now)
        else:
            for node in graph_of(net).nodes:
                neuron, everywhere = node.stage, self.setting == "scale_rho"
                if is_neuron(neuron) and hasattr(neuron, self.setting) and (everywhere or node.address == self.layer):
                    value = getattr(neuron, self.setting) * self.value / self.now if everywhere else self.value
                    net[node.path[:-1]].stages[node.path[-1]] = _with(neuron, self.setting, value)


def _with(neuron: Any, setting: str, value: float) -> Any:
    """Return neurons with another value of a setting."""
    if dataclasses.is_dataclass(neuron) and setting in {field.name for field in dataclasses.fields(neuron)}:
        return dataclasses.replace(neuron, **{setting: value})  # type: ignore[type-var]
    changed = copy.copy(neuron)
    setattr(changed, setting, value)
    return changed


@dataclass(frozen=True, repr=False)
class NetworkHealth:
    """The health of a network: ``health[layer]`` is the `LayerHealth` of the neurons at an address.

    Attributes:
        layers: the health of each layer, in order.
        advice: settings to change; empty if the network is healthy, or if none helps.
        loss: the mean loss per sample.
        first_step: what the first step of the optimizer does; None without one.
        hints: what else is wrong, where no setting is advised: an input of 0, layers that never fire or get no error.
    """

    layers: tuple[LayerHealth, ...]
    advice: tuple[Advice, ...]
    loss: float
    first_step: FirstStep | None = None
    hints: tuple[str, ...] = ()

    @check.operation("health")
    def __getitem__(self, layer: Address) -> LayerHealth:
        """Return the health of the neurons at an address.

        Raises:
            IndexError: there are no neurons at that address.
        """
        for found in self.layers:
            if found.layer == layer:
                return found
        known = ", ".join(str(found.layer) for found in self.layers)
        raise IndexError(f"neurons stand at {known}, got {layer!r}")

    def apply(self, net: Any, optimizer: Any = None) -> None:
        """Follow all of the advice: change each setting, as `Advice.apply` does.

        >>> import numpy as np
        >>> from cuslayer import SRM, Dense, Sequential, health
        >>> x = np.random.default_rng(0).random((100, 4, 20)) < 0.1
        >>> net = Sequential(Dense(20, 8, weight_scale=0.1), SRM(), Dense(8, 2, weight_scale=20), SRM())
        >>> health(net, [(x, [0, 1, 0, 1])]).apply(net)
        >>> health(net, [(x, [0, 1, 0, 1])]).advice
        ()
        """
        for advice in self.advice:
            advice.apply(net, optimizer)

    def error(self, layer: Address) -> float:
        """Return the error of the neurons at an address relative to the last layer's; 0 if that is 0."""
        last = self.layers[-1].error
        return self[layer].error / last if last else 0.0

    def __repr__(self) -> str:
        wide = max(len(found.name) for found in self.layers)
        head = ("rate", "never", "always", "locked", "near theta", "error")
        lines = [f"loss of a sample {self.loss:.4g}", f"{'':{wide}}{''.join(f'{name:>11}' for name in head)}"]
        for found in self.layers:
            shares = (found.never, found.always, found.locked, found.within)
            numbers = "".join(f"{share:>11.1%}" for share in shares)
            lines.append(f"{found.name:{wide}}{found.rate:>8.3g} Hz{numbers}{self.error(found.layer):>11.3g}")
        if self.first_step is not None:
            step, moves = self.first_step, self.first_step.moves
            most = max(moves, key=lambda address: moves[address])
            lines.append(
                f"first step: potentials change by {moves[most]:.2g} theta at most (layer {most}; root mean square; "
                f"without warm-up {max(step.full.values()):.2g}), the loss of a sample from {step.loss:.4g} to "
                f"{step.loss_after:.4g}{', and the output falls silent' if step.silent else ''}"
            )
        if not self.advice and not self.hints:
            lines.append("advice: nothing to change")
        lines += [*(f"hint: {each}" for each in self.hints), *(f"advice: {each}" for each in self.advice)]
        if any(each.setting in SCALES for each in self.advice):
            lines.append("cs.calibrate(net, loader) sets the scales of all layers at once")
        return "\n".join(lines)

    def plot(self, axes: Sequence[Any] | None = None) -> list[Any]:
        """Draw the shares of never firing, always firing and locked neurons, the histogram of u, and the errors.

        Args:
            axes: three matplotlib axes, in that order; by default of a new figure.

        Returns:
            The axes.

        Raises:
            ValueError: axes are not three.
        """
        axes = axes_grid(axes, "three", (11.0, 3.4), 1, 3)
        shares, potentials, errors = axes
        at, colors = np.arange(len(self.layers)), palette(shares)
        for aside, name, shade in zip((-0.27, 0.0, 0.27), ("never", "always", "locked"), colors.series(3), strict=True):
            shares.bar(at + aside, [getattr(found, name) for found in self.layers], width=0.25, color=shade, label=name)
        shares.set_ylim(0, 1.02)
        percent_axis(shares.yaxis, "neurons")
        for found, shade in zip(self.layers, colors.series(len(self.layers)), strict=True):
            density = found.histogram / np.diff(EDGES)
            potentials.stairs(density, EDGES, color=shade, linewidth=1.4, label=f"layer {found.layer}")
        middle = np.linspace(EDGES[0], EDGES[-1], 241)
        potentials.plot(middle, np.exp(-abs(middle)), color=colors.faint, linestyle="--", label="surrogate")
        label = {"xlabel": "u - theta, in widths of the surrogate", "ylabel": "density (1 / width)"}
        potentials.set(**label, xlim=(EDGES[0], EDGES[-1]))
        sizes = [self.error(found.layer) for found in self.layers]
        errors.plot(at, sizes, color=colors.ink, marker="o", markersize=4, linewidth=1.4, label="error")
        errors.set(ylabel="error, over that of the last layer", yscale="log" if all(s > 0 for s in sizes) else "linear")
        for ax in (shares, errors):
            ax.set_xticks(at, [str(found.layer) for found in self.layers])
            ax.set_xlabel("layer")
        return [open_frame(ax, legend=ax is not errors) for ax in axes]


def _of(figure: Any, values: Array) -> float:
    """Return a figure of values, such as their mean; 0 without any."""
    return float(figure(values)) if values.size else 0.0


class _Measured(NamedTuple):
    """What batches show of a network; `mixed` is the loss per sample if each sample had the output of another one."""

    layers: tuple[LayerHealth, ...]
    loss: float
    mixed: float
    fires: bool

    @property
    def learned(self) -> bool:
        """Whether the output of a sample fits its target better than that of others: the network has learned."""
        return self.mixed - self.loss > 0.3 * abs(self.mixed)

    @property
    def badness(self) -> int:
        return sum(_BADNESS[layer.fault] for layer in self.layers)

    def accepts(self, loss: float) -> bool:
        """Return whether a loss after a change is not much higher than the one before."""
        most = 0.02 * abs(self.loss) if self.learned else 0.5 * max(abs(self.loss), abs(self.mixed))
        return loss - self.loss <= most


class _Seen:
    """What batches show of neurons: how often they fired, their potentials from input alone, and errors."""

    def __init__(self, neurons: Neuron) -> None:
        self.neurons, self.square = neurons, 0.0
        # Of each batch: steps, spikes and steps over the threshold of each neuron, the largest potentials from input
        # alone, distances of potentials from the threshold, and whether there is any input.
        self.batches = list[tuple[Any, ...]]()

    def count(self, x: Tensor, spikes: Tensor, u: Array | None) -> None:
        """Add a batch: the weighted input x, the spikes, and the potentials u if they are known."""
        neurons, s = self.neurons, to_numpy(spikes.data)
        away = np.zeros(0) if u is None else (_sampled(u) - neurons.theta) / float(neurons.width)
        with no_grad():
            alone = to_numpy(neurons.psp(x.detach()).data)
        over, peaks = alone >= neurons.theta / neurons.peak, alone.max(axis=0, initial=0.0).ravel() * neurons.peak
        counts = s.sum(axis=(0, 1)), over.sum(axis=(0, 1))
        self.batches.append((s.shape[0] * s.shape[1], *counts, peaks, away, bool(x.data.any())))

    def count_error(self, g: Array) -> None:
        self.square += float(np.sum(np.square(to_numpy(g), dtype=np.float64)))

    def health(self, unit: Unit, output: bool, desired: float | None) -> LayerHealth:
        neurons, (steps, counts, over, peaks, away, driven) = self.neurons, zip(*self.batches, strict=True)
        total, width, fired = max(sum(steps), 1), float(neurons.width), sum(counts)
        distances, peak = np.concatenate(away), np.concatenate(peaks)
        histogram, _ = np.histogram(distances.clip(EDGES[0], EDGES[-1]), EDGES)
        return LayerHealth(
            layer=unit.address,
            name=unit.name,
            theta=float(neurons.theta),
            width=width,
            rates=fired * (1000.0 / (total * neurons.dt)),
            never=_of(np.mean, fired == 0),
            always=_of(np.mean, fired >= 0.9 * (total / neurons.period)),
            locked=_of(np.mean, sum(over) >= 0.5 * total),
            within=_of(np.mean, abs(distances) <= 1.0),
            histogram=histogram / max(distances.size, 1),
            distance=_of(np.median, abs(distances)) * width,
            peak=_of(np.median, peak[peak > 0]),
            error=math.sqrt(self.square),
            most=neurons.highest_rate,
            output=output,
            desired=desired,
            driven=any(driven),
        )


def _sampled(u: Array) -> Array:
    """Return a copy of every n-th potential, with n coprime to the row length so that all neurons are sampled."""
    stride, row = max(1, math.ceil(u.size / _MOST)), max(math.prod(u.shape[1:]), 1)
    while math.gcd(stride, row) > 1:
        stride += 1
    return to_numpy(u.reshape(-1)[::stride]).astype(np.float64)


def _measure(net: Any, batches: Batches, loss: Any) -> _Measured:
    """Run batches (x, target) forward and backward; the network and its gradients do not change."""
    graph = graph_of(net)
    seen = {u.last.number: (u, _Seen(u.model)) for u in units(graph) if u.model is not None}
    value, mixed, samples, fires, desired = 0.0, 0.0, 0, False, None
    for x, target in batches:
        with eval_mode(net):
            with no_grad(active=False):
                # An input that requires a gradient makes every layer receive one.
                steps = Walk(graph, Tensor(as_tensor(x).data, requires_grad=True))
                for at in steps:
                    if at.number in seen:
                        _, layer = seen[at.number]
                        at.inputs = (on_gradient(at.inputs[0], callback=layer.count_error),)
                        layer.count(at.inputs[0], at.output, at.potentials)
                y = steps.output
                error = loss or default_loss(net, y, target)
                found = error(y, target)
            with no_grad():
                mixed += max(error(Tensor(other), target).item() for other in _others(y.data))
            gradients(found)
        desired = None if y.ndim < 3 else desired_rate(error, target, y.shape[-1], len(y))
        value, samples, fires = value + found.item(), samples + y.shape[1], fires or bool(to_numpy(y.stored.any()))
    last = output_neurons(graph)
    layers = (each.health(u, n in last, desired if n in last else None) for n, (u, each) in seen.items())
    return _Measured(tuple(layers), value / max(samples, 1), mixed / max(samples, 1), fires)


def _others(y: Array) -> Iterator[Array]:
    """Yield outputs (T, N, ...) with those of other samples: of the next one, and of the one half a batch away."""
    for shift in {min(1, y.shape[1]), y.shape[1] // 2}:
        yield namespace(y).concatenate([y[:, shift:], y[:, :shift]], axis=1)


def _hints(found: _Measured, advised: Collection[Any], silent_input: bool) -> tuple[str, ...]:
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


def _scale_advice(net: Any, batches: Batches, loss: Any, before: _Measured) -> list[Advice]:
    """Return new scales for layers before neurons that are silent or saturated or whose rate is out of range.

    On a copy of the network, layer after layer, the weights before such neurons are scaled as `calibrate` does, and the
    batches are run again. A layer from neurons to themselves keeps its scale: an advice is the setting of one layer.
    The loss of a silent network, or of one whose errors vanish, says nothing, since it cannot fall.
    """
    neurons = {u.last.number: u for u in units(net) if u.neurons is not None}
    layers = dict(zip(neurons, before.layers, strict=True))
    wanted = {number: _wanted(layer) for number, layer in layers.items()}
    fine = {number: layer.accepted for number, layer in layers.items() if layer.fault != "saturated"}
    stuck, found = not before.layers[0].error or before.layers[-1].silent, list[Advice]()
    for _ in range(_SCALE_HALVINGS + 1 if before.badness else 0):
        with copied(net) as (twin,):
            own = {id(as_neuron(node.stage).own_layer) for node in graph_of(twin).nodes if is_neuron(node.stage)}
            run = Run(dict(wanted), own, fine)
            with eval_mode(twin), no_grad():
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
    """Return the rate in Hz at which a layer is to fire."""
    if layer.desired is None:
        return min(50.0, 0.25 * layer.most)
    return min(max(layer.desired, _LEAST_DESIRED), 0.9 * layer.most)


def _scales(net: Any, twin: Any, run: Run, neurons: dict[int, Unit], layers: dict[int, LayerHealth]) -> list[Advice]:
    """Return the changes that a run made to a copy as advice for the network."""
    rates, found = {row.layer: row for row in run.rows}, list[Advice]()
    same = {id(mine.stage): node for mine, node in zip(graph_of(twin).nodes, graph_of(net).nodes, strict=True)}
    for number, (scaled, factor) in run.scaled.items():
        if 0.8 <= factor <= 1 / 0.8:  # not worth advice
            continue
        unit, row = neurons[number], rates[neurons[number].address]
        reason = f"{_fault(layers[number], row.before)}; with this value at {row.rate:.3g} Hz"
        for node in (same[id(layer)] for layer in scaled):
            layer, name, setting, now = node.stage, unit.name, "scale", 1.0
            if isinstance(layer, Windowed):
                setting, now = "gain", layer.gain
            elif isinstance(layer, Synapse):
                setting, now = "weight_scale", _weight_scale(layer)
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
    when = "the neurons fire" if layer.fault else "with the changes before them the neurons would fire"
    return f"{when} at {now:.3g} Hz, which is not within {low:.3g} to {high:.3g} Hz"


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


def _surrogate_advice(net: Any, batches: Batches, loss: Any, before: _Measured) -> list[Advice]:
    """Return wider surrogates for layers far from the threshold; if there are none, another height for all."""
    if before.learned:
        return []
    found = list[Advice]()
    for seen in before.layers:
        narrow, away = seen.width < 0.5 * abs(seen.theta) and not seen.fault, seen.distance / seen.width
        if narrow and away > 3.0 and hasattr(net[seen.layer], "tau_rho"):
            now, height = net[seen.layer].tau_rho, math.exp(-away)
            reason = (
                f"in the median u is {seen.distance:.3g} from theta, {away:.3g} widths of the surrogate, which has "
                f"fallen to {height:.1g} of its height there and lets no error pass"
            )
            found.append(Advice(seen.layer, seen.name, "tau_rho", now, _rounded(now * away), reason))
    first, last = before.layers[0], before.layers[-1]
    share = first.error / last.error if last.error else 0.0
    lost = found or not share or any(layer.silent for layer in before.layers)
    if not lost and not 0.01 <= share <= 1000.0 and hasattr(net[first.layer], "scale_rho"):
        now, word = net[first.layer].scale_rho, "vanishes" if share < 1 else "explodes"
        reason = (
            f"the error {word} on its way back: here it is {share:.2g} times that of the last layer, and scale_rho "
            "multiplies it in each layer"
        )
        value = _rounded(now * share ** (-1 / (len(before.layers) - 1)))
        found.append(Advice(first.layer, first.name, "scale_rho", now, value, reason))
    return found


class _Steps:
    """Simulates steps of an optimizer for a batch, always from the present weights and the present state.

    Neither the network nor the optimizer changes, nor do their gradients.
    """

    def __init__(self, net: Any, optimizer: Optimizer, batch: tuple[Any, Any], loss: Any) -> None:
        self.net, self.optimizer, self.batch, self.loss = net, optimizer, batch, loss
        self.before = _measure(net, [batch], loss)
        self.warmup = max((group.option("warmup") for group in optimizer.groups), default=0)
        with copied(net, optimizer) as (twin, own):
            twin.train(False)
            with no_grad(active=False):
                y = twin(as_tensor(batch[0]))
                error = (loss or default_loss(net, y, batch[1]))(y, batch[1])
            self.gradients: list[Array | None] = gradients(error, own.parameters)

    @contextmanager
    def _taken(self, factor: float = 1.0, *, steps: int = 1, warm: bool = True, only: Any = None) -> Iterator[Any]:
        """Give a copy of the network after steps with one gradient, at learning rates times a factor.

        Only the parameters with the numbers `only` change, None for all; `warm` is whether there is a warm-up.
        """
        with copied(self.net, self.optimizer) as (twin, optimizer):
            optimizer.warmup = optimizer.warmup if warm else 0
            optimizer.schedule = _scaled(optimizer.schedule, factor)
            for options in (group.options for group in optimizer.groups):
                if not warm:
                    options.pop("warmup", None)
                if "lr" in options:
                    options["lr"] = _scaled(options["lr"], factor)
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
                        old, new = zip(*at.inputs, strict=True)
                        at.output = at.node(*old), twins[at.number](*new)
                        continue
                    neuron, (old, new) = at.neurons, at.inputs[0]
                    change = to_numpy(neuron.psp(Tensor(new.data - old.data)).data).astype(np.float64)
                    size = math.sqrt(_of(np.mean, np.square(change))) * neuron.peak
                    found[at.address] = size / (abs(neuron.theta) or 1.0) / steps
                    at.output = (at.node(old),) * 2
        return found

    def after(self, factor: float = 1.0, **how: Any) -> _Measured:
        """Return what the batch shows of the network after a step."""
        with self._taken(factor, **how) as twin:
            return _measure(twin, [self.batch], self.loss)

    def first(self) -> FirstStep:
        """Return what the first step does, as the optimizer takes it."""
        after, full = self.after(), self.moves(steps=_STEPS, warm=False)
        return FirstStep(self.moves(), full, self.before.loss, after.loss, self.before.fires and not after.fires)

    def advice(self, before: _Measured) -> list[Advice]:
        """Return other learning rates, of the optimizer and of groups with their own; `health` has the rules."""
        first, of = 0, dict[int | None, set[int]]({None: set()})
        for number, group in enumerate(self.optimizer.groups):
            numbers = range(first, first + len(group.params))
            first = numbers.stop
            of.setdefault(number if "lr" in group.options else None, set()).update(numbers)
        return [each for group, numbers in of.items() for each in self._rate(before, numbers, group)]

    def _rate(self, before: _Measured, numbers: set[int], group: int | None) -> list[Advice]:
        """Return another learning rate for the parameters with these numbers, those of a group or of the optimizer."""
        owner = self.optimizer if group is None else self.optimizer.groups[group]
        moves = self.moves(steps=_STEPS, only=numbers, warm=False) if owner.lr else {}
        most = max(moves.values(), default=0.0)
        if not most or not math.isfinite(most):
            return []
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
            return []
        factor = min(aim / most, 0.5) if problem else aim / most
        reason = (
            f"a step changes the potentials after layer {max(moves, key=lambda address: moves[address])} by {most:.2g} "
            f"theta (root mean square), {problem or f'under {_LEAST_MOVE:g} theta in each layer'}; with this value by "
            f"{most * factor:.2g} theta"
        )
        name = "optimizer" if group is None else f"group {group} of the optimizer"
        return [Advice(group, name, "lr", owner.lr, _rounded(owner.lr * factor), reason)]


def _scaled(schedule: Any, factor: float) -> Any:
    return lambda epoch: factor * schedule(epoch)
