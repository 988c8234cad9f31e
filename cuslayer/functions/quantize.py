"""Numbers rounded to the multiples of a step, as a chip holds its weights."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.tape import Pullback, Tensor, differentiable


def quantize(w: Any, /, step: float, *, limits: tuple[float, float] | None = None) -> Tensor:
    """Round w to multiples of a step: ``step round(w / step)``, what lies halfway going to the even multiple.

    Backward lets the gradient straight through, as if nothing were rounded, and through the limits too, so that a
    weight which was driven beyond one of them can come back. As a weight hook it trains weights, which are kept in
    full, for what their rounded values do: ``weight_hook=lambda w: quantize(w, step=2)``.

    Args:
        w: numbers of any shape, float32 or float64.
        step: the distance between two values.
        limits: the lowest and the highest value, two multiples of step; by default there is none. The signed weights of
            8 bits of Loihi are ``step=2, limits=(-256, 254)``.

    Returns:
        The rounded numbers, of w's shape and type.

    Raises:
        ValueError: step is not positive, or limits are not two ascending multiples of it.
        TypeError: w is not floating, step or a limit no number.

    Source: Bengio, Leonard and Courville 2013, arXiv 1308.3432, for the straight-through gradient.

    >>> import numpy as np
    >>> quantize(np.array([1.0, 2.9, 3.0, -300.0]), step=2, limits=(-256, 254)).data.tolist()
    [0.0, 2.0, 4.0, -256.0]
    """
    step = check.positive("quantize", "step", step)
    if limits is None:
        return _quantize(w, step=step, limits=None)
    if not isinstance(limits, (tuple, list)) or len(limits) != 2:
        raise ValueError(f"quantize: limits must be two numbers, got {limits!r}")
    low, high = (check.number("quantize", "limits", limit) for limit in limits)
    for limit in (low, high):
        if abs(limit / step - round(limit / step)) > 1e-9 * max(1.0, abs(limit / step)):
            raise ValueError(f"quantize: limits must be multiples of step {step:g}, got {limit:g}")
    if low > high:
        raise ValueError(f"quantize: limits must ascend, got {low:g} and {high:g}")
    return _quantize(w, step=step, limits=(low, high))


@differentiable
def _quantize(w: Array, /, *, step: float, limits: tuple[float, float] | None) -> tuple[Array, Pullback]:
    check.floating("quantize", "w", w)
    rounded = namespace(w).rint(w / step) * step
    return rounded if limits is None else rounded.clip(*limits), lambda g: g
