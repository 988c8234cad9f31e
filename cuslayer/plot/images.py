"""Event frames, their animation, and receptive fields: small images on one pair of axes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.files import write_whole
from cuslayer.backend import Array, to_numpy
from cuslayer.data.events import EDGE, Events
from cuslayer.plot.style import (
    Palette,
    as_array,
    axes,
    check_axes,
    color_bar,
    inches,
    neuron_positions,
    palette,
    spike_train,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_FRAMES = 6  # without a window
_MOST_FRAMES = 1000
# The opacity of a pixel with few events, and the quantile of the counts with full opacity.
_FAINTEST, _FULL_AT = 0.3, 0.98


class Frames(NamedTuple):
    """Counts of events (frames, H, W, C), float64, in windows of time in ms."""

    counts: Array
    starts: Array
    stops: Array

    def titles(self) -> list[str]:
        """Return the window of each frame as text."""
        return [f"{start:.4g} to {stop:.4g} ms" for start, stop in zip(self.starts, self.stops, strict=True)]


@check.operation
def frames(
    spikes: TensorLike,
    ax: Axes | None = None,
    *,
    duration: float | None = None,
    sample: int | None = 0,
    dt: float = 1.0,
    columns: int | None = None,
) -> Any:
    """Draw the events of each window of time as an image, in reading order, row 0 on top.

    Two channels are OFF, blue, and ON, vermilion; the colours mix. Other numbers of channels are summed, in grey.
    Colours saturate at the 98 % quantile of all positive counts.

    Args:
        spikes: `Events`, or (T, N, H, W, C) booleans or counts, a tensor or an array.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        duration: the length of each frame, ms; by default a sixth of all time. The last may be shorter.
        sample: the sample of the batch; None if spikes are (T, H, W, C) without a batch.
        dt: the step, ms; not used for events, which have times.
        columns: frames per row; by default as many as fit well.

    Returns:
        The axes.

    Raises:
        ValueError: spikes are not (T, N, H, W, C) or events in 2-D, a number is out of range, or there would be more
            than 1000 frames.
        IndexError: there is no such sample.
        TypeError: spikes are not booleans or counts, or ax is not Axes.

    >>> ax = frames(Events([1.0, 60.0], [3, 0], [0, 1], [1, 0]), duration=50.0)
    >>> [text.get_text() for text in ax.texts]
    ['0 to 50 ms', '50 to 100 ms']
    """
    columns = None if columns is None else check.integer("columns", columns, least=1)
    found = gather(spikes, duration=duration, sample=sample, dt=dt)
    pictures = paint(found.counts, palette(check_axes(ax)))
    # Transparent between frames.
    return draw_tiles(ax, pictures, found.titles(), columns=columns, fill=0.0).axes


def gather(spikes: TensorLike, *, duration: float | None, sample: int | None, dt: float) -> Frames:
    """Return the counts of events in windows of time; see `frames`."""
    if duration is not None:
        duration = check.positive("duration", duration)
    if isinstance(spikes, Events):
        return _of_events(spikes, duration)
    dt = check.time_step("dt", dt)
    train = spike_train(spikes, sample)
    if train.ndim != 4 or 0 in train.shape:
        batch = "" if sample is None else "N, "
        raise ValueError(f"spikes must be (T, {batch}H, W, C) and not empty, a sample has shape {train.shape}")
    steps = len(train)
    each = max(1, math.ceil(steps / _FRAMES) if duration is None else round(duration / dt))
    _not_too_many(math.ceil(steps / each))
    first = np.arange(0, steps, each)
    counts = np.add.reduceat(train.astype(np.float64), first, axis=0)
    return Frames(counts, first * dt, np.minimum(first + each, steps) * dt)


def _of_events(events: Events, duration: float | None) -> Frames:
    """Return frames of a recording, at multiples of the window, from the first with an event."""
    if events.y is None or not len(events):
        what = "1-D" if events.y is None else "2-D, none"
        raise ValueError(f"events must be in 2-D and at least one, got events in {what}")
    low, high = float(events.t.min()), float(events.t.max())
    if duration is None:
        start, duration = low, (high - low) / _FRAMES or 1.0
        count = _FRAMES if high > low else 1
    else:
        start = math.floor(low / duration + EDGE) * duration
        count = math.floor((high - start) / duration + EDGE) + 1
    _not_too_many(count)
    # The last event lies on the end of the last window and belongs to it.
    at = np.floor((events.t - start) / duration + EDGE).astype(np.int64).clip(0, count - 1)
    sensor = int(events.y.max()) + 1, int(events.x.max()) + 1, max(int(events.p.max()) + 1, 2)
    counts = np.zeros((count, *sensor))
    np.add.at(counts, (at, events.y, events.x, events.p), 1.0)
    starts = start + duration * np.arange(count)
    return Frames(counts, starts, starts + duration)


def _not_too_many(count: int) -> None:
    if count > _MOST_FRAMES:
        raise ValueError(f"duration must make at most {_MOST_FRAMES} frames, got {count}")


def paint(counts: Array, colors: Palette) -> Array:
    """Return counts (frames, H, W, C) as colours (frames, H, W, 4): red, green, blue and opacity in 0 .. 1."""
    if counts.shape[-1] != 2:
        counts = counts.sum(axis=-1, keepdims=True)
    busy = counts[counts > 0]
    full = float(np.quantile(busy, _FULL_AT, method="higher")) if busy.size else 1.0
    share = np.where(counts > 0, _FAINTEST + (1 - _FAINTEST) * np.minimum(counts / full, 1.0), 0.0)
    page, *shades = [
        np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
        for color in (colors.page, *(colors.polarities if counts.shape[-1] == 2 else (colors.ink,)))
    ]
    picture = np.ones((*counts.shape[:-1], 4))
    picture[..., :3] = page
    for channel, shade in enumerate(shades):
        picture[..., :3] += share[..., channel, None] * (shade - page)
    return picture.clip(0.0, 1.0)


_PAGE = """<div id="{name}" style="display:inline-block;max-width:100%;font:13px sans-serif">
<img alt="event frames" style="display:block;max-width:100%"/>
<button type="button" aria-label="play or pause" style="width:3em">&#9654;</button>
<input type="range" aria-label="frame" min="0" max="{last}" value="0" step="1" style="width:60%;vertical-align:middle"/>
<output></output>
<script>
(() => {{
  const frames = {frames}, titles = {titles};
  const root = document.getElementById("{name}");
  const [image, button, slider, text] = ["img", "button", "input", "output"].map(tag => root.querySelector(tag));
  let timer = null;
  const show = at => {{
    slider.value = at;
    image.src = "data:image/png;base64," + frames[at];
    text.textContent = titles[at];
  }};
  const pause = () => {{ clearInterval(timer); timer = null; button.textContent = "\\u25b6"; }};
  const play = () => {{
    timer = setInterval(() => show((Number(slider.value) + 1) % frames.length), {pause});
    button.textContent = "\\u275a\\u275a";
  }};
  button.addEventListener("click", () => timer === null ? play() : pause());
  slider.addEventListener("input", () => {{ pause(); show(Number(slider.value)); }});
  show(0);
}})();
</script>
</div>"""


class Animation:
    """An animation of event frames, made by `animation`; notebooks show it as a player.

    Attributes:
        ax: the axes of the frames.
        titles: the window of each frame.
        fps: frames per second.
    """

    def __init__(self, found: Frames, ax: Axes, fps: float) -> None:
        self.ax, self.titles, self.fps = ax, found.titles(), fps
        self._pictures = paint(found.counts, palette(ax))
        self._image = ax.imshow(self._pictures[0], interpolation="nearest")
        ax.set(xlabel="column", ylabel="row")
        self.show(0)

    def __len__(self) -> int:
        return len(self.titles)

    @check.operation("animation")
    def show(self, number: int) -> Any:
        """Draw one frame, and return the axes.

        Raises:
            IndexError: there is no such frame.
            TypeError: number is not an integer.
        """
        number = check.index("number", number, len(self))
        self._image.set_data(self._pictures[number])
        self.ax.set_title(self.titles[number], loc="left", fontsize="medium")
        return self.ax

    def html(self) -> str:
        """Return a player with a slider as self-contained HTML: the frames are embedded as PNG."""
        frames = [base64.b64encode(file.getvalue()).decode("ascii") for file in self._pngs()]
        # Unique on a page, and equal for equal frames.
        name = "frames-" + hashlib.sha256("".join(frames).encode()).hexdigest()[:12]
        return _PAGE.format(
            name=name,
            last=len(self) - 1,
            frames=json.dumps(frames),
            titles=json.dumps(self.titles),
            pause=round(1000 / self.fps),
        )

    _repr_html_ = html

    @check.operation("animation")
    def save(self, path: str | Path) -> None:
        """Write the animation atomically, as `.gif`, or as `.html` for the player.

        Raises:
            ValueError: path has another suffix.
            OSError: the folder is missing, full or not writable.
        """
        path = Path(path)
        ending = check.one_of("the ending of path", path.suffix.lower(), (".gif", ".html"))
        if ending == ".gif":
            write_whole(path, self._write_gif)
            return
        head = '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Event frames</title>'
        page = f"{head}\n{self.html()}\n</html>\n".encode()
        write_whole(path, lambda file: file.write(page))

    def _pngs(self) -> Iterator[io.BytesIO]:
        """Yield each frame as a PNG file in memory."""
        for number in range(len(self)):
            file = io.BytesIO()
            self.show(number).figure.savefig(file, format="png", dpi=80)
            yield file

    def _write_gif(self, file: BinaryIO) -> None:
        from PIL import Image

        # Without dithering, colours are the same in every frame.
        pages = [Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE) for file in self._pngs()]
        pages[0].save(
            file, format="GIF", save_all=True, append_images=pages[1:], duration=round(1000 / self.fps), loop=0
        )


@check.operation
def animation(
    spikes: TensorLike,
    ax: Axes | None = None,
    *,
    duration: float = 10.0,
    sample: int | None = 0,
    dt: float = 1.0,
    fps: float = 15.0,
) -> Animation:
    """Return an animation of the event frames of a recording, in the colours of `frames`.

    Args:
        spikes: `Events`, or (T, N, H, W, C) booleans or counts, a tensor or an array.
        ax: where to draw; by default the axes of a new figure.
        duration: the length of each frame, ms.
        sample: the sample of the batch; None if spikes are (T, H, W, C) without a batch.
        dt: the step, ms; not used for events, which have times.
        fps: frames per second.

    Returns:
        The animation: `save` writes GIF or HTML, `show` draws one frame, and a notebook plays it.

    Raises:
        ValueError: as in `frames`, or fps is not positive.
        TypeError: as in `frames`.

    >>> import numpy as np
    >>> spikes = np.zeros((40, 1, 5, 5, 2), bool)
    >>> spikes[25, 0, 3, 1, 1] = True
    >>> clip = animation(spikes, duration=10.0)
    >>> len(clip), clip.titles[2]
    (4, '20 to 30 ms')
    """
    fps = check.positive("fps", fps)
    found = gather(spikes, duration=check.positive("duration", duration), sample=sample, dt=dt)
    return Animation(found, axes(ax, (4.2, 4.2)), fps)


_MOST_FIELDS = 64


@check.operation
def receptive_fields(
    of: object,
    ax: Axes | None = None,
    *,
    shape: Sequence[int] | None = None,
    neurons: object = None,
    columns: int | None = None,
) -> Any:
    """Draw the weights of each neuron: a map (H, W) for each input channel, one below the other.

    Positive weights are red, negative ones blue, 0 is white; all neurons have the same scale.

    Args:
        of: a dense or convolutional layer, or a weight: dense (inputs, outputs), convolution (kh, kw, in_channels /
            groups, out_channels). The maps of a transposed convolution belong to its input channels.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        shape: the shape (H, W, C) of the inputs of a dense weight; by default the layer's `in_features`.
        neurons: the outputs, or output channels of a convolution, to draw; by default all, at most 64.
        columns: neurons per row; by default as many as fit well.

    Returns:
        The axes, with a colour bar next to them.

    Raises:
        ValueError: the weight has another shape, shape does not fit it, or there are too many neurons.
        IndexError: a neuron is out of range.
        TypeError: the weight is not floating, or ax is not Axes.

    >>> from cuslayer.layers import Dense
    >>> ax = receptive_fields(Dense((8, 8, 2), 10))
    >>> [text.get_text() for text in ax.texts][:3]
    ['0', '1', '2']
    """
    columns = None if columns is None else check.integer("columns", columns, least=1)
    weight = to_numpy(as_array(of.effective_weight() if hasattr(of, "effective_weight") else of))
    check.floating("the weight", weight)
    maps = _maps(weight, shape if shape is not None else getattr(of, "in_features", None))
    which = neuron_positions(neurons, maps.shape[-1:], _MOST_FIELDS)
    if not which or 0 in maps.shape:
        raise ValueError(f"there must be a neuron with inputs, got a weight of shape {weight.shape}")
    tiles = np.stack([_stack(maps[..., neuron]) for neuron in which])
    most = float(np.nanmax(np.abs(tiles))) or 1.0
    image = draw_tiles(
        ax, tiles, [str(n) for n in which], columns=columns, fill=np.nan, cmap="RdBu_r", vmin=-most, vmax=most
    )
    color_bar(image, "weight", fraction=0.03, pad=0.02)
    return image.axes


def _maps(weight: Array, shape: object) -> Array:
    """Return a weight as (H, W, C, neurons)."""
    if weight.ndim == 4:
        return weight
    if weight.ndim != 2:
        rule = "(inputs, outputs) or (kh, kw, channels, maps)"
        raise ValueError(f"the weight must be {rule}, got shape {weight.shape}")
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if len(sides) != 3:
        raise ValueError(f"shape must be (H, W, C) of a dense layer's inputs, got {shape}")
    sides = tuple(check.integer("shape", side, least=1) for side in sides)
    if math.prod(sides) != len(weight):
        raise ValueError(f"shape {sides} has {math.prod(sides)} inputs, the weight has {len(weight)}")
    return weight.reshape(*sides, weight.shape[1])


def _stack(field: Array) -> Array:
    """Return the maps (H, W, C) of a neuron one below the other, with a gap between them."""
    height, width, channels = field.shape
    gap = max(1, round(0.06 * height))
    stacked = np.full((channels * (height + gap) - gap, width), np.nan, field.dtype)
    for channel in range(channels):
        top = channel * (height + gap)
        stacked[top : top + height] = field[..., channel]
    return stacked


_LINE = 0.19  # the height of a line of text, inches
_LETTER = 0.068  # and the width of a letter
_WIDTH = 8.0


def draw_tiles(
    ax: Axes | None, tiles: Array, titles: Sequence[str], *, columns: int | None, fill: object, **show: Any
) -> AxesImage:
    """Draw tiles (count, height, width, ...) as one image with a title above each, and return the image.

    `columns` is the maximum number of tiles per row, None for the number with the largest tiles; `fill` is the value
    between tiles; `show` has options for matplotlib's imshow. There must be a tile. A pixel of a tile is one cell of
    the image; some rows of cells above a tile are for its title, and a gap is to its right.
    """
    ax = check_axes(ax)
    count, height, width = tiles.shape[:3]
    gap = max(1, round(0.06 * width))
    columns, head = _layout(count, height, width + gap, columns, ax, max(len(title) for title in titles) * _LETTER)
    down, across = math.ceil(count / columns) * (height + head), columns * (width + gap) - gap
    ax = axes(ax, (_WIDTH, min(max(down * _WIDTH / across + 0.3, 1.0), 12.0)))
    from matplotlib.patches import Rectangle

    colors = palette(ax)
    canvas = np.full((down, across, *tiles.shape[3:]), fill, tiles.dtype)
    for number, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        row, column = number // columns * (height + head) + head, number % columns * (width + gap)
        canvas[row : row + height, column : column + width] = tile
        middle = column + width / 2 - 0.5
        ax.text(middle, row - 0.5 - 0.1 * head, title, ha="center", va="bottom", fontsize=7.5, color=colors.ink)
        edge = (column - 0.5, row - 0.5), width, height
        ax.add_patch(Rectangle(*edge, fill=False, edgecolor=colors.faint, linewidth=0.5, clip_on=False))
    image = ax.imshow(canvas, interpolation="nearest", **show)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def _layout(count: int, height: int, width: int, columns: int | None, ax: Axes | None, title: float) -> tuple[int, int]:
    """Return tiles per row and rows of cells for a title; if possible, tiles are as wide as a title, in inches."""
    across, down = (_WIDTH, math.inf) if ax is None else inches(ax)

    def cell(columns: int) -> float:
        """Return the side of a cell in inches."""
        rows = math.ceil(count / columns)
        return float(min(across / (columns * width), max(down - rows * _LINE, down / 4) / (rows * height)))

    if columns is None:
        legible = [n for n in range(1, count + 1) if across / n >= title] or [1]
        columns = min(legible[-1], 16) if ax is None else max(legible, key=cell)
    columns = min(columns, count)
    return columns, max(1, math.ceil(_LINE / cell(columns)))
