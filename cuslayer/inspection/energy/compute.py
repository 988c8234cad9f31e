"""Count the synaptic operations of a network on an input, and estimate their energy."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check
from cuslayer.backend import to_device, to_numpy
from cuslayer.inspection.energy.result import LayerOperations, Operations
from cuslayer.inspection.forward import run_nodes
from cuslayer.inspection.structure import check_network, eval_mode, layer_name, units
from cuslayer.layers import Affine, Layer
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Node
from cuslayer.network.input import finite_input
from cuslayer.network.synaptic import events, fan_out, operations, sent
from cuslayer.tape import Tensor, no_grad

# Horowitz 2014, 45 nm: an addition of float32, and with it a multiplication of float32.
_ACCUMULATE, _MULTIPLY_ACCUMULATE = 0.9, 4.6


def ops(
    net: Any,
    x: Any,
    *,
    accumulate: float = _ACCUMULATE,
    multiply_accumulate: float = _MULTIPLY_ACCUMULATE,
    update: float = 0.0,
) -> Operations:
    """Count the synaptic operations of a network for an input, and estimate their energy as papers report it.

    A spike adds a weight at each of its synapses: an accumulate (AC). A number that is not 0 multiplies too: a MAC for
    each synapse. `SparsityLoss` counts the same. A bias is an accumulate for each output and step. All counts are
    those of a sample, the mean over the batch.

    The energy is ``AC accumulate + MAC multiply_accumulate + updates update``, by default with the values of 45 nm CMOS
    and float32, 0.9 pJ and 4.6 pJ. Assumed is that silent inputs cost nothing, that weights are where they are needed,
    and that the steps of neurons, delays and filters cost nothing unless `update` is given: it compares networks, and
    predicts no chip.

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        accumulate: the energy of an accumulate, pJ.
        multiply_accumulate: the energy of a MAC, pJ.
        update: the energy of a step of a neuron, pJ.

    Returns:
        A table of the layers with synapses.

    Raises:
        TypeError: net is not a network, or an energy is not a number.
        ValueError: x does not fit, has no sample, or is not finite, or an energy is negative.

    Source: Horowitz 2014, "Computing's energy problem (and what we can do about it)", doi 10.1109/ISSCC.2014.6757323.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> x = np.zeros((10, 1, 4), bool); x[2, 0, :3] = True
    >>> found = ops(Sequential(Dense(4, 5), SRM()), x)
    >>> found.accumulates, found.dense, found.energy
    (15.0, 200.0, 0.0135)
    """
    check_network("ops", net)
    energies = {"accumulate": accumulate, "multiply_accumulate": multiply_accumulate, "update": update}
    energies = {name: check.not_negative("ops", name, value) for name, value in energies.items()}
    given = finite_input("ops", "x", x).data
    check.time_first("ops", "x", given)
    if not given.shape[1]:
        raise ValueError(f"ops: x must have a sample, got shape {tuple(given.shape)}")
    graph, samples = graph_of(net), given.shape[1]
    found, back = dict[int, tuple[float, float, float, float]](), dict[int, tuple[float, float]]()

    def run(node: Node, *inputs: Tensor) -> Tensor:
        y = node(*inputs)
        for layer, x in sent((node.stage,), inputs, y):
            synapses = fan_out(layer, x.shape[2:])
            if synapses is None:
                continue
            count, steps = float(operations(to_numpy(events(x).data), synapses)) / samples, y.shape[0]
            if layer is not node.stage:
                back[node.number] = count, steps * float(synapses.sum())
                continue
            sums, products = (count, 0.0) if x.dtype == bool else (0.0, count)
            sums += math.prod(y.shape[2:]) * steps * (getattr(layer, "bias", None) is not None)
            integrated = y.size / samples if isinstance(layer, Affine) else 0.0
            found[node.number] = sums, products, len(x) * float(synapses.sum()), integrated
        return y

    sizes: dict[int, float] = {}

    def after(node: Node, y: Tensor, u: Any) -> Tensor:
        sizes[node.number] = y.size / samples
        return y

    with eval_mode(net), no_grad():
        run_nodes(graph.nodes, graph.output, Tensor(to_device(given)), after, run=run)
    rows = []
    for unit in units(net):
        node = unit.layer
        if node is None or node.number not in found or not isinstance(node.stage, Layer):
            continue
        accumulates, macs, dense, updates = found[node.number]
        updates += 0.0 if unit.neurons is None else sizes[unit.neurons.number]
        rows.append(LayerOperations(unit.address, layer_name(unit), accumulates, macs, dense, updates))
        if unit.neurons is not None and unit.neurons.number in back:
            layer = check.one_line(unit.neurons.stage.layer)
            accumulates, dense = back[unit.neurons.number]
            rows.append(LayerOperations(unit.neurons.address, layer, accumulates, 0.0, dense, 0.0))
    return Operations(tuple(rows), **energies)
