"""Spike response neurons as CUBA neurons, which NIR has, and the error of that."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.network.container import chain_of
from cuslayer.network.network import Sequential
from cuslayer.neurons import CUBA
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.tape import no_grad


def approximated(net: Sequential, x: Any) -> tuple[Sequential, list[float]]:
    """Return a network with CUBA neurons for those with an alpha response, and the share of spikes that moved on x.

    The alpha response ``e k d^k dt / tau`` with ``d = exp(-dt / tau)`` is, but for its cut, that of a CUBA neuron with
    both time constants tau, ``(k + 1) d^k``, times ``e d dt / tau`` and one step later: the threshold is divided by
    this factor, and the layer is one step earlier. The refractory response becomes a reset to 0: this is the error.

    Args:
        net: the network.
        x: an input (T, N, ...).

    Returns:
        The network, and for each layer of such neurons the share of spikes that moved, its steps aligned.
    """
    stages = [node.stage for node in chain_of("export_nir", net)]
    others = [_as_cuba(as_neuron("export_nir", stage)) if is_neuron(stage) else stage for stage in stages]
    exact, close = to_numpy(x), to_numpy(x)
    check.time_first("export_nir", "approximate", exact)
    training = net.training
    net.train(False)
    moved, earlier = [], 0
    try:
        with no_grad():
            for stage, other in zip(stages, others, strict=True):
                exact, close = (to_numpy(layer(a).data) for layer, a in ((stage, exact), (other, close)))
                if stage is not other:
                    earlier += 1
                    moved.append(share_moved(exact[earlier:], close[: max(0, len(close) - earlier)]))
    finally:
        net.train(training)
    return Sequential(*others), moved


def share_moved(a: Array, b: Array) -> float:
    """Return the share of the spikes of two rasters that the other one does not have, of both together; 0 of none.

    >>> import numpy as np
    >>> share_moved(np.array([True, True, False]), np.array([True, False, True]))
    0.5
    """
    both = int(a.sum()) + int(b.sum())
    return float((a != b).sum()) / both if both else 0.0


def _as_cuba(neuron: Neuron) -> Neuron:
    if neuron.one_pass is None:
        return neuron
    response = neuron.one_pass.response
    ratio = response.dt / response.tau
    factor = response.amplitude * math.e * ratio * math.exp(-ratio)
    return CUBA(
        tau_i=response.tau, tau_v=response.tau, theta=neuron.theta / factor, dt=neuron.dt, gradient=neuron.gradient
    )
