"""Grids of small images on one pair of axes, with a title above each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.plot.axes import axes, check_axes, inches
from cuslayer.plot.style import palette

_LINE = 0.19  # the height of a line of text, inches
_LETTER = 0.068  # and the width of a letter
_WIDTH = 8.0


class Grid(NamedTuple):
    """The layout of tiles in cells; a pixel of a tile is one cell.

    Attributes:
        columns: tiles in a row.
        rows: rows of tiles.
        height: rows of cells of a tile.
        width: columns of cells of a tile.
        head: rows of cells above a tile, for its title.
        gap: columns of cells to the right of a tile.
    """

    columns: int
    rows: int
    height: int
    width: int
    head: int
    gap: int

    def corner(self, number: int) -> tuple[int, int]:
        """Return the row and the column of a tile's first cell."""
        row, column = divmod(number, self.columns)
        return row * (self.height + self.head) + self.head, column * (self.width + self.gap)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of cells of the whole grid."""
        return self.rows * (self.height + self.head), self.columns * (self.width + self.gap) - self.gap


def draw_tiles(
    op: str, ax: Any, tiles: Array, titles: Sequence[str], *, columns: int | None, fill: Any, **show: Any
) -> Any:
    """Draw tiles (count, height, width, ...) as one image with a title above each, and return the image.

    `columns` is the most tiles per row, None for the number that makes tiles largest; `fill` is the value between
    tiles; `show` are options of matplotlib's imshow. There must be a tile.
    """
    ax = check_axes(op, ax)
    grid = _grid(tiles.shape, columns, ax, max(len(title) for title in titles) * _LETTER)
    rows, width = grid.size
    ax = axes(op, ax, (_WIDTH, min(max(rows * _WIDTH / width + 0.3, 1.0), 12.0)))
    from matplotlib.patches import Rectangle

    colors = palette(ax)
    canvas = np.full((rows, width, *tiles.shape[3:]), fill, tiles.dtype)
    for number, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        row, column = grid.corner(number)
        canvas[row : row + grid.height, column : column + grid.width] = tile
        middle = column + grid.width / 2 - 0.5
        ax.text(middle, row - 0.5 - 0.1 * grid.head, title, ha="center", va="bottom", fontsize=7.5, color=colors.ink)
        edge = (column - 0.5, row - 0.5), grid.width, grid.height
        ax.add_patch(Rectangle(*edge, fill=False, edgecolor=colors.faint, linewidth=0.5, clip_on=False))
    image = ax.imshow(canvas, interpolation="nearest", **show)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def _grid(shape: tuple[int, ...], columns: int | None, ax: Any, title: float) -> Grid:
    """Return a grid for ax or a new figure; if it can, its tiles are as wide as titles of a width in inches."""
    count, height, width = shape[:3]
    gap = max(1, round(0.06 * width))
    across, down = (_WIDTH, math.inf) if ax is None else inches(ax)

    def cell(columns: int) -> float:
        """Return the side of a cell in inches."""
        rows = math.ceil(count / columns)
        remaining = max(down - rows * _LINE, down / 4)
        return float(min(across / (columns * (width + gap)), remaining / (rows * height)))

    if columns is None:
        legible = [n for n in range(1, count + 1) if across / n >= title] or [1]
        columns = min(legible[-1], 16) if ax is None else max(legible, key=cell)
    columns = min(columns, count)
    return Grid(columns, math.ceil(count / columns), height, width, max(1, math.ceil(_LINE / cell(columns))), gap)
