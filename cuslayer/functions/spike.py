"""Threshold and refraction: from the filtered input to spikes."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.functions.potential import kept
from cuslayer.kernels.constants import Spiking
from cuslayer.tape import Pullback, differentiable


@differentiable
def spike(a: Array, /, *, spiking: Spiking, exact: bool = False) -> tuple[Array, Pullback]:
    """Fire where the refracted potential reaches the threshold: ``s[t] = (u[t] >= theta)``.

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``. The step has no derivative: backward puts the surrogate
    ``rho(u) = scale_rho / (tau_rho theta) exp(-|u - theta| / (tau_rho theta))`` in its place,
    ``g_a[t] = dt rho(u[t]) g_s[t]``, and with ``exact`` carries the gradient on through refraction,
    ``g_a[t] = dt rho(u[t]) (g_s[t] + sum_{k>=1} nu[k] g_a[t+k])``.

    Args:
        a: (T, N, ...), the filtered input, float32 or float64.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward keeps the path through refraction.

    Returns:
        Spikes, boolean, of a's shape.

    Raises:
        ValueError: a is not (T, N, ...).
        TypeError: a is not floating.

    Source: Shrestha and Orchard 2018, equations 2 and 11; the exact mode Bauer et al. 2022, arXiv 2205.10242.

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> spike(np.full((4, 1, 1), 10.0), spiking=SRM(tau_ref=1.0, scale_ref=2.0).spiking).data.ravel().tolist()
    [True, False, False, False]
    """
    check.time_first("spike", "a", a)
    check.floating("spike", "a", a)
    k = kernels.of(a)
    u, s = k.spike(a, spiking)
    adjoint, potential = k.spike_adjoint_exact if exact else k.spike_adjoint, kept(k, u)
    dtype = a.dtype  # not a: the filtered input need not outlive the pass
    return s, lambda g: adjoint(g.astype(dtype, copy=False), potential(), spiking)
