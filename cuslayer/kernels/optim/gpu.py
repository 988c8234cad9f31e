"""Launchers of `optim.cu`: steps of the optimizers."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous

__all__ = ["adam", "sgd"]


def sgd(w: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> None:
    """Update the weights w by gradient descent with momentum: ``v = momentum v + g + decay w``, ``w -= rate v``."""
    kernel("sgd", w.dtype)(w.size, w=w, g=contiguous(g), v=v, size=w.size, rate=rate, momentum=momentum, decay=decay)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    peak: Array | None,
    *,
    betas: tuple[float, float],
    rate_m: float,
    rate_g: float,
    scale_v: float,
    eps: float,
    decay: float,
) -> None:
    """Update the weights w by Adam, AMSGrad or NAdam, in place.

    With ``g' = g + decay w``: ``m = beta1 m + (1 - beta1) g'``, ``v = beta2 v + (1 - beta2) g'^2``,
    ``w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)``. With ``peak`` (AMSGrad), the largest v so far, which is
    stored there, replaces v. The rates include the bias corrections.
    """
    kernel("adam", w.dtype)(
        w.size,
        w=w,
        g=contiguous(g),
        m=m,
        v=v,
        peak=v if peak is None else peak,
        size=w.size,
        keep_peak=peak is not None,
        beta1=betas[0],
        beta2=betas[1],
        rate_m=rate_m,
        rate_g=rate_g,
        scale_v=scale_v,
        eps=eps,
        decay=decay,
    )
