"""Advice on settings to change if the activity or the gradients of a network are out of range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.health.layer import LayerHealth
from cuslayer.inspection.structure import find_unit
from cuslayer.layers import Dense
from cuslayer.layers.base import Synapse
from cuslayer.layers.conv import Convolution
from cuslayer.network.graph import Address
from cuslayer.tape import no_grad

# A layer is silent if a larger share of its neurons never fires.
_NEVER = 0.8
# A layer is saturated if a larger share of its neurons is locked (with weights of both signs, about half of a layer
# has a negative input and cannot be), or if the median distance of its potentials from theta is larger.
_LOCKED, _BEYOND = 1 / 3, 5.0  # _BEYOND in thresholds
# The advised median peak of the potential from input alone, in thresholds.
_PEAK = 1.5
# The surrogate vanishes in a layer whose median distance from the threshold is larger, in widths.
_FAR = 3.0
# The largest accepted factor between the errors of the first and the last layer.
_FADED = 100.0


@dataclass(frozen=True)
class Advice:
    """A setting to change.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks.
        name: the name of the layer.
        setting: "weight_scale" of the layer before the neurons, or "tau_rho" or "scale_rho" of the neurons.
        now: the present value; for weight_scale, the one of uniform weights with the present root mean square.
        value: the advised value.
        reason: why to change it.
    """

    layer: Address
    name: str
    setting: str
    now: float
    value: float
    reason: str

    @property
    def change(self) -> str:
        """The change and its reason as text."""
        return f"{self.setting} {self.value:g} instead of {self.now:.3g}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.name}: {self.change}"


def advise(net: Any, layers: Sequence[LayerHealth]) -> list[Advice]:
    """Return settings to change, in the order of the layers.

    Activity comes before gradients: the errors of a silent layer, and of layers after one, carry no information.
    """
    found: list[Advice] = []
    for seen in layers:
        silent = seen.never > _NEVER
        saturated = seen.locked > _LOCKED or seen.distance > _BEYOND * seen.theta
        if silent or saturated:
            of_weights = _weights(net, seen, silent)
            if of_weights is not None:
                return [*found, of_weights]  # changing it changes the input of all later layers
        elif seen.distance > _FAR * seen.width and hasattr(net[seen.layer], "tau_rho"):
            found.append(_width(net, seen))
        if seen.silent:
            return found
    return found or _scale(net, layers)


def _weights(net: Any, seen: LayerHealth, silent: bool) -> Advice | None:
    """Return the weight_scale for a silent or saturated layer; None without weights or without input."""
    node = find_unit("health", net, seen.layer).layer
    layer = None if node is None else node.stage
    if not isinstance(layer, (Dense, Convolution)) or seen.peak <= 0:
        return None
    factor = _PEAK * seen.theta / seen.peak
    if (factor > 1) != silent:
        return None
    if silent:
        reason = f"{seen.never:.0%} of the neurons never fire"
    else:
        reason = (
            f"{seen.locked:.0%} of the neurons fire as often as refraction lets them, whatever comes in, and u is "
            f"{seen.distance:.3g} from theta in the median"
        )
    reason += f"; their input alone brings them to {seen.peak:.3g} in the median, theta is {seen.theta:g}"
    now = _weight_scale(layer)
    return Advice(seen.layer, seen.name, "weight_scale", now, _rounded(now * factor), reason)


def _weight_scale(layer: Synapse) -> float:
    """Return the weight_scale of uniform weights with the root mean square of the present ones."""
    with no_grad():
        weight: Array = to_numpy(layer.effective_weight().data)
    inputs = layer.fan_in() if isinstance(layer, Convolution) else len(weight)
    return math.sqrt(3.0 * inputs * float(np.mean(np.square(weight, dtype=np.float64))))


def _width(net: Any, seen: LayerHealth) -> Advice:
    away = seen.distance / seen.width
    reason = (
        f"in the median u is {seen.distance:.3g} from theta, {away:.3g} widths of the surrogate, which has fallen to "
        f"{math.exp(-away):.1g} of its height there and lets no error pass"
    )
    now = net[seen.layer].tau_rho
    return Advice(seen.layer, seen.name, "tau_rho", now, _rounded(seen.distance / seen.theta), reason)


def _scale(net: Any, layers: Sequence[LayerHealth]) -> list[Advice]:
    """Return the scale_rho that makes the errors of the first and the last layer equal."""
    first, last = layers[0], layers[-1]
    if not first.error or not last.error or 1 / _FADED <= first.error / last.error <= _FADED:
        return []
    if not hasattr(net[first.layer], "scale_rho"):  # neurons with a surrogate of their own
        return []
    share, between = first.error / last.error, len(layers) - 1
    reason = (
        f"the error {'vanishes' if share < 1 else 'explodes'} on its way back: here it is {share:.2g} times that of "
        "the last layer, and scale_rho multiplies it in each layer"
    )
    now = net[first.layer].scale_rho
    return [Advice(first.layer, first.name, "scale_rho", now, _rounded(now * share ** (-1 / between)), reason)]


def _rounded(value: float) -> float:
    """Return a number rounded to two digits, the accuracy of the advice."""
    return float(f"{value:.1e}")
