"""Common parts of plots: palettes for light and for dark backgrounds, axes, legends, arguments as arrays.

The hues are Okabe and Ito's. Their lightness gives each a contrast of at least 3 with its background, and any two
differ for readers who see only two of the three primary colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.image import AxesImage

# Below this luminance, white text is more legible than black.
_DARK = 0.179
# The legible parts of viridis on a light and on a dark background.
_LIGHT_STEPS, _DARK_STEPS = (0.0, 0.55), (0.4, 1.0)


class Palette(NamedTuple):
    """Colours of a background."""

    page: str
    ink: str  # text, spikes, and the most important parts
    faint: str  # thresholds and other reference lines
    line: str  # grids
    blue: str  # the first series; OFF events, and inhibition
    vermilion: str  # the second series; ON events, excitation, and errors
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

    def series(self, count: int) -> list[str]:
        """Return distinct colours for a number of series: the palette's colours, or steps of viridis for more."""
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
    """Draw new figures on a light or a dark background within the block; then restore matplotlib's settings.

    Without it, a new figure of `cs.plot` is dark if matplotlib's setting ``figure.facecolor`` is. Given axes keep their
    background, and get colours that are legible on it.

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


def style_of_new_figures() -> AbstractContextManager[object]:
    """Draw new figures within the block in this style, on a background as light as matplotlib's setting."""
    from matplotlib import rc_context

    return rc_context(_settings(palette(None)))


def palette(ax: Axes | None) -> Palette:
    """Return the palette for the background of axes; for None, of a new figure."""
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
    """Return the relative luminance of an sRGB colour, as in the contrast guidelines WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def _settings(colors: Palette) -> Any:
    """Return matplotlib's settings for a new figure, without fonts, which the user chooses."""
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


_LEGEND_LINE = 0.19  # the height of a line of a legend, inches


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return ax, or the axes of a new figure of a size in inches; raise TypeError if ax is not Axes."""
    checked = check_axes(ax)
    return _new_axes(size)[0] if checked is None else checked


@check.operation("plot")
def axes_grid(
    axes: Any, number: str, size: tuple[float, float], rows: int, columns: int, **options: object
) -> list[Axes]:
    """Return axes, by default of a new figure, as a list; raise ValueError unless there are rows times columns."""
    found = _new_axes(size, rows, columns, **options) if axes is None else list(axes)
    if len(found) != rows * columns:
        raise ValueError(f"axes must be {number}, got {len(found)}")
    return found


def _new_axes(size: tuple[float, float], *grid: int, **options: Any) -> list[Axes]:
    """Return the axes of a new figure that pyplot does not register."""
    from matplotlib.figure import Figure

    with style_of_new_figures():
        made = list(np.ravel(Figure(figsize=size, layout="constrained").subplots(*grid, **options)))
        # Drawing creates ticks, with the settings of that time.
        for ax in made:
            ax.tick_params(color=palette(ax).ink, labelcolor=palette(ax).ink)
    return made


def check_axes(ax: Axes | None) -> Axes | None:
    """Return ax; raise TypeError if it is neither Axes nor None."""
    if ax is not None and not (hasattr(ax, "get_window_extent") and hasattr(ax, "plot")):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    return ax


def inches(ax: Axes) -> tuple[float, float]:
    """Return the width and the height of axes in inches; approximate before the layout of their figure."""
    box, dpi = ax.get_window_extent(), ax.figure.dpi
    return box.width / dpi, box.height / dpi


def open_frame(ax: Axes, *, legend: bool = False) -> Axes:
    """Hide the top and right edges of the axes, add a legend inside on request, and return the axes."""
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        legend_inside(ax)
    return ax


def legend_inside(ax: Axes, **where: Any) -> None:
    """Add a legend without a frame, by default inside the axes."""
    ax.legend(frameon=False, fontsize="small", labelcolor=palette(ax).ink, **where)


def legend_beside(ax: Axes) -> None:
    """Add the legend to the right of the axes, outside the plot."""
    lines = max(1, int(inches(ax)[1] / _LEGEND_LINE))
    columns = -(-len(ax.get_legend_handles_labels()[0]) // lines)
    legend_inside(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, ncols=max(1, columns))


def whole_numbers(axis: Axis) -> None:
    """Let an axis have marks at whole numbers only."""
    locator: Any = axis.get_major_locator()
    locator.set_params(integer=True)


def percent_axis(axis: Axis, label: str) -> None:
    """Label an axis of fractions from 0 to 1 in per cent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_label_text(f"{label} (%)")
    axis.set_major_formatter(PercentFormatter(1.0, symbol=""))


