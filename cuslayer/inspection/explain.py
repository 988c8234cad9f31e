"""`explain`: the exact parts of a potential, from the adjoint of the linear stages between two layers of neurons."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, gradients, no_grad
from cuslayer.backend import (
    Array,
    generator_state,
    load_generator_state,
    numeric,
    preserved_generator,
    to_device,
    to_numpy,
)
from cuslayer.inspection.changes import Changes
from cuslayer.inspection.decomposition import Index, Source, Spikes
from cuslayer.inspection.explanation import Counterfactual, Explanation, Total
from cuslayer.inspection.structure import find_unit
from cuslayer.layers import Layer
from cuslayer.network.graph import INPUT, GraphNode, feeds, finite_input, flow
from cuslayer.network.network import Where
from cuslayer.network.walk import Unit, Walk, check_network, copied, depends_on_batch, freeze, units
from cuslayer.neurons.base import Neuron, as_neuron

if TYPE_CHECKING:
    from cuslayer.network.network import Container, Sequential


@check.operation
def explain(
    net: Container, x: TensorLike, layer: Where, index: int | tuple[int, ...], time: int, sample: int = 0
) -> Explanation:
    """Explain why a neuron fires or not at a step: the exact parts of its potential.

    In the spike response model the potential is a sum over the spikes f of the inputs i and the neuron's own::

        u[t] = sum_i sum_f w_i eps[t - f] + sum over earlier spikes f of nu[t - f]

    The parts are the terms of this sum. The stages between two layers of neurons, also delays and convolutions, are
    linear, so the gradient of the potential gives the parts. The contribution of biases is one part, "bias". Where
    branches join before the neurons, the inputs come from several layers, the `sources` of the explanation. The last
    source of a `Recurrent` layer is its own earlier spikes.

    Where the step of the neurons is not linear, with a square or an exponential, the parts are integrated gradients:
    the mean derivative on the straight line from no weighted input to the weighted input, with the spikes held as they
    were. The potential without input and spikes is one part, "rest". What the parts leave is one part, "not explained":
    of a step that jumps, or where float32 rounding grows, near a point at which the neuron is unstable.

    The network is explained as it is, so the potential is the one that `record` shows for the next call. In training,
    `BatchNorm` has the statistics of the batch, `Dropout` its next draws, and trained delays of synapses spread over
    lags. A copy runs: network and random generator do not change. In evaluation only the sample runs.

    `response` and `refractory` explain a custom neuron that is not written as a step, and stateful neurons; unless its
    `parts` is "exact", the rest of its potential is one part, "not explained".

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        layer: the layer, as an address or the object; it must have neurons.
        index: the neuron in the layer: its flat index, or one such as (row, column, channel).
        time: the step, within the recording in a padded batch.
        sample: the sample in the batch.

    Returns:
        The parts: they print as a table, `plot` draws a waterfall, and `plot_map` an image. `trace` follows the spikes
        back through the layers, `total` sums the parts over the recording, and `without` runs the network again without
        a spike, an input or a weight.

    Raises:
        TypeError: net is not a network or cannot be copied, or the layer has no neurons whose potential can be
            decomposed.
        ValueError: the layer is not in the network, a stage before the neurons is not linear, or x is not
            finite.
        IndexError: the layer's position, the index, time or sample is out of range.

    Source: Shrestha and Orchard 2018, equations 1 and 2; for steps that are not linear Sundararajan, Taly and Yan 2017,
    "Axiomatic attribution for deep networks", arXiv 1703.01365.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> net = Sequential(Dense(2, 1), SRM(theta=10.0, tau_sr=2.0))
    >>> net[0].weight.data[:] = [[12.0], [-3.0]]
    >>> x = np.zeros((6, 1, 2), bool); x[0] = True
    >>> explain(net, x, layer=1, index=0, time=2)
    layer 1 (Dense(2, 1), SRM), neuron 0 at 2 ms (step 2), sample 0: silent, u = 9 is 1 under theta = 10
      input 0      +12.0000  1 spike at 0 ms
      input 1       -3.0000  1 spike at 0 ms
      u             +9.0000
    """
    check_network(net)
    of = find_unit(net, layer)
    _explainable(of)
    with copied(net) as (twin,):
        run = _Run(twin, x, of.last.number, sample)
    return run.explain(run.units[of.last.number], index, time)


# Accepted difference of the potential and the sum of its parts, relative to their sizes: float32 rounding.
_ROUNDING = 1e-4


class _Shares(NamedTuple):
    """The parts of a weighted sum of potentials of a layer."""

    sources: Mapping[int, Array]  # by the number of the layer that sent them, the shares (T, ...) of its spikes
    of_spikes: Array  # (T, ...), the shares of the layer's own spikes
    bias: float
    rest: float
    exact: bool  # whether they are the terms of a sum


class _Run:
    """A forward pass of a copy of a network: one sample's outputs of each stage, and potentials of the neurons."""

    def __init__(self, twin: Sequential, x: Any, end: int, sample: int) -> None:
        x = finite_input("x", x)
        check.time_first("x", x)
        self.sample = check.index("sample", sample, x.shape[1])
        nodes = twin.graph.nodes
        self.units = {unit.last.number: unit for unit in units(twin)}
        self.outputs: dict[int, Array] = {}
        self.potentials: dict[int, Array] = {}
        # The nodes as they run for the sample alone.
        self.nodes = list(nodes)
        self.chosen = slice(self.sample, self.sample + 1)
        batch = Tensor(to_device(x.data), lengths=x.lengths)
        # Past the end of a recording there is nothing to explain.
        self.steps = sys.maxsize if x.lengths is None else int(x.lengths[self.sample])
        # A batch changes a network in training, so that only another copy can run again.
        changes = depends_on_batch(twin)
        if not changes:
            batch = Tensor(batch.data[:, self.chosen].copy())
            self.chosen = slice(1)
        self.batch = Tensor(batch.data.copy(), lengths=batch.lengths) if changes else batch
        self.unchanged = copy.deepcopy(twin) if changes else twin
        self.drawn = generator_state()
        self.outputs[INPUT] = batch.data[:, self.chosen]
        with no_grad():
            for at in Walk(twin, batch, nodes[: end + 1], end):
                if isinstance(at.stage, Layer):
                    with preserved_generator():
                        stage = at.stage.for_sample(at.inputs[0], self.chosen)
                    self.nodes[at.number] = replace(at.node, stage=stage)
                at.output.lengths = batch.lengths
                self.outputs[at.number] = at.output.data[:, self.chosen].copy()
                if at.potentials is not None:
                    self.potentials[at.number] = at.potentials[:, self.chosen].copy()
        freeze(twin)

    @check.operation
    def explain(self, of: Unit, index: int | Index, time: object) -> Explanation:
        """Return the parts of a neuron's potential at a step."""
        neurons = _explainable(of)
        at = of.last.number
        if at not in self.potentials:
            raise TypeError(f"{of.name} saves no potential for backward that could be explained")
        u = self.potentials[at]
        step = check.index("time", time, min(self.steps, len(u)), "steps")
        place = check.neuron_index(u.shape[2:], index, "index")
        weights = np.zeros((len(u), *u.shape[2:]))
        weights[(step, *place)] = 1.0
        shares = self._shares(of, weights)
        explanation = Explanation(
            **self._about(of, place),
            potential=float(u[(step, 0, *place)]),
            **self._parts(shares, place),
            time=step,
            theta=float(u.dtype.type(neurons.theta)),
            fired=bool(self.outputs[at][(step, 0, *place)]),
            asked=_Neuron(self, of),
        )
        if explanation.exact and not abs(explanation.left) <= _ROUNDING * explanation.size:
            total = explanation.potential - explanation.left
            raise ValueError(
                f"the parts of {of.name} sum to {total:g}, not to u = {explanation.potential:g}: a stage before it is "
                f"not linear, or draws or normalizes in training; net.eval() explains the network in evaluation"
            )
        return explanation

    def total(self, of: Unit, place: Index, over: str, depth: int | None) -> Total:
        """Return the sum of the parts of a neuron's potentials, down to a number of layers before."""
        at = of.last.number
        u = self.potentials[at][_train(place, 0)]
        end = min(self.steps, len(u))
        times = np.arange(end)
        if over == "spikes":
            times = np.flatnonzero(to_numpy(self.outputs[at][_train(place, 0)])[:end])
        weights = np.zeros((len(u), *self.potentials[at].shape[2:]))
        weights[cast(Any, (times, *place))] = 1.0
        shares = self._shares(of, weights)
        parts = self._parts(shares, place)
        reached = dict(shares.sources)
        for _ in range(len(self.units) if depth is None else depth - 1):
            before = {number: reached.pop(number) for number in sorted(reached) if self._is_followed(number)}
            for number, of_spikes in before.items():
                potentials = to_numpy(self.potentials[number])[:, 0].astype(np.float64)
                ratios = np.divide(of_spikes, potentials, out=np.zeros_like(of_spikes), where=potentials != 0)
                further = self._shares(self.units[number], ratios)
                for source, share in further.sources.items():
                    reached[source] = reached.get(source, 0.0) + share
                parts["refractory"] += float(further.of_spikes.sum())
                parts["bias"] += further.bias
                parts["rest"] += further.rest
                parts["exact"] &= further.exact
        parts["sources"] = tuple(self._source(number, reached[number]) for number in sorted(reached))
        potential = float(to_numpy(u[times]).astype(np.float64).sum())
        return Total(**self._about(of, place), potential=potential, **parts, over=over, times=times)

    def _is_followed(self, number: int) -> bool:
        """Return whether the neurons that sent spikes can be explained."""
        model = None if number == INPUT else self.units[number].model
        return model is not None and model.parts != "none" and number in self.potentials

    def _about(self, of: Unit, place: Index) -> dict[str, Any]:
        dt = _explainable(of).dt
        return {"layer": of.name, "index": place, "sample": self.sample, "dt": dt}

    def _parts(self, shares: _Shares, place: Index) -> dict[str, Any]:
        own = shares.of_spikes[_train(place)]
        earlier = np.flatnonzero(own)
        return {
            "sources": tuple(self._source(number, share) for number, share in shares.sources.items()),
            "refractory": float(own.sum()),
            "refractory_spikes": Spikes(earlier, np.tile(place, (len(earlier), 1)), own[earlier]),
            "bias": shares.bias,
            "rest": shares.rest,
            "exact": shares.exact,
        }

    def _shares(self, of: Unit, weights: Array) -> _Shares:
        """Return the parts of the sum of a layer's potentials with weights (T, ...)."""
        from cuslayer.kernels.synapse.conv.winograd import exact_zeros  # imports Numba

        neurons = of.last
        nodes = self.nodes
        found, between = feeds(nodes, neurons.inputs)
        recurrence = as_neuron(neurons.stage).recurrence
        stages = [*(nodes[number].stage for number in between), recurrence]
        added = list({id(p): p for stage in stages if isinstance(stage, Layer) for p in stage.constants()}.values())
        leaves = {number: Tensor(self.outputs[number], requires_grad=True) for number in sorted(found)}
        with preserved_generator(), _requiring_gradients(added), no_grad(active=False):
            y = self._weighted_input(neurons, sorted(between), leaves)
            for number in leaves:
                if len(self.outputs[number]) != len(y):
                    steps = f"{len(self.outputs[number])} steps, the neurons {len(y)}"
                    raise ValueError(f"the inputs of layer {neurons} must have its steps, they have {steps}")
            x = to_numpy(y.data)[:, 0].astype(numeric(y.data).dtype)
            if recurrence is not None:
                own = Tensor(self.outputs[neurons.number], requires_grad=True)
                returned = recurrence(own)
                x = x + to_numpy(returned.data)[:, 0]
            seed, of_spikes, rest = self._of_neurons(of, x, weights)
            start = to_device(seed[:, None].astype(x.dtype))
            # A spike that does not reach the neuron has no share: 0, without rounding.
            with exact_zeros():
                of_leaves = gradients(y, [*leaves.values(), *added], start)
                by_source = dict(zip(leaves, of_leaves, strict=False))
                if recurrence is not None:
                    by_source[neurons.number] = gradients(returned, [own], start)[0]
            of_constants = zip(added, of_leaves[len(leaves) :], strict=True)
            bias = sum(float(to_numpy((g * p.data).sum())) for p, g in of_constants if g is not None)
        shares = {number: self._of_source(number, g) for number, g in by_source.items()}
        return _Shares(shares, of_spikes, bias, rest, _explainable(of).parts in ("exact", "stepwise"))

    def _of_neurons(self, of: Unit, x: Array, weights: Array) -> tuple[Array, Array, float]:
        """Return the contributions of a weighted input of 1 and of the spikes, (T, ...), and the rest."""
        neurons = _explainable(of)
        spikes = to_numpy(self.outputs[of.last.number])[:, 0]
        of_input = np.zeros(x.shape)
        of_spikes = np.zeros(x.shape)
        rest = 0.0
        for place in np.argwhere(weights.any(axis=0)).tolist():
            column = _train(place)
            parts = neurons.parts_of(x[column], spikes[column], weights[column], tuple(place), x.shape[1:])
            of_input[column] = parts.of_input
            of_spikes[column] = parts.of_spikes
            rest += parts.rest
        return of_input, of_spikes, rest

    def _weighted_input(self, neurons: GraphNode, between: list[int], leaves: dict[int, Tensor]) -> Tensor:
        """Return the input of neurons, from the spikes before the linear stages between."""
        values: dict[int, Any] = dict(leaves)
        for node, inputs in flow([self.nodes[number] for number in between], neurons.inputs[0], values):
            values[node.number] = node(*inputs)
        return values[neurons.inputs[0]]

    def _of_source(self, number: int, gradient: Array | None) -> Array:
        """Return the shares (T, ...) of one layer's spikes, from the gradient at them."""
        x = self.outputs[number]
        return np.zeros(x[:, 0].shape) if gradient is None else to_numpy(gradient * x)[:, 0].astype(np.float64)

    def _source(self, number: int, shares: Array) -> Source:
        """Return one layer's spikes with their shares (T, ...)."""
        steps, *axes = np.nonzero(shares)
        spikes = Spikes(steps, np.stack(axes, axis=1), shares[(steps, *axes)])
        if number == INPUT:
            return Source("input", None, shares.sum(axis=0), spikes, None)
        unit = self.units[number]
        return Source(unit.name, unit.address, shares.sum(axis=0), spikes, partial(self.explain, unit))

    def again(self, of: Unit, changes: Changes) -> tuple[Array, Array]:
        """Run the changed network, and return one sample's potentials and outputs (T, ...) of a layer."""
        net = copy.deepcopy(self.unchanged)
        batch = Tensor(self.batch.data.copy(), lengths=self.batch.lengths)
        end = of.last.number
        nodes = net.graph.nodes
        if of.layer is not None:
            changes.of_weight(nodes[of.layer.number].stage)
        if changes.source == INPUT:
            changes.of_signal(batch.data[:, self.chosen])
        with no_grad(), preserved_generator():
            load_generator_state(self.drawn)
            for at in Walk(net, batch, nodes[: end + 1], end):
                at.output.lengths = batch.lengths
                if at.number == changes.source:
                    sent = at.output.data.copy()
                    changes.of_signal(sent[:, self.chosen])
                    at.output = Tensor(sent, lengths=batch.lengths)
        potentials = to_numpy(cast(Array, at.potentials)[:, self.chosen])[:, 0]
        return potentials, to_numpy(at.output.data[:, self.chosen])[:, 0]


