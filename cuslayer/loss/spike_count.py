"""The loss of spike counts, whose error is reassigned in time (SLAYER: spike layer error reassignment)."""

from __future__ import annotations

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_device
from cuslayer.kernels.constants import Alpha, Sampled
from cuslayer.loss.base import ClassLoss
from cuslayer.neurons.base import Neuron
from cuslayer.tape import Pullback, Tensor, differentiable, numeric


@differentiable
def spike_count_error(
    s: Array, /, *, desired: Array, region: tuple[int, int], response: Alpha | Sampled
) -> tuple[Array, Pullback]:
    """Return ``E = 1/2 sum e^2 dt`` of spike counts in a region of time, summed over batch and neurons.

    Within the region of R steps ``e = (count - desired) / R``, constant in time. Elsewhere e is the response to the
    spikes outside the region, where none is desired. The gradient of the spikes is ``g[t] = dt sum_k eps[k] e[t+k]``
    in every bin, not the derivative of the count: it distributes the error of a count over all times at which a spike
    could have changed it.

    Args:
        s: (T, N, neurons), spikes or numbers.
        desired: (N, neurons), the desired counts.
        region: the first step, and the last step plus one.
        response: the spike response, with its dt in ms.

    Returns:
        The error, a scalar.

    Raises:
        ValueError: a shape does not fit, or the region is empty or reaches past T.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> silent, desired = np.zeros((10, 1, 1), bool), np.array([[5.0]])
    >>> spike_count_error(silent, desired=desired, region=(0, 10), response=SRM().filter).item()
    1.25
    """
    check.time_first("spike_count_error", "s", s, least_dimensions=3)
    if desired.shape != s.shape[1:]:
        raise ValueError(f"spike_count_error: desired has shape {desired.shape}, s expects {s.shape[1:]}")
    first, last = region
    if not 0 <= first < last <= len(s):
        raise ValueError(f"spike_count_error: region must lie within 0 and {len(s)} steps, got {first} to {last}")
    s = numeric(s)
    k = kernels.of(s)
    outside = s.copy()
    outside[first:last] = 0
    e = response.apply(k, outside)
    e[first:last] = (s[first:last].sum(axis=0) - desired.astype(s.dtype)) / (last - first)
    dt = s.dtype.type(response.dt)
    error = namespace(s).asarray((e * e).sum() * (dt / 2), dtype=s.dtype)
    return error, lambda g: response.adjoint(k, e * (g * dt))


class SpikeCountLoss(ClassLoss):
    """The error of spike counts within a region of time; see `functions.spike_count_error`.

    Args:
        neuron: the neuron whose spike response reassigns the error in time.
        true: the desired count of the labelled class.
        false: the desired count of the others.
        region: start and stop of the counted time in ms; by default all of it.

    Raises:
        ValueError: a count is negative, or the region is empty or begins before 0.
        TypeError: neuron is not a neuron, or a count or time is not a number.

    Source: Shrestha and Orchard 2018, section 3.2 and its supplement.

    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeCountLoss(SRM(), true=5, false=0, region=(0, 10))
    >>> loss(np.zeros((10, 1, 2), bool), [1]).item()
    1.25
    """

    def __init__(
        self, neuron: Neuron, true: float = 60, false: float = 10, region: tuple[float, float] | None = None
    ) -> None:
        op = "SpikeCountLoss"
        super().__init__(neuron, region)
        self.true = check.not_negative(op, "true", true)
        self.false = check.not_negative(op, "false", false)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        desired = to_device(np.where(chosen, self.true, self.false))
        return spike_count_error(spikes, desired=desired, region=(first, last), response=self.neuron.filter)
