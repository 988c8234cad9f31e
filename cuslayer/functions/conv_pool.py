"""A convolutional synapse, its neurons, sum pooling and the neurons of that as one operation."""

from __future__ import annotations

from functools import partial

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.functions.conv import geometry
from cuslayer.functions.conv_neuron import gradients
from cuslayer.functions.firing import fire, fire_adjoint
from cuslayer.functions.potential import kept, wanted
from cuslayer.kernels.constants import Alpha, Pooling, Spiking
from cuslayer.tape import Pullback, differentiable


@differentiable
def conv_pool(
    x: Array,
    weight: Array,
    /,
    *,
    response: Alpha,
    spiking: Spiking,
    pooling: Pooling,
    exact: bool = False,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> tuple[Array, Pullback]:
    """Return ``neuron(pool(neuron(conv(x, weight))))``, of which nothing between need exist as a whole.

    On the CPU, float32 weights, spikes, windows without steps and gaps, and pooling windows that tile the map make one
    pass, as in `conv_neuron`. What is kept for backward is the list of spikes and the two potentials.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        weight: (kh, kw, C / groups, outputs), float32 or float64.
        response: the spike response of the neurons behind the convolution.
        spiking: their threshold, refractory response and surrogate.
        pooling: the pooling window, its gain and its neurons.
        exact: whether backward keeps the path through refraction, of both.
        stride: rows and columns between windows, one integer or two.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        groups: how many groups the channels form.

    Returns:
        Spikes, boolean, (T, N, H', W', outputs), as the neurons behind the pooling layer fire them.

    Raises:
        ValueError: a rank, a count of channels or a constant does not fit.
        TypeError: weight is not floating, or a constant is no integer.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.layers import Pool
    >>> from cuslayer.neuron import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> options = {"response": srm.filter, "spiking": srm.spiking, "pooling": Pool(3, gain=11.0).pooling(srm)}
    >>> x = np.zeros((6, 1, 3, 3, 1), bool); x[0, 0, 1, 1] = True
    >>> conv_pool(x, np.full((3, 3, 1, 1), 12.0), padding=1, **options).data.ravel().tolist()
    [False, False, False, True, True, True]
    """
    window, groups = geometry("conv_pool", x, weight, stride, padding, dilation, groups)
    k = kernels.of(weight)
    shape, steps = x.shape, x.shape[0]
    frames = k.synapse_input(x.reshape(shape[0] * shape[1], *shape[2:]))
    # Pooling counts spikes in float32, whatever the weights are: so do the neurons behind it then.
    fuse = not exact and weight.dtype == np.float32
    fused = k.fused_conv_pool(frames, window, groups, pooling.window) if fuse else None
    if fused:
        constants = (window, response, spiking, pooling)
        u, pooled_u, s = fused.conv_pool(frames, steps, weight, *constants, wanted(weight.dtype))
        dtype = weight.dtype
    else:
        u, fired = fire(k, k.conv(frames, weight, window, groups), steps, response, spiking)
        pooled = k.pool(fired, pooling.window, pooling.gain)
        pooled_u, s = fire(k, pooled, steps, pooling.response, pooling.spiking)
        dtype = pooled.dtype
    potential, pooled_potential, fired = kept(k, u), kept(k, pooled_u), s.shape
    image = window.outputs("conv_pool", shape[2:4], ceil=False)

    def adjoint(g: Array, keep: bool) -> tuple[Array, Array]:
        if fused:
            return fused.conv_pool_adjoint(frames, steps, g, potential(), pooled_potential(), *constants, keep)
        g = fire_adjoint(k, g, pooled_potential(), steps, pooling.response, pooling.spiking, exact)
        g = k.pool_adjoint(g, image, pooling.window, pooling.gain)
        errors = fire_adjoint(k, g, potential(), steps, response, spiking, exact)
        return errors, k.conv_weight_adjoint(frames, errors, window, groups)

    def pullback(g: Array) -> tuple[object, object]:
        g = g.astype(dtype, copy=False).reshape(fired)
        return gradients(
            partial(adjoint, g),
            lambda errors: k.conv_input_adjoint(errors, weight, shape[2:4], window, groups).reshape(shape),
        )

    return s.reshape(*shape[:2], *s.shape[1:]), pullback  # type: ignore[return-value]
