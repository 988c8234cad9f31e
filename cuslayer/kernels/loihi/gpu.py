"""Launchers of `loihi.cu` and of the two kernels of its gradient."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, sizes
from cuslayer.kernels.loihi.constants import FixedPoint
from cuslayer.kernels.response.gpu import fir_adjoint
from cuslayer.kernels.srm.gpu import spike_adjoint

__all__ = ["adjoint", "forward"]


def forward(x: Array, constants: FixedPoint) -> tuple[Array, Array]:
    """Return the voltage u and the spikes s, both (T, ...), of the weighted input x (T, ...)."""
    steps, columns = sizes(x)
    u, s = empty(x, x.shape, x.dtype), empty(x, x.shape, bool)
    kernel("loihi", x.dtype)(
        columns,
        x=contiguous(x),
        u=u,
        s=s,
        steps=steps,
        columns=columns,
        first=constants.first,
        **constants.recurrence(x.dtype)._asdict(),
    )
    return u, s


def adjoint(g: Array, u: Array, constants: FixedPoint) -> Array:
    """Return the gradient of the input, ``y[t] = sum_k h[k] rho(u[t+k]) g[t+k]``, of g and u (T, ...)."""
    return fir_adjoint(spike_adjoint(g, u, constants), constants.samples)
