"""What tests of pictures share: spikes to draw, and what was drawn."""

from __future__ import annotations

import numpy as np


def image_spikes():
    """Return two samples (T 12, N 2, H 3, W 4, C 2); in sample 1 OFF at (row 2, column 0), ON at (row 0, column 3)."""
    spikes = np.zeros((12, 2, 3, 4, 2), bool)
    spikes[1, 1, 2, 0, 0] = True
    spikes[[7, 8], 1, 0, 3, 1] = True
    spikes[5, 0, 1, 1, 0] = True
    return spikes


def lines(ax):
    """Return the lines of axes by their label."""
    return {line.get_label(): line for line in ax.get_lines()}


def marks(line):
    """Return the points of a line."""
    return list(zip(line.get_xdata().tolist(), line.get_ydata().tolist(), strict=True))
