"""Adaptive leaky integrate-and-fire neurons of SRNN: a factor ``1 - decay`` scales inputs and spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.neurons.base import Names, set_checked
from cuslayer.neurons.dynamics import NAMED, StepNeuron, leaky_response
from cuslayer.neurons.step import flushed


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class NormalizedALIF(StepNeuron):
    """An adaptive leaky integrate-and-fire neuron whose time constants are trained without a change of gain, SRNN's.

    ::

        h[t] = e h[t-1] + (1 - e) rise s[t-1]                         e = exp(-dt / tau_theta)
        v[t] = d v[t-1] + (1 - d) x[t] - (theta + h[t]) s[t-1]        d = exp(-dt / tau_v)
        u[t] = v[t] - h[t]
        s[t] = (u[t] >= theta)                                        that is v[t] >= theta + h[t]
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    `AdaptiveLIF` differs in three ways, so that trained time constants mean something else there. Its x and rise have
    no factor ``1 - d`` and ``1 - e``. A spike subtracts the threshold before its rise, not after it. The subtracted
    amount has its own time constant.

    Backward is the adjoint of these equations. ``gradient="slayer"`` treats the spikes in h and v as constants. The
    published gradient is "exact", the default, with ``theta = 0.01``, ``rise = 1.8``, ``tau_rho theta = 0.5``,
    ``scale_rho = 0.2`` and the surrogate `cs.surrogates.MultiGaussian`.

    Args:
        tau_v: time constant of the voltage, ms: a number, or an array that broadcasts to the layer's neurons, such as
            (C,) for one per channel. A `Bounded` is trained. Layers that share a neuron share it.
        tau_theta: time constant of the threshold, ms; like tau_v.
        rise: total rise of the threshold if the neuron fired in every step.
        gradient: "exact" or "slayer"; "detached" is the same as "slayer". Or "eventprop"; see `StepNeuron`.
        theta, tau_rho, scale_rho, dt, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also for errors.

    Source: Yin, Corradi and Bohte 2021, "Accurate and efficient time-domain classification with adaptive spiking
    recurrent neural networks", arXiv 2103.12593.

    >>> neuron = NormalizedALIF(tau_v=5.0, tau_theta=30.0)
    >>> s = neuron(np.full((60, 1, 1), 4.0)).data
    >>> int(s[:30].sum()) > int(s[30:].sum())
    True
    """

    tau_v: Any = 20.0
    tau_theta: Any = 100.0
    rise: float = 1.8
    _: KW_ONLY
    gradient: str = "exact"

    # The spike is a state, so that each step applies its decays itself: training in chunks stops gradients at states.
    states = ("v", "h", "fired")
    decays: ClassVar[Mapping[str, str]] = {"d": "tau_v", "e": "tau_theta"}
    as_if_unfired = False
    names: ClassVar[Names] = Names(
        "SRNN", needed={"theta": "theta", "tauV": "tau_v", "tauTheta": "tau_theta", "rise": "rise"}, options=NAMED
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        set_checked(self, rise=check.factor)

    def step(c, d, e, v, h, fired, x):  # type: ignore[no-untyped-def]
        h = flushed(e * h + (1 - e) * c.rise * fired)
        v = flushed(d * v - (c.theta + h) * fired + (1 - d) * x)
        u = v - h
        s = u >= c.theta
        return v, h, s, u, s

    @property
    def response(self) -> Array:
        """The potential after an input of 1 without spikes, (K,) float64, for the mean time constants."""
        d = self.mean_keep("tau_v")
        return (1 - d) * leaky_response(0.0, d)

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        d, e = (self.keep_of(name, index, shape) for name in self.time_constants)
        of_input, of_spikes, h = np.zeros(len(spikes)), np.zeros(len(spikes)), 0.0
        of_input[: time + 1] = (1 - d) * d ** np.arange(time, -1, -1)
        for t in range(time):
            fires = bool(spikes[t])
            h = e * h + (1 - e) * self.rise * fires
            of_spikes[t] = -fires * ((self.theta + h) * d ** (time - 1 - t) + (1 - e) * self.rise * e ** (time - 1 - t))
        return of_input, of_spikes
