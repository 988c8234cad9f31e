"""The numbers of an optimizer's next steps, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.optim.finite import NotFinite

Numbers: TypeAlias = tuple[float, ...]

# The number of steps per transfer: a transfer costs more than computing the numbers, which the GPU does not wait for.
STEPS = 256


class StepsAhead:
    """A table of the numbers of the next steps, and a counter of these steps, on the device.

    A kernel reads the row of the counter and advances it: a step, also in a captured graph, needs no number from the
    host. The host remembers the table. It sends a new one after the last row, or when a step's numbers differ from its
    row: after a change of the learning rate, of the epoch, or of the frozen parameters.

    Attributes:
        arrays: the constants (weights, ...) and the table (STEPS, weights, ...), in the weights' type. Then (2,) int64,
            the row of the next step and the number of steps before row 0. Then (weights, 2) int64, the first steps in
            which each gradient and each update was not finite. A new table reuses these arrays if the number of weights
            is the same.
    """

    def __init__(self, dtype: np.dtype[np.generic]) -> None:
        self._dtype = dtype
        self._constants: list[Numbers] = []
        self._rows: list[list[Numbers]] = []
        self._next = 0
        self._parameters: tuple[int, ...] = ()
        # The notes for the weights of an earlier table.
        self._noted: list[tuple[tuple[int, ...], Array]] = []
        self.arrays: list[Array] = []

    def prepare(
        self,
        row: Callable[[int], list[Numbers]],
        constants: list[Numbers],
        beside: Array,
        parameters: tuple[int, ...],
        taken: int,
    ) -> None:
        """Send a new table unless the current one has the numbers of the next step.

        `row` returns the numbers of each weight in a step, 0 for the next; `beside` is an array on the device;
        `parameters` are the indices of the weights in the optimizer; `taken` is the number of earlier steps.
        """
        fits = self._next < len(self._rows) and self._rows[self._next] == row(0) and self._constants == constants
        same = parameters == self._parameters
        if fits and same and self.arrays and namespace(self.arrays[0]) is namespace(beside):
            return
        self._constants, self._rows, self._next = constants, [row(n) for n in range(STEPS)], 0
        with np.errstate(over="ignore"):  # a rate beyond float32 is infinite, which the check of the weights finds
            found = [np.array(constants, self._dtype), np.array(self._rows, self._dtype)]
        module = namespace(beside)
        sent = [module.asarray(x) for x in (*found, np.array([0, taken]))]
        here = bool(self.arrays) and namespace(self.arrays[0]) is module
        if self.arrays and not same:
            self._noted.append((self._parameters, self.arrays[-1].copy()))
        if not (here and same):
            sent.append(module.zeros((len(parameters), 2), np.int64))
        if here and all(old.shape == new.shape for old, new in zip(self.arrays, sent, strict=False)):
            # A captured graph has their addresses. Notes for the same weights stay.
            for old, new in zip(self.arrays, sent, strict=False):
                old[...] = new
        else:
            self.arrays = sent
        self._parameters = parameters

    def advance(self) -> None:
        """Count a step of the kernel."""
        self._next += 1

    def expire(self) -> None:
        """Send a new table before the next step, since the optimizer has another number of steps."""
        self._rows = []

    def not_finite(self) -> list[NotFinite]:
        """Return and clear the kernels' notes; this waits for the device."""
        found = []
        for parameters, noted in [*self._noted, (self._parameters, self.arrays[-1])] if self.arrays else []:
            steps = to_numpy(noted)
            for place, column in zip(*steps.nonzero(), strict=True):
                found.append(NotFinite(int(steps[place, column]), parameters[place], ("gradient", "update")[column]))
            if steps.any():
                noted[...] = 0
        self._noted = []
        return found
