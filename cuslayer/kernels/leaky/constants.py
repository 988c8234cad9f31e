"""The constants of leaky neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.constants import DynamicSpiking


class Reset(NamedTuple):
    """What a spike leaves of the voltage v, ``share v - drop``.

    Attributes:
        share: 1, or 0 for a reset to 0.
        drop: theta for a reset by subtraction, else 0.
    """

    share: Any
    drop: Any

    def of_type(self, dtype: np.dtype[Any]) -> Reset:
        """Return the reset in a number type."""
        return Reset(*map(dtype.type, self))


@dataclass(frozen=True, kw_only=True)
class LeakySpiking(DynamicSpiking):
    """Threshold, reset and surrogate gradient of leaky neurons.

    Attributes:
        reset: what a spike leaves of the voltage.
    """

    reset: Reset

    @property
    def backward_reset(self) -> Reset:
        """The reset whose path backward includes: none, unless it is exact."""
        return self.reset if self.exact else Reset(1.0, 0.0)
