"""Losses for class labels: their base class, the loss of spike counts, windows of time, and labels.

The loss of spike counts reassigns its error in time (SLAYER: spike layer error reassignment).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.labels import class_numbers, unread
from cuslayer._base.sequences import Lengths, ended, own_steps, sum_of_parts
from cuslayer._base.time_window import TimeWindow
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, takes_packed
from cuslayer.backend import Array, namespace, to_device
from cuslayer.kernels.constants import ClassCounts
from cuslayer.kernels.step.filters import Alpha, Sampled
from cuslayer.neurons.base import Neuron, as_neuron

# The default count of the labelled class, as in SLAYER-PyTorch's examples.
_USUAL = 60.0


@check.named
class ClassLoss:
    """Base class of losses for spikes and class labels, with a window of time.

    Attributes:
        neuron: the output neuron; its dt is the step. A loss for read-outs has none.
        dt: the step, ms.
        window: the window in ms, as (start, stop); None for the whole time.
        at_steps: whether integers (T, N) are labels at each step.
    """

    neuron: Neuron
    at_steps = False
    # The step of a network's output that the loss has warned of.
    _other_step: float | None = None

    def __init__(self, neuron: Neuron, window: tuple[float, float] | None) -> None:
        self.neuron = as_neuron(neuron)
        self._set_time(window, self.neuron.dt)

    def _set_time(self, window: tuple[float, float] | None, dt: float) -> None:
        """Validate and set the step and the window."""
        self.dt = check.time_step("dt", dt)
        self.window = None if window is None else TimeWindow.of("window", window)
        if self.window is not None:
            self.window.steps(self.dt)

    def __call__(self, spikes: TensorLike, labels: TensorLike) -> Tensor:
        """Return the loss of spikes (T, N, classes), as a scalar.

        For a padded batch, with `Tensor.lengths`, it is the sum over the recordings, each up to its end.

        Args:
            spikes: the output's spikes.
            labels: the classes (N,), integers from 0, or one-hot (N, classes). A tensor may contain whole numbers.

        Raises:
            ValueError: a shape does not fit, a label is out of range, T is 0, or the window reaches past T.
            TypeError: labels are not integers.

        Warns:
            UserWarning: a network made the spikes with another dt; once.
        """
        spikes = as_tensor(spikes)
        if spikes.ndim < 3 and getattr(labels, "ndim", 0) > 2:
            shape = unread(labels).shape
            raise ValueError(f"the spikes come first, then the labels, got shapes {spikes.shape}, {shape}")
        check.time_first("spikes", spikes, least_dimensions=3)
        warn_of_step(self, spikes)
        try:
            chosen = self._targets(labels, spikes)
        except ValueError as problem:
            shape = tuple(getattr(labels, "shape", None) or np.shape(unread(labels)))
            of_shape = "shape" in str(problem)  # not of a label or a number
            if not of_shape or shape[:1] != spikes.shape[:1] or spikes.shape[0] == spikes.shape[1]:
                raise
            hint = "they are as many as steps: time is the first axis of a network's input, (T, N, ...)"
            raise ValueError(f"{problem}; {hint}") from None
        first, last, _ = self._within(spikes)
        if spikes.lengths is None:
            return self._error(spikes, chosen, first, last)

        def of_part(part: Tensor, length: int, numbers: Lengths) -> Tensor:
            return self._error(part, part_of(chosen, numbers, part), first, min(last, length))

        return sum_of_parts(spikes, lengths=spikes.lengths, loss=of_part)

    def desired_rate(self, target: object, outputs: int, steps: int) -> float | None:
        """Return the mean firing rate, Hz, of an output without error; None if the loss does not determine it."""
        return None

    def send_labels(self, labels: object, spikes: TensorLike) -> object:
        """Return labels on the device where the loss needs them, so that loss and score copy them only once.

        Invalid labels are returned unchanged.
        """
        return send_classes(labels, spikes)

    def scored(self, output: TensorLike, target: object) -> tuple[TensorLike, object]:
        """Return output and target for a score, whose decision is the class with the largest sum over time."""
        lengths = as_tensor(output).lengths
        return output if lengths is None else ended(output, lengths=lengths), target

    def __repr__(self) -> str:
        return check.shown(self)

    def _within(self, output: Tensor) -> tuple[int, int, Lengths | None]:
        """Return the window of an output (T, N, ...) in steps, and how many of its steps each recording has."""
        first, last = self._counted(output.shape[0], padded=output.lengths is not None)
        return first, last, lengths_within(output.lengths, first, last)

    def _counted(self, steps: int, *, padded: bool = False) -> tuple[int, int]:
        """Return the window in steps, which in a padded batch ends with the longest recording."""
        if steps == 0:
            raise ValueError("spikes must have a step, got T = 0")
        if self.window is None:
            return 0, steps
        if not padded:
            return self.window.within(steps, self.dt)
        first, last = self.window.steps(self.dt)
        return first, min(last, steps)

    def _targets(self, labels: object, spikes: Tensor) -> Any:
        """Return labels in the form that `_error` takes, on the device of the spikes."""
        chosen = classes_beside(labels, spikes)
        # Without a transfer, which a captured step must not have.
        classes = namespace(chosen).ones((spikes.shape[-1],), "int64").cumsum() - 1
        return chosen[:, None] == classes

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        """Return the loss for labels (N, classes), True at each label, and a window in steps."""
        raise TypeError("a loss of classes must define _error")


@differentiable
@takes_packed
@check.operation
def spike_count_error(
    s: Array,
    /,
    *,
    desired: Array | ClassCounts,
    window: tuple[int, int],
    response: Alpha | Sampled,
    count_scale: float = 1.0,
    piecewise: bool = False,
) -> tuple[Array, Pullback]:
    """Return ``E = 1/2 sum e^2 dt`` of spike counts in a window of time, summed over batch and neurons.

    With ``a`` the response to the undesired spikes outside the window::

        e[t] = a[t] + count_scale (count - desired) / R    within the window of R steps
        e[t] = a[t]                                        outside of it

    The response to spikes before the window reaches into it, as in SLAYER-PyTorch. With ``piecewise`` it does not:
    within the window ``e = count_scale (count - desired) / R``. The gradient of the spikes is
    ``g[t] = dt sum_k eps[k] e[t+k]`` in every bin, not the derivative of the count. It distributes a count's error over
    all times at which a spike could have changed it.

    Args:
        s: (T, N, neurons), spikes or numbers.
        desired: (N, neurons), the desired counts; or labels and the classes' counts.
        window: in steps: the first one, and the one after its last.
        response: the spike response, with its dt in ms.
        count_scale: the factor of the error of counts (SLAYER-PyTorch's numSpikesScale).
        piecewise: whether the error within the window depends only on the count.

    Returns:
        The error, a scalar.

    Raises:
        ValueError: a shape does not fit, or window is empty or reaches past T.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement; with the response inside the window as in
    SLAYER-PyTorch's ``spikeLoss.numSpikes``; its documentation has the piecewise form.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> silent, desired = np.zeros((10, 1, 1), bool), np.array([[5.0]])
    >>> spike_count_error(silent, desired=desired, window=(0, 10), response=SRM().filter).item()
    1.25
    """
    check.time_first("s", s, least_dimensions=3)
    expected, shape = s.shape[1:], desired.labels.shape if isinstance(desired, ClassCounts) else desired.shape
    if isinstance(desired, ClassCounts):
        expected = expected[:1] if s.ndim == 3 else ()
    if shape != expected:
        name = "desired.labels have" if isinstance(desired, ClassCounts) else "desired has"
        raise ValueError(f"{name} shape {shape}, s expects {expected}")
    first, last = window
    if not 0 <= first < last <= s.shape[0]:
        raise ValueError(f"window must lie within 0 and {s.shape[0]} steps, got {first} to {last}")
    k = kernels.of(s).loss
    error, e = k.error(s, desired, window, response, count_scale, piecewise)
    return error, lambda g: k.error_adjoint(e, g, response)


class SpikeCountLoss(ClassLoss):
    """The error of spike counts within a window of time; see `functions.spike_count_error`.

    Args:
        neuron: the neuron whose spike response reassigns the error in time.
        true: the desired count of the labelled class, by default 60, which suits a window of 300 steps.
        false: the desired count of the other classes.
        window: start and stop of the counted time, ms; by default the whole time.
        count_scale: the factor of the error of counts, relative to the response to spikes outside the window
            (numSpikesScale in SLAYER-PyTorch).
        piecewise: whether the error within the window depends only on the count, without the response to earlier
            spikes.

    Raises:
        ValueError: a count is negative, true is less than false, count_scale is not positive, or the window is empty or
            begins before 0. A call also raises it if a given true is more spikes than the window has steps.
        TypeError: neuron is not a neuron, a count, a factor or a time is not a number, or piecewise is not a bool.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement; SLAYER-PyTorch's ``spikeLoss.numSpikes``.

    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeCountLoss(SRM(), true=5, false=0, window=(0, 10))
    >>> loss(np.zeros((10, 1, 2), bool), [1]).item()
    1.25
    """

    def __init__(
        self,
        neuron: Neuron,
        true: float | None = None,
        false: float = 10,
        window: tuple[float, float] | None = None,
        *,
        count_scale: float = 1.0,
        piecewise: bool = False,
    ) -> None:
        super().__init__(neuron, window)
        self.true = _USUAL if true is None else check.factor("true", true)
        # Nobody chose SLAYER-PyTorch's count: a short window may not reach it.
        self._given = true is not None
        self.false = check.factor("false", false)
        check_order(self.true, self.false)
        self.count_scale = check.constant("count_scale", count_scale)
        self.piecewise = check.flag("piecewise", piecewise)

    def desired_rate(self, target: object, outputs: int, steps: int) -> float:
        first, last = self._counted(steps)
        count = (self.true + (outputs - 1) * self.false) / max(outputs, 1)
        return 1000.0 * count / ((last - first) * self.neuron.dt)

    def _targets(self, labels: object, spikes: Tensor) -> Array | ClassCounts:
        """Return the desired counts; on a GPU by class, without checking labels that are already there."""
        if kernels.of(spikes.stored) is kernels.cpu:
            return np.where(super()._targets(labels, spikes), self.true, self.false)
        return ClassCounts(classes_beside(labels, spikes), self.true, self.false)

    def _error(self, spikes: Tensor, desired: Array | ClassCounts, first: int, last: int) -> Tensor:
        if self._given and spikes.dtype == bool and self.true > last - first:
            rule = f"at most {last - first}, a spike in each step of the {'window' if self.window else 'input'}"
            raise ValueError(f"true must be {rule}, got {self.true:g}")
        return spike_count_error(
            spikes,
            desired=desired,
            window=(first, last),
            response=self.neuron.filter,
            count_scale=self.count_scale,
            piecewise=self.piecewise,
        )


# How a decision reduces an output over time. "every" is a loss at every step, with the decision of "mean".
OVER = ("sum", "mean", "max", "last", "every")


def over_time(y: Tensor | Array, over: str, lengths: Lengths | None = None) -> Any:
    """Return the sum, mean or maximum of y (T, N, classes) over time, or its last step, (N, classes).

    With lengths, each recording counts up to its end.

    >>> import numpy as np
    >>> y = np.array([[[1.0, 5.0]], [[3.0, 0.0]]])
    >>> [over_time(y, over).tolist() for over in ("sum", "max", "last")]
    [[[4.0, 5.0]], [[3.0, 5.0]], [[3.0, 0.0]]]
    """
    if lengths is not None:
        xp = namespace(y)
        if over == "last":
            return y[xp.asarray(lengths - 1), xp.asarray(np.arange(y.shape[1]))]
        kept = own_steps(lengths, len(y), xp)[..., None]
        if over == "max":
            return xp.where(kept, y, False if y.dtype == bool else -np.inf).max(axis=0)
        found = (y * kept).sum(axis=0)
        return found if over == "sum" else found / xp.asarray(lengths)[:, None]
    if over == "last":
        return y[len(y) - 1]
    if over == "sum":
        return y.sum(axis=0)
    return y.max(axis=0) if over == "max" else y.sum(axis=0) / len(y)


def check_order(true: float, false: float) -> None:
    """Raise ValueError if the labelled class should fire less than others: the most active class is the decision."""
    if true < false:
        raise ValueError(f"true must be at least false, {false:g}, got {true:g}")


def window_counts(x: Array, width: int) -> Array:
    """Return the sums of x (T, ...) over the last `width` steps: int64 for spikes, float64 for numbers."""
    count = x.cumsum(axis=0, dtype="int64" if x.dtype == bool else "float64")
    # A copy: the two slices overlap.
    count[width:] -= count[:-width].copy()
    return count


def lengths_within(lengths: Lengths | None, first: int, last: int) -> Lengths | None:
    """Return the number of steps of each recording in a window; raise ValueError if one ends before it."""
    if lengths is None:
        return None
    if lengths.size and lengths.min() <= first:
        i = int(lengths.argmin())
        raise ValueError(f"window begins at step {first}, recording {i} ends after {lengths[i]} steps")
    found: Lengths = np.minimum(lengths, last) - first
    return found


def part_of(chosen: Array | ClassCounts, numbers: Lengths, part: Tensor) -> Any:
    """Return the targets of some recordings for a part of an output (length, recordings, ...)."""
    if isinstance(chosen, ClassCounts):
        return chosen._replace(labels=chosen.labels[numbers])
    here = namespace(chosen).asarray(numbers)
    return chosen[: len(part), here] if chosen.ndim == part.ndim else chosen[here]


def check_output(spikes: Any) -> None:
    """Raise ValueError unless spikes are an array (T, N, classes)."""
    check.time_first("spikes", spikes, least_dimensions=3)
    if spikes.ndim != 3 or spikes.shape[2] == 0:
        raise ValueError(f"spikes must be (T, N, classes), got shape {spikes.shape}")


def step_of(loss: Any) -> float | None:
    """Return the step, ms, of a loss: of its neuron, or of its window; None if it needs none."""
    if hasattr(loss, "neuron"):
        step: float | None = getattr(loss.neuron, "dt", None)
        return step
    return getattr(loss, "dt", None) if getattr(loss, "window", None) is not None else None


def warn_of_step(loss: Any, spikes: Tensor) -> None:
    """Warn once if a network's output has another step than a loss."""
    dt = step_of(loss)
    if dt is None or spikes.dt in (None, dt, loss._other_step):
        return
    loss._other_step = spikes.dt
    cure = "give it neurons of the network, such as net[-1]" if hasattr(loss, "neuron") else f"pass dt={spikes.dt:g}"
    check.warn(f"the network has a dt of {spikes.dt:g} ms, the loss one of {dt:g} ms; {cure}")


def class_labels(labels: Any, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return labels, integers (N,) or one-hot (N, classes), as integers on the CPU, for a shape (N, classes)."""
    if labels is None:
        raise TypeError("labels must be (N,) integers or one-hot (N, classes), got None")
    given = unread(labels)
    if len(shape) != 2 or given.shape not in (shape[:1], shape):
        spikes = f"(T, {', '.join(map(str, shape))})"
        raise ValueError(f"labels have shape {given.shape}, spikes {spikes} expect ({shape[0]},) or {shape}")
    return class_numbers("labels", labels, shape[-1])


def send_classes(labels: object, spikes: TensorLike) -> object:
    """Return labels as integers on the GPU if spikes are there; invalid labels are returned unchanged."""
    spikes = as_tensor(spikes)
    if kernels.of(spikes.stored) is kernels.cpu or namespace(labels) is not np:
        return labels
    try:
        return classes_beside(labels, spikes)
    except (TypeError, ValueError):
        return labels


def classes_beside(labels: Any, spikes: Tensor) -> Array:
    """Return labels as int64 (N,) on the device of spikes (T, N, classes), without checking labels already there."""
    shape = spikes.shape[1:]
    if kernels.of(spikes.stored) is kernels.cpu:
        return class_labels(labels, shape)
    there = namespace(labels) is not np and labels.dtype.kind in "iu" and labels.shape == shape[:1]
    chosen = labels if there else to_device(class_labels(labels, shape))
    return chosen.astype("int64", copy=False)


def finite_target(target: Array) -> None:
    """Raise ValueError if numbers of a target on the CPU are not finite; a GPU's are not read."""
    if target.size and kernels.of(target) is kernels.cpu:
        check.finite_range("target", float(target.min()), float(target.max()))


def desired_rate(loss: Any, target: object, outputs: int, steps: int) -> float | None:
    """Return the mean output rate, Hz, that any loss desires, by `ClassLoss.desired_rate`; or None."""
    if not callable(getattr(loss, "desired_rate", None)):
        return None
    rate = loss.desired_rate(target, outputs, steps)
    return None if rate is None or not math.isfinite(rate) else float(rate)


def sent_labels(loss: Any, target: object, spikes: TensorLike) -> object:
    """Return a target where any loss needs it, by `ClassLoss.send_labels`; unchanged without such a method."""
    return loss.send_labels(target, spikes) if callable(getattr(loss, "send_labels", None)) else target


def scored(loss: Any, output: TensorLike, target: object) -> tuple[TensorLike, object]:
    """Return output and target for a score, by `ClassLoss.scored`; unchanged without such a method."""
    return loss.scored(output, target) if callable(getattr(loss, "scored", None)) else (output, target)


def observing(loss: Any, net: object) -> AbstractContextManager[object]:
    """Return a context in which a loss observes a network's forward pass, by its method `observing` if it has one."""
    return loss.observing(net) if callable(getattr(loss, "observing", None)) else nullcontext()
