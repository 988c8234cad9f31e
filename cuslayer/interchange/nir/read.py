"""Read networks from NIR files."""

from __future__ import annotations

import inspect
import itertools
import math
from collections import Counter
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.hdf5_files import checked
from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.interchange.axes import (
    delay_layer,
    delay_steps,
    entry_errors,
    finite_numbers,
    inward,
    pair_of,
    set_weight,
    whole_numbers,
)
from cuslayer.interchange.nir.neurons import MOST_EDGES, Written, dialect_of, neuron_of, note_in, noted_neuron, numbers
from cuslayer.layers import AvgPool, Conv, Dense, Recurrent, Shift, SumPool, SynapticDelays
from cuslayer.layers.base import form_of
from cuslayer.network.network import Sequential

_NEURONS = ("LIF", "CubaLIF", "IF", "Threshold")
_SYNAPSES = ("Linear", "Affine", "Conv2d")
_POOLS = ("SumPool2d", "AvgPool2d")
_KINDS = ("Input", "Output", *_SYNAPSES, *_POOLS, "Flatten", "Delay", *_NEURONS)


class _Branches(NamedTuple):
    """Parallel weights between the same two nodes, each after a Delay or none; the sum of their outputs counts."""

    delays: list[Any]
    synapses: list[Any]


class _Link(NamedTuple):
    """A node of the chain; for a neuron that feeds itself, also its recurrent weights and delays."""

    name: str
    node: Any
    synapse: Any = None
    delays: tuple[Any, ...] = ()


@check.operation
def import_nir(
    source: Any,
    *,
    dialect: str | None = None,
    step: float | None = None,
    dt: float | None = None,
    max_bytes: int | None = None,
) -> Sequential:
    """Read a network from a NIR file, or from a graph of the package nir.

    It reads chains of Linear, Affine, Conv2d, SumPool2d, AvgPool2d, Flatten before Linear, Delay, LIF, CubaLIF, IF and
    Threshold. Branches of Delay and weights between the same two nodes become a `Dense` whose synapses have delays.
    Neurons that feed themselves through weights, in a loop of the graph or in a graph within it, become `Recurrent`,
    whose spikes come back a step later. Frames become (H, W, C), and neurons `LIF` or `CUBA`. If all inputs have the
    same gain, it is in theta, else in the weights. A network from `export_nir` has the exported one's output to the
    bit, if nothing has changed its neurons. A warning names properties of neurons that the library of the dialect does
    not write, such as the reset in snnTorch.

    Args:
        source: the file, or a graph of the package nir.
        dialect: "nir", "snntorch", "norse" or "sinabs", the writer of the file; by default as `export_nir` wrote it, or
            "nir". The discretization of each is in docs/exchange.md.
        step: the step in the file's unit of time; by default as written, else the dialect's, or dt in seconds.
        dt: the step of the network, ms; by default as written, or 1.
        max_bytes: the largest number of bytes of all arrays in the file together; by default 16 MB or eight times the
            size of the file, if that is more.

    Returns:
        The network.

    Raises:
        ValueError: the file is missing, damaged or not HDF5, has over max_bytes, or nir cannot read it; the graph is no
            chain, except for neurons that feed themselves; a node is unknown or has unsupported values; or a shape does
            not fit.
        TypeError: an argument has the wrong type.
        ImportError: nir, which reads files, is not installed.

    >>> import_nir("no/such.nir")
    Traceback (most recent call last):
        ...
    ValueError: import_nir: no/such.nir is no file
    """
    if not hasattr(source, "edges"):
        library = optional("nir", "nir")
        with checked(source, max_bytes) as (file, document):
            return _network(str(source), _read(library, file, document), dialect, step, dt)
    with check.about("graph"):
        return _network("graph", source, dialect, step, dt)


