"""The vote of populations of neurons."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.layers.base import Layer
from cuslayer.tape import Tensor, as_tensor


class Average(Layer):
    """The mean over each of some equal groups of channels: a population votes for a class.

    Group i is channels ``i C / groups .. (i+1) C / groups - 1``; of frames, the mean goes over all pixels too::

        y[t, n, i] = mean of x[t, n, ..., c] over group i

    The means of spikes are numbers from 0 to 1; summed over time they are the mean count of a group.

    Args:
        groups: how many groups, one for each class.

    Raises:
        ValueError: groups is under 1.
        TypeError: groups is no integer.

    >>> import numpy as np
    >>> Average(2)(np.array([[[True, True, False, True]]])).data.tolist()
    [[[1.0, 0.5]]]
    """

    def __init__(self, groups: int) -> None:
        self.groups = check.integer("Average", "groups", groups, least=1)

    def __call__(self, x: Any) -> Tensor:
        """Return the means (T, N, groups) of x (T, N, C) or (T, N, H, W, C).

        Raises:
            ValueError: x has no channels, or the groups do not divide them.
        """
        x = as_tensor(x)
        check.time_first("Average", "x", x, least_dimensions=3)
        steps, batch, *pixels, channels = x.shape
        if channels % self.groups:
            raise ValueError(f"Average: x must have a multiple of {self.groups} channels, got {channels}")
        split = x.reshape(steps, batch, *pixels, self.groups, channels // self.groups)
        return split.mean(axis=(*range(2, 2 + len(pixels)), split.ndim - 1))

    def __repr__(self) -> str:
        return f"Average({self.groups})"
