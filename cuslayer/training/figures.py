"""The figures of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cuslayer._base.files import write_whole
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array
from cuslayer.network.notation import Network
from cuslayer.network.walk import Walk, ends_in_read_out, eval_mode
from cuslayer.plot import learning_curves, raster
from cuslayer.plot.style import style_of_new_figures
from cuslayer.training.run_folder import FIGURES
from cuslayer.training.score import GradientFlow
from cuslayer.training.stats import EpochStats, Stats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def save_figure(
    path: str | Path, draw: Callable[[Figure], Axes | list[Axes] | None], *, size: tuple[float, float]
) -> None:
    """Draw a figure by `draw(figure)` and write it as PNG; `size` is (width, height) in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style_of_new_figures():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        write_whole(Path(path), lambda file: figure.savefig(file, format="png", dpi=120))


def draw_curves(figure: Figure, rows: Sequence[EpochStats]) -> None:
    """Draw the loss and, for classification, the accuracy over the epochs."""
    with_accuracy = any(row.train_accuracy is not None for row in rows)
    axes = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
    for axis, value in zip(axes, ("loss", "accuracy"), strict=False):
        learning_curves(rows, axis, value=value)


def draw_rasters(figure: Figure, trains: Sequence[tuple[str, Array]], dt: float) -> None:
    """Draw raster plots for pairs of a title and spikes (T, ...), one above the other, the input at the bottom."""
    axes = figure.subplots(len(trains), 1, squeeze=False, sharex=True)[::-1, 0]
    for axis, (title, spikes) in zip(axes, trains, strict=True):
        raster(spikes, axis, sample=None, dt=dt)
        neurons, count = math.prod(spikes.shape[1:]), np.count_nonzero(spikes)
        axis.set_title(f"{title}: {neurons} neurons, {count} spikes", loc="left", fontsize="medium")
        axis.set_xlabel("time (ms)" if axis is axes[0] else "")


def save_figures(
    out: Path, net: Network, dt: float, stats: Stats, gradients: GradientFlow, example: tuple[str, Array, object]
) -> None:
    """Draw the figures of a run and write them to its folder; an example is its title, spikes (T, ...) and target."""
    curves, flow, rasters = (out / name for name in FIGURES)
    if stats.epochs:
        save_figure(curves, lambda figure: draw_curves(figure, stats.epochs), size=(9, 3.5))
        save_figure(flow, lambda figure: gradients.plot(figure.subplots()), size=(6, 3.5))
    title, spikes, _ = example
    # Signals of numbers have no raster.
    given = [(title, spikes)] if spikes.dtype.kind != "f" else []
    trains = [*given, *_layer_spikes(net, spikes)]
    save_figure(rasters, lambda f: draw_rasters(f, trains, dt), size=(8, 2 + 1.6 * len(trains)))


def _layer_spikes(net: Network, spikes: Array) -> list[tuple[str, Array]]:
    """Return a title and the spikes of each layer of neurons for one recording (T, ...)."""
    found = list[tuple[str, Array]]()
    with eval_mode(net), no_grad():
        for at in Walk(net, Tensor(spikes[:, None])):
            if at.neurons is not None:
                layer = at.unit.layer
                found.append((f"after {'neurons' if layer is None else repr(layer.stage)}", at.output.numpy()[:, 0]))
    if ends_in_read_out(net):
        return found
    return [*found[:-1], *(("output", spikes) for _, spikes in found[-1:])]
