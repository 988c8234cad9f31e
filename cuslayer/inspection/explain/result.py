"""Why a neuron fired, or why not: the parts of its potential at one time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.inspection.explain.plot import draw_map, draw_waterfall

Place: TypeAlias = "tuple[int, ...]"


class Spike(NamedTuple):
    """A spike that came in, and its share of the potential.

    Attributes:
        time: the step at which it came.
        neuron: the place of the input that it came from.
        share: what it adds to the potential at the time explained.
    """

    time: int
    neuron: Place
    share: float


class Part(NamedTuple):
    """A part of a potential.

    Attributes:
        name: what it comes from.
        size: how much it is.
        times: the steps of the spikes that make it; none where they are many neurons'.
    """

    name: str
    size: float
    times: Array


class Spikes(Sequence[Spike]):
    """Spikes and their shares, largest first: a sequence of `Spike`, and the same as arrays.

    Attributes:
        time: the steps, (k,).
        neuron: the places, (k, axes).
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


@dataclass(frozen=True, repr=False)
class Explanation:
    """The parts of a neuron's potential at one time: ``potential = contributions.sum() + refractory + unexplained``.

    Attributes:
        layer: the layer, as text.
        neuron: the neuron's place.
        time: the step.
        sample: the sample.
        dt: the step in ms.
        theta: the threshold, in the number type of the potential, as the neuron compares them.
        potential: the membrane potential u.
        contributions: what each input neuron adds to it, of the shape of the layer's input.
        spikes: the spikes that came in and add to it, largest share first. Of an input of numbers, each that is not 0
            is one.
        refractory: what the neuron's own earlier spikes take away.
        refractory_spikes: those earlier spikes, and the share of each.
        fired: whether the neuron fired.
        exact: whether the neuron's potential is the sum of its parts, so that nothing is left unexplained.
        explain_previous_layer: explains a neuron of the layer before at a step; None before the first.
    """

    layer: str
    neuron: Place
    time: int
    sample: int
    dt: float
    theta: float
    potential: float
    contributions: Array
    spikes: Spikes
    refractory: float
    refractory_spikes: Spikes
    fired: bool
    exact: bool
    explain_previous_layer: Callable[[Place, int], Explanation] | None = field(compare=False)

    @property
    def margin(self) -> float:
        """How far the potential is over the threshold; negative where it is under it."""
        return self.potential - self.theta

    @property
    def filtered(self) -> float:
        """The potential before refraction: the sum of all contributions."""
        return float(self.contributions.sum())

    @property
    def unexplained(self) -> float:
        """What response and refraction leave of the potential: 0 where the parts are exact."""
        return 0.0 if self.exact else self.potential - self.filtered - self.refractory

    def parts(self, most: int = 10) -> list[Part]:
        """Return parts that sum to the potential: the inputs that count most, all others as one, and refraction.

        Args:
            most: how many inputs are a part of their own.

        Raises:
            ValueError: most is negative.
            TypeError: most is no integer.
        """
        flat = self.contributions.ravel()
        there = np.flatnonzero(flat)
        order = there[np.argsort(-abs(flat[there]), kind="stable")]
        named, others = np.split(order, [check.integer("explain", "most", most, least=0)])
        rows = []
        for number in named.tolist():
            where = np.unravel_index(number, self.contributions.shape)
            mine = (self.spikes.neuron == np.array(where)).all(axis=1)
            rows.append(Part(f"input {placed(where)}", float(flat[number]), np.sort(self.spikes.time[mine])))
        if len(others):
            name = f"{len(others)} other input{'s' * (len(others) > 1)}"
            rows.append(Part(name, float(flat[others].sum()), np.empty(0, np.int64)))
        if len(self.refractory_spikes):
            rows.append(Part("refraction", self.refractory, np.sort(self.refractory_spikes.time)))
        if not self.exact:
            rows.append(Part("not explained", self.unexplained, np.empty(0, np.int64)))
        return rows

    def trace(self, depth: int = 1, *, most: int = 3) -> Trace:
        """Go on through the layers: to the spikes that count most, what made those fire, and so on to input events.

        Args:
            depth: how many layers to go through; beyond the input there is nothing to go to.
            most: how many spikes of each neuron to follow, those of the largest shares, whatever their sign.

        Raises:
            ValueError: depth or most is under 1.
            TypeError: depth or most is no integer.
        """
        check.integer("trace", "depth", depth, least=1)
        followed = self.spikes[: check.integer("trace", "most", most, least=1)]
        branches = []
        for spike in followed:
            previous = self.explain_previous_layer
            why = previous(spike.neuron, spike.time).trace(depth - 1, most=most) if depth > 1 and previous else None
            branches.append(Branch(spike, previous is None, why))
        return Trace(self, tuple(branches))

    def plot(self, ax: Any = None, *, most: int = 10) -> Any:
        """Draw a waterfall: each part starts where the one before ends, the last at u; a line marks the threshold.

        Args:
            ax: matplotlib axes; by default those of a new figure, which is `ax.figure`.
            most: how many inputs have a bar of their own.

        Returns:
            The axes.
        """
        return draw_waterfall(ax, [part[:2] for part in self.parts(most)], self.theta, self.headline())

    def plot_map(self, ax: Any = None, *, channel: int | None = None) -> Any:
        """Draw what each pixel of an input (H, W, C) contributes, red what drives and blue what holds back.

        Args:
            ax: matplotlib axes; by default those of a new figure, which is `ax.figure`.
            channel: one channel; by default their sum.

        Returns:
            The axes.

        Raises:
            ValueError: the input is no image, or has no such channel.
        """
        shape = self.contributions.shape
        if len(shape) != 3:
            raise ValueError(f"plot_map: the input of {self.layer} must be (H, W, C), it is {shape}")
        if channel is None:
            return draw_map(ax, self.contributions.sum(axis=2), self.headline())
        if check.integer("plot_map", "channel", channel, least=0) >= shape[2]:
            raise ValueError(f"plot_map: channel must be under {shape[2]}, got {channel}")
        return draw_map(ax, self.contributions[..., channel], f"{self.headline()}, channel {channel}")

    def headline(self) -> str:
        """Return in one line who is explained, and how far from the threshold it is."""
        side = "over" if self.fired else "under"
        at = f"{self.time * self.dt:g} ms (step {self.time}), sample {self.sample}"
        return (
            f"{self.layer}, neuron {placed(self.neuron)} at {at}: {'fired' if self.fired else 'silent'}, "
            f"u = {self.potential:.4g} is {abs(self.margin):.4g} {side} theta = {self.theta:g}"
        )

    def __repr__(self) -> str:
        rows = [(part.name, part.size, self._when(part.times)) for part in self.parts()]
        rows.append(("u", self.potential, ""))
        width = max(len(name) for name, *_ in rows)
        return "\n".join([self.headline(), *(f"  {name:<{width}}  {size:+12.4f}{when}" for name, size, when in rows)])

    def _when(self, times: Array) -> str:
        """Return, for the table, when the spikes of a part came."""
        if not len(times):
            return ""
        shown = ", ".join(f"{t * self.dt:g}" for t in times[-4:].tolist())
        return f"  {len(times)} spike{'s' * (len(times) > 1)} at {'..., ' * (len(times) > 4)}{shown} ms"


