"""Limits of work that do not depend on the clock: calls of functions, which are as many on a busy machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
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
