"""A convolutional synapse and its neurons as one operation."""

from __future__ import annotations

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.functions.conv import geometry
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.tape import Pullback, differentiable


@differentiable
def conv_neuron(
    x: Array,
    weight: Array,
    /,
    *,
    response: Alpha,
    spiking: Spiking,
    exact: bool = False,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> tuple[Array, Pullback]:
    """Return ``neuron(conv(x, weight))``, whose weighted input need not exist as a whole.

    On the CPU, spikes and windows without steps and gaps make one pass: a few rows of a map at a time are weighted,
    filtered and thresholded while they are in the cache. What is kept for backward is the list of spikes and the
    potential.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        weight: (kh, kw, C / groups, outputs), float32 or float64.
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward keeps the path through refraction.
        stride: rows and columns between windows, one integer or two.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        groups: how many groups the channels form.

    Returns:
        Spikes, boolean, (T, N, H', W', outputs).

    Raises:
        ValueError: a rank, a count of channels or a constant does not fit.
        TypeError: weight is not floating, or a constant is no integer.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 3, 3, 1), bool); x[0, 0, 1, 1] = True
    >>> s = conv_neuron(x, np.full((3, 3, 1, 1), 12.0), response=srm.filter, spiking=srm.spiking)
    >>> s.data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    window, groups = geometry("conv_neuron", x, weight, stride, padding, dilation, groups)
    k = kernels.of(weight)
    shape, steps = x.shape, x.shape[0]
    frames = k.synapse_input(x.reshape(shape[0] * shape[1], *shape[2:]))
    fused = k.fused_conv(frames, window, groups)
    if fused:
        u, s = fused.conv_neuron(frames, steps, weight, window, response, spiking)
    else:
        weighted = k.conv(frames, weight, window, groups)
        u, s = k.neuron(weighted.reshape(steps, *shape[1:2], *weighted.shape[1:]), response, spiking)
        u, s = u.reshape(weighted.shape), s.reshape(weighted.shape)
    adjoint = k.neuron_adjoint_exact if exact else k.neuron_adjoint
    out = s.reshape(*shape[:2], *u.shape[1:])

    def pullback(g: Array) -> tuple[object, object]:
        g = g.astype(u.dtype, copy=False)
        weighted: list[Array] = []

        def of_weighted() -> Array:
            if not weighted:
                weighted.append(adjoint(g, u.reshape(g.shape), response, spiking).reshape(u.shape))
            return weighted[0]

        def of_weight() -> Array:
            if fused and not exact and not weighted:
                return fused.conv_neuron_weight_adjoint(frames, steps, g.reshape(u.shape), u, window, response, spiking)
            return k.conv_weight_adjoint(frames, of_weighted(), window, groups)

        return lambda: k.conv_input_adjoint(of_weighted(), weight, shape[2:4], window, groups).reshape(shape), of_weight

    return out, pullback  # type: ignore[return-value]
