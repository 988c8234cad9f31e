"""Curves over training epochs, results of a sweep, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer.backend import Array, to_numpy
from cuslayer.plot.style import (
    LIGHT,
    as_array,
    axes,
    axes_grid,
    color_bar,
    legend_beside,
    legend_inside,
    open_frame,
    palette,
    percent_axis,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# With more lines than this, the legend is outside the axes.
_FEW = 4


@check.operation
def learning_curves(epochs: Any, ax: Axes | None = None, *, value: str = "loss") -> Any:
    """Draw the loss, the accuracy or a score of one's own of training, validation and test over the epochs.

    The axis of the loss is logarithmic, unless a training loss is not positive. Missing values are gaps.

    Args:
        epochs: the rows of a log, such as `EpochStats`, or an object with such rows as its `epochs`. A row has epoch,
            train_loss, train_accuracy, and the same for validation and test; unknown values are None or missing.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        value: "loss", "accuracy" or "score".

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
    check.one_of("value", value, ("loss", "accuracy", "score"))
    rows = list(getattr(epochs, "epochs", epochs))
    for row in rows:
        if not hasattr(row, f"train_{value}"):
            raise TypeError(f"a row must have train_{value}, got {type(row).__name__}")
    parts = ("train", "validation", "test")
    lines: dict[str, list[Any]] = {part: [getattr(row, f"{part}_{value}", None) for row in rows] for part in parts}
    ax = axes(ax, (5.0, 3.2))
    _over_epochs(ax, [row.epoch for row in rows], lines)
    if value == "loss":
        ax.set_ylabel("loss of a sample")
        ax.set_yscale("log" if all(size is None or size > 0 for size in lines["train"]) else "linear")
    elif value == "accuracy":
        percent_axis(ax.yaxis, "accuracy")
    else:
        ax.set_ylabel("score")
    return ax


@check.operation
def gradient_flow(epochs: Any, ax: Axes | None = None) -> Any:
    """Draw the size of each parameter's gradient over the epochs.

    A layer with a gradient orders of magnitude smaller than the others' hardly learns. The axis is logarithmic, unless
    a size is 0.

    Args:
        epochs: the sizes by name for each epoch, where names may be missing; or an object with these as its `epochs`,
            such as a `GradientFlow`.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.

    Returns:
        The axes.

    Raises:
        TypeError: an epoch is not a mapping, or ax is not Axes.

    >>> ax = gradient_flow([{"0 Dense": 0.5, "2 Dense": 2.0}, {"0 Dense": 0.25, "2 Dense": 1.0}])
    >>> {line.get_label(): line.get_ydata().tolist() for line in ax.get_lines()}
    {'0 Dense': [0.5, 0.25], '2 Dense': [2.0, 1.0]}
    """
    sizes = list(getattr(epochs, "epochs", epochs))
    for each in sizes:
        if not isinstance(each, Mapping):
            raise TypeError(f"an epoch must be a mapping of sizes by name, got {type(each).__name__}")
    names = dict.fromkeys(name for each in sizes for name in each)
    ax = axes(ax, (6.0, 3.2))
    _over_epochs(ax, range(1, len(sizes) + 1), {name: [each.get(name) for each in sizes] for name in names})
    ax.set_ylabel("gradient of a weight (root mean square)")
    ax.set_yscale("log" if all(size > 0 for each in sizes for size in each.values()) else "linear")
    return ax


def _over_epochs(ax: Axes, epochs: Sequence[int], lines: Mapping[str, Sequence[float | None]]) -> None:
    """Draw each line that has a value, with gaps where values are missing; a single value is a larger mark."""
    drawn = {name: values for name, values in lines.items() if any(value is not None for value in values)}
    for (name, values), shade in zip(drawn.items(), palette(ax).series(len(drawn)), strict=True):
        numbers = [np.nan if value is None else value for value in values]
        single = np.count_nonzero(~np.isnan(numbers)) == 1
        ax.plot(epochs, numbers, color=shade, marker="o", markersize=6 if single else 3, linewidth=1.4, label=name)
    ax.set_xlabel("epoch")
    whole_numbers(ax.xaxis)
    ax.grid(color=palette(ax).line, linewidth=0.8)
    open_frame(ax)
    if len(drawn) > _FEW:
        legend_beside(ax)
    elif drawn:
        legend_inside(ax)


# A key whose numbers span a larger ratio has a logarithmic axis.
_WIDE = 20.0


