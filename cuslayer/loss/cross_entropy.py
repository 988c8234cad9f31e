"""Cross-entropies of spike counts, in total or in a sliding window, and of read-outs, for a class or for labels."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.labels import unread
from cuslayer._base.sequences import own_steps
from cuslayer._base.time_window import steps_of
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable
from cuslayer.backend import Array, contiguous, namespace, numeric, to_device, to_numpy
from cuslayer.loss.base import (
    OVER,
    ClassLoss,
    over_time,
    window_counts,
)
from cuslayer.neurons.base import Neuron

PROBABILITIES = ("softmax", "ratio")


@differentiable
@check.operation
def cross_entropy(
    counts: Array,
    /,
    *,
    chosen: Array,
    probability: str = "softmax",
    smoothing: float = 0.0,
    factors: Array | None = None,
) -> tuple[Array, Pullback]:
    """Return ``E = -sum log p[label]`` of the counts c of each class, summed over samples and windows.

    ``probability="softmax"``::

        p[i] = exp(c[i]) / sum_j exp(c[j])          g[i] = p[i] - (i is the label)

    ``probability="ratio"``, a class's fraction of the spikes, with 1 added to each count so that no probability is 0::

        p[i] = (c[i] + 1) / sum_j (c[j] + 1)        g[i] = (p[i] - (i is the label)) / (c[i] + 1)

    With smoothing, ``E = -sum_i q[i] log p[i]`` with ``q = smoothing / classes``, plus ``1 - smoothing`` at the label.

    Args:
        counts: (N, classes), or (T, N, classes) for a window at each step; not negative.
        chosen: (N, classes), True at the label of each sample; or (T, N, classes), at the label of each step.
        probability: "softmax" or "ratio".
        smoothing: the part of the desired probability that all classes share equally, from 0 to 1.
        factors: (N,) or (T, N), the factor of each sample's or step's error; None for 1.

    Returns:
        The cross-entropy in nats, a scalar.

    Raises:
        ValueError: a shape does not fit, there are no classes, or probability is unknown.

    Source: Shrestha, Zhu and Sun 2022 (arXiv 2205.09845). They raise each count to at least 1; cuslayer adds 1.

    >>> import numpy as np
    >>> label = np.array([[True, False, False]])
    >>> round(np.exp(-cross_entropy(np.array([[3.0, 0.0, 1.0]]), chosen=label, probability="ratio").item()) * 7)
    4
    """
    check.one_of("probability", probability, PROBABILITIES)
    if counts.ndim < 2 or chosen.shape not in (counts.shape, counts.shape[-2:]):
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
    # The sum over all other classes: for a nearly certain sample, the difference of 1 and p would be 0.
    others = xp.where(label, counts.dtype.type(0), share).sum(axis=-1, keepdims=True)
    certain = label & (others <= share)
    error = xp.where(certain, xp.log1p(others / xp.where(certain, share, 1)), xp.log(total) - log)
    error = xp.where(label, error, 0)
    if smoothing:
        even = (xp.log(total) - log) / counts.shape[-1]
        error = error * (1 - smoothing) + even * smoothing
    if factors is not None:
        factors = factors.astype(counts.dtype)[..., None]
        error = error * factors
    error = xp.asarray(error.sum(), dtype=counts.dtype)

    def pullback(g: Array) -> Array:
        of_log = xp.where(label, -others, share) / total
        if smoothing:
            of_log = of_log * (1 - smoothing) + (share / total - 1 / counts.shape[-1]) * smoothing
        of_log = of_log * g if factors is None else of_log * factors * g
        return of_log if scale is None else of_log / scale

    return error, pullback


@differentiable
@check.operation
def moving_count(x: Array, /, *, width: int) -> tuple[Array, Pullback]:
    """Sum each column of x over a sliding window: ``c[t] = sum_{k < width} x[t-k]``, with zeros before step 0.

    The cost does not depend on the window: the sum is the difference of two running sums, in integers for spikes and
    in float64 for numbers. Backward is ``g_x[t] = sum_{k < width} g_c[t+k]``.

    Args:
        x: (T, N, ...), spikes or numbers.
        width: the number of steps.

    Returns:
        The counts, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or width is below 1.
        TypeError: width is not an integer.

    >>> import numpy as np
    >>> moving_count(np.array([[[True]], [[True]], [[True]], [[False]]]), width=2).data.ravel().tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    check.time_first("x", x)
    width = check.integer("width", width, least=1)
    return _window_sum(x, width), lambda g: contiguous(_window_sum(g[::-1], width)[::-1])


def _window_sum(x: Array, width: int) -> Array:
    return window_counts(x, width).astype("float32" if x.dtype == bool else x.dtype)


