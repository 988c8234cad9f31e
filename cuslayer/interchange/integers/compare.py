"""How the spikes of an integer twin differ from its network's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._tape import no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.network.graph import finite_input
from cuslayer.network.walk import Walk, check_network, eval_mode


class Moved(NamedTuple):
    """The spikes of a layer of neurons that only one of two networks has.

    Attributes:
        layer: the address and the kind of the neurons.
        spikes: the spikes of the network in float.
        moved: the spikes that one of the networks has and the other has not.
    """

    layer: str
    spikes: int
    moved: int

    @property
    def share(self) -> float:
        """Moved spikes for each spike."""
        return self.moved / max(1, self.spikes)


class Divergence(NamedTuple):
    """The first spike that differs, and why: how far the potentials are from the threshold.

    Attributes:
        layer: the address and the kind of the neurons.
        step: the step, from 0.
        sample: the sample in the batch.
        neuron: the index of the neuron.
        potential: its potential in float.
        of_twin: its potential in integers.
        theta: the threshold.
    """

    layer: str
    step: int
    sample: int
    neuron: int
    potential: float
    of_twin: float
    theta: float

    def __str__(self) -> str:
        place = f"layer {self.layer}, neuron {self.neuron} of sample {self.sample} at step {self.step}"
        values = f"potential {self.potential:.5g}, in integers {self.of_twin:.5g}, threshold {self.theta:.5g}"
        return (
            f"{place}: {values}; the same spikes came in, so rounding moved it by {self.of_twin - self.potential:.2g}"
        )


@dataclass(frozen=True)
class TwinComparison:
    """What `compare_twin` returns.

    Attributes:
        moved: for each layer of neurons its moved spikes.
        first: the first spike that differs; None if all are equal.
    """

    moved: tuple[Moved, ...]
    first: Divergence | None

    def __str__(self) -> str:
        lines = [f"{each.layer}: {each.moved} of {each.spikes} spikes moved, {each.share:.2%}" for each in self.moved]
        return "\n".join([*lines, f"first: {self.first}" if self.first else "all spikes are equal"])


@check.operation
def compare_twin(net: Any, twin: Any, x: Any) -> TwinComparison:
    """Compare the spikes of a network and of its integer twin, layer by layer.

    Equal accuracy may hide other spikes. A spike moves if rounding carries a potential over the threshold; later layers
    then get other spikes. So the first one that differs, of the layers that fire in this step the first, has the same
    past in both networks but for rounding.

    Args:
        net: the network.
        twin: its twin, from `quantize`.
        x: (T, N, ...), spikes or numbers.

    Returns:
        Moved spikes, and the first of them.

    Raises:
        ValueError: x does not fit.
        TypeError: net is not a network.

    >>> from cuslayer.interchange import quantize
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import LIF
    >>> x = np.random.default_rng(0).random((50, 2, 4)) < 0.5
    >>> net = Sequential(Dense(4, 3, weight_scale=3.0), LIF())
    >>> compare_twin(net, quantize(net, x, states=32), x).moved[0].layer
    '1 LIF'
    """
    check_network(net)
    given = finite_input("x", x)
    check.time_first("x", given, least_dimensions=3)
    moved = []
    first: Divergence | None = None
    for mine, own in zip(_neurons(net, given), _neurons(twin, given), strict=True):
        name, spikes, potentials, theta = mine
        _, of_twin, potentials_of_twin, _ = own
        differs = spikes != of_twin
        moved.append(Moved(name, int(spikes.sum()), int(differs.sum())))
        if differs.any():
            step, sample, neuron = (int(axis[0]) for axis in np.nonzero(differs))
            if first is None or step < first.step:
                at = step, sample, neuron
                first = Divergence(name, *at, float(potentials[at]), float(potentials_of_twin[at]), theta)
    return TwinComparison(tuple(moved), first)


def _neurons(net: Any, x: Any) -> list[tuple[str, Array, Array, float]]:
    """Return the name, the spikes and potentials (T, N, neurons), and the threshold of each layer of neurons."""
    layers = []
    with eval_mode(net), no_grad():
        for at in Walk(net, x):
            spikes = to_numpy(at.output.data)
            if at.neurons is not None and spikes.dtype == bool:
                shape = (*spikes.shape[:2], spikes[0, 0].size)
                kind = type(getattr(at.stage, "neuron", at.stage)).__name__
                potentials = np.array(at.potentials).reshape(shape)
                layers.append((f"{at.node} {kind}", spikes.reshape(shape), potentials, float(at.neurons.theta)))
    return layers
