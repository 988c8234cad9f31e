"""A gallery of surrogates: each shape beside its primitive."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.plot.axes import axes_grid, legend_inside, open_frame
from cuslayer.plot.style import palette
from cuslayer.surrogates import SURROGATES, Surrogate

_RANGE = 4.0


def surrogates(axes: Any = None) -> list[Any]:
    """Draw every surrogate f of `cs.surrogates` and its primitive F, the smooth step that f is the slope of.

    The unit of z is the width, ``tau_rho theta``; 0 is the threshold.

    Args:
        axes: a sequence of matplotlib axes, one for each of the seven; by default those of a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: axes are not seven.

    >>> ax = surrogates()[2]
    >>> ax.get_title(loc="left"), len(ax.get_lines())
    ('Arctan', 3)
    """
    found = _new() if axes is None else axes_grid(axes, "seven", (12.0, 5.0), 1, len(SURROGATES))
    z = np.linspace(-_RANGE, _RANGE, 801)
    for ax, kind in zip(found, SURROGATES.values(), strict=True):
        _draw(ax, z, kind())
    return found


def _new() -> list[Any]:
    """Return the axes of a new figure in two rows, with a key in the place that is left."""
    *found, last = axes_grid(None, "eight", (12.0, 5.0), 2, 4, sharex=True, sharey=True)
    colors = palette(last)
    for color, text in ((colors.blue, "surrogate f(z)"), (colors.vermilion, "its primitive F(z)")):
        last.plot([], [], color=color, label=text)
    last.axis("off")
    legend_inside(last, loc="center")
    return found


def _draw(ax: Any, z: Any, surrogate: Surrogate) -> None:
    colors = palette(ax)
    ax.axvline(0.0, color=colors.faint, linewidth=1.0, linestyle="--", zorder=1)
    ax.plot(z, surrogate.integral(z), color=colors.vermilion, linewidth=1.2)
    ax.plot(z, surrogate.f(z), color=colors.blue, linewidth=1.6)
    ax.set_title(type(surrogate).__name__, loc="left", fontsize="small")
    ax.set(xlabel="z, widths from the threshold", xlim=(z[0], z[-1]))
    open_frame(ax)
