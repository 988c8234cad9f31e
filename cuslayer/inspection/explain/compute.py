"""Explain a potential: its exact parts, from the adjoint of the linear stages between two layers of neurons."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.explain.result import Explanation, Spikes
from cuslayer.inspection.forward import run_stages
from cuslayer.inspection.structure import Unit, check_network, eval_mode, find_unit, layer_name, neurons_of, units
from cuslayer.neurons.base import Neuron, is_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad, numeric

# Accepted difference of the potential and the sum of its parts, relative to their sizes: float32 rounding.
_ROUNDING = 1e-4


def explain(net: Any, x: Any, layer: Any, neuron: Any, time: int, sample: int = 0) -> Explanation:
    """Explain why a neuron fires or not at a step: the exact parts of its potential.

    In the spike response model the potential is a sum over the spikes f of the inputs i and the neuron's own::

        u[t] = sum_i sum_f w_i eps[t - f] + sum over earlier spikes f of nu[t - f]

    The parts are the terms of this sum. The stages between two layers of neurons, also delays and convolutions, are
    linear, so the parts are computed as the gradient of the potential. Dropout is off.

    A custom neuron is explained by its `response` and `refractory`; unless its `parts` is "exact", the rest of its
    potential is one part, "not explained".

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        layer: the layer, as a position or the object; it must have neurons.
        neuron: its flat index, or an index such as (row, column, channel).
        time: the step.
        sample: the sample in the batch.

    Returns:
        The parts: they print as a table, `plot` draws a waterfall, and `plot_map` an image; `trace` follows the spikes
        back through the layers.

    Raises:
        TypeError: net is not a network, or the layer has no neurons whose potential can be decomposed.
        ValueError: the layer is not in the network, or a stage before the neurons is not linear.
        IndexError: the layer's position, the neuron, time or sample is out of range.

    Source: Shrestha and Orchard 2018, equations 1 and 2.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> net = Sequential(Dense(2, 1), SRM(theta=10.0, tau_sr=2.0))
    >>> net[0].weight.data[:] = [[12.0], [-3.0]]
    >>> x = np.zeros((6, 1, 2), bool); x[0] = True
    >>> explain(net, x, layer=1, neuron=0, time=2)
    layer 1 (Dense(2, 1), SRM), neuron 0 at 2 ms (step 2), sample 0: silent, u = 9 is 1 under theta = 10
      input 0      +12.0000  1 spike at 0 ms
      input 1       -3.0000  1 spike at 0 ms
      u             +9.0000
    """
    check_network("explain", net)
    of = find_unit("explain", net, layer)
    _explainable(net, of)
    return Run(net, x, of, sample).explain(of, neuron, time)


class Run:
    """The forward pass of one sample: the input of each stage and the potentials of the neurons."""

    def __init__(self, net: Any, x: Any, last: Unit, sample: int) -> None:
        data = as_tensor(x).data
        check.time_first("explain", "x", data)
        sample = check.index("explain", "sample", sample, data.shape[1])
        self.net, self.sample = net, sample
        self.inputs = [to_device(data[:, sample : sample + 1])]
        self.potentials: dict[int, Array] = {}
        with eval_mode(net), no_grad():
            run_stages(net.layers[: last.last + 1], Tensor(self.inputs[0]), self._after)

    def _after(self, at: int, y: Tensor, u: Array | None) -> Tensor:
        self.inputs.append(y.data)
        if u is not None:
            self.potentials[at] = u
        return y

    def explain(self, of: Unit, neuron: Any, time: Any) -> Explanation:
        """Return the parts of a neuron's potential at a step."""
        net, neurons = self.net, _explainable(self.net, of)
        at: int = of.last
        if at not in self.potentials:
            raise TypeError(f"explain: {layer_name(net, of)} saves no potential for backward that could be explained")
        u = self.potentials[at].reshape(self.inputs[at + 1].shape)
        time = check.index("explain", "time", time, len(u), "steps")
        column: Any = (0, *check.neuron_index("explain", u.shape[2:], neuron))
        earlier = np.flatnonzero(to_numpy(self.inputs[at + 1][(slice(0, time), *column)]))
        refraction = at_lags(neurons.refractory, time - earlier)
        counts = refraction != 0
        source = 1 + max((p for p in range(at) if is_neuron(net.layers[p])), default=-1)
        # The gradient of the potential with respect to the weighted input at each step.
        seed = at_lags(neurons.response, time - np.arange(len(u)))
        spikes, contributions = self._spikes(source, at, column, seed)
        before = next((unit for unit in units(net) if unit.last == source - 1), None)
        explanation = Explanation(
            layer=layer_name(net, of),
            neuron=column[1:],
            time=time,
            sample=self.sample,
            dt=neurons.dt,
            theta=float(u.dtype.type(neurons.theta)),
            potential=float(u[(time, *column)]),
            contributions=contributions,
            spikes=spikes,
            refractory=float(refraction.sum()),
            refractory_spikes=Spikes(earlier[counts], np.tile(column[1:], (counts.sum(), 1)), refraction[counts]),
            fired=bool(self.inputs[at + 1][(time, *column)]),
            exact=neurons.parts == "exact",
            explain_previous_layer=None if before is None else partial(self.explain, before),
        )
        if explanation.exact:
            _check_sum(explanation)
        return explanation

    def _spikes(self, source: int, at: int, column: Any, seed: Array) -> tuple[Spikes, Array]:
        """Return the input spikes of a stage with their shares, and the sum of the shares of each input."""
        x = self.inputs[source]
        with eval_mode(self.net), no_grad(active=False):
            y = leaf = Tensor(x, requires_grad=True)
            for stage in self.net.layers[source:at]:
                y = stage(y)
            start = np.zeros(y.shape, numeric(y.data).dtype)
            start[(slice(None), *column)] = seed
            y.backward(to_device(start))
        shares = to_numpy(leaf.grad * x)[:, 0].astype(np.float64)
        contributions = shares.sum(axis=0)
        steps, *axes = np.nonzero(shares)
        return Spikes(steps, np.stack(axes, axis=1), shares[(steps, *axes)]), contributions


def at_lags(samples: Array, lags: Array) -> Array:
    """Return the samples of a filter at lags, 0 before its first and beyond its last."""
    inside = (lags >= 0) & (lags < len(samples))
    return np.where(inside, samples[np.where(inside, lags, 0)], 0.0)


def _check_sum(e: Explanation) -> None:
    found = e.filtered + e.refractory
    size = 1.0 + float(abs(e.spikes.share).sum()) + abs(e.refractory)
    if not abs(found - e.potential) <= _ROUNDING * size:
        raise ValueError(
            f"explain: the parts of {e.layer} sum to {found:g}, not to u = {e.potential:g}: a stage before it is not "
            f"linear, or its weights have changed since"
        )


def _explainable(net: Any, unit: Unit) -> Neuron:
    """Return the neurons of a unit; raise TypeError if it has none, or if their potential cannot be decomposed."""
    neurons = neurons_of(net, unit)
    if neurons is None or neurons.parts == "none":
        raise TypeError(f"explain: {layer_name(net, unit)} has no SRM neurons")
    return neurons
