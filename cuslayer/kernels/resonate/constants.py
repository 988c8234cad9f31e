"""The constants of resonant neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.constants import DynamicSpiking


class ComplexReset(NamedTuple):
    """What a spike leaves of the state: ``re_share re`` and ``im_share im + im_add``."""

    re_share: Any
    im_share: Any
    im_add: Any

    def of_type(self, dtype: np.dtype[Any]) -> ComplexReset:
        """Return the reset in a number type."""
        return ComplexReset(*map(dtype.type, self))


@dataclass(frozen=True, kw_only=True)
class ResonantSpiking(DynamicSpiking):
    """Threshold, reset and surrogate gradient of resonant neurons.

    Attributes:
        reset: what a spike leaves of the state.
    """

    reset: ComplexReset