class _Neuron:
    """A neuron of a run, which answers the questions of its explanation."""

    def __init__(self, run: _Run, of: Unit) -> None:
        self.run = run
        self.of = of

    def total(self, explanation: Explanation, over: str, depth: int | None) -> Total:
        return self.run.total(self.of, explanation.index, over, depth)

    def without(
        self,
        explanation: Explanation,
        spikes: Sequence[tuple[int, Index]],
        inputs: Sequence[int | Index],
        weights: Sequence[Index],
        source: int,
    ) -> Counterfactual:
        of = self.of
        chosen = explanation.sources[check.index("source", source, len(explanation.sources))]
        number = INPUT if chosen.address is None else find_unit(self.run.unchanged, chosen.address).last.number
        layer = None if of.layer is None else of.layer.stage
        changes = Changes(number, self.run.outputs[number][:, 0], layer, spikes, inputs, weights)
        if number == of.last.number and changes.places:
            raise ValueError("source must not be the recurrent input: without it, the neurons' own spikes would change")
        potentials, fired = self.run.again(of, changes)
        column = _train(explanation.index)
        before = to_numpy(self.run.outputs[of.last.number])[_train(explanation.index, 0)]
        return Counterfactual(
            explanation=explanation,
            change=str(changes),
            potential=float(potentials[column][explanation.time]),
            fired=bool(fired[column][explanation.time]),
            times=np.flatnonzero(fired[column]),
            times_before=np.flatnonzero(before),
        )


def _train(neuron: Sequence[int], *sample: int) -> Any:
    """Return the index of all steps of a neuron."""
    return slice(None), *sample, *neuron


@contextmanager
def _requiring_gradients(tensors: Sequence[Tensor]) -> Iterator[None]:
    before = [p.requires_grad for p in tensors]
    try:
        for p in tensors:
            p.requires_grad = True
        yield
    finally:
        for p, required in zip(tensors, before, strict=True):
            p.requires_grad = required


def _explainable(unit: Unit) -> Neuron:
    """Return the neurons of a unit; raise TypeError if it has none, or if their potential cannot be decomposed."""
    neurons = unit.model
    if neurons is None:
        raise TypeError(f"{unit.name} has no neurons")
    if neurons.parts == "none":
        kind = type(neurons).__name__
        raise TypeError(f"{unit.name} has {kind} neurons, whose potential is no sum over spikes")
    return neurons
