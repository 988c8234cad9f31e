"""Signals that end a program, SIGINT (Ctrl-C) and SIGTERM, while there is something to finish first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Deferred:
    """The signal that has come.

    Attributes:
        number: its number; None if there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """The exit code of a program that a signal has ended; 0 without a signal."""
        return 0 if self.number is None else 128 + self.number


@contextmanager
def deferred() -> Iterator[Deferred]:
    """Note the first signal within the block instead of ending; a second one does what it did before the block.

    Signals that are ignored stay so. In a thread that is not the main one, nothing is changed: no signal comes there.
    """
    found = Deferred()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    # A handler that is None was not set by Python, which could not set it again.
    kept = None, signal.SIG_IGN
    before: dict[int, Any] = {n: handler for n in _SIGNALS if (handler := signal.getsignal(n)) not in kept}

    def note(number: int, frame: FrameType | None) -> None:
        if found.number is None:
            found.number = number
            return
        signal.signal(number, before[number])
        signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a signal that comes within the block do after it what it would have done at once, as to interrupt."""
    noted = Deferred()
    try:
        with deferred() as noted:
            yield
    finally:
        if noted.number is not None:
            signal.raise_signal(noted.number)
