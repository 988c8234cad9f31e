"""The parts of a neuron's potential at a step, or of the sum over its spikes: tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.network.graph import Address
from cuslayer.plot.style import axes, color_bar, open_frame, palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Index: TypeAlias = "tuple[int, ...]"


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
    explain: Callable[[Index, int], Any] | None = field(compare=False)

    @property
    def place(self) -> str:
        """The name of the source: "layer 2.0.1" or "the network's input"."""
        return "the network's input" if self.address is None else self.layer.partition(" (")[0]


@dataclass(frozen=True, repr=False, kw_only=True)
class Decomposition:
    """The parts of a potential, or of a sum of potentials: inputs, refraction, biases, rest, and what is left.

    ``potential = contributions.sum() + refractory + bias + rest + unexplained``

    The inputs are the spikes of one layer, or of several if branches join before the neuron: the `sources`.

    Attributes:
        layer: the name of the layer.
        index: the index of the neuron.
        sample: the sample.
        dt: the step in ms.
        potential: the membrane potential u, or the sum of potentials.
        sources: the layers of the input, each with its contributions, in the order in which they run.
        refractory: the contribution of the neuron's own earlier spikes.
        refractory_spikes: these earlier spikes with their shares.
        bias: the contribution of biases and of other constants of layers.
        exact: whether the parts are the terms of a sum that is the potential, so that `unexplained` is 0.
        rest: the contribution of the states' start and of a drive of the step: the potential without input and spikes.
    """

    layer: str
    index: Index
    sample: int
    dt: float
    potential: float
    sources: tuple[Source, ...]
    refractory: float
    refractory_spikes: Spikes
    exact: bool
    bias: float = 0.0
    rest: float = 0.0

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
    def filtered(self) -> float:
        """The potential before refraction: the sum of all contributions."""
        return float(self.contributions.sum())

    @property
    def left(self) -> float:
        """The potential minus all parts."""
        return self.potential - self.filtered - self.refractory - self.bias - self.rest

    @property
    def unexplained(self) -> float:
        """What the parts leave of the potential; 0 if they are exact, up to rounding."""
        return 0.0 if self.exact else self.left

    @property
    def size(self) -> float:
        """The sum of the absolute values of all shares, plus 1: the measure of rounding."""
        of_inputs = sum(float(abs(source.spikes.share).sum()) for source in self.sources)
        return 1.0 + of_inputs + abs(self.refractory) + abs(self.bias) + abs(self.rest)

    @check.operation("explain")
    def parts(self, most: int = 10) -> list[Part]:
        """Return parts that sum to the potential: the largest inputs, all others as one, refraction, and the rest.

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
            name = f"input {index_text(index)}" + (f" of {source.place}" if len(self.sources) > 1 else "")
            rows.append(Part(name, float(flat[number]), np.sort(source.spikes.time[its_own])))
        if len(others):
            name = f"{len(others)} other input{'s' * (len(others) > 1)}"
            rows.append(Part(name, float(flat[others].sum()), np.empty(0, np.int64)))
        if self.refractory or len(self.refractory_spikes):
            rows.append(Part("refraction", self.refractory, np.sort(self.refractory_spikes.time)))
        if self.bias:
            rows.append(Part("bias", self.bias, np.empty(0, np.int64)))
        if self.rest:
            rows.append(Part("rest", self.rest, np.empty(0, np.int64)))
        if not self.exact:
            rows.append(Part("not explained", self.unexplained, np.empty(0, np.int64)))
        return rows

    @check.operation
    def plot(self, ax: Axes | None = None, *, most: int = 10) -> Any:
        """Draw a waterfall: each part starts at the end of the one before, the last ends at the potential.

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
        theta = self._threshold()
        if theta is not None:
            ax.axvline(theta, color=colors.faint, linestyle="--", label="threshold")
        ax.set_yticks(range(len(parts) + 1), [*(part.name for part in parts), self._whole()])
        ax.invert_yaxis()
        ax.set_xlabel("part of the potential (a.u.)")
        _title(ax, self.headline())
        return open_frame(ax, legend=theta is not None)

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
        """Return one line: the neuron, and what is explained."""
        raise NotImplementedError

    def _whole(self) -> str:
        """Return the name of the sum of all parts."""
        return "u"

    def _threshold(self) -> float | None:
        """Return the threshold to which the sum is compared; None without one."""
        return None

    def __repr__(self) -> str:
        rows = [(part.name, part.size, self._when(part.times)) for part in self.parts()]
        rows.append((self._whole(), self.potential, ""))
        width = max(len(name) for name, *_ in rows)
        return "\n".join([self.headline(), *(f"  {name:<{width}}  {size:+12.4f}{when}" for name, size, when in rows)])

    def _when(self, times: Array) -> str:
        if not len(times):
            return ""
        shown = ", ".join(f"{t * self.dt:g}" for t in times[-4:].tolist())
        return f"  {len(times)} spike{'s' * (len(times) > 1)} at {'..., ' * (len(times) > 4)}{shown} ms"


def index_text(index: Index) -> str:
    """Return the index of a neuron as text: a number, or (row, column, channel)."""
    numbers = [str(int(n)) for n in index]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"


def _title(ax: Axes, title: str) -> None:
    broken = title.replace(", neuron", ",\nneuron", 1).replace(": ", ":\n", 1)
    ax.set_title(broken, loc="left", fontsize="small")
