"""The dense synapse and its neurons as one operation."""

from __future__ import annotations

import math

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.functions.dense import check_dense
from cuslayer.functions.firing import fire, fire_adjoint
from cuslayer.functions.potential import kept
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.tape import Pullback, differentiable, grad_enabled


@differentiable
def dense_neuron(
    x: Array, weight: Array, /, *, response: Alpha, spiking: Spiking, exact: bool = False
) -> tuple[Array, Pullback]:
    """Return ``neuron(dense(x, weight))``, whose weighted input need not exist as a whole.

    What is kept for backward is the list of spikes and the potential, whose place its gradient takes then. Without
    gradients nothing is: on the CPU, spikes then make one pass through weights, filter and threshold, whose memory
    beyond input and output does not grow with time.

    Args:
        x: (T, N, ...), spikes or numbers; the axes after N are flattened in their order.
        weight: (inputs, outputs), float32 or float64.
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether backward keeps the path through refraction.

    Returns:
        Spikes, boolean, (T, N, outputs).

    Raises:
        ValueError: x is not (T, N, ...), weight is not (inputs, outputs), or their sizes differ.
        TypeError: weight is not floating.

    Source: Shrestha and Orchard 2018, equations 1, 2 and 11.

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 1), bool); x[0] = True
    >>> dense_neuron(x, np.array([[12.0]]), response=srm.filter, spiking=srm.spiking).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    check_dense("dense_neuron", x, weight)
    k, shape, outputs = kernels.of(weight), x.shape, weight.shape[1]
    rows = k.synapse_input(x.reshape(shape[0] * shape[1], math.prod(shape[2:])))
    fused = None if grad_enabled() else k.fused_dense(rows)
    if fused:
        u, s = weight[:0], fused.dense_neuron(rows, shape[0], weight, response, spiking)
    else:
        u, s = fire(k, k.dense(rows, weight), shape[0], response, spiking)
    potential = kept(k, u)

    def pullback(g: Array) -> tuple[object, object]:
        errors = fire_adjoint(k, g, potential(), shape[0], response, spiking, exact)
        return (
            lambda: k.dense_input_adjoint(errors, weight).reshape(shape),
            lambda: k.dense_weight_adjoint(rows, errors),
        )

    return s.reshape(*shape[:2], outputs), pullback  # type: ignore[return-value]
