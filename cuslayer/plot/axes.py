"""Helpers that plots share: axes, colours, and conversion of arguments to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.tape import Tensor

# Okabe and Ito's palette, which is safe for colour-blind readers.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
INK, FAINT = "#222222", "#8A8A8A"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK, FAINT)
OFF, ON = BLUE, VERMILION


def axes(op: str, ax: Any, size: tuple[float, float]) -> Any:
    """Return ax, or the axes of a new figure of a size in inches, which pyplot does not register.

    Raises:
        TypeError: ax is not Axes.
    """
    if check_axes(op, ax) is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=size, layout="constrained").subplots()
    return ax


def check_axes(op: str, ax: Any) -> Any:
    """Return ax; raise TypeError where it is neither Axes nor None."""
    if ax is not None and not (hasattr(ax, "get_window_extent") and hasattr(ax, "plot")):
        raise TypeError(f"{op}: ax must be matplotlib Axes, got {type(ax).__name__}")
    return ax


def inches(ax: Any) -> tuple[float, float]:
    """Return the width and the height of axes in inches; approximate before the layout of their figure."""
    box, dpi = ax.get_window_extent(), ax.figure.dpi
    return box.width / dpi, box.height / dpi


def open_frame(ax: Any) -> None:
    """Hide the top and right edges of the axes."""
    ax.spines[["top", "right"]].set_visible(False)


def legend_beside(ax: Any) -> None:
    """Put the legend to the right of the axes, outside the plot."""
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small", borderaxespad=0.2)


def colors(count: int) -> list[Any]:
    """Return distinct colours: those of the palette, or steps of viridis where there are too few."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    from matplotlib import colormaps

    return list(colormaps["viridis"](np.linspace(0, 0.95, count)))


def as_array(x: Any) -> Array:
    """Return the array of a tensor or an array-like, on its device."""
    return x.data if isinstance(x, Tensor) else x if hasattr(x, "dtype") and hasattr(x, "ndim") else np.asarray(x)


def one_sample(op: str, name: str, x: Any, sample: int | None) -> Array:
    """Return one sample (T, ...) of x (T, N, ...) on the CPU; with sample None x is (T, ...) itself.

    Raises:
        ValueError: x has too few axes, or no such sample.
        TypeError: sample is not an integer.
    """
    data = as_array(x)
    if sample is None:
        if data.ndim == 0:
            raise ValueError(f"{op}: {name} must be (T, ...), got shape ()")
        return to_numpy(data)
    check.time_first(op, name, data)
    if check.integer(op, "sample", sample, least=0) >= data.shape[1]:
        raise ValueError(f"{op}: sample must be under {data.shape[1]}, got {sample}")
    return to_numpy(data[:, sample])


def spike_train(op: str, spikes: Any, sample: int | None) -> Array:
    """Return the spikes or counts (T, ...) of one sample.

    Raises:
        ValueError: as `one_sample`.
        TypeError: spikes are neither booleans nor counts.
    """
    data = one_sample(op, "spikes", spikes, sample)
    if data.dtype.kind not in "biu":
        raise TypeError(f"{op}: spikes must be booleans or counts, got {data.dtype}")
    return data


def flatten_neurons(data: Array) -> Array:
    """Return (T, ...) as (T, neurons)."""
    return data.reshape(len(data), int(np.prod(data.shape[1:], dtype=np.int64)))


def time_axis(ax: Any, steps: int, dt: float) -> None:
    """Set the x axis to span all steps, in ms, so that plots over time align."""
    ax.set(xlabel="time (ms)", xlim=(0.0, max(steps, 1) * dt))


def neuron_positions(op: str, neurons: Any, shape: Sequence[int], most: int) -> list[int]:
    """Return the flat positions of neurons, given as integers or index tuples, one or a list; None is all neurons.

    Raises:
        ValueError: a neuron lies outside the layer, or neurons is None for more than `most`.
        TypeError: a neuron is neither an integer nor a tuple of integers.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if neurons is None:
        if count > most:
            raise ValueError(f"{op}: neurons must be named where there are more than {most}, got {count}")
        return list(range(count))
    if not isinstance(neurons, (list, tuple, range, np.ndarray)):
        neurons = [neurons]
    indices = (check.neuron_index(op, tuple(shape), neuron) for neuron in neurons)
    return [int(np.ravel_multi_index(index, tuple(shape))) for index in indices]
