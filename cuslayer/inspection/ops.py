"""`count_operations`: count the synaptic operations of a network on an input, and estimate their energy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import to_device, to_numpy
from cuslayer.layers import Layer
from cuslayer.network.graph import Address, whole_input
from cuslayer.network.synaptic import events, fan_out, operations, sent
from cuslayer.network.walk import Walk, check_network, eval_mode, units

if TYPE_CHECKING:
    from cuslayer.network.network import Container

# Horowitz 2014, 45 nm: an addition of float32, and with it a multiplication of float32.
_ACCUMULATE, _MULTIPLY_ACCUMULATE = 0.9, 4.6


@check.operation
def count_operations(
    net: Container,
    x: TensorLike,
    *,
    accumulate: float = _ACCUMULATE,
    multiply_accumulate: float = _MULTIPLY_ACCUMULATE,
    update: float = 0.0,
) -> Operations:
    """Count the synaptic operations of a network for an input, and estimate their energy as in papers.

    A spike adds a weight at each of its synapses: an accumulate (AC). A number that is not 0 multiplies too: a MAC for
    each synapse. `SparsityLoss` counts the same for spikes of neurons, and leaves out the operations of the network's
    input. A bias is an accumulate for each output and step. All counts are for a sample, the mean over the batch.

    The energy is ``AC accumulate + MAC multiply_accumulate + updates update``, by default with the values of 45 nm CMOS
    and float32, 0.9 pJ and 4.6 pJ. It assumes that silent inputs cost nothing, that weights are where they are needed,
    and that the steps of neurons, delays and filters cost nothing unless `update` is given. So it compares networks,
    but predicts no chip.

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
    >>> found = count_operations(Sequential(Dense(4, 5), SRM()), x)
    >>> found.accumulates, found.dense, found.energy
    (15.0, 200.0, 0.0135)
    """
    check_network(net)
    energies = {"accumulate": accumulate, "multiply_accumulate": multiply_accumulate, "update": update}
    energies = {name: check.not_negative(name, value) for name, value in energies.items()}
    given = whole_input("x", x).data
    check.time_first("x", given)
    if not given.shape[1]:
        raise ValueError(f"x must have a sample, got shape {tuple(given.shape)}")
    samples = given.shape[1]
    # By the number of the node: accumulates, MACs, MACs if dense and updates; spikes that come back to neurons.
    found, back = dict[int, tuple[float, float, float, float]](), dict[int, tuple[float, float]]()
    sizes: dict[int, float] = {}
    with eval_mode(net), no_grad():
        for at in Walk(net, Tensor(to_device(given))):
            y: Tensor = at.output
            sizes[at.number] = y.size / samples
            for layer, x in sent((at.stage,), at.inputs, y):
                synapses = fan_out(layer, x.shape[2:])
                if synapses is None:
                    continue
                count, steps = float(operations(to_numpy(events(x).data), synapses)) / samples, y.shape[0]
                if layer is not at.stage:
                    back[at.number] = count, steps * float(synapses.sum())
                    continue
                sums, products = (count, 0.0) if x.dtype == bool else (0.0, count)
                sums += math.prod(y.shape[2:]) * steps * (getattr(layer, "bias", None) is not None)
                integrated = y.size / samples if layer.is_read_out else 0.0
                found[at.number] = sums, products, len(x) * float(synapses.sum()), integrated
    rows = []
    for unit in units(net):
        node = unit.layer
        if node is None or node.number not in found or not isinstance(node.stage, Layer):
            continue
        accumulates, macs, dense, updates = found[node.number]
        updates += 0.0 if unit.neurons is None else sizes[unit.neurons.number]
        rows.append(LayerOperations(unit.address, unit.name, accumulates, macs, dense, updates))
        if unit.neurons is not None and unit.neurons.number in back:
            layer = check.one_line(unit.neurons.stage.layer)
            accumulates, dense = back[unit.neurons.number]
            rows.append(LayerOperations(unit.neurons.address, layer, accumulates, 0.0, dense, 0.0))
    return Operations(tuple(rows), **energies)


@dataclass(frozen=True)
class LayerOperations:
    """The mean operations of one layer for a sample.

    Attributes:
        layer: the address of the layer.
        name: the layer.
        accumulates: additions of a weight, one for each spike and synapse, and of a bias.
        macs: multiplications with an addition, one for each number that is not 0 and synapse.
        dense: the multiplications and additions of a layer of numbers of this size, one for every step and synapse.
        updates: the steps of neurons or of integrators after the layer.
    """

    layer: Address
    name: str
    accumulates: float
    macs: float
    dense: float
    updates: float


@dataclass(frozen=True)
class Operations:
    """The result of `count_operations`; it prints as a table.

    Attributes:
        layers: one entry for each layer with synapses.
        accumulate: the energy of an accumulate, pJ.
        multiply_accumulate: the energy of a multiplication with an addition, pJ.
        update: the energy of a step of a neuron, pJ.
    """

    layers: tuple[LayerOperations, ...]
    accumulate: float
    multiply_accumulate: float
    update: float

    @property
    def accumulates(self) -> float:
        """The accumulates of a sample in all layers."""
        return sum(row.accumulates for row in self.layers)

    @property
    def macs(self) -> float:
        """The multiplications with an addition of a sample in all layers."""
        return sum(row.macs for row in self.layers)

    @property
    def dense(self) -> float:
        """The multiplications and additions of a network of numbers of this size."""
        return sum(row.dense for row in self.layers)

    @property
    def updates(self) -> float:
        """The steps of all neurons for a sample."""
        return sum(row.updates for row in self.layers)

    def energy_of(self, row: LayerOperations) -> float:
        """Return the energy of a layer for a sample, nJ."""
        picojoule = row.accumulates * self.accumulate + row.macs * self.multiply_accumulate + row.updates * self.update
        return picojoule / 1000

    @property
    def energy(self) -> float:
        """The energy of a sample, nJ."""
        return sum(map(self.energy_of, self.layers))

    @property
    def dense_energy(self) -> float:
        """The energy of a network of numbers of this size that computes every step, nJ."""
        return self.dense * self.multiply_accumulate / 1000

    def __str__(self) -> str:
        head = ("accumulates", "MACs", "dense MACs", "updates", "energy (nJ)", "layer")
        total = LayerOperations((), "all", self.accumulates, self.macs, self.dense, self.updates)
        rows = [
            (*(f"{n:,.0f}" for n in (r.accumulates, r.macs, r.dense, r.updates)), f"{self.energy_of(r):,.4g}", r.name)
            for r in (*self.layers, total)
        ]
        energies = self.accumulate, self.multiply_accumulate, self.update
        per = "{:g} pJ an accumulate, {:g} pJ a MAC, {:g} pJ an update".format(*energies)
        return "\n".join([*check.columns((head, *rows)), f"of a sample; {per}; memory and transport not counted"])
