"""Launchers of `resonate.cu`: resonant neurons and their gradients."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.cuda.launch import contiguous, empty, neurons_over_time, over_time, sizes
from cuslayer.kernels.resonate.constants import ResonantSpiking
from cuslayer.kernels.surrogate.constants import surrogate_numbers

__all__ = ["adjoint", "forward"]


def forward(
    x: Array,
    re_keep: Array,
    im_keep: Array,
    spiking: ResonantSpiking,
    states: Array | None = None,
    saves: bool = False,
) -> tuple[Array, Array, Array]:
    """Return the potential u, the spikes s and the real part before the reset, of the weighted input x (T, ...).

    `states`, (2, columns), are those before the first step, and become those after the last; by default 0. The real
    part is (T, ...) if `saves`, else without elements.
    """
    kept = empty(x, x.shape if saves else (0,), x.dtype)
    arguments = _states(x, states) | _keeps(re_keep, im_keep) | spiking.reset._asdict()
    arguments |= {"real_parts": kept, "saves": saves, "theta": spiking.theta}
    u, s = neurons_over_time("resonate", x, x=contiguous(x), **arguments)
    return u, s, kept


def adjoint(
    g: Array,
    u: Array,
    real_parts: Array,
    re_keep: Array,
    im_keep: Array,
    spiking: ResonantSpiking,
    states: Array | None = None,
    trained: bool = False,
) -> tuple[Array, Array]:
    """Return the gradient of the weighted input (T, ...), and those of re_keep and im_keep, (2, columns) if trained.

    real_parts is as `forward` returns it if `saves`; without the path through the reset, and untrained, it is not read.
    """
    sums = empty(g, (2 if trained else 0, sizes(g)[1]), g.dtype)
    arguments = _states(g, states) | _keeps(re_keep, im_keep) | spiking.reset._asdict()
    arguments |= surrogate_numbers(spiking, g.dtype)._asdict()
    arguments |= {"g": contiguous(g), "u": contiguous(u), "real_parts": contiguous(real_parts), "sums": sums}
    arguments |= {"trained": trained, "exact": spiking.exact, "graded": spiking.graded}
    return over_time("resonate_adjoint", g, **arguments), sums


def _states(beside: Array, states: Array | None) -> dict[str, Any]:
    if states is None:
        return {"states": empty(beside, (0,), beside.dtype), "held": False}
    return {"states": states, "held": True}


def _keeps(re_keep: Array, im_keep: Array) -> dict[str, Any]:
    return {"re_keep": re_keep, "im_keep": im_keep, "re_size": re_keep.size, "im_size": im_keep.size}
