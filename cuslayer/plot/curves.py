"""Curves over the epochs of a training: loss, accuracy, and the size of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.plot.axes import axes, legend_beside, legend_inside, open_frame, percent_axis
from cuslayer.plot.style import palette

# With more lines than this, the legend is beside the axes.
_FEW = 4


def learning_curves(epochs: Any, ax: Any = None, *, value: str = "loss") -> Any:
    """Draw the loss or the accuracy of training and test over the epochs.

    The axis of the loss is logarithmic, unless a training loss is not positive. Missing values are gaps.

    Args:
        epochs: the rows of a log, each with epoch, train_loss, test_loss, train_accuracy and test_accuracy, the last
            three None where they are not known; or an object with such rows as its `epochs`.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        value: "loss" or "accuracy".

    Returns:
        The axes.

    Raises:
        ValueError: value is unknown.
        TypeError: a row has no such values, or ax is not Axes.

    >>> from types import SimpleNamespace
    >>> rows = [SimpleNamespace(epoch=n, train_loss=1 / n, test_loss=2 / n) for n in (1, 2)]
    >>> [line.get_ydata().tolist() for line in learning_curves(rows).get_lines()]
    [[1.0, 0.5], [2.0, 1.0]]
    """
    op = "learning_curves"
    check.one_of(op, "value", value, ("loss", "accuracy"))
    rows = list(getattr(epochs, "epochs", epochs))
    for row in rows:
        if not hasattr(row, f"train_{value}"):
            raise TypeError(f"{op}: a row must have train_{value}, got {type(row).__name__}")
    lines = {part: [getattr(row, f"{part}_{value}") for row in rows] for part in ("train", "test")}
    ax = axes(op, ax, (5.0, 3.2))
    _over_epochs(ax, [row.epoch for row in rows], lines)
    if value == "loss":
        ax.set_ylabel("loss of a sample")
        ax.set_yscale("log" if all(size > 0 for size in lines["train"]) else "linear")
    else:
        percent_axis(ax.yaxis, "accuracy")
    return ax


def gradient_flow(epochs: Any, ax: Any = None) -> Any:
    """Draw the size of each parameter's gradient over the epochs.

    A layer whose gradient is orders of magnitude smaller than the others' hardly learns. The axis is logarithmic,
    unless a size is 0.

    Args:
        epochs: the sizes by name for each epoch, some of which may be missing; or an object with these as its
            `epochs`, such as a `GradientFlow`.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.

    Returns:
        The axes.

    Raises:
        TypeError: an epoch is not a mapping, or ax is not Axes.

    >>> ax = gradient_flow([{"0 Dense": 0.5, "2 Dense": 2.0}, {"0 Dense": 0.25, "2 Dense": 1.0}])
    >>> {line.get_label(): line.get_ydata().tolist() for line in ax.get_lines()}
    {'0 Dense': [0.5, 0.25], '2 Dense': [2.0, 1.0]}
    """
    op = "gradient_flow"
    sizes = list(getattr(epochs, "epochs", epochs))
    for each in sizes:
        if not isinstance(each, Mapping):
            raise TypeError(f"{op}: an epoch must be a mapping of sizes by name, got {type(each).__name__}")
    names = dict.fromkeys(name for each in sizes for name in each)
    ax = axes(op, ax, (6.0, 3.2))
    _over_epochs(ax, range(1, len(sizes) + 1), {name: [each.get(name) for each in sizes] for name in names})
    ax.set_ylabel("gradient of a weight (root mean square)")
    ax.set_yscale("log" if all(size > 0 for each in sizes for size in each.values()) else "linear")
    return ax


def _over_epochs(ax: Any, epochs: Sequence[int], lines: Mapping[str, Sequence[float | None]]) -> None:
    """Draw each line that has a value, with gaps where values are missing."""
    drawn = {name: values for name, values in lines.items() if any(value is not None for value in values)}
    for (name, values), shade in zip(drawn.items(), palette(ax).series(len(drawn)), strict=True):
        numbers = [np.nan if value is None else value for value in values]
        ax.plot(epochs, numbers, color=shade, marker="o", markersize=3, linewidth=1.4, label=name)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(color=palette(ax).line, linewidth=0.8)
    open_frame(ax)
    if len(drawn) > _FEW:
        legend_beside(ax)
    elif drawn:
        legend_inside(ax)
