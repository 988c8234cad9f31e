"""The cross-entropy of classes whose probabilities are spike counts.

Spikes counted over a moving window of time.

The loss of the class that spikes most: cross-entropy of spike counts.

The loss of class probabilities over a sliding window.
"""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.backend import Array, namespace, to_device
from cuslayer.loss.base import classes, region_steps, window_steps, within
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.tape import Pullback, Tensor, differentiable, numeric

# How counts become probabilities.
PROBABILITIES = ("softmax", "ratio")


@differentiable
def cross_entropy(counts: Array, /, *, chosen: Array, probability: str = "softmax") -> tuple[Array, Pullback]:
    """Return ``E = -sum log p[label]`` of the counts c of each class, summed over samples, and over windows if any.

    ``probability="softmax"``::

        p[i] = exp(c[i]) / sum_j exp(c[j])          g[i] = p[i] - (i is the label)

    ``probability="ratio"``, a class's share of the spikes, each class granted one spike more than it has, so that a
    silent one is improbable and not impossible::

        p[i] = (c[i] + 1) / sum_j (c[j] + 1)        g[i] = (p[i] - (i is the label)) / (c[i] + 1)

    Args:
        counts: (N, classes), or (T, N, classes) of a window at each step; not negative.
        chosen: (N, classes), True at the label of each sample.
        probability: "softmax" or "ratio".

    Returns:
        The cross-entropy in nats, a scalar.

    Raises:
        ValueError: a shape does not fit, there are no classes, or probability is an unknown word.

    Source: Shrestha, Zhu and Sun 2022 (arXiv 2205.09845), who raise each count to 1 at least where 1 is added here.

    >>> import numpy as np
    >>> label = np.array([[True, False, False]])
    >>> round(np.exp(-cross_entropy(np.array([[3.0, 0.0, 1.0]]), chosen=label, probability="ratio").item()) * 7)
    4
    """
    check.one_of("cross_entropy", "probability", probability, PROBABILITIES)
    if counts.ndim < 2 or chosen.shape != counts.shape[-2:]:
        raise ValueError(f"cross_entropy: chosen has shape {chosen.shape}, counts have shape {counts.shape}")
    if counts.shape[-1] == 0:
        raise ValueError(f"cross_entropy: counts must have a class, got shape {counts.shape}")
    xp, counts = namespace(counts), numeric(counts)
    if probability == "softmax":
        log = counts - counts.max(axis=-1, keepdims=True)
        share, scale = xp.exp(log), None
    else:
        share = scale = counts + counts.dtype.type(1)
        log = xp.log(share)
    whole = share.sum(axis=-1, keepdims=True)
    right = chosen.astype(counts.dtype)
    error = xp.asarray(((xp.log(whole) - log) * right).sum(), dtype=counts.dtype)

    def pullback(g: Array) -> Array:
        of_log = (share / whole - right) * g
        return of_log if scale is None else of_log / scale

    return error, pullback


@differentiable
def moving_count(x: Array, /, *, window: int) -> tuple[Array, Pullback]:
    """Sum each column of x over the last steps: ``c[t] = sum_{k < window} x[t-k]``, with nothing before step 0.

    It costs the same whatever the window is: the difference of two running sums, in integers for spikes and in
    float64 for numbers. Backward is ``g_x[t] = sum_{k < window} g_c[t+k]``.

    Args:
        x: (T, N, ...), spikes or numbers.
        window: its length in steps.

    Returns:
        The counts, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or the window is under a step.
        TypeError: window is no integer.

    >>> import numpy as np
    >>> moving_count(np.array([[[True]], [[True]], [[True]], [[False]]]), window=2).data.ravel().tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    check.time_first("moving_count", "x", x)
    window = check.integer("moving_count", "window", window, least=1)
    return _over_last(x, window), lambda g: namespace(g).ascontiguousarray(_over_last(g[::-1], window)[::-1])


def _over_last(x: Array, window: int) -> Array:
    spikes = x.dtype == bool
    count = x.cumsum(axis=0, dtype="int64" if spikes else "float64")
    # A copy: what is subtracted is also subtracted from.
    count[window:] -= count[:-window].copy()
    return count.astype("float32" if spikes else x.dtype)


class SpikeMaxLoss:
    """The cross-entropy of classes whose probabilities are their spike counts, summed over the batch.

    ``E = -sum log p[label]``, with ``p = softmax(counts)``, or the share that a class has of all spikes; see
    `functions.cross_entropy`. No count is desired: only that the right class spikes most. The gradient is exact: every
    bin of the region receives that of its neuron's count, whether it holds a spike or not.

    Args:
        neuron: the neuron that fires; its dt is the step.
        region: start and stop of the counted time in ms; by default all of it.
        probability: "softmax" of the counts, or "ratio", ``(count + 1) / sum (count + 1)``, which spikes do not
            saturate.

    Raises:
        ValueError: the region is empty or begins before 0, or probability is an unknown word.
        TypeError: neuron is not a neuron.

    Source: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845); SpikeMax of Intel's lava-dl.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> round(SpikeMaxLoss(SRM())(np.zeros((10, 1, 2), bool), [1]).item(), 4)
    0.6931
    """

    def __init__(
        self, neuron: Neuron, *, region: tuple[float, float] | None = None, probability: str = "softmax"
    ) -> None:
        op = "SpikeMaxLoss"
        self.neuron = as_neuron(op, neuron)
        self.region = region_steps(op, region, self.neuron.dt)
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
        first, last = within("SpikeMaxLoss", self.region, len(spikes), self.neuron.dt)
        counts = spikes[first:last].sum(axis=0)
        return cross_entropy(counts, chosen=to_device(chosen), probability=self.probability)


class ProbabilityWindowLoss:
    """The cross-entropy of class probabilities at every step, each from the spikes of a sliding window.

    With W steps in the window, and R windows that end within the region::

        c[t] = sum_{k < W} s[t-k]
        p[t] = softmax(c[t]), or the share (c[t] + 1) / sum (c[t] + 1)
        E    = -1/R sum over samples and windows of log p[t][label]

    It asks for the right answer at every moment, not only in the end. The gradient is exact: a bin receives that of
    every window it lies in; see `functions.moving_count` and `functions.cross_entropy`.

    Args:
        neuron: the neuron that fires; its dt is the step.
        window: the length of the window in ms.
        region: start and stop in ms of the time within which windows end; by default all of it. A window that begins
            before 0 holds what there is.
        probability: "softmax" of the counts, or "ratio", as the authors have it.

    Raises:
        ValueError: the window or the region holds no step, the region begins before 0, or probability is an unknown
            word.
        TypeError: neuron is not a neuron, or window is no number.

    Source: the error "ProbSpikes" with its probSlidingWindow, which SLAYER names and SLAYER-PyTorch leaves empty, as
    its authors gave it later: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845).

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> round(ProbabilityWindowLoss(SRM(), window=5)(np.zeros((10, 1, 2), bool), [1]).item(), 4)
    0.6931
    """

    def __init__(
        self,
        neuron: Neuron,
        *,
        window: float = 20.0,
        region: tuple[float, float] | None = None,
        probability: str = "softmax",
    ) -> None:
        op = "ProbabilityWindowLoss"
        self.neuron = as_neuron(op, neuron)
        self.window = window_steps(op, window, self.neuron.dt)
        self.region = region_steps(op, region, self.neuron.dt)
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
        first, last = within("ProbabilityWindowLoss", self.region, len(spikes), self.neuron.dt)
        counts = moving_count(spikes, window=self.window)[first:last]
        error = cross_entropy(counts, chosen=to_device(chosen), probability=self.probability)
        return error / float(last - first)
