"""Learnable filters in time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check, functions
from cuslayer.backend import generator
from cuslayer.layers.base import Layer
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor


class TemporalFilter(Layer):
    """One causal filter that all neurons share, trained with the weights: ``y[t] = sum_k w[k] x[t-k]``.

    It starts as the spike response of a neuron, where it stands in the place of `SRM.psp`; see `functions.fir`.

    Args:
        srm: the neuron whose response it starts as.

    Attributes:
        weight: the taps (K,), the first at lag 0; as many as the response has.

    Raises:
        TypeError: srm is no neuron.

    >>> import numpy as np
    >>> srm = SRM(tau_sr=2.0)
    >>> psp = TemporalFilter(srm)
    >>> x = np.ones((5, 1, 3), bool)
    >>> psp.weight.shape == srm.response.shape, np.allclose(psp(x).data, srm.psp(x).data, atol=1e-6)
    (True, True)
    """

    def __init__(self, srm: SRM) -> None:
        if not hasattr(srm, "response"):
            raise TypeError(f"TemporalFilter: srm must be a neuron, got {type(srm).__name__}")
        self.weight = Tensor(srm.response.astype(np.float32), requires_grad=True)

    def parameters(self) -> list[Tensor]:
        return [self.weight]

    def __call__(self, x: Any) -> Tensor:
        return functions.fir(x, self.weight)

    def __repr__(self) -> str:
        return f"TemporalFilter({len(self.weight)} taps)"


class FilterBank(Layer):
    """Several causal filters, each applied to every channel, trained with the weights; see `functions.filter_bank`.

    ``y[t, ..., i C + c] = sum_k w[i, k] x[t-k, ..., c]``: filter i makes the channels ``i C .. (i+1) C - 1``.

    Args:
        count: how many filters.
        taps: how many taps each of them has.
        scale: taps start uniform in ``+-scale / sqrt(taps)``.

    Attributes:
        weight: (count, taps), the first tap at lag 0.

    Raises:
        ValueError: a size or the scale is out of range.
        TypeError: a size is no integer, or the scale no number.

    >>> import numpy as np
    >>> bank = FilterBank(4, 20)
    >>> bank.weight.shape, bank(np.zeros((30, 1, 8, 8, 2), bool)).shape
    ((4, 20), (30, 1, 8, 8, 8))
    """

    def __init__(self, count: int, taps: int, scale: float = 1.0) -> None:
        self.count = check.integer("FilterBank", "count", count, least=1)
        self.taps = check.integer("FilterBank", "taps", taps, least=1)
        bound = check.positive("FilterBank", "scale", scale) / math.sqrt(self.taps)
        start = generator().uniform(-bound, bound, (self.count, self.taps)).astype(np.float32)
        self.weight = Tensor(start, requires_grad=True)

    def parameters(self) -> list[Tensor]:
        return [self.weight]

    def __call__(self, x: Any) -> Tensor:
        return functions.filter_bank(x, self.weight)

    def __repr__(self) -> str:
        return f"FilterBank({self.count}, {self.taps})"