class SpikeMaxLoss(ClassLoss):
    """The cross-entropy of the classes' spike counts, summed over the batch.

    ``E = -sum log p[label]``, with ``p = softmax(counts)``, or the class's fraction of all spikes; see
    `functions.cross_entropy`. It has no target counts: the labelled class should spike most. The gradient is exact:
    every bin of the window receives the gradient of its neuron's count, with or without a spike.

    Args:
        neuron: the neuron that fires; its dt is the step.
        window: start and stop of the counted time, ms; by default the whole time.
        probability: "softmax" of the counts, or "ratio", ``(count + 1) / sum (count + 1)``, which does not saturate.

    Raises:
        ValueError: the window is empty or begins before 0, or probability is unknown.
        TypeError: neuron is not a neuron.

    Source: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845); SpikeMax of Intel's lava-dl.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> round(SpikeMaxLoss(SRM())(np.zeros((10, 1, 2), bool), [1]).item(), 4)
    0.6931
    """

    def __init__(
        self, neuron: Neuron, *, window: tuple[float, float] | None = None, probability: str = "softmax"
    ) -> None:
        super().__init__(neuron, window)
        self.probability = check.one_of("probability", probability, PROBABILITIES)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        counts = spikes[first:last].sum(axis=0)
        return cross_entropy(counts, chosen=chosen, probability=self.probability)


class ProbabilityWindowLoss(ClassLoss):
    """The cross-entropy of the classes' spike counts in a sliding window, averaged over its positions.

    With W steps in the sliding window, and R windows that end within the window::

        c[t] = sum_{k < W} s[t-k]
        p[t] = softmax(c[t]), or (c[t] + 1) / sum (c[t] + 1)
        E    = -1/R sum over samples and windows of log p[t][label]

    It trains the decision at every step, not only at the end. The gradient is exact: a bin receives the gradient of
    every window that contains it; see `functions.moving_count` and `functions.cross_entropy`.

    Args:
        neuron, probability: see `SpikeMaxLoss`, also for errors.
        width: the length of the sliding window in ms.
        window: start and stop, ms, of the time within which windows end; by default the whole time. Windows that begin
            before 0 are cut there.

    Source: Shrestha, Zhu and Sun 2022, "Spikemax" (arXiv 2205.09845), for the error "ProbSpikes" with
    probSlidingWindow. SLAYER names it; SLAYER-PyTorch does not implement it.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> round(ProbabilityWindowLoss(SRM(), width=5)(np.zeros((10, 1, 2), bool), [1]).item(), 4)
    0.6931
    """

    def __init__(
        self,
        neuron: Neuron,
        *,
        width: float = 20.0,
        window: tuple[float, float] | None = None,
        probability: str = "softmax",
    ) -> None:
        super().__init__(neuron, window)
        self.width = steps_of("width", width, self.neuron.dt)
        self.probability = check.one_of("probability", probability, PROBABILITIES)

    def __repr__(self) -> str:
        return check.shown(self, width=self.width * self.dt)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        counts = moving_count(spikes, width=self.width)[first:last]
        error = cross_entropy(counts, chosen=chosen, probability=self.probability)
        return error / float(last - first)


