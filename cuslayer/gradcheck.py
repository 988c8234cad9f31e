"""Is the gradient that backward gives the one that the function has?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import to_device, to_numpy
from cuslayer.tape import Tensor, no_grad


def gradcheck(fn: Callable[..., Tensor], *arrays: Any, seed: int = 0, step: float = 1e-5) -> float:
    """Return how far the gradient of fn is from its central difference, relative to the larger of the two.

    In float64, along one random direction d of all arrays and against one random weighting c of the result::

        (<c, fn(x + step d)> - <c, fn(x - step d)>) / (2 step)   against   <gradient of <c, fn(x)>, d>

    Args:
        fn: takes one tensor for each array and returns a tensor; the same result for the same input.
        arrays: where to check, numbers of any shape.
        seed: of the direction and the weighting.
        step: how far to move along the direction, whose elements have variance 1.

    Returns:
        The relative error: under 1e-6 for a right gradient of a smooth function.

    Raises:
        ValueError: no array is given, or step is not positive.
        TypeError: fn returns something else than a tensor that requires a gradient.

    >>> gradcheck(lambda x, y: (x * y).exp(), [0.5, -1.0], [2.0, 3.0]) < 1e-6
    True
    """
    check.positive("gradcheck", "step", step)
    if not arrays:
        raise ValueError("gradcheck: arrays must be at least one, got none")
    generator = np.random.default_rng(seed)
    points = [np.array(to_numpy(x), np.float64) for x in arrays]
    directions = [generator.standard_normal(x.shape) for x in points]

    tensors = [Tensor(x, requires_grad=True) for x in points]
    out = fn(*tensors)
    if not isinstance(out, Tensor) or not out.requires_grad:
        raise TypeError(f"gradcheck: fn must return a tensor made from its arrays, got {out!r:.60}")
    weights = generator.standard_normal(out.shape)
    out.backward(to_device(weights))
    analytic = sum(
        float((to_numpy(t.grad) * d).sum()) for t, d in zip(tensors, directions, strict=True) if t.grad is not None
    )

    def along(distance: float) -> float:
        moved = [Tensor(x + distance * d) for x, d in zip(points, directions, strict=True)]
        with no_grad():
            return float((fn(*moved).numpy() * weights).sum())

    numeric = (along(step) - along(-step)) / (2 * step)
    largest = max(abs(analytic), abs(numeric))
    return abs(analytic - numeric) / largest if largest else 0.0
