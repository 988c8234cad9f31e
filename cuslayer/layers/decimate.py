"""Decimation in time: several steps become one."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.layers.base import Layer
from cuslayer.operations.base import contiguous, numeric, saves
from cuslayer.tape import Pullback, Tensor, differentiable

HOW = ("sum", "mean", "max", "last")


@differentiable
@saves("nothing")
def decimate(x: Array, /, *, factor: int, how: str = "sum") -> tuple[Array, Pullback]:
    """Make one step of several: with f the factor, ``y[t]`` is of the steps ``f t .. f t + f - 1`` of x.

    It is their sum or their mean, their maximum, or the last of them. Steps after the end are 0. Backward gives the
    gradient of a step to all steps of a sum, a share to those of a mean, to the last one, or to the largest, which
    share it evenly where several are equal.

    Args:
        x: (T, N, ...), spikes or numbers.
        factor: the number of steps that become one.
        how: "sum", "mean", "max" or "last"; the last two leave spikes spikes.

    Returns:
        (ceil(T / factor), N, ...).

    Raises:
        ValueError: x is not (T, N, ...), factor is under 1, or how is unknown.
        TypeError: factor is not an integer.

    >>> import numpy as np
    >>> decimate(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), factor=2).data.ravel().tolist()
    [3.0, 3.0]
    """
    check.time_first("decimate", "x", x)
    factor = check.integer("decimate", "factor", factor, least=1)
    check.one_of("decimate", "how", how, HOW)
    xp, steps, rest = namespace(x), len(x), x.shape[1:]
    x = numeric(x) if how in ("sum", "mean") else x
    missing = -steps % factor
    if missing:
        x = xp.concatenate([x, xp.zeros((missing, *rest), x.dtype)], axis=0)
    grouped = x.reshape(-1 if x.size else len(x) // factor, factor, *rest)
    shape, share = grouped.shape, None
    if how == "last":
        y: Array = contiguous(grouped[:, factor - 1])
    elif how == "max":
        y = grouped.max(axis=1)
        largest: Array = grouped == y[:, None]
        share = largest, largest.sum(axis=1, keepdims=True)
    else:
        y = grouped.sum(axis=1)
        y = y / y.dtype.type(factor) if how == "mean" else y

    def pullback(g: Array) -> Array:
        spread = xp.broadcast_to(g[:, None], shape)
        if share is not None:
            found = spread * share[0] / share[1].astype(g.dtype)
        elif how == "last":
            found = xp.zeros(shape, g.dtype)
            found[:, factor - 1] = g
        else:
            found = spread / g.dtype.type(factor) if how == "mean" else spread
        return contiguous(found).reshape(len(found) * factor, *rest)[:steps].astype(g.dtype, copy=False)

    return y, pullback


class Decimate(Layer):
    """Decimation in time: ``factor`` steps become one; see `functions.decimate`.

    Neurons after it have a dt that is ``factor`` times as long. A stream is not possible, an explanation only before
    it.

    Args:
        factor: the number of steps that become one.
        how: "sum", "mean", "max" or "last" of them; the last two leave spikes spikes.

    Raises:
        ValueError: factor is under 1, or how is unknown.
        TypeError: factor is not an integer.

    >>> import numpy as np
    >>> Decimate(2, how="max")(np.array([[[True]], [[False]], [[False]], [[False]]])).data.ravel().tolist()
    [True, False]
    """

    keeps_shape = True

    def __init__(self, factor: int, *, how: str = "sum") -> None:
        self.factor = check.integer("Decimate", "factor", factor, least=1)
        self.how = check.one_of("Decimate", "how", how, HOW)

    def __call__(self, x: Any) -> Tensor:
        return decimate(x, factor=self.factor, how=self.how)

    def __repr__(self) -> str:
        return f"Decimate({self.factor}{'' if self.how == 'sum' else f', how={self.how!r}'})"
