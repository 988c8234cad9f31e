"""Sum pooling with its neurons as one operation."""

from __future__ import annotations

from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking, Window
from cuslayer.layers.fused import fire, fire_adjoint
from cuslayer.layers.window import Pair, check_frames
from cuslayer.neurons.potential import save_for_backward, wanted_dtype
from cuslayer.operations.base import numeric_type
from cuslayer.tape import Pullback, differentiable, takes_packed


@differentiable
@takes_packed
def pool_neuron(
    x: Array,
    /,
    *,
    kernel_size: Pair,
    gain: float,
    response: Alpha,
    spiking: Spiking,
    exact: bool = False,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
) -> tuple[Array, Pullback]:
    """Return ``neuron(pool(x))``; on a GPU spikes are summed and thresholded in one pass.

    Args:
        x: (T, N, H, W, C), spikes (summed as float32) or numbers.
        kernel_size: rows and columns of a window, one integer or two.
        gain: the weight of every input.
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward keeps the path through refraction.
        stride: rows and columns between windows; by default those of the window.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.

    Returns:
        Spikes, boolean, (T, N, H', W', C).

    Raises:
        ValueError: x is not (T, N, H, W, C), or a constant does not fit.
        TypeError: a constant is not an integer, or gain is not a number.

    Source: Shrestha and Orchard 2018, equations 1 and 2.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 2, 2, 1), bool); x[0] = True
    >>> s = pool_neuron(x, kernel_size=2, gain=11.0, response=srm.filter, spiking=srm.spiking)
    >>> s.data.ravel().tolist()
    [False, True, True, False, False, True]
    """
    check_frames("pool_neuron", x.shape)
    gain = check.number("pool_neuron", "gain", gain)
    window = Window.of("pool_neuron", kernel_size, kernel_size if stride is None else stride, padding, dilation)
    k, shape, steps, image = kernels.of(x), x.shape, x.shape[0], (x.shape[2], x.shape[3])
    frames = x.reshape(steps * shape[1], *shape[2:])
    fused, dtype = k.fused.pool_kernels(frames), numeric_type(x.dtype)
    if fused:
        u, s = fused.pool_neuron(frames, steps, window, gain, response, spiking, wanted_dtype(dtype))
    else:
        u, s = fire(k, k.pool.forward(frames, window, gain), steps, response, spiking)
    potential, maps = save_for_backward(k, u), s.shape

    def pullback(g: Array) -> Array:
        constants: tuple[Any, ...] = (response, spiking, exact)
        if fused:
            errors = g.astype(dtype, copy=False).reshape(maps)
            return fused.pool_neuron_adjoint(errors, potential(), steps, window, gain, image, *constants).reshape(shape)
        errors = fire_adjoint(k, g.reshape(maps), potential().reshape(maps), steps, *constants)
        return k.pool.adjoint(errors, image, window, gain).reshape(shape)

    return s.reshape(*shape[:2], *maps[1:]), pullback
