"""Launchers of `batch_norm.cu`: statistics of channels, the normalized signal and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array, DType
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import arrived, contiguous, empty
from cuslayer.kernels.norm.scaling import Scale, Scaling, move

__all__ = ["adjoint", "forward", "statistics"]

# Threads of a block; the most blocks of a launch, enough for all of a GPU; rows that a thread should have at least.
_THREADS, _BLOCKS, _ROWS = 256, 512, 32
_KINDS = {"none": 0, "power": 1, "std": 2}


class Subtracted(NamedTuple):
    """The numbers that a forward pass has subtracted and divided by, (channels,) each, and the mean of its batch."""

    centre: Array
    divisor: Array
    mean: Array


def _launch(name: str, x: Array, sums: bool = False, /, **arguments: Any) -> None:
    """Launch a kernel over the rows and channels of x; `sums` are added in parts."""
    channels = x.shape[-1]
    rows, tiles = x.size // channels, -(-channels // _THREADS)
    width = -(-channels // tiles)
    count = max(min(-(-rows // (_THREADS // width * _ROWS)), _BLOCKS // tiles), 1)
    if sums:
        parts = empty(x, (count, channels, 2), np.float64)
        arguments |= {"parts": parts, "arrived": arrived(x)}
    shape = {"rows": rows, "channels": channels, "width": width, "parts": count}
    kernel(name, x.dtype).launch((tiles * count,), (_THREADS,), **arguments, shape=shape)


def _numbers(scaling: Scaling) -> dict[str, Any]:
    least, most = map(float, scaling.exponents)
    numbers = {"kind": _KINDS[scaling.kind], "height": scaling.height, "eps": scaling.eps, "least": least, "most": most}
    return {"scaling": numbers}


def statistics(x: Array, running: tuple[Array, Array] | None, momentum: float) -> tuple[Array, Array]:
    """Return mean and variance of the channels, the last axis of x; move the running ones towards them, if given."""
    mean, var = (empty(x, x.shape[-1:], x.dtype) for _ in range(2))
    moves = running is not None and all(kept.dtype == x.dtype for kept in running)
    found = {"x": contiguous(x), "mean": mean, "var": var}
    if running is not None and moves:
        found["running_mean"], found["running_var"] = running
    _launch("batch_norm_statistics", x, True, **found, moves=moves, momentum=momentum)
    for statistic, of_batch in () if moves else zip(running or (), (mean, var), strict=False):
        move(statistic, of_batch, momentum)
    return mean, var


def forward(x: Array, scale: Scale) -> tuple[Array, Subtracted]:
    """Return the normalized signal of x (..., channels), and the arrays for `adjoint`; see the function of the CPU."""
    arrays = x, scale.mean, scale.var, scale.centre, scale.gain, scale.offset
    dtype = np.result_type(*(a.dtype for a in arrays if a is not None))
    y = empty(x, x.shape, dtype)
    arguments, subtracted = scale_arguments(scale, dtype)
    _launch("batch_norm", x, x=contiguous(x.astype(dtype, copy=False)), y=y, **arguments)
    return y, subtracted


def scale_arguments(scale: Scale, dtype: DType) -> tuple[dict[str, Any], Subtracted]:
    """Return the arguments of a kernel that normalizes, and the arrays for `adjoint`, which it writes."""
    arrays = {"var": scale.var, "centre": scale.centre, "gain": scale.gain, "offset": scale.offset}
    arguments: dict[str, Any] = {
        name: contiguous(array.astype(dtype, copy=False)) for name, array in arrays.items() if array is not None
    }
    mean = scale.mean.astype(dtype, copy=False)
    subtracted = Subtracted(empty(mean, mean.shape, dtype), empty(mean, mean.shape, dtype), mean)
    arguments |= {"subtracted": subtracted.centre, "divisor": subtracted.divisor}
    trained = scale.gain is not None and scale.offset is not None
    return arguments | {"trained": trained} | _numbers(scale.scaling), subtracted


def adjoint(
    g: Array,
    x: Array,
    numbers: Subtracted,
    gain: Array | None,
    scaling: Scaling,
    of_batch: bool,
    hook: Callable[[Array], Array] | None,
    *,
    overwrite: bool = False,
) -> tuple[Callable[[], Array], Callable[[], Array], Array | None, Array | None]:
    """Return the gradients of x and of the mean, on demand, of gain and of offset; see the function of the CPU.

    It never overwrites g.
    """
    dtype = numbers.divisor.dtype
    trained = gain is not None
    g, x = (contiguous(a.astype(dtype, copy=False)) for a in (g, x))
    factor = None if gain is None else contiguous(gain.astype(dtype, copy=False))
    given: dict[str, Any] = {"g": g, "x": x, "divisor": numbers.divisor}

    @cache
    def sums() -> dict[str, Array]:
        found = {name: empty(x, x.shape[-1:], dtype) for name in ("of_gain", "of_offset")}
        _launch("batch_norm_adjoint_sums", x, True, **given, **found, centre=numbers.centre)
        return found

    def of_mean() -> Array:
        height = scaling.height if scaling.kind != "none" else 1.0
        of_centre = sums()["of_offset"] * (height if factor is None else factor) / -numbers.divisor
        return of_centre if hook is None else hook(of_centre)

    def of_input() -> Array:
        found, hooked = empty(x, x.shape, dtype), of_batch and hook is not None
        more: dict[str, Any] = sums() if of_batch else {}
        more = more | {"mean": numbers.mean, "gain": factor, "of_mean": of_mean() if hooked else None, "of_x": found}
        flags = {"trained": trained, "of_batch": of_batch, "hooked": hooked}
        _launch("batch_norm_adjoint", x, **given, **more, **flags, **_numbers(scaling))
        return found

    return of_input, of_mean, *((sums()["of_gain"], sums()["of_offset"]) if trained else (None, None))
