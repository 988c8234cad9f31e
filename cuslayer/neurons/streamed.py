"""What lets a function of some earlier steps run chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cuslayer.backend import Array


class Remembering:
    """A function of a signal (T, ...) that keeps as many of the last steps as its output depends on.

    >>> delayed = Remembering(lambda x: np.concatenate([np.zeros_like(x[:1]), x[:-1]]), 1)
    >>> delayed(np.array([1.0, 2.0])).tolist(), delayed(np.array([3.0])).tolist()
    ([0.0, 1.0], [2.0])
    """

    def __init__(self, run: Callable[[Array], Array], memory: int) -> None:
        self._run, self._memory = run, memory
        self._before: Array | None = None

    def __call__(self, x: Array) -> Array:
        before = np.zeros((self._memory, *x.shape[1:]), x.dtype) if self._before is None else self._before
        whole = np.concatenate([before, x])
        self._before = whole[len(x) :].copy()
        return self._run(whole)[self._memory :]
