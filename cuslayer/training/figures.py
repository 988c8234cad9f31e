"""Figures of a training run, drawn without a display; matplotlib is imported at the first one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.files import write_whole
from cuslayer.plot import learning_curves, raster
from cuslayer.plot.style import style_of_new_figures
from cuslayer.training.stats import EpochStats


def save_figure(path: str | Path, draw: Callable[[Any], None], *, size: tuple[float, float]) -> None:
    """Draw a figure by `draw(figure)` and write it as PNG; `size` is (width, height) in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style_of_new_figures():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        write_whole(Path(path), lambda file: figure.savefig(file, format="png", dpi=120))


def draw_curves(figure: Any, rows: Sequence[EpochStats]) -> None:
    """Draw the loss and, for classification, the accuracy over the epochs."""
    with_accuracy = any(row.train_accuracy is not None for row in rows)
    axes = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
    for axis, value in zip(axes, ("loss", "accuracy"), strict=False):
        learning_curves(rows, axis, value=value)


def draw_rasters(figure: Any, trains: Sequence[tuple[str, Array]], dt: float) -> None:
    """Draw raster plots of spike trains one above the other, the input at the bottom.

    Args:
        figure: a matplotlib figure.
        trains: pairs of a title and boolean spikes (T, ...), the input first.
        dt: the time step in ms.
    """
    axes = figure.subplots(len(trains), 1, squeeze=False, sharex=True)[::-1, 0]
    for axis, (title, spikes) in zip(axes, trains, strict=True):
        raster(spikes, axis, sample=None, dt=dt)
        neurons, count = math.prod(spikes.shape[1:]), np.count_nonzero(spikes)
        axis.set_title(f"{title}: {neurons} neurons, {count} spikes", loc="left", fontsize="medium")
        axis.set_xlabel("time (ms)" if axis is axes[0] else "")
