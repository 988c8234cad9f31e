"""Write networks as NIR files."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._tape import no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.axes import (
    channels_first,
    input_shape_of,
    only_dt,
    outward,
    values_first,
    weight_of,
    write_file,
)
from cuslayer.interchange.nir.neurons import MOST_EDGES, NOTE, Written, dialect_of, node_of, note_of
from cuslayer.kernels.constants import places_of
from cuslayer.layers import AvgPool, Conv, Dense, Recurrent, SumPool, SynapticDelays
from cuslayer.layers.base import form_of
from cuslayer.network.network import Sequential, chain_of
from cuslayer.neurons import CUBA
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron


@check.operation
def export_nir(
    net: Sequential,
    path: str | Path,
    *,
    dialect: str = "nir",
    step: float | None = None,
    input_shape: int | tuple[int, ...] | None = None,
    approximate: Any = None,
) -> list[float]:
    """Write a network as a file of the Neuromorphic Intermediate Representation, which other libraries read.

    Dense layers become Linear, or Affine with a bias, convolutions Conv2d, sum pooling SumPool2d, mean pooling
    AvgPool2d, delays Delay, and neurons LIF, CubaLIF or, without memory, Threshold. A dense layer whose synapses have
    delays becomes a branch of Delay and Linear for each delay that occurs in evaluation. A `Recurrent` population is a
    neuron with a loop through weights, and through a Delay if it takes over one step. For snnTorch it is a graph within
    the graph, with a warning, as some versions of its reader give other spikes. Frames are (C, H, W) there, so the
    weights of a dense layer after frames are sorted accordingly, after a Flatten. The gain of pooling is in the neurons
    after it. Weights are final, after their hooks. NIR omits dropout, surrogates and which constants are trained; the
    metadata of neurons has them for `import_nir`.

    NIR's time is continuous. The file has the constants with which a step of forward Euler, ``v + h / tau (r I - v)``,
    is exactly ours: with the decay a of a step, ``tau = h / (1 - a)`` and ``r = tau / h``. A spike is where
    ``v > v_threshold``, which is the next float32 number below theta. Readers differ, and ``dialect`` chooses one; the
    table is in docs/exchange.md.

    Args:
        net: the network, a chain of layers.
        path: the file; it is written atomically.
        dialect: "nir", "snntorch", "norse" or "sinabs": the reader of the file.
        step: the step in the file's unit of time; by default the dialect's, in "nir" the neurons' in seconds.
        input_shape: (H, W, C), (N,) or N; needed unless net is a `Network` or begins with a dense layer.
        approximate: an input (T, N, ...). Spike response neurons, which NIR does not have, become CUBA neurons that
            reset to 0; their error is measured on this input.

    Returns:
        For each approximated layer of neurons, the share of spikes that moved: among the spikes of both networks, those
        at a step and a neuron where the other has none. Each approximated layer is one step earlier, which does not
        count.

    Raises:
        ValueError: the network has branches, NIR or the dialect's reader has no node for a layer, neurons differ in dt,
            or the input's shape is unknown. Also if the file cannot be written.
        TypeError: net is not a network, or an argument has the wrong type.
        ImportError: nir is not installed.

    Source: Pedersen et al. 2024, "Neuromorphic intermediate representation: a unified instruction set for
    interoperable brain-inspired computing", Nature Communications 15.

    >>> import tempfile
    >>> from cuslayer.interchange import import_nir
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import CUBA
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_nir(Network("8x8x2-4c3-2a-10", CUBA()), f"{folder}/trained.nir")
    ...     [type(layer).__name__ for layer in import_nir(f"{folder}/trained.nir").layers]
    []
    ['Conv', 'CUBA', 'SumPool', 'CUBA', 'Dense', 'CUBA']
    """
    shape, library, spoken = input_shape_of(net, input_shape), optional("nir", "nir"), dialect_of(dialect)
    moved: list[float] = []
    if approximate is not None:
        net, moved = _approximated(net, approximate)
    dt = only_dt(layer for layer in net.layers if is_neuron(layer))
    if step is None:
        step = 1e-3 * dt if spoken.step is None else spoken.step
    how = Written(spoken, check.positive("step", step), dt)
    nodes: list[Any] = [library.Input(np.array(channels_first(shape)))]
    for node in chain_of(net):
        layer, where = node.stage, f"layer {node}, {check.one_line(node.stage)},"
        form = form_of(layer)
        if form == "recurrent":
            nodes.append(_loop(library, where, layer, shape, how))
        elif is_neuron(layer):
            nodes.append(_neurons(library, where, as_neuron(layer), shape, how))
            how = how._replace(gain=1.0)
        elif form != "same":
            if how.gain != 1.0:
                raise ValueError(f"{where} must be neurons: NIR has no gain of pooling but in neurons")
            more = _layer_nodes(library, where, layer, shape, how)
            if isinstance(more[0], _Branches) and isinstance(nodes[-1], _Branches):
                raise ValueError(f"{where} must follow neurons: NIR's branches of delays cannot follow each other")
            nodes += more
            how = how._replace(gain=_gain(layer, how) if form == "pool" else 1.0)
            shape = layer.output_shape(shape)
    if how.gain != 1.0:
        raise ValueError("the last pooling layer must have neurons behind it, which have its gain in NIR")
    nodes.append(library.Output(np.array(channels_first(shape))))
    graph = _graph(library, nodes)
    edges = sum(len(each.edges) for each in (graph, *graph.nodes.values()) if hasattr(each, "edges"))
    if edges > MOST_EDGES:
        few = "take a shorter max_delay or a larger dt of synaptic delays"
        raise ValueError(f"the graph must have at most {MOST_EDGES} edges, three for each lag, got {edges}; {few}")
    write_file(path, lambda memory: library.write(memory, _Readable(graph)))
    if spoken.loops_doubt and any(form_of(layer) == "recurrent" for layer in net.layers):
        check.warn(f"{spoken.name} reads a Recurrent layer by nirtorch: {spoken.loops_doubt}")
    return moved


class _Loop(NamedTuple):
    """A neuron's node, and the nodes from its output back to its input."""

    neuron: Any
    back: list[Any]