class Branch(NamedTuple):
    """A spike that a trace follows.

    Attributes:
        spike: it, and its share of what it led to.
        is_event: whether it is an event of the network's own input.
        why: why it was fired, as far as the trace goes.
    """

    spike: Spike
    is_event: bool
    why: Trace | None


@dataclass(frozen=True, repr=False)
class Trace:
    """An explanation, and the explanations of the spikes behind it. Prints as a tree.

    Attributes:
        explanation: of the neuron at the top.
        branches: the spikes that count most, and what led to them.
    """

    explanation: Explanation
    branches: tuple[Branch, ...]

    @property
    def events(self) -> tuple[tuple[int, Place], ...]:
        """The events of the network's input that the trace reaches, (step, place) each, in the order of time."""
        mine = {(b.spike.time, b.spike.neuron) for b in self.branches if b.is_event}
        deeper = (event for b in self.branches if b.why is not None for event in b.why.events)
        return tuple(sorted(mine.union(deeper)))

    def __repr__(self) -> str:
        return "\n".join([self.explanation.headline(), *self._lines("  ")])

    def _lines(self, indent: str) -> list[str]:
        lines = []
        for spike, is_event, why in self.branches:
            what = "input event" if is_event else "spike of neuron"
            at = f"at {spike.time * self.explanation.dt:g} ms"
            potential = "" if why is None else f", u = {why.explanation.potential:.4g}"
            lines.append(f"{indent}{spike.share:+.4f} {what} {placed(spike.neuron)} {at}{potential}")
            if why is not None:
                refraction = why.explanation.refractory
                if len(why.explanation.refractory_spikes):
                    lines.append(f"{indent}  {refraction:+.4f} refraction")
                lines += why._lines(indent + "  ")
        return lines


def placed(place: Any) -> str:
    """Return a place as text: a number, or (row, column, channel)."""
    numbers = [str(int(n)) for n in place]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"