def _network(name: str, graph: Any, dialect: str | None, step: float | None, dt: float | None) -> Sequential:
    """Return the network of a graph; see `import_nir`."""
    links = _chain(graph)
    note = next((found for link in links if (found := note_in(link.node)) is not None), {})
    spoken = dialect_of(note.get("dialect", "nir") if dialect is None else dialect)
    dt = check.time_step("dt", note.get("dt", 1.0) if dt is None else dt)
    if step is None:
        own = 1e-3 * dt if spoken.step is None else spoken.step
        step = note.get("step", own) if note.get("dialect") == spoken.name else own
    reading = _Reading(Written(spoken, check.positive("step", step), dt))
    for link in links:
        where = f"node {check.one_line(link.name)}"
        with entry_errors(where), np.errstate(over="ignore"):
            reading.add(where, link)
            for parameter in Sequential(*reading.stages[-2:]).parameters():  # a factor may have overflowed
                finite_numbers(f"{where}: weight times r and w_in", to_numpy(parameter.data))
    for doubt in sorted(reading.doubts):
        check.warn(f"{name}: a file of {spoken.name} does not say {doubt}")
    return Sequential(*reading.stages)


def _read(library: ModuleType, file: BinaryIO, document: dict[str, Any]) -> Any:
    """Return the graph of a file by nir."""
    if not isinstance(document.get("node"), dict):
        raise ValueError("it has no graph of NIR, a node with nodes and edges")
    if _edges(document) > MOST_EDGES:
        raise ValueError(f"it must have at most {MOST_EDGES} edges")
    # Files of other writers may lack the shapes by which nir checks a graph.
    lenient = {"type_check": False} if "type_check" in inspect.signature(library.read).parameters else {}
    try:
        return library.read(file, **lenient)
    except Exception as problem:  # of many types, as nir makes objects of the file's values
        text = check.one_line(f"{type(problem).__name__}: {problem}")[1:-1]
        raise ValueError(f"nir cannot read it: {text}") from None


def _edges(group: dict[str, Any]) -> int:
    """Return the number of edges in a file; refuse a w_in that nir would broadcast to more numbers than there are."""
    w_in = np.shape(group.get("w_in", 1.0))
    if w_in not in ((), np.shape(group.get("v_threshold", 1.0))):
        raise ValueError(f"w_in must have the shape of v_threshold, got {w_in}")
    edges = group.get("edges", "")
    own = len(edges) if isinstance(edges, np.ndarray) else 0
    return own + sum(_edges(each) for each in group.values() if isinstance(each, dict))


def _kind(node: Any) -> str:
    return type(node).__name__


def _chain(graph: Any) -> list[_Link]:
    """Return the nodes from the input to the output, with nested graphs expanded; a population is one link."""
    nodes, edges, inner = _flat(graph, "")
    edges = list(dict.fromkeys(edges))
    for name in inner:  # Input and Output of a nested graph: join its neighbours
        before = [first for first, second in edges if second == name]
        if len(before) != 1 or before == [name]:
            raise ValueError(f"node {check.one_line(name)} must have one node before it, got {len(before)}")
        edges = [(before[0], second) if first == name else (first, second) for first, second in edges if second != name]
        del nodes[name]
    edges = _joined(nodes, edges)
    links = {name: _link(name, nodes, edges) for name in [*nodes] if name in nodes}
    links = {name: link for name, link in links.items() if name in nodes}
    after, sides = dict(edges), [Counter(side) for side in zip(*edges, strict=True)]
    for name in links:
        if any(side[name] > 1 for side in sides):
            what = "a chain, but for neurons that feed themselves through weights and delays"
            raise ValueError(f"it must be {what}; see node {check.one_line(name)}")
    begin = [name for name in links if name not in after.values()]
    if len(begin) != 1:
        raise ValueError(f"it must be a chain from one input, got {len(begin)} beginnings")
    found, at = list[_Link](), begin[0]
    while at:
        found.append(links[at])
        at = after.get(at, "")
    if len(found) != len(links):
        raise ValueError(f"it must be a chain, but {len(links) - len(found)} of its nodes are not on it")
    return found


