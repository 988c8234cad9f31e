"""Launchers of `adaptive.cu`: adaptive neurons and their gradients."""

from __future__ import annotations

from typing import Any, TypeAlias

from cuslayer.backend import Array
from cuslayer.kernels.adaptive.constants import AdaptiveSpiking
from cuslayer.kernels.cuda.launch import contiguous, empty, neurons_over_time, over_time, sizes
from cuslayer.kernels.surrogate.constants import surrogate_numbers

__all__ = ["adjoint", "forward"]

Keeps: TypeAlias = "tuple[Array, Array, Array, Array]"


def forward(
    x: Array, keeps: Keeps, spiking: AdaptiveSpiking, states: Array | None = None, saves: bool = False
) -> tuple[Array, Array, Array, Array]:
    """Return the potential u, the spikes s, the threshold's rise h and the refractory state r of the input x (T, ...).

    `states`, (4, columns), are those before the first step, and become those after the last; by default 0. h and r are
    (T, ...) if `saves`, else without elements.
    """
    h, r = (empty(x, x.shape if saves else (0,), x.dtype) for _ in range(2))
    arguments = _states(x, states) | _keeps(keeps) | spiking.adaptation(x.dtype)._asdict()
    u, s = neurons_over_time("adaptive", x, x=contiguous(x), h=h, r=r, saves=saves, **arguments)
    return u, s, h, r


def adjoint(
    g: Array,
    u: Array,
    h: Array,
    r: Array,
    keeps: Keeps,
    spiking: AdaptiveSpiking,
    states: Array | None = None,
    trained: bool = False,
) -> tuple[Array, Array]:
    """Return the gradient of the weighted input (T, ...), and those of the shares, (4, columns) if they are trained.

    h and r are as `forward` returns them if `saves`; without the path through adaptation, and untrained, none is read.
    """
    sums = empty(g, (4 if trained else 0, sizes(g)[1]), g.dtype)
    arguments = _states(g, states) | _keeps(keeps) | spiking.adaptation(g.dtype)._asdict()
    arguments |= surrogate_numbers(spiking, g.dtype)._asdict()
    arguments |= {name: contiguous(each) for name, each in {"g": g, "u": u, "h": h, "r": r}.items()}
    arguments |= {"sums": sums, "trained": trained, "exact": spiking.exact, "graded": spiking.graded}
    return over_time("adaptive_adjoint", g, **arguments), sums


def _states(beside: Array, states: Array | None) -> dict[str, Any]:
    if states is None:
        return {"states": empty(beside, (0,), beside.dtype), "held": False}
    return {"states": states, "held": True}


def _keeps(keeps: Keeps) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, keep in zip(("i", "v", "h", "r"), keeps, strict=True):
        found |= {f"{name}_keep": keep, f"{name}_size": keep.size}
    return found
