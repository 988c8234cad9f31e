"""Calibrate the initial weights of a network before its first training step."""

from __future__ import annotations

import math
from typing import Any

from cuslayer.inspection.calibrate import Calibration, calibrate
from cuslayer.inspection.structure import eval_mode
from cuslayer.layers.base import Layer, Synapse
from cuslayer.layers.batch_norm import BatchNorm
from cuslayer.layers.pool import Windowed
from cuslayer.loss.base import desired_rate
from cuslayer.network.container import graph_of
from cuslayer.network.input import as_input
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.tape import Tensor, no_grad

# The least rate of the output, Hz: a silent output has no gradient.
_LEAST = 5.0
# The highest rate, as a share of the neurons': neurons that always fire have no gradient either.
_MOST = 0.5


def calibrate_initial(net: Any, batches: list[Any], rate: float, loss: Any) -> Calibration | None:
    """Scale the initial weights of a network; return None, and change nothing, if a weight is not as it was drawn.

    Batches of another shape than the first, such as longer recordings, are not used.
    Layers with a weight_scale or a gain of their own, layers of other classes than the library's, and frozen layers
    are kept. Rates are at most half of the highest of the neurons.

    Args:
        net: the network.
        batches: batches (x, target), at least one.
        rate: the mean firing rate of each layer, Hz.
        loss: the loss, whose `desired_rate`, if it has one, is the rate of the output.
    """
    nodes = graph_of(net).nodes
    layers = [layer for layer in net.layers_within() if isinstance(layer, Synapse)]
    if not layers or not all(layer.as_drawn for layer in layers):
        return None
    inputs = [as_input(x) for x, _ in batches]
    inputs = [x for x in inputs if (x.shape[0], x.shape[2:]) == (inputs[0].shape[0], inputs[0].shape[2:])]
    neurons = [as_neuron("Trainer", node.stage) for node in nodes if is_neuron(node.stage)]
    if not neurons or not any(x.size for x in inputs):
        return None
    gains = {neuron.pool_gain for neuron in neurons}
    most = _MOST * min(neuron.highest_rate for neuron in neurons)
    output_rate = _output_rate(net, inputs[0], batches[0][1], loss, rate)
    stages = [node.stage for node in nodes if isinstance(node.stage, Layer) and node.stage.scalable]
    keep = [stage for stage in stages if not _usual(stage, gains)]
    return calibrate(net, inputs, min(rate, most), output_rate=min(output_rate, most), keep=keep)


def _usual(layer: Layer, gains: set[float]) -> bool:
    """Return whether a layer has the default scale or gain and is trained."""
    if isinstance(layer, Synapse):
        return layer.weight.requires_grad and not layer.own_scale
    return isinstance(layer, BatchNorm) or (
        isinstance(layer, Windowed) and any(math.isclose(layer.gain, gain) for gain in gains)
    )


def _output_rate(net: Any, x: Tensor, target: Any, loss: Any, rate: float) -> float:
    """Return the mean rate in Hz that a loss asks for; `rate` if it asks for none."""
    with eval_mode(net), no_grad():
        outputs = net(x[:1, :1]).shape[-1]
    desired = desired_rate(loss, target, outputs, x.shape[0])
    return rate if desired is None else max(desired, _LEAST)
