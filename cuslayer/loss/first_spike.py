"""Losses of the times of first spikes."""

from __future__ import annotations

import numpy as np

from cuslayer._array_functions.elementwise import where
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable
from cuslayer.backend import Array, namespace
from cuslayer.loss.base import ClassLoss
from cuslayer.loss.cross_entropy import cross_entropy
from cuslayer.neurons.base import Neuron


@differentiable
@check.operation
def first_spike_times(s: Array, /, *, dt: float = 1.0) -> tuple[Array, Pullback]:
    """Return the time of each neuron's first spike, ms; a neuron that is silent has the time of the end, ``T dt``.

    Backward is the change by a spike at each step: an earlier one becomes the first. One step after the first spike,
    the gradient is that of a first spike that moves there, which ``gradient="eventprop"`` needs; later it stays.

    Args:
        s: (T, N, ...), spikes.
        dt: the step, ms.

    Returns:
        Times (N, ...), float32, or float64 for numbers in float64.

    Raises:
        ValueError: s is not (T, N, ...), or dt is not positive.
        TypeError: dt is not a number.

    >>> import numpy as np
    >>> train = np.zeros((10, 1, 2), bool); train[[3, 7], 0, 0] = True
    >>> first_spike_times(train, dt=0.5).data.tolist()
    [[1.5, 5.0]]
    """
    check.time_first("s", s)
    xp = namespace(s)
    dtype = np.dtype("float64" if s.dtype == np.float64 else "float32")
    step = dtype.type(check.time_step("dt", dt))
    fired = s != 0
    at = xp.where(fired.any(axis=0), fired.argmax(axis=0), len(s)) if len(s) else xp.zeros(s.shape[1:], "int64")

    def pullback(g: Array) -> Array:
        steps = (xp.ones((len(s),), "int64").cumsum() - 1).reshape(-1, *(1,) * (s.ndim - 1))
        return xp.minimum(steps - at, 1).astype(dtype) * (g * step)

    return at.astype(dtype) * step, pullback


class FirstSpikeLoss(ClassLoss):
    """The cross-entropy of the times of the classes' first spikes, summed over the batch.

    With t the time of a class's first spike, or the end of the window for a silent one::

        p = softmax(-t / tau)
        E = -sum log p[label] + early (exp(t[label] / early_tau) - 1)

    The labelled class should fire first. Its neurons, and those before them, best have ``gradient="eventprop"``. The
    decision is the class that fires first, also in training scores. Where the labelled class is silent, the others have
    no gradient: later spikes of theirs would make them silent too, and not the class fire.

    Args:
        neuron: the neuron that fires; its dt is the step.
        tau: the difference of times, ms, that changes the ratio of two probabilities by e.
        early: the weight of the time of the labelled class itself.
        early_tau: its time constant, ms.
        window: start and stop of the time in which spikes count, ms; by default the whole time. Times count from its
            start.

    Raises:
        ValueError: a constant is out of its range, or the window is empty or begins before 0.
        TypeError: neuron is not a neuron, or a constant is not a number.

    Source: Wunderlich and Pehle 2021, "Event-based backpropagation can compute exact gradients for spiking neural
    networks", doi 10.1038/s41598-021-91786-z.

    >>> from cuslayer.neurons import LIF
    >>> train = np.zeros((10, 1, 2), bool); train[3, 0, 0] = train[4, 0, 1] = True
    >>> round(FirstSpikeLoss(LIF(), tau=1.0)(train, [0]).item(), 4)  # log(1 + 1 / e)
    0.3133
    """

    def __init__(
        self,
        neuron: Neuron,
        *,
        tau: float = 1.0,
        early: float = 0.0,
        early_tau: float = 10.0,
        window: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(neuron, window)
        self.tau = check.positive("tau", tau)
        self.early = check.factor("early", early)
        self.early_tau = check.positive("early_tau", early_tau)

    def desired_rate(self, target: object, outputs: int, steps: int) -> float:
        first, last = self._counted(steps)
        return 1000.0 / ((last - first) * self.dt)

    def scored(self, output: TensorLike, target: object) -> tuple[TensorLike, object]:
        output, _ = super().scored(output, target)  # without spikes after the ends of recordings
        first, last, _ = self._within(as_tensor(output))
        times = first_spike_times(as_tensor(output)[first:last], dt=self.dt)
        return -times.data[None], target

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        spikes = spikes[first:last]
        times = first_spike_times(spikes, dt=self.dt)
        silent = (chosen & ~(spikes.data != 0).any(axis=0)).any(axis=1, keepdims=True)
        times = where(silent & ~chosen, times.data, times)
        error = cross_entropy(times / -self.tau, chosen=chosen)
        if self.early:
            label = (times * chosen).sum(axis=1)
            error = error + self.early * ((label / self.early_tau).exp() - 1).sum()
        return error
