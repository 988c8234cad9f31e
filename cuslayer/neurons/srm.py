"""The spike response model: two filters, a threshold and a surrogate gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._tape import Pullback, Tensor, differentiable, save_for_backward
from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.recurrent.constants import Program
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.neurons.base import (
    SURROGATE,
    USUAL_SCALE,
    Names,
    Neuron,
    OnePass,
    StepByStep,
    scaled_or_none,
    scaled_surrogate,
    set_checked,
    shape_of,
    shown,
    surrogate_scale,
)
from cuslayer.neurons.states import PopulationStates
from cuslayer.surrogates import EXPONENTIAL, Surrogate


@differentiable
@check.operation
def neuron(x: Array, /, *, response: Alpha, spiking: Spiking, exact: bool = False) -> tuple[Array, Pullback]:
    """Return ``spike(psp(x))`` in one forward and one backward pass.

    Only the potential u is saved for backward.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward includes the path through refraction.

    Returns:
        Spikes, boolean, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).
        TypeError: x is not floating.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 1)); x[0] = 12.0
    >>> neuron(x, response=srm.filter, spiking=srm.spiking).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    check.weighted_input("x", x)
    k = kernels.of(x)
    u, s = k.srm.neuron(x, response, spiking)
    potential, dtype = save_for_backward(k, u), x.dtype  # not x: the closure must not keep the weighted input alive
    if not spiking.shape.is_exponential:
        back = k.surrogate.adjoint_exact if exact else k.surrogate.adjoint
        return s, lambda g: response.adjoint(k, back(g.astype(dtype, copy=False), potential(), spiking))
    back = k.srm.neuron_adjoint
    return s, lambda g: back(g.astype(dtype, copy=False), potential(), response, spiking, exact, overwrite=True)


@differentiable
@check.operation
def spike(a: Array, /, *, spiking: Spiking, exact: bool = False) -> tuple[Array, Pullback]:
    """Return the spikes: where the potential after refraction reaches the threshold, ``s[t] = (u[t] >= theta)``.

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``. The step has no derivative. Backward uses the surrogate
    ``rho(u) = scale_rho / (tau_rho theta) f((u - theta) / (tau_rho theta))``, by default with ``f(z) = exp(-|z|)``:
    ``g_a[t] = dt rho(u[t]) g_s[t]``. With ``exact`` it also propagates through refraction:
    ``g_a[t] = dt rho(u[t]) (g_s[t] + sum_{k>=1} nu[k] g_a[t+k])``.

    Args:
        a: (T, N, ...), the filtered input, float32 or float64.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward includes the path through refraction.

    Returns:
        Spikes, boolean, of a's shape.

    Raises:
        ValueError: a is not (T, N, ...).
        TypeError: a is not floating.

    Source: Shrestha and Orchard 2018, equations 2 and 11; the exact mode Bauer et al. 2022, arXiv 2205.10242.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> spike(np.full((4, 1, 1), 10.0), spiking=SRM(tau_ref=1.0, scale_ref=2.0).spiking).data.ravel().tolist()
    [True, False, False, False]
    """
    check.weighted_input("a", a)
    k = kernels.of(a)
    u, s = k.srm.spike(a, spiking)
    adjoint = k.surrogate.adjoint_exact if exact else k.surrogate.adjoint
    potential, dtype = save_for_backward(k, u), a.dtype  # not a: the closure must not keep the filtered input alive
    return s, lambda g: adjoint(g.astype(dtype, copy=False), potential(), spiking)


@differentiable
@check.operation("neuron")
def _neuron_after(x: Array, /, *, program: Program, states: PopulationStates) -> tuple[Array, Pullback]:
    """Return the result of `neuron` from states, which it changes: by `Recurrent`'s kernels, without synapses."""
    check.weighted_input("x", x)
    k, held, dtype, shape = kernels.of(x), states.begin(x, program, 0), x.dtype, x.shape
    before = {"states": held.states.copy(), "start": held.steps}
    xp = namespace(x)
    given = xp.empty((0, math.prod(x.shape[2:])), dtype), program, xp.empty((0, 1), dtype), 1
    u, s, more = k.recurrent.forward(x, *given, before=held)
    potential = save_for_backward(k, u)

    def pullback(g: Array) -> Array:
        g, later = g.astype(dtype, copy=False), states.end(k, g, program, 0)
        found: Array = k.recurrent.adjoint(g, potential(), more, *given, **before, later=later)[0]
        return found[: len(g)]

    # Packed images have a line for each row.
    return s.unpack() if isinstance(s, PackedSpikes) and len(shape) == 5 else s, pullback


# Beyond this multiple of dt, neighbouring steps have the same numbers in float64.
_LONGEST = 1e15


