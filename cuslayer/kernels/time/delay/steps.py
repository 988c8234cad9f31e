"""Delays in milliseconds as whole steps and fractions of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array, DType


def tolerance(dtype: DType) -> float:
    """Return the distance, in steps of a delay of one step, at which a delay of this type counts as a multiple."""
    return 5e-7 if dtype == np.float32 else 1e-9


def whole_steps(delay: Any, dt: float) -> tuple[Array, Array]:
    """Return ``floor(delay / dt)`` as int64, and the remainder as a fraction of a step.

    A delay that is a multiple of dt up to rounding errors of its number type counts as that multiple.

    >>> [n.item() for n, _ in (whole_steps(d, 0.1) for d in (13 * 0.1, np.float32(1.3), 1.29, -0.05))]
    [13, 13, 12, -1]
    >>> whole_steps(2.25, 0.5)[1].item()
    0.5
    """
    delays = np.asarray(delay)
    ratio = delays.astype(np.float64) / dt
    nearest = np.rint(ratio)
    meant = np.abs(ratio - nearest) <= tolerance(delays.dtype) * np.maximum(1.0, np.abs(ratio))
    whole = np.where(meant, nearest, np.floor(ratio))
    return whole.astype(np.int64), np.where(meant, 0.0, ratio - whole)
