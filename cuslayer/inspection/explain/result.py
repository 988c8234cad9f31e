"""The result of `explain`: the parts of a neuron's potential at one step, and traces through the layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.explain.plot import draw_map, draw_waterfall
from cuslayer.network.graph import Address

Index: TypeAlias = "tuple[int, ...]"


class Spike(NamedTuple):
    """An input spike and its share of the potential.

    Attributes:
        time: the step of the spike.
        neuron: the index of the neuron or pixel that sent it.
        share: its contribution to the explained potential.
    """

    time: int
    neuron: Index
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
        neuron: the indices, (k, axes).
        share: the shares, (k,).
    """

    def __init__(self, time: Array, neuron: Array, share: Array) -> None:
        order = np.argsort(-abs(share), kind="stable")
        self.time, self.neuron, self.share = time[order], neuron[order], share[order]

    def __len__(self) -> int:
        return len(self.share)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        return Spike(int(self.time[at]), tuple(self.neuron[at].tolist()), float(self.share[at]))

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
        """The source in a few words: "layer 2.0.1" or "the network's input"."""
        return "the network's input" if self.address is None else self.layer.partition(" (")[0]


@dataclass(frozen=True, repr=False)
class Explanation:
    """The parts of a neuron's potential at one time: its inputs, refraction, biases, and what is left.

    ``potential = contributions.sum() + refractory + bias + unexplained``

    The inputs are the spikes of one layer, or of several where branches are joined before the neuron: the `sources`.

    Attributes:
        layer: the name of the layer.
        neuron: the index of the neuron.
        time: the step.
        sample: the sample.
        dt: the step in ms.
        theta: the threshold, rounded to the dtype of the potential, in which the neuron compares them.
        potential: the membrane potential u.
        sources: the layers that the input comes from, each with its contributions, in the order in which they run.
        refractory: the contribution of the neuron's own earlier spikes.
        refractory_spikes: these earlier spikes with their shares.
        fired: whether the neuron fired.
        exact: whether contributions, refraction and bias sum to the potential, so that `unexplained` is 0.
        bias: the contribution of biases and of other constants of layers.
    """

    layer: str
    neuron: Index
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
        """The contribution of each input, in the shape of the source; flat, one source after the other, of several."""
        if len(self.sources) == 1:
            return self.sources[0].contributions
        return np.concatenate([source.contributions.ravel() for source in self.sources])

    @property
    def spikes(self) -> Spikes:
        """The input spikes with a share, largest first; of several sources, with flat indices of `contributions`."""
        if len(self.sources) == 1:
            return self.sources[0].spikes
        numbers = []
        for source, first in zip(self.sources, self._firsts(), strict=True):
            flat = np.ravel_multi_index(tuple(source.spikes.neuron.T), source.contributions.shape)
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

    def parts(self, most: int = 10) -> list[Part]:
        """Return parts that sum to the potential: the largest inputs, all others as one, and refraction.

        Args:
            most: number of inputs with a part of their own.

        Raises:
            ValueError: most is negative.
            TypeError: most is not an integer.
        """
        flat = self.contributions.ravel()
        nonzero = np.flatnonzero(flat)
        order = nonzero[np.argsort(-abs(flat[nonzero]), kind="stable")]
        named, others = np.split(order, [check.integer("explain", "most", most, least=0)])
        rows, firsts = [], self._firsts()
        for number in named.tolist():
            at = int(np.searchsorted(firsts, number, side="right")) - 1
            source = self.sources[at]
            index = np.unravel_index(number - firsts[at], source.contributions.shape)
            its_own = (source.spikes.neuron == np.array(index)).all(axis=1)
            name = f"input {index_text(index)}" + (f" of {source.place}" if len(self.sources) > 1 else "")
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

    def trace(self, depth: int = 1, *, most: int = 3) -> Trace:
        """Explain the largest spikes in turn, through the layers before, down to events of the input.

        Args:
            depth: number of layers to follow; the trace ends at the input.
            most: number of spikes of each neuron to follow, by the size of their share.

        Raises:
            ValueError: depth or most is under 1.
            TypeError: depth or most is not an integer.
        """
        check.integer("trace", "depth", depth, least=1)
        count = check.integer("trace", "most", most, least=1)
        largest = [(spike, source) for source in self.sources for spike in source.spikes[:count]]
        branches, places = [], []
        for spike, source in sorted(largest, key=lambda found: -abs(found[0].share))[:count]:
            again = source.explain
            why = again(spike.neuron, spike.time).trace(depth - 1, most=most) if depth > 1 and again else None
            branches.append(Branch(spike, again is None, why))
            places.append(source.place)
        return Trace(self, tuple(branches), tuple(places))

    def plot(self, ax: Any = None, *, most: int = 10) -> Any:
        """Draw a waterfall: each part starts at the end of the one before, the last ends at u; a line marks theta.

        Args:
            ax: matplotlib axes; by default of a new figure, `ax.figure`.
            most: number of inputs with a bar of their own.

        Returns:
            The axes.
        """
        return draw_waterfall(ax, [part[:2] for part in self.parts(most)], self.theta, self.headline())

    def plot_map(self, ax: Any = None, *, channel: int | None = None, source: int = 0) -> Any:
        """Draw the contribution of each pixel of an input (H, W, C): red is excitatory, blue inhibitory.

        Args:
            ax: matplotlib axes; by default of a new figure, `ax.figure`.
            channel: one channel; by default the sum over channels.
            source: the number of the source whose pixels are drawn, where there are several.

        Returns:
            The axes.

        Raises:
            ValueError: the source is not (H, W, C).
            IndexError: there is no such source, or it has no such channel.
        """
        drawn = self.sources[check.index("plot_map", "source", source, len(self.sources))].contributions
        if len(drawn.shape) != 3:
            raise ValueError(f"plot_map: the input of {self.layer} must be (H, W, C), it is {drawn.shape}")
        if channel is None:
            return draw_map(ax, drawn.sum(axis=2), self.headline())
        channel = check.index("plot_map", "channel", channel, drawn.shape[2])
        return draw_map(ax, drawn[..., channel], f"{self.headline()}, channel {channel}")

    def headline(self) -> str:
        """Return one line: the neuron, the step, and the distance from the threshold."""
        side = "over" if self.fired else "under"
        at = f"{self.time * self.dt:g} ms (step {self.time}), sample {self.sample}"
        return (
            f"{self.layer}, neuron {index_text(self.neuron)} at {at}: {'fired' if self.fired else 'silent'}, "
            f"u = {self.potential:.4g} is {abs(self.margin):.4g} {side} theta = {self.theta:g}"
        )

    def __repr__(self) -> str:
        rows = [(part.name, part.size, self._when(part.times)) for part in self.parts()]
        rows.append(("u", self.potential, ""))
        width = max(len(name) for name, *_ in rows)
        return "\n".join([self.headline(), *(f"  {name:<{width}}  {size:+12.4f}{when}" for name, size, when in rows)])

    def _when(self, times: Array) -> str:
        """Return the last spike times of a part as text for the table."""
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
        direct = {(b.spike.time, b.spike.neuron) for b in self.branches if b.is_event}
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
            lines.append(f"{indent}{spike.share:+.4f} {what} {index_text(spike.neuron)} {at}{potential}")
            if why is not None:
                refraction = why.explanation.refractory
                if len(why.explanation.refractory_spikes):
                    lines.append(f"{indent}  {refraction:+.4f} refraction")
                lines += why._lines(indent + "  ")
        return lines


def index_text(index: Any) -> str:
    """Return the index of a neuron as text: a number, or (row, column, channel)."""
    numbers = [str(int(n)) for n in index]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"
