"""Decisions from the output: the class, its probability, the class at every step, and the time of the decision."""

from __future__ import annotations

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.labels import class_numbers, unread
from cuslayer._base.time_window import steps_of
from cuslayer._tape import as_tensor
from cuslayer.backend import Array, to_numpy
from cuslayer.loss.base import OVER, check_output, over_time, window_counts


@check.operation
def classify(spikes: TensorLike, *, over: str = "sum") -> Array:
    """Return the class with the most spikes or the largest read-out for each sample; among equals, the lowest class.

    Args:
        spikes: (T, N, classes): spikes, counts, or the potentials of a read-out. In a padded batch, with
            `Tensor.lengths`, each recording counts up to its end.
        over: "sum", "mean" or "max" over time, or "last" for the last step; "every" is the mean.

    Returns:
        Classes (N,), int64, on the CPU.

    Raises:
        ValueError: spikes are not (T, N, classes), there are no classes, no step for "max" or "last", or over is
            unknown.

    >>> classify(np.array([[[True, False]], [[True, True]]])).tolist()
    [0]
    >>> classify(np.array([[[1.0, 0.0]], [[1.0, 1.5]]]), over="max").tolist()
    [1]
    """
    return to_numpy(_read(spikes, over).argmax(axis=1)).astype(np.int64)


@check.operation
def confidence(spikes: TensorLike, *, over: str = "sum") -> Array:
    """Return the probability of each decision: the softmax of the counts or of the read-out at its largest class.

    Args:
        spikes: (T, N, classes): spikes, counts, or the potentials of a read-out.
        over: see `classify`, which gives the decision, also for errors.

    Returns:
        Probabilities (N,), float64, from 1 / classes to 1, on the CPU.

    >>> confidence(np.array([[[True, False]], [[False, True]]])).tolist()
    [0.5]
    """
    z = to_numpy(_read(spikes, over)).astype(np.float64)
    share: Array = np.exp(z - z.max(axis=1, keepdims=True))
    return 1 / share.sum(axis=1)


def _read(spikes: TensorLike, over: str) -> Array:
    """Return the read-out (N, classes) of an output."""
    data, over = _output(spikes), check.one_of("over", over, OVER)
    if over != "sum" and not len(data):
        raise ValueError(f"spikes must have a step for over={over!r}, got T = 0")
    read: Array = over_time(data, over, as_tensor(spikes).lengths)
    return read


@check.operation
def running_decision(spikes: TensorLike, *, width: float | None = None, dt: float = 1.0, over: str = "sum") -> Array:
    """Return at every step the class with the most spikes in a window that ends there; among equals, the lowest class.

    A window without spikes keeps the decision of the step before. It is -1 before the first spike. After the end of a
    recording in a padded batch, the last decision stays.

    Args:
        spikes: (T, N, classes), boolean or counts.
        width: the length of the window, ms; by default all the time so far. Then the last decision is equal to
            `classify`, if there is a spike.
        dt: the step in ms.
        over: see `classify`, for a read-out; "max" and "last" have no window.

    Returns:
        Classes (T, N), int64, on the CPU.

    Raises:
        ValueError: spikes are not (T, N, classes), there are no classes, the window has no step, or dt is not positive.
        TypeError: width or dt is not a number.

    >>> train = np.zeros((6, 1, 2), bool)
    >>> train[1, 0, 1] = train[3, 0, 0] = train[4, 0, 0] = True
    >>> running_decision(train, width=2).ravel().tolist()
    [-1, 1, 1, 0, 0, 0]
    """
    return _running(spikes, width, dt, over)


@check.operation
def decision_time(
    spikes: TensorLike, labels: TensorLike, *, width: float | None = None, dt: float = 1.0, over: str = "sum"
) -> Array:
    """Return the time from which the running decision stays right.

    Args:
        spikes: see `running_decision`, also for errors.
        labels: the classes (N,), integers from 0.
        width: see `running_decision`.
        dt: the step in ms.
        over: see `running_decision`.

    Returns:
        Times (N,) in ms from step 0, float64, on the CPU; inf if the last decision is wrong or missing.

    >>> train = np.zeros((6, 2, 2), bool)
    >>> train[1, :, 1] = train[3, :, 0] = train[4, :, 0] = True
    >>> decision_time(train, [0, 1], width=2).tolist()
    [3.0, inf]
    """
    decisions = _running(spikes, width, dt, over)
    given = unread(labels)
    steps, samples = decisions.shape
    if given.shape != (samples,):
        raise ValueError(f"labels must be ({samples},), got shape {given.shape}")
    right = decisions == class_numbers("labels", labels, as_tensor(spikes).shape[2])
    wrong_reversed = np.flip(~right, axis=0)
    stable = np.where(right.all(axis=0), steps, wrong_reversed.argmax(axis=0) if steps else 0)
    return np.where(stable > 0, (steps - stable) * dt, np.inf)


def _running(spikes: TensorLike, width: float | None, dt: float, over: str) -> Array:
    data = to_numpy(_output(spikes))
    dt = check.time_step("dt", dt)
    steps = len(data) if width is None else steps_of("width", width, dt)
    if check.one_of("over", over, OVER) in ("max", "last"):
        if width is not None:
            raise ValueError(f"width must be None for over={over!r}, got {width:g}")
        count = data if over == "last" else np.maximum.accumulate(data, axis=0)
    else:
        count = window_counts(data, steps)
    # The last step whose window has a spike, or -1.
    at = np.where(count.any(axis=2), np.arange(len(data))[:, None], -1)
    at = np.maximum.accumulate(at, axis=0)
    decided = np.take_along_axis(count.argmax(axis=2), np.maximum(at, 0), axis=0)
    found = np.where(at >= 0, decided, -1)
    lengths = as_tensor(spikes).lengths
    if lengths is None:
        return found
    return np.take_along_axis(found, np.minimum(np.arange(len(data))[:, None], lengths - 1), axis=0)


def _output(spikes: TensorLike) -> Array:
    """Return the output's spikes, or raise ValueError unless they are (T, N, classes)."""
    data = as_tensor(spikes).data
    check_output(data)
    return data
