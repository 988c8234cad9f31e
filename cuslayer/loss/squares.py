"""The square error of read-outs against numbers."""

from __future__ import annotations

from typing import Any

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, as_tensor
from cuslayer.backend import Array, numeric, to_device, to_numpy
from cuslayer.loss.base import OVER, ClassLoss, finite_target, over_time


class MeanSquaredErrorLoss(ClassLoss):
    """The square error of a read-out against numbers: a mean over steps and outputs, summed over the batch.

    With y the output of C numbers, R steps in the window, and targets (T, N, C) or (N, C)::

        E = sum 1/(R C) sum_t sum_i (y[t, i] - target[t, i])^2      over="every"
        E = sum 1/C sum_i (r[i] - target[i])^2                      r = max, mean or sum of y over the window, or last y

    The gradient is exact. For "every", targets (N, C) hold at every step.

    Args:
        over: "every", "max", "mean", "sum" or "last".
        window: start and stop of the counted time, ms; by default the whole time.
        dt: the step, ms.

    Raises:
        ValueError: over is unknown, dt is not positive, or the window is empty or begins before 0. A call also raises
            it if the target has another shape, or is not finite.
        TypeError: dt or a time is not a number.

    >>> import numpy as np
    >>> MeanSquaredErrorLoss()(np.zeros((10, 1, 2)), np.full((10, 1, 2), 3.0)).item()
    9.0
    >>> MeanSquaredErrorLoss("last")(np.zeros((10, 1, 2)), [[1.0, 0.0]]).item()
    0.5
    """

    def __init__(self, over: str = "every", *, window: tuple[float, float] | None = None, dt: float = 1.0) -> None:
        self.over = check.one_of("over", over, OVER)
        self._set_time(window, dt)

    def send_labels(self, labels: object, spikes: TensorLike) -> object:
        return labels

    def scored(self, output: TensorLike, target: object) -> tuple[TensorLike, object]:
        output = as_tensor(output)
        first, last, lengths = self._within(output)
        y = over_time(numeric(output.data[first:last]), self.over, lengths)[None]
        return y, y  # numbers have no accuracy

    def _targets(self, labels: Any, spikes: Tensor) -> Array:
        given = as_tensor(labels).data
        shapes = [spikes.shape, spikes.shape[1:]] if self.over == "every" else [spikes.shape[1:]]
        if given.shape not in shapes:
            hint = "; Arrays(x, y, targets='numbers') keeps numbers" if given.shape == spikes.shape[1:2] else ""
            raise ValueError(f"target has shape {given.shape}, the output takes {' or '.join(map(str, shapes))}{hint}")
        finite_target(given)
        return to_numpy(given) if kernels.of(spikes.stored) is kernels.cpu else to_device(given)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        outputs = max(spikes.shape[-1], 1)
        if self.over == "every":
            error = spikes[first:last] - Tensor(chosen[first:last] if chosen.ndim == spikes.ndim else chosen)
            return (error * error).sum() / float((last - first) * outputs)
        error = over_time(spikes[first:last], self.over) - Tensor(chosen)
        return (error * error).sum() / float(outputs)