class _Branches(NamedTuple):
    """Parallel chains of nodes, whose outputs are added."""

    chains: list[list[Any]]


class _Readable(NamedTuple):
    """A graph for the writer of nir, whose file nir 1.0.4 reads too: it omits v_reset, which is then 0."""

    graph: Any

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = self.graph.to_dict()
        graphs = [found]
        for graph in graphs:
            for fields in graph["nodes"].values():
                fields.pop("v_reset", None)
                graphs += [fields] if "nodes" in fields else []
        return found


def _graph(library: ModuleType, nodes: list[Any]) -> Any:
    """Return the graph of a chain, whose names sort in its order: nirtorch fails on long chains in another order."""
    width = len(str(len(nodes)))
    named: dict[str, Any] = {}
    line, loops = list[_Ends](), list[tuple[str, str]]()
    for i, node in enumerate(nodes):
        own, back = node if isinstance(node, _Loop) else (node, [])
        name = f"layer_{i - 1:0{width}}"
        if _kind(own) in ("input", "output"):
            named[_kind(own)] = own
            line.append(([_kind(own)], [_kind(own)], []))
            continue
        line.append(_put(named, name, own))
        if back:
            behind = [_put(named, f"{name}_{_kind(own)}_back_{n}", each) for n, each in enumerate(back)]
            loops = [*_joined([line[-1], *behind, line[-1]]), *loops]
    # Loops before the chain: nirtorch takes the last node as the output.
    return library.NIRGraph(named, [*loops, *_joined(line)])


# The first and the last nodes of a part of a graph, and its edges.
_Ends: TypeAlias = "tuple[list[str], list[str], list[tuple[str, str]]]"


def _put(named: dict[str, Any], name: str, node: Any) -> _Ends:
    """Add a node, or branches, to the named nodes."""
    chains = node.chains if isinstance(node, _Branches) else [[node]]
    ends: _Ends = ([], [], [])
    for n, chain in enumerate(chains):
        within = f"{name}_{n}" if isinstance(node, _Branches) else name
        own = {f"{within}_{_kind(each)}": each for each in chain}
        named |= own
        ends[0].append(next(iter(own)))
        ends[1].append([*own][-1])
        ends[2].extend(itertools.pairwise(own))
    return ends


def _joined(parts: list[_Ends]) -> list[tuple[str, str]]:
    """Return the edges within parts of a graph and from each to the next."""
    within = [edge for _, _, edges in parts for edge in edges]
    between = [e for (_, last, _), (first, _, _) in itertools.pairwise(parts) for e in itertools.product(last, first)]
    return [*dict.fromkeys([*within, *between])]


def _kind(node: Any) -> str:
    return type(node).__name__.lower()


def _neurons(library: ModuleType, where: str, neuron: Neuron, shape: tuple[int, ...], how: Written) -> Any:
    kind, fields = node_of(where, neuron, shape, how)
    _must_be_read(where, kind, how)
    return getattr(library, kind)(**fields, metadata=note_of(neuron, how))


