"""Fused operations: a dense, convolutional or pooling layer with its neurons; convolution, pooling and both neurons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._tape import (
    DeferredGradient,
    Gradient,
    Pullback,
    as_array,
    differentiable,
    recomputable,
    save_for_backward,
    saves,
    takes_deferred,
    takes_packed,
    to_shape,
    wanted_dtype,
)
from cuslayer.backend import Array, namespace, numeric_type
from cuslayer.kernels import Kernels
from cuslayer.kernels.constants import Pooling, Product, Window
from cuslayer.kernels.norm.scaling import shifted
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.layers.base import Pair, check_dense, check_frames, prepare


def fire(k: Kernels, weighted: Array, steps: int, constants: object, spiking: StepSpiking) -> tuple[Array, Array]:
    """Return the potentials and spikes of neurons for a weighted input (frames, ...), which may be overwritten."""
    u, s = spiking.fire(k, weighted.reshape(_by_steps(weighted, steps)), constants)
    return u.reshape(weighted.shape), s.reshape(weighted.shape)


def fire_adjoint(k: Kernels, g: Array, u: Array, steps: int, constants: object, spiking: StepSpiking) -> Array:
    """Return the gradient of the weighted input in `fire`, for g and u (frames, ...); u may be overwritten."""
    flat = _by_steps(u, steps)
    g = g.astype(u.dtype, copy=False).reshape(flat)
    return spiking.fire_adjoint(k, g, u.reshape(flat), constants).reshape(u.shape)


def received(g: Gradient, shape: tuple[int, ...], dtype: npt.DTypeLike, *, deferred: bool) -> Array:
    """Return a gradient as an array of a shape (frames, ...) and type; with `deferred`, a matrix may stay one."""
    if deferred and isinstance(g, DeferredGradient) and g.value.shape == (shape[0], math.prod(shape[1:])):
        product = cast(Product, g.value)
        if product.errors.shape[1] and product.dtype == product.weight.dtype == dtype:
            return product
    return as_array(g).astype(dtype, copy=False).reshape(shape)


def _by_steps(x: Array, steps: int) -> tuple[int, int]:
    return steps, x.size // max(steps, 1)


def shift_of(bias: Sequence[Array], weight: Array, normalization: Array | None = None) -> Array | None:
    """Return the shift of a pass, see `norm.scaling.shifted`, for a bias, if any, and a normalization."""
    if len(bias) > 1:
        raise TypeError(f"bias must be one array, got {len(bias)}")
    if bias and bias[0].shape != weight.shape[-1:]:
        raise ValueError(f"bias must be ({weight.shape[-1]},), got shape {bias[0].shape}")
    if normalization is not None:
        if namespace(weight) is not np or normalization.shape != (3, weight.shape[-1]):
            got = f"got shape {normalization.shape}"
            raise ValueError(f"normalization must be (3, {weight.shape[-1]}), on a CPU, {got}")
        return np.concatenate([*(b[None] for b in bias), normalization]).astype(weight.dtype, copy=False)
    return bias[0].astype(weight.dtype, copy=False) if bias else None


@differentiable
@takes_packed
@takes_deferred
@saves("others")
@check.operation
def dense_neuron(
    x: Array,
    weight: Array,
    /,
    *bias: Array,
    spiking: StepSpiking,
    constants: tuple[Array, ...] = (),
    normalization: Array | None = None,
) -> tuple[Array, Pullback | None]:
    """Return ``neuron(dense(x, weight))``, or ``neuron(dense(x, weight) + bias)``.

    Backward needs the list of spikes and the potential, which the gradient overwrites. On a GPU, one pass takes spikes
    through weights, filter and threshold; on the CPU it does so without gradients, when nothing is saved. The memory
    for other arrays than input and output then does not grow with T, unless many inputs fire.

    Args:
        x: (T, N, ...) or (T, N, places..., inputs), spikes or numbers, as in `dense`.
        weight: (inputs, outputs), float32 or float64.
        bias: (outputs,); may be omitted.
        spiking: the kind of neuron and its constants, the attribute `spiking` of neurons.
        constants: the constants that may differ between neurons, arrays that broadcast to them.
        normalization: (3, outputs), centre, factor and addend of a `BatchNorm` in evaluation before the neurons, on a
            CPU; no gradient then passes. None for none.

    Returns:
        Spikes, boolean, (T, N, outputs) or (T, N, places..., outputs).

    Raises:
        ValueError: x is not (T, N, ...), weight is not (inputs, outputs), bias is not (outputs,), or sizes differ.
        TypeError: weight is not floating, or there are several biases.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 1), bool); x[0] = True
    >>> dense_neuron(x, np.float32([[12]]), spiking=srm.spiking).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    leading = check_dense(x, weight)
    k, shape, outputs = kernels.of(weight), x.shape, weight.shape[1]
    rows = k.spikes.synapse_input(k.spikes.in_frames(x, (math.prod(leading), weight.shape[0])))
    placed = spiking.placed(constants, weight, (*leading[2:], outputs))
    shift = shift_of(bias, weight, normalization)
    fused = k.fused.dense_kernels(rows, spiking)
    if fused:
        u, s = fused.dense_neuron(rows, shape[0], weight, placed, spiking, wanted_dtype(weight.dtype), shift=shift)
    else:
        weighted = shifted(k.dense.forward(rows, weight), shift)
        u, s = fire(k, weighted, shape[0], placed, spiking)
    potential = save_for_backward(k, u)

    def pullback(g: Array) -> list[Gradient]:
        g = received(g, s.shape, weight.dtype, deferred=bool(fused))
        if fused:
            errors = fused.dense_neuron_adjoint(g, potential(), shape[0], placed, spiking)
        else:
            errors = fire_adjoint(k, g, potential(), shape[0], placed, spiking)
        return [
            lambda: DeferredGradient(Product(errors, weight), shape),
            lambda: k.dense.weight_adjoint(rows, errors),
            *(partial(to_shape, errors, b.shape) for b in bias),
        ]

    return s.reshape(*leading, outputs), pullback if normalization is None else None


