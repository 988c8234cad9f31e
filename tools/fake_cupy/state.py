"""The state of the stand-in: the device in use, its memory, and its streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tools.fake_cupy.memory import Pool
    from tools.fake_cupy.streams import Stream

T = TypeVar("T")


class _Stacks(threading.local):
    """What a thread uses at present: its streams by the device, and its allocators; the last of a list is in use."""

    def __init__(self) -> None:
        self.streams = dict[int, list[Any]]()
        self.allocators = list[Callable[[int], Any]]()


@dataclass
class State:
    """What all parts of the stand-in share.

    Attributes:
        compute: whether operations are computed; False if they are only counted.
        limit: the bytes of each device's memory; None for no limit.
        device: the number of the device in use.
        scatters: the number of scattered additions and assignments so far; each has another order.
        used: the bytes of each device that the driver has given.
        legacy: the default stream of each device.
        streams: all streams.
        pool: the default pool.
        stacks: the streams and allocators of ``with`` blocks.
    """

    compute: bool = True
    limit: int | None = None
    device: int = 0
    scatters: int = 0
    used: dict[int, int] = field(default_factory=dict)
    legacy: dict[int, Stream] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    pool: Pool | None = None
    stacks: _Stacks = field(default_factory=_Stacks)

    def memory(self) -> tuple[int, int]:
        """Return the free bytes of the device in use, and all of them; without a limit those of an H100."""
        total = 80 << 30 if self.limit is None else self.limit
        return total - self.used.get(self.device, 0), total


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


@contextmanager
def pushed(stack: list[T], value: T) -> Iterator[T]:
    """Put a value on a stack within the block."""
    stack.append(value)
    try:
        yield value
    finally:
        stack.pop()
