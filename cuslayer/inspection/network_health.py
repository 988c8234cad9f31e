"""The result of `diagnose`: figures of each layer, the first step of an optimizer, and advice, which it applies."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.network.graph import Address
from cuslayer.network.network import Sequential, replace_stage
from cuslayer.network.walk import check_network
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.optim import Optimizer
from cuslayer.optim.optimizers import ByStep, Constant
from cuslayer.plot.style import axes_grid, open_frame, palette, percent_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cuslayer.network.network import Container

# The settings of layers, which scale their output.
SCALES = ("weight_scale", "gain", "scale")
# The edges of the histogram of u - theta, in widths of the surrogate.
EDGES = np.linspace(-6.0, 6.0, 49)
# How bad a fault is: a slow layer is better than a saturated one, a silent layer is worst.
_BADNESS = {"": 0, "slow": 1, "fast": 1, "saturated": 2, "silent": 3}
# The least rate in Hz of an output, whatever the loss desires.
LEAST_DESIRED = 5.0


@dataclass(frozen=True)
class LayerHealth:
    """Activity and errors of a layer and its neurons.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks.
        name: the name of the layer.
        theta: the threshold.
        gap: the distance from the potential without input to the threshold, which is theta if that potential is 0.
        width: the width of the surrogate, ``tau_rho theta``.
        rates: the firing rate of each neuron in Hz, in the shape of the layer.
        never: the share of neurons that never fired.
        always: the share of neurons that fired in at least 90 % of the steps in which they can, one in `period`.
        locked: the share of neurons locked in refraction, which fire as often as it allows: their input alone would
            keep the potential above the threshold at least half of the time.
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
        driven: whether any of their weighted inputs is not 0.
    """

    layer: Address
    name: str
    theta: float
    gap: float
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
        return float(np.mean(self.rates)) if self.rates.size else 0.0

    @property
    def silent(self) -> bool:
        """Whether no neuron fired."""
        return not self.rates.any()

    @property
    def accepted(self) -> tuple[float, float]:
        """The lowest and the highest accepted mean rate, Hz.

        For hidden neurons 5 and 200 Hz. For the output a fifth and five times the rate that the loss desires, which
        counts as at least 5 Hz; without a desired rate, any rate above 0. The lowest rate is at most 5 % of the highest
        that the neurons can have. The highest is at most 60 % of it, unless the loss desires more.
        """
        low, high, aim = 5.0, 200.0, 0.0
        if self.output:
            aim = 0.0 if self.desired is None else max(self.desired, LEAST_DESIRED)
            low, high = aim / 5.0, aim * 5.0 or math.inf
        return min(low, 0.05 * self.most), min(high, max(0.6 * self.most, aim))

    @property
    def fault(self) -> str:
        """The fault of a layer: "silent", "slow", "fast" or "saturated"; empty if there is none.

        Neurons are saturated if the median distance of potentials from the threshold is over 5 times the `gap`, or the
        median of the largest potentials from input alone over 20 times. Without a desired rate, they also are if more
        than a third is locked in refraction.
        """
        low, high = self.accepted
        if not self.rates.size:
            return ""
        if self.silent or self.rate < low:
            return "silent" if self.silent else "slow"
        # With weights of both signs, about half of a layer has a negative input and cannot be locked. An output that
        # should fire often is above the threshold most of the time.
        locked = self.locked > 1 / 3 and self.desired is None
        gap = abs(self.gap)
        if locked or self.distance > 5.0 * gap or self.peak > 20.0 * gap:
            return "saturated"
        return "fast" if self.rate > high else ""


class FirstStep(NamedTuple):
    """The effect of one step of an optimizer on a batch.

    Attributes:
        moves: for each layer of neurons, by address, the root mean square change of the potentials from input alone by
            the new weights before it, in thresholds; at the first step's rate.
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

    - ``weight_scale`` of a layer with weights, which `apply` multiplies by ``value / now``. `now` is the weight_scale
      of uniform weights with the present root mean square. A new layer gets it as an argument.
    - ``gain`` of a pooling layer.
    - ``scale`` of any other layer with one parameter, which `apply` multiplies by `value`.
    - ``tau_rho`` and ``scale_rho`` of the neurons of a layer.
    - ``lr`` of the optimizer or of a group with its own rate.
    - ``center`` of a `BatchNorm`: `apply` puts one with ``center=False`` in its place, which keeps the trained gain.
    - ``BatchNorm``, a layer to leave out: `apply` puts an empty `Sequential` in its place.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks; for lr the number
            of the optimizer's group, None for the optimizer itself.
        name: the name of the layer, or the optimizer.
        setting: one of the names above.
        now: the present value.
        value: the advised value.
        reason: why to change it.
        at: the address of the layer whose weights or gain to scale, or of the `BatchNorm`; for other settings None.
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
        if self.setting == "BatchNorm":
            return f"leave BatchNorm out: {self.reason}"
        if self.setting == "center":
            return f"BatchNorm with center=False: {self.reason}"
        return f"{self.setting} {self.value:g} instead of {self.now:.3g}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.name}: {self.change}"

    @check.operation
    def apply(self, net: Container, optimizer: object = None) -> None:
        """Change the setting.

        Weights and gains change in place. Neurons with the new value replace the old ones, in this network only.
        ``value / now`` multiplies a schedule of the learning rate.

        Args:
            net: the network given to `diagnose`, or one with the same layers.
            optimizer: its optimizer; only lr needs it.

        Raises:
            TypeError: net is not a network, or the advice is of lr and optimizer is not an optimizer.
        """
        check_network(net)
        if self.setting in SCALES:
            stage = net[self.at]
            among = as_neuron(stage).own_layer if is_neuron(stage) else None
            (stage if among is None else among).scale_output(self.value / self.now)
        elif self.setting == "BatchNorm":
            replace_stage(net, self.at, Sequential())  # type: ignore[arg-type]
        elif self.setting == "center":
            replace_stage(net, self.at, net[self.at].uncentered())  # type: ignore[arg-type]
        elif self.setting == "lr":
            if not isinstance(optimizer, Optimizer):
                raise TypeError(f"lr needs the optimizer, got {type(optimizer).__name__}; pass apply(net, optimizer)")
            group = None if self.layer is None else optimizer.groups[self.layer]  # type: ignore[index]
            schedule = optimizer.schedule if group is None else group.options["lr"]
            constant = isinstance(schedule, Constant) or not self.now
            (group or optimizer).lr = self.value if constant else scaled_by(schedule, self.value / self.now)
        else:
            neuron = _with(net[self.layer], self.setting, self.value)
            replace_stage(net, self.layer, neuron)  # type: ignore[arg-type]


