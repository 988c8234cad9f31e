"""The data of a demonstration: the network, the simulated camera, and the digits to try."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.data.digits import BRIGHTEST, labelled_images, numbers
from cuslayer.data.saccades import DARK, saccades
from cuslayer.inspection.report.connections import Connection, describe_connections
from cuslayer.inspection.report.contents import ForwardPass, NeuronLayer, neuron_constants
from cuslayer.inspection.report.encode import block, by_neuron
from cuslayer.inspection.structure import dt_at
from cuslayer.layers import Average, Delay, Dense, Dropout, Shift
from cuslayer.layers.base import Shape
from cuslayer.network.graph import INPUT
from cuslayer.tape import Tensor

# The seed of the camera's thresholds: that of `Digits` by default.
_SEED = 0


class Recordings(NamedTuple):
    """Recordings that the network of a page can run on.

    Attributes:
        spikes: boolean (T, N, H, W, 2).
        labels: the classes (N,), None where they are unknown.
    """

    spikes: Array
    labels: Array | None

    @classmethod
    def of(cls, op: str, spikes: Array, labels: Any) -> Recordings:
        """Return recordings; raise TypeError unless they are spikes, and ValueError unless labels are (N,) integers."""
        if spikes.dtype != bool:
            raise TypeError(f"{op}: samples of a live page must be spikes (bool), got {spikes.dtype}")
        if labels is None:
            return cls(spikes, None)
        given = np.asarray(to_numpy(labels.data if isinstance(labels, Tensor) else labels))
        if given.shape != spikes.shape[1:2] or given.dtype.kind not in "iu":
            rule = f"integers ({spikes.shape[1]},) for a live page"
            raise ValueError(f"{op}: target must be {rule}, got {given.dtype} of shape {given.shape}")
        return cls(spikes, given)


def input_shape(net: Any, given: Any) -> Shape:
    """Return the input shape of a network, given or its own; raise ValueError if it is unknown."""
    own = getattr(net, "input_shape", None)
    if own is None and net.layers and isinstance(net.layers[0], Dense):
        own = net.layers[0].in_features
    if given is None:
        if own is None:
            raise ValueError(f"demo: shape is needed: a {type(net).__name__} does not have the shape of its input")
        return tuple(own)
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"demo: shape must be (H, W, 2), got {type(given).__name__}")
    shape = tuple(check.integer("demo", "shape", side, least=1) for side in given)
    if own is not None and shape != tuple(own):
        raise ValueError(f"demo: shape must be the network's, {tuple(own)}, got {shape}")
    return shape


def contents(op: str, net: Any, shape: Shape, steps: int, recordings: Recordings | None = None) -> dict[str, Any]:
    """Return the data of the page for a network with input (H, W, 2), as JSON values; op is named in errors.

    Raises:
        ValueError: the page cannot compute the network, or its input or output do not fit.
    """
    if len(shape) != 3 or shape[2] != 2:
        raise ValueError(f"{op}: net must take frames (H, W, 2) of an event camera, got {tuple(shape)}")
    # One step is enough for the shapes and the structure.
    forward = ForwardPass(net, np.zeros((1, 1, *shape), bool))
    layers = forward.layers()
    if not layers:
        raise ValueError(f"{op}: net must have neurons, whose spikes could be shown")
    output = _output(op, forward, layers[-1])
    entries: list[dict[str, Any]] = [{"name": "input", "shape": shape}]
    before = INPUT
    for layer in layers:
        connections = _connections(op, forward, before, layer)
        simulation = layer.neurons.simulation(steps)
        if simulation is None:
            raise ValueError(f"{op}: net must have SRM or Loihi neurons, got {layer.name}")
        described = neuron_constants(layer.neurons) | {"simulation": simulation}
        entries.append(
            {
                "name": layer.name,
                "shape": forward.shapes[layer.number],
                "connections": connections,
                "neurons": described,
            }
        )
        before = layer.number
    return {
        "steps": steps,
        "dt": dt_at(net, 0),
        "loss": None,
        "output": output,
        "layers": entries,
        "camera": _camera(shape),
        "digits": _digits(),
        "recordings": [] if recordings is None else _encoded(recordings),
    }


def _chain(op: str, forward: ForwardPass, before: int, number: int) -> list[Any]:
    """Return the stages from a node of neurons, or the input, to another node; raise ValueError if it has branches."""
    stages: list[Any] = []
    while number != before:
        if number == INPUT or len(forward.graph.nodes[number].inputs) != 1:
            raise ValueError(f"{op}: net must be a chain of layers, without branches, for a page that runs it")
        stages.insert(0, forward.graph.nodes[number].stage)
        (number,) = forward.graph.nodes[number].inputs
    return stages


def _connections(op: str, forward: ForwardPass, before: int, layer: NeuronLayer) -> list[Connection]:
    """Return the connections from the layer before; the page computes its weighted input from its spikes to the bit.

    Raises:
        ValueError: it cannot.
    """
    stages = _chain(op, forward, before, forward.graph.nodes[layer.number].inputs[0])
    connections = None if layer.feed is None else layer.feed["connections"]
    delays = [each for each in connections or () if each["kind"] == "delay"]
    # Numbers after a layer are not spikes: a further layer would multiply matrices, whose sums have no fixed order.
    one_weight = connections is not None and len(connections) - len(delays) == 1
    if connections is None or not one_weight or _linear(stages):
        rule = "a layer of weights or pooling, and whole delays, before each layer of neurons"
        raise ValueError(f"{op}: net must have {rule}, got {', '.join(map(repr, stages)) or 'none'}")
    for stage in stages:
        for p in getattr(stage, "parameters", list)():
            if p.dtype != np.float32:
                raise ValueError(f"{op}: net must have float32 weights, got {p.dtype} in {stage!r}")
    return connections


def _linear(stages: list[Any]) -> bool:
    """Return whether one of the stages is a delay that makes numbers of spikes."""
    return any(isinstance(stage, Delay) and stage.mode == "linear" for stage in stages)


def _output(op: str, forward: ForwardPass, last: NeuronLayer) -> dict[str, Any]:
    """Return the number of classes, neurons or groups of an `Average`, and the delays after the last neurons."""
    after = [stage for stage in _chain(op, forward, last.number, forward.graph.output) if type(stage) is not Dropout]
    averages = [stage for stage in after[-1:] if type(stage) is Average]
    between, shape = after[: len(after) - len(averages)], forward.shapes[last.number]
    connections = describe_connections(between, [shape] * (len(between) + 1)) if _delays(between) else None
    if connections is None:
        raise ValueError(f"{op}: net must end in neurons or an Average of them, got {after[-1]!r}")
    if not averages and len(shape) != 1:
        raise ValueError(f"{op}: net must end in one neuron for each class, got an output of {tuple(shape)}")
    return {"classes": averages[0].groups if averages else shape[0], "delays": connections}


def _delays(stages: list[Any]) -> bool:
    """Return whether all stages are delays of whole steps."""
    return all(type(stage) in (Delay, Shift) for stage in stages) and not _linear(stages)


def _camera(shape: Shape) -> dict[str, Any]:
    height, width, _ = shape
    size = labelled_images()[0].shape[1]
    seen = saccades(height, width, size, _SEED)
    arrays = {name: block(getattr(seen, name), "f8") for name in ("enlarge", "path", "thresholds")}
    fixed = {"canvas": seen.canvas, "corner": seen.corner, "size": size, "brightest": BRIGHTEST, "dark": DARK}
    return {"shape": shape} | fixed | arrays


def _digits() -> dict[str, Any]:
    """Return the images of the test set and their classes."""
    images, labels = labelled_images()
    chosen = numbers("test")
    return {"images": block(images[chosen], "u1"), "labels": block(labels[chosen], "u1")}


def _encoded(recordings: Recordings) -> list[dict[str, Any]]:
    spikes, labels = recordings
    return [
        {"label": None if labels is None else int(labels[n]), "spikes": by_neuron(spikes[:, n])}
        for n in range(spikes.shape[1])
    ]
