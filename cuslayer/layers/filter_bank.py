"""Trained filters in time: one for all neurons, or a bank of them for each channel."""

from __future__ import annotations

import math

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Gradient, Pullback, Tensor, differentiable, saves
from cuslayer.backend import Array
from cuslayer.kernels.host.memory import count_elements
from cuslayer.layers.base import Layer, Shape, draw_uniform
from cuslayer.neurons.base import Neuron, as_neuron


@differentiable
@saves("others")
@check.operation
def fir(x: Array, weight: Array, /) -> tuple[Array, Pullback]:
    """Filter each column of x causally in time by one filter: ``y[t] = sum_k w[k] x[t-k]``.

    Backward is ``g_x[t] = sum_k w[k] g[t+k]``, and ``g_w[k] = sum g[t] x[t-k]`` over all steps and columns.

    Args:
        x: (T, N, ...), spikes or numbers.
        weight: the taps (K,), the first at lag 0, float32 or float64.

    Returns:
        The filtered signal, of x's shape, in the weight's type.

    Raises:
        ValueError: x is not (T, N, ...), or weight is not (K,) with at least one tap.
        TypeError: weight is not floating.

    >>> import numpy as np
    >>> fir(np.array([[[True]], [[False]], [[True]]]), np.array([0.0, 1.0, 0.5])).data.ravel().tolist()
    [0.0, 1.0, 0.5]
    """
    check.time_first("x", x)
    check.floating("weight", weight)
    if weight.ndim != 1 or not weight.size:
        raise ValueError(f"weight must be (taps,), one tap at least, got shape {weight.shape}")
    return _filter(x, weight.reshape(1, weight.size), weight.shape)


@differentiable
@saves("others")
@check.operation
def filter_bank(x: Array, weight: Array, /) -> tuple[Array, Pullback]:
    """Filter each column of x causally in time by every filter of a bank.

    Filter i computes the channels ``i C .. (i+1) C - 1``; the gradient of its taps sums over all steps, samples, pixels
    and channels::

        y[t, ..., i C + c] = sum_k w[i, k] x[t-k, ..., c]
        g_x[t, ..., c]     = sum over i, k of w[i, k] g[t+k, ..., i C + c]
        g_w[i, k]          = sum g[t, ..., i C + c] x[t-k, ..., c]

    Args:
        x: (T, N, C) or (T, N, H, W, C), spikes or numbers.
        weight: the taps (F, K) of F filters, the first at lag 0, float32 or float64.

    Returns:
        The filtered signals (T, N, F C) or (T, N, H, W, F C), in the weight's type.

    Raises:
        ValueError: x is not (T, N, C), or weight is not (F, K) with at least one tap.
        TypeError: weight is not floating.

    >>> import numpy as np
    >>> x = np.array([[[1.0, 10.0]], [[2.0, 20.0]]])
    >>> filter_bank(x, np.array([[1.0, 0.0], [0.0, 1.0]])).data[:, 0].tolist()
    [[1.0, 10.0, 0.0, 0.0], [2.0, 20.0, 1.0, 10.0]]
    """
    check.time_first("x", x, least_dimensions=3)
    check.floating("weight", weight)
    if weight.ndim != 2 or not weight.size:
        raise ValueError(f"weight must be (count, taps), one tap at least, got shape {weight.shape}")
    return _filter(x, weight, weight.shape)


def _filter(x: Array, weight: Array, shape: Shape) -> tuple[Array, Pullback]:
    """Return x filtered by a weight (F, K), and the pullback to x and to the weight in another shape."""
    check.fits("x", x, weight.dtype)
    k = kernels.of(weight)

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        return (
            lambda: k.filter_bank.adjoint(g, weight),
            lambda: k.filter_bank.weight_adjoint(x, g, weight.shape).reshape(shape),
        )

    return k.filter_bank.forward(x, weight), pullback


class TemporalFilter(Layer):
    """A trained causal filter that all neurons share: ``y[t] = sum_k w[k] x[t-k]``; see `functions.fir`.

    Its initial taps are the spike response of a neuron, so that it can replace the neuron's `psp`.

    Args:
        neuron: the neuron whose response gives the initial taps.

    Attributes:
        neuron: the neuron.
        weight: the taps (K,), the first at lag 0, as many as the response has samples.

    Raises:
        TypeError: neuron is not a neuron.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> psp = TemporalFilter(srm)
    >>> x = np.ones((5, 1, 3), bool)
    >>> psp.weight.shape == srm.response.shape, np.allclose(psp(x).data, srm.psp(x).data, atol=1e-6)
    (True, True)
    """

    keeps_shape = keeps_steps = True
    form = "filter"

    def __init__(self, neuron: Neuron) -> None:
        self.neuron = neuron
        response = as_neuron(neuron).response
        count_elements(response.shape)
        self.weight = Tensor(response.astype(np.float32), requires_grad=True)

    @property
    def memory(self) -> int:
        return len(self.weight) - 1

    @property
    def own_dt(self) -> float | None:
        return as_neuron(self.neuron).dt

    def _first_parameters(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def __call__(self, x: TensorLike) -> Tensor:
        return fir(x, self.weight)

    def __repr__(self) -> str:
        return f"TemporalFilter({len(self.weight)} taps)"


class FilterBank(Layer):
    """Trained causal filters, each applied to every channel; see `functions.filter_bank`.

    ``y[t, ..., i C + c] = sum_k w[i, k] x[t-k, ..., c]``: filter i computes the channels ``i C .. (i+1) C - 1``.

    Args:
        count: the number of filters.
        taps: the number of taps of each filter.
        scale: taps start uniform in ``+-scale / sqrt(taps)``.

    Attributes:
        weight: (count, taps), the first tap at lag 0.

    Raises:
        ValueError: a size or the scale is out of range.
        TypeError: a size is not an integer, or the scale is not a number.

    >>> import numpy as np
    >>> bank = FilterBank(4, 20)
    >>> bank.weight.shape, bank(np.zeros((30, 1, 8, 8, 2), bool)).shape
    ((4, 20), (30, 1, 8, 8, 8))
    """

    keeps_steps = True
    form = "filter"

    def __init__(self, count: int, taps: int, scale: float = 1.0) -> None:
        self.count = check.integer("count", count, least=1)
        self.taps = check.integer("taps", taps, least=1)
        bound = check.constant("scale", scale) / math.sqrt(self.taps)
        start = draw_uniform(-bound, bound, (self.count, self.taps))
        self.weight = Tensor(start, requires_grad=True)

    @property
    def memory(self) -> int:
        return self.taps - 1

    def _first_parameters(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def __call__(self, x: TensorLike) -> Tensor:
        return filter_bank(x, self.weight)

    def output_shape(self, shape: Shape | None) -> Shape | None:
        return (*shape[:-1], self.count * shape[-1]) if shape else None

    def __repr__(self) -> str:
        return f"FilterBank({self.count}, {self.taps})"