class CrossEntropyLoss(ClassLoss):
    """The cross-entropy of a read-out, summed over the batch.

    With y the output, such as the potentials of `ReadOut`, or spikes, which count as 1::

        z = max, mean or sum of y[t] over the window, or y at its last step
        E = -sum log softmax(z)[label]

    With ``over="every"`` the loss is the mean of E over all steps of the window, with ``z = y[t]``. See
    `functions.cross_entropy`. The gradient is exact. The decision, also in training scores, is the class with the
    largest z, or the largest mean for "every". `classify` and `confidence` take the same `over`.

    With "every", labels may also be (T, N), one for each step, or one-hot (T, N, classes). The loss is then the mean
    over the labelled steps, and the accuracy is the fraction of these steps that are right.

    Args:
        over: "max", "mean", "sum", "last" or "every".
        window: start and stop of the counted time, ms; by default the whole time.
        dt: the step, ms.
        weights: the factor of each class's error, (classes,); None for 1.
        smoothing: the part of the desired probability that all classes share equally, from 0 to below 1.
        ignore: for labels at each step, the label of steps that do not count; one-hot labels have no class there.

    Raises:
        ValueError: over is unknown, dt is not positive, the window is empty or begins before 0, a weight is negative,
            or smoothing is not in [0, 1). A call also raises it for labels at each step with another `over`.
        TypeError: dt, a time, a weight or smoothing is not a number, or ignore is not an integer.

    >>> import numpy as np
    >>> y = np.zeros((10, 1, 2)); y[4, 0, 1] = np.log(3)
    >>> round(CrossEntropyLoss("max")(y, [1]).item(), 4)
    0.2877
    >>> every = CrossEntropyLoss("every")  # a label at each step, of which all but one are left out
    >>> round(every(y, np.where(np.arange(10) == 4, 1, -1)[:, None]).item(), 4)
    0.2877
    """

    def __init__(
        self,
        over: str = "max",
        *,
        window: tuple[float, float] | None = None,
        dt: float = 1.0,
        weights: Any = None,
        smoothing: float = 0.0,
        ignore: int = -1,
    ) -> None:
        self.over = check.one_of("over", over, OVER)
        self._set_time(window, dt)
        if isinstance(weights, (Mapping, Set, str)):
            raise check.mistyped("weights", "must be a list of a factor for each class", weights)
        self.weights = None if weights is None else [check.factor("weights", each) for each in weights]
        self.smoothing = check.fraction("smoothing", smoothing)
        self.ignore = check.integer("ignore", ignore, least=-(2**31))

    def __repr__(self) -> str:
        usual = {"weights": None, "smoothing": 0.0, "ignore": -1}
        hidden = [name for name, value in usual.items() if getattr(self, name) == value]
        return check.shown(self, *hidden)

    @property
    def at_steps(self) -> bool:  # type: ignore[override]
        return self.over == "every"

    def scored(self, output: TensorLike, target: object) -> tuple[TensorLike, object]:
        output = as_tensor(output)
        first, last, lengths = self._within(output)
        y = output.data[first:last]
        chosen = self._at_each_step(target, output)
        if chosen is not None:
            counted = chosen[first:last].any(axis=-1)
            if lengths is not None:
                counted &= own_steps(lengths, len(y), namespace(y))
            return y[counted][None], chosen[first:last][counted].argmax(axis=-1)
        # An output of one step, (1, N, classes).
        return over_time(y, self.over, lengths)[None], target

    def _at_each_step(self, labels: object, spikes: Tensor) -> Array | None:
        """Return labels at each step as booleans (T, N, classes); None for other labels."""
        given = unread(labels)
        if given.ndim < 2 or given.shape not in (spikes.shape, spikes.shape[:2]):
            return None
        if given.shape == spikes.shape[1:] and ((given == 1).sum(axis=1) == 1).all():
            return None  # as many steps as samples and classes: one-hot classes of samples
        if self.over != "every":
            raise ValueError(f"labels at each step, of shape {given.shape}, need over='every', got {self.over!r}")
        classes = namespace(given).arange(spikes.shape[-1])
        if given.ndim == 3:
            if not (((given == 0) | (given == 1)).all() and ((given != 0).sum(axis=-1) <= 1).all()):
                raise ValueError("labels (T, N, classes) must be one-hot, or all 0 for a step that does not count")
            chosen = given != 0
        else:
            if given.dtype.kind not in "iu" and not (isinstance(labels, Tensor) and (given % 1 == 0).all()):
                raise TypeError(f"labels must be integers, got {given.dtype}; labels.astype(int) converts them")
            wrong = (given != self.ignore) & ((given < 0) | (given >= len(classes)))
            if wrong.any():
                step, sample = (int(each[0]) for each in wrong.nonzero())
                label, rule = int(given[step, sample]), f"is none of {len(classes)} classes, nor {self.ignore}"
                raise ValueError(f"label {label} of sample {sample} at step {step} {rule}")
            chosen = (given[..., None] == classes) & (given != self.ignore)[..., None]
        return chosen if kernels.of(spikes.stored) is kernels.cpu else to_device(chosen)

    def _targets(self, labels: object, spikes: Tensor) -> Array:
        at_steps = self._at_each_step(labels, spikes)
        chosen: Array = super()._targets(labels, spikes) if at_steps is None else at_steps
        return chosen

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        y, factors = spikes[first:last], None
        if self.weights is not None:
            if len(self.weights) != spikes.shape[-1]:
                raise ValueError(f"weights must be one for each of {spikes.shape[-1]} classes, got {len(self.weights)}")
            factors = (chosen * to_device(np.array(self.weights))).sum(axis=-1)
        if chosen.ndim > 2:
            chosen = chosen[first:last]
            counted = chosen.any(axis=-1)
            share = counted / counted.sum(axis=0).clip(1)
            factors = share if factors is None else factors[first:last] * share
            return cross_entropy(y, chosen=chosen, smoothing=self.smoothing, factors=factors)
        if self.over == "every":
            return cross_entropy(y, chosen=chosen, smoothing=self.smoothing, factors=factors) / (last - first)
        return cross_entropy(over_time(y, self.over), chosen=chosen, smoothing=self.smoothing, factors=factors)


