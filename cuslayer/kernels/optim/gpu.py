"""Launchers of `optim.cu`: steps of the optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import ARRAYS, arrived, contiguous, numbered

__all__ = ["adam", "adam_all", "sgd", "sgd_all"]

# What optim.cu has for a block: its threads, and the elements of its tile.
_THREADS, _TILE = 256, 1024


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


def sgd_all(
    w: Sequence[Array],
    g: Sequence[Array],
    v: Sequence[Array],
    constants: Array,
    rates: Array,
    step: Array,
) -> None:
    """Take a step of `sgd` for several weights w, 8 to a launch, then clip them.

    Args:
        w: the weights.
        g: their gradients.
        v: their velocities.
        constants: (weights, 4): momentum, weight decay, and the bounds of each.
        rates: (rows, weights, 1): the learning rates of some steps.
        step: (1,) int64, the row of this step, at most the last; advanced.
    """
    _launches("sgd_all", {"w": w, "g": g, "v": v}, constants, rates, step)


def adam_all(
    w: Sequence[Array],
    g: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    peak: Sequence[Array | None],
    constants: Array,
    rates: Array,
    step: Array,
) -> None:
    """Take a step of `adam` for several weights w, 8 to a launch, then clip them.

    Args:
        w: the weights.
        g: their gradients.
        m: the means of the gradients.
        v: the means of the squared gradients.
        peak: the largest v so far (AMSGrad), or None.
        constants: (weights, 6): beta1, beta2, eps, weight decay, and the bounds of each.
        rates: (rows, weights, 3): rate_m, rate_g and scale_v of some steps.
        step: (1,) int64, the row of this step, at most the last; advanced.
    """
    peaks = [square if largest is None else largest for square, largest in zip(v, peak, strict=True)]
    _launches("adam_all", {"w": w, "g": g, "m": m, "v": v, "peak": peaks}, constants, rates, step)


def _launches(name: str, arrays: Mapping[str, Sequence[Array]], constants: Array, rates: Array, step: Array) -> None:
    """Launch a kernel for each 8 weights; the names of the arrays are followed by their number in the launch."""
    columns = len(arrays["w"])
    launch = kernel(name, rates.dtype).launch
    for first in range(0, columns, ARRAYS):
        sizes = [w.size for w in arrays["w"][first : first + ARRAYS]]
        given: dict[str, Any] = {}
        for letter, of_all in arrays.items():
            some = [contiguous(x) if letter == "g" else x for x in of_all[first : first + ARRAYS]]
            # The places past the last array have any array, and no elements.
            given |= numbered(letter, some, some[0])
        given |= numbered("size", sizes, 0)
        launch(
            (max(1, sum(-(-size // _TILE) for size in sizes)),),
            (_THREADS,),
            constants=constants,
            rates=rates,
            step=step,
            arrived=arrived(step),
            rows=rates.shape[0],
            columns=columns,
            first=first,
            last_launch=first + ARRAYS >= columns,
            **given,
        )
