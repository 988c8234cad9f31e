"""Balanced resonate-and-fire neurons: a spike raises threshold and damping for a while, and resets nothing."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer._parameter import Bounded
from cuslayer.backend import Array
from cuslayer.neurons.base import Names, set_checked
from cuslayer.neurons.dynamics import NAMED, StepNeuron, check_within, steps_until_cut
from cuslayer.neurons.step import flushed


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class BalancedResonateAndFire(StepNeuron):
    """A resonate-and-fire neuron that neither diverges nor resets, BRF.

    ::

        re[t] = re[t-1] + D (b[t] re[t-1] - omega im[t-1] + x[t])          D = dt / 1000, in s
        im[t] = im[t-1] + D (omega re[t-1] + b[t] im[t-1])
        b[t]  = (sqrt(1 - (D omega)^2) - 1) / D - b_offset - q[t-1]
        u[t]  = re[t] - q[t-1]
        s[t]  = (u[t] >= theta)                                            that is re[t] >= theta + q[t-1]
        q[t]  = gamma q[t-1] + s[t]
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    The first term of b is the divergence boundary, at which the state keeps its size; b_offset and refraction q damp
    it. The published step is 0.01 s: ``dt=10.0``.

    Backward is the adjoint of these equations. ``gradient="slayer"`` treats the spikes in q as constants. The published
    gradient is "exact", the default, with ``dt scale_rho = 0.2``, ``tau_rho theta = 0.5`` and the surrogate
    `cs.surrogates.MultiGaussian`, with both sides at the threshold.

    Args:
        omega: the angular frequency, rad/s, from 0 to ``0.95 / D``: a number, or an array that broadcasts to the
            layer's neurons, such as (C,) for one per channel. A `Bounded` is trained. Layers that share a neuron share
            it.
        b_offset: the damping, 1/s, from 0 to ``0.5 / D``; like omega. Without spikes, the time constant of the decay is
            about ``1 / (b_offset sqrt(1 - (D omega)^2))``, in s.
        gamma: the decay factor of refraction, from 0 to below 1.
        gradient: "exact" or "slayer"; "detached" is the same as "slayer". Or "eventprop"; see `StepNeuron`.
        trained: whether omega and b_offset are trained, within these limits.
        theta, tau_rho, scale_rho, dt, surrogate, graded, stateful: see `StepNeuron`. The neuron has no bounds.

    Raises:
        ValueError: as in `StepNeuron`, or a constant is outside its limits.
        TypeError: as in `StepNeuron`.

    Source: Higuchi, Kairat, Bohte and Otte 2024, "Balanced resonate-and-fire neurons", arXiv 2402.14603.

    >>> neuron = BalancedResonateAndFire(omega=10.0, dt=10.0)  # a period of 63 steps
    >>> def fires(period):
    ...     x = np.zeros((500, 1, 1)); x[::period] = 60.0
    ...     return bool(neuron(x).data.any())
    >>> fires(period=31), fires(period=47), fires(period=63)
    (False, False, True)
    """

    omega: Any = 10.0
    b_offset: Any = 1.0
    gamma: float = 0.9
    _: KW_ONLY
    gradient: str = "exact"

    states = ("re", "im", "q")
    step_columns = ("damped", "turned")
    time_constants: ClassVar[tuple[str, ...]] = ("omega", "b_offset")
    may_be_zero = ("omega", "b_offset")
    as_if_unfired = False
    names: ClassVar[Names] = Names(
        "BRF",
        needed={"theta": "theta", "omega": "omega", "bOffset": "b_offset"},
        options={"gamma": "gamma", **{theirs: ours for theirs, ours in NAMED.items() if ours != "bounds"}},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        set_checked(self, gamma=check.fraction)
        if self.bounds is not None:
            raise ValueError(f"bounds must be None: dt gives the bounds of omega and b_offset, got {self.bounds!r}")
        for name in self.time_constants:
            value = getattr(self, name)
            limits = [value.least, value.most] if isinstance(value, Bounded) else []
            check_within(name, np.append(self._values(name), limits), *self.bounds_of(name), f"for dt={self.dt:g}")

    def bounds_of(self, name: str) -> tuple[float, float]:
        return 0.0, (0.95 if name == "omega" else 0.5) / self.delta

    @property
    def delta(self) -> float:
        """The step, s."""
        return self.dt / 1000.0

    def step(c, damped, turned, re, im, q, x):  # type: ignore[no-untyped-def]
        share = damped - c.delta * q
        z = flushed(share * re - turned * im + c.delta * x)
        v = flushed(turned * re + share * im)
        u = z - q
        s = u >= c.theta
        left = flushed(c.gamma * q)
        risen = left + 1 if s else left
        return z, v, risen, u, s

    @property
    def columns(self) -> dict[str, Any]:
        """The factor of the state in a step without refraction: real and imaginary part."""
        turned: Any = np.multiply(self.delta, self.omega)
        return {"damped": np.sqrt(1.0 - turned * turned) - self.delta * self.b_offset, "turned": turned}

    @property
    def response(self) -> Array:
        """The potential after an input of 1 without spikes, (K,) float64, for the mean constants."""
        w = self._rotation(self.mean_of("omega"), self.mean_of("b_offset"))
        return self.delta * (w ** np.arange(3 + steps_until_cut(abs(w)))).real

    def _rotation(self, omega: float, b_offset: float) -> complex:
        turned = self.delta * omega
        return complex(math.sqrt(1.0 - turned * turned) - self.delta * b_offset, turned)

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        w = self._rotation(*(self.value_of(name, index, shape) for name in self.time_constants))
        of_input, of_spikes, held = np.zeros(len(spikes)), np.zeros(len(spikes)), np.zeros(len(spikes) + 1)
        for t in range(time):
            held[t + 1] = self.gamma * held[t] + bool(spikes[t])
            of_spikes[t] = -(self.gamma ** (time - 1 - t)) * bool(spikes[t])
        response = complex(self.delta)  # of re[time] and im[time] to one step's input
        for t in range(time, -1, -1):
            of_input[t] = response.real
            response *= w - self.delta * held[t]
        return of_input, of_spikes
