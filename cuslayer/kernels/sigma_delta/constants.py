"""The constants of sigma-delta neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.kernels.constants import DynamicSpiking


@dataclass(frozen=True, kw_only=True)
class DeltaSpiking(DynamicSpiking):
    """Threshold, activation and surrogate gradient of sigma-delta neurons.

    The threshold is the least change that is sent; `exact` is whether backward includes it, else it is that of sending
    every change.

    Attributes:
        sums: whether the input is summed over time; else it is the signal.
        rectifies: whether the activation is ``max(v, 0)``; else it is v.
    """

    sums: bool
    rectifies: bool
