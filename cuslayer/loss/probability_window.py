"""The loss of class probabilities over a sliding window."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.backend import to_device
from cuslayer.functions.cross_entropy import PROBABILITIES
from cuslayer.loss.arguments import Neuron, classes, neuron, region_steps, window_steps, within
from cuslayer.tape import Tensor


class ProbabilityWindowLoss:
    """The cross-entropy of class probabilities at every step, each from the spikes of a sliding window.

    With W steps in the window, and R windows that end within the region::

        c[t] = sum_{k < W} s[t-k]
        p[t] = softmax(c[t]), or the share (c[t] + 1) / sum (c[t] + 1)
        E    = -1/R sum over samples and windows of log p[t][label]

    It asks for the right answer at every moment, not only in the end. The gradient is exact: a bin receives that of
    every window it lies in; see `functions.moving_count` and `functions.cross_entropy`.

    Args:
        srm: the neuron that fires; its dt is the step.
        window: the length of the window in ms.
        region: start and stop in ms of the time within which windows end; by default all of it. A window that begins
            before 0 holds what there is.
        probability: "softmax" of the counts, or "ratio", as the authors have it.

    Raises:
        ValueError: the window or the region holds no step, the region begins before 0, or probability is an unknown
            word.
        TypeError: srm is no neuron, or window is no number.

    Source: the error "ProbSpikes" with its probSlidingWindow, which SLAYER names and SLAYER-PyTorch leaves empty, as
    its authors gave it later: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845).

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> round(ProbabilityWindowLoss(SRM(), window=5)(np.zeros((10, 1, 2), bool), [1]).item(), 4)
    0.6931
    """

    def __init__(
        self,
        srm: Neuron,
        *,
        window: float = 20.0,
        region: tuple[float, float] | None = None,
        probability: str = "softmax",
    ) -> None:
        op = "ProbabilityWindowLoss"
        self.srm = neuron(op, srm)
        self.window = window_steps(op, window, self.srm.dt)
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
        spikes, chosen = classes("ProbabilityWindowLoss", spikes, labels)
        first, last = within("ProbabilityWindowLoss", self.region, len(spikes), self.srm.dt)
        counts = functions.moving_count(spikes, window=self.window)[first:last]
        error = functions.cross_entropy(counts, chosen=to_device(chosen), probability=self.probability)
        return error / float(last - first)
