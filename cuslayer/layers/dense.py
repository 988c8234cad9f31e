"""The dense layer."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check, functions
from cuslayer.layers.base import Synapse, WeightHooks
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor


class Dense(Synapse):
    """Every input weighted to every output, without a bias: ``y[t, n] = x[t, n] W``; see `functions.dense`.

    Args:
        in_features: how many inputs each step has, or their shape (H, W, C).
        out_features: how many outputs.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs)``.
        weight_hook: maps the weight before each use; a tuple of hooks, one after the other.

    Attributes:
        weight: (inputs, outputs), inputs in H, W, C order.

    Raises:
        ValueError: a size or the scale is out of range.
        TypeError: a size is no integer, or the hook cannot be called.

    >>> import numpy as np
    >>> layer = Dense((2, 2, 1), 3)
    >>> layer.weight.shape, layer(np.zeros((5, 1, 2, 2, 1), bool)).shape
    ((4, 3), (5, 1, 3))
    """

    def __init__(
        self,
        in_features: int | tuple[int, ...],
        out_features: int,
        *,
        weight_scale: float = 10.0,
        weight_hook: WeightHooks = None,
    ) -> None:
        sizes = in_features if isinstance(in_features, tuple) else (in_features,)
        self.in_features = tuple(check.integer("Dense", "in_features", n, least=1) for n in sizes)
        self.out_features = check.integer("Dense", "out_features", out_features, least=1)
        inputs = math.prod(self.in_features)
        super().__init__((inputs, self.out_features), inputs, weight_scale, weight_hook)

    def __call__(self, x: Any) -> Tensor:
        return functions.dense(x, self.effective_weight())

    def fire(self, x: Any, srm: SRM) -> Tensor:
        if type(self).__call__ is not Dense.__call__:
            return super().fire(x, srm)  # a subclass computes something else
        exact = srm.gradient == "exact"
        return functions.dense_neuron(x, self.effective_weight(), response=srm.filter, spiking=srm.spiking, exact=exact)

    def __repr__(self) -> str:
        sizes = self.in_features
        return f"Dense({sizes if len(sizes) > 1 else sizes[0]}, {self.out_features})"