@dataclass(frozen=True)
class SRM(Neuron):
    """A spike response neuron: it filters its weighted input and fires where its potential reaches the threshold.

    With ``a[t] = sum_k eps[k] x[t-k]``::

        eps[k] = (k dt / tau_sr) exp(1 - k dt / tau_sr)
        nu[k]  = -scale_ref theta (k dt / tau_ref) exp(1 - k dt / tau_ref)
        u[t]   = a[t] + sum over earlier spikes f of nu[t - f]
        s[t]   = (u[t] >= theta)
        rho(u) = scale_rho / (tau_rho theta) exp(-|u - theta| / (tau_rho theta))

    Another surrogate has its shape f in place of the exponential; then no pass is fused with the layer's.

    Args:
        theta: the threshold.
        tau_sr: time constant of the spike response, ms.
        tau_ref: time constant of the refractory response, ms.
        scale_ref: size of the refractory response, in thresholds.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate; by default 1, in a `Recurrent` 0.1.
        dt: the step, ms.
        gradient: "slayer", as published, or "exact", which includes the path through refraction.
        cutoff: value below which the spike response is truncated; 0 for no truncation.
        ref_cutoff: the same for the absolute value of the refractory response.
        surrogate: the shape of the surrogate, one of `cs.surrogates` or its name.

    Raises:
        ValueError: a constant is out of its range, or gradient or surrogate is unknown.
        TypeError: a constant is not a number, or surrogate has the wrong type.

    Warns:
        UserWarning: dt looks like seconds or microseconds, or is above 5 tau_sr or below a thousandth of it.

    Source: Shrestha and Orchard 2018, section 2, and 3.1 for the surrogate.

    >>> srm = SRM(theta=10.0, tau_sr=10.0)
    >>> len(srm.response), float(srm.response[10])
    (77, 1.0)
    """

    theta: float = 10.0
    tau_sr: float = 10.0
    tau_ref: float = 1.0
    scale_ref: float = 2.0
    tau_rho: float = 1.0
    scale_rho: float = USUAL_SCALE
    dt: float = 1.0
    gradient: str = "slayer"
    cutoff: float = 0.01
    ref_cutoff: float = 0.01
    surrogate: Any = EXPONENTIAL

    names: ClassVar[Names] = Names(
        "SRMALPHA",
        needed={
            **{"theta": "theta", "tauSr": "tau_sr", "tauRef": "tau_ref", "scaleRef": "scale_ref"},
            **{"tauRho": "tau_rho", "scaleRho": "scale_rho"},
        },
        options={"gradient": "gradient", "cutoff": "cutoff", "refCutoff": "ref_cutoff", **SURROGATE},
    )

    def __post_init__(self) -> None:
        check.one_of("gradient", self.gradient, ("slayer", "exact"))
        set_checked(self, theta=check.constant, tau_sr=check.positive, tau_ref=check.positive, scale_ref=check.factor)
        set_checked(self, tau_rho=check.constant, scale_rho=surrogate_scale, dt=check.time_step)
        set_checked(self, cutoff=check.not_negative, ref_cutoff=check.not_negative)
        check.factor("scale_ref theta", self.scale_ref * self.theta)
        scaled_surrogate(self, self.dt * self.scale_rho / self.width / self.dt)
        for name in ("tau_sr", "tau_ref"):
            check.factor(f"dt / {name}", self.dt / getattr(self, name))
            if getattr(self, name) > _LONGEST * self.dt:
                got = f"got {getattr(self, name):g} and {self.dt:g}, both in ms"
                raise ValueError(f"{name} must be at most {_LONGEST:g} dt, {got}")
        if 5 * self.tau_sr < self.dt < 1e3:  # above, `check.time_step` has warned
            got = f"got {self.dt:g} and {self.tau_sr:g}, both in ms"
            check.warn(f"dt must be less than 5 tau_sr for the response to have a sample near its peak, {got}")
        elif 1e-3 < self.dt < 1e-3 * self.tau_sr:
            got = f"got {self.dt:g} and {self.tau_sr:g}, both in ms"
            check.warn(f"dt must be at least a thousandth of tau_sr, {got}")

    @cached_property
    def filter(self) -> Alpha:
        """The spike response as an argument of operations."""
        return Alpha(1.0, self.tau_sr, self.dt, self.cutoff)

    @cached_property
    def spiking(self) -> Spiking:
        """Threshold, refractory response and surrogate as an argument of operations."""
        refractory = Alpha(-self.scale_ref * self.theta, self.tau_ref, self.dt, self.ref_cutoff)
        height = self.dt * self.scale_rho / self.width
        return Spiking(self.theta, refractory, self.width, height, shape_of(self))

    @property
    def response(self) -> Array:
        """The samples of the spike response eps, (K,) float64."""
        return self.filter.samples()

    @property
    def refractory(self) -> Array:
        """The samples of the refractory response nu, (K,) float64."""
        return self.spiking.refractory.samples()

    @property
    def _plain(self) -> bool:
        """Whether the equations above hold: a subclass that overrides one of these may compute something else."""
        own = ("__call__", "psp", "spike", "fires")
        return all(getattr(type(self), name) is getattr(SRM, name) for name in own)

    @property
    def parts(self) -> str:
        return "exact" if self._plain else "partial"

    @cached_property
    def one_pass(self) -> OnePass | None:
        if not self._plain or not self.spiking.shape.is_exponential:
            return None
        return OnePass(self.filter, self.spiking, self.gradient == "exact")

    @property
    def srm_form(self) -> OnePass | None:
        return self.one_pass

    @property
    def step_by_step(self) -> StepByStep | None:
        program = Program(self.spiking, self.filter, self.gradient == "exact")
        return StepByStep(program, {}) if self._plain else None

    def continued(self) -> Callable[[Any], Tensor] | None:
        if not self._plain:
            return None
        program, states = Program(self.spiking, self.filter, self.gradient == "exact"), PopulationStates()
        return lambda x: _neuron_after(x, program=program, states=states)

    @property
    def relaxed(self) -> Surrogate | None:
        return scaled_or_none(self) if self._plain else None

    def spike(self, u: Any) -> Tensor:
        """Return the boolean spikes of a filtered input (T, N, ...); see `functions.spike`."""
        return spike(u, spiking=self.spiking, exact=self.gradient == "exact")

    def __call__(self, x: Any) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...): ``spike(psp(x))`` in one pass."""
        return neuron(x, response=self.filter, spiking=self.spiking, exact=self.gradient == "exact")

    def __repr__(self) -> str:
        return shown(self)
