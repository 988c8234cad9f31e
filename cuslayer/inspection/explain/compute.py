"""How a potential is taken apart: what is linear is walked back from one neuron at one time."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.explain.result import Explanation, Spikes
from cuslayer.inspection.structure import Unit, at_rest, described, is_neuron, network, place, srm_of, unit, units
from cuslayer.neurons.potential import showing
from cuslayer.tape import Tensor, as_tensor, no_grad, numeric

# By how much the parts may miss the potential, of the sum of their sizes: what float32 makes of thousands of them.
_ROUNDING = 1e-4


def explain(net: Any, x: Any, layer: Any, neuron: Any, time: int, sample: int = 0) -> Explanation:
    """Say why a neuron fires at a time, or why not: the exact parts of its potential.

    In the spike response model the potential is a sum, over the spikes f of the inputs i and the neuron's own::

        u[t] = sum_i sum_f w_i eps[t - f] + sum over earlier spikes f of nu[t - f]

    and this is each of its terms. What lies between the neurons before and these ones, delays and convolutions too, is
    linear, so that a spike's share is found by walking back from the one potential. Dropout is off.

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        layer: the layer, by position or itself; it must have SRM neurons.
        neuron: its number, or its place such as (row, column, channel).
        time: the step.
        sample: which of the batch.

    Returns:
        The parts. They print as a table, `plot` as a waterfall, and `plot_map` as an image; `trace` goes on to the
        spikes that made the inputs fire.

    Raises:
        TypeError: net is no network, or the layer has no SRM neurons.
        ValueError: the layer is none of the network's, the neuron, time or sample lies outside of what there is, or a
            stage before the neurons is not linear.

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
    network("explain", net)
    of = unit("explain", net, layer)
    srm_of("explain", net, of)
    return Run(net, x, of, sample).explain(of, neuron, time)


class Run:
    """One sample on its way through a network: the input of each stage, and what the neurons had."""

    def __init__(self, net: Any, x: Any, last: Unit, sample: int) -> None:
        data = as_tensor(x).data
        check.time_first("explain", "x", data)
        if check.integer("explain", "sample", sample, least=0) >= data.shape[1]:
            raise ValueError(f"explain: sample must be under {data.shape[1]}, got {sample}")
        self.net, self.sample = net, sample
        self.inputs = [to_device(data[:, sample : sample + 1])]
        self.potentials: dict[int, Array] = {}
        with at_rest(net), no_grad():
            for at, stage in enumerate(net.layers[: last.last + 1]):
                shown: list[Array] = []
                with showing(shown.append):
                    self.inputs.append(as_tensor(stage(Tensor(self.inputs[at]))).data)
                if shown and is_neuron(stage):
                    self.potentials[at] = shown[0]

    def explain(self, of: Unit, neuron: Any, time: Any) -> Explanation:
        """Return the parts of the potential of a neuron at a time."""
        net, srm = self.net, srm_of("explain", self.net, of)
        at: int = of.last
        u = self.potentials[at]
        if check.integer("explain", "time", time, least=0) >= len(u):
            raise ValueError(f"explain: time must be under {len(u)} steps, got {time}")
        column: Any = (0, *place("explain", u.shape[2:], neuron))
        earlier = np.flatnonzero(to_numpy(self.inputs[at + 1][(slice(0, time), *column)]))
        debts = _shares(srm.refractory, time - earlier)
        owed = debts != 0
        source = 1 + max((p for p in range(at) if is_neuron(net.layers[p])), default=-1)
        spikes, contributions = self._spikes(source, at, column, _seed(srm.response, time, len(u)))
        explanation = Explanation(
            layer=described(net, of),
            neuron=column[1:],
            time=time,
            sample=self.sample,
            dt=srm.dt,
            theta=float(u.dtype.type(srm.theta)),
            potential=float(u[(time, *column)]),
            contributions=contributions,
            spikes=spikes,
            refractory=float(debts.sum()),
            debts=Spikes(earlier[owed], np.tile(column[1:], (len(earlier[owed]), 1)), debts[owed]),
            below=self._below(source),
        )
        _check_sum(explanation)
        return explanation

    def _below(self, source: int) -> Any:
        if source == 0:
            return None
        before = next(u for u in units(self.net) if u.last == source - 1)
        return lambda neuron, time: self.explain(before, neuron, time)

    def _spikes(self, source: int, at: int, column: Any, seed: Array) -> tuple[Spikes, Array]:
        """Return the spikes that enter at a stage with their shares, and the sum of those of each neuron."""
        x = self.inputs[source]
        with at_rest(self.net), no_grad(active=False):
            first = Tensor(x, requires_grad=True)
            y = first
            for stage in self.net.layers[source:at]:
                y = stage(y)
            start = np.zeros(y.shape, numeric(y.data).dtype)
            start[(slice(None), *column)] = seed
            y.backward(to_device(start))
        shares = to_numpy(first.grad * x)[:, 0].astype(np.float64)
        contributions = shares.sum(axis=0)
        there = np.nonzero(shares)
        return Spikes(there[0], np.stack(there[1:], axis=1), shares[there]), contributions


def _shares(samples: Array, lags: Array) -> Array:
    """Return the samples of a filter at lags, 0 beyond its end."""
    inside = lags < len(samples)
    return np.where(inside, samples[np.where(inside, lags, 0)], 0.0)


def _seed(samples: Array, time: int, steps: int) -> Array:
    """Return what an input of each step adds to the potential at a time, (steps,)."""
    lags = time - np.arange(steps)
    return np.where(lags >= 0, _shares(samples, np.maximum(lags, 0)), 0.0)


def _check_sum(e: Explanation) -> None:
    found = e.filtered + e.refractory
    size = 1.0 + float(abs(e.spikes.share).sum()) + abs(e.refractory)
    if not abs(found - e.potential) <= _ROUNDING * size:
        raise ValueError(
            f"explain: the parts of {e.layer} sum to {found:g}, not to u = {e.potential:g}: a stage before it is not "
            f"linear, or its weights have changed since"
        )
