"""The result of `ops`: the operations of each layer, and their energy."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.network.graph import Address


@dataclass(frozen=True)
class LayerOperations:
    """The operations of one layer for a sample, in the mean.

    Attributes:
        layer: the address of the layer.
        name: the layer.
        accumulates: additions of a weight, one for each spike and synapse, and of a bias.
        macs: multiplications with an addition, one for each number that is not 0 and synapse.
        dense: the multiplications and additions of a layer of numbers of this size: those of every step and synapse.
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
    """The result of `ops`; it prints as a table.

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
            (*(f"{n:,.0f}" for n in (row.accumulates, row.macs, row.dense, row.updates)), energy, row.name)
            for row in (*self.layers, total)
            for energy in [f"{self.energy_of(row):,.4g}"]
        ]
        widths = [max(len(row[column]) for row in (head, *rows)) for column in range(5)]
        lines = ["  ".join((*map(str.rjust, row, widths), row[5])) for row in (head, *rows)]
        per = (
            f"{self.accumulate:g} pJ an accumulate, {self.multiply_accumulate:g} pJ a MAC, {self.update:g} pJ an update"
        )
        return "\n".join([*lines, f"of a sample; {per}; memory and transport not counted"])
