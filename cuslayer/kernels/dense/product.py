"""A gradient that is a product of two matrices and is multiplied where it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array

# The widest next layer whose product is computed within a kernel, again at each step. A wider one is computed in
# advance by `dense_input_adjoint`, which reads each of its errors for 64 outputs at a time.
WIDEST = 32


@dataclass(frozen=True, eq=False)
class Product:
    """The gradient of the spikes in front of a dense layer, ``errors @ weight.T``.

    A kernel that takes a product computes each element when it needs it; it does not store the matrix.

    Attributes:
        errors: the gradient of the layer's weighted input, (rows, next).
        weight: the layer's weight, (outputs, next).
    """

    errors: Array
    weight: Array

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the matrix, (rows, outputs)."""
        return self.errors.shape[0], self.weight.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        return self.errors.dtype

    def materialize(self) -> Array:
        """Return the matrix."""
        g: Array = kernels.of(self.errors).dense.input_adjoint(self.errors, self.weight)
        return g


def narrow(g: Array | Product) -> Array | Product:
    """Return a gradient as it is, but a product of no inputs, or of more than `WIDEST`, as an array."""
    return g.materialize() if isinstance(g, Product) and not 0 < g.errors.shape[1] <= WIDEST else g
