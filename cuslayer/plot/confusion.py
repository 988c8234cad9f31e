"""The confusion matrix of a classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.plot.axes import as_array, axes, color_bar
from cuslayer.plot.style import LIGHT

# Cells show their counts up to this many classes.
_LEGIBLE = 20


def confusion(
    labels: Any, predicted: Any, ax: Any = None, *, classes: int | None = None, names: Sequence[str] | None = None
) -> Any:
    """Draw the confusion matrix: true classes by row, decisions by column.

    A cell's shade is its share of the row, so that rare classes are visible; its number is a count of samples.

    Args:
        labels: the true classes (N,), integers from 0.
        predicted: the decisions (N,), as `classify` returns them.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        classes: the number of classes; by default the highest class that appears, plus one.
        names: the names of the classes.

    Returns:
        The axes.

    Raises:
        ValueError: labels and predicted differ in length or are not (N,), a class is out of range, there are no
            classes, or names do not match them.
        TypeError: classes are not integers, or ax is not Axes.

    >>> ax = confusion([0, 0, 1], [0, 1, 1])
    >>> ax.images[0].get_array().tolist()
    [[0.5, 0.5], [0.0, 1.0]]
    """
    op = "confusion"
    truth, answer = _classes(op, "labels", labels), _classes(op, "predicted", predicted)
    check.same_shape(op, "labels", truth, "predicted", answer)
    highest = int(max(truth.max(initial=-1), answer.max(initial=-1)))
    count = check.integer(op, "classes", highest + 1 if classes is None else classes, least=1)
    if highest >= count:
        raise ValueError(f"{op}: a class must be under {count}, got {highest}")
    if names is not None and len(names) != count:
        raise ValueError(f"{op}: names must be as many as the classes, got {len(names)} and {count}")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (truth, answer), 1)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = min(2.2 + 0.36 * count, 9.0)
    ax = axes(op, ax, (side + 0.8, side))
    image = ax.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = {} if names is None and count > _LEGIBLE else {"ticks": range(count), "labels": names or range(count)}
    if ticks:
        ax.set_xticks(**ticks, rotation=0 if names is None else 45, ha="center" if names is None else "right")
        ax.set_yticks(**ticks)
    if count <= _LEGIBLE:
        for row, column in np.argwhere(table).tolist():
            shade = "white" if share[row, column] > 0.55 else LIGHT.ink
            ax.text(column, row, str(table[row, column]), ha="center", va="center", fontsize=8, color=shade)
    right = f"{np.trace(table) / table.sum():.1%} of {table.sum()} right" if table.sum() else "no samples"
    ax.set(xlabel="taken for", ylabel="class")
    ax.set_title(right, loc="left", fontsize="medium")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    color_bar(image, "share of the class", fraction=0.046, pad=0.03)
    return ax


def _classes(op: str, name: str, values: Any) -> Array:
    given = to_numpy(as_array(values))
    if given.ndim != 1:
        raise ValueError(f"{op}: {name} must be (N,), got shape {given.shape}")
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got {given.dtype}")
    if given.size and given.min() < 0:
        raise ValueError(f"{op}: {name} must be classes from 0, got {given.min()}")
    return given.astype(np.int64)
