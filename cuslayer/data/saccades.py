"""The view of the simulated event camera on a small image, enlarged on a black canvas, along three saccades."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Duration of a recording; the path has a position for every millisecond.
MS = 300
# The constants below fit a sensor with this number of rows and columns; other sensors scale them.
SENSOR = 34
_SIDE = 24
# Corners of three saccades, as in N-MNIST, along a triangle with sides of 6 pixels: offsets (rows, columns) from the
# center, which move down right, up right, and back left.
_CORNERS = np.array([[-2.6, -3.0], [2.6, 0.0], [-2.6, 3.0], [-2.6, -3.0]])
_THRESHOLD = 0.35
# Added to intensities before the logarithm: the intensity of black relative to white.
DARK = 0.1
# Standard deviation of the pixels' thresholds, relative to the threshold.
_MISMATCH = 0.05


class Saccades(NamedTuple):
    """The simulated camera, without the image."""

    canvas: tuple[int, int]  # rows and columns of the canvas
    corner: tuple[int, int]  # row and column of the enlarged image's first pixel on the canvas
    enlarge: Floats  # (side, size), the matrix that enlarges an image (size, size): ``enlarge @ image @ enlarge.T``
    path: Floats  # (MS + 1, 2), row and column of the sensor's first pixel on the canvas, every millisecond
    thresholds: Floats  # (H, W, 2), thresholds of OFF and ON events of each pixel, in log intensity

    def draw(self, images: Floats) -> Floats:
        """Return the canvases (N, rows, columns) of images (N, size, size), intensities from 0 to 1."""
        side, (top, left) = len(self.enlarge), self.corner
        drawn = np.zeros((len(images), *self.canvas))
        drawn[:, top : top + side, left : left + side] = self.enlarge @ images @ self.enlarge.T
        return drawn


def saccades(height: int, width: int, size: int, seed: int) -> Saccades:
    """Return three saccades of a sensor over an image.

    The image and the path scale with the sensor's smaller side. On a sensor of 34 x 34 pixels the image has 24 x 24
    pixels.

    Args:
        height: rows of the sensor, H.
        width: columns of the sensor, W.
        size: rows and columns of the image.
        seed: seed of the differences between the pixels' thresholds: each is ``0.35 (1 + 0.05 z)``, z the draws of
            ``numpy.random.default_rng(seed).standard_normal((H, W, 2))``, clipped to -3 .. 3.

    >>> found = saccades(34, 34, size=8, seed=0)
    >>> found.canvas, found.corner, found.enlarge.shape, found.path[0].tolist()
    ((41, 41), (8, 8), (24, 8), [5.6, 6.0])
    """
    scale = min(height, width) / SENSOR
    side = max(1, round(_SIDE * scale))
    corners = _CORNERS * scale
    # The margin around the image on the canvas: to the edge of a centered sensor, plus the longest offset.
    reach = int(np.ceil(np.abs(corners).max()))
    drawn = np.random.default_rng(seed).standard_normal((height, width, 2))
    return Saccades(
        canvas=(height + 2 * reach + 1, width + 2 * reach + 1),
        corner=((height - side) // 2 + reach, (width - side) // 2 + reach),
        enlarge=enlargement(size, side),
        path=reach - image_path(corners),
        thresholds=_THRESHOLD * (1 + _MISMATCH * np.clip(drawn, -3, 3)),
    )


def image_path(corners: Floats = _CORNERS) -> Floats:
    """Return the offset of the image from the center, (MS + 1, 2), every millisecond."""
    legs = len(corners) - 1
    time = np.arange(MS + 1) * legs / MS
    leg = np.minimum(time.astype(np.int64), legs - 1)
    # The speed is zero at the start and end of each saccade.
    part = (1 - np.cos(np.pi * (time - leg))) / 2
    return np.asarray(corners[leg] + part[:, None] * (corners[leg + 1] - corners[leg]))


def enlargement(small: int, large: int) -> Floats:
    """Return the matrix (large, small) of linear interpolation between pixel centers, to black outside."""
    center = (np.arange(large) + 0.5) * small / large - 0.5
    return np.maximum(0.0, 1.0 - np.abs(center[:, None] - np.arange(small)))
