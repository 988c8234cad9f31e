"""Launchers of `leaky.cu`: leaky neurons and their gradients."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, neurons_over_time, over_time, sizes
from cuslayer.kernels.leaky.constants import LeakySpiking
from cuslayer.kernels.surrogate.constants import surrogate_numbers

__all__ = ["adjoint", "forward", "keep_adjoint"]


def forward(
    x: Array, i_keep: Array, v_keep: Array, spiking: LeakySpiking, states: Array | None = None
) -> tuple[Array, Array]:
    """Return the voltage u before the reset and the spikes s, both (T, ...), of the weighted input x (T, ...).

    `states`, (2, columns), are those before the first step, and become those after the last; by default 0.
    """
    arguments = _states(x, states) | _keeps(i_keep, v_keep) | spiking.reset._asdict()
    return neurons_over_time("leaky", x, x=contiguous(x), theta=spiking.theta, **arguments)


def adjoint(g: Array, u: Array, i_keep: Array, v_keep: Array, spiking: LeakySpiking) -> Array:
    """Return the gradient of the weighted input, of the gradient of the spikes g and the voltage u (T, ...)."""
    arguments = _keeps(i_keep, v_keep) | spiking.backward_reset._asdict()
    arguments |= surrogate_numbers(spiking, g.dtype)._asdict()
    return over_time("leaky_adjoint", g, g=contiguous(g), u=contiguous(u), graded=spiking.graded, **arguments)


def keep_adjoint(
    y: Array, u: Array, i_keep: Array, v_keep: Array, spiking: LeakySpiking, states: Array | None = None
) -> tuple[Array, Array]:
    """Return the gradients of i_keep and v_keep for each column, (columns,), of y = `adjoint` and the voltage u."""
    steps, columns = sizes(y)
    found = {name: empty(y, (columns,), y.dtype) for name in ("g_i", "g_v")}
    arguments = _states(y, states) | _keeps(i_keep, v_keep) | spiking.reset._asdict() | found
    arrays = {"y": contiguous(y), "u": contiguous(u)}
    kernel("leaky_keep_adjoint", y.dtype)(
        columns, **arrays, steps=steps, columns=columns, theta=spiking.theta, **arguments
    )
    return found["g_i"], found["g_v"]


def _states(beside: Array, states: Array | None) -> dict[str, Any]:
    if states is None:
        return {"states": empty(beside, (0,), beside.dtype), "held": False}
    return {"states": states, "held": True}


def _keeps(i_keep: Array, v_keep: Array) -> dict[str, Any]:
    return {"i_keep": i_keep, "v_keep": v_keep, "i_size": i_keep.size, "v_size": v_keep.size}
