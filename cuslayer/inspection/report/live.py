"""The data of a page that runs its network: how the network runs, and what it runs on, a drawing or recordings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.time_window import TimeWindow, steps_of
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.data import Arrays, Digits, Loader, Subset
from cuslayer.data.datasets import name_of
from cuslayer.data.digits import BRIGHTEST, labelled_images, numbers
from cuslayer.data.saccades import DARK, saccades
from cuslayer.inspection.report.contents import FORMS, Contents, Json, back_node, block, by_neuron, dense_node
from cuslayer.inspection.report.javascript import javascript
from cuslayer.inspection.structure import dt_at
from cuslayer.kernels.constants import side_by_side
from cuslayer.layers.base import Shape, form_of
from cuslayer.loss.base import OVER
from cuslayer.network.graph import INPUT, GraphNode, finite_input
from cuslayer.network.walk import Walk, eval_mode
from cuslayer.neurons.base import as_neuron

if TYPE_CHECKING:
    from cuslayer.network.network import Container

DRAWINGS = ("camera", "poisson", "none")
# The most recordings of a page, those without classes, those that tell whether pictures move, and the bytes of all.
_MOST, _FEW, _SOME, _BYTES = 40, 6, 8, 4_000_000
# The most pixels of a side on which one draws, and the usual rate of a pixel, Hz.
_FINEST, _RATE = 32, 100.0
_REPORT = "; `write_report` shows any network"
_SINGLE = np.dtype(np.float32)


class Sample(NamedTuple):
    """A recording: spikes or numbers x (T, ...), its class, an integer, or (T,) of each step, or None, and its name."""

    x: Array
    target: Any
    name: str


def live_contents(
    net: Container,
    recordings: object,
    names: object,
    shape: object,
    duration: float | None,
    over: str,
    window: object,
    drawing: str | None,
    rate: float | None,
) -> tuple[Json, str]:
    """Return the data of a page that runs a network, as JSON values, and a script; see `write_demo`."""
    data = recordings.dataset if isinstance(recordings, Loader) else recordings
    dt, data = dt_at(net, 0), _as_data(*data) if isinstance(data, tuple) and len(data) == 2 else data
    digits = data if isinstance(data, Digits) and drawing in (None, "camera") else None
    steps, samples = _samples(None if digits is not None else data, _steps(duration, data, dt), dt)
    some = list(islice(samples, _SOME))
    sensor = input_shape(net, some[0].x.shape[1:] if some else shape)
    # One step is enough for the shapes and the structure.
    page = Contents(net, np.zeros((1, 1, *sensor), bool))
    contents, programs = _network(page, steps), list[str]()
    for each in (*contents["layers"][1:], contents["output"]):
        simulation = each.get("neurons", each).get("simulation")
        if simulation is not None:
            programs = list(dict.fromkeys((*programs, simulation["step"])))
            simulation["step"] = programs.index(simulation["step"])
    contents |= {"live": True, "steps": steps, "recordings": [], "digits": None}
    counted = None if window is None else TimeWindow.of("window", window).within(steps, dt)
    contents["output"] |= {"over": check.one_of("over", over, OVER), "window": counted}
    contents["output"]["names"] = _names(names, getattr(data, "names", None), contents["output"]["classes"])
    contents["draw"] = _drawing(drawing, sensor, dt, digits, rate, [each.x for each in some])
    known = [each.x for each in some]
    if digits is not None and sensor == digits.shape:
        known = [digits[i][0].to_spikes(sensor, steps, dt) for i in range(_SOME)]
    for number, usual in _usual(page, known).items():
        contents["nodes"][number + 1]["usual"] = block(usual, "f4")
    if digits is not None:
        images, classes = (each[numbers(digits.split)] for each in labelled_images())
        contents["digits"] = {"images": block(images, "u1"), "labels": block(classes, "u1")}
    elif some:
        contents["recordings"] = _recordings(page, chain(some, samples))
    elif contents["draw"] is None:
        what = "a data set, or a batch (x, labels) as of a Loader"
        raise ValueError(f"recordings must be given for a network on which nothing can be drawn: {what}")
    return contents, f"const STEPS = [{', '.join(programs)}];"


def _steps(duration: float | None, data: object, dt: float) -> int | None:
    """Return the steps of a duration, given or of a data set; None for a data set with steps of its own."""
    if duration is None and getattr(data, "steps", None) is not None:
        return None
    return steps_of("duration", getattr(data, "duration", 300.0) if duration is None else duration, dt)


def _array(x: object) -> Array:
    """Return a tensor or an array as an array of NumPy."""
    return np.asarray(to_numpy(x.data if isinstance(x, Tensor) else x))


def input_shape(net: Container, given: object) -> Shape:
    """Return the input shape of a network, given or its own; raise ValueError if it is unknown."""
    own, flat = getattr(net, "input_shape", None), False
    if own is None and net.stages and form_of(net.stages[0]) == "dense":
        own, flat = net.stages[0].in_features, True
    if given is None:
        if own is None:
            raise ValueError(f"shape is needed: a {type(net).__name__} does not have the shape of its input")
        return tuple(own)
    if not isinstance(given, (tuple, list)):
        raise TypeError(f"shape must be (H, W, C) or (C,), got {type(given).__name__}")
    shape = tuple(check.integer("shape", side, least=1) for side in given)
    if own is not None and shape != tuple(own) and not (flat and math.prod(shape) == math.prod(own)):
        raise ValueError(f"the input must have the network's shape, {tuple(own)}, got {shape}")
    return shape


# How the network runs.


def _network(page: Contents, steps: int) -> Json:
    """Return the network of a page with what a run needs: nodes, layers of neurons, and the output."""
    found, before = page.network(), INPUT
    for unit, layer in zip(page.units, found["layers"][1:], strict=True):
        number = unit.last.number
        (start,) = page.nodes[number].inputs[:1]
        nodes = _check_chain(page, _chain(page, before, start), unit.last.stage)
        simulation, before = _simulation(unit.last.stage, steps, page.shapes[number]), number
        if simulation is None:
            rule = "net must have SRM, Loihi or neurons that are written as a step without exp"
            raise ValueError(f"{rule}, got {layer['name']}{_REPORT}")
        layer["neurons"]["simulation"] = simulation
        found["nodes"] = [nodes.get(at - 1, node) for at, node in enumerate(found["nodes"])]
        # What the page cannot trace back to inputs comes with the potentials of the run.
        layer["sources"] = layer["sources"] if all(page.described[at]["kind"] for at in nodes) else None
    found["output"] = output = _output(page, before, steps)
    found["nodes"] = [output["nodes"].get(at - 1, node) for at, node in enumerate(found["nodes"])]
    del output["nodes"]
    return found


def _chain(page: Contents, before: int, number: int) -> list[GraphNode]:
    """Return the nodes from a node of neurons, or the input, to another node; raise ValueError if it has branches."""
    found: list[GraphNode] = []
    while number != before:
        if number == INPUT or len(page.nodes[number].inputs) != 1:
            raise ValueError(f"net must be a chain of layers, without branches, for a page that runs it{_REPORT}")
        found.insert(0, page.nodes[number])
        (number,) = page.nodes[number].inputs
    return found


def _check_chain(page: Contents, nodes: Sequence[GraphNode], *more: object) -> dict[int, Json]:
    """Return the nodes of a chain, of which a run computes a weighted input of spikes to the bit, by their numbers.

    The numbers of these stages, and of more, must be float32.
    """
    stages, found = [node.stage for node in nodes], {node.number: _runnable(page, node) for node in nodes}
    after = [stage for stage in stages if form_of(stage) not in ("delay", "same")]
    # Numbers after a layer are not spikes: a further layer would multiply matrices, whose sums have no fixed order.
    normalized = [form_of(stage) == "norm" for stage in after]
    one = bool(after) and not any(map(_is_linear, stages)) and not normalized[0] and all(normalized[1:])
    if not one or not all(found.values()):
        rule = "a layer of weights or pooling, and whole delays, before each layer of neurons"
        raise ValueError(f"net must have {rule}, got {', '.join(map(repr, stages)) or 'none'}{_REPORT}")
    for stage in (*stages, *more):
        for p in getattr(stage, "parameters", list)():
            if p.dtype != np.float32:
                raise ValueError(f"net must have float32 weights, got {p.dtype} in {stage!r}")
    return found


def _is_linear(stage: Any) -> bool:
    """Return whether a stage is a delay that makes numbers of spikes."""
    return form_of(stage) == "delay" and bool(stage.linear)


def _runnable(page: Contents, node: GraphNode) -> Json:
    """Return a node as run.js reads it; nothing if that does not know the stage."""
    stage, known = node.stage, page.described[node.number]
    form = form_of(stage)
    if known["kind"] or node.number in page.places:
        return known
    before, after, found = page.shapes[node.inputs[0]], page.shapes[node.number], dict[str, Any]()
    if form in ("dense", "read_out"):
        found = dense_node(stage, before, after)
    elif form in FORMS and getattr(stage, "delays", None) is None:
        found = FORMS[form](stage, before, after)
    if found and getattr(stage, "bias", None) is not None:
        found["bias"] = block(to_numpy(stage.bias.data), "f4")
    return known | found if found else {}


def _usual(page: Contents, known: Sequence[Array]) -> dict[int, Array]:
    """Return how often each input of the dense layers fires in some recordings (T, ...), by the numbers of their nodes.

    Lessons change the weights of inputs that fire in most recordings less.
    """
    sums: dict[int, Any] = {}
    with eval_mode(page.net), no_grad():
        for x in known:
            for at in Walk(page.graph, Tensor(x[:, None])):
                if form_of(at.stage) == "dense":
                    inputs = np.abs(to_numpy(at.inputs[0].data)).mean(axis=(0, 1)).ravel()
                    sums[at.number] = sums.get(at.number, 0.0) + inputs / len(known)
    return sums


def _simulation(stage: Any, steps: int, shape: Shape) -> Json | None:
    """Return how neurons of a shape, or a read-out, run; None if the page cannot run them."""
    recurrent = form_of(stage) == "recurrent"
    neurons = stage if form_of(stage) == "read_out" else as_neuron(stage.neuron if recurrent else stage)
    by_step = neurons.simulation
    if by_step is None or (recurrent and back_node(stage, shape) is None):
        return None
    spiking = by_step.spiking
    code = javascript(spiking.kind)
    if code is None:
        return None
    keeps = [_array(keep) for keep in by_step.keeps.values()]
    columns = side_by_side(spiking.labels or spiking.kind.columns, keeps, np.empty(0, _SINGLE), shape)
    found: Json = {"step": code, "start": list(spiking.kind.start), "period": columns.shape[1]}
    found |= {"numbers": block(np.array(spiking.numbers(_SINGLE)), "f4"), "columns": block(columns, "f4")}
    found |= {"lags": list(spiking.lags), "first": getattr(spiking, "first", 0)}
    return found


def _output(page: Contents, last: int, steps: int) -> Json:
    """Return the number of classes, and whose spikes count for them after which delays; or the read-out."""
    after = [node for node in _chain(page, last, page.graph.output) if form_of(node.stage) != "same"]
    shape = page.shapes[last]
    if after and form_of(after[-1].stage) == "read_out":
        stage, classes = after[-1].stage, page.shapes[after[-1].number]
        simulation = _simulation(stage, steps, classes)
        if simulation is None:
            rule = "net must end in a read-out by an alpha function or an integrator"
            raise ValueError(f"{rule}, got {stage!r}{_REPORT}")
        nodes, at = _check_chain(page, after), after[-1].number + 1
        return {"classes": classes[0], "delays": [], "nodes": nodes, "node": at, "simulation": simulation}
    groups = [node.stage.groups for node in after[-1:] if form_of(node.stage) == "vote"]
    delays = after[: len(after) - len(groups)]
    if any(form_of(node.stage) != "delay" or node.stage.linear for node in delays):
        raise ValueError(f"net must end in neurons, an Average of them or a read-out, got {after[-1].stage!r}{_REPORT}")
    if not groups and len(shape) != 1:
        raise ValueError(f"net must end in one neuron for each class, got an output of {tuple(shape)}{_REPORT}")
    return {
        "classes": groups[0] if groups else shape[0],
        "delays": [node.number + 1 for node in delays],
        "nodes": {node.number: page.described[node.number] for node in delays},
    }


def _names(given: Any, own: Any, classes: int) -> list[str] | None:
    """Return the names of the classes, given or of the recordings; None for numbers."""
    if given is None:
        return None if own is None or len(own) != classes else [str(each) for each in own]
    if isinstance(given, str) or not all(isinstance(each, str) for each in given):
        raise TypeError(f"names must be a list of text, got {given!r}")
    if len(given) != classes:
        raise ValueError(f"names must be one for each of the network's {classes} classes, got {len(given)}")
    return list(given)


# What it runs on.


def _as_data(x: TensorLike, target: object) -> Arrays:
    """Return a batch of a `Loader`, time first, as a data set; without a target its labels are None."""
    given, lengths = to_numpy(finite_input("recordings", x).data), getattr(x, "lengths", None)
    check.time_first("recordings", given)
    ends = [len(given)] * given.shape[1] if lengths is None else lengths.tolist()
    y = np.zeros(given.shape[1], int) if target is None else _array(target)
    of_steps = y.ndim == 2 and y.shape == given.shape[:2]
    labels = [y[:end, n] for n, end in enumerate(ends)] if of_steps else y
    data = Arrays([given[:end, n] for n, end in enumerate(ends)], labels)
    data.targets = "none" if target is None else data.targets
    return data


def _samples(data: Any, steps: int | None, dt: float) -> tuple[int, Iterator[Sample]]:
    """Return the number of steps, and some recordings of a data set, of each class the first ones."""
    if data is None:
        return cast(int, steps), iter(())
    if not hasattr(data, "__getitem__") or not hasattr(data, "shape") or isinstance(data, np.ndarray):
        raise check.mistyped("recordings", "must be a data set, or a batch (x, labels) as of a Loader", data)
    labels, lengths = (getattr(data, name, None) for name in ("labels", "lengths"))
    if labels is None:
        first = [data[i][1] for i in range(min(len(data), 5 * _MOST))]
        labels = np.array(first) if all(np.ndim(each) == 0 for each in first) else None
    order, several = _order(labels, len(data)), lengths is not None and bool(lengths.min() < lengths.max())
    loader = Loader(Subset(data, order), 1, steps=steps, dt=dt, lengths=several)

    def sample(at: int) -> Sample:
        x, target = loader[at]
        known = target.ndim < 3 and target.dtype.kind in "iu" and getattr(data, "targets", None) != "none"
        name = name_of(data, order[at]).replace("sample", "recording")
        return Sample(to_numpy(finite_input("recordings", x).data)[:, 0], target[..., 0] if known else None, name)

    return loader.steps, map(sample, range(len(order)))


def _order(labels: object, count: int) -> list[int]:
    """Return the numbers of recordings for a page: the first of each class, the second, and so on; or the first few."""
    if labels is None:
        return list(range(min(count, _FEW)))
    seen, ranked = Counter[int](), list[tuple[int, int, int]]()
    for i, label in enumerate(np.asarray(labels).tolist()):
        ranked.append((seen[label], label, i))
        seen[label] += 1
    most = max(1, _MOST // len(seen))
    return [i for rank, _, i in sorted(ranked) if rank < most]


def _recordings(page: Contents, samples: Iterable[Sample]) -> list[Json]:
    """Return recordings for a page, as many as it has bytes for, and at least one."""
    found, size = list[Json](), 0
    for x, target, name in samples:
        spikes, weighted = by_neuron(x), None if x.dtype == bool else _weighted(page, x)
        size += sum(len(part["data"]) for part in (*spikes.values(), weighted) if part)
        if found and size > _BYTES:
            break
        about: Json = {"title": name, "label": None, "labels": None, "steps": len(x)}
        if target is not None:
            about |= {"labels": block(target, "i4")} if np.ndim(target) else {"label": int(target)}
        found.append(about | {"spikes": spikes, "weighted": weighted})
    return found


def _weighted(page: Contents, x: Array) -> Json | None:
    """Return the weighted input of the first neurons for numbers x (T, ...), whose sums have no order.

    Numbers of one input have none to sum: the page multiplies them itself, None.
    """
    with eval_mode(page.net), no_grad():
        for at in Walk(page.graph, Tensor(x[:, None].astype(np.float32, copy=False))):
            if at.neurons is not None:
                alone = at.node.inputs[0] != INPUT and form_of(page.nodes[at.node.inputs[0]].stage) == "dense"
                if alone and x[0].size == 1 and page.nodes[at.node.inputs[0]].inputs == (INPUT,):
                    return None
                return block(to_numpy(at.inputs[0].data).reshape(len(x), -1), "f4")
    return None


def _drawing(
    drawing: str | None, shape: Shape, dt: float, digits: Digits | None, rate: float | None, known: list[Array]
) -> Json | None:
    """Return what one draws on, and how the network sees it; None where nothing can be drawn."""
    frames = len(shape) == 3 and all(x.dtype == bool for x in known)
    events, still = frames and shape[2] == 2, frames and _are_still(known)
    usual = "camera" if events and not still else "poisson" if frames and (still or not known) else "none"
    kind = usual if drawing is None else check.one_of("drawing", drawing, DRAWINGS)
    if kind != "none" and (not frames or (kind == "camera" and not events)):
        needed = f"spikes in frames (H, W, {2 if kind == 'camera' else 'C'})"
        raise ValueError(f"drawing must be 'none' unless the network takes {needed}, got {drawing!r} and {shape}")
    if digits is not None and not events:
        raise ValueError(f"recordings must not be Digits unless the network takes frames (H, W, 2), got {shape}")
    if kind == "none":
        return None
    made: Json = {"brightest": BRIGHTEST, "normalised": digits is not None, "inks": 1, "camera": None}
    # Recordings of a camera that moved are not those of the simulated one, and come first.
    made["first"] = not known or still or drawing is not None
    if kind == "poisson":
        per_step = (_rate_of(known, dt) if rate is None else check.positive("rate", rate)) * dt / 1000
        scale = max(1, -(-max(shape[:2]) // _FINEST))
        chance = -np.expm1(-np.arange(BRIGHTEST + 1) / BRIGHTEST * per_step) * 2.0**32
        size = [-(-side // scale) for side in shape[:2]]
        more = {"size": size, "scale": scale, "inks": shape[2], "chance": block(chance.clip(0, 2**32 - 1), "u4")}
        return made | more
    seed = 0 if digits is None else digits.seed
    rows, columns, _ = shape
    # A picture has a pixel for each of the sensor on which it falls.
    side = len(saccades(rows, columns, 1, seed).enlarge)
    pixels = len(labelled_images()[0][0]) if digits is not None else min(side, _FINEST)
    seen = saccades(rows, columns, pixels, seed)
    camera: Json = {"shape": shape, "canvas": seen.canvas, "corner": seen.corner, "size": pixels}
    camera |= {"brightest": BRIGHTEST, "dark": DARK}
    camera |= {name: block(getattr(seen, name), "f8") for name in ("enlarge", "path", "thresholds")}
    return made | {"size": [pixels, pixels], "camera": camera}


def _are_still(known: list[Array]) -> bool:
    """Return whether frames (T, H, W, C) are pictures that do not move.

    Then the two halves of the time are nearly as alike as the odd and the even steps.
    """

    def alike(x: Array, halves: tuple[Array, Array]) -> float:
        a, b = (half.mean(axis=0) - x.mean() for half in halves)
        return float((a * b).sum() / (np.sqrt((a * a).sum() * (b * b).sum()) or 1.0))

    known = [x for x in known if len(x) > 1]
    of_time = sum(alike(x, (x[: len(x) // 2], x[len(x) // 2 :])) for x in known)
    of_steps = sum(alike(x, (x[::2], x[1::2])) for x in known)
    return of_time > 0.65 * of_steps > 0


def _rate_of(known: list[Array], dt: float) -> float:
    """Return the rate of bright pixels in recordings, Hz: of those that fire, more than nineteen of twenty have."""
    rates = np.concatenate([np.zeros(0), *(x.mean(axis=0).ravel() for x in known)])
    fires = rates[rates > 0]
    return float(-np.log1p(-min(np.quantile(fires, 0.95), 0.999)) * 1000 / dt) if fires.size else _RATE