def _with(neuron: object, setting: str, value: float) -> object:
    """Return neurons with another value of a setting."""
    if is_dataclass(neuron) and setting in {field.name for field in fields(neuron)}:
        return replace(neuron, **{setting: value})  # type: ignore[type-var]
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
        first_step: the effect of the optimizer's first step; None without one.
        hints: other faults, without advice: an input of 0, layers that never fire or get no error.
        mixed: the mean loss per sample if each sample had another one's output.
        fires: whether the output has a spike.
    """

    layers: tuple[LayerHealth, ...]
    advice: tuple[Advice, ...]
    loss: float
    first_step: FirstStep | None = None
    hints: tuple[str, ...] = ()
    mixed: float = 0.0
    fires: bool = True

    @property
    def learned(self) -> bool:
        """Whether outputs fit the target of their own sample better than others': the network has learned."""
        return self.mixed - self.loss > 0.3 * abs(self.mixed)

    @property
    def badness(self) -> int:
        """The badness of all layers' faults together."""
        return sum(_BADNESS[layer.fault] for layer in self.layers)

    def accepts(self, loss: float) -> bool:
        """Return whether a loss after a change is not much higher than before."""
        most = 0.02 * abs(self.loss) if self.learned else 0.5 * max(abs(self.loss), abs(self.mixed))
        return loss - self.loss <= most

    @check.operation("diagnose")
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

    def apply(self, net: Container, optimizer: object = None) -> None:
        """Follow all advice: change each setting, see `Advice.apply`.

        >>> import numpy as np
        >>> from cuslayer import SRM, Dense, Sequential, diagnose
        >>> x = np.random.default_rng(0).random((100, 4, 20)) < 0.1
        >>> net = Sequential(Dense(20, 8, weight_scale=0.1), SRM(), Dense(8, 2, weight_scale=20), SRM())
        >>> diagnose(net, [(x, [0, 1, 0, 1])]).apply(net)
        >>> diagnose(net, [(x, [0, 1, 0, 1])]).advice
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
        return "\n".join(lines)

    def plot(self, axes: Sequence[Axes] | None = None) -> list[Any]:
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


def scaled_by(schedule: Callable[[int], float], factor: float) -> Callable[[int], float]:
    """Return a schedule times a factor."""
    if isinstance(schedule, ByStep):
        return ByStep(scaled_by(schedule.rate, factor))
    return lambda epoch: factor * schedule(epoch)
