"""What `explain` returns: the parts of a potential, their sum over a recording, their causes, and counterfactuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.inspection.decomposition import Decomposition, Index, Spike, index_text


class Asked(Protocol):
    """Answers further questions about an explained neuron, by the network that was explained."""

    def total(self, explanation: Explanation, over: str, depth: int | None) -> Total:
        """Return the sum of the parts over a recording."""

    def without(
        self,
        explanation: Explanation,
        spikes: Sequence[tuple[int, Index]],
        inputs: Sequence[int | Index],
        weights: Sequence[Index],
        source: int,
    ) -> Counterfactual:
        """Return what the neuron does if the network runs again, changed."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Explanation(Decomposition):
    """The parts of a neuron's potential at one time: its inputs, refraction, biases, and the rest.

    See `Decomposition` for the parts.

    Attributes:
        time: the step.
        theta: the threshold, rounded to the potential's dtype, in which the neuron compares them.
        fired: whether the neuron fired.
        asked: what answers `total` and `without`.
    """

    time: int
    theta: float
    fired: bool
    asked: Asked = field(compare=False)

    @property
    def margin(self) -> float:
        """The potential minus the threshold."""
        return self.potential - self.theta

    @check.operation
    def total(self, over: str = "spikes", *, depth: int | None = None) -> Total:
        """Sum the parts of the neuron's potential over its recording: which inputs made it fire.

        A spike of a layer before is divided among its own parts in proportion: of a share r, an input of part p gets
        ``r p / u``, u the potential at which the spike was fired. So the sum reaches the network's input, and remains
        complete.

        Args:
            over: "spikes", the steps at which the neuron fired, or "steps", all of them.
            depth: number of layers to follow, 1 for the inputs of this layer; by default down to the input.

        Returns:
            The sums: they print as a table, `plot` draws a waterfall, and `plot_map` an image of the input.

        Raises:
            ValueError: over is unknown, depth is below 1, or neurons of a layer before cannot be explained.
            TypeError: depth is not an integer.

        Source: the division is that of Bach et al. 2015, "On pixel-wise explanations for non-linear classifier
        decisions by layer-wise relevance propagation", doi 10.1371/journal.pone.0130140.

        >>> import numpy as np
        >>> from cuslayer.inspection.explain import explain
        >>> from cuslayer.layers import Dense
        >>> from cuslayer.network import Sequential
        >>> from cuslayer.neurons import LIF
        >>> net = Sequential(Dense(2, 1), LIF(tau=10.0, theta=1.0))
        >>> net[0].weight.data[:] = [[1.5], [-0.25]]
        >>> explain(net, np.ones((3, 1, 2), bool), layer=1, index=0, time=2).total()
        layer 1 (Dense(2, 1), LIF), neuron 0, sample 0: the sum of u over 3 spikes
          input 0        +4.5000  3 spikes at 0, 1, 2 ms
          input 1        -0.7500  3 spikes at 0, 1, 2 ms
          sum of u       +3.7500
        """
        check.one_of("over", over, ("spikes", "steps"))
        layers = None if depth is None else check.integer("depth", depth, least=1)
        return self.asked.total(self, over, layers)

    @check.operation
    def without(
        self,
        *,
        spikes: Sequence[tuple[int, Index]] = (),
        inputs: Sequence[int | Index] = (),
        weights: Sequence[Index] = (),
        source: int = 0,
    ) -> Counterfactual:
        """Run the network again without some spikes, inputs or weights, and return what the neuron then does.

        The run is exact: the same as of a network, or an input, that is changed by hand, draws in training included.

        Args:
            spikes: spikes of a source to leave out: each a `Spike`, or (step, index).
            inputs: the neurons or pixels of a source of which no spike arrives, as flat indices or tuples.
            weights: indices into the weight of the neuron's layer, (input, output) of `Dense`; these become 0.
            source: the number of the source in `sources`, if there are several.

        Raises:
            ValueError: nothing is left out, there is no such spike, the layer has no weight, or the source is the
                recurrent input.
            IndexError: an index is out of range.
            TypeError: an index is not of integers.

        >>> import numpy as np
        >>> from cuslayer.inspection.explain import explain
        >>> from cuslayer.layers import Dense
        >>> from cuslayer.network import Sequential
        >>> from cuslayer.neurons import LIF
        >>> net = Sequential(Dense(2, 1), LIF(tau=10.0, theta=1.0))
        >>> net[0].weight.data[:] = [[1.5], [-0.25]]
        >>> why = explain(net, np.ones((3, 1, 2), bool), layer=1, index=0, time=2)
        >>> why.without(spikes=[(2, (0,))])
        layer 1 (Dense(2, 1), LIF), neuron 0 at 2 ms (step 2), sample 0: silent without 1 spike, u = -0.25 (-1.5)
        >>> why.without(inputs=[1]).fired, why.without(weights=[(0, 0)]).fired
        (True, False)
        """
        return self.asked.without(self, spikes, inputs, weights, source)

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

    def headline(self) -> str:
        """Return one line: the neuron, the step, and the distance from the threshold."""
        side = "over" if self.fired else "under"
        return (
            f"{self.place()}: {'fired' if self.fired else 'silent'}, "
            f"u = {self.potential:.4g} is {abs(self.margin):.4g} {side} theta = {self.theta:g}"
        )

    def place(self) -> str:
        """Return the neuron, the step and the sample in words."""
        at = f"{self.time * self.dt:g} ms (step {self.time}), sample {self.sample}"
        return f"{self.layer}, neuron {index_text(self.index)} at {at}"

    def _threshold(self) -> float | None:
        return self.theta


@dataclass(frozen=True, repr=False, kw_only=True)
class Total(Decomposition):
    """The sum of the parts of a neuron's potential over its spikes, or over all steps of a recording.

    See `Decomposition` for the parts. The refraction, the biases and the rest include those of the layers before that
    the sum has followed.

    Attributes:
        over: "spikes" or "steps".
        times: the steps whose potentials are added, (k,).
    """

    over: str
    times: Array

    def headline(self) -> str:
        """Return one line: the neuron, and the number of spikes or steps."""
        count = len(self.times)
        what = self.over if count != 1 else self.over[:-1]
        return f"{self.layer}, neuron {index_text(self.index)}, sample {self.sample}: the sum of u over {count} {what}"

    def _whole(self) -> str:
        return "sum of u"


@dataclass(frozen=True, repr=False, kw_only=True)
class Counterfactual:
    """What a neuron does if its network runs again, changed.

    Attributes:
        explanation: the explanation of the neuron in the network as it is.
        change: what is left out, in words.
        potential: its potential at the explained step.
        fired: whether it fires at that step.
        times: the steps at which it fires, (k,).
        times_before: the steps at which it fired in the network as it is, (k,).
    """

    explanation: Explanation
    change: str
    potential: float
    fired: bool
    times: Array
    times_before: Array

    @property
    def difference(self) -> float:
        """The change of the potential."""
        return self.potential - self.explanation.potential

    def __repr__(self) -> str:
        what = "fires" if self.fired else "silent"
        potential = f"u = {self.potential:.4g} ({self.difference:+.4g})"
        return f"{self.explanation.place()}: {what} without {self.change}, {potential}"


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
            lines.append(f"{indent}{spike.share:+.4f} {what} {index_text(spike.sender)} {at}{potential}")
            if why is not None:
                refraction = why.explanation.refractory
                if len(why.explanation.refractory_spikes):
                    lines.append(f"{indent}  {refraction:+.4f} refraction")
                lines += why._lines(indent + "  ")
        return lines
