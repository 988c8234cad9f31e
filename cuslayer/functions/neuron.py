"""A layer of spike response neurons: filter, refraction and threshold in one pass."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.functions.potential import kept
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.tape import Pullback, differentiable


@differentiable
def neuron(x: Array, /, *, response: Alpha, spiking: Spiking, exact: bool = False) -> tuple[Array, Pullback]:
    """Return ``spike(psp(x))`` in one pass forward and one pass back.

    What is kept for backward is the potential u alone.

    Args:
        x: (T, N, ...), the weighted input, float32 or float64.
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward keeps the path through refraction.

    Returns:
        Spikes, boolean, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).
        TypeError: x is not floating.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 1)); x[0] = 12.0
    >>> neuron(x, response=srm.filter, spiking=srm.spiking).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    check.time_first("neuron", "x", x)
    check.floating("neuron", "x", x)
    k = kernels.of(x)
    u, s = k.neuron(x, response, spiking)
    adjoint, potential = k.neuron_adjoint_exact if exact else k.neuron_adjoint, kept(k, u)
    dtype = x.dtype  # not x: the weighted input need not outlive the pass
    return s, lambda g: adjoint(g.astype(dtype, copy=False), potential(), response, spiking, overwrite=True)
