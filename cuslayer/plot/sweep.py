"""The results of a sweep over each of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuslayer.plot.axes import axes_grid, open_frame, percent_axis
from cuslayer.plot.style import palette

# A key whose numbers span a larger ratio has a logarithmic axis.
_WIDE = 20.0


def sweep_results(
    keys: Sequence[str], rows: Sequence[tuple[Sequence[Any], float]], value: str = "accuracy", *, figure: Any = None
) -> Any:
    """Draw the result of each run over the value of each key, one panel a key, and return the panels.

    Args:
        keys: the keys.
        rows: for each run the values of the keys, and the result.
        value: what the result is: "accuracy", of which the highest is marked, or "loss", of which the lowest.
        figure: the matplotlib figure to draw in; by default a new one.

    >>> panels = sweep_results(["lr", "batch"], [((0.1, 8), 0.9), ((0.01, 16), 0.7)])
    >>> [panel.get_xlabel() for panel in panels]
    ['lr', 'batch']
    """
    count = max(len(keys), 1)
    if figure is None:
        panels = axes_grid(None, "one a key", (3.2 * count, 3.0), 1, count, sharey=True)
    else:
        panels = list(figure.subplots(1, count, squeeze=False, sharey=True)[0])
    results = [result for _, result in rows]
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
