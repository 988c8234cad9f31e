"""The style of all plots: one palette for light backgrounds and one for dark ones, and frames without a box.

The hues are those of Okabe and Ito, whose lightness is changed so that each has a contrast of 3 or more with its
background, and any two differ for readers who see two of the three primary colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from cuslayer import check

# Below this luminance white text is more legible than black.
_DARK = 0.179
# The parts of viridis that are legible on a light and on a dark background.
_LIGHT_STEPS, _DARK_STEPS = (0.0, 0.55), (0.4, 1.0)


class Palette(NamedTuple):
    """Colours of a background.

    Attributes:
        page: the background.
        ink: text, spikes, and what is most important.
        faint: thresholds and other lines of reference.
        line: grids.
        blue: the first series; OFF events, and what inhibits.
        vermilion: the second; ON events, what excites, and errors.
        green: the third.
        purple: the fourth.
        amber: the fifth.
        sky: the sixth.
    """

    page: str
    ink: str
    faint: str
    line: str
    blue: str
    vermilion: str
    green: str
    purple: str
    amber: str
    sky: str

    @property
    def polarities(self) -> tuple[str, str]:
        """The colours of OFF and ON events."""
        return self.blue, self.vermilion

    @property
    def all(self) -> tuple[str, ...]:
        """The colours of series, in order."""
        return (self.blue, self.vermilion, self.green, self.purple, self.amber, self.sky, self.ink, self.faint)

    def series(self, count: int) -> list[Any]:
        """Return distinct colours for a number of series: those of the palette, or steps of viridis for more."""
        if count <= len(self.all):
            return list(self.all[:count])
        from matplotlib import colormaps

        return list(colormaps["viridis"](np.linspace(*(_DARK_STEPS if self is DARK else _LIGHT_STEPS), count)))


LIGHT = Palette(
    *("#FFFFFF", "#222222", "#767676", "#DCDCDC"),
    *("#0072B2", "#D55E00", "#009E73", "#B96D97", "#694700", "#255570"),
)
DARK = Palette(
    *("#15171A", "#E4E4E4", "#9B9B9B", "#34383D"),
    *("#4A9FE0", "#F0803C", "#2BC49A", "#D59BC4", "#F2C14E", "#BFE3F7"),
)
PALETTES = {"light": LIGHT, "dark": DARK}


@contextmanager
@check.operation
def style(background: str) -> Iterator[None]:
    """Draw new figures on a light or a dark background within the block; matplotlib's settings are as before after it.

    Without it, a new figure of `cs.plot` is dark if matplotlib's own setting ``figure.facecolor`` is. Axes that a
    function is given keep their background, and get the colours that are legible on it.

    Args:
        background: "light" or "dark".

    Raises:
        ValueError: background is another word.

    >>> from cuslayer import plot
    >>> with plot.style("dark"):
    ...     ax = plot.raster(np.ones((5, 1, 3), bool))
    >>> ax.get_lines()[0].get_color() == DARK.ink
    True
    """
    check.one_of("background", background, tuple(PALETTES))
    from matplotlib import rc_context

    with rc_context(_settings(PALETTES[background])):
        yield


@contextmanager
def style_of_new_figures() -> Iterator[None]:
    """Draw new figures within the block in the style, on a background as light as matplotlib's own setting."""
    from matplotlib import rc_context

    with rc_context(_settings(palette(None))):
        yield


def palette(ax: Any) -> Palette:
    """Return the palette for the background of axes; for None, for that of a new figure."""
    if ax is None:
        from matplotlib import rcParams

        return _palette_on(rcParams["figure.facecolor"])
    return _palette_on(ax.get_facecolor(), ax.figure.get_facecolor(), ax.figure.canvas.figure.get_facecolor())


def _palette_on(*backgrounds: Any) -> Palette:
    """Return the palette for the first background that is not transparent."""
    from matplotlib.colors import to_rgba

    for background in backgrounds:
        *rgb, opacity = to_rgba(background)
        if opacity >= 0.5:
            return DARK if luminance(*rgb) < _DARK else LIGHT
    return LIGHT


def luminance(red: float, green: float, blue: float) -> float:
    """Return the relative luminance of a colour of sRGB, as the guidelines on contrast (WCAG 2) define it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def _settings(colors: Palette) -> Any:
    """Return matplotlib's settings of a new figure; fonts are left to the user."""
    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), colors.page),
        **dict.fromkeys(ink, colors.ink),
        **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), "inherit"),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon", "axes.grid"), False),
        **dict.fromkeys(("axes.titlecolor", "savefig.facecolor"), "auto"),
        "legend.labelcolor": None,
        "grid.color": colors.line,
        "axes.prop_cycle": f"cycler('color', {list(colors.all)})",
    }
