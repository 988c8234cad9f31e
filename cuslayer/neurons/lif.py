"""Leaky integrate-and-fire neurons, and their base class, which `CUBA` shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, to_numpy
from cuslayer.neurons.base import LeakyForm, Names, set_checked, word_or_none
from cuslayer.neurons.dynamics import NAMED, StepNeuron, leaky_response, to_array
from cuslayer.neurons.step import flushed


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Leaky(StepNeuron):
    """Base class of neurons with a voltage that leaks, and a reset.

    Args:
        reset: effect of a spike on the voltage: "zero" sets it to 0, "subtract" subtracts theta; "none" or None.
    """

    reset: Any = "zero"

    # The time constants of decay factors, as other libraries name them.
    factors: ClassVar[Mapping[str, str]] = MappingProxyType({"beta": "tau"})

    @classmethod
    def cure(cls, name: str, options: Mapping[str, Any]) -> str:
        """Return what to write in place of an argument that the neurons do not have; '' if nothing is known."""
        if name not in cls.factors:
            return super().cure(name, options)
        constant = cls.factors[name]
        factor = options[name]
        dt = options.get("dt", 1.0)
        numbers = isinstance(factor, Real) and isinstance(dt, Real)
        if not numbers or not 0 < float(factor) < 1 or not float(dt) > 0:
            return f"{constant} is the time constant here, -dt / ln({name}) ms"
        tau = -float(dt) / math.log(float(factor))
        return f"{constant}={tau:.6g} is the same, -dt / ln({name}) ms"

    def __post_init__(self) -> None:
        set_checked(self, reset=word_or_none("zero", "subtract", "none"))
        super().__post_init__()

    @property
    def share(self) -> float:
        """The factor of the voltage at a spike."""
        return 0.0 if self.reset == "zero" else 1.0

    @property
    def drop(self) -> float:
        """The amount that a spike then subtracts from the voltage."""
        return self.theta if self.reset == "subtract" else 0.0

    def _keeps_of(self, share: Callable[..., float], *of: object) -> tuple[float, float]:
        """Return the decay factors of current and voltage, by a function of a time constant's name."""
        found = [share(name, *of) for name in self.time_constants]
        return (found[0], found[1]) if len(found) > 1 else (0.0, found[0])

    @property
    def leaky_form(self) -> LeakyForm:
        *i_keep, v_keep = (to_numpy(to_array(self.keep(name))).astype(np.float64) for name in self.time_constants)
        return LeakyForm(i_keep[0] if i_keep else None, v_keep, self.theta, self.reset, self.graded)

    @property
    def response(self) -> Array:
        """The voltage after an input of 1 without spikes, (K,) float64, for the mean time constants."""
        return leaky_response(*self._keeps_of(self.mean_keep))

    @property
    def refractory(self) -> Array:
        """The effect of a "subtract" reset on later voltages, (K,) float64, for the mean time constants; else 0."""
        if self.reset != "subtract":
            return np.zeros(1)
        _, v_keep = self._keeps_of(self.mean_keep)
        return -self.theta * v_keep ** np.arange(len(self.response)) * (np.arange(len(self.response)) > 0)

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        i_keep, v_keep = self._keeps_of(self.keep_of, index, shape)
        of_input, of_spikes = np.zeros(len(spikes)), np.zeros(len(spikes))
        of_voltage, of_input[time] = 1.0, 1.0
        for t in range(time - 1, -1, -1):
            of_voltage *= v_keep
            if spikes[t]:
                of_spikes[t] = -self.drop * of_voltage
                of_voltage *= self.share
            of_input[t] = of_voltage + i_keep * of_input[t + 1]
        return of_input, of_spikes


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class LIF(Leaky):
    """A leaky integrate-and-fire neuron.

    ::

        u[t] = d r[t-1] + x[t]                      d = exp(-dt / tau)
        s[t] = (u[t] >= theta)
        r[t] = u[t] (1 - s[t])                      reset="zero"
               u[t] - theta s[t]                    reset="subtract"
               u[t]                                 reset=None
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    Backward is, with ``D = dt rho(u)`` and g the gradient of the spikes::

        g_u[t] = D[t] g[t] + d g_u[t+1]                                            gradient="slayer"
        g_u[t] = D[t] g[t] + dr/du d g_u[t+1]                                      gradient="detached"
        g_u[t] = D[t] (g[t] - (u[t] - r_1[t]) d g_u[t+1]) + dr/du d g_u[t+1]       gradient="exact"

    with r_1 the voltage after a spike, and dr/du the derivative of the step as computed: 0 at a spike with
    ``reset="zero"``, else 1. So "detached" differs from "slayer" with ``reset="zero"`` only.

    Args:
        tau: time constant of the voltage, ms: a number, or an array that broadcasts to the layer's neurons, such as
            (C,) for one per channel. A `Bounded` is trained. Layers that share a neuron share it.
        reset: "zero", "subtract", or None.
        theta, tau_rho, scale_rho, dt, gradient, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also
            for errors.

    Source: Gerstner and Kistler 2002, "Spiking neuron models", section 4.1, with a step of the exact solution.

    >>> import numpy as np
    >>> neuron = LIF(tau=10.0, reset="subtract")
    >>> neuron
    LIF(tau=10, theta=1, reset='subtract')
    >>> neuron(np.full((6, 1, 1), 0.4)).data.ravel().tolist()
    [False, False, True, False, False, True]
    """

    tau: Any = 20.0

    states = ("v",)
    decays: ClassVar[Mapping[str, str]] = {"d": "tau"}
    names: ClassVar[Names] = Names("LIF", needed={"theta": "theta", "tau": "tau"}, options={"reset": "reset", **NAMED})

    def step(c, d, v, x):  # type: ignore[no-untyped-def]
        u = flushed(d * v + flushed(x))
        s = u >= c.theta
        r = c.share * u - c.drop if s else u
        return r, u, s
