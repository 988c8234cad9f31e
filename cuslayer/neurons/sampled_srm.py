"""The spike response model with custom responses, given by their samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, save_for_backward
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.kernels.step.filters import Sampled
from cuslayer.kernels.time.sampled_srm.constants import SampledSpiking
from cuslayer.neurons.base import (
    GRADIENTS,
    USUAL_STEP,
    Neuron,
    scaled_or_none,
    scaled_surrogate,
    set_checked,
    shape_of,
    usual_or_step,
)
from cuslayer.neurons.states import Carried, Remembering
from cuslayer.surrogates import EXPONENTIAL, Surrogate


@differentiable
@check.operation
def sampled_spike(a: Array, /, *, spiking: SampledSpiking, exact: bool = False) -> tuple[Array, Pullback]:
    """Return the spikes of neurons with a sampled refractory response: ``s[t] = (u[t] >= theta)``.

    ``u[t] = a[t] + sum_{k>=1} nu[k] s[t-k]``. Backward is as in `spike`: ``g_a[t] = dt rho(u[t]) g_s[t]``, and with
    ``exact`` ``g_a[t] = dt rho(u[t]) (g_s[t] + sum_{k>=1} nu[k] g_a[t+k])``.

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

    >>> neuron = SampledSRM([0.0, 1.0], [0.0, -30.0, -15.0], theta=10.0)
    >>> sampled_spike(np.full((4, 1, 1), 10.0), spiking=neuron.spiking).data.ravel().tolist()
    [True, False, False, True]
    """
    check.time_first("a", a)
    check.floating("a", a)
    k = kernels.of(a)
    u, s = k.sampled_srm.sampled_spike(a, spiking)
    adjoint = k.sampled_srm.sampled_spike_adjoint_exact if exact else k.sampled_srm.surrogate_adjoint
    potential, dtype = save_for_backward(k, u), a.dtype  # not a: the closure must not keep the filtered input alive
    return s, lambda g: adjoint(g.astype(dtype, copy=False), potential(), spiking)


@differentiable
@check.operation("sampled_spike")
def _spike_after(a: Array, /, *, spiking: SampledSpiking, exact: bool, states: Carried) -> tuple[Array, Pullback]:
    """Return the result of `sampled_spike` after the spikes of earlier calls."""
    k, xp, dtype, earlier = kernels.of(a), namespace(a), a.dtype, len(spiking.refractory) - 1
    before = xp.zeros((earlier, *a.shape[1:]), bool) if states.values is None else states.values
    u, s = k.sampled_srm.sampled_spike_after(before, a, spiking)
    states.values, potential = s[len(a) :].copy(), save_for_backward(k, u)

    def pullback(g: Array) -> Array:
        g = g.astype(dtype, copy=False)
        if not exact:
            return cast(Array, k.sampled_srm.surrogate_adjoint(g, potential(), spiking))
        if states.later is not None:
            # The effect of this chunk's spikes on later chunks.
            of_later = xp.concatenate([xp.zeros_like(g), states.later], axis=0)
            g = g + k.filter_bank.fir_adjoint(of_later, spiking.refractory)[: len(g)]
        found: Array = k.sampled_srm.sampled_spike_adjoint_exact(g, potential(), spiking)
        if states.whole:
            later = [] if states.later is None else [states.later]
            states.later = xp.concatenate([found, *later], axis=0)[:earlier].copy()
        return found

    return s[earlier:], pullback


@check.constructed
@dataclass(frozen=True, eq=False, repr=False)
class SampledSRM(Neuron):
    """A spike response neuron with any response to the input and to its own spikes, given by samples.

    ::

        a[t]   = sum_k eps[k] x[t-k]                     eps: response
        u[t]   = a[t] + sum_{k>=1} nu[k] s[t-k]          nu: refractory
        s[t]   = (u[t] >= theta)
        rho(u) = scale_rho / (tau_rho theta) exp(-|u - theta| / (tau_rho theta))

    Both sums are computed directly, with K operations per step; `SRM` computes its responses as recurrences. With
    ``response=srm.response, refractory=srm.refractory`` the neuron equals `srm`, up to rounding.

    Args:
        response: the samples (K,) of the response to an input of 1, one per step from lag 0; by default the input
            itself. Losses and `psp` use them unscaled.
        refractory: the samples (K,) of the response to the neuron's own spike, 0 at lag 0; by default no refraction.
        theta: the threshold.
        tau_rho: width of the surrogate, in thresholds.
        scale_rho: scale of the surrogate.
        dt: the step, ms.
        gradient: "slayer", as published, or "exact", which includes the path through refraction; "detached" is the same
            as "slayer".
        surrogate: the shape of the surrogate, one of `cs.surrogates` or its name.

    Raises:
        ValueError: samples are not (K,), not finite or empty, the first refractory sample is not 0, a constant is out
            of its range, or gradient is unknown.
        TypeError: samples or a constant are not numbers.

    Source: Shrestha and Orchard 2018, section 2, whose responses may be any.

    >>> neuron = SampledSRM(np.exp(-np.arange(50) / 10.0), [0.0, -20.0, -10.0], theta=10.0)
    >>> neuron
    SampledSRM(response: 50 samples, refractory: 3 samples, theta=10.0)
    >>> x = np.zeros((5, 1, 1)); x[0] = 12.0
    >>> neuron(x).data.ravel().tolist()
    [True, False, False, False, False]
    """

    response: Any = (1.0,)
    refractory: Any = (0.0,)
    theta: float = 10.0
    tau_rho: float = 1.0
    scale_rho: float = 1.0
    dt: float = USUAL_STEP
    gradient: str = "slayer"
    surrogate: Any = EXPONENTIAL

    parts: ClassVar[str] = "exact"

    def __post_init__(self) -> None:
        check.one_of("gradient", self.gradient, GRADIENTS[:3])
        set_checked(self, theta=check.constant, tau_rho=check.constant, scale_rho=check.constant, dt=usual_or_step)
        scaled_surrogate(self, self.dt * self.scale_rho / self.width / self.dt)
        set_checked(self, response=_samples, refractory=_samples)
        if self.refractory[0] != 0:
            raise ValueError(f"refractory must begin with 0, at lag 0, got {self.refractory[0]:g}")

    @cached_property
    def filter(self) -> Sampled:
        """The response as an argument of operations."""
        return Sampled(self.response, self.dt)

    @cached_property
    def spiking(self) -> SampledSpiking:
        """Threshold, refractory response and surrogate as an argument of operations."""
        height = self.dt * self.scale_rho / self.width
        return SampledSpiking(self.theta, self.refractory, self.width, height, shape_of(self))

    @property
    def relaxed(self) -> Surrogate | None:
        return scaled_or_none(self)

    @property
    def pool_gain(self) -> float:
        """The weight of a pooling layer before these neurons: one spike gives a potential of ``1.1 theta``."""
        most = float(self.response.max())
        return 1.1 * self.theta / (most if most > 0 else 1.0)

    def continued(self) -> Callable[[Tensor], Tensor] | None:
        own = ("__call__", "psp", "spike")
        if any(getattr(type(self), name) is not getattr(SampledSRM, name) for name in own):
            return None
        response, states = Remembering(self.psp, len(self.response) - 1), Carried()
        options = {"spiking": self.spiking, "exact": self.gradient == "exact", "states": states}
        return lambda x: _spike_after(response(x), **options)

    def spike(self, u: TensorLike) -> Tensor:
        """Return the boolean spikes of a filtered input (T, N, ...); see `functions.sampled_spike`."""
        return sampled_spike(u, spiking=self.spiking, exact=self.gradient == "exact")

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the spikes of the weighted input x (T, N, ...): ``spike(psp(x))``.

        Raises:
            ValueError: x is not (T, N, ...).
            TypeError: x is not floating: spikes, for example, need a layer before the neurons.
        """
        x = as_tensor(x)
        check.weighted_input("x", x)
        return self.spike(self.psp(x))

    def __repr__(self) -> str:
        sizes = f"response: {len(self.response)} samples, refractory: {len(self.refractory)} samples"
        changed = [f.name for f in fields(self)[3:] if getattr(self, f.name) != f.default]
        constants = ((name, getattr(self, name)) for name in ("theta", *changed))
        return f"SampledSRM({sizes}, {', '.join(f'{name}={value}' for name, value in constants)})"


def _samples(name: str, given: object) -> Array:
    """Return the samples of a response as a read-only array (K,) float64."""
    given = np.asarray(to_numpy(given.data if isinstance(given, Tensor) else given))
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got {given.dtype}")
    if given.ndim != 1 or len(given) == 0:
        raise ValueError(f"{name} must be samples (K,), got shape {given.shape}")
    found = given.astype(np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite, got {found[~np.isfinite(found)][0]:g}")
    check.factor(f"the largest of {name}", abs(found).max())
    found.setflags(write=False)
    return found
