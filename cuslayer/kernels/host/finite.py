"""Whether numbers are finite: one that is not makes NaN of a product with 0, which is left out elsewhere."""

from __future__ import annotations

from typing import Any

from cuslayer.jit import compiled


@compiled
def are_finite(values: Any) -> bool:
    """Return whether all of some values are finite."""
    zero, wrong = values.dtype.type(0), 0
    # Counted, and not left at the first one, so that the loop is SIMD.
    for i in range(values.size):
        wrong += values[i] - values[i] != zero
    return wrong == 0
