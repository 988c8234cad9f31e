"""The data of a report: the network's connections, its input and its spikes.

The page computes potentials, errors and explanations of a neuron on demand (model.js): a potential is a sum over input
spikes, and the error on a neuron's spikes a sum over the neurons after it. Weights, spikes and the errors on the last
spikes are enough for that. Neurons after a stage that the page does not know come with their potentials, and neurons
before such a stage with their errors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.forward import default_loss, run_nodes
from cuslayer.inspection.report.connections import Feed, describe_feed
from cuslayer.inspection.report.encode import block, by_neuron, rows
from cuslayer.inspection.structure import dt_at, eval_mode, layer_name, units
from cuslayer.layers.base import Shape
from cuslayer.network.container import graph_of
from cuslayer.network.graph import INPUT, Node, feeds
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.tape import Tensor, gradients, no_grad


class NeuronLayer(NamedTuple):
    """Neurons and the connections from the neurons before them.

    Attributes:
        number: the number of the neurons' node.
        name: the name of the layer.
        neurons: the neurons.
        sources: the numbers of the nodes of neurons that feed them through other stages, and INPUT for the input.
        feed: what `describe_feed` returns; None if the page does not know a stage.
    """

    number: int
    name: str
    neurons: Any
    sources: set[int]
    feed: Feed | None

    @property
    def computed_by_page(self) -> bool:
        """Whether the page computes the potentials and errors of the neurons itself."""
        return self.feed is not None and self.neurons.one_pass is not None


class ForwardPass:
    """A forward pass through a network, stage by stage: the shapes, and the spikes and potentials of its neurons."""

    def __init__(self, net: Any, data: Array) -> None:
        self.net, self.data, self.graph = net, data, graph_of(net)
        self.shapes: dict[int, Shape] = {INPUT: tuple(data.shape[2:])}
        self.spikes: dict[int, Array] = {}
        self.potentials: dict[int, Array] = {}
        with eval_mode(net), no_grad():
            run_nodes(self.graph.nodes, self.graph.output, Tensor(data), self._after)

    def _after(self, node: Node, y: Tensor, u: Array | None) -> Tensor:
        self.shapes[node.number] = y.shape[2:]
        if is_neuron(node.stage):
            steps, samples = self.data.shape[:2]
            if y.shape[:2] != (steps, samples):
                expected = f"the input's {steps} steps and {samples} samples, got shape {y.shape}"
                raise ValueError(f"report: layer {node} must keep {expected}")
            self.spikes[node.number] = to_numpy(y.data)
            if u is not None:
                self.potentials[node.number] = to_numpy(u)
        return y

    def layers(self) -> list[NeuronLayer]:
        """Return the layers of neurons in order."""
        found: list[NeuronLayer] = []
        places = {INPUT: 0}
        for unit in units(self.net):
            if unit.neurons is not None:
                number, start = unit.neurons.number, unit.neurons.inputs[0]
                feed = describe_feed(self.graph.nodes, start, self.shapes, places)
                neurons = as_neuron("report", unit.neurons.stage)
                sources, _ = feeds(self.graph.nodes, [start])
                found.append(NeuronLayer(number, layer_name(unit), neurons, sources, feed))
                places[number] = len(found)
        return found

    def errors(self, wanted: set[int], target: Any, loss: Any) -> tuple[float, dict[int, Array]]:
        """Return the loss, and the errors (T, N, ...) on the spikes of the wanted neurons."""
        found: dict[int, Array] = {}

        def after(node: Node, y: Tensor, u: Array | None) -> Tensor:
            if node.number not in wanted:
                return y
            # Stages before the first wanted neurons need no gradient.
            y = y if y.requires_grad else Tensor(y.data, requires_grad=True)
            return on_gradient(y, callback=lambda g: found.update({node.number: to_numpy(g)}))

        with eval_mode(self.net), no_grad(active=False):
            y = run_nodes(self.graph.nodes, self.graph.output, Tensor(self.data), after)
            value = (loss or default_loss(self.net, y, target))(y, target)
        gradients(value)
        return value.item(), found


def contents(net: Any, data: Array, target: Any, loss: Any) -> dict[str, Any]:
    """Return the data of the page for a network and its input (T, N, ...), as JSON values; see `report`."""
    forward = ForwardPass(net, data)
    layers = forward.layers()
    if not layers:
        raise ValueError("report: net must have neurons, whose spikes could be shown")
    value, errors = None, dict[int, Array]()
    if target is not None:
        # The page computes the errors of a layer from those of the layers that it feeds, where it knows all of these.
        outputs, _ = feeds(forward.graph.nodes, [forward.graph.output])
        wanted = outputs.union(*(x.sources for x in layers if not x.computed_by_page))
        value, errors = forward.errors(wanted - {INPUT}, target, loss)
    samples = range(data.shape[1])
    x = to_numpy(data)
    first = {"name": "input", "shape": forward.shapes[INPUT], "spikes": [by_neuron(x[:, n]) for n in samples]}
    entries = []
    for place, layer in enumerate(layers):
        g = errors.get(layer.number)
        u = None if layer.computed_by_page else forward.potentials.get(layer.number)
        in_chain = layer.feed is not None and layer.feed.get("source") == place
        entries.append(
            {
                "name": layer.name,
                "shape": forward.shapes[layer.number],
                "connections": layer.feed["connections"] if layer.feed is not None and in_chain else None,
                "feed": None if in_chain else layer.feed,
                "neurons": neuron_constants(layer.neurons),
                "spikes": [by_neuron(forward.spikes[layer.number][:, n]) for n in samples],
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
