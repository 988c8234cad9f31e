"""The result of `compare_gradients`: a table and a plot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.network.graph import Address
from cuslayer.plot.axes import axes, open_frame
from cuslayer.plot.style import palette

MODES = ("slayer", "exact")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Measured and predicted changes of the loss, for one layer and one kind of perturbation.

    Attributes:
        layer: the address of the neurons, or of the layer where it has none.
        name: the layer, as text.
        perturbed: what was perturbed: "weight" (or another parameter), "potential", or a spike: "shift", "add",
            "remove".
        measured: the measured changes, (k,): per unit length for small perturbations, total for spikes.
        slayer: the changes that the slayer gradient predicts, (k,).
        exact: the changes that the exact gradient predicts, (k,).
        agreement: the cosine and the ratio of the whole slayer gradient to the whole exact one; it does not depend on
            the perturbations.
    """

    layer: Address
    name: str
    perturbed: str
    measured: Array
    slayer: Array
    exact: Array
    agreement: tuple[float, float]

    def cosine(self, mode: str) -> float:
        """Return the cosine between predicted and measured changes, nan where either is all 0.

        1: the gradient is right up to its size. 0: it is unrelated to the change. Below 0: it has the wrong sign.

        Raises:
            ValueError: mode is neither "slayer" nor "exact".
        """
        return cosine(self._predicted(mode), self.measured)

    def ratio(self, mode: str) -> float:
        """Return the root mean square of the predicted changes over that of the measured ones, nan where that is 0.

        The slope of measured over predicted changes is ``cosine / ratio``.

        Raises:
            ValueError: mode is neither "slayer" nor "exact".
        """
        return ratio(self._predicted(mode), self.measured)

    def _predicted(self, mode: str) -> Array:
        check.one_of("compare_gradients", "mode", mode, MODES)
        found: Array = getattr(self, mode)
        return found

    def __repr__(self) -> str:
        modes = ", ".join(f"{m} cosine {_shown(self.cosine(m))} ratio {_shown(self.ratio(m))}" for m in MODES)
        return f"Comparison({self.name}, {self.perturbed}: {len(self.measured)} perturbations, {modes})"


@dataclass(frozen=True, repr=False)
class GradientComparison:
    """The gradients of a network compared with the measured changes of its loss.

    ``comparison[layer, perturbed]`` is a `Comparison`: the address of the neurons, or of the layer where it has none,
    and what was perturbed.

    Attributes:
        rows: the comparisons, in the order of the layers.
        loss: the loss of the batch.
    """

    rows: tuple[Comparison, ...]
    loss: float

    def __getitem__(self, key: tuple[Address, str]) -> Comparison:
        """Return the comparison of a layer and a kind of perturbation.

        Raises:
            ValueError: there is no such comparison.
        """
        for row in self.rows:
            if (row.layer, row.perturbed) == key:
                return row
        known = ", ".join(str((row.layer, row.perturbed)) for row in self.rows)
        raise ValueError(f"compare_gradients: rows are {known}, got {key!r}")

    def __repr__(self) -> str:
        lines = [f"loss {self.loss:.4g}; cosine and ratio of a gradient to the measured change of the loss"]
        lines.append(f"  {'':10}{'':>6}{'slayer':>16}{'exact':>18}{'slayer to exact':>20}")
        before = None
        for row in self.rows:
            if row.layer != before:
                lines.append(row.name)
            before = row.layer
            pairs = [*((row.cosine(mode), row.ratio(mode)) for mode in MODES), row.agreement]
            numbers = "".join(f"{_shown(a):>9}{_shown(b):>9}" for a, b in pairs)
            lines.append(f"  {row.perturbed:10}{len(row.measured):6d}{numbers}")
        return "\n".join(lines)

    def plot(self, ax: Any = None, *, value: str = "cosine") -> Any:
        """Draw a pair of bars, slayer and exact, for each layer and kind of perturbation.

        Args:
            ax: matplotlib axes; by default those of a new figure, which is `ax.figure`.
            value: "cosine", or "ratio" on a logarithmic axis. At 1 the prediction equals the measurement.

        Returns:
            The axes.

        Raises:
            ValueError: value is an unknown word.
            TypeError: ax is no Axes.
        """
        op = "plot"
        check.one_of(op, "value", value, ("cosine", "ratio"))
        ax = axes(op, ax, (7.0, 0.8 + 0.28 * len(self.rows)))
        colors = palette(ax)
        of: Callable[[Comparison, str], float] = getattr(Comparison, value)
        for mode, shade, aside in zip(MODES, (colors.blue, colors.vermilion), (-0.2, 0.2), strict=True):
            sizes = [of(row, mode) for row in self.rows]
            known = [(at, size) for at, size in enumerate(sizes) if math.isfinite(size)]
            ax.barh([at + aside for at, _ in known], [s for _, s in known], height=0.38, color=shade, label=mode)
        ax.axvline(1.0, color=colors.faint, linewidth=1.0, linestyle="--")
        ax.set_yticks(range(len(self.rows)), [f"{row.layer} {row.perturbed}" for row in self.rows])
        ax.set_ylim(len(self.rows) - 0.5, -0.5)  # the first row on top, also on shared axes
        if value == "cosine":
            ax.set(xlabel="cosine to the measured change", xlim=(-1.05, 1.05))
        else:
            ax.set(xlabel="size, over that of the measured change", xscale="log")
        return open_frame(ax, legend=True)


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of two arrays, nan where either is 0 or empty."""
    sizes = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    return float(np.vdot(a, b)) / sizes if sizes else math.nan


def ratio(a: Array, b: Array) -> float:
    """Return the length of a over that of b, nan where b is 0 or empty."""
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(a)) / size if size else math.nan


def _shown(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "-"
