"""Graphs of NIR as chains of nodes, in which a neuron that feeds itself is one recurrent node."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer import check

NEURONS = ("LIF", "CubaLIF", "IF", "Threshold")
SYNAPSES = ("Linear", "Affine", "Conv2d")
# The type of the node that stands for a neuron and the nodes from its output back to its input.
RECURRENT = "Recurrent"
_KINDS = ("Input", "Output", *SYNAPSES, "SumPool2d", "AvgPool2d", "Flatten", "Delay", *NEURONS)
_MOST_LEVELS = 8

Fields = dict[str, Any]


class _Flat(NamedTuple):
    """Nodes and edges of a graph, those of graphs within it in their places.

    Attributes:
        nodes: the fields of each node by its name, which begins with the names of the graphs that it is in.
        edges: pairs of names.
        ends: the nodes Input and Output of this graph.
        inner: those of graphs within it, which are no nodes of the chain.
    """

    nodes: dict[str, Fields]
    edges: list[tuple[str, str]]
    ends: dict[str, list[str]]
    inner: list[str]


def chain(op: str, graph: Any) -> list[tuple[str, Fields]]:
    """Return the names and fields of the nodes from the input to the output.

    A graph within the graph is replaced by its nodes. A neuron whose spikes come back to it through weights, with
    delays before or behind them, becomes a node of type `RECURRENT` with the fields ``neuron``, ``synapse`` and
    ``delays``.

    Raises:
        ValueError: the graph is none, or is no chain but for such loops.
    """
    flat = _flat(op, graph, "", 0)
    nodes = flat.nodes
    before: dict[str, list[str]] = {name: [] for name in nodes}
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for first, second in dict.fromkeys(flat.edges):
        after[first].append(second)
        before[second].append(first)
    for name in flat.inner:
        _leave_out(op, name, nodes, before, after)
    for name in [name for name, fields in nodes.items() if fields["type"] in NEURONS]:
        _take_loop(name, nodes, before, after)
    for name in nodes:
        if len(after[name]) > 1 or len(before[name]) > 1:
            what = "a chain, but for neurons that feed themselves through weights and delays"
            raise ValueError(f"{op}: it must be {what}; see node {check.one_line(name)}")
    starts = [name for name in nodes if not before[name]]
    if len(starts) != 1:
        raise ValueError(f"{op}: it must be a chain from one input, got {len(starts)} beginnings")
    found, at = [], starts
    while at:
        found.append((at[0], nodes[at[0]]))
        at = after[at[0]]
    if len(found) != len(nodes):
        raise ValueError(f"{op}: it must be a chain, but {len(nodes) - len(found)} of its nodes are not on it")
    return found


def _flat(op: str, graph: Any, prefix: str, level: int) -> _Flat:
    given = graph.get("nodes") if isinstance(graph, dict) else None
    if not isinstance(given, dict) or "edges" not in graph:
        where = f"node {check.one_line(prefix[:-1])}" if prefix else "it"
        raise ValueError(f"{op}: {where} has no graph of NIR, a node with nodes and edges")
    if level > _MOST_LEVELS:
        raise ValueError(f"{op}: graphs must be in at most {_MOST_LEVELS} others")
    found, inside = _Flat({}, [], {"Input": [], "Output": []}, []), {}
    for name, fields in given.items():
        whole = f"{prefix}{name}"
        kind = fields.get("type") if isinstance(fields, dict) else None
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind == "NIRGraph":
            part = inside[name] = _flat(op, fields, f"{whole}.", level + 1)
            found.nodes.update(part.nodes)
            found.edges.extend(part.edges)
            found.inner.extend([*part.inner, *part.ends["Input"], *part.ends["Output"]])
        else:
            check.one_of(op, f"the type of node {check.one_line(whole)}", kind, _KINDS)
            found.nodes[whole] = {**fields, "type": kind}
            if kind in found.ends:
                found.ends[kind].append(whole)

    def end(name: str, kind: str) -> str:
        if name not in inside:
            return f"{prefix}{name}"
        ends = inside[name].ends[kind]
        if len(ends) != 1:
            raise ValueError(f"{op}: node {check.one_line(name)} is a graph that must have one {kind}, got {len(ends)}")
        return ends[0]

    for first, second in _pairs(op, graph["edges"]):
        if first not in given or second not in given:
            raise ValueError(f"{op}: an edge from {check.one_line(first)} to {check.one_line(second)} has no nodes")
        found.edges.append((end(first, "Output"), end(second, "Input")))
    return found


def _pairs(op: str, given: Any) -> list[tuple[str, str]]:
    edges = np.asarray(given)
    if edges.size and (edges.ndim != 2 or edges.shape[1] != 2):
        raise ValueError(f"{op}: edges must be pairs of names, got shape {edges.shape}")
    texts = [[end.decode() if isinstance(end, bytes) else str(end) for end in pair] for pair in edges.tolist()]
    return [(pair[0], pair[1]) for pair in texts]


def _leave_out(
    op: str, name: str, nodes: dict[str, Fields], before: dict[str, list[str]], after: dict[str, list[str]]
) -> None:
    """Take a node Input or Output of a graph within the graph out of it, and join its neighbours."""
    if len(before[name]) != 1 or name in before[name]:
        raise ValueError(f"{op}: node {check.one_line(name)} must have one node before it, got {len(before[name])}")
    (first,) = before.pop(name)
    behind = after.pop(name)
    after[first] = [*(second for second in after[first] if second != name), *behind]
    for second in behind:
        before[second] = [first if other == name else other for other in before[second]]
    del nodes[name]


def _take_loop(name: str, nodes: dict[str, Fields], before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """Make a neuron and the nodes of a loop from it back to it one node, if there is such a loop."""
    for first in after[name]:
        loop, at = [], first
        while at != name and len(before[at]) == len(after[at]) == 1 and nodes[at]["type"] in ("Delay", *SYNAPSES):
            loop.append(at)
            (at,) = after[at]
        kinds = [nodes[each]["type"] for each in loop]
        if at != name or len(kinds) - kinds.count("Delay") != 1:
            continue
        parts = [nodes.pop(each) for each in loop]
        after[name].remove(first)
        before[name].remove(loop[-1])
        nodes[name] = {
            "type": RECURRENT,
            "neuron": nodes[name],
            "synapse": next(part for part in parts if part["type"] != "Delay"),
            "delays": [part for part in parts if part["type"] == "Delay"],
        }
        return
