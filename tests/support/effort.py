"""Work in calls of functions of Python and of C, which are as many on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooMuch(BaseException):
    """More functions were called than may be; no test takes it for an error of the library."""


@contextmanager
def at_most(calls: int) -> Iterator[None]:
    """Raise TooMuch as soon as the code within has called more functions, of Python or of C, in this thread."""
    left = calls

    def called(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            sys.setprofile(before)
            raise TooMuch(f"more than {calls} calls of functions")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(before)


def calls(work: Callable[[], Any]) -> int:
    """Return the number of calls of functions while work runs."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    # The first is work itself, the last is sys.setprofile.
    return count - 2
