"""The data of a report: the network's connections, its input and its spikes.

The page computes potentials, errors and explanations of a neuron on demand (model.js): a potential is a sum over input
spikes, and the error on a neuron's spikes a sum over the neurons behind it. Weights, spikes and the errors on the last
spikes are enough for that. Neurons behind a stage that the page does not know come with their potentials, and neurons
before such a stage with their errors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.forward import default_loss, run_stages
from cuslayer.inspection.report.connections import Connection, Shape, describe_connections
from cuslayer.inspection.report.encode import block, by_neuron, rows
from cuslayer.inspection.structure import dt_at, eval_mode, layer_name, units
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad


class NeuronLayer(NamedTuple):
    """Neurons and the connections from the neurons before them.

    Attributes:
        at: the position of the neurons.
        name: the name of the layer.
        neurons: the neurons.
        connections: one per stage between the two layers of neurons; None if the page does not know a stage.
    """

    at: int
    name: str
    neurons: Any
    connections: list[Connection] | None

    @property
    def computed_by_page(self) -> bool:
        """Whether the page computes the potentials and errors of the neurons itself."""
        return self.connections is not None and self.neurons.one_pass is not None


class ForwardPass:
    """A forward pass through a network, stage by stage: the shapes, and the spikes and potentials of its neurons."""

    def __init__(self, net: Any, data: Array) -> None:
        self.net, self.data = net, data
        self.shapes: list[Shape] = [tuple(data.shape[2:])]
        self.spikes: dict[int, Array] = {}
        self.potentials: dict[int, Array] = {}
        with eval_mode(net), no_grad():
            run_stages(net.layers, Tensor(data), self._after)

    def _after(self, at: int, y: Tensor, u: Array | None) -> Tensor:
        self.shapes.append(y.shape[2:])
        if is_neuron(self.net.layers[at]):
            steps, samples = self.data.shape[:2]
            if y.shape[:2] != (steps, samples):
                expected = f"the input's {steps} steps and {samples} samples, got shape {y.shape}"
                raise ValueError(f"report: layer {at} must keep {expected}")
            self.spikes[at] = to_numpy(y.data)
            if u is not None:
                self.potentials[at] = to_numpy(u)
        return y

    def layers(self) -> list[NeuronLayer]:
        """Return the layers of neurons in order."""
        found: list[NeuronLayer] = []
        for unit in units(self.net):
            if unit.neurons is not None:
                start, end = found[-1].at + 1 if found else 0, unit.neurons
                connections = describe_connections(self.net.layers[start:end], self.shapes[start : end + 1])
                neurons = as_neuron("report", self.net.layers[end])
                found.append(NeuronLayer(end, layer_name(self.net, unit), neurons, connections))
        return found

    def errors(self, wanted: list[int], target: Any, loss: Any) -> tuple[float, dict[int, Array]]:
        """Return the loss, and the errors (T, N, ...) on the spikes at the wanted positions, in order."""
        found: dict[int, Array] = {}
        # Stages before the first position need no gradient.
        y = Tensor(self.spikes[wanted[0]], requires_grad=True)
        with eval_mode(self.net), no_grad(active=False):
            for at in range(wanted[0], len(self.net.layers)):
                if at > wanted[0]:
                    y = as_tensor(self.net.layers[at](y))
                if at in wanted:
                    y = on_gradient(y, callback=lambda g, at=at: found.update({at: to_numpy(g)}))
            value = (loss or default_loss(self.net, y, target))(y, target)
        value.backward()
        return value.item(), found


def contents(net: Any, data: Array, target: Any, loss: Any) -> dict[str, Any]:
    """Return the data of the page for a network and its input (T, N, ...), as JSON values; see `report`."""
    forward = ForwardPass(net, data)
    layers = forward.layers()
    if not layers:
        raise ValueError("report: net must have neurons, whose spikes could be shown")
    value, errors = None, dict[int, Array]()
    if target is not None:
        # The page computes the errors of a layer from the next one where it can.
        following = [*(layer.computed_by_page for layer in layers[1:]), False]
        wanted = [layer.at for layer, computed in zip(layers, following, strict=True) if not computed]
        value, errors = forward.errors(wanted, target, loss)
    samples = range(data.shape[1])
    x = to_numpy(data)
    first = {"name": "input", "shape": forward.shapes[0], "spikes": [by_neuron(x[:, n]) for n in samples]}
    entries = []
    for layer in layers:
        g = errors.get(layer.at)
        u = None if layer.computed_by_page else forward.potentials.get(layer.at)
        entries.append(
            {
                "name": layer.name,
                "shape": forward.shapes[layer.at],
                "connections": layer.connections,
                "neurons": neuron_constants(layer.neurons),
                "spikes": [by_neuron(forward.spikes[layer.at][:, n]) for n in samples],
                "errors": None if g is None else [rows(g[:, n]) for n in samples],
                "potentials": None if u is None else [rows(u[:, n]) for n in samples],
            }
        )
    return {"steps": len(data), "dt": dt_at(net, 0), "loss": value, "layers": [first, *entries]}


def neuron_constants(neurons: Any) -> dict[str, Any]:
    """Return the constants of neurons; for neurons other than SRM only the threshold."""
    found = {"theta": float(neurons.theta)}
    if neurons.one_pass is None:
        return found
    spiking = neurons.one_pass.spiking
    return found | {
        "response": block(neurons.response, "f8"),
        "refractory": block(neurons.refractory, "f8"),
        "height": spiking.height,
        "width": spiking.width,
        "exact": neurons.one_pass.exact,
    }
