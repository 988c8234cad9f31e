"""What the networks of this process run, so that its kernels can be compiled together."""

from __future__ import annotations

from collections.abc import Iterable

_steps: set[str] = set()


def expect(steps: Iterable[str]) -> None:
    """Note the names of the steps of a network."""
    _steps.update(steps)


def expected() -> frozenset[str]:
    """Return the names of the steps of all networks so far."""
    return frozenset(_steps)