@differentiable
@takes_packed
@takes_deferred
@saves("others")
@check.operation
def conv_neuron(
    x: Array,
    weight: Array,
    /,
    *bias: Array,
    spiking: StepSpiking,
    constants: tuple[Array, ...] = (),
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    normalization: Array | None = None,
) -> tuple[Array, Pullback | None]:
    """Return ``neuron(conv(x, weight))``, or ``neuron(conv(x, weight) + bias)``.

    On the CPU, one pass weights, filters and thresholds a few rows of a map at a time, while they are in the cache. The
    list of spikes and the potential are saved for backward.

    Arguments and errors: see `conv` and `dense_neuron`. The result is spikes, boolean, (T, N, H', W', outputs).

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 3, 3, 1), bool); x[0, 0, 1, 1] = True
    >>> s = conv_neuron(x, np.full((3, 3, 1, 1), 12, np.float32), spiking=srm.spiking)
    >>> s.data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    k, frames, window, groups = prepare(x, weight, stride, padding, dilation, groups)
    shape, steps, maps = x.shape, x.shape[0], window.outputs(x.shape[2:4], ceil=False)
    placed = spiking.placed(constants, weight, (*maps, weight.shape[3]))
    shift = shift_of(bias, weight, normalization)
    fused = k.fused.conv_kernels(frames, window, groups, spiking)
    if fused:
        u, s = fused.conv_neuron(
            frames, steps, weight, window, placed, spiking, wanted_dtype(weight.dtype), shift=shift
        )
    else:
        u, s = fire(k, shifted(k.conv.forward(frames, weight, window, groups), shift), steps, placed, spiking)
    blocks = k.fused.from_blocks if fused else None
    potential = save_for_backward(k, u, from_blocks=blocks)

    def adjoint(g: Array, keep: bool) -> tuple[Array, Array]:
        if fused:
            return fused.conv_neuron_adjoint(frames, steps, g, potential(), window, placed, spiking, keep)
        errors = fire_adjoint(k, g, potential(), steps, placed, spiking)
        return errors, k.conv.weight_adjoint(frames, errors, window, groups, steps)

    def of_input(errors: Array, of_weight: Any) -> tuple[Array, Array]:
        if fused:
            found, of_weight = fused.input_adjoint(errors, weight, shape[2:4], window, of_weight)
        else:
            found = k.conv.input_adjoint(errors, weight, shape[2:4], window, groups)
        return found.reshape(shape), of_weight

    deferred = bool(fused and fused.takes_products)
    pullback = _pullback(adjoint, of_input, fused, bias, s.shape, weight.dtype, deferred=deferred)
    return s.reshape(*shape[:2], *s.shape[1:]), pullback if normalization is None else None


def _pullback(
    adjoint: Callable[[Array, bool], tuple[Array, Any]],
    of_input: Callable[[Array, Any], tuple[Array, Array]],
    fused: Any,
    bias: tuple[Array, ...],
    fired: tuple[int, ...],
    dtype: npt.DTypeLike,
    *,
    deferred: bool = False,
) -> Pullback:
    """Return the pullback to input, weight and bias; it calls `adjoint` once for all gradients that are needed."""

    def pullback(g: Array) -> list[Gradient]:
        g = received(g, fired, dtype, deferred=deferred)
        weights = list[Array]()
        results = list[tuple[Array, Any]]()

        def errors_kept() -> tuple[Array, Any]:
            if not results:
                results.append(adjoint(g, True))
            return results[0]

        def for_input() -> Array:
            of_x, of_weight = of_input(*errors_kept())
            weights.append(of_weight)
            return of_x

        def for_weight() -> Array:
            if weights:
                return weights.pop()
            if not bias:
                return adjoint(g, False)[1]
            # A bias needs the errors, too.
            of_weight = errors_kept()[1]
            return fused.weight_gradient(of_weight) if fused else of_weight

        def for_bias(shape: tuple[int, ...]) -> Array:
            return to_shape(errors_kept()[0], shape)

        return [for_input, for_weight, *(partial(for_bias, each.shape) for each in bias)]

    return pullback


@differentiable
@takes_packed
@check.operation
def conv_pool(
    x: Array,
    weight: Array,
    /,
    *bias: Array,
    spiking: StepSpiking,
    pooling: Pooling,
    constants: tuple[Array, ...] = (),
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Pullback]:
    """Return ``neuron(pool(neuron(conv(x, weight))))``, or with ``conv(x, weight) + bias``.

    On the CPU this is one pass under the conditions of `conv_neuron`, with float32 weights and pooling windows that
    tile the map. The list of spikes and both potentials are saved for backward. One pass saves less if nobody observes
    the potential before pooling and fewer than 5 % of the bins of x have a spike. It then saves only the states at
    every 32nd step, and backward recomputes this potential.

    Arguments and errors: see `conv_neuron`. ``pooling`` has the pooling window, its gain and its neurons. The
    result is the spikes after pooling, boolean, (T, N, H', W', outputs).

    >>> import numpy as np
    >>> from cuslayer.kernels.constants import Window
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> pooling = Pooling(Window.of(3, 3, 0, 1), 11.0, (), srm.spiking)
    >>> options = {"spiking": srm.spiking, "pooling": pooling}
    >>> x = np.zeros((6, 1, 3, 3, 1), bool); x[0, 0, 1, 1] = True
    >>> conv_pool(x, np.full((3, 3, 1, 1), 12, np.float32), padding=1, **options).data.ravel().tolist()
    [False, False, False, True, True, True]
    """
    k, frames, window, groups = prepare(x, weight, stride, padding, dilation, groups)
    shape, steps, image = x.shape, x.shape[0], window.outputs(x.shape[2:4], ceil=False)
    placed = spiking.placed(constants, weight, (*image, weight.shape[3]))
    maps = (*pooling.window.outputs(image, ceil=True), weight.shape[3])
    single = weight.astype(np.float32, copy=False)
    pooling = pooling._replace(constants=pooling.spiking.placed(pooling.constants, single, maps))
    # Pooling and its neurons compute in float32, whatever the weights' type.
    fuse = weight.dtype == np.float32
    shift = shift_of(bias, weight)
    fused = k.fused.conv_pool_kernels(frames, window, groups, pooling, spiking) if fuse else None
    if fused:
        options = (window, placed, spiking, pooling)
        keep = (recomputable() and k.fused.saved_type(frames)) or wanted_dtype(weight.dtype)
        u, pooled_u, s = fused.conv_pool(frames, steps, weight, *options, keep, shift=shift)
        dtype = weight.dtype
    else:
        u, fired = fire(k, shifted(k.conv.forward(frames, weight, window, groups), shift), steps, placed, spiking)
        pooled = k.pool.forward(fired, pooling.window, pooling.gain)
        pooled_u, s = fire(k, pooled, steps, pooling.constants, pooling.spiking)
        dtype = pooled.dtype
    blocks = k.fused.from_blocks if fused else None
    potential = save_for_backward(k, u, from_blocks=blocks)
    pooled_potential = save_for_backward(k, pooled_u, from_blocks=blocks)

    def adjoint(g: Array, keep: bool) -> tuple[Array, Array]:
        if fused:
            return fused.conv_pool_adjoint(
                frames, steps, g, potential(), pooled_potential(), *options, keep, shift=shift
            )
        g = fire_adjoint(k, g, pooled_potential(), steps, pooling.constants, pooling.spiking)
        g = k.pool.adjoint(g, image, pooling.window, pooling.gain)
        errors = fire_adjoint(k, g, potential(), steps, placed, spiking)
        return errors, k.conv.weight_adjoint(frames, errors, window, groups, steps)

    def of_input(errors: Array, of_weight: Any) -> tuple[Array, Array]:
        if fused:
            found, of_weight = fused.input_adjoint(errors, weight, shape[2:4], window, of_weight)
        else:
            found = k.conv.input_adjoint(errors, weight, shape[2:4], window, groups)
        return found.reshape(shape), of_weight

    return s.reshape(*shape[:2], *s.shape[1:]), _pullback(adjoint, of_input, fused, bias, s.shape, dtype)


@differentiable
@takes_packed
@check.operation
def pool_neuron(
    x: Array,
    /,
    *,
    kernel_size: Pair,
    gain: float,
    spiking: StepSpiking,
    constants: tuple[Array, ...] = (),
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> tuple[Array, Pullback]:
    """Return ``neuron(pool(x))``; on a GPU one pass sums and thresholds spikes.

    Arguments and errors: see `pool` and `dense_neuron`. The result is spikes, boolean, (T, N, H', W', C).

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 2, 2, 1), bool); x[0] = True
    >>> s = pool_neuron(x, kernel_size=2, gain=11.0, spiking=srm.spiking)
    >>> s.data.ravel().tolist()
    [False, True, True, False, False, True]
    """
    check_frames(x.shape)
    gain = check.signed_factor("gain", gain)
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation)
    k, shape, steps, image = kernels.of(x), x.shape, x.shape[0], (x.shape[2], x.shape[3])
    frames = k.spikes.in_frames(x, (steps * shape[1], *shape[2:]))
    like = kernels.module_of(x).empty(0, numeric_type(x.dtype))
    placed = spiking.placed(constants, like, (*window.outputs(image, ceil=True), shape[4]))
    fused, dtype = k.fused.pool_kernels(frames, spiking), numeric_type(x.dtype)
    if fused:
        u, s = fused.pool_neuron(frames, steps, window, gain, placed, spiking, wanted_dtype(dtype))
    else:
        u, s = fire(k, k.pool.forward(frames, window, gain), steps, placed, spiking)
    potential, maps = save_for_backward(k, u), s.shape

    def pullback(g: Array) -> Array:
        if fused:
            errors = g.astype(dtype, copy=False).reshape(maps)
            return fused.pool_neuron_adjoint(errors, potential(), steps, window, gain, image, placed, spiking).reshape(
                shape
            )
        errors = fire_adjoint(k, g.reshape(maps), potential().reshape(maps), steps, placed, spiking)
        return k.pool.adjoint(errors, image, window, gain).reshape(shape)

    return s.reshape(*shape[:2], *maps[1:]), pullback
