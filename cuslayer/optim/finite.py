"""Checks on the CPU of a step's numbers: gradients before it, weights and the optimizer's state after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array, namespace, to_numpy

# A bound beyond this fraction of the largest number is too close to it to be useful.
_SHARE = 1e-4


class NotFinite(NamedTuple):
    """A number of a step that is not finite.

    Attributes:
        step: the number of the step, from 1, as in ``Optimizer.steps`` after it.
        parameter: the number of the parameter.
        what: "gradient", or "update" for a weight or the optimizer's state after the step.
    """

    step: int
    parameter: int
    what: str


def first_not_finite(arrays: list[Array]) -> int | None:
    """Return the number of the first array that is not finite, None if all are; on a GPU with one transfer."""
    squares: dict[Any, Array] = {}
    for x in arrays:
        k = kernels.of(x)
        if k is not kernels.cpu and k not in squares:
            squares[k] = namespace(x).zeros(len(arrays), np.float64)
    for k, totals in squares.items():
        k.optim.add_squares(totals, [x if kernels.of(x) is k else None for x in arrays])
    sums = {k: to_numpy(totals) for k, totals in squares.items()}
    for i, x in enumerate(arrays):
        k = kernels.of(x)
        doubtful = math.isnan(norm(x)) if k is kernels.cpu else not math.isfinite(sums[k][i])
        # The sum of squares of large numbers also overflows.
        if doubtful and not np.isfinite(to_numpy(x)).all():
            return i
    return None


@dataclass
class Bounds:
    """Upper bounds for the absolute values in a weight and in its velocity or mean; inf if unknown.

    They follow from the gradient's norm at no cost, and grow from step to step. The arrays themselves are read only
    when a bound approaches the largest number of their type.
    """

    weight: float = math.inf
    moment: float = math.inf

    def hold(self, largest: float) -> bool:
        """Return whether both bounds show that the numbers are finite."""
        return self.weight < _SHARE * largest and self.moment < _SHARE * largest


def norm(x: Array) -> float:
    """Return the Euclidean norm of an array on the CPU; NaN if an element is not finite.

    One product reads the array as fast as memory allows. It overflows for large numbers; then the array is read again.
    """
    flat = x.ravel(order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(np.dot(flat, flat))
    if math.isfinite(square):
        return math.sqrt(square)
    if not np.isfinite(flat).all():
        return math.nan
    largest = float(abs(flat).max())
    return largest * math.sqrt(float(np.square(flat / largest, dtype=np.float64).sum()))


class StepCheck:
    """Checks the gradients, the weights and the state of parameters on the CPU, step by step."""

    def __init__(self) -> None:
        self._norms: dict[int, float] = {}
        self._bounds: dict[int, Bounds] = {}

    def gradients(self, gradients: Iterable[tuple[int, Array]]) -> int | None:
        """Return the number of the last gradient that is not finite, None if all are; store their norms."""
        self._norms = {i: norm(g) for i, g in gradients}
        return max((i for i, size in self._norms.items() if math.isnan(size)), default=None)

    def taken(self) -> list[tuple[int, float]]:
        """Return and clear the numbers of the last step's parameters and their gradients' norms."""
        found, self._norms = list(self._norms.items()), {}
        return found

    def stays(self, i: int, weight: Array, memory: Mapping[str, Array], grow: Callable[[Bounds], None]) -> bool:
        """Return whether parameter i and its state are finite after a step; read them only if bounds do not show it.

        `grow` changes the bounds before the step to bounds after it.
        """
        bounds = self._bounds.setdefault(i, Bounds())
        grow(bounds)
        if bounds.hold(float(np.finfo(weight.dtype).max)):
            return True
        sizes = [norm(a) for a in (weight, *memory.values())]
        bounds.weight, bounds.moment = sizes[0], sizes[1] if memory else 0.0
        return not any(map(math.isnan, sizes))

    def forget(self) -> None:
        """Forget the bounds, since the parameters or the state may have changed without a step."""
        self._bounds.clear()
