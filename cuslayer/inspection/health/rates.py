"""Advice on the scales of weights and gains: the firing rates of the layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuslayer.backend import Array
from cuslayer.inspection.health.advice import Advice, rounded, weight_scale
from cuslayer.inspection.health.layer import LEAST_DESIRED, LayerHealth, LayerTally
from cuslayer.inspection.health.measure import Measured, measure
from cuslayer.inspection.structure import Unit, copied, eval_mode, layer_name, units
from cuslayer.layers.base import Layer, Synapse
from cuslayer.layers.pool import Windowed
from cuslayer.network.calibration import Run
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Node
from cuslayer.neurons.base import as_neuron
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor, as_tensor, no_grad

# The rate of hidden neurons, and of an output of which the loss desires none, Hz; at most this share of the highest.
_RATE, _SHARE = 50.0, 0.25
# An output of which the loss desires a rate gets at most this share of the highest.
_SHARE_DESIRED = 0.9
# Layers that are saturated even at the wanted rate get half of it, so many times.
_HALVINGS = 4
# Smaller factors than this one, or larger than its inverse, are worth advice.
_WORTH = 0.8


def scale_advice(net: Any, batches: Sequence[tuple[Any, Any]], loss: Any, before: Measured) -> list[Advice]:
    """Return new scales for layers before neurons that are silent or saturated or whose rate is out of range.

    On a copy of the network, layer after layer, the weights before such neurons are scaled as `calibrate` does, and the
    batches are run again. There is no advice unless faults are fewer or less bad then, errors do not vanish, and the
    loss is accepted.
    """
    if not before.faults:
        return []
    seen = {layer.layer: layer for layer in before.layers}
    of_neurons = {u.neurons.number: u for u in units(net) if u.neurons is not None}
    layers = {number: seen[unit.address] for number, unit in of_neurons.items()}
    wanted = {number: _wanted(layer) for number, layer in layers.items()}
    found: list[Advice] = []
    for _ in range(_HALVINGS + 1):
        with copied("health", net) as (twin,):
            run = _scaled(twin, as_tensor(batches[0][0]), wanted, layers)
            after = measure(twin, batches, loss)
            if _helps(before, after):
                found = _advice(net, twin, run, of_neurons, layers)
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
        tally = LayerTally(node.address, "", as_neuron("health", node.stage), output=self.before[node.number].output)
        tally.desired = self.before[node.number].desired
        found: list[Potentials] = []
        with on_potential(found.append):
            node(x)
        u: Array | None = found[0].values if found else None
        tally.count(x, spikes, u)
        return bool(x.data.size and tally.health().fault)


def _scaled(net: Any, x: Tensor, wanted: dict[int, float], layers: dict[int, LayerHealth]) -> _Rescale:
    """Scale layers of a network that are out of range."""
    run = _Rescale(dict(wanted), layers)
    with eval_mode(net), no_grad():
        run.scale(net, x)
    return run


def _wanted(layer: LayerHealth) -> float:
    """Return the rate in Hz at which a layer is to fire."""
    if layer.desired is None:
        return min(_RATE, _SHARE * layer.most)
    return min(max(layer.desired, LEAST_DESIRED), _SHARE_DESIRED * layer.most)


def _helps(before: Measured, after: Measured) -> bool:
    """Return whether a change helps: faults are fewer or less bad, errors do not vanish, the loss is accepted.

    The loss of a silent network, or of one whose errors vanish, says nothing, since it cannot fall.
    """
    if after.vanished and not before.vanished:
        return False
    stuck = before.vanished or before.layers[-1].silent
    return after.badness < before.badness and (stuck or before.accepts(after.loss))


def _advice(net: Any, twin: Any, run: Run, of_neurons: dict[int, Unit], layers: dict[int, LayerHealth]) -> list[Advice]:
    """Return the changes that a run made to a copy as advice for the network."""
    rates = {row.layer: row for row in run.rows}
    pairs = list(zip(graph_of(twin).nodes, graph_of(net).nodes, strict=True))
    found: list[Advice] = []
    for number, (scaled, factor) in run.scaled.items():
        if _WORTH <= factor <= 1 / _WORTH:
            continue
        unit, row = of_neurons[number], rates[of_neurons[number].address]
        reason = _reason(layers[number], row.before, row.rate)
        nodes = [next(node for same, node in pairs if same.stage is layer) for layer in scaled]
        found += [_change(unit, node, factor, reason) for node in nodes]
    return found


def _reason(layer: LayerHealth, now: float, then: float) -> str:
    """Return why a layer gets another scale, with its rate before and after, when the layers before it have theirs."""
    low, high = layer.accepted
    if layer.fault in ("silent", "slow"):
        why = f"{layer.never:.0%} of the neurons never fire, their mean rate is {layer.rate:.3g} Hz"
    elif layer.fault == "saturated":
        why = (
            f"{layer.locked:.0%} of the neurons fire as often as refraction lets them, whatever comes in; u is "
            f"{layer.distance:.3g} from theta in the median, and the largest potential from input alone "
            f"{layer.peak:.3g}; theta is {layer.theta:g}"
        )
    elif layer.fault == "fast":
        why = f"the neurons fire at {layer.rate:.3g} Hz, which is over {high:.3g} Hz"
    else:
        side = f"under {low:.3g} Hz" if now < low else f"over {high:.3g} Hz" if now > high else "saturated"
        why = f"with the changes before them the neurons would fire at {now:.3g} Hz, {side}"
    return f"{why}; with this value at {then:.3g} Hz"


def _change(unit: Unit, node: Node, factor: float, reason: str) -> Advice:
    """Return the advice to scale the layer at a node."""
    layer: Layer = node.stage
    setting, now = "scale", 1.0
    if isinstance(layer, Windowed):
        setting, now = "gain", layer.gain
    elif isinstance(layer, Synapse):
        setting, now = "weight_scale", weight_scale(layer)
    name = layer_name(unit)
    if unit.layer is None or unit.layer.stage is not layer:
        name = f"layer {node} ({layer!r}) before {name}"
    return Advice(unit.address, name, setting, now, rounded(now * factor), reason, at=node.address)
