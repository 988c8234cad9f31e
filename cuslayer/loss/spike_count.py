"""The loss of spike counts, whose error is reassigned in time (SLAYER: spike layer error reassignment)."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, ClassCounts, Sampled
from cuslayer.loss.base import ClassLoss, check_order, classes_beside, one_hot, send_classes, within
from cuslayer.neurons.base import Neuron
from cuslayer.tape import Pullback, Tensor, differentiable, takes_packed


@differentiable
@takes_packed
@check.operation
def spike_count_error(
    s: Array,
    /,
    *,
    desired: Array | ClassCounts,
    region: tuple[int, int],
    response: Alpha | Sampled,
    count_scale: float = 1.0,
    piecewise: bool = False,
) -> tuple[Array, Pullback]:
    """Return ``E = 1/2 sum e^2 dt`` of spike counts in a region of time, summed over batch and neurons.

    With ``a`` the response to the spikes outside the region, where none is desired::

        e[t] = a[t] + count_scale (count - desired) / R    within the region of R steps
        e[t] = a[t]                                        outside of it

    The response to spikes from before the region reaches into it, as in SLAYER-PyTorch. With ``piecewise`` it does not:
    within the region ``e = count_scale (count - desired) / R``. The gradient of the spikes is
    ``g[t] = dt sum_k eps[k] e[t+k]`` in every bin, not the derivative of the count: it distributes the error of a count
    over all times at which a spike could have changed it.

    Args:
        s: (T, N, neurons), spikes or numbers.
        desired: (N, neurons), the desired counts; or the labels and the counts of classes.
        region: the first step, and the last step plus one.
        response: the spike response, with its dt in ms.
        count_scale: the factor of the error of counts (SLAYER-PyTorch's numSpikesScale).
        piecewise: whether the error within the region depends on the count alone.

    Returns:
        The error, a scalar.

    Raises:
        ValueError: a shape does not fit, or the region is empty or reaches past T.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement; with the response inside the region as in
    SLAYER-PyTorch's ``spikeLoss.numSpikes``, whose documentation has the piecewise form.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> silent, desired = np.zeros((10, 1, 1), bool), np.array([[5.0]])
    >>> spike_count_error(silent, desired=desired, region=(0, 10), response=SRM().filter).item()
    1.25
    """
    check.time_first("s", s, least_dimensions=3)
    expected, shape = s.shape[1:], desired.labels.shape if isinstance(desired, ClassCounts) else desired.shape
    if isinstance(desired, ClassCounts):
        expected = expected[:1] if s.ndim == 3 else ()
    if shape != expected:
        name = "desired.labels have" if isinstance(desired, ClassCounts) else "desired has"
        raise ValueError(f"{name} shape {shape}, s expects {expected}")
    first, last = region
    if not 0 <= first < last <= s.shape[0]:
        raise ValueError(f"region must lie within 0 and {s.shape[0]} steps, got {first} to {last}")
    k = kernels.of(s).spike_count
    error, e = k.error(s, desired, region, response, count_scale, piecewise)
    return error, lambda g: k.error_adjoint(e, g, response)


# The count of the labelled class where none is given, as in SLAYER-PyTorch's examples.
_USUAL = 60.0


class SpikeCountLoss(ClassLoss):
    """The error of spike counts within a region of time; see `functions.spike_count_error`.

    Args:
        neuron: the neuron whose spike response reassigns the error in time.
        true: the desired count of the labelled class, by default 60, which suits a region of 300 steps.
        false: the desired count of the others.
        region: start and stop of the counted time in ms; by default all of it.
        count_scale: the factor of the error of counts, beside the response to spikes outside the region (SLAYER-
            PyTorch's numSpikesScale).
        piecewise: whether the error within the region depends on the count alone, without the response to spikes from
            before it.

    Raises:
        ValueError: a count is negative, true is less than false, count_scale is not positive, or the region is empty or
            begins before 0; when it is called, also if a given true is more spikes than the region has steps.
        TypeError: neuron is not a neuron, a count, a factor or a time is not a number, or piecewise is not a bool.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement; SLAYER-PyTorch's ``spikeLoss.numSpikes``.

    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeCountLoss(SRM(), true=5, false=0, region=(0, 10))
    >>> loss(np.zeros((10, 1, 2), bool), [1]).item()
    1.25
    """

    def __init__(
        self,
        neuron: Neuron,
        true: float | None = None,
        false: float = 10,
        region: tuple[float, float] | None = None,
        *,
        count_scale: float = 1.0,
        piecewise: bool = False,
    ) -> None:
        super().__init__(neuron, region)
        self.true = _USUAL if true is None else check.not_negative("true", true)
        # SLAYER-PyTorch's count is no one's choice: a short region may not reach it.
        self._given = true is not None
        self.false = check.not_negative("false", false)
        check_order(self.true, self.false)
        self.count_scale = check.positive("count_scale", count_scale)
        self.piecewise = check.flag("piecewise", piecewise)

    def desired_rate(self, target: Any, outputs: int, steps: int) -> float:
        first, last = within(self.region, steps, self.neuron.dt)
        count = (self.true + (outputs - 1) * self.false) / max(outputs, 1)
        return 1000.0 * count / ((last - first) * self.neuron.dt)

    def send_labels(self, labels: Any, spikes: Any) -> Any:
        return send_classes(labels, spikes)

    def _targets(self, labels: Any, spikes: Tensor) -> Array | ClassCounts:
        """Return the desired counts; on a GPU by class, and labels that are there already without a look at them."""
        if kernels.of(spikes.stored) is kernels.cpu:
            return np.where(one_hot(labels, spikes.shape[1:]), self.true, self.false)
        return ClassCounts(classes_beside(labels, spikes), self.true, self.false)

    def _error(self, spikes: Tensor, desired: Array | ClassCounts, first: int, last: int) -> Tensor:
        if self._given and spikes.dtype == bool and self.true > last - first:
            rule = f"at most {last - first}, a spike in each step of the {'region' if self.region else 'input'}"
            raise ValueError(f"true must be {rule}, got {self.true:g}")
        return spike_count_error(
            spikes,
            desired=desired,
            region=(first, last),
            response=self.neuron.filter,
            count_scale=self.count_scale,
            piecewise=self.piecewise,
        )
