"""The loss of spike times."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.loss.arguments import Neuron, neuron
from cuslayer.tape import Tensor, as_tensor


class SpikeTimeLoss:
    """The distance of filtered spike trains, ``E = 1/2 sum (psp(s) - psp(target))^2 dt``.

    See `functions.spike_time_error`.

    Args:
        srm: the neuron whose spike response filters both.

    Raises:
        TypeError: srm is no neuron.

    Source: Shrestha and Orchard 2018, equations 4 and 5 (van Rossum's distance with the spike response).

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> loss = SpikeTimeLoss(SRM())
    >>> train = np.zeros((50, 1, 1), bool); train[10] = True
    >>> loss(train, train).item()
    0.0
    """

    def __init__(self, srm: Neuron) -> None:
        self.srm = neuron("SpikeTimeLoss", srm)

    def __call__(self, spikes: Any, target: Any) -> Tensor:
        """Return the loss of spikes against target, both (T, N, ...), as a scalar.

        Raises:
            ValueError: the shapes differ.
        """
        spikes, target = as_tensor(spikes), as_tensor(target)
        check.same_shape("SpikeTimeLoss", "spikes", spikes, "target", target)
        return functions.spike_time_error(spikes, target, response=self.srm.filter)
