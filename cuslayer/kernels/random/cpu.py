"""Dropout on the CPU. On a GPU its random factors come from another generator: `dropout.cu`."""

from __future__ import annotations

from cuslayer.backend import Array, generator, numeric


def dropout(x: Array, p: float) -> tuple[Array, Array]:
    """Return x (T, ...) times a factor for each neuron, 0 with probability p, else 1 / (1 - p), and the factors."""
    x = numeric(x)
    scale = ((generator().random(x.shape[1:]) >= p) / (1 - p)).astype(x.dtype)
    return x * scale, scale
