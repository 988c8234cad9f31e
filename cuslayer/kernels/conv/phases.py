"""The pixels of an image that receive gradients by the same taps of a convolution's window.

By its row plus the padding, ``y + top = down q + r``, a pixel belongs to a phase r, and its gradient is a sum over the
taps i of which ``gap i - r`` is a multiple of the stride, of the errors of row ``q - (gap i - r) / down``; columns
likewise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from cuslayer.jit import compiled
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.tiles import copy


class Phase(NamedTuple):
    """The pixels of one phase along rows or columns: every stride-th, from the first one of a rest on.

    Attributes:
        rest: r, see above.
        taps: the taps of the window that they have.
        back: for each of them, how many errors it lies back.
    """

    rest: int
    taps: tuple[int, ...]
    back: tuple[int, ...]


@lru_cache(maxsize=64)
def phases(kernel: int, stride: int, gap: int) -> list[Phase]:
    """Return the phases along one side of a window."""
    found = []
    for rest in range(stride):
        taps = tuple(i for i in range(kernel) if (gap * i - rest) % stride == 0)
        found.append(Phase(rest, taps, tuple((gap * i - rest) // stride for i in taps)))
    return found


class Rows(NamedTuple):
    """The errors that some rows of an image receive, between zeros.

    Attributes:
        window: the window.
        back: rows and columns that the farthest tap lies back.
        line: columns of a row of errors.
        at_once: rows of the image whose errors are put between zeros at once.
    """

    window: Window
    back: tuple[int, int]
    line: int
    at_once: int


def rows_of_errors(window: Window, image: tuple[int, int], of_a_column: int, most: int) -> Rows:
    """Return how many rows of an image are computed at once: their errors, `of_a_column` bytes each, fill `most`."""
    (high, wide), (down, across), (_, left), (gap, gap_across) = window
    height, width = image
    back = gap * (high - 1) // down, gap_across * (wide - 1) // across
    line = (width - 1 + left) // across - left // across + 1 + back[1]
    fitting = max(1, most // max(1, line * of_a_column) - back[0] - 1) * down
    return Rows(window, back, line, min(fitting, height))


@compiled
def put_between_zeros(g: Any, frame: int, low: int, high: int, begin: int, line: int, pixels: Any, to: int) -> None:
    """Write the errors g (frames, rows, columns, outputs) of the rows [low, high) of a frame, zeros around them.

    They go to pixels from `to` on, a row of `line` pixels for each, of which the first is column `begin`.
    """
    (_, rows, columns, outputs), flat = g.shape, g.reshape(g.size)
    since, until, size = min(max(begin, 0), columns), min(begin + line, columns), line * outputs
    for y in range(low, high):
        if y < 0 or y >= rows or until <= since:
            pixels[to : to + size] = 0
        else:
            left, right = to + (since - begin) * outputs, to + (until - begin) * outputs
            pixels[to:left] = 0
            at = ((frame * rows + y) * columns + since) * outputs
            copy(pixels[left:right], flat[at : at + right - left])
            pixels[right : to + size] = 0
        to += size
