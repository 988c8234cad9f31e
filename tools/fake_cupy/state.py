"""The state of the stand-in: the device in use, its memory, and a capture."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.fake_cupy import costs

# CuPy's pool allocates multiples of so many bytes.
_UNIT = 512


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""

    def __init__(self, size: int, total: int, limit: int) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, "
            f"limit set to: {limit:,} bytes)."
        )


@dataclass
class Capture:
    """The operations of a capture: what they do and what they cost."""

    works: list[Callable[[], None]] = field(default_factory=list)
    operations: list[tuple[costs.Costs, costs.Operation]] = field(default_factory=list)

    def launch(self) -> None:
        """Execute the operations in their order."""
        costs.add(self.operations)
        for work in self.works:
            work()


@dataclass
class State:
    """What all parts of the stand-in share.

    Attributes:
        compute: whether operations are computed; False if they are only counted.
        limit: the bytes of each device's memory; None for no limit.
        device: the number of the device in use.
        capture: the capture that is going on, or None.
        scatters: the number of scattered additions and assignments so far; each has another order.
    """

    compute: bool = True
    limit: int | None = None
    device: int = 0
    capture: Capture | None = None
    scatters: int = 0
    used: dict[int, int] = field(default_factory=dict)

    def memory(self) -> tuple[int, int]:
        """Return the free bytes of the device in use, and all of them; without a limit those of an H100."""
        total = 80 << 30 if self.limit is None else self.limit
        return total - self.used.get(self.device, 0), total

    def take(self, array: np.ndarray[Any, Any]) -> None:
        """Count the memory of a new array on the device in use, until the array is deleted.

        Raises:
            OutOfMemoryError: there is not so much memory.
        """
        if self.limit is None or not array.nbytes:
            return
        size, device = -(-array.nbytes // _UNIT) * _UNIT, self.device
        if self.used.get(device, 0) + size > self.limit:
            gc.collect()
        total = self.used.get(device, 0)
        if total + size > self.limit:
            raise OutOfMemoryError(size, total, self.limit)
        self.used[device] = total + size
        weakref.finalize(array, self._release, device, size)

    def _release(self, device: int, size: int) -> None:
        self.used[device] -= size


_states = [State()]


def state() -> State:
    """Return the state of the innermost stand-in."""
    return _states[-1]


@contextmanager
def fresh(compute: bool, limit: int | None) -> Iterator[State]:
    """Use a new state within the block."""
    _states.append(State(compute, limit))
    try:
        yield _states[-1]
    finally:
        _states.pop()


def check_transfer() -> None:
    """Raise RuntimeError during a capture, which does not allow transfers and synchronization."""
    if state().capture is not None:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


def begin_capture() -> None:
    """Record operations instead of executing them."""
    state().capture = Capture()


def end_capture() -> Callable[[], None]:
    """End the capture and return the launch of its graph."""
    capture, state().capture = state().capture, None
    return (capture or Capture()).launch
