"""Random factors of dropout on the CPU. On a GPU they come from another generator: `dropout.cu`."""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array, generator


def scale(x: Array, p: float) -> Array:
    """Return a factor for each neuron of x (T, ...): 0 with probability p, else 1 / (1 - p)."""
    active = generator().random(x.shape[1:]) >= p
    return (active / (1 - p)).astype(np.dtype(x.dtype))
