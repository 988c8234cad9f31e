"""Weight normalization: how long a weight is, apart from where it points."""

from __future__ import annotations

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.tape import Pullback, differentiable


def length(v: Array, shape: tuple[int, ...]) -> Array:
    """Return the root of the sum of squares of v along the axes where `shape`, of v's rank, has 1."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return namespace(v).sqrt((v * v).sum(axis=axes, keepdims=True))


@differentiable
def weight_norm(v: Array, scale: Array, /) -> tuple[Array, Pullback]:
    """Give v the length that scale says: ``w = scale v / |v|``.

    ``|v|``, the root of the sum of squares, is taken along the axes where scale has 1: for a weight (inputs, outputs)
    and a scale (1, outputs), one length an output. What has no length has no direction: it stays 0. Backward, with
    ``e = v / |v|``: ``g_scale = sum g_w e``, ``g_v = scale / |v| (g_w - e g_scale)``.

    Args:
        v: the weight, of any shape, float32 or float64.
        scale: of v's rank, along each axis v's size or 1; float32 or float64.

    Returns:
        The weight as it is used, of v's shape.

    Raises:
        ValueError: scale does not fit v.
        TypeError: v or scale is not floating.

    Source: Salimans and Kingma 2016, arXiv 1602.07868, equations 2 and 3.

    >>> import numpy as np
    >>> weight_norm(np.array([[3.0], [4.0]]), np.array([[10.0]])).data.tolist()
    [[6.0], [8.0]]
    """
    check.floating("weight_norm", "v", v)
    check.floating("weight_norm", "scale", scale)
    if scale.ndim != v.ndim or any(size not in (1, own) for size, own in zip(scale.shape, v.shape, strict=True)):
        raise ValueError(f"weight_norm: scale must have shape {v.shape}, or 1 in it, got {scale.shape}")
    axes = tuple(axis for axis, size in enumerate(scale.shape) if size == 1)
    norm = length(v, scale.shape)
    norm = norm + (norm == 0)
    unit = v / norm

    def pullback(g: Array) -> tuple[Array, Array]:
        along = (g * unit).sum(axis=axes, keepdims=True)
        return scale / norm * (g - unit * along), along

    return scale * unit, pullback
