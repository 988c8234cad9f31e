"""Thread-local settings that a ``with`` block changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Setting(Generic[T]):
    """A thread-local value that a ``with`` block changes.

    Args:
        default: the value outside of any block.

    >>> level = Setting(0)
    >>> with level.set(2):
    ...     level.get()
    2
    >>> level.get()
    0
    """

    def __init__(self, default: T) -> None:
        self._default, self._local = default, threading.local()

    def get(self) -> T:
        """Return the current value."""
        value: T = getattr(self._local, "value", self._default)
        return value

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """Set the value within the block; blocks nest."""
        before = self.get()
        self._local.value = value
        try:
            yield
        finally:
            self._local.value = before
