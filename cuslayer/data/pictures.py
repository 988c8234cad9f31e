"""Random changes of pictures in training: shifts, mirroring, and erased rectangles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.data.augment import Generator, SameSensor, Shape, generator


@check.constructed
@dataclass(frozen=True)
class OtherPicture(SameSensor):
    """Change a recording of numbers in frames, (T, H, W, C), the same way at every step.

    Args:
        shift: the most pixels by which it moves the frame along each axis; the edge is filled with 0.
        mirror: the probability of swapping left and right.
        erase: the longest side of a rectangle, in pixels, that becomes noise, uniform from 0 to 1, in half of the
            recordings; 0 for none.

    Raises:
        TypeError: shift or erase is not an integer, or mirror is not a number.
        ValueError: a number is negative, or mirror is more than 1; in a call, the recording is not (T, H, W, C).

    Source: Zhong and others 2017, "Random Erasing Data Augmentation", arXiv 1708.04896, for the rectangle.

    >>> picture = np.arange(6.0).reshape(1, 2, 3, 1)
    >>> OtherPicture(mirror=1.0)(picture, (2, 3, 1)).ravel().tolist()
    [2.0, 1.0, 0.0, 5.0, 4.0, 3.0]
    """

    of_signals: ClassVar[bool] = True

    shift: int = 0
    mirror: float = 0.0
    erase: int = 0

    def __post_init__(self) -> None:
        check.integer("shift", self.shift, least=0)
        check.integer("erase", self.erase, least=0)
        if check.not_negative("mirror", self.mirror) > 1:
            raise ValueError(f"mirror must lie in [0, 1], got {self.mirror:g}")

    def __call__(self, recording: Array, shape: Shape, rng: Generator | None = None) -> Array:
        x = np.asarray(recording)
        if x.ndim != 4:
            raise ValueError(f"a recording must be (T, H, W, C), got shape {x.shape}")
        rng = generator(rng)
        still = x.shape[0] > 0 and x.strides[0] == 0
        steps = _moved(x[:1] if still else x, rng.integers(-self.shift, self.shift + 1, 2))
        # Always a number for each change: one option does not alter the others.
        mirrored, erased = rng.random(2) < (self.mirror, 0.5 if self.erase else 0.0)
        if mirrored:
            steps = steps[:, :, ::-1]
        if erased:
            steps = steps.copy()
            _erase(steps, self.erase, rng)
        return np.broadcast_to(steps, x.shape)


def _moved(x: Array, by: npt.NDArray[np.int64]) -> Array:
    """Return frames moved down and right by some pixels; what leaves the frame is lost."""
    moved = np.zeros_like(x)
    to_rows, from_rows = _overlap(x.shape[1], int(by[0]))
    to_columns, from_columns = _overlap(x.shape[2], int(by[1]))
    moved[:, to_rows, to_columns] = x[:, from_rows, from_columns]
    return moved


def _overlap(size: int, by: int) -> tuple[slice, slice]:
    """Return where pixels of an axis go, and where they come from."""
    by = min(max(by, -size), size)
    return slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size - max(by, 0))


def _erase(x: Array, longest: int, rng: Generator) -> None:
    """Fill a rectangle of all frames with the same noise."""
    rows, columns = x.shape[1:3]
    height = int(rng.integers(1, min(longest, rows) + 1))
    width = int(rng.integers(1, min(longest, columns) + 1))
    row = int(rng.integers(rows - height + 1))
    column = int(rng.integers(columns - width + 1))
    x[:, row : row + height, column : column + width] = rng.random((height, width, x.shape[3]))
