"""Calibrate the initial weights of a network before its first training step."""

from __future__ import annotations

from typing import Any

from cuslayer.inspection.calibration.compute import calibrate
from cuslayer.inspection.calibration.result import Calibration
from cuslayer.layers.base import Layer, Synapse
from cuslayer.layers.pool import Windowed
from cuslayer.network.container import graph_of
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.tape import no_grad

# The least rate of the output, Hz: a silent output has no gradient.
_LEAST = 5.0


def calibrate_initial(net: Any, batches: list[Any], rate: float, loss: Any) -> Calibration | None:
    """Scale the initial weights of a network; return None, and change nothing, if a weight is not as it was drawn.

    Layers with a weight_scale, a gain or parameters of their own, and frozen layers, are kept.

    Args:
        net: the network.
        batches: batches (x, target).
        rate: the mean firing rate of each layer, Hz.
        loss: the loss, whose `desired_rate`, if it has one, is the rate of the output.
    """
    nodes = graph_of(net).nodes
    layers = [layer for layer in net.layers_within() if isinstance(layer, Synapse)]
    if not layers or not all(layer.as_drawn for layer in layers):
        return None
    gains = {as_neuron("Trainer", node.stage).pool_gain for node in nodes if is_neuron(node.stage)}
    if not gains:
        return None
    stages = [node.stage for node in nodes if isinstance(node.stage, Layer) and node.stage.scalable]
    keep = [stage for stage in stages if not _usual(stage, gains)]
    return calibrate(net, batches, rate, output_rate=_output_rate(net, batches[0], loss), keep=keep)


def _usual(layer: Layer, gains: set[float]) -> bool:
    """Return whether a layer has the default scale or gain and is trained."""
    if isinstance(layer, Synapse):
        return layer.weight.requires_grad and not layer.own_scale
    return isinstance(layer, Windowed) and layer.gain in gains


def _output_rate(net: Any, batch: Any, loss: Any) -> float | None:
    """Return the mean rate in Hz that a loss asks for, if it says so."""
    if not hasattr(loss, "desired_rate"):
        return None
    x, target = batch
    with no_grad():
        outputs = net(x[:1, :1]).shape[-1]
    rate = loss.desired_rate(target, outputs, len(x))
    return None if rate is None else max(rate, _LEAST)
