"""Losses of spike trains, and the decision."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check, functions
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor, as_tensor


class SpikeTimeLoss:
    """The distance of filtered spike trains, ``E = 1/2 sum (psp(s) - psp(target))^2 dt``.

    See `functions.spike_time_error`.

    Args:
        srm: the neuron whose spike response filters both.

    Raises:
        TypeError: srm is no neuron.

    Source: Shrestha and Orchard 2018, equations 4 and 5 (van Rossum's distance with the spike response).

    >>> loss = SpikeTimeLoss(SRM())
    >>> train = np.zeros((50, 1, 1), bool); train[10] = True
    >>> loss(train, train).item()
    0.0
    """

    def __init__(self, srm: SRM) -> None:
        self.srm = _neuron("SpikeTimeLoss", srm)

    def __call__(self, spikes: Any, target: Any) -> Tensor:
        """Return the loss of spikes against target, both (T, N, ...), as a scalar.

        Raises:
            ValueError: the shapes differ.
        """
        spikes, target = as_tensor(spikes), as_tensor(target)
        check.same_shape("SpikeTimeLoss", "spikes", spikes, "target", target)
        return functions.spike_time_error(spikes, target, response=self.srm.filter)


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

    >>> loss = SpikeCountLoss(SRM(), true=5, false=0, region=(0, 10))
    >>> loss(np.zeros((10, 1, 2), bool), [1]).item()
    1.25
    """

    def __init__(
        self, srm: SRM, true: float = 60, false: float = 10, region: tuple[float, float] | None = None
    ) -> None:
        op = "SpikeCountLoss"
        self.srm = _neuron(op, srm)
        self.true = check.not_negative(op, "true", true)
        self.false = check.not_negative(op, "false", false)
        self.region = None if region is None else _region(op, region, self.srm.dt)

    def __call__(self, spikes: Any, labels: Any) -> Tensor:
        """Return the loss of spikes (T, N, classes), as a scalar.

        Args:
            spikes: the output's spikes.
            labels: the classes (N,), integers from 0, or one-hot (N, classes).

        Raises:
            ValueError: a shape does not fit, a label is out of range, or the region reaches past T.
            TypeError: labels are no integers.
        """
        spikes = as_tensor(spikes)
        check.time_first("SpikeCountLoss", "spikes", spikes, least_dimensions=3)
        steps, *shape = spikes.shape
        chosen = _one_hot(labels, tuple(shape))
        region = self.region or (0, steps)
        if region[1] > steps:
            reach, end = region[1] * self.srm.dt, steps * self.srm.dt
            raise ValueError(f"SpikeCountLoss: region reaches to {reach:g} ms, the spikes end at {end:g} ms")
        desired = to_device(np.where(chosen, self.true, self.false))
        return functions.spike_count_error(spikes, desired=desired, region=region, response=self.srm.filter)


def classify(spikes: Any) -> Array:
    """Return the class of most spikes for each sample, the lowest of equals.

    Args:
        spikes: (T, N, classes), boolean or counts.

    Returns:
        Classes (N,), int64, on the CPU.

    Raises:
        ValueError: spikes are not (T, N, classes), or there are no classes.

    >>> classify(np.array([[[True, False]], [[True, True]]])).tolist()
    [0]
    """
    data = as_tensor(spikes).data
    check.time_first("classify", "spikes", data, least_dimensions=3)
    if data.ndim != 3 or data.shape[2] == 0:
        raise ValueError(f"classify: spikes must be (T, N, classes), got shape {data.shape}")
    return to_numpy(data.sum(axis=0).argmax(axis=1)).astype(np.int64)


def _neuron(op: str, srm: Any) -> SRM:
    if not isinstance(srm, SRM):
        raise TypeError(f"{op}: srm must be an SRM neuron, got {type(srm).__name__}")
    return srm


def _region(op: str, region: Any, dt: float) -> tuple[int, int]:
    """Return a region in ms as steps."""
    if not isinstance(region, (tuple, list)) or len(region) != 2:
        raise ValueError(f"{op}: region must be (start, stop) in ms, got {region!r}")
    start, stop = (check.not_negative(op, "region", edge) for edge in region)
    steps = round(start / dt), round(stop / dt)
    if steps[0] >= steps[1]:
        raise ValueError(f"{op}: region must hold a step of {dt:g} ms, got {start:g} to {stop:g} ms")
    return steps


def _one_hot(labels: Any, shape: tuple[int, ...]) -> Array:
    """Return labels, integers (N,) or one-hot (N, classes), as boolean (N, classes)."""
    given = to_numpy(labels.data if isinstance(labels, Tensor) else labels)
    samples, classes = shape[0], shape[-1]
    if given.shape == shape and len(shape) == 2 and given.ndim == 2:
        if not ((given == 0) | (given == 1)).all() or not (given.sum(axis=1) == 1).all():
            raise ValueError("SpikeCountLoss: labels (N, classes) must hold one 1 a sample and 0 elsewhere")
        return given.astype(bool)
    if len(shape) != 2 or given.shape != (samples,):
        raise ValueError(
            f"SpikeCountLoss: labels have shape {given.shape}, spikes {('T', *shape)} expect ({samples},) or {shape}"
        )
    if samples and given.dtype.kind not in "iu":
        raise TypeError(f"SpikeCountLoss: labels must be integers, got {given.dtype}")
    wrong = np.flatnonzero((given < 0) | (given >= classes))
    if wrong.size:
        where = wrong[0]
        raise ValueError(f"SpikeCountLoss: label {given[where]} of sample {where} is none of {classes} classes")
    return given[:, None] == np.arange(classes)
