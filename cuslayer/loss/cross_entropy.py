"""The cross-entropy of a read-out over time, for one class or for several labels a sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.loss.base import ClassLoss, classes_beside, send_classes, within
from cuslayer.loss.classification import cross_entropy
from cuslayer.loss.read_out import check_over, over_time, scored_read_out
from cuslayer.tape import Pullback, Tensor, as_tensor, differentiable, numeric


class CrossEntropyLoss(ClassLoss):
    """The cross-entropy of a read-out, summed over the batch.

    With y the output, such as the potentials of `Affine`, or spikes, which count as 1::

        z = max, mean or sum of y[t] over the region, or y at its last step
        E = -sum log softmax(z)[label]

    and for ``over="every"`` the mean of this over all steps of the region, with ``z = y[t]``. See
    `functions.cross_entropy`. The gradient is exact. The decision, in the scores of a training too, is the class with
    the largest z; for "every" with the largest mean. `classify` and `confidence` take the same `over`.

    Args:
        over: "max", "mean", "sum", "last" or "every".
        region: start and stop in ms of the time that counts; by default all of it.
        dt: the step, ms.

    Raises:
        ValueError: over is unknown, dt is not positive, or the region is empty or begins before 0.
        TypeError: dt or a time is not a number.

    >>> import numpy as np
    >>> y = np.zeros((10, 1, 2)); y[4, 0, 1] = np.log(3)
    >>> round(CrossEntropyLoss("max")(y, [1]).item(), 4)
    0.2877
    """

    def __init__(self, over: str = "max", *, region: tuple[float, float] | None = None, dt: float = 1.0) -> None:
        self.over = check_over(over)
        self._set_time(region, dt)

    def send_labels(self, labels: Any, spikes: Any) -> Any:
        return send_classes(labels, spikes)

    def scored(self, output: Any, target: Any) -> tuple[Any, Any]:
        output = as_tensor(output)
        edges = within(self.region, output.shape[0], self.dt)
        return scored_read_out(output, self.over, *edges), target

    def _targets(self, labels: Any, spikes: Tensor) -> Array:
        chosen = classes_beside(labels, spikes)
        # Without a transfer, which a captured step may not have.
        classes = namespace(chosen).ones((spikes.shape[-1],), "int64").cumsum() - 1
        one_hot: Array = chosen[:, None] == classes
        return one_hot

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        y = spikes[first:last]
        if self.over == "every":
            return cross_entropy(y, chosen=chosen) / (last - first)
        return cross_entropy(over_time(y, self.over), chosen=chosen)


@differentiable
@check.operation
def binary_cross_entropy(z: Array, /, *, chosen: Array) -> tuple[Array, Pullback]:
    """Return ``E = -sum y log p + (1 - y) log(1 - p)`` with ``p = sigmoid(z)`` for labels y of 0 and 1.

    The gradient is ``p - y``.

    Args:
        z: numbers of any shape.
        chosen: labels of z's shape, True where one is set.

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
    # Not p - label, which would be 0 for a sample that is nearly certain.
    return error, lambda g: (p * (1 - label) - other * label) * g


class BinaryCrossEntropyLoss(ClassLoss):
    """The binary cross-entropy of a read-out with several labels a sample, summed over batch and labels.

    ::

        r = max, mean or sum of y[t] over the region, or y at its last step
        p = sigmoid(slope (r - offset))
        E = -sum label log p + (1 - label) log(1 - p)

    For spikes and ``over="mean"``, r is a rate in spikes per step. The gradient is exact. A label is set where p is
    over 1/2; the accuracy of a training is the share of samples with all labels right.

    Args:
        over: "mean", "max", "sum" or "last".
        slope: the slope of the sigmoid.
        offset: the read-out at which the probability is 1/2.
        region: start and stop in ms of the time that counts; by default all of it.
        dt: the step, ms.

    Raises:
        ValueError: over is unknown, slope or dt is not positive, or the region is empty or begins before 0.
        TypeError: slope, offset, dt or a time is not a number.

    Source: after SpikeMoid of Intel's lava-dl, the sigmoid of a rate.

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
        region: tuple[float, float] | None = None,
        dt: float = 1.0,
    ) -> None:
        self.over = check.one_of("over", over, ("mean", "max", "sum", "last"))
        self.slope, self.offset = check.positive("slope", slope), check.number("offset", offset)
        self._set_time(region, dt)

    def probabilities(self, output: Any) -> Array:
        """Return the probability of each label, (N, classes), of an output (T, N, classes), on the CPU.

        Raises:
            ValueError: the output is not (T, N, classes), T is 0, or the region reaches past T.
        """
        output = as_tensor(output)
        check.time_first("output", output, least_dimensions=3)
        z = to_numpy(self._z(output, *within(self.region, output.shape[0], self.dt)).data)
        return np.exp(-np.logaddexp(0, -z))

    def scored(self, output: Any, target: Any) -> tuple[Any, Any]:
        output = as_tensor(output)
        z = self._z(Tensor(output.data), *within(self.region, output.shape[0], self.dt)).data
        right = ((z > 0) == self._targets(target, output)).all(axis=-1)
        xp = namespace(z)
        # Two classes, wrong and right; the label of each sample is right.
        return xp.stack([~right, right], axis=-1)[None], xp.ones(right.shape, "int64")

    def _z(self, output: Tensor, first: int, last: int) -> Tensor:
        z: Tensor = (over_time(output[first:last], self.over) - self.offset) * self.slope
        return z

    def _targets(self, labels: Any, spikes: Tensor) -> Array:
        """Return labels (N, classes) as booleans on the device of spikes."""
        given = labels.data if isinstance(labels, Tensor) else labels
        given = to_numpy(given) if namespace(given) is np else given
        if given.shape != spikes.shape[1:]:
            raise ValueError(
                f"labels have shape {given.shape}, spikes {('T', *spikes.shape[1:])} expect {spikes.shape[1:]}"
            )
        if namespace(given) is np:
            if given.dtype != bool and not np.isin(given, (0, 1)).all():
                raise ValueError(f"labels must be 0 or 1, got {given[~np.isin(given, (0, 1))].flat[0]}")
            given = given.astype(bool)
            return given if isinstance(spikes.stored, np.ndarray) else to_device(given)
        return given.astype(bool)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        return binary_cross_entropy(self._z(spikes, first, last), chosen=chosen)