@differentiable
@check.operation
def binary_cross_entropy(z: Array, /, *, chosen: Array) -> tuple[Array, Pullback]:
    """Return ``E = -sum y log p + (1 - y) log(1 - p)`` with ``p = sigmoid(z)`` for labels y of 0 and 1.

    The gradient is ``p - y``.

    Args:
        z: numbers of any shape.
        chosen: labels of z's shape, True for 1.

    Returns:
        The binary cross-entropy in nats, a scalar.

    Raises:
        ValueError: the shapes differ.

    >>> import numpy as np
    >>> round(binary_cross_entropy(np.zeros((1, 2)), chosen=np.array([[True, False]])).item(), 4)
    1.3863
    """
    check.same_shape("chosen", chosen, "z", z)
    xp, z = namespace(z), numeric(z)
    label = chosen.astype(z.dtype)
    small = xp.exp(-abs(z))
    error = xp.asarray((xp.maximum(z, 0) - z * label + xp.log1p(small)).sum(), dtype=z.dtype)
    p, other = (xp.where(where, 1, small) / (1 + small) for where in (z >= 0, z < 0))
    # Not p - label, which would be 0 for a nearly certain sample.
    return error, lambda g: (p * (1 - label) - other * label) * g


class BinaryCrossEntropyLoss(ClassLoss):
    """The binary cross-entropy of a read-out with several labels per sample, summed over batch and labels.

    ::

        r = max, mean or sum of y[t] over the window, or y at its last step
        p = sigmoid(slope (r - offset))
        E = -sum label log p + (1 - label) log(1 - p)

    For spikes and ``over="mean"``, r is a rate in spikes per step. The gradient is exact. The decision sets a label if
    p is above 1/2; the accuracy is the fraction of samples with all labels right.

    Args:
        over: "mean", "max", "sum" or "last".
        slope: the slope of the sigmoid.
        offset: the read-out at which the probability is 1/2.
        window, dt: see `CrossEntropyLoss`, also for errors.

    Source: after SpikeMoid in Intel's lava-dl, the sigmoid of a rate.

    >>> import numpy as np
    >>> y = np.zeros((10, 1, 3)); y[:, 0, 1] = np.log(3)
    >>> loss = BinaryCrossEntropyLoss()
    >>> loss.probabilities(y).round(4).tolist(), round(loss(y, [[0, 1, 0]]).item(), 4)
    ([[0.5, 0.75, 0.5]], 1.674)
    """

    def __init__(
        self,
        over: str = "mean",
        *,
        slope: float = 1.0,
        offset: float = 0.0,
        window: tuple[float, float] | None = None,
        dt: float = 1.0,
    ) -> None:
        self.over = check.one_of("over", over, ("mean", "max", "sum", "last"))
        self.slope, self.offset = check.constant("slope", slope), check.signed_factor("offset", offset)
        self._set_time(window, dt)

    def probabilities(self, output: TensorLike) -> Array:
        """Return the probability of each label, (N, classes), of an output (T, N, classes), on the CPU.

        Raises:
            ValueError: the output is not (T, N, classes), T is 0, or the window reaches past T.
        """
        check.time_first("output", as_tensor(output), least_dimensions=3)
        return np.exp(-np.logaddexp(0, -to_numpy(self._read(output))))

    def send_labels(self, labels: object, spikes: TensorLike) -> object:
        return labels

    def scored(self, output: TensorLike, target: object) -> tuple[Tensor, object]:
        z = self._read(output)
        right = ((z > 0) == self._targets(target, as_tensor(output))).all(axis=-1)
        xp = namespace(z)
        # Two classes, wrong and right; the label of each sample is right.
        return xp.stack([~right, right], axis=-1)[None], xp.ones(right.shape, "int64")

    def _read(self, output: TensorLike) -> Array:
        """Return ``slope (r - offset)`` of an output, (N, classes), without a gradient."""
        output = as_tensor(output)
        first, last, lengths = self._within(output)
        read = over_time(numeric(output.data[first:last]), self.over, lengths)
        return (read - self.offset) * self.slope

    def _targets(self, labels: object, spikes: Tensor) -> Array:
        """Return labels (N, classes) as booleans on the device of spikes."""
        given = unread(labels)
        if given.shape != spikes.shape[1:]:
            hint = '; Arrays(x, y, targets="labels") makes no classes of y' if given.ndim == 1 else ""
            raise ValueError(f"labels must be (N, labels), {spikes.shape[1:]}, got shape {given.shape}{hint}")
        if namespace(given) is np:
            if given.dtype != bool and not np.isin(given, (0, 1)).all():
                raise ValueError(f"labels must be 0 or 1, got {given[~np.isin(given, (0, 1))].flat[0]}")
            given = given.astype(bool)
            return given if isinstance(spikes.stored, np.ndarray) else to_device(given)
        return given.astype(bool)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        z = (over_time(spikes[first:last], self.over) - self.offset) * self.slope
        return binary_cross_entropy(z, chosen=chosen)