def color_bar(image: AxesImage, label: str, **where: Any) -> None:
    """Add a colour bar next to the axes of an image."""
    ink = palette(image.axes).ink
    bar = image.figure.colorbar(image, ax=image.axes, **where)
    bar.set_label(label, fontsize="small", color=ink)
    bar.ax.tick_params(labelsize="small", color=ink, labelcolor=ink)
    bar.outline.set_visible(False)


def as_array(x: Any) -> Array:
    """Return the array of a tensor or an array-like, on its device."""
    return x.data if isinstance(x, Tensor) else x if hasattr(x, "dtype") and hasattr(x, "ndim") else np.asarray(x)


def one_sample(name: str, x: TensorLike, sample: int | None) -> Array:
    """Return one sample (T, ...) of x (T, N, ...) on the CPU; with sample None x is (T, ...) itself."""
    data = as_array(x)
    if sample is None:
        if data.ndim == 0:
            raise ValueError(f"{name} must be (T, ...), got shape ()")
        return to_numpy(data)
    check.time_first(name, data)
    return to_numpy(data[:, check.index("sample", place_of(x, "sample", sample), data.shape[1])])


def place_of(x: Any, axis: str, number: Any) -> Any:
    """Return the position of a recorded sample or neuron, by its number in the network; others are positions."""
    if not isinstance(number, (int, np.integer)) or axis not in getattr(x, "coords", ()):
        return number
    numbers = np.asarray(x.coords[axis]).tolist()
    return numbers.index(number) if number in numbers else number


def spike_train(spikes: TensorLike, sample: int | None) -> Array:
    """Return the spikes or counts (T, ...) of one sample; raise TypeError if they are neither."""
    shape = as_array(spikes).shape
    if sample is not None and len(shape) == 2:
        raise ValueError(f"spikes must be (T, N, ...), got shape {shape}; sample=None draws (T, neurons)")
    data = one_sample("spikes", spikes, sample)
    if data.dtype.kind not in "biu":
        raise TypeError(f"spikes must be booleans or counts, got {data.dtype}")
    return data


def flatten_neurons(data: Array) -> Array:
    """Return (T, ...) as (T, neurons)."""
    return data.reshape(len(data), int(np.prod(data.shape[1:], dtype=np.int64)))


def time_axis(ax: Axes, steps: int, dt: float) -> None:
    """Set the x axis to span all steps, in ms, so that plots over time align."""
    ax.set(xlabel="time (ms)", xlim=(0.0, max(steps, 1) * dt))


def neuron_positions(neurons: object, shape: Sequence[int], most: int) -> list[int]:
    """Return the flat positions of one neuron or a list, integers or index tuples; None for all, at most `most`."""
    count = int(np.prod(shape, dtype=np.int64))
    if neurons is None:
        if count > most:
            raise ValueError(f"neurons must be named where there are more than {most}, got {count}")
        return list(range(count))
    if not isinstance(neurons, (list, tuple, range, np.ndarray)):
        neurons = [neurons]
    indices = (check.neuron_index(tuple(shape), neuron) for neuron in neurons)
    return [int(np.ravel_multi_index(index, tuple(shape))) for index in indices]