def _must_be_read(where: str, kind: str, how: Written) -> None:
    if kind not in how.dialect.reads:
        least = f"; a time constant of {how.dt / 50:g} ms is LIF there" if kind == "Threshold" else ""
        raise ValueError(
            f"{where} cannot be written: the reader of {how.dialect.name} has no {kind}, which it is in NIR; "
            f"dialect='nir' writes it{least}"
        )


def _loop(library: ModuleType, where: str, population: Recurrent, shape: tuple[int, ...], how: Written) -> Any:
    """Return the loop of a population, or for snnTorch the graph that stands for one."""
    neuron, layer, dialect = population.neuron, population.layer, how.dialect
    if how.gain != 1.0:
        raise ValueError(f"{where} cannot have pooling before it: its gain does not apply to the spikes that come back")
    if dialect.loops is None:
        raise ValueError(f"{where} cannot be written: the reader of {dialect.name} has no recurrence")
    if form_of(layer) == "dense" and len(shape) == 3:
        raise ValueError(f"{where} cannot be written: a dense layer in NIR has no frames of neurons")
    node = _neurons(library, where, neuron, shape, how)
    (back,) = _layer_nodes(library, where, layer, shape, how)
    if dialect.loops == "edges":
        if population.steps == 1:
            return _Loop(node, [back])
        _must_be_read(where, "Delay", how)
        late = np.full(channels_first(shape), (population.steps - 1) * how.step)
        return _Loop(node, [library.Delay(delay=late), back])
    if population.steps > 1 or form_of(layer) == "conv":
        theirs = f"{dialect.name} has dense recurrence with a delay of one step only"
        raise ValueError(f"{where} cannot be written: {theirs}")
    ends = {"input": library.Input(np.array(shape)), "output": library.Output(np.array(shape))}
    edges = [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")]
    return library.NIRGraph({**ends, "lif": node, "w_rec": back}, edges)


def _layer_nodes(library: ModuleType, where: str, layer: Any, shape: tuple[int, ...], how: Written) -> list[Any]:
    """Return the nodes of a layer that is no neuron."""
    form = form_of(layer)
    if form == "dense":
        if places_of(shape, math.prod(layer.in_features)):
            raise ValueError(f"{where} cannot be written: NIR has no dense layer that maps each place of {shape}")
        flatten = [library.Flatten(input_type=np.array(channels_first(shape)), start_dim=0, end_dim=-1)]
        if layer.delays is not None:
            linear: Any = _delayed(library, where, layer, shape, how)
        else:
            weight = weight_of(layer, shape)
            if "Linear" in how.dialect.reads and layer.bias is None:
                linear = library.Linear(weight=weight)
            else:
                linear = library.Affine(weight=weight, bias=_bias(layer, weight))
        return [*(flatten if len(shape) == 3 else []), linear]
    if form == "conv":
        return [_conv(library, where, layer, shape)]
    if form == "pool":
        return [_pool(library, where, layer, shape, how)]
    if form == "mean":
        return [_average(library, where, layer, how)]
    if form != "delay" or layer.linear:
        raise ValueError(f"{where} has no form in NIR")
    steps = np.broadcast_to(layer.lags()[0], shape)
    if (steps < 0).any():
        raise ValueError(f"{where} must not advance: NIR has delays only")
    _must_be_read(where, "Delay", how)
    return [library.Delay(delay=values_first(steps) * how.step)]


def _delayed(library: ModuleType, where: str, layer: Dense, shape: tuple[int, ...], how: Written) -> _Branches:
    """Return a branch for each delay in steps that a weight has in evaluation: Delay, and the weights with it."""
    _must_be_read(where, "Delay", how)
    delays = cast(SynapticDelays, layer.delays)
    weight, lag = weight_of(layer, shape, delayed=True), outward(to_numpy(delays.whole_lags()), shape)
    chains, note = list[list[Any]](), {NOTE: json.dumps({"lags": delays.lags})}
    for each in np.unique(lag):
        late = library.Delay(delay=np.full(weight.shape[1], each * how.step), metadata=note)
        of_lag = np.where(lag == each, weight, 0).astype(weight.dtype)
        if chains or layer.bias is None:
            chains.append([late, library.Linear(weight=of_lag)])
        else:
            chains.append([late, library.Affine(weight=of_lag, bias=_bias(layer, weight))])
    return _Branches(chains)


def _conv(library: ModuleType, where: str, layer: Conv, shape: tuple[int, ...]) -> Any:
    weight = weight_of(layer)
    if weight.shape[2] != weight.shape[3]:
        raise ValueError(f"{where} must have a square kernel: the nir package takes others for square")
    if layer.groups > 1:  # with zeros between groups: the nir package takes a group's channels as all
        every = np.zeros((layer.groups, len(weight) // layer.groups, layer.groups, *weight.shape[1:]), weight.dtype)
        own = np.arange(layer.groups)
        every[own, :, own] = weight.reshape(layer.groups, -1, *weight.shape[1:])
        weight = every.reshape(len(weight), layer.in_channels, *weight.shape[2:])
    options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    return library.Conv2d(input_shape=shape[:2], weight=weight, groups=1, bias=_bias(layer, weight), **options)


def _bias(layer: Any, weight: Any) -> Any:
    return np.zeros(len(weight), weight.dtype) if layer.bias is None else to_numpy(layer.bias.data)


def _pool(library: ModuleType, where: str, layer: SumPool, shape: tuple[int, ...], how: Written) -> Any:
    if layer.weight_hook or layer.dilation != (1, 1):
        raise ValueError(f"{where} must have neither hooks nor dilation: NIR's sum has neither")
    for side, kernel, stride, padding in zip(shape, layer.kernel_size, layer.stride, layer.padding, strict=False):
        over = side + 2 * padding - kernel
        if over < 0 or over % stride:
            raise ValueError(f"{where} must divide its input of {side}: NIR leaves out what is over")
    if any(layer.padding) and not how.dialect.pads:
        raise ValueError(f"{where} must have no padding: the reader of {how.dialect.name} leaves it out")
    return _windows(library.SumPool2d if "SumPool2d" in how.dialect.reads else library.AvgPool2d, layer)


def _average(library: ModuleType, where: str, layer: AvgPool, how: Written) -> Any:
    if layer.dilation != (1, 1):
        raise ValueError(f"{where} must have no dilation: NIR's mean has none")
    _must_be_read(where, "AvgPool2d", how)
    return _windows(library.AvgPool2d, layer)


def _windows(pooling: Any, layer: AvgPool | SumPool) -> Any:
    return pooling(*(np.array(size) for size in (layer.kernel_size, layer.stride, layer.padding)))


def _gain(layer: SumPool, how: Written) -> float:
    """Return the gain of pooling relative to NIR's node, which sums or averages."""
    return float(layer.gain * (1 if "SumPool2d" in how.dialect.reads else math.prod(layer.kernel_size)))


def _approximated(net: Sequential, x: Any) -> tuple[Sequential, list[float]]:
    """Return a network with CUBA neurons instead of alpha responses, and the share of spikes that moved on x.

    A CUBA neuron with both time constants tau has the response ``(k + 1) d^k`` with ``d = exp(-dt / tau)``. Times
    ``e d dt / tau`` and one step later, this is the alpha response ``e k d^k dt / tau``, except for its cut. So this
    factor divides the threshold, and the layer is one step earlier. The refractory response becomes a reset to 0: this
    is the error.

    A layer's steps are aligned before its spikes are compared.
    """
    stages = [node.stage for node in chain_of(net)]
    others = [_as_cuba(as_neuron(stage)) if is_neuron(stage) else stage for stage in stages]
    exact, close = to_numpy(x), to_numpy(x)
    check.time_first("approximate", exact)
    training = net.training
    net.eval()
    moved, earlier = [], 0
    try:
        with no_grad():
            for stage, other in zip(stages, others, strict=True):
                exact, close = (to_numpy(layer(a).data) for layer, a in ((stage, exact), (other, close)))
                if stage is not other:
                    earlier += 1
                    moved.append(share_moved(exact[earlier:], close[: max(0, len(close) - earlier)]))
    finally:
        net.train(training)
    return Sequential(*others), moved


def share_moved(a: Array, b: Array) -> float:
    """Return the share of the spikes of two rasters together that the other one does not have; 0 without spikes.

    >>> import numpy as np
    >>> share_moved(np.array([True, True, False]), np.array([True, False, True]))
    0.5
    """
    both = int(a.sum()) + int(b.sum())
    return float((a != b).sum()) / both if both else 0.0


def _as_cuba(neuron: Neuron) -> Neuron:
    if neuron.srm_form is None:
        return neuron
    response = neuron.srm_form.response
    ratio = response.dt / response.tau
    factor = response.amplitude * math.e * ratio * math.exp(-ratio)
    return CUBA(response.tau, response.tau, theta=neuron.theta / factor, dt=neuron.dt, gradient=neuron.gradient)
