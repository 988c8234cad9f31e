"""Resonate-and-fire neurons: a complex state that turns, whose imaginary part is the potential."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace
from cuslayer.kernels.host.available import count_elements
from cuslayer.kernels.resonate.constants import ComplexReset, ResonantSpiking
from cuslayer.neurons.base import Names
from cuslayer.neurons.dynamics import NAMED, Dynamic, States, of_constants, per_column
from cuslayer.neurons.potential import save_for_backward
from cuslayer.operations.base import to_shape
from cuslayer.tape import Gradient, Pullback, Tensor, differentiable, grad_enabled

RESETS = ("izhikevich", "zero", "subtract", "none")


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


@differentiable
@check.operation
def resonate(
    x: Array,
    re_keep: Array,
    im_keep: Array,
    /,
    *,
    spiking: ResonantSpiking,
    states: States | None = None,
    trained: bool = False,
) -> tuple[Array, Pullback]:
    """Return the spikes of resonant neurons for the weighted input x.

    ::

        z[t]  = (re_keep + i im_keep) z'[t-1] + x[t]
        u[t]  = Im z[t]
        s[t]  = (u[t] >= theta)
        z'[t] = re_share Re z[t] + i (im_share Im z[t] + im_add) after a spike, z[t] after none

    Backward has ``dt rho(u)`` for the derivative of a spike; the path through the reset is dropped unless
    ``spiking.exact``. u is saved; the real part too where backward needs it.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        re_keep: the real part of what multiplies the state in a step; it broadcasts to the neurons.
        im_keep: its imaginary part; it broadcasts to the neurons.
        spiking: threshold, reset and surrogate.
        states: the states between calls; None to begin with 0.
        trained: whether re_keep and im_keep have gradients.

    Returns:
        Spikes of x's shape, boolean; where they carry the potential, numbers, 0 for no spike.

    Raises:
        ValueError: x is not (T, N, ...), or the constants do not broadcast to its neurons.
        TypeError: x is not floating.

    >>> x = np.zeros((5, 1, 1)); x[0] = 1.5
    >>> resonate(x, np.zeros(1), np.ones(1), spiking=ResonateAndFire(reset=None).spiking).data.ravel().tolist()
    [False, True, False, False, False]
    """
    check.weighted_input("x", x)
    k, given = kernels.of(x), (re_keep, im_keep)
    keeps = [per_column(*named, x) for named in zip(("re_keep", "im_keep"), given, strict=True)]
    held = None if states is None else states.begin(x, 2)
    before = None if held is None else held.copy()
    u, s, real_parts = k.resonate.forward(x, *keeps, spiking, held, grad_enabled() and (spiking.exact or trained))
    out = namespace(x).where(s, u, u.dtype.type(0)) if spiking.graded else s
    potential, dtype, shape = save_for_backward(k, u), x.dtype, x.shape  # not x: the closure must not keep it alive

    def pullback(g: Array) -> tuple[Gradient, ...]:
        g = g.astype(dtype, copy=False)
        y, sums = k.resonate.adjoint(g, potential(), real_parts, *keeps, spiking, before, trained)
        if not trained:
            return y, None, None
        return y, *(of_constants(found, keep, shape) for found, keep in zip(sums, given, strict=True))

    return out, pullback


@dataclass(frozen=True, eq=False, repr=False)
class ResonateAndFire(Dynamic):
    """A resonate-and-fire neuron: it answers to inputs of its own frequency.

    ::

        z[t]  = w z'[t-1] + x[t]                    w = exp(-dt / tau + 2 pi i frequency dt / 1000)
        u[t]  = Im z[t]
        s[t]  = (u[t] >= theta)
        z'[t] = i theta                             after a spike, with reset="izhikevich"
                0                                   reset="zero"
                z[t] - i theta                      reset="subtract"
                z[t]                                after none, or reset=None
        rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))

    Backward multiplies the error of z by the conjugate of w in a step, adds ``dt rho(u[t]) g[t]`` to that of the
    imaginary part, and g_x is that of the real part; with ``gradient="exact"`` a spike also gets the error of what it
    changes.

    Args:
        tau: time constant of the decay, ms: a number, or an array that broadcasts to the neurons of a layer, such as
            (C,) for one a channel; a `Bounded` is trained. Layers that share a neuron share it.
        frequency: the frequency, Hz, the same.
        theta: the threshold.
        reset: "izhikevich", "zero", "subtract", or None.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate.
        dt: the step, ms.
        gradient: "slayer", which drops the path through the reset, or "exact", which includes it.
        surrogate: the shape f of the surrogate, one of `cs.surrogates` or its name; by default ``exp(-|z|)``.
        trained: whether tau and frequency are trained.
        bounds: least and most of a trained tau, ms; by default a quarter of a step and 10,000 steps. A trained
            frequency stays between a thousandth and half of the rate of the steps.
        graded: whether a spike carries u instead of 1.
        stateful: whether a call continues from the state after the last, until `forget`.

    Raises:
        ValueError: a constant is out of its range, or reset, gradient or surrogate is unknown.
        TypeError: a constant has the wrong type.

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

    time_constants: ClassVar[tuple[str, ...]] = ("tau", "frequency")
    names: ClassVar[Names] = Names(
        "RESONATE",
        needed={"theta": "theta", "tau": "tau", "frequency": "frequency"},
        options={"reset": "reset", **NAMED},
    )

    def __post_init__(self) -> None:
        reset = "none" if self.reset is None else self.reset
        object.__setattr__(self, "reset", check.one_of("reset", reset, RESETS))
        super().__post_init__()

    def bounds_of(self, name: str) -> tuple[float, float]:
        if name == "frequency":
            return 1.0 / self.dt, 500.0 / self.dt
        return super().bounds_of(name)

    @cached_property
    def spiking(self) -> ResonantSpiking:
        """Threshold, reset and surrogate as an argument of operations."""
        resets = {
            "izhikevich": ComplexReset(0.0, 0.0, self.theta),
            "zero": ComplexReset(0.0, 0.0, 0.0),
            "subtract": ComplexReset(1.0, 1.0, -self.theta),
            "none": ComplexReset(1.0, 1.0, 0.0),
        }
        return ResonantSpiking(reset=resets[self.reset], **self._constants())

    @property
    @check.operation
    def response(self) -> Array:
        """The potential after an input of 1 without spikes, (K,) float64, for the mean constants."""
        size, angle = self.mean_keep("tau"), self._angle(self.mean_of("frequency"))
        count = 3 + math.floor(math.log(0.01) / math.log(size)) if size > 0 else 3
        count_elements((count,))
        lags = np.arange(count)
        return size**lags * np.sin(angle * lags)

    def _angle(self, frequency: float) -> float:
        """Return the angle of a step."""
        return 2 * math.pi * frequency * self.dt / 1000

    def parts_at(
        self, spikes: Array, time: int, neuron: tuple[int, ...], shape: tuple[int, ...]
    ) -> tuple[Array, Array]:
        if self.stateful:
            return super().parts_at(spikes, time, neuron, shape)
        size, angle = self.keep_of("tau", neuron, shape), self._angle(self.value_of("frequency", neuron, shape))
        w, reset = size * complex(math.cos(angle), math.sin(angle)), self.spiking.reset
        of_input, of_spikes = np.zeros(len(spikes)), np.zeros(len(spikes))
        error = 1j  # the gradient of u[time] with respect to z: real part and imaginary part
        for t in range(time - 1, -1, -1):
            error *= w.conjugate()
            if spikes[t]:
                of_spikes[t] = reset.im_add * error.imag
                error = complex(reset.re_share * error.real, reset.im_share * error.imag)
            of_input[t] = error.real
        return of_input, of_spikes

    def operate(self, x: Any, states: States | None) -> Tensor:
        tau, frequency = (each if isinstance(each, Tensor) else np.asarray(each) for each in (self.tau, self.frequency))
        parts: list[Any]
        if isinstance(tau, Tensor) or isinstance(frequency, Tensor):
            parts = [rotation(tau, frequency, dt=self.dt, imaginary=part) for part in (False, True)]
        else:  # with the CPU's functions on any device: the spikes are the same to the bit
            size, angle = np.exp(-self.dt / tau), 2 * math.pi * self.dt / 1000 * frequency
            parts = [size * np.cos(angle), size * np.sin(angle)]
        return resonate(x, *parts, spiking=self.spiking, states=states, trained=bool(self.parameters()))
