"""Populations with synapses to themselves run on the CPU."""

from __future__ import annotations

from typing import Any

__all__ = ["adjoint", "forward"]


def forward(*arguments: Any) -> Any:
    """Raise TypeError."""
    raise TypeError("recurrent: neurons with their own spikes as input run on the CPU, got arrays on a GPU")


adjoint = forward
