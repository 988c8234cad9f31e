"""The dense synapse: every input weighted to every output."""

from __future__ import annotations

import math

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.tape import Pullback, differentiable


def check_dense(op: str, x: Array, weight: Array) -> None:
    """Raise, for an operation, what `dense` raises."""
    check.time_first(op, "x", x, least_dimensions=3)
    check.floating(op, "weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"{op}: weight must be (inputs, outputs), got shape {weight.shape}")
    features = math.prod(x.shape[2:])
    if features != weight.shape[0]:
        raise ValueError(f"{op}: x has {features} features, weight expects {weight.shape[0]}")


@differentiable
def dense(x: Array, weight: Array, /) -> tuple[Array, Pullback]:
    """Weight the inputs of each step: ``y[t, n] = x[t, n] W``.

    Backward is ``g_x = g_y W'`` and ``g_W = sum over t, n of x[t, n]' g_y[t, n]``. On the CPU, spikes are walked one by
    one: each adds its weight row forward, and the error row of its step to its weight gradient.

    Args:
        x: (T, N, ...), spikes or numbers; the axes after N are flattened in their order.
        weight: (inputs, outputs), float32 or float64.

    Returns:
        The weighted input (T, N, outputs), in the weight's type.

    Raises:
        ValueError: x is not (T, N, ...), weight is not (inputs, outputs), or their sizes differ.
        TypeError: weight is not floating.

    >>> import numpy as np
    >>> dense(np.array([[[True, False]], [[True, True]]]), np.array([[1.0, 2.0], [10.0, 20.0]])).data.tolist()
    [[[1.0, 2.0]], [[11.0, 22.0]]]
    """
    check_dense("dense", x, weight)
    k = kernels.of(weight)
    shape = x.shape
    rows = k.synapse_input(x.reshape(shape[0] * shape[1], weight.shape[0]))
    out = k.dense(rows, weight).reshape(*shape[:2], weight.shape[1])

    def pullback(g: Array) -> tuple[object, object]:
        g = g.reshape(-1, weight.shape[1]) if g.size else g.reshape(shape[0] * shape[1], weight.shape[1])
        return (
            lambda: k.dense_input_adjoint(g, weight).reshape(shape),
            lambda: k.dense_weight_adjoint(rows, g),
        )

    return out, pullback  # type: ignore[return-value]
