"""What a report carries: the network, what it was given, and the spikes that it answered with.

Potentials, errors and explanations are not carried: the page computes them, of the neuron that is asked for. A
potential is a sum over the spikes that come in, and the error of a neuron's spikes a sum over the neurons that see it,
so that weights, spikes and the errors of the last spikes are enough. What lies behind a stage that the page does not
know brings its potentials along, and what lies before it its errors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.forward import default_loss, run_stages
from cuslayer.inspection.report.connections import Shape, Wire, wired
from cuslayer.inspection.report.encode import block, by_neuron, rows
from cuslayer.inspection.structure import dt_at, eval_mode, layer_name, units
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import as_neuron, is_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad


class Layer(NamedTuple):
    """Neurons, and what lies between those before and them.

    Attributes:
        at: their position.
        name: what they are called.
        neurons: their constants.
        wires: what the page needs to follow an input to them; None where it could not.
    """

    at: int
    name: str
    neurons: Any
    wires: list[Wire] | None

    @property
    def followed(self) -> bool:
        """Whether the page computes what they had by itself."""
        return self.wires is not None and self.neurons.one_pass is not None


class Pass:
    """A network's way forward, stage by stage: the shapes, and what its neurons had."""

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
                kept = f"the input's {steps} steps and {samples} samples, got shape {y.shape}"
                raise ValueError(f"report: layer {at} must keep {kept}")
            self.spikes[at] = to_numpy(y.data)
            if u is not None:
                self.potentials[at] = to_numpy(u)
        return y

    def layers(self) -> list[Layer]:
        """Return the layers of neurons in their order."""
        found: list[Layer] = []
        for unit in units(self.net):
            if unit.neurons is not None:
                start, end = found[-1].at + 1 if found else 0, unit.neurons
                wires = wired(self.net.layers[start:end], self.shapes[start : end + 1])
                found.append(Layer(end, layer_name(self.net, unit), as_neuron("report", self.net.layers[end]), wires))
        return found

    def errors(self, wanted: list[int], target: Any, loss: Any) -> tuple[float, dict[int, Array]]:
        """Return the loss, and the errors (T, N, ...) of the spikes at the positions wanted."""
        found: dict[int, Array] = {}
        # What lies before the first needs no gradient.
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
    """Return what the page of a network and its input (T, N, ...) carries; see `report`."""
    went = Pass(net, data)
    layers = went.layers()
    if not layers:
        raise ValueError("report: net must have neurons, whose spikes could be shown")
    value, errors = None, dict[int, Array]()
    if target is not None:
        after = [*(layer.followed for layer in layers[1:]), False]
        open_ended = [layer.at for layer, followed in zip(layers, after, strict=True) if not followed]
        value, errors = went.errors(open_ended, target, loss)
    samples = range(data.shape[1])
    given = to_numpy(data)
    first = {"name": "input", "shape": went.shapes[0], "spikes": [by_neuron(given[:, n]) for n in samples]}
    said = []
    for layer in layers:
        kept = errors.get(layer.at)
        had = None if layer.followed else went.potentials.get(layer.at)
        said.append(
            {
                "name": layer.name,
                "shape": went.shapes[layer.at],
                "wires": layer.wires,
                "neurons": _constants(layer.neurons),
                "spikes": [by_neuron(went.spikes[layer.at][:, n]) for n in samples],
                "errors": None if kept is None else [rows(kept[:, n]) for n in samples],
                "potentials": None if had is None else [rows(had[:, n]) for n in samples],
            }
        )
    return {"steps": len(data), "dt": dt_at(net, 0), "loss": value, "layers": [first, *said]}


def _constants(neurons: Any) -> dict[str, Any]:
    """Return the constants of neurons; of a kind that the page does not know, the threshold alone."""
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