def _joined(nodes: dict[str, Any], edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the edges after branches of Delay and weights, or of weights alone, have become one node each."""
    befores, afters = (Counter(side) for side in zip(*((second, first) for first, second in edges), strict=True))
    before, after = {second: first for first, second in edges}, dict(edges)
    found: dict[tuple[str, str], list[list[str]]] = {}
    for name, node in nodes.items():
        if _kind(node) in ("Linear", "Affine") and befores[name] == afters[name] == 1:
            first, path = before[name], [name]
            if _kind(nodes[first]) == "Delay" and befores[first] == afters[first] == 1:
                first, path = before[first], [first, name]
            found.setdefault((first, after[name]), []).append(path)
    for (first, second), paths in found.items():
        delays = [nodes[path[0]] if len(path) > 1 else None for path in paths]
        if len(paths) > 1 or note_in(delays[0]) is not None:
            merged, within = _Branches(delays, [nodes[path[-1]] for path in paths]), {*itertools.chain(*paths)}
            for each in within:
                del nodes[each]
            edges = [edge for edge in edges if not {*edge} & within]
            nodes[paths[0][-1]] = merged
            edges += [(first, paths[0][-1]), (paths[0][-1], second)]
    return edges


def _flat(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]], list[str]]:
    """Return the nodes of a graph and its nested graphs by name, the edges, and the nested Inputs and Outputs."""
    nodes: dict[str, Any] = {}
    edges, inner = list[tuple[str, str]](), list[str]()
    into, out = dict[str, str](), dict[str, str]()
    for name, node in graph.nodes.items():
        whole = f"{prefix}{name}"
        if _kind(node) != "NIRGraph":
            check.one_of(f"the type of node {check.one_line(whole)}", _kind(node), _KINDS)
            nodes[whole] = node
            continue
        others, more, deeper = _flat(node, f"{whole}.")
        for kind, end in ("Input", into), ("Output", out):
            ends = [each for each in others if _kind(others[each]) == kind and each not in deeper]
            if len(ends) != 1:
                raise ValueError(f"node {check.one_line(whole)} must have one {kind}, got {len(ends)}")
            end[name] = ends[0]
        nodes |= others
        edges += more
        inner += [*deeper, into[name], out[name]]
    for first, second in graph.edges:
        if first not in graph.nodes or second not in graph.nodes:
            raise ValueError(f"an edge from {check.one_line(first)} to {check.one_line(second)} has no nodes")
        edges.append((out.get(first, f"{prefix}{first}"), into.get(second, f"{prefix}{second}")))
    return nodes, edges, inner


def _link(name: str, nodes: dict[str, Any], edges: list[tuple[str, str]]) -> _Link:
    """Return the link of a node; take out the weights and delays by which a neuron feeds itself."""

    def behind(at: str) -> list[str]:
        return [second for first, second in edges if first == at]

    def alone(at: str) -> bool:
        return len(behind(at)) == [second for _, second in edges].count(at) == 1

    for first in behind(name) if _kind(nodes[name]) in _NEURONS else ():
        loop, at = list[str](), first
        while at != name and alone(at) and _kind(nodes[at]) in ("Delay", "_Branches", *_SYNAPSES):
            loop.append(at)
            (at,) = behind(at)
        synapses = [nodes[each] for each in loop if _kind(nodes[each]) != "Delay"]
        if at == name and len(synapses) == 1:
            delays = tuple(nodes[each] for each in loop if _kind(nodes[each]) == "Delay")
            edges[:] = [edge for edge in edges if not {*edge} & {*loop}]
            for each in loop:
                del nodes[each]
            return _Link(name, nodes[name], synapses[0], delays)
    return _Link(name, nodes[name])


class _Reading:
    """The layers of the nodes so far, and their last shape: (H, W, C) or (N,), empty if unknown."""

    def __init__(self, how: Written) -> None:
        self.how, self.stages = how, list[Any]()
        self.shape: tuple[int, ...] = ()
        self.flat, self.doubts = False, set[str]()

    def add(self, where: str, link: _Link) -> None:
        """Append the layers of a node."""
        node, kind = link.node, "Recurrent" if link.synapse is not None else _kind(link.node)
        if self.flat and kind not in ("Linear", "Affine", "_Branches", "Output"):
            raise ValueError(f"{where} is {kind} behind Flatten, where Linear or Affine must be")
        if kind == "Input":
            sides = np.ravel(whole_numbers(f"{where}: shape", node.input_type["input"])).tolist()
            self.shape = {1: tuple(sides), 3: (*sides[1:], *sides[:1])}.get(len(sides), ())
        elif kind == "Flatten":
            self.flat = len(self.shape) == 3
        elif kind == "Recurrent":
            self._recurrent(where, link)
        elif kind == "Delay":
            (steps, one), dt = self._steps(where, node), self.how.dt
            self.stages.append(Shift(float(steps.flat[0]) * dt, dt=dt) if one else delay_layer(steps, dt))
        elif kind in _NEURONS:
            self._neurons(where, node)
        elif kind != "Output":
            self.stages.append((self._pool if kind in _POOLS else self._synapse)(where, node))
            self.flat, self.shape = False, self.stages[-1].output_shape(self.shape or None) or ()

    def _delayed(self, where: str, node: _Branches) -> Dense:
        """Return a dense layer whose synapses have the delays of branches."""
        layers = [cast(Dense, self._synapse(where, each)) for each in node.synapses]
        weights, dt = [numbers(where, each, "weight") != 0 for each in node.synapses], self.how.dt
        late = [np.zeros(1) if each is None else self._steps(where, each)[0].reshape(-1) for each in node.delays]
        if any(len(steps) not in (1, weights[0].shape[1]) for steps in late):
            raise ValueError(f"{where}: delays of branches must be one for all or one for each input")
        if len({each.shape for each in weights}) > 1 or (np.sum(weights, axis=0) > 1).any():
            raise ValueError(f"{where}: branches must have weights of one shape, and each weight in one branch only")
        first, note = layers[0], note_in(node.delays[0]) or {}
        for each in layers[1:]:
            first.weight.data = first.weight.data + each.weight.data
            if each.bias is not None:
                first.bias = each.bias if first.bias is None else Tensor(first.bias.data + each.bias.data, True)
        lag = np.sum([steps * weight for steps, weight in zip(late, weights, strict=True)], axis=0)
        lags = max(int(lag.max(initial=0)) + 1, check.integer("lags", note.get("lags", 1), least=1))
        delays = SynapticDelays((lags - 1) * dt, dt=dt)
        first.delays = delays.attach(first.weight.shape)
        delays.taken.data += delays.steps  # they stay as they are
        cast(Tensor, delays.delay).data = to_device(inward(lag * dt, first.in_features).astype(np.float32))
        return first

    def _synapse(self, where: str, node: Any) -> Dense | Conv:
        if isinstance(node, _Branches):
            return self._delayed(where, node)
        weight = numbers(where, node, "weight")
        axes = ("outputs", "inputs", "rows", "columns")[: 4 if _kind(node) == "Conv2d" else 2]
        if weight.ndim != len(axes):
            raise ValueError(f"{where}: weight must be ({', '.join(axes)}), got shape {weight.shape}")
        bias = None
        if _kind(node) != "Linear" and (given := numbers(where, node, "bias")).any():
            if given.shape != weight.shape[:1]:
                raise ValueError(f"{where}: bias must have shape {weight.shape[:1]}, got {given.shape}")
            bias = Tensor(to_device(given.astype(np.float32)), requires_grad=True)
        layer: Any = self._conv(where, node, weight, bias) if weight.ndim == 4 else self._dense(where, weight, bias)
        set_weight(layer, weight)
        return layer

    def _dense(self, where: str, weight: Array, bias: Tensor | None) -> Dense:
        if len(self.shape) == 3 and not self.flat:
            raise ValueError(f"{where} must have a Flatten before it: its input are frames")
        if self.shape and math.prod(self.shape) != weight.shape[1]:
            raise ValueError(f"{where}: weight is for {weight.shape[1]} inputs, got {math.prod(self.shape)}")
        return Dense(self.shape or weight.shape[1:], weight.shape[0], bias=bias)

    def _conv(self, where: str, node: Any, weight: Array, bias: Tensor | None) -> Conv:
        groups, kernel = whole_numbers(f"{where}: groups", node.groups).item(), weight.shape[2:]
        stride, dilation = _pair(where, node, "stride", 1), _pair(where, node, "dilation", 1)
        padding = (0, 0)
        if not isinstance(node.padding, str):
            padding = _pair(where, node, "padding", 0)
        elif node.padding == "same":
            rows, columns = (each * (side - 1) for each, side in zip(dilation, kernel, strict=True))
            if stride != (1, 1) or rows % 2 or columns % 2:
                raise ValueError(f"{where}: padding 'same' needs a stride of 1 and odd kernels")
            padding = rows // 2, columns // 2
        options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return Conv(weight.shape[1] * groups, weight.shape[0], kernel, bias=bias, **options)

    def _pool(self, where: str, node: Any) -> AvgPool | SumPool:
        kernel = _pair(where, node, "kernel_size", 1)
        stride, padding = _pair(where, node, "stride", 1), _pair(where, node, "padding", 0)
        if len(self.shape) != 3:
            raise ValueError(f"{where}: the shape (C, H, W) of its input must be known")
        for side, size, every, around in zip(self.shape, kernel, stride, padding, strict=False):
            over = side + 2 * around - size
            if over > 0 and over % every and _kind(node) == "AvgPool2d":
                return AvgPool(kernel, stride=stride, padding=padding)
            if over < 0 or over % every:
                raise ValueError(f"{where} must divide its input of {side}: pooling here adds what is over")
        gain = 1.0 if _kind(node) == "SumPool2d" else 1.0 / math.prod(kernel)
        return SumPool(kernel, stride=stride, padding=padding, gain=gain)

    def _steps(self, where: str, node: Any) -> tuple[Array, bool]:
        """Return the delays of a node in steps, and whether all are equal."""
        steps = numbers(where, node, "delay").astype(np.float64) / self.how.step
        steps = np.where(abs(steps - np.rint(steps)) < 1e-4, np.rint(steps), steps)
        steps = delay_steps(f"{where}: delay in steps of {self.how.step:g}", steps)
        return steps, bool(steps.size) and bool((steps == steps.flat[0]).all())

    def _recurrent(self, where: str, link: _Link) -> None:
        layer, late = self._synapse(where, link.synapse), 1.0
        for node in link.delays:
            steps, one = self._steps(where, node)
            if not one:
                raise ValueError(f"{where}: the delay of spikes that come back must be one for all")
            late += float(steps.flat[0])
        if layer.bias is not None:
            self._add_bias(where, layer.bias.data)
            layer.bias = None
        factor = self._neurons(where, link.node)
        layer.weight.data = layer.weight.data * to_device(factor.astype(np.float32))
        self.stages.append(Recurrent(layer, self.stages.pop(), delay=late * self.how.dt))

    def _add_bias(self, where: str, bias: Array) -> None:
        """Add the bias of recurrent weights to the bias of the layer before, whose sum they share."""
        before: Any = self.stages[-1] if self.stages else None
        if form_of(before) not in ("dense", "conv") or before.weight.shape[-1:] != bias.shape:
            raise ValueError(f"{where}: the bias of spikes that come back needs a layer with weights before it")
        if before.bias is None:
            before.bias = Tensor(bias, requires_grad=True)
        else:
            before.bias.data = before.bias.data + bias

    def _neurons(self, where: str, node: Any) -> Array:
        """Append neurons; return the factor of their input, which the weights of the layer before now have."""
        pooled = self.stages[-1] if self.stages and form_of(self.stages[-1]) == "pool" else None
        noted = noted_neuron(node, self.shape, self.how) if self.shape else None
        if noted is not None and (pooled is not None or noted[1] == 1.0):
            (neuron, gain), factor = noted, np.ones(())
            if pooled is not None:
                # A file may have the mean of `AvgPool` before neurons with a gain of 1.
                taps = round(1.0 / pooled.gain)
                pooled.gain = gain / taps
        else:
            neuron, factor = neuron_of(where, node, self.how)
            if _kind(node) in self.how.dialect.doubts:
                self.doubts.add(self.how.dialect.doubts[_kind(node)])
            if factor.size > 1:
                factor = self._scale(where, factor)
        self.stages.append(neuron)
        return factor

    def _scale(self, where: str, factor: Array) -> Array:
        """Multiply the weights of the layer before by a factor for each neuron, (N,) or (H, W, C); return it, (C,)."""
        before: Any = self.stages[-1] if self.stages else None
        if form_of(before) == "conv" and factor.ndim == 3 and (factor == factor[:1, :1]).all():
            factor = factor[0, 0]
        if form_of(before) not in ("dense", "conv") or factor.shape != before.weight.shape[-1:]:
            raise ValueError(f"{where}: r, w_in and v_threshold must be one for all, or for each channel of weights")
        for parameter in (before.weight, *([] if before.bias is None else [before.bias])):
            parameter.data = parameter.data * to_device(factor.astype(np.float32))
        return factor


def _pair(where: str, node: Any, name: str, least: int) -> tuple[int, int]:
    return pair_of(f"{where}: {name}", numbers(where, node, name), least)