def sweep_results(
    keys: Sequence[str],
    rows: Sequence[tuple[Sequence[Any], float]],
    value: str = "accuracy",
    *,
    figure: Figure | None = None,
) -> list[Any]:
    """Draw the result of each run over the value of each key, one panel per key, and return the panels.

    Two keys with a result for more than half of their combinations have one panel: the grid of their values.

    Args:
        keys: the keys.
        rows: the values of the keys and the result for each run.
        value: the kind of result: "accuracy", whose highest value is marked, or "loss", whose lowest value is marked.
        figure: the matplotlib figure to draw in; by default a new one.

    >>> panels = sweep_results(["lr", "batch"], [((0.1, 8), 0.9), ((0.01, 16), 0.7)])
    >>> [panel.get_xlabel() for panel in panels]
    ['lr', 'batch']
    """
    results = [result for _, result in rows]
    # Numbers by size, then anything else by its text.
    points = [tuple(x if isinstance(x, (int, float)) else str(x) for x in point) for point, _ in rows]
    values = [sorted(set(column), key=lambda x: (isinstance(x, str), x)) for column in zip(*points, strict=True)]
    has_grid = len(keys) == 2 and len(rows) > len(values[0]) * len(values[1]) / 2
    count = 1 if has_grid else max(len(keys), 1)
    if figure is None:
        panels = axes_grid(None, "one a key", (3.2 * count, 3.0), 1, count, sharey=True)
    else:
        panels = list(figure.subplots(1, count, squeeze=False, sharey=True)[0])
    if has_grid:
        _draw_grid(panels[0], keys, values, dict(zip(points, results, strict=True)), value)
        return panels
    best = results.index(max(results) if value == "accuracy" else min(results))
    for number, (key, panel) in enumerate(zip(keys, panels, strict=False)):
        given = [point[number] for point, _ in rows]
        numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in given)
        places = given if numbers else [str(x) for x in given]
        panel.plot(places, results, "o", color=palette(panel).blue, markersize=4)
        panel.plot(places[best : best + 1], results[best : best + 1], "o", color=palette(panel).vermilion, markersize=6)
        if numbers and min(given) > 0 and max(given) > _WIDE * min(given):
            panel.set_xscale("log")
        panel.set_xlabel(key)
        open_frame(panel)
    if value == "accuracy":
        percent_axis(panels[0].yaxis, "accuracy")
    else:
        panels[0].set_ylabel("loss of a sample")
    return panels


def _draw_grid(
    panel: Axes,
    keys: Sequence[str],
    values: list[list[object]],
    results: Mapping[tuple[object, ...], float],
    value: str,
) -> None:
    """Draw results by the values of two keys, the first to the right, as shades with their number."""
    across, upward = values
    table = np.array([[results.get((x, y), np.nan) for x in across] for y in upward])
    image = panel.imshow(table, cmap="Blues", origin="lower", aspect="auto")
    middle = float(np.nanmin(table) + np.nanmax(table)) / 2
    for row, column in np.argwhere(np.isfinite(table)).tolist():
        result = table[row, column]
        text = f"{result:.1%}" if value == "accuracy" else f"{result:.3g}"
        shade = "white" if result > middle else LIGHT.ink
        panel.text(column, row, text, ha="center", va="center", fontsize=8, color=shade)
    panel.set_xticks(range(len(across)), labels=[str(x) for x in across])
    panel.set_yticks(range(len(upward)), labels=[str(y) for y in upward])
    panel.set(xlabel=keys[0], ylabel=keys[1])
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    color_bar(image, "accuracy" if value == "accuracy" else "loss of a sample", fraction=0.046, pad=0.03)


# Cells show their counts up to this many classes.
_LEGIBLE = 20


