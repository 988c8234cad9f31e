"""Parameters with bounds."""

from __future__ import annotations

import math
from typing import Any

from cuslayer._base import check
from cuslayer._tape import Tensor, note_change


class Bounded(Tensor):
    """A parameter that each optimizer step clips to ``[least, most]``.

    Args:
        data: numbers of any shape; see `Tensor`.
        least: the lower bound; None for no bound.
        most: the upper bound; None for no bound.

    Raises:
        ValueError: a bound is not finite, or least is above most.
        TypeError: data does not contain numbers, or a bound is not a number.

    >>> p = Bounded([-0.5, 0.5, 1.5], least=0.0, most=1.0)
    >>> p.clamp(); p.data.tolist()
    [0.0, 0.5, 1.0]
    """

    __slots__ = ("least", "most")

    def __init__(self, data: Any, *, least: float | None = None, most: float | None = None) -> None:
        super().__init__(data, requires_grad=True)
        self.least = -math.inf if least is None else check.number("least", least)
        self.most = math.inf if most is None else check.number("most", most)
        if self.least > self.most:
            raise ValueError(f"least must not be above most, got {self.least:g} and {self.most:g}")

    def prepare(self) -> None:
        """Prepare for an optimizer step, which `clamp` follows."""

    def clamp(self) -> None:
        """Clip the elements to the bounds, in place."""
        note_change(self)
        self.data[...] = self.data.clip(self.least, self.most)
