"""The fixed order of a sum over micro-batches, whoever computes which.

The micro-batches of a batch are the leaves of a binary tree; node (level, place) is the sum of the leaves from
``place 2^level`` to ``(place + 1) 2^level - 1``, as far as there are such, the left half plus the right half. The tree
depends on the number of micro-batches alone. A process has leaves side by side, and of them the largest whole nodes;
another process goes on from there. So every addition has the same two operands, and the sum the same bits, on any
number of processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Label(NamedTuple):
    """Where a node is in the tree."""

    level: int
    place: int

    @property
    def first(self) -> int:
        """The first leaf."""
        return self.place << self.level


class Partial(Generic[T]):
    """The largest whole nodes of leaves that come from left to right.

    Args:
        leaves: the number of leaves of the tree.
        add: adds the right operand to the left one, and returns the sum; it may be the left one, changed.

    Attributes:
        nodes: the nodes so far with their sums, from left to right.

    >>> partial = Partial(5, lambda a, b: f"({a}{b})")
    >>> for leaf, text in enumerate("abcde"):
    ...     partial.add(Label(0, leaf), text)
    >>> partial.nodes
    [(Label(level=3, place=0), '(((ab)(cd))e)')]
    """

    def __init__(self, leaves: int, add: Callable[[T, T], T]) -> None:
        self._leaves, self._add = leaves, add
        self.nodes: list[tuple[Label, T]] = []

    def add(self, label: Label, value: T) -> None:
        """Add a node to the right of those that are there."""
        self.nodes.append((label, value))
        while True:
            (level, place), value = self.nodes[-1]
            if 1 << level >= self._leaves:
                return
            if place % 2:
                if len(self.nodes) < 2 or self.nodes[-2][0] != (level, place - 1):
                    return
                self.nodes.pop()
                value = self._add(self.nodes[-1][1], value)
            elif (place + 1) << level < self._leaves:
                return
            # A left half without leaves to its right is the whole node.
            self.nodes[-1] = Label(level + 1, place // 2), value


def share(leaves: int, rank: int, size: int) -> range:
    """Return the micro-batches of a process: parts side by side, of sizes that differ by one at most.

    >>> [list(share(5, rank, 3)) for rank in range(3)], list(share(1, 0, 2))
    ([[0], [1, 2], [3, 4]], [])
    """
    return range(leaves * rank // size, leaves * (rank + 1) // size)


def labels(leaves: int, part: range) -> list[Label]:
    """Return the nodes that a process has of its leaves.

    >>> [tuple(label) for label in labels(8, range(3, 6))], labels(5, range(4, 5))
    ([(0, 3), (1, 2)], [Label(level=2, place=1)])
    """
    partial = Partial[None](leaves, lambda a, b: None)
    for leaf in part:
        partial.add(Label(0, leaf), None)
    return [label for label, _ in partial.nodes]
