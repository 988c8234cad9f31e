"""Explain a potential: its exact parts, from the adjoint of the linear stages between two layers of neurons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.explain.result import Explanation, Source, Spikes
from cuslayer.inspection.forward import run_nodes
from cuslayer.inspection.structure import Unit, check_network, eval_mode, find_unit, layer_name, neurons_of, units
from cuslayer.kernels.conv.rounding import exact_zeros
from cuslayer.layers import Layer
from cuslayer.network.container import graph_of
from cuslayer.network.graph import INPUT, Node, feeds
from cuslayer.network.input import finite_input
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.tape import Tensor, gradients, no_grad, numeric

# Accepted difference of the potential and the sum of its parts, relative to their sizes: float32 rounding.
_ROUNDING = 1e-4


def explain(net: Any, x: Any, layer: Any, neuron: Any, time: int, sample: int = 0) -> Explanation:
    """Explain why a neuron fires or not at a step: the exact parts of its potential.

    In the spike response model the potential is a sum over the spikes f of the inputs i and the neuron's own::

        u[t] = sum_i sum_f w_i eps[t - f] + sum over earlier spikes f of nu[t - f]

    The parts are the terms of this sum. The stages between two layers of neurons, also delays and convolutions, are
    linear, so the parts are computed as the gradient of the potential. What biases add is one part, "bias". Where
    branches are joined before the neurons, the inputs are those of several layers, the `sources` of the explanation;
    those of a `Recurrent` layer are also the earlier spikes of the layer itself, the last source. Dropout is off.

    A custom neuron is explained by its `response` and `refractory`; unless its `parts` is "exact", the rest of its
    potential is one part, "not explained".

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        layer: the layer, as an address or the object; it must have neurons.
        neuron: its flat index, or an index such as (row, column, channel).
        time: the step.
        sample: the sample in the batch.

    Returns:
        The parts: they print as a table, `plot` draws a waterfall, and `plot_map` an image; `trace` follows the spikes
        back through the layers.

    Raises:
        TypeError: net is not a network, or the layer has no neurons whose potential can be decomposed.
        ValueError: the layer is not in the network, a stage before the neurons is not linear, or x is not
            finite.
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
    _explainable(of)
    return Run(net, x, of, sample).explain(of, neuron, time)


