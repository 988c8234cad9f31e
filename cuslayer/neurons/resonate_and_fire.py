"""Resonate-and-fire neurons: a rotating complex state, whose imaginary part is the potential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Gradient, Pullback, Tensor, differentiable, to_shape
from cuslayer.backend import Array, namespace
from cuslayer.neurons.base import Names, set_checked, word_or_none
from cuslayer.neurons.dynamics import NAMED, StepNeuron, steps_until_cut
from cuslayer.neurons.step import flushed


@differentiable
def rotation(tau: Array, frequency: Array, /, *, dt: float, imaginary: bool) -> tuple[Array, Pullback]:
    """Return a part of ``exp(-dt / tau + 2 pi i frequency dt / 1000)``, for ms and Hz; tau and frequency broadcast."""
    xp, turn = namespace(tau), 2 * math.pi * dt / 1000
    size, angle = xp.exp(-dt / tau), turn * frequency
    cosine, sine = size * xp.cos(angle), size * xp.sin(angle)
    out, slope = (sine, cosine) if imaginary else (cosine, -sine)

    def pullback(g: Array) -> tuple[Gradient, ...]:
        return to_shape(g * out * dt / tau**2, tau.shape), to_shape(g * slope * turn, frequency.shape)

    return out, pullback


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class ResonateAndFire(StepNeuron):
    """A resonate-and-fire neuron: it responds to inputs of its own frequency.

    ::

        z[t]  = w z'[t-1] + x[t]                    w = exp(-dt / tau + 2 pi i frequency dt / 1000)
        u[t]  = Im z[t]
        s[t]  = (u[t] >= theta)
        z'[t] = i theta                             after a spike, with reset="izhikevich"
                0                                   reset="zero"
                z[t] - i theta                      reset="subtract"
                z[t]                                after none, or reset=None
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    At each step, backward multiplies the error of z by the conjugate of w, and adds ``dt rho(u[t]) g[t]`` to its
    imaginary part; its real part is g_x. "detached" lets no error of z pass a reset to a
    constant. With ``gradient="exact"`` a spike also gets the error that its reset causes.

    Args:
        tau: time constant of the decay, ms: a number, or an array that broadcasts to the layer's neurons, such as (C,)
            for one per channel. A `Bounded` is trained. Layers that share a neuron share it.
        frequency: the frequency, Hz; like tau. A trained one stays between a thousandth and half of the rate of the
            steps.
        reset: "izhikevich", "zero", "subtract", or None.
        theta, tau_rho, scale_rho, dt, gradient, surrogate, trained, bounds, graded, stateful: see `StepNeuron`, also
            for errors.

    Source: Izhikevich 2001, "Resonate-and-fire neurons", doi 10.1016/S0893-6080(01)00078-8.

    >>> neuron = ResonateAndFire(tau=50.0, frequency=25.0)
    >>> def fires(period):
    ...     x = np.zeros((200, 1, 1)); x[::period] = 0.7
    ...     return bool(neuron(x).data.any())
    >>> fires(period=40), fires(period=20), fires(period=30)
    (True, False, False)
    """

    tau: Any = 20.0
    frequency: Any = 20.0
    reset: Any = "izhikevich"

    states = ("re", "im")
    step_columns = ("p", "q")
    time_constants: ClassVar[tuple[str, ...]] = ("tau", "frequency")
    names: ClassVar[Names] = Names(
        "RESONATE",
        needed={"theta": "theta", "tau": "tau", "frequency": "frequency"},
        options={"reset": "reset", **NAMED},
    )

    def __post_init__(self) -> None:
        set_checked(self, reset=word_or_none("izhikevich", "zero", "subtract", "none"))
        super().__post_init__()

    def bounds_of(self, name: str) -> tuple[float, float]:
        if name == "frequency":
            return 1.0 / self.dt, 500.0 / self.dt
        return super().bounds_of(name)

    @property
    def share(self) -> float:
        """The factor of the state at a spike."""
        return 1.0 if self.reset in ("subtract", "none") else 0.0

    @property
    def jump(self) -> float:
        """The amount that a spike then adds to the imaginary part."""
        return {"izhikevich": self.theta, "subtract": -self.theta}.get(self.reset, 0.0)

    def step(c, p, q, re, im, x):  # type: ignore[no-untyped-def]
        z = flushed(p * re - q * im + x)
        u = flushed(q * re + p * im)
        s = u >= c.theta
        after_re = c.share * z if s else z
        after_im = c.share * u + c.jump if s else u
        return after_re, after_im, u, s

    @property
    def columns(self) -> dict[str, Any]:
        """The factor of the state in a step: real and imaginary part."""
        tau, frequency = (each if isinstance(each, Tensor) else np.asarray(each) for each in (self.tau, self.frequency))
        if isinstance(tau, Tensor) or isinstance(frequency, Tensor):
            given = {"dt": self.dt}
            return {name: rotation(tau, frequency, imaginary=name == "q", **given) for name in ("p", "q")}
        # Uses the CPU's functions on every device, so that the spikes agree to the bit.
        size, angle = np.exp(-self.dt / tau), 2 * math.pi * self.dt / 1000 * frequency
        return {"p": size * np.cos(angle), "q": size * np.sin(angle)}

    @property
    @check.operation
    def response(self) -> Array:
        """The potential after an input of 1 without spikes, (K,) float64, for the mean constants."""
        size, angle = self.mean_keep("tau"), self._angle(self.mean_of("frequency"))
        lags = np.arange(3 + steps_until_cut(size))
        return size**lags * np.sin(angle * lags)

    def _angle(self, frequency: float) -> float:
        """Return the angle that a step turns the state."""
        return 2 * math.pi * frequency * self.dt / 1000

    def parts_at(self, spikes: Array, time: int, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, index, shape)
        size, angle = self.keep_of("tau", index, shape), self._angle(self.value_of("frequency", index, shape))
        w = size * complex(math.cos(angle), math.sin(angle))
        of_input, of_spikes = np.zeros(len(spikes)), np.zeros(len(spikes))
        error = 1j  # the gradient of u[time] with respect to z: real part and imaginary part
        for t in range(time - 1, -1, -1):
            error *= w.conjugate()
            if spikes[t]:
                of_spikes[t] = self.jump * error.imag
                error *= self.share
            of_input[t] = error.real
        return of_input, of_spikes
