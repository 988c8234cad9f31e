"""The input of a dense or convolutional layer on a GPU."""

from __future__ import annotations

from cuslayer.backend import Array

__all__ = ["synapse_input"]


def synapse_input(x: Array) -> Array:
    """Return x as it is; the layers cast spikes to numbers block by block."""
    return x
