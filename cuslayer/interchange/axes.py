"""Axes of other libraries, (N, C, H, W, T) and (outputs, inputs, ...), and ours; helpers of readers and writers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.files import write_whole
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.layers import Delay
from cuslayer.layers.base import form_of
from cuslayer.layers.synaptic_delay import MOST_LAGS
from cuslayer.network.network import Sequential, chain_of

if TYPE_CHECKING:
    from cuslayer.network.network import Container


@check.operation
def from_nchwt(x: Any, /, *, dt: float | None = None) -> Array:
    """Return SLAYER's (N, C, H, W, T) as (T, N, H, W, C), or as (T, N, C) where H and W are 1.

    Args:
        x: an array of numbers, on either device.
        dt: for spikes, SLAYER's Ts in ms: their height there is 1/Ts, here they are boolean. None keeps numbers.

    Returns:
        A new array.

    Raises:
        ValueError: x does not have five axes, or dt is given and a number is neither 0 nor 1/dt.
        TypeError: x is not an array.

    >>> x = np.zeros((1, 3, 1, 1, 4)); x[0, 2, 0, 0, 1] = 2.0
    >>> np.argwhere(from_nchwt(x, dt=0.5)).tolist()
    [[1, 0, 2]]
    """
    x = _array(x)
    if x.ndim != 5:
        raise ValueError(f"x must be (N, C, H, W, T), got shape {x.shape}")
    y = x.transpose(4, 0, 2, 3, 1)
    if x.shape[2:4] == (1, 1):
        y = y[:, :, 0, 0]
    if dt is None or x.dtype == bool:
        return namespace(x).array(y, order="C")
    height = 1 / check.time_step("dt", dt)
    spikes = abs(y - height) <= 1e-4 * height
    if not (spikes | (y == 0)).all():
        raise ValueError(f"x must be 0 or 1/dt = {height:g} where dt is given, got other numbers")
    return namespace(x).array(spikes, order="C")


@check.operation
def to_nchwt(x: Any, /, *, dt: float | None = None) -> Array:
    """Return (T, N, H, W, C), or (T, N, C), as SLAYER's (N, C, H, W, T), with H = W = 1 for flat layers.

    Args:
        x: spikes or numbers, on either device.
        dt: for spikes, the step in ms: they become float32 of height 1/dt, as in SLAYER. None keeps the values of x.

    Returns:
        A new array.

    Raises:
        ValueError: x has neither three nor five axes.
        TypeError: x is not an array, or dt is given and x is not boolean.

    >>> to_nchwt(np.ones((4, 1, 3), bool), dt=0.5)[0, :, 0, 0, 0].tolist()
    [2.0, 2.0, 2.0]
    """
    x = _array(x)
    if x.ndim == 3:
        x = x[:, :, None, None]
    if x.ndim != 5:
        raise ValueError(f"x must be (T, N, H, W, C) or (T, N, C), got shape {x.shape}")
    y = namespace(x).array(x.transpose(1, 4, 2, 3, 0), order="C")
    if dt is None:
        return y
    height = 1 / check.time_step("dt", dt)
    if y.dtype != bool:
        raise TypeError(f"x must be boolean spikes where dt is given, got {y.dtype}")
    return y * np.float32(height)


def _array(x: Any) -> Array:
    x = x.data if isinstance(x, Tensor) else to_numpy(x) if isinstance(x, np.ndarray) else x
    if not hasattr(x, "transpose") or not hasattr(x, "dtype"):
        raise TypeError(f"x must be an array, got {type(x).__name__}")
    return x


def weight_of(layer: Any, shape: tuple[int, ...] = (), *, delayed: bool = False) -> Array:
    """Return the weight of a layer after its hooks, as (outputs, inputs in C, H, W), or (outputs, inputs, kh, kw).

    Delays of its synapses are an error, unless something else writes them.
    """
    if getattr(layer, "delays", None) is not None and not delayed:
        raise ValueError(f"{check.one_line(layer)} has a delay for each synapse, for which the file has no place")
    with no_grad():
        return outward(to_numpy(layer.effective_weight().data), shape)


def outward(weight: Array, shape: tuple[int, ...] = ()) -> Array:
    """Return numbers with the axes of our weight in the axes of `weight_of`, for inputs of a shape."""
    if weight.ndim == 4:
        return np.ascontiguousarray(weight.transpose(3, 2, 0, 1))
    ours = weight.reshape(*shape, weight.shape[1])
    axes = (3, 2, 0, 1) if len(shape) == 3 else (1, 0)
    return np.ascontiguousarray(ours.transpose(axes)).reshape(weight.shape[1], -1)


def inward(weight: Array, shape: tuple[int, ...] = ()) -> Array:
    """Return a weight with the axes of `weight_of` in the axes of our layers, for dense inputs of a shape."""
    if len(shape) == 3:
        rows, columns, channels = shape
        weight = weight.reshape(-1, channels, rows, columns).transpose(2, 3, 1, 0)
        return np.ascontiguousarray(weight).reshape(-1, weight.shape[-1])
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T)


def set_weight(layer: Any, weight: Array) -> None:
    """Set the weight of a layer from one with the axes of `weight_of`."""
    shape = layer.in_features if form_of(layer) == "dense" else ()
    layer.weight.data = to_device(check.as_type("weight", inward(weight, shape), layer.weight.dtype))


def finite_numbers(name: str, value: Any) -> Array:
    """Return a value of a file as an array of numbers that are finite in float32."""
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be numbers, got {numbers.dtype}")
    if numbers.size:
        check.finite_range(name, float(numbers.min()), float(numbers.max()))
    return numbers


def whole_numbers(name: str, value: Any, *, least: int = 1, most: int = 2**31) -> Array:
    """Return a value of a file as int64; its numbers must be whole, from `least` to `most`."""
    numbers = finite_numbers(name, value)
    right = (numbers >= least) & (numbers <= most) & (numbers % 1 == 0)
    if not right.all():
        got = f"{numbers[~right].flat[0]:g}"
        raise check.refusal(name, f"must be whole numbers from {least} to {most:,}", numbers, got)
    return numbers.astype(np.int64)


def delay_steps(name: str, value: Any) -> Array:
    """Return delays of a file as whole steps, int64."""
    return whole_numbers(name, value, least=0, most=MOST_LAGS - 1)


def delay_layer(steps: Any, dt: float, most: float | None = None) -> Delay:
    """Return a layer of delays from their steps, (C, H, W) or (N,)."""
    ours = values_last(np.atleast_1d(steps) * dt)
    layer = Delay(ours.shape, dt=dt, max_delay=most)
    layer.delay.data = to_device(check.as_type("delay", ours, np.float32))
    return layer


def channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return (H, W, C) as (C, H, W), and (N,) unchanged."""
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def values_first(values: Array) -> Array:
    """Return values of neurons (H, W, C) as (C, H, W), and (N,) unchanged."""
    return np.ascontiguousarray(values.transpose(2, 0, 1) if values.ndim == 3 else values)