@check.operation
def integer_widths(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Any:
    """Draw the accuracy, and the share of moved spikes of each layer, over the bits of integer weights.

    Args:
        rows: for each width a mapping with "bits", None for float, "accuracy", a share or None, and "moved", the share
            of spikes that moved by layer; as `cuslayer quantize --json` writes them.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.

    Returns:
        The axes.

    Raises:
        ValueError: there are no rows.
        TypeError: ax is not Axes.

    >>> row = {"bits": 8, "accuracy": 0.98, "moved": {"1 LIF": 0.01}}
    >>> [line.get_label() for line in integer_widths([row]).lines]
    ['accuracy', 'moved, layer 1 LIF']
    """
    if not rows:
        raise ValueError("rows must have a width, got none")
    ax = axes(ax, (6.0, 3.4))
    places = range(len(rows))
    lines = {"accuracy": [row["accuracy"] for row in rows]}
    for layer in dict.fromkeys(layer for row in rows for layer in row["moved"]):
        lines[f"moved, layer {layer}"] = [row["moved"].get(layer) for row in rows]
    for label, values in lines.items():
        numbers = [np.nan if value is None else 100 * value for value in values]
        ax.plot(places, numbers, marker="o", label=label, linestyle="-" if label == "accuracy" else ":")
    ax.set_xticks(places, ["float" if row["bits"] is None else f"{row['bits']} bits" for row in rows])
    ax.set(ylim=(0.0, None), ylabel="accuracy, spikes that moved (%)")
    open_frame(ax)
    legend_beside(ax)
    return ax


@check.operation
def conversion(result: Any, axes: Sequence[Axes] | None = None) -> list[Any]:
    """Draw the accuracy of a converted network over the number of steps, and the error of each layer.

    Args:
        result: what `cuslayer.convert` returned: an object with ``accuracy``, which may be None, and ``layers``.
        axes: two axes to draw on; by default those of a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: axes are not two.
        TypeError: axes are not Axes.

    >>> from types import SimpleNamespace
    >>> accuracy = SimpleNamespace(spiking=np.array([0.5, 0.9]), numbers=0.92)
    >>> above, _ = conversion(SimpleNamespace(accuracy=accuracy, layers=()))
    >>> [line.get_label() for line in above.lines]
    ['spiking network', 'network of numbers']
    """
    steps_axes, layers_axes = axes_grid(axes, "two", (8.0, 3.2), 1, 2)
    colors = palette(steps_axes)
    if result.accuracy is not None:
        spiking = result.accuracy.spiking
        steps_axes.plot(1 + np.arange(len(spiking)), 100 * spiking, color=colors.vermilion, label="spiking network")
        steps_axes.axhline(100 * result.accuracy.numbers, color=colors.ink, linestyle="--", label="network of numbers")
        whole_numbers(steps_axes.xaxis)
    steps_axes.set(xlabel="steps", ylabel="accuracy (%)")
    open_frame(steps_axes, legend=result.accuracy is not None)
    errors = [100 * row.error for row in result.layers]
    worst = max(errors, default=0.0)
    shades = [colors.vermilion if error == worst else colors.blue for error in errors]
    layers_axes.bar(range(len(errors)), errors, color=shades)
    layers_axes.set_xticks(range(len(errors)), [row.layer.partition(" ")[0] for row in result.layers])
    layers_axes.set(xlabel="layer", ylabel="error of the spike rate (%)")
    open_frame(layers_axes)
    return [steps_axes, layers_axes]


@check.operation
def confusion(
    labels: TensorLike,
    predicted: TensorLike,
    ax: Axes | None = None,
    *,
    classes: int | None = None,
    names: Sequence[str] | None = None,
) -> Any:
    """Draw the confusion matrix: true classes by row, decisions by column.

    A cell's shade is its fraction of the row, so that rare classes are visible; its number is a count of samples.

    Args:
        labels: the true classes (N,), integers from 0.
        predicted: the decisions (N,), as from `classify`.
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
    truth, answer = _classes("labels", labels), _classes("predicted", predicted)
    check.same_shape("labels", truth, "predicted", answer)
    highest = int(max(truth.max(initial=-1), answer.max(initial=-1)))
    count = check.integer("classes", highest + 1 if classes is None else classes, least=1)
    if highest >= count:
        raise ValueError(f"a class must be under {count}, got {highest}")
    if names is not None and len(names) != count:
        raise ValueError(f"names must be as many as the classes, got {len(names)} and {count}")
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (truth, answer), 1)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = min(2.2 + 0.36 * count, 9.0)
    ax = axes(ax, (side + 0.8, side))
    image = ax.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    if names is not None or count <= _LEGIBLE:
        titles = list(map(str, names or range(count)))
        ax.set_xticks(
            range(count), titles, rotation=0 if names is None else 45, ha="center" if names is None else "right"
        )
        ax.set_yticks(range(count), titles)
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


def _classes(name: str, values: object) -> Array:
    given = to_numpy(as_array(values))
    if given.ndim != 1:
        raise ValueError(f"{name} must be (N,), got shape {given.shape}")
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {given.dtype}")
    if given.size and given.min() < 0:
        raise ValueError(f"{name} must be classes from 0, got {given.min()}")
    return given.astype(np.int64)
