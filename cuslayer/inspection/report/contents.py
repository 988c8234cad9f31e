"""The data of a page: the network, its input and its spikes.

The page computes potentials, errors and explanations of a neuron on demand (model.js): a potential is a sum over input
spikes, and the error on a neuron's spikes a sum over the neurons after it. Weights, spikes and the errors on the last
spikes are enough for that. Neurons after a stage that the page does not know come with their potentials, and neurons
before such a stage with their errors.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cuslayer._tape import Tensor, gradients, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.report.javascript import held_javascript
from cuslayer.inspection.structure import default_loss, dt_at
from cuslayer.kernels.constants import side_by_side
from cuslayer.kernels.norm.scaling import Scale, Scaling, applied
from cuslayer.layers.base import Shape, form_of
from cuslayer.network.graph import INPUT, GraphNode, feeds
from cuslayer.network.join import on_gradient
from cuslayer.network.walk import Walk, eval_mode, units
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.neurons.held import held

if TYPE_CHECKING:
    from cuslayer.network.network import Container

Json: TypeAlias = "dict[str, Any]"


def block(x: Array, kind: str) -> Json:
    """Return an array as a block: its number type, such as "f4", and its bytes in C order as base64.

    >>> block(np.array([1, 2]), "u2")
    {'type': 'u2', 'data': 'AQACAA=='}
    """
    little = np.ascontiguousarray(x, np.dtype(f"<{kind}"))
    return {"type": kind, "data": base64.b64encode(little.tobytes()).decode("ascii")}


def _columns(x: Array) -> Array:
    """Return one sample (T, ...) as (neurons, T)."""
    return x.reshape(len(x), int(np.prod(x.shape[1:], dtype=np.int64))).T


def by_neuron(train: Array) -> Json:
    """Return one sample's spikes (T, ...): how many each neuron has, and their times in steps, neuron after neuron.

    For real-valued input, each nonzero value is a spike, and ``values`` has the values.
    """
    trains = _columns(train)
    neuron, time = np.nonzero(trains)
    counts = np.bincount(neuron, minlength=len(trains))
    short = "u4" if len(train) > 65536 else "u2"
    found = {"counts": block(counts, short), "times": block(time, short)}
    if train.dtype != bool:
        found["values"] = block(trains[neuron, time], "f4")
    return found


class Contents:
    """The contents of a page for a network and its input (T, N, ...), by a forward pass."""

    def __init__(self, net: Container, data: Array) -> None:
        self.net = net
        self.data = data
        self.graph = net.graph
        self.nodes: Sequence[GraphNode] = self.graph.nodes
        self.shapes: dict[int, Shape] = {INPUT: tuple(data.shape[2:])}
        self.spikes: dict[int, Array] = {}
        self.potentials: dict[int, Array] = {}
        with eval_mode(net), no_grad():
            for at in Walk(self.graph, Tensor(data)):
                self.shapes[at.number] = at.output.shape[2:]
                if at.neurons is None:
                    continue
                if at.output.shape[:2] != data.shape[:2]:
                    expected = f"the input's {data.shape[0]} steps and {data.shape[1]} samples"
                    raise ValueError(f"layer {at.node} must keep {expected}, got shape {at.output.shape}")
                self.spikes[at.number] = to_numpy(at.output.data)
                if at.potentials is not None:
                    self.potentials[at.number] = to_numpy(at.potentials)
        self.units = [unit for unit in units(net) if unit.neurons is not None]
        if not self.units:
            raise ValueError("net must have neurons, whose spikes could be shown")
        # The places on the page of the input and the layers of neurons, by the number of their node.
        self.places = {INPUT: 0} | {unit.last.number: place for place, unit in enumerate(self.units, 1)}
        self.described = [self._describe(node) for node in self.nodes]

    def _describe(self, node: GraphNode) -> Json:
        """Return a node as model.js reads it; its kind is None if that does not know the stage."""
        stage, found = node.stage, dict[str, Any]()
        given = [self.shapes[number] for number in node.inputs]
        if node.number in self.places:
            found = {"kind": "layer", "layer": self.places[node.number]}
        elif form_of(stage) == "join" and stage.how in ("add", "concatenate"):
            found = {"kind": "join", "channels": self.shapes[node.number][-1]}
            if stage.how == "concatenate":
                found |= {"offsets": stage.offsets(given), "widths": [shape[-1] for shape in given]}
        elif form_of(stage) == "norm":
            found = _norm_node(stage)
        elif form_of(stage) == "dense" or (form_of(stage) in FORMS and getattr(stage, "delays", None) is None):
            found = FORMS[form_of(stage)](stage, given[0], self.shapes[node.number])
            if found and getattr(stage, "bias", None) is not None:
                found["bias"] = block(to_numpy(stage.bias.data), "f4")
        return {"kind": None, "inputs": [number + 1 for number in node.inputs]} | found

    def sources(self, number: int) -> set[int]:
        """Return the numbers of the neurons that feed neurons through other stages, and INPUT for the input."""
        return feeds(self.nodes, self.nodes[number].inputs[:1])[0]

    def knows(self, number: int) -> bool:
        """Return whether the page knows all stages before neurons.

        A spike shifted beyond an end of time and back is lost, but the sum of the shifts would keep it: not if stages
        delay spikes and others advance them.
        """
        _, between = feeds(self.nodes, self.nodes[number].inputs[:1])
        stages = [self.nodes[each].stage for each in between]
        lags = [steps for stage in stages if form_of(stage) == "delay" for steps in stage.lags()[0].flat]
        both_ways = bool(lags) and min(lags) < 0 < max(lags)
        stage = self.nodes[number].stage
        alone = form_of(stage) != "recurrent" or back_node(stage, self.shapes[number]) is not None
        return alone and all(self.described[each]["kind"] for each in between) and not both_ways

    def errors(
        self, wanted: set[int], target: object, loss: Callable[..., Tensor] | None
    ) -> tuple[float, dict[int, Array]]:
        """Return the loss, and the errors (T, N, ...) on the spikes of the wanted neurons."""
        found: dict[int, Array] = {}

        def keep(number: int, g: Array) -> None:
            found[number] = to_numpy(g)

        with eval_mode(self.net), no_grad(active=False):
            steps = Walk(self.graph, Tensor(self.data))
            for at in steps:
                if at.number in wanted:
                    # Stages before the first wanted neurons need no gradient.
                    y = at.output if at.output.requires_grad else Tensor(at.output.data, requires_grad=True)
                    at.output = on_gradient(y, callback=partial(keep, at.number))
            value = (loss or default_loss(self.net, steps.output, target))(steps.output, target)
        gradients(value)
        return value.item(), found

    def network(self) -> Json:
        """Return the nodes of the network, with the input first, and its layers of neurons, without their spikes."""
        layers: list[Json] = [{"name": "input", "shape": self.shapes[INPUT], "node": 0}]
        for unit in self.units:
            number = unit.last.number
            sources = [self.places[each] for each in sorted(self.sources(number))] if self.knows(number) else None
            layers.append(
                {
                    "name": unit.name,
                    "shape": self.shapes[number],
                    "node": number + 1,
                    "sources": sources,
                    "neurons": neuron_constants(unit.last.stage, self.shapes[number]),
                    "back": back_node(unit.last.stage, self.shapes[number]),
                }
            )
        nodes = [{"kind": "layer", "layer": 0, "inputs": []}, *self.described]
        return {"steps": len(self.data), "dt": dt_at(self.net, 0), "loss": None, "nodes": nodes, "layers": layers}


def contents(net: Container, data: Array, target: object, loss: Callable[..., Tensor] | None) -> Json:
    """Return the data of the page of `write_report` for a network and its input (T, N, ...), as JSON values."""
    page = Contents(net, data)
    found, errors = page.network(), dict[int, Array]()
    computed = [layer["sources"] is not None and "response" in layer["neurons"] for layer in found["layers"][1:]]
    numbers = [unit.last.number for unit in page.units]
    if target is not None:
        # The page computes the errors of a layer from those of the layers that it feeds, where it knows all of these.
        outputs, _ = feeds(page.nodes, [page.graph.output])
        unknown = (page.sources(number) for number, known in zip(numbers, computed, strict=True) if not known)
        found["loss"], errors = page.errors(outputs.union(*unknown) - {INPUT}, target, loss)
    samples, x = range(data.shape[1]), to_numpy(data)
    found["layers"][0]["spikes"] = [by_neuron(x[:, n]) for n in samples]
    for layer, number, known in zip(found["layers"][1:], numbers, computed, strict=True):
        g, u = errors.get(number), None if known else page.potentials.get(number)
        layer["spikes"] = [by_neuron(page.spikes[number][:, n]) for n in samples]
        layer["errors"] = None if g is None else [block(_columns(g[:, n]), "f4") for n in samples]
        layer["potentials"] = None if u is None else [block(_columns(u[:, n]), "f4") for n in samples]
    return found


def neuron_constants(stage: Any, shape: Shape) -> Json:
    """Return the constants of neurons of a shape; for neurons other than SRM the threshold, and what explains them."""
    neurons = as_neuron(stage)
    found: Json = {"theta": float(neurons.theta)}
    filters = {"response": block(neurons.response, "f8"), "refractory": block(neurons.refractory, "f8")}
    if neurons.srm_form is not None:
        spiking = neurons.srm_form.spiking
        return found | filters | {"height": spiking.height, "width": spiking.width, "exact": spiking.exact}
    if neurons.parts == "exact":
        return found | {"filters": filters}
    return found | {"held": _held(as_neuron(stage.neuron if form_of(stage) == "recurrent" else stage), shape)}


def _held(neurons: Neuron, shape: Shape) -> Json | None:
    """Return the step of neurons with its spikes held, as parts.js reads it; None if it does not explain them."""
    by_step = neurons.as_step
    if by_step is None or neurons.parts not in ("stepwise", "integrated"):
        return None
    spiking = by_step.spiking
    step = held(spiking.kind)
    single = np.dtype(np.float32)
    keeps = [np.asarray(to_numpy(keep.data if isinstance(keep, Tensor) else keep)) for keep in by_step.keeps.values()]
    columns = side_by_side(spiking.labels or spiking.kind.columns, keeps, np.empty(0, single), shape)
    lags = spiking.by_name
    return {
        "step": held_javascript(spiking.kind),
        "start": list(spiking.kind.start),
        "period": columns.shape[1],
        "columns": block(columns, "f4"),
        "numbers": block(np.array(spiking.numbers(single)), "f4"),
        "lags": [0, *(int(lags[lag]) for lag in step.lags[1:])],
        "spikeLags": [int(lags[lag]) if lag else 0 for _, lag in step.spikes],
        "exact": neurons.parts == "stepwise",
    }


def held_steps(contents: Json) -> str:
    """Return a script with the steps of a page's neurons, and put their numbers in their place."""
    programs: list[str] = []
    for layer in contents["layers"][1:]:
        step = layer["neurons"].get("held")
        if step is not None:
            programs = list(dict.fromkeys((*programs, step["step"])))
            step["step"] = programs.index(step["step"])
    return f"const HELD = [{', '.join(programs)}];"


