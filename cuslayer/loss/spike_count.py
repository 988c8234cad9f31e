"""The loss of spike counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check, functions
from cuslayer.backend import to_device
from cuslayer.loss.arguments import Neuron, classes, neuron, region_steps, within
from cuslayer.tape import Tensor


class SpikeCountLoss:
    """The error of spike counts within a region of time; see `functions.spike_count_error`.

    Args:
        srm: the neuron whose spike response reassigns the error in time.
        true: the count that the neuron of the right class shall reach.
        false: the count of the others.
        region: start and stop of the counted time in ms; by default all of it.

    Raises:
        ValueError: a count is negative, or the region is empty or begins before 0.
        TypeError: srm is no neuron, or a number is none.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement.

    >>> from cuslayer.neuron import SRM
    >>> loss = SpikeCountLoss(SRM(), true=5, false=0, region=(0, 10))
    >>> loss(np.zeros((10, 1, 2), bool), [1]).item()
    1.25
    """

    def __init__(
        self, srm: Neuron, true: float = 60, false: float = 10, region: tuple[float, float] | None = None
    ) -> None:
        op = "SpikeCountLoss"
        self.srm = neuron(op, srm)
        self.true = check.not_negative(op, "true", true)
        self.false = check.not_negative(op, "false", false)
        self.region = region_steps(op, region, self.srm.dt)

    def __call__(self, spikes: Any, labels: Any) -> Tensor:
        """Return the loss of spikes (T, N, classes), as a scalar.

        Args:
            spikes: the output's spikes.
            labels: the classes (N,), integers from 0, or one-hot (N, classes).

        Raises:
            ValueError: a shape does not fit, a label is out of range, or the region reaches past T.
            TypeError: labels are no integers.
        """
        spikes, chosen = classes("SpikeCountLoss", spikes, labels)
        region = within("SpikeCountLoss", self.region, len(spikes), self.srm.dt)
        desired = to_device(np.where(chosen, self.true, self.false))
        return functions.spike_count_error(spikes, desired=desired, region=region, response=self.srm.filter)