class Run:
    """The forward pass of one sample: the output of each stage and the potentials of the neurons."""

    def __init__(self, net: Any, x: Any, last: Unit, sample: int) -> None:
        data = finite_input("explain", "x", x).data
        check.time_first("explain", "x", data)
        sample = check.index("explain", "sample", sample, data.shape[1])
        self.net, self.sample = net, sample
        self.nodes = graph_of(net).nodes
        self.units = {unit.last.number: unit for unit in units(net)}
        given = to_device(data[:, sample : sample + 1])
        self.outputs: dict[int, Array] = {INPUT: given}
        self.potentials: dict[int, Array] = {}
        with eval_mode(net), no_grad():
            run_nodes(self.nodes[: last.last.number + 1], last.last.number, Tensor(given), self._after)

    def _after(self, node: Node, y: Tensor, u: Array | None) -> Tensor:
        self.outputs[node.number] = y.data
        if u is not None:
            self.potentials[node.number] = u
        return y

    def explain(self, of: Unit, neuron: Any, time: Any) -> Explanation:
        """Return the parts of a neuron's potential at a step."""
        neurons, at = _explainable(of), of.last.number
        if at not in self.potentials:
            raise TypeError(f"explain: {layer_name(of)} saves no potential for backward that could be explained")
        fired = self.outputs[at]
        u = self.potentials[at].reshape(fired.shape)
        time = check.index("explain", "time", time, len(u), "steps")
        column: Any = (0, *check.neuron_index("explain", u.shape[2:], neuron))
        spikes = to_numpy(fired[(slice(None), *column)])
        # The gradient of the potential with respect to the weighted input at each step, and the part of each spike.
        seed, of_spikes = neurons.parts_at(spikes, time, column[1:], u.shape[2:])
        earlier = np.flatnonzero(spikes[:time])
        refraction = of_spikes[earlier]
        counts = refraction != 0
        sources, bias = self._sources(of.last, column, seed)
        explanation = Explanation(
            layer=layer_name(of),
            neuron=column[1:],
            time=time,
            sample=self.sample,
            dt=neurons.dt,
            theta=float(u.dtype.type(neurons.theta)),
            potential=float(u[(time, *column)]),
            sources=sources,
            refractory=float(refraction.sum()),
            refractory_spikes=Spikes(earlier[counts], np.tile(column[1:], (counts.sum(), 1)), refraction[counts]),
            fired=bool(fired[(time, *column)]),
            exact=neurons.parts in ("exact", "stepwise"),
            bias=bias,
        )
        if explanation.exact:
            _check_sum(explanation)
        return explanation

    def _sources(self, neurons: Node, column: Any, seed: Array) -> tuple[tuple[Source, ...], float]:
        """Return the layers of neurons whose spikes reach neurons through linear stages, and the share of constants."""
        found, between = feeds(self.nodes, neurons.inputs)
        recurrence = as_neuron("explain", neurons.stage).recurrence
        stages = [*(self.nodes[number].stage for number in between), recurrence]
        added = list({id(p): p for stage in stages if isinstance(stage, Layer) for p in stage.constants()}.values())
        with eval_mode(self.net), _requiring_gradients(added), no_grad(active=False):
            leaves = {number: Tensor(self.outputs[number], requires_grad=True) for number in sorted(found)}
            values = dict(leaves)
            for number in sorted(between):
                node = self.nodes[number]
                values[number] = node(*(values[n] for n in node.inputs))
            y = values[neurons.inputs[0]]
            for number in leaves:
                if len(self.outputs[number]) != len(y):
                    steps = f"{len(self.outputs[number])} steps, the neurons {len(y)}"
                    raise ValueError(f"explain: the inputs of layer {neurons} must have its steps, they have {steps}")
            start = np.zeros(y.shape, numeric(y.data).dtype)
            start[(slice(None), *column)] = seed
            # A spike that does not reach the neuron has no share: 0, without rounding.
            with exact_zeros():
                of_leaves = gradients(y, [*leaves.values(), *added], to_device(start))
                shares = dict(zip(leaves, of_leaves, strict=False))
                if recurrence is not None:
                    spikes = Tensor(self.outputs[neurons.number], requires_grad=True)
                    shares[neurons.number] = gradients(recurrence(spikes), [spikes], to_device(start))[0]
            of_constants = zip(added, of_leaves[len(leaves) :], strict=True)
            bias = sum(float(to_numpy((g * p.data).sum())) for p, g in of_constants if g is not None)
        return tuple(self._source(number, g) for number, g in shares.items()), bias

    def _source(self, number: int, gradient: Array | None) -> Source:
        """Return the shares of one layer's spikes, from the gradient at them."""
        x = self.outputs[number]
        shares = np.zeros(x[:, 0].shape) if gradient is None else to_numpy(gradient * x)[:, 0].astype(np.float64)
        steps, *axes = np.nonzero(shares)
        spikes = Spikes(steps, np.stack(axes, axis=1), shares[(steps, *axes)])
        if number == INPUT:
            return Source("input", None, shares.sum(axis=0), spikes, None)
        unit = self.units[number]
        return Source(layer_name(unit), unit.address, shares.sum(axis=0), spikes, partial(self.explain, unit))


@contextmanager
def _requiring_gradients(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let tensors require a gradient within the block."""
    before = [p.requires_grad for p in tensors]
    try:
        for p in tensors:
            p.requires_grad = True
        yield
    finally:
        for p, required in zip(tensors, before, strict=True):
            p.requires_grad = required


def _check_sum(e: Explanation) -> None:
    found = e.filtered + e.refractory + e.bias
    size = 1.0 + sum(float(abs(source.spikes.share).sum()) for source in e.sources) + abs(e.refractory) + abs(e.bias)
    if not abs(found - e.potential) <= _ROUNDING * size:
        raise ValueError(
            f"explain: the parts of {e.layer} sum to {found:g}, not to u = {e.potential:g}: a stage before it is not "
            f"linear, or its weights have changed since"
        )


def _explainable(unit: Unit) -> Neuron:
    """Return the neurons of a unit; raise TypeError if it has none, or if their potential cannot be decomposed."""
    neurons = neurons_of(unit)
    if neurons is None:
        raise TypeError(f"explain: {layer_name(unit)} has no neurons")
    if neurons.parts == "none":
        kind = type(neurons).__name__
        raise TypeError(f"explain: {layer_name(unit)} has {kind} neurons, whose potential is no sum over spikes")
    return neurons