def back_node(stage: Any, shape: Shape) -> Json | None:
    """Return the layer by which recurrent neurons get their own spikes; None without one, or for an unknown one."""
    if form_of(stage) != "recurrent" or form_of(stage.layer) not in FORMS:
        return None
    return {"lags": 1} | FORMS[form_of(stage.layer)](stage.layer, shape, shape) | {"delay": stage.steps}


def dense_node(layer: Any, before: Shape, after: Shape) -> Json:
    """Return a dense layer or a read-out as the page reads it, without its bias; nothing if it maps each place."""
    if len(after) > 1:
        return {}
    w, delays = to_numpy(layer.effective_weight().data), layer.delays
    found = {"kind": "dense", "outputs": w.shape[1], "weight": block(w, "f4")}
    return found if delays is None else found | {"lags": delays.lags, "lag": block(to_numpy(delays.whole_lags()), "u2")}


def _window(layer: Any, before: Shape, after: Shape) -> Json:
    """Return a convolution or pooling; the windows of a transposed layer lie on its output."""
    form = form_of(layer)
    transposed = form in ("conv_transpose", "unpool")
    image, maps = (after, before) if transposed else (before, after)
    found = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    found |= {"kind": "window", "transposed": transposed, "image": image, "maps": maps}
    if form in ("conv", "conv_transpose"):
        return found | {"groups": layer.groups, "weight": block(to_numpy(layer.effective_weight().data), "f4")}
    # Each channel is a group.
    found["groups"] = before[2]
    if not layer.weight_hook:
        return found | {"gain": layer.gain}
    weight = np.broadcast_to(to_numpy(layer.effective_weight().data), (*layer.kernel_size, 1, before[2]))
    return found | {"weight": block(weight, "f4")}


