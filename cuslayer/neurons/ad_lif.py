"""Adaptive leaky integrate-and-fire neurons: subthreshold voltage and spikes drive the adaptation."""

from __future__ import annotations

import cmath
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer._parameter import Bounded
from cuslayer.backend import Array, to_numpy
from cuslayer.neurons.base import Names, set_checked
from cuslayer.neurons.dynamics import NAMED, StepNeuron, check_within, steps_until_cut
from cuslayer.neurons.step import flushed

# The published bounds of trained constants.
_BOUNDS = {"tau_u": (5.0, 25.0), "tau_w": (60.0, 300.0), "a": (0.0, 1.0), "b": (0.0, 2.0)}


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class AdLIF(StepNeuron):
    """An adaptive leaky integrate-and-fire neuron that can oscillate below its threshold, SE-adLIF.

    ::

        u[t] = d v[t-1] + (1 - d) (x[t] - w[t-1])               d = exp(-dt / tau_u)
        s[t] = (u[t] >= theta)
        v[t] = u[t] (1 - s[t])
        w[t] = e w[t-1] + (1 - e) q (a v[t] + b s[t])           e = exp(-dt / tau_w)
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    The adaptation w follows the new voltage v[t]: this is the symplectic Euler step. Without spikes, a step shrinks the
    area of states by ``d e`` for any coupling. The forward Euler step, with v[t-1], diverges for strong couplings.

    Backward is the adjoint of these equations, with the reset of v as a constant, as published. With
    ``gradient="exact"``, the default, a spike also gets the error that it causes through w; with "slayer" it does not.
    An error that is the same at all steps, such as of `SpikeCountLoss`, passes at ``1 / (1 + q a)`` of its size: train
    with a `ReadOut` instead, or with a = 0.

    Args:
        tau_u: time constant of the voltage, ms: a number, or an array that broadcasts to the layer's neurons, such as
            (C,) for one per channel. A `Bounded` is trained. Layers that share a neuron share it.
        tau_w: time constant of the adaptation, ms; like tau_u.
        a: coupling of the adaptation to the voltage, at least 0; like tau_u.
        b: rise of the adaptation at a spike, at least 0; like tau_u.
        q: scale of a and b, so that both are around 1.
        tau_rho: width of the surrogate, in thresholds. The published ``c alpha / 2 exp(-alpha |u - theta|)`` has
            ``tau_rho = 1 / (alpha theta)``; by default alpha is 5.
        scale_rho: scale of the surrogate, ``c / 2``; by default c is 0.2.
        gradient: "exact" or "slayer"; "detached" is the same as "slayer". Or "eventprop"; see `StepNeuron`.
        trained: whether time constants and couplings are trained, within the published bounds. These are 5 to 25 ms for
            tau_u, 60 to 300 ms for tau_w, 0 to 1 for a, 0 to 2 for b. A `Bounded` has its own bounds.
        bounds: minimum and maximum of both time constants, ms, instead.
        theta, dt, surrogate, graded, stateful: see `StepNeuron`.

    Raises:
        ValueError: as in `StepNeuron`, or a trained constant is outside its bounds.
        TypeError: as in `StepNeuron`.

    Source: Baronig, Ferrand, Sabathiel and Legenstein 2024, "Advancing spatio-temporal processing in spiking neural
    networks through adaptation", arXiv 2408.07517.

    >>> neuron = AdLIF(tau_u=10.0, tau_w=60.0, a=0.2, b=0.1)
    >>> s = neuron(np.full((200, 1, 1), 6.0)).data
    >>> int(s[:50].sum()), int(s[50:].sum())  # it fires where its input begins
    (6, 0)
    >>> bool(neuron.response.min() < -0.4 * neuron.peak)  # and swings below 0 after an input
    True
    """

    tau_u: Any = 15.0
    tau_w: Any = 180.0
    a: Any = 0.5
    b: Any = 1.0
    q: float = 120.0
    _: KW_ONLY
    tau_rho: float = 0.2
    scale_rho: float = 0.1
    gradient: str = "exact"

    states = ("v", "w")
    decays: ClassVar[Mapping[str, str]] = {"d": "tau_u", "e": "tau_w"}
    step_columns = ("d", "e", "a", "b")
    time_constants: ClassVar[tuple[str, ...]] = ("tau_u", "tau_w", "a", "b")
    may_be_zero = ("a", "b")
    as_if_unfired = False
    names: ClassVar[Names] = Names(
        "ADLIF",
        needed={"theta": "theta", "tauU": "tau_u", "tauW": "tau_w", "a": "a", "b": "b"},
        options={"q": "q", **NAMED},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        set_checked(self, q=check.factor)
        for name in self.time_constants:
            value = getattr(self, name)
            if isinstance(value, Bounded):
                check_within(name, to_numpy(value.data), value.least, value.most, "where it is trained")

    def bounds_of(self, name: str) -> tuple[float, float]:
        if self.bounds is not None and name not in self.may_be_zero:
            return super().bounds_of(name)
        return _BOUNDS[name]

    def step(c, d, e, a, b, v, w, x):  # type: ignore[no-untyped-def]
        u = flushed(d * v + (1 - d) * (x - w))
        s = u >= c.theta
        v = u if u < c.theta else 0  # not by s: no gradient of the spike passes the reset
        w = flushed(e * w + (1 - e) * c.q * (a * v + (b if s else 0)))
        return v, w, u, s

    @property
    def response(self) -> Array:
        """The potential after an input of 1 without spikes, (K,) float64, for the mean constants."""
        d, e, pull = self._shares(self.mean_keep, self.mean_of)[:3]
        # The eigenvalues of a step, whose product is d e.
        half = (d + e - pull * (1 - d)) / 2
        slowest = max(abs(half + sign * cmath.sqrt(half * half - d * e)) for sign in (-1, 1))
        found, w = np.zeros(2 + steps_until_cut(slowest)), 0.0
        for t in range(len(found)):
            found[t] = d * found[t - 1] - (1 - d) * w if t else 1 - d
            w = e * w + pull * found[t]
        return found[: 1 + np.flatnonzero(abs(found) >= 0.01 * abs(found).max())[-1]]

    def _shares(self, keep: Any, value: Any, *of: Any) -> tuple[float, float, float, float]:
        """Return d, e, and the rise of w in a step for a voltage of 1 and for a spike."""
        d, e = keep("tau_u", *of), keep("tau_w", *of)
        return d, e, (1 - e) * self.q * value("a", *of), (1 - e) * self.q * value("b", *of)

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        d, e, pull, push = self._shares(self.keep_of, self.value_of, index, shape)
        of_input, of_spikes = np.zeros(len(spikes)), np.zeros(len(spikes))
        of_u, of_w = 1.0, 0.0  # the gradients of u[time] with respect to u and w of a step
        for t in range(time, -1, -1):
            if t < time:
                of_spikes[t] = push * of_w if spikes[t] else 0.0
                of_u = 0.0 if spikes[t] else d * of_u + pull * of_w
            of_input[t] = (1 - d) * of_u
            of_w = e * of_w - (1 - d) * of_u
        return of_input, of_spikes
