"""Plots of an explanation: a waterfall of the parts of a potential, and a map of the contributions of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.plot.axes import axes, color_bar, open_frame
from cuslayer.plot.style import palette


def draw_waterfall(ax: Any, parts: list[tuple[str, float]], theta: float, title: str) -> Any:
    """Draw parts one below the other, each starting at the end of the last, their sum u, and the threshold."""
    ax = axes("plot", ax, (7.0, 0.6 + 0.3 * (len(parts) + 3)))
    colors = palette(ax)
    sizes = np.array([size for _, size in parts])
    ends = np.cumsum(sizes)
    for row, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        ax.barh(row, size, left=end - size, color=colors.vermilion if size > 0 else colors.blue, height=0.7)
        if row:
            ax.plot([end - size, end - size], [row - 1, row], color=colors.faint, linewidth=0.8)
    total = float(ends[-1]) if len(ends) else 0.0
    ax.barh(len(parts), total, color=colors.ink, height=0.7)
    ax.axvline(theta, color=colors.faint, linestyle="--", label="threshold")
    ax.set_yticks(range(len(parts) + 1), [*(name for name, _ in parts), "u"])
    ax.invert_yaxis()
    ax.set_xlabel("part of the potential (a.u.)")
    _title(ax, title)
    return open_frame(ax, legend=True)


def draw_map(ax: Any, contributions: Array, title: str) -> Any:
    """Draw contributions (H, W) on a color scale with white at 0."""
    ax = axes("plot_map", ax, (5.0, 4.4))
    # A map of zeros needs a scale too.
    most = float(abs(contributions).max(initial=0.0)) or 1.0
    image = ax.imshow(contributions, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    color_bar(image, "part of the potential (a.u.)")
    ax.set(xlabel="column", ylabel="row")
    _title(ax, title)
    return ax


def _title(ax: Any, title: str) -> None:
    """Set the title, with a line each for the layer, the neuron and its potential."""
    broken = title.replace(", neuron", ",\nneuron", 1).replace(": ", ":\n", 1)
    ax.set_title(broken, loc="left", fontsize="small")
