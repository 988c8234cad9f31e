"""Classification losses: the cross-entropy of spike counts, over all time or over a sliding window."""

from __future__ import annotations

from cuslayer import check
from cuslayer.backend import Array, namespace, to_device
from cuslayer.loss.base import ClassLoss, in_ms, window_counts, window_steps
from cuslayer.neurons.base import Neuron
from cuslayer.operations.base import contiguous
from cuslayer.tape import Pullback, Tensor, differentiable, numeric

PROBABILITIES = ("softmax", "ratio")


@differentiable
@check.operation
def cross_entropy(counts: Array, /, *, chosen: Array, probability: str = "softmax") -> tuple[Array, Pullback]:
    """Return ``E = -sum log p[label]`` of the counts c of each class, summed over samples and windows.

    ``probability="softmax"``::

        p[i] = exp(c[i]) / sum_j exp(c[j])          g[i] = p[i] - (i is the label)

    ``probability="ratio"``, a class's share of the spikes, with one added to each count so that the probability of a
    silent class is not 0::

        p[i] = (c[i] + 1) / sum_j (c[j] + 1)        g[i] = (p[i] - (i is the label)) / (c[i] + 1)

    Args:
        counts: (N, classes), or (T, N, classes) for a window at each step; not negative.
        chosen: (N, classes), True at the label of each sample.
        probability: "softmax" or "ratio".

    Returns:
        The cross-entropy in nats, a scalar.

    Raises:
        ValueError: a shape does not fit, there are no classes, or probability is unknown.

    Source: Shrestha, Zhu and Sun 2022 (arXiv 2205.09845). They raise each count to at least 1; here 1 is added.

    >>> import numpy as np
    >>> label = np.array([[True, False, False]])
    >>> round(np.exp(-cross_entropy(np.array([[3.0, 0.0, 1.0]]), chosen=label, probability="ratio").item()) * 7)
    4
    """
    check.one_of("probability", probability, PROBABILITIES)
    if counts.ndim < 2 or chosen.shape != counts.shape[-2:]:
        raise ValueError(f"chosen has shape {chosen.shape}, counts have shape {counts.shape}")
    if counts.shape[-1] == 0:
        raise ValueError(f"counts must have a class, got shape {counts.shape}")
    xp, counts = namespace(counts), numeric(counts)
    if probability == "softmax":
        log = counts - counts.max(axis=-1, keepdims=True)
        share, scale = xp.exp(log), None
    else:
        share = scale = counts + counts.dtype.type(1)
        log = xp.log(share)
    total, label = share.sum(axis=-1, keepdims=True), chosen.astype(bool, copy=False)
    # The share of all other classes: for a sample that is nearly certain, the difference of 1 and p would be 0.
    others = xp.where(label, counts.dtype.type(0), share).sum(axis=-1, keepdims=True)
    certain = others <= share
    error = xp.where(certain, xp.log1p(others / xp.where(certain, share, 1)), xp.log(total) - log)
    error = xp.asarray(xp.where(label, error, 0).sum(), dtype=counts.dtype)

    def pullback(g: Array) -> Array:
        of_log = xp.where(label, -others, share) / total * g
        return of_log if scale is None else of_log / scale

    return error, pullback


@differentiable
@check.operation
def moving_count(x: Array, /, *, window: int) -> tuple[Array, Pullback]:
    """Sum each column of x over a sliding window: ``c[t] = sum_{k < window} x[t-k]``, with zeros before step 0.

    The cost does not depend on the window: the sum is the difference of two running sums, in integers for spikes and
    in float64 for numbers. Backward is ``g_x[t] = sum_{k < window} g_c[t+k]``.

    Args:
        x: (T, N, ...), spikes or numbers.
        window: the number of steps.

    Returns:
        The counts, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or window is under 1.
        TypeError: window is not an integer.

    >>> import numpy as np
    >>> moving_count(np.array([[[True]], [[True]], [[True]], [[False]]]), window=2).data.ravel().tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    check.time_first("x", x)
    window = check.integer("window", window, least=1)
    return _window_sum(x, window), lambda g: contiguous(_window_sum(g[::-1], window)[::-1])


def _window_sum(x: Array, window: int) -> Array:
    return window_counts(x, window).astype("float32" if x.dtype == bool else x.dtype)


class SpikeMaxLoss(ClassLoss):
    """The cross-entropy of the classes' spike counts, summed over the batch.

    ``E = -sum log p[label]``, with ``p = softmax(counts)``, or a class's share of all spikes; see
    `functions.cross_entropy`. It has no target counts: the labelled class should spike most. The gradient is exact:
    every bin of the region receives the gradient of its neuron's count, whether it holds a spike or not.

    Args:
        neuron: the neuron that fires; its dt is the step.
        region: start and stop of the counted time in ms; by default all of it.
        probability: "softmax" of the counts, or "ratio", ``(count + 1) / sum (count + 1)``, which does not saturate.

    Raises:
        ValueError: the region is empty or begins before 0, or probability is unknown.
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
        super().__init__(neuron, region)
        self.probability = check.one_of("probability", probability, PROBABILITIES)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        counts = spikes[first:last].sum(axis=0)
        return cross_entropy(counts, chosen=to_device(chosen), probability=self.probability)


class ProbabilityWindowLoss(ClassLoss):
    """The cross-entropy of the classes' spike counts in a sliding window, averaged over its positions.

    With W steps in the window, and R windows that end within the region::

        c[t] = sum_{k < W} s[t-k]
        p[t] = softmax(c[t]), or (c[t] + 1) / sum (c[t] + 1)
        E    = -1/R sum over samples and windows of log p[t][label]

    It trains the decision at every step, not only at the end. The gradient is exact: a bin receives the gradient of
    every window that contains it; see `functions.moving_count` and `functions.cross_entropy`.

    Args:
        neuron: the neuron that fires; its dt is the step.
        window: the length of the window in ms.
        region: start and stop in ms of the time within which windows end; by default all of it. A window that begins
            before 0 is cut there.
        probability: "softmax" of the counts, or "ratio", as in the source.

    Raises:
        ValueError: the window or the region holds no step, the region begins before 0, or probability is unknown.
        TypeError: neuron is not a neuron, or window is not a number.

    Source: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845), for the error "ProbSpikes" with its
    probSlidingWindow, which SLAYER names and SLAYER-PyTorch does not implement.

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
        super().__init__(neuron, region)
        self.window = window_steps(window, self.neuron.dt)
        self.probability = check.one_of("probability", probability, PROBABILITIES)

    def __repr__(self) -> str:
        return check.shown(self, window=self.window * self.dt, region=in_ms(self.region, self.dt))

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        counts = moving_count(spikes, window=self.window)[first:last]
        error = cross_entropy(counts, chosen=to_device(chosen), probability=self.probability)
        return error / float(last - first)
