"""The picture of a reassignment: what the way back makes of a neuron's error, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.inspection.plots.canvas import BLUE, FAINT, INK, PURPLE, VERMILION, open_frame, time_axis

_PIECES = 8
_ERRORS = (
    ("spikes_error", "error on\nthe spikes", VERMILION),
    ("potential_error", "error on\nthe potential", VERMILION),
    ("weighted_error", "error on\nthe input", VERMILION),
)


def draw_reassignment(found: Any, axes: Sequence[Any] | None) -> list[Any]:
    """Draw a `Reassignment` on six axes, or on those of a new figure, and return them.

    Raises:
        ValueError: they are not six.
    """
    if axes is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.0, 8.0), layout="constrained")
        axes = figure.subplots(6, 1, sharex=True, height_ratios=(1, 3, 2, 2, 2, 2))
    axes = list(axes)
    if len(axes) != 6:
        raise ValueError(f"plot: axes must be six, got {len(axes)}")
    spikes, potential, surrogate, *errors = axes
    time = found.time
    spikes.vlines(time[found.spikes], 0, 1, color=INK, linewidth=1.2, label="spikes")
    spikes.set(ylabel="spikes", yticks=[], ylim=(0, 1))
    where = ", ".join(map(str, found.neuron))
    spikes.set_title(f"{found.layer}, neuron {where}, sample {found.sample}", loc="left", fontsize="small")
    potential.plot(time, found.potential, color=BLUE, linewidth=1.2, label="potential")
    potential.axhline(found.theta, color=FAINT, linestyle="--", label="threshold")
    potential.set_ylabel("u and theta")
    surrogate.plot(time, found.surrogate, color=PURPLE, linewidth=1.2, label="surrogate")
    surrogate.set(ylabel="surrogate\n(1/ms)", ylim=(0, None))
    for ax, (name, label, shade) in zip(errors, _ERRORS, strict=True):
        ax.plot(time, getattr(found, name), color=shade, linewidth=1.2, label=name)
        ax.axhline(0.0, color=FAINT, linewidth=0.8)
        ax.set_ylabel(label)
    # Of the last, the largest pieces it is made of: each time's error on the potential, spread back.
    spread = found.spread
    for column in np.argsort(-abs(found.potential_error), kind="stable")[:_PIECES]:
        errors[-1].plot(time, spread[:, column], color=FAINT, linewidth=0.6, label="_piece", zorder=1)
    for ax in axes:
        time_axis(ax, len(time), found.srm.dt)
        open_frame(ax)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    return axes
