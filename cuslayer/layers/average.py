"""The mean over groups of channels: the vote of a population of neurons for each class."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.layers.base import Layer, Shape
from cuslayer.tape import Tensor, as_tensor


class Average(Layer):
    """The mean over equal groups of channels: each group is a population of neurons that votes for a class.

    Group i is channels ``i C / groups .. (i+1) C / groups - 1``; for frames, the mean is over all pixels too::

        y[t, n, i] = mean of x[t, n, ..., c] over group i

    The mean of spikes is a number from 0 to 1; summed over time it is the mean spike count of the group.

    Args:
        groups: the number of groups, one for each class.

    Raises:
        ValueError: groups is under 1.
        TypeError: groups is not an integer.

    >>> import numpy as np
    >>> Average(2)(np.array([[[True, True, False, True]]])).data.tolist()
    [[[1.0, 0.5]]]
    """

    memory = 0
    keeps_steps = True

    def __init__(self, groups: int) -> None:
        self.groups = check.integer("Average", "groups", groups, least=1)

    def __call__(self, x: Any) -> Tensor:
        """Return the means (T, N, groups) of x (T, N, C) or (T, N, H, W, C).

        Raises:
            ValueError: x has no channels, or their number is not a multiple of groups.
        """
        x = as_tensor(x)
        check.time_first("Average", "x", x, least_dimensions=3)
        steps, batch, *pixels, channels = x.shape
        self.output_shape(x.shape[2:])
        split = x.reshape(steps, batch, *pixels, self.groups, channels // self.groups)
        return split.mean(axis=(*range(2, 2 + len(pixels)), split.ndim - 1))

    def output_shape(self, shape: Shape | None) -> Shape:
        if shape and shape[-1] % self.groups:
            raise ValueError(f"Average: x must have a multiple of {self.groups} channels, got {shape[-1]}")
        return (self.groups,)

    def __repr__(self) -> str:
        return f"Average({self.groups})"
