"""`explain`: the exact parts of a potential, from the adjoint of the linear stages between two layers of neurons."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, gradients, no_grad
from cuslayer.backend import Array, numeric, preserved_generator, to_device, to_numpy
from cuslayer.inspection.structure import find_unit
from cuslayer.layers import Layer
from cuslayer.network.graph import INPUT, Address, GraphNode, feeds, finite_input, flow
from cuslayer.network.network import Where
from cuslayer.network.walk import Unit, Walk, check_network, copied, depends_on_batch, freeze, units
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.plot.style import axes, color_bar, open_frame, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cuslayer.network.network import Container, Sequential

Index: TypeAlias = "tuple[int, ...]"
# Accepted difference of the potential and the sum of its parts, relative to their sizes: float32 rounding.
_ROUNDING = 1e-4


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

    The network is explained as it is, so the potential is the one that `record` shows for the next call. In training,
    `BatchNorm` has the statistics of the batch, `Dropout` its next draws, and trained delays of synapses spread over
    lags. A copy runs: network and random generator do not change. In evaluation only the sample runs.

    `response` and `refractory` explain a custom neuron; unless its `parts` is "exact", the rest of its potential is one
    part, "not explained".

    Args:
        net: a `Network` or `Sequential`.
        x: (T, N, ...), its input.
        layer: the layer, as an address or the object; it must have neurons.
        index: the neuron in the layer: its flat index, or one such as (row, column, channel).
        time: the step, within the recording in a padded batch.
        sample: the sample in the batch.

    Returns:
        The parts: they print as a table, `plot` draws a waterfall, and `plot_map` an image; `trace` follows the spikes
        back through the layers.

    Raises:
        TypeError: net is not a network or cannot be copied, or the layer has no neurons whose potential can be
            decomposed.
        ValueError: the layer is not in the network, a stage before the neurons is not linear, or x is not
            finite.
        IndexError: the layer's position, the index, time or sample is out of range.

    Source: Shrestha and Orchard 2018, equations 1 and 2.

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
        chosen = slice(self.sample, self.sample + 1)
        batch = Tensor(to_device(x.data), lengths=x.lengths)
        # Past the end of a recording there is nothing to explain.
        self.steps = sys.maxsize if x.lengths is None else int(x.lengths[self.sample])
        if not depends_on_batch(twin):
            batch = Tensor(batch.data[:, chosen])
            chosen = slice(1)
        self.outputs[INPUT] = batch.data[:, chosen]
        with no_grad():
            for at in Walk(twin, batch, nodes[: end + 1], end):
                if isinstance(at.stage, Layer):
                    with preserved_generator():
                        stage = at.stage.for_sample(at.inputs[0], chosen)
                    self.nodes[at.number] = replace(at.node, stage=stage)
                at.output.lengths = batch.lengths
                self.outputs[at.number] = at.output.data[:, chosen].copy()
                if at.potentials is not None:
                    self.potentials[at.number] = at.potentials[:, chosen].copy()
        freeze(twin)

    @check.operation
    def explain(self, of: Unit, index: int | tuple[int, ...], time: object) -> Explanation:
        """Return the parts of a neuron's potential at a step."""
        neurons, at = _explainable(of), of.last.number
        if at not in self.potentials:
            raise TypeError(f"{of.name} saves no potential for backward that could be explained")
        fired = self.outputs[at]
        u = self.potentials[at]
        time = check.index("time", time, min(self.steps, len(u)), "steps")
        column: Any = (0, *check.neuron_index(u.shape[2:], index, "index"))
        spikes = to_numpy(fired[(slice(None), *column)])
        # The gradient of the potential with respect to the weighted input at each step, and the part of each spike.
        seed, of_spikes = neurons.parts_at(spikes, time, column[1:], u.shape[2:])
        earlier = np.flatnonzero(spikes[:time])
        refraction = of_spikes[earlier]
        counts = refraction != 0
        sources, bias = self._sources(of.last, column, seed)
        explanation = Explanation(
            layer=of.name,
            index=column[1:],
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

    def _sources(self, neurons: GraphNode, column: Any, seed: Array) -> tuple[tuple[Source, ...], float]:
        """Return the layers whose spikes reach neurons through linear stages, and the share of constants."""
        from cuslayer.kernels.synapse.conv.winograd import exact_zeros  # imports Numba

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

    def _weighted_input(self, neurons: GraphNode, between: list[int], leaves: dict[int, Tensor]) -> Tensor:
        """Return the input of neurons, from the spikes before the linear stages between."""
        values: dict[int, Any] = dict(leaves)
        for node, inputs in flow([self.nodes[number] for number in between], neurons.inputs[0], values):
            values[node.number] = node(*inputs)
        return values[neurons.inputs[0]]

    def _source(self, number: int, gradient: Array | None) -> Source:
        """Return the shares of one layer's spikes, from the gradient at them."""
        x = self.outputs[number]
        shares = np.zeros(x[:, 0].shape) if gradient is None else to_numpy(gradient * x)[:, 0].astype(np.float64)
        steps, *axes = np.nonzero(shares)
        spikes = Spikes(steps, np.stack(axes, axis=1), shares[(steps, *axes)])
        if number == INPUT:
            return Source("input", None, shares.sum(axis=0), spikes, None)
        unit = self.units[number]
        return Source(unit.name, unit.address, shares.sum(axis=0), spikes, partial(self.explain, unit))


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


def _check_sum(e: Explanation) -> None:
    found = e.filtered + e.refractory + e.bias
    size = 1.0 + sum(float(abs(source.spikes.share).sum()) for source in e.sources) + abs(e.refractory) + abs(e.bias)
    if not abs(found - e.potential) <= _ROUNDING * size:
        raise ValueError(
            f"the parts of {e.layer} sum to {found:g}, not to u = {e.potential:g}: a stage before it is not "
            f"linear, or draws or normalizes in training; net.eval() explains the network in evaluation"
        )


def _explainable(unit: Unit) -> Neuron:
    """Return the neurons of a unit; raise TypeError if it has none, or if their potential cannot be decomposed."""
    neurons = unit.model
    if neurons is None:
        raise TypeError(f"{unit.name} has no neurons")
    if neurons.parts == "none":
        kind = type(neurons).__name__
        raise TypeError(f"{unit.name} has {kind} neurons, whose potential is no sum over spikes")
    return neurons


class Spike(NamedTuple):
    """An input spike and its share of the potential.

    Attributes:
        time: the step of the spike.
        sender: the index of the neuron or pixel that sent it.
        share: its contribution to the explained potential.
    """

    time: int
    sender: Index
    share: float


class Part(NamedTuple):
    """A part of a potential.

    Attributes:
        name: its source.
        size: its value.
        times: the steps of its spikes; empty for a part of several neurons.
    """

    name: str
    size: float
    times: Array


class Spikes(Sequence[Spike]):
    """Spikes and their shares, largest first: a sequence of `Spike`, and arrays.

    Attributes:
        time: the steps, (k,).
        sender: the indices of the neurons or pixels that sent them, (k, axes).
        share: the shares, (k,).
    """

    def __init__(self, time: Array, sender: Array, share: Array) -> None:
        order = np.argsort(-abs(share), kind="stable")
        self.time, self.sender, self.share = time[order], sender[order], share[order]

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return Spike(int(self.time[at]), tuple(self.sender[at].tolist()), float(self.share[at]))

    def __repr__(self) -> str:
        return f"Spikes({len(self)}, shares of {self.share.sum():.4g})"


@dataclass(frozen=True)
class Source:
    """A layer whose spikes reach the explained neuron through linear stages, and their contributions.

    Attributes:
        layer: the name of the layer, or "input" for the network's input.
        address: its address; None for the network's input.
        contributions: the contribution of each of its neurons, in their shape.
        spikes: its spikes with a share, largest first. For real-valued input, each nonzero value is one.
        explain: explains one of its neurons at a step; None for the network's input.
    """

    layer: str
    address: Address | None
    contributions: Array
    spikes: Spikes
    explain: Callable[[Index, int], Explanation] | None = field(compare=False)

    @property
    def place(self) -> str:
        """The name of the source: "layer 2.0.1" or "the network's input"."""
        return "the network's input" if self.address is None else self.layer.partition(" (")[0]


@dataclass(frozen=True, repr=False)
class Explanation:
    """The parts of a neuron's potential at one time: its inputs, refraction, biases, and the rest.

    ``potential = contributions.sum() + refractory + bias + unexplained``

    The inputs are the spikes of one layer, or of several if branches join before the neuron: the `sources`.

    Attributes:
        layer: the name of the layer.
        index: the index of the neuron.
        time: the step.
        sample: the sample.
        dt: the step in ms.
        theta: the threshold, rounded to the potential's dtype, in which the neuron compares them.
        potential: the membrane potential u.
        sources: the layers of the input, each with its contributions, in the order in which they run.
        refractory: the contribution of the neuron's own earlier spikes.
        refractory_spikes: these earlier spikes with their shares.
        fired: whether the neuron fired.
        exact: whether contributions, refraction and bias sum to the potential, and `unexplained` is 0.
        bias: the contribution of biases and of other constants of layers.
    """

    layer: str
    index: Index
    time: int
    sample: int
    dt: float
    theta: float
    potential: float
    sources: tuple[Source, ...]
    refractory: float
    refractory_spikes: Spikes
    fired: bool
    exact: bool
    bias: float = 0.0

    @property
    def contributions(self) -> Array:
        """The contribution of each input, in the shape of the source; several sources are flat, one after the other."""
        if len(self.sources) == 1:
            return self.sources[0].contributions
        return np.concatenate([source.contributions.ravel() for source in self.sources])

    @property
    def spikes(self) -> Spikes:
        """The input spikes with a share, largest first; for several sources, with flat indices of `contributions`."""
        if len(self.sources) == 1:
            return self.sources[0].spikes
        numbers = []
        for source, first in zip(self.sources, self._firsts(), strict=True):
            flat = np.ravel_multi_index(tuple(source.spikes.sender.T), source.contributions.shape)
            numbers.append(first + flat[:, None])
        of_all = [[getattr(source.spikes, name) for source in self.sources] for name in ("time", "share")]
        return Spikes(np.concatenate(of_all[0]), np.concatenate(numbers), np.concatenate(of_all[1]))

    def _firsts(self) -> list[int]:
        """Return the flat index in `contributions` of each source's first neuron."""
        return [0, *np.cumsum([source.contributions.size for source in self.sources]).tolist()][:-1]

    @property
    def margin(self) -> float:
        """The potential minus the threshold."""
        return self.potential - self.theta

    @property
    def filtered(self) -> float:
        """The potential before refraction: the sum of all contributions."""
        return float(self.contributions.sum())

    @property
    def unexplained(self) -> float:
        """The rest of the potential beyond response and refraction; 0 if the parts are exact."""
        return 0.0 if self.exact else self.potential - self.filtered - self.refractory - self.bias

    @check.operation("explain")
    def parts(self, most: int = 10) -> list[Part]:
        """Return parts that sum to the potential: the largest inputs, all others as one, and refraction.

        Args:
            most: number of inputs with their own part.

        Raises:
            ValueError: most is negative.
            TypeError: most is not an integer.
        """
        flat = self.contributions.ravel()
        nonzero = np.flatnonzero(flat)
        order = nonzero[np.argsort(-abs(flat[nonzero]), kind="stable")]
        named, others = np.split(order, [check.integer("most", most, least=0)])
        rows, firsts = [], self._firsts()
        for number in named.tolist():
            at = int(np.searchsorted(firsts, number, side="right")) - 1
            source = self.sources[at]
            index = np.unravel_index(number - firsts[at], source.contributions.shape)
            its_own = (source.spikes.sender == np.array(index)).all(axis=1)
            name = f"input {_index_text(index)}" + (f" of {source.place}" if len(self.sources) > 1 else "")
            rows.append(Part(name, float(flat[number]), np.sort(source.spikes.time[its_own])))
        if len(others):
            name = f"{len(others)} other input{'s' * (len(others) > 1)}"
            rows.append(Part(name, float(flat[others].sum()), np.empty(0, np.int64)))
        if len(self.refractory_spikes):
            rows.append(Part("refraction", self.refractory, np.sort(self.refractory_spikes.time)))
        if self.bias:
            rows.append(Part("bias", self.bias, np.empty(0, np.int64)))
        if not self.exact:
            rows.append(Part("not explained", self.unexplained, np.empty(0, np.int64)))
        return rows

    @check.operation
    def trace(self, depth: int = 1, *, most: int = 3) -> Trace:
        """Explain the largest spikes in turn, through the layers before, down to events of the input.

        Args:
            depth: number of layers to follow; the trace ends at the input.
            most: number of spikes of each neuron to follow, by the size of their share.

        Raises:
            ValueError: depth or most is below 1.
            TypeError: depth or most is not an integer.
        """
        check.integer("depth", depth, least=1)
        count = check.integer("most", most, least=1)
        largest = [(spike, source) for source in self.sources for spike in source.spikes[:count]]
        branches, places = [], []
        for spike, source in sorted(largest, key=lambda found: -abs(found[0].share))[:count]:
            again = source.explain
            why = again(spike.sender, spike.time).trace(depth - 1, most=most) if depth > 1 and again else None
            branches.append(Branch(spike, again is None, why))
            places.append(source.place)
        return Trace(self, tuple(branches), tuple(places))

    @check.operation
    def plot(self, ax: Axes | None = None, *, most: int = 10) -> Any:
        """Draw a waterfall: each part starts at the end of the one before, the last ends at u; a line marks theta.

        Args:
            ax: matplotlib axes; by default of a new figure, `ax.figure`.
            most: number of inputs with their own bar.

        Returns:
            The axes.
        """
        parts = self.parts(most)
        ax = axes(ax, (7.0, 0.6 + 0.3 * (len(parts) + 3)))
        colors, end = palette(ax), 0.0
        for row, part in enumerate(parts):
            start, end = end, end + part.size
            shade = colors.vermilion if part.size > 0 else colors.blue
            ax.barh(row, part.size, left=start, color=shade, height=0.7)
            if row:
                ax.plot([start, start], [row - 1, row], color=colors.faint, linewidth=0.8)
        ax.barh(len(parts), end, color=colors.ink, height=0.7)
        ax.axvline(self.theta, color=colors.faint, linestyle="--", label="threshold")
        ax.set_yticks(range(len(parts) + 1), [*(part.name for part in parts), "u"])
        ax.invert_yaxis()
        ax.set_xlabel("part of the potential (a.u.)")
        _title(ax, self.headline())
        return open_frame(ax, legend=True)

    @check.operation
    def plot_map(self, ax: Axes | None = None, *, channel: int | None = None, source: int = 0) -> Any:
        """Draw the contribution of each pixel of an input (H, W, C): red is excitatory, blue inhibitory.

        Args:
            ax: matplotlib axes; by default of a new figure, `ax.figure`.
            channel: one channel; by default the sum over channels.
            source: the number of the source to draw, if there are several.

        Returns:
            The axes.

        Raises:
            ValueError: the source is not (H, W, C).
            IndexError: there is no such source, or it has no such channel.
        """
        drawn = self.sources[check.index("source", source, len(self.sources))].contributions
        if len(drawn.shape) != 3:
            raise ValueError(f"the input of {self.layer} must be (H, W, C), it is {drawn.shape}")
        title, shown = self.headline(), drawn.sum(axis=2)
        if channel is not None:
            channel = check.index("channel", channel, drawn.shape[2])
            title, shown = f"{title}, channel {channel}", drawn[..., channel]
        ax = axes(ax, (5.0, 4.4))
        most = float(abs(shown).max(initial=0.0)) or 1.0  # a map of zeros needs a scale too
        image = ax.imshow(shown, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        color_bar(image, "part of the potential (a.u.)")
        ax.set(xlabel="column", ylabel="row")
        _title(ax, title)
        return ax

    def headline(self) -> str:
        """Return one line: the neuron, the step, and the distance from the threshold."""
        side = "over" if self.fired else "under"
        at = f"{self.time * self.dt:g} ms (step {self.time}), sample {self.sample}"
        return (
            f"{self.layer}, neuron {_index_text(self.index)} at {at}: {'fired' if self.fired else 'silent'}, "
            f"u = {self.potential:.4g} is {abs(self.margin):.4g} {side} theta = {self.theta:g}"
        )

    def __repr__(self) -> str:
        rows = [(part.name, part.size, self._when(part.times)) for part in self.parts()]
        rows.append(("u", self.potential, ""))
        width = max(len(name) for name, *_ in rows)
        return "\n".join([self.headline(), *(f"  {name:<{width}}  {size:+12.4f}{when}" for name, size, when in rows)])

    def _when(self, times: Array) -> str:
        if not len(times):
            return ""
        shown = ", ".join(f"{t * self.dt:g}" for t in times[-4:].tolist())
        return f"  {len(times)} spike{'s' * (len(times) > 1)} at {'..., ' * (len(times) > 4)}{shown} ms"


class Branch(NamedTuple):
    """A spike that a trace follows.

    Attributes:
        spike: the spike and its share of the potential above it.
        is_event: whether it is an event of the network's input.
        why: the trace of the neuron that fired it; None at the input and at the end of the trace.
    """

    spike: Spike
    is_event: bool
    why: Trace | None


@dataclass(frozen=True, repr=False)
class Trace:
    """An explanation and the explanations of its largest spikes. Prints as a tree.

    Attributes:
        explanation: the explanation of the neuron at the top.
        branches: its largest spikes and their traces.
        sources: where the spike of each branch comes from, such as "layer 2.0.1".
    """

    explanation: Explanation
    branches: tuple[Branch, ...]
    sources: tuple[str, ...]

    @property
    def events(self) -> tuple[tuple[int, Index], ...]:
        """The events of the network's input that the trace reaches, (step, index) each, in order of time."""
        direct = {(b.spike.time, b.spike.sender) for b in self.branches if b.is_event}
        deeper = (event for b in self.branches if b.why is not None for event in b.why.events)
        return tuple(sorted(direct.union(deeper)))

    def __repr__(self) -> str:
        return "\n".join([self.explanation.headline(), *self._lines("  ")])

    def _lines(self, indent: str) -> list[str]:
        lines = []
        several = len(self.explanation.sources) > 1
        for (spike, is_event, why), source in zip(self.branches, self.sources, strict=True):
            what = "input event" if is_event else f"spike of {source}, neuron" if several else "spike of neuron"
            at = f"at {spike.time * self.explanation.dt:g} ms"
            potential = "" if why is None else f", u = {why.explanation.potential:.4g}"
            lines.append(f"{indent}{spike.share:+.4f} {what} {_index_text(spike.sender)} {at}{potential}")
            if why is not None:
                refraction = why.explanation.refractory
                if len(why.explanation.refractory_spikes):
                    lines.append(f"{indent}  {refraction:+.4f} refraction")
                lines += why._lines(indent + "  ")
        return lines


def _index_text(index: Index) -> str:
    """Return the index of a neuron as text: a number, or (row, column, channel)."""
    numbers = [str(int(n)) for n in index]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"


def _title(ax: Axes, title: str) -> None:
    broken = title.replace(", neuron", ",\nneuron", 1).replace(": ", ":\n", 1)
    ax.set_title(broken, loc="left", fontsize="small")
