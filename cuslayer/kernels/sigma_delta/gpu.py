"""Launchers of `sigma_delta.cu`: sigma-delta neurons and their gradient."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import DeltaSpiking, surrogate_numbers
from cuslayer.kernels.cuda.launch import contiguous, empty, neurons_over_time, over_time

__all__ = ["adjoint", "forward"]


def forward(x: Array, spiking: DeltaSpiking, states: Array | None = None) -> tuple[Array, Array, Array]:
    """Return the change u, whether it is sent, and whether the activation passes it; see the twin in `cpu.py`."""
    passes, held = empty(x, x.shape, bool), states is not None
    u, s = neurons_over_time(
        "sigma_delta",
        x,
        x=contiguous(x),
        states=states if held else empty(x, (0,), x.dtype),
        held=held,
        passes=passes,
        theta=spiking.theta,
        sums=spiking.sums,
        rectifies=spiking.rectifies,
    )
    return u, s, passes


def adjoint(g: Array, u: Array, passes: Array, spiking: DeltaSpiking, later: Array | None = None) -> Array:
    """Return the gradient of the weighted input, from g and the changes u (T, ...); see the twin in `cpu.py`."""
    arrays: dict[str, Any] = {"g": contiguous(g), "u": contiguous(u), "passes": contiguous(passes)}
    arrays["later"] = empty(g, (0,), g.dtype) if later is None else later
    flags = {"goes_on": later is not None, "sums": spiking.sums, "exact": spiking.exact}
    return over_time("sigma_delta_adjoint", g, **arrays, **flags, of=surrogate_numbers(spiking, g.dtype)._asdict())
