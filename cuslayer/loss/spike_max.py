"""The loss of the class that spikes most: cross-entropy of spike counts."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.backend import to_device
from cuslayer.functions.cross_entropy import PROBABILITIES
from cuslayer.loss.arguments import Neuron, classes, neuron, region_steps, within
from cuslayer.tape import Tensor


class SpikeMaxLoss:
    """The cross-entropy of classes whose probabilities are their spike counts, summed over the batch.

    ``E = -sum log p[label]``, with ``p = softmax(counts)``, or the share that a class has of all spikes; see
    `functions.cross_entropy`. No count is desired: only that the right class spikes most. The gradient is exact: every
    bin of the region receives that of its neuron's count, whether it holds a spike or not.

    Args:
        srm: the neuron that fires; its dt is the step.
        region: start and stop of the counted time in ms; by default all of it.
        probability: "softmax" of the counts, or "ratio", ``(count + 1) / sum (count + 1)``, which spikes do not
            saturate.

    Raises:
        ValueError: the region is empty or begins before 0, or probability is an unknown word.
        TypeError: srm is no neuron.

    Source: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845); SpikeMax of Intel's lava-dl.

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> round(SpikeMaxLoss(SRM())(np.zeros((10, 1, 2), bool), [1]).item(), 4)
    0.6931
    """

    def __init__(self, srm: Neuron, *, region: tuple[float, float] | None = None, probability: str = "softmax") -> None:
        op = "SpikeMaxLoss"
        self.srm = neuron(op, srm)
        self.region = region_steps(op, region, self.srm.dt)
        self.probability = check.one_of(op, "probability", probability, PROBABILITIES)

    def __call__(self, spikes: Any, labels: Any) -> Tensor:
        """Return the loss of spikes (T, N, classes), as a scalar.

        Args:
            spikes: the output's spikes.
            labels: the classes (N,), integers from 0, or one-hot (N, classes).

        Raises:
            ValueError: a shape does not fit, a label is out of range, or the region reaches past T.
            TypeError: labels are no integers.
        """
        spikes, chosen = classes("SpikeMaxLoss", spikes, labels)
        first, last = within("SpikeMaxLoss", self.region, len(spikes), self.srm.dt)
        counts = spikes[first:last].sum(axis=0)
        return functions.cross_entropy(counts, chosen=to_device(chosen), probability=self.probability)
