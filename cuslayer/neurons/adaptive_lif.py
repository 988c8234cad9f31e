"""Adaptive leaky integrate-and-fire neurons: a threshold that rises with each spike, and a refractory state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.neurons.base import Names, set_checked
from cuslayer.neurons.dynamics import NAMED, StepNeuron, in_64ths, leaky_response, tau_of_decay
from cuslayer.neurons.step import flushed


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class AdaptiveLIF(StepNeuron):
    """An adaptive leaky integrate-and-fire neuron, lava-dl's ALIF in floating point.

    ::

        i[t]  = a i[t-1] + x[t]                     a = exp(-dt / tau_i)
        v[t]  = b v[t-1] + i[t]                     b = exp(-dt / tau_v)
        h[t]  = c h'[t-1]                           c = exp(-dt / tau_theta): the rise of the threshold
        r[t]  = d r'[t-1]                           d = exp(-dt / tau_ref): refraction
        u[t]  = v[t] - r[t] - h[t]
        s[t]  = (u[t] >= theta)                     that is v[t] - r[t] >= theta + h[t]
        h'[t] = h[t] + rise s[t]
        r'[t] = r[t] + scale_ref (theta + h[t]) s[t]
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    `NormalizedALIF` is SRNN's adaptive neuron: the slower its states decay, the less its inputs and spikes count. In
    lava-dl, decays are ``1 - a`` and so on, ``tau = -dt / log(1 - decay)``, threshold_step is rise, and scale_ref is 2.

    Backward is ``g_u[t] = dt rho(u[t]) g[t]``, ``g_v[t] = g_u[t] + b g_v[t+1]``, ``g_x[t] = g_v[t] + a g_x[t+1]``, g
    the gradient of the spikes. "detached" is the same as "slayer". With ``gradient="exact"`` a spike also gets the
    errors that it causes through threshold and refraction.

    Args:
        tau_i: time constant of the current, ms: a number, or an array that broadcasts to the layer's neurons, such as
            (C,) for one per channel. A `Bounded` is trained. Layers that share a neuron share it.
        tau_v: time constant of the voltage, ms; like tau_i.
        tau_theta: time constant of the threshold, ms; like tau_i.
        tau_ref: time constant of refraction, ms; like tau_i.
        rise: rise of the threshold at a spike.
        scale_ref: rise of the refractory state at a spike, in thresholds of the same step.
        theta, tau_rho, scale_rho, dt, gradient, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also
            for errors.

    Source: Bellec et al. 2018, "Long short-term memory and learning-to-learn in networks of spiking neurons", arXiv
    1803.09574, for the threshold; the documentation of lava-dl's ALIF for the equations.

    >>> neuron = AdaptiveLIF(tau_i=1.0, tau_v=5.0, tau_theta=30.0, rise=0.3)
    >>> s = neuron(np.full((60, 1, 1), 0.8)).data
    >>> int(s[:30].sum()) > int(s[30:].sum())
    True
    """

    tau_i: Any = 5.0
    tau_v: Any = 20.0
    tau_theta: Any = 100.0
    tau_ref: Any = 5.0
    rise: float = 0.1
    scale_ref: float = 2.0

    states = ("i", "v", "h", "r")
    decays: ClassVar[Mapping[str, str]] = {"a": "tau_i", "b": "tau_v", "e": "tau_theta", "f": "tau_ref"}
    as_if_unfired = False
    names: ClassVar[Names] = Names(
        "ALIF",
        needed={
            **{"theta": "theta", "tauI": "tau_i", "tauV": "tau_v", "tauTheta": "tau_theta", "tauRef": "tau_ref"},
            **{"rise": "rise", "scaleRef": "scale_ref"},
        },
        options=NAMED,
    )

    @classmethod
    def of_decays(
        cls,
        threshold: float,
        threshold_step: float,
        current_decay: npt.ArrayLike,
        voltage_decay: npt.ArrayLike,
        threshold_decay: npt.ArrayLike,
        refractory_decay: npt.ArrayLike,
        *,
        dt: float = 1.0,
        **options: Any,
    ) -> AdaptiveLIF:
        """Return the neuron with the constants of lava-dl's ALIF, rounded as in lava-dl; see also `CUBA.of_decays`.

        Args:
            threshold: theta, truncated to a multiple of 1/64.
            threshold_step: rise, truncated in the same way.
            current_decay: the fraction of the current that decays in a step, between 0 and 1; rounded to 4096ths.
            voltage_decay: the same for the voltage.
            threshold_decay: the same for the threshold's rise.
            refractory_decay: the same for the refractory state.
            dt: the step, ms.
            options: other arguments of `AdaptiveLIF`.

        Raises:
            ValueError: a decay is not between 0 and 1, or a constant is out of its range.

        >>> AdaptiveLIF.of_decays(1.25, 0.2, 0.25, 0.03, 0.25, 0.5).rise
        0.1875
        """
        decays = {
            **{"tau_i": ("current_decay", current_decay), "tau_v": ("voltage_decay", voltage_decay)},
            **{"tau_theta": ("threshold_decay", threshold_decay), "tau_ref": ("refractory_decay", refractory_decay)},
        }
        taus = {name: tau_of_decay(*decay, dt) for name, decay in decays.items()}
        theta = in_64ths("threshold", threshold, least=1)
        return cls(theta=theta, rise=in_64ths("threshold_step", threshold_step), dt=dt, **taus, **options)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_checked(self, rise=check.factor, scale_ref=check.factor)
        check.factor("scale_ref theta", self.scale_ref * self.theta)

    def step(c, a, b, e, f, i, v, h, r, x):  # type: ignore[no-untyped-def]
        current = flushed(a * i + x)
        voltage = flushed(b * v + current)
        above = flushed(e * h)
        refraction = flushed(f * r)
        u = voltage - refraction - above
        s = u >= c.theta
        risen = above + c.rise if s else above
        refracted = refraction + c.scale_ref * (c.theta + above) if s else refraction
        return current, voltage, risen, refracted, u, s

    @property
    def response(self) -> Array:
        """The potential after an input of 1 without spikes, (K,) float64, for the mean time constants."""
        return leaky_response(self.mean_keep("tau_i"), self.mean_keep("tau_v"))

    @property
    def refractory(self) -> Array:
        """The effect of a first spike on later potentials, (K,) float64, for the mean time constants."""
        lags = np.arange(self._reach())
        risen = self.rise * self.mean_keep("tau_theta") ** lags
        refraction = self.scale_ref * self.theta * self.mean_keep("tau_ref") ** lags
        return -(risen + refraction) * (lags > 0)

    def _reach(self) -> int:
        """Return the number of steps in which a spike's parts fall to a hundredth."""
        slowest = max(self.mean_keep("tau_theta"), self.mean_keep("tau_ref"))
        return 2 + int(np.log(100.0) / max(-np.log(slowest), 1e-9)) if slowest > 0 else 2

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        i_keep, v_keep, h_keep, r_keep = (self.keep_of(name, index, shape) for name in self.time_constants)
        of_input, of_spikes = np.zeros(len(spikes)), np.zeros(len(spikes))
        of_voltage = of_input[time] = 1.0
        for t in range(time - 1, -1, -1):
            of_voltage *= v_keep
            of_input[t] = of_voltage + i_keep * of_input[t + 1]
        above = 0.0  # the threshold's rise at the step
        for t in range(time):
            if spikes[t]:
                risen, refraction = self.rise, self.scale_ref * (self.theta + above)
                of_spikes[t] = -risen * h_keep ** (time - t) - refraction * r_keep ** (time - t)
                above += self.rise
            above *= h_keep
        return of_input, of_spikes

    def current(self, x: Array) -> Array | None:
        """Return the current i (T, N, ...) of the weighted input x; None if the neurons differ in tau_i."""
        return self.decaying(x, "tau_i")
