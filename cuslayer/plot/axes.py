"""Helpers that plots share: axes, legends, and conversion of arguments to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.plot.style import palette, style_of_new_figures
from cuslayer.tape import Tensor

_LEGEND_LINE = 0.19  # the height of a line of a legend, inches


def axes(ax: Any, size: tuple[float, float]) -> Any:
    """Return ax, or the axes of a new figure of a size in inches; raise TypeError where it is not Axes."""
    return _new_axes(size) if check_axes(ax) is None else ax


@check.operation("plot")
def axes_grid(axes: Any, number: str, size: tuple[float, float], rows: int, columns: int, **options: Any) -> list[Any]:
    """Return axes as a list, or those of a new figure; raise ValueError unless they are rows times columns."""
    found = list(np.ravel(_new_axes(size, rows, columns, **options)) if axes is None else axes)
    if len(found) != rows * columns:
        raise ValueError(f"axes must be {number}, got {len(found)}")
    return found


def _new_axes(size: tuple[float, float], *grid: int, **options: Any) -> Any:
    """Return the axes of a new figure, which pyplot does not register."""
    from matplotlib.figure import Figure

    with style_of_new_figures():
        made = Figure(figsize=size, layout="constrained").subplots(*grid, **options)
        # Ticks are made when they are drawn, with the settings of that time.
        for ax in np.ravel(made):
            ax.tick_params(color=palette(ax).ink, labelcolor=palette(ax).ink)
    return made


def check_axes(ax: Any) -> Any:
    """Return ax; raise TypeError where it is neither Axes nor None."""
    if ax is not None and not (hasattr(ax, "get_window_extent") and hasattr(ax, "plot")):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    return ax


def inches(ax: Any) -> tuple[float, float]:
    """Return the width and the height of axes in inches; approximate before the layout of their figure."""
    box, dpi = ax.get_window_extent(), ax.figure.dpi
    return box.width / dpi, box.height / dpi


def open_frame(ax: Any, *, legend: bool = False) -> Any:
    """Hide the top and right edges of the axes, add a legend inside if wanted, and return the axes."""
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        legend_inside(ax)
    return ax


def legend_inside(ax: Any, **where: Any) -> None:
    """Put a legend without a frame into the axes, or elsewhere."""
    ax.legend(frameon=False, fontsize="small", labelcolor=palette(ax).ink, **where)


def legend_beside(ax: Any) -> None:
    """Put the legend to the right of the axes, outside the plot."""
    lines = max(1, int(inches(ax)[1] / _LEGEND_LINE))
    columns = -(-len(ax.get_legend_handles_labels()[0]) // lines)
    legend_inside(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, ncols=max(1, columns))


def percent_axis(axis: Any, label: str) -> None:
    """Label an axis of shares from 0 to 1 in per cent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_label_text(f"{label} (%)")
    axis.set_major_formatter(PercentFormatter(1.0, symbol=""))


def color_bar(image: Any, label: str, **where: Any) -> None:
    """Put a colour bar beside the axes of an image."""
    ink = palette(image.axes).ink
    bar = image.figure.colorbar(image, ax=image.axes, **where)
    bar.set_label(label, fontsize="small", color=ink)
    bar.ax.tick_params(labelsize="small", color=ink, labelcolor=ink)
    bar.outline.set_visible(False)


def as_array(x: Any) -> Array:
    """Return the array of a tensor or an array-like, on its device."""
    return x.data if isinstance(x, Tensor) else x if hasattr(x, "dtype") and hasattr(x, "ndim") else np.asarray(x)


def one_sample(name: str, x: Any, sample: int | None) -> Array:
    """Return one sample (T, ...) of x (T, N, ...) on the CPU; with sample None x is (T, ...) itself."""
    data = as_array(x)
    if sample is None:
        if data.ndim == 0:
            raise ValueError(f"{name} must be (T, ...), got shape ()")
        return to_numpy(data)
    check.time_first(name, data)
    return to_numpy(data[:, check.index("sample", sample, data.shape[1])])


def spike_train(spikes: Any, sample: int | None) -> Array:
    """Return the spikes or counts (T, ...) of one sample; raise TypeError where they are neither."""
    data = one_sample("spikes", spikes, sample)
    if data.dtype.kind not in "biu":
        raise TypeError(f"spikes must be booleans or counts, got {data.dtype}")
    return data


def flatten_neurons(data: Array) -> Array:
    """Return (T, ...) as (T, neurons)."""
    return data.reshape(len(data), int(np.prod(data.shape[1:], dtype=np.int64)))


def time_axis(ax: Any, steps: int, dt: float) -> None:
    """Set the x axis to span all steps, in ms, so that plots over time align."""
    ax.set(xlabel="time (ms)", xlim=(0.0, max(steps, 1) * dt))


def neuron_positions(neurons: Any, shape: Sequence[int], most: int) -> list[int]:
    """Return the flat positions of neurons, given as integers or index tuples, one or a list; None for up to `most`."""
    count = int(np.prod(shape, dtype=np.int64))
    if neurons is None:
        if count > most:
            raise ValueError(f"neurons must be named where there are more than {most}, got {count}")
        return list(range(count))
    if not isinstance(neurons, (list, tuple, range, np.ndarray)):
        neurons = [neurons]
    indices = (check.neuron_index(tuple(shape), neuron) for neuron in neurons)
    return [int(np.ravel_multi_index(index, tuple(shape))) for index in indices]
