"""Errors of one line: that a block or a call raises one, to the letter or by a pattern."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest


def refuses(message: str, kind: type[Exception] = ValueError) -> Any:
    """Check that a block raises an error with a message."""
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


def refused(message: str, call: Callable[[], Any], kind: type[Exception] = ValueError) -> None:
    """Check that a call raises an error with a message."""
    with refuses(message, kind):
        call()


def raises(match: str, call: Callable[[], Any], kind: type[Exception] = ValueError) -> None:
    """Check that a call raises an error whose message has a pattern."""
    with pytest.raises(kind, match=match):
        call()
