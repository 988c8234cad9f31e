"""The dense synapse and its neurons, for inference."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import kernels
from cuslayer.functions.dense import check_dense, dense
from cuslayer.functions.neuron import neuron
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.tape import Tensor, as_tensor, no_grad


def dense_neuron(x: Any, weight: Any, /, *, response: Alpha, spiking: Spiking) -> Tensor:
    """Return ``neuron(dense(x, weight))`` without a way back.

    On the CPU, spikes make one pass through weights, filter and threshold: the memory that it takes beyond input and
    output does not grow with time.

    Args:
        x: (T, N, ...), spikes or numbers; the axes after N are flattened in their order.
        weight: (inputs, outputs), float32 or float64.
        response: the spike response.
        spiking: threshold and refractory response.

    Returns:
        Spikes, boolean, (T, N, outputs).

    Raises:
        ValueError: x is not (T, N, ...), weight is not (inputs, outputs), or their sizes differ.
        TypeError: weight is not floating.

    Source: Shrestha and Orchard 2018, equations 1 and 2.

    >>> import numpy as np
    >>> from cuslayer.neuron import SRM
    >>> srm = SRM(tau_sr=2.0)
    >>> x = np.zeros((6, 1, 1), bool); x[0] = True
    >>> dense_neuron(x, np.array([[12.0]]), response=srm.filter, spiking=srm.spiking).data.ravel().tolist()
    [False, False, True, False, False, False]
    """
    data, w = as_tensor(x).data, as_tensor(weight).data
    check_dense("dense_neuron", data, w)
    k, shape = kernels.of(w), data.shape
    rows = k.synapse_input(data.reshape(shape[0] * shape[1], math.prod(shape[2:])))
    fused = k.fused_dense(rows)
    if fused:
        s = fused.dense_neuron(rows, shape[0], w, response, spiking)
        return Tensor(s.reshape(*shape[:2], w.shape[1]))
    with no_grad():
        return neuron(dense(data, w), response=response, spiking=spiking)
