"""The result of `health`: a table, advice and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer.inspection.health.advice import SCALES, Advice
from cuslayer.inspection.health.first_step import FirstStep
from cuslayer.inspection.health.layer import EDGES, LayerHealth
from cuslayer.network.graph import Address
from cuslayer.plot.axes import axes_grid, open_frame, percent_axis
from cuslayer.plot.style import palette

_SHARES = ("never", "always", "locked")


@dataclass(frozen=True, repr=False)
class NetworkHealth:
    """The health of a network: ``health[layer]`` is the `LayerHealth` of the neurons at an address.

    Attributes:
        layers: the health of each layer, in order.
        advice: settings to change; empty if the network is healthy, or if none helps.
        loss: the mean loss per sample.
        first_step: what the first step of the optimizer does; None without one.
        hints: what else is wrong, where no setting is advised: an input of 0, layers that never fire or get no error.
    """

    layers: tuple[LayerHealth, ...]
    advice: tuple[Advice, ...]
    loss: float
    first_step: FirstStep | None = None
    hints: tuple[str, ...] = ()

    def __getitem__(self, layer: Address) -> LayerHealth:
        """Return the health of the neurons at an address.

        Raises:
            IndexError: there are no neurons at that address.
        """
        for found in self.layers:
            if found.layer == layer:
                return found
        known = ", ".join(str(found.layer) for found in self.layers)
        raise IndexError(f"health: neurons stand at {known}, got {layer!r}")

    def error(self, layer: Address) -> float:
        """Return the error of the neurons at an address relative to the last layer's; 0 if that is 0."""
        last = self.layers[-1].error
        return self[layer].error / last if last else 0.0

    def __repr__(self) -> str:
        lines = [f"loss of a sample {self.loss:.4g}"]
        wide = max(len(found.name) for found in self.layers)
        head = ("rate", "never", "always", "locked", "near theta", "error")
        lines.append(f"{'':{wide}}{''.join(f'{name:>11}' for name in head)}")
        for found in self.layers:
            shares = (found.never, found.always, found.locked, found.within)
            numbers = "".join(f"{share:>11.1%}" for share in shares)
            lines.append(f"{found.name:{wide}}{found.rate:>8.3g} Hz{numbers}{self.error(found.layer):>11.3g}")
        lines += self._step_lines() + self._advice_lines()
        return "\n".join(lines)

    def _step_lines(self) -> list[str]:
        """Return a line on the first step of the optimizer; none without one."""
        step = self.first_step
        if step is None:
            return []
        most = max(step.moves, key=lambda address: step.moves[address])
        text = (
            f"first step: potentials change by {step.moves[most]:.2g} theta at most (layer {most}; root mean square; "
            f"without warm-up {max(step.full.values()):.2g}), the loss of a sample from {step.loss:.4g} to "
            f"{step.loss_after:.4g}"
        )
        return [f"{text}, and the output falls silent" if step.silent else text]

    def _advice_lines(self) -> list[str]:
        if not self.advice and not self.hints:
            return ["advice: nothing to change"]
        lines = [*(f"hint: {each}" for each in self.hints), *(f"advice: {each}" for each in self.advice)]
        if any(each.setting in SCALES for each in self.advice):
            return [*lines, "cs.calibrate(net, loader) sets the scales of all layers at once"]
        return lines

    def plot(self, axes: Sequence[Any] | None = None) -> list[Any]:
        """Draw the shares of never firing, always firing and locked neurons, the histogram of u, and the errors.

        Args:
            axes: three matplotlib axes, in that order; by default of a new figure.

        Returns:
            The axes.

        Raises:
            ValueError: axes are not three.
        """
        axes = axes_grid(axes, "three", (11.0, 3.4), 1, 3)
        shares, potentials, errors = axes
        names, at = [str(found.layer) for found in self.layers], np.arange(len(self.layers))
        colors = palette(shares)
        for aside, name, shade in zip((-0.27, 0.0, 0.27), _SHARES, colors.series(3), strict=True):
            shares.bar(at + aside, [getattr(found, name) for found in self.layers], width=0.25, color=shade, label=name)
        shares.set_ylim(0, 1.02)
        percent_axis(shares.yaxis, "neurons")
        for found, shade in zip(self.layers, colors.series(len(self.layers)), strict=True):
            density = found.histogram / np.diff(EDGES)
            potentials.stairs(density, EDGES, color=shade, linewidth=1.4, label=f"layer {found.layer}")
        middle = np.linspace(EDGES[0], EDGES[-1], 241)
        potentials.plot(middle, np.exp(-abs(middle)), color=colors.faint, linestyle="--", label="surrogate")
        potentials.set(
            xlabel="u - theta, in widths of the surrogate", ylabel="density (1 / width)", xlim=(EDGES[0], EDGES[-1])
        )
        sizes = [self.error(found.layer) for found in self.layers]
        errors.plot(at, sizes, color=colors.ink, marker="o", markersize=4, linewidth=1.4, label="error")
        errors.set(ylabel="error, over that of the last layer", yscale="log" if all(s > 0 for s in sizes) else "linear")
        for ax in (shares, errors):
            ax.set_xticks(at, names)
            ax.set_xlabel("layer")
        return [open_frame(ax, legend=ax is not errors) for ax in axes]
