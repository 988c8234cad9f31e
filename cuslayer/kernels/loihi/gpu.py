"""Launchers of `loihi.cu` and of the two kernels of its gradient."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.launch import contiguous, neurons_over_time
from cuslayer.kernels.loihi.constants import FixedPoint
from cuslayer.kernels.response.gpu import fir_adjoint
from cuslayer.kernels.srm.gpu import spike_adjoint

__all__ = ["adjoint", "forward"]


def forward(x: Array, constants: FixedPoint) -> tuple[Array, Array]:
    """Return the voltage u and the spikes s, both (T, ...), of the weighted input x (T, ...)."""
    integers = constants.recurrence(x.dtype)._asdict()
    return neurons_over_time("loihi", x, x=contiguous(x), first=constants.first, **integers)


def adjoint(g: Array, u: Array, constants: FixedPoint) -> Array:
    """Return the gradient of the input, ``y[t] = sum_k h[k] rho(u[t+k]) g[t+k]``, of g and u (T, ...)."""
    return fir_adjoint(spike_adjoint(g, u, constants), constants.samples)