def _delay(layer: Any, before: Shape, after: Shape) -> Json:
    steps, shares = (np.broadcast_to(x, before).ravel() for x in layer.lags())
    return {
        "kind": "delay",
        "steps": block(steps, "i4"),
        "shares": block(shares if layer.linear else 0 * shares, "f8"),
    }


def _norm_node(norm: Any) -> Json:
    """Return a normalization in evaluation, per channel: ``(x - centre) factor + added``."""
    mean, var = (to_numpy(each.data) for each in (norm.mean, norm.var))
    centre = mean if norm.mean_hook is None else to_numpy(norm.mean_hook(Tensor(mean)).data)
    gain, offset = (None if each is None else to_numpy(each.data) for each in (norm.gain, norm.offset))
    scaling = Scaling(norm.scale, norm.height, norm.eps, norm.exponents)
    numbers = applied(Scale(mean, var, centre, gain, offset, scaling))
    arrays = {"centre": numbers.centre, "factor": numbers.factor, "added": numbers.added}
    return {"kind": "norm"} | {name: block(each, "f4") for name, each in arrays.items()}


# How the page has a layer of each form.
FORMS: dict[str | None, Callable[[Any, Shape, Shape], Json]] = {
    "dense": dense_node,
    **dict.fromkeys(("conv", "conv_transpose", "pool", "unpool", "mean"), _window),
    "delay": _delay,
    "same": lambda layer, before, after: {"kind": "join"},
}