def values_last(values: Array) -> Array:
    """Return the inverse of `values_first`."""
    return np.ascontiguousarray(values.transpose(1, 2, 0) if values.ndim == 3 else values)


def input_shape_of(net: Container, given: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the shape of a network's input: as given, a `Network`'s, or a dense layer's."""
    if not isinstance(net, Sequential):
        raise TypeError(f"net must be a network, got {type(net).__name__}")
    if given is not None:
        sides = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        return tuple(check.integer("input_shape", side, least=1) for side in sides)
    if hasattr(net, "input_shape"):
        return tuple(net.input_shape)
    for node in chain_of(net)[:1]:
        if form_of(node.stage) == "dense":
            inputs: tuple[int, ...] = node.stage.in_features
            return inputs
    raise ValueError("input_shape is needed, (H, W, C) or (N,): the network's layers do not tell it")


def only_dt(neurons: Iterable[Any]) -> float:
    """Return the step of neurons in ms, which must be the same for all."""
    found = sorted({neuron.dt for neuron in neurons})
    if len(found) != 1:
        raise ValueError(f"neurons must have one dt, got {', '.join(f'{dt:g}' for dt in found)}")
    return float(found[0])


def write_file(path: str | Path, write: Callable[[io.BytesIO], object]) -> None:
    """Write a file atomically by a function that seeks in it."""
    memory = io.BytesIO()
    write(memory)
    write_whole(check.path("path", path), lambda file: file.write(memory.getbuffer()))


@contextmanager
def entry_errors(at: str) -> Iterator[None]:
    """Name an entry of a file in errors of the block that do not begin with it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, ArithmeticError) as problem:
        if str(problem).startswith(at):
            raise
        raise ValueError(f"{at} is wrong: {check.one_line(str(problem))[1:-1]}") from None


def pair_of(name: str, values: Any, least: int) -> tuple[int, int]:
    """Return (rows, columns) from an array of one integer or two."""
    found = np.ravel(values).tolist()
    return check.pair(name, found * (2 if len(found) == 1 else 1), least=least)
