"""Parameters that must stay within bounds while they are trained."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check
from cuslayer.tape import Tensor


class Bounded(Tensor):
    """A parameter that every step of an optimizer leaves within ``[least, most]``.

    Args:
        data: numbers of any shape, as a tensor takes them.
        least: the lower bound; None for none.
        most: the upper bound; None for none.

    Raises:
        ValueError: a bound is not finite, or least is above most.
        TypeError: data is not made of numbers, or a bound is none.

    >>> p = Bounded([-0.5, 0.5, 1.5], least=0.0, most=1.0)
    >>> p.clamp(); p.data.tolist()
    [0.0, 0.5, 1.0]
    """

    __slots__ = ("least", "most")

    def __init__(self, data: Any, *, least: float | None = None, most: float | None = None) -> None:
        super().__init__(data, requires_grad=True)
        self.least = -math.inf if least is None else check.number("Bounded", "least", least)
        self.most = math.inf if most is None else check.number("Bounded", "most", most)
        if self.least > self.most:
            raise ValueError(f"Bounded: least must not be above most, got {self.least:g} and {self.most:g}")

    def clamp(self) -> None:
        """Move what lies outside of the bounds to the nearer one, in place."""
        self.data[...] = self.data.clip(self.least, self.most)
