"""The loss of spike times: the distance of two spike trains filtered by the spike response."""

from __future__ import annotations

from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Alpha, Sampled
from cuslayer.neurons.base import Neuron, as_neuron, mean_rate
from cuslayer.tape import Gradient, Pullback, Tensor, as_tensor, differentiable, numeric


@differentiable
def spike_time_error(s: Array, target: Array, /, *, response: Alpha | Sampled) -> tuple[Array, Pullback]:
    """Return ``E = 1/2 sum e^2 dt``, ``e = psp(s) - psp(target)``, summed over time, batch and neurons.

    Backward is ``g_s[t] = dt sum_k eps[k] e[t+k]``, and its negative for the target.

    Args:
        s: (T, N, ...), spikes or numbers.
        target: of the same shape.
        response: the spike response, with its dt in ms.

    Returns:
        The error, a scalar.

    Raises:
        ValueError: s is not (T, N, ...), or the shapes differ.

    Source: Shrestha and Orchard 2018, equations 4 and 5 (van Rossum's distance with the spike response).

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> train = np.zeros((50, 1, 1), bool); train[10] = True
    >>> spike_time_error(train, train, response=SRM().filter).item()
    0.0
    """
    check.time_first("spike_time_error", "s", s)
    check.same_shape("spike_time_error", "s", s, "target", target)
    k = kernels.of(s)
    # The filter is linear: the difference is filtered once.
    e = response.apply(k, numeric(s) - target)
    dt = e.dtype.type(response.dt)
    error = namespace(e).asarray((e * e).sum() * (dt / 2), dtype=e.dtype)

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        of_s = response.adjoint(k, e * (g * dt))
        return of_s, lambda: -of_s

    return error, pullback


class SpikeTimeLoss:
    """The distance of filtered spike trains, ``E = 1/2 sum (psp(s) - psp(target))^2 dt``.

    See `functions.spike_time_error`.

    Args:
        neuron: the neuron whose spike response filters both trains.

    Raises:
        TypeError: neuron is not a neuron.

    Source: Shrestha and Orchard 2018, equations 4 and 5 (van Rossum's distance with the spike response).

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeTimeLoss(SRM())
    >>> train = np.zeros((50, 1, 1), bool); train[10] = True
    >>> loss(train, train).item()
    0.0
    """

    def __init__(self, neuron: Neuron) -> None:
        self.neuron = as_neuron("SpikeTimeLoss", neuron)

    def __call__(self, spikes: Any, target: Any) -> Tensor:
        """Return the loss of spikes against target, both (T, N, ...), as a scalar.

        Raises:
            ValueError: the shapes differ.
        """
        spikes, target = as_tensor(spikes), as_tensor(target)
        if spikes.ndim == 3 and target.ndim < 3:
            got = f"got shape {target.shape}; for classes take SpikeCountLoss"
            raise ValueError(f"SpikeTimeLoss: target must be spike trains of shape {spikes.shape}, {got}")
        check.same_shape("SpikeTimeLoss", "spikes", spikes, "target", target)
        return spike_time_error(spikes, target, response=self.neuron.filter)

    def __repr__(self) -> str:
        return check.shown(self)

    def desired_rate(self, target: Any, outputs: int, steps: int) -> float:
        """Return the mean rate in Hz of the target's spikes."""
        return mean_rate(as_tensor(target).data, self.neuron.dt)
