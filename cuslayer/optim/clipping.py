"""Limits of gradients before a step."""

from __future__ import annotations

from typing import Any

from cuslayer import kernels
from cuslayer.tape import Tensor


def clip(op: str, moving: list[Tensor], value: float | None, norm: float | None) -> None:
    """Clip the gradients of parameters: each element to an absolute value, then all together to a norm.

    Raises:
        ValueError: the gradients are on two devices.
    """
    limits = ("clip_values", value), ("clip_norm", norm)
    if not moving or all(limit is None for _, limit in limits):
        return
    grads: list[Any] = [p.grad for p in moving]
    k = kernels.of(grads[0])
    if any(kernels.of(g) is not k for g in grads):
        raise ValueError(f"{op}: clip_norm and clip_value need all parameters on one device, got two")
    for name, limit in limits:
        if limit is not None:
            grads = getattr(k.optim, name)(grads, limit)
    for p, g in zip(moving, grads, strict=True):
        p.grad = g
