"""The pictures of a run. matplotlib is imported when the first is drawn, and needs no screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.data.files import write_whole
from cuslayer.training.stats import EpochStats


def save_figure(path: str | Path, draw: Callable[[Any], None], *, size: tuple[float, float]) -> None:
    """Let `draw` fill a new figure of a size in inches, and write it as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    write_whole(Path(path), lambda file: figure.savefig(file, format="png", dpi=120))


def draw_curves(figure: Any, rows: Sequence[EpochStats]) -> None:
    """Draw loss and, where there are classes, accuracy over the epochs."""
    with_accuracy = any(row.train_accuracy is not None for row in rows)
    axes = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
    epochs = [row.epoch for row in rows]
    for axis, name in zip(axes, ("loss", "accuracy"), strict=False):
        for part in ("train", "test"):
            values = [getattr(row, f"{part}_{name}") for row in rows]
            if any(value is not None for value in values):
                axis.plot(epochs, [np.nan if v is None else v for v in values], marker="o", markersize=3, label=part)
        axis.set(xlabel="epoch", ylabel="loss of a sample" if name == "loss" else "accuracy")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log" if all(row.train_loss > 0 for row in rows) else "linear")


def draw_rasters(figure: Any, trains: Sequence[tuple[str, Array]], dt: float) -> None:
    """Draw spike trains one above the other, the input at the bottom: a dot a spike.

    Args:
        figure: matplotlib's.
        trains: a title and boolean spikes (T, ...) of each, the input first.
        dt: the step in ms.
    """
    axes = figure.subplots(len(trains), 1, squeeze=False, sharex=True)[::-1, 0]
    for axis, (title, spikes) in zip(axes, trains, strict=True):
        flat = spikes.reshape(len(spikes), -1)
        time, neuron = np.nonzero(flat)
        few = flat.shape[1] <= 50
        axis.plot(time * dt, neuron, "|" if few else ",", color="black", markersize=8 if few else 1)
        axis.set(ylabel="neuron", xlim=(0, len(flat) * dt), ylim=(-0.5, flat.shape[1] - 0.5))
        axis.set_title(f"{title}: {flat.shape[1]} neurons, {len(time)} spikes", loc="left", fontsize="medium")
    axes[0].set_xlabel("time (ms)")
