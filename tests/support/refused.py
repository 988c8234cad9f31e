"""Refusals: an error of one line that has the operation, the argument and its rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def refuses(rule: str, cure: str = "") -> Iterator[Any]:
    """Check that a block is refused, by a text such as "Dense: bias must be": operation, argument and rule.

    What came and what to do, after the rule, have the text `cure`.
    """
    with pytest.raises((ValueError, TypeError, IndexError)) as caught:
        yield caught
    error: Any = caught.value
    said, start = str(error), f"{error.operation}: "
    assert said.startswith(start), error
    assert len(start + error.argument) < len(rule), error
    assert said.startswith(rule), error
    assert f"{error.argument} {error.rule}".strip() in said, error
    assert cure in said
    assert said.isprintable()


def refused(rule: str, call: Callable[[], Any], cure: str = "") -> None:
    """Check that a call is refused; see `refuses`."""
    with refuses(rule, cure):
        call()


def raises(match: str, call: Callable[[], Any], kind: type[Exception] = ValueError) -> None:
    """Check that a call raises an error whose message has a pattern."""
    with pytest.raises(kind, match=match):
        call()
