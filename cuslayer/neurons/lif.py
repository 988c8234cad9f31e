"""Leaky integrate-and-fire neurons: one decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cuslayer.neurons.base import Names
from cuslayer.neurons.dynamics import NAMED
from cuslayer.neurons.leaky import Leaky
from cuslayer.neurons.step import flushed


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
        g_u[t] = D[t] (g[t] - (u[t] - r_1[t]) d g_u[t+1]) + dr/du d g_u[t+1]       gradient="exact"

    with r_1 the voltage that a spike would leave, and dr/du that of the step as it was.

    Args:
        tau: time constant of the voltage, ms: a number, or an array that broadcasts to the neurons of a layer, such as
            (C,) for one a channel; a `Bounded` is trained. Layers that share a neuron share it.
        theta: the threshold.
        reset: "zero", "subtract", or None.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate.
        dt: the step, ms.
        gradient: "slayer", which drops the path through the reset, or "exact", which includes it.
        surrogate: the shape f of the surrogate, one of `cs.surrogates` or its name; by default ``exp(-|z|)``.
        trained: whether tau is trained.
        bounds: least and most of a trained tau, ms; by default a quarter of a step and 10,000 steps.
        graded: whether a spike carries u instead of 1.
        stateful: whether a call continues from the state after the last, until `forget`.

    Raises:
        ValueError: a constant is out of its range, or reset, gradient or surrogate is unknown.
        TypeError: a constant has the wrong type.

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
