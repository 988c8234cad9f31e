"""Nodes of the graph of operations, and the arrays that they need to stay as they are; see cuslayer/tape.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from cuslayer.operations.base import Operation, Pullback

_serial = itertools.count()


class Leaf(Protocol):
    """What a node needs of a tensor.

    Attributes:
        requires_grad: whether `backward` computes its gradient.
        changes: how often its array was changed in place.
    """

    requires_grad: bool
    changes: list[int]


T = TypeVar("T", bound=Leaf)


class Node:
    """A graph node: an operation's pullback and its inputs.

    Each of `inputs` is the node that made the input, a leaf tensor, or None where no gradient is required. The pullback
    takes a `DeferredGradient` if `takes_deferred`, else arrays only. `saved` has, for each array that the pullback may
    read, the count of its changes and the number at which it stood.
    """

    __slots__ = ("inputs", "operation", "pullback", "saved", "serial", "shape", "takes_deferred")

    def __init__(
        self, operation: Operation, pullback: Pullback, inputs: tuple[Any, ...], shape: tuple[int, ...]
    ) -> None:
        self.serial = next(_serial)
        self.operation, self.inputs, self.shape = operation, inputs, shape
        self.pullback: Pullback | None = pullback
        self.takes_deferred = getattr(operation, "takes_deferred", False)
        self.saved: list[tuple[list[int], int]] = []

    def input_gradients(self, grad: list[Any]) -> list[tuple[Any, Any]]:
        """Return each input that requires a gradient with its gradient; free what forward saved.

        `grad` is a list of one item, the result's gradient. It is emptied, so that the pullback can free the array.
        """
        if self.pullback is None:
            raise ValueError("this graph has been walked before and its memory freed; run forward again")
        if any(changes[0] != number for changes, number in self.saved):
            name = getattr(self.operation, "__name__", "an operation").strip("_")
            raise ValueError(
                f"{name} needs an array that was changed in place since forward, as optimizer.step() or "
                f"w.data *= 2 does; call backward before that, or run forward again"
            )
        found = self.pullback(grad.pop())
        gradients = found if isinstance(found, (tuple, list)) else (found,)
        required = [(x, g) for x, g in zip(self.inputs, gradients, strict=True) if x is not None and g is not None]
        self.pullback, self.inputs, self.saved = None, (), []
        return [(x, g() if callable(g) else g) for x, g in required]


def saved(operation: Operation, tensors: Sequence[T | None], result: T) -> list[T]:
    """Return the tensors whose arrays the pullback of an operation may read; see `saves`."""
    what, given = getattr(operation, "saves", None), [t for t in tensors if t is not None]
    if what is None:
        return [*given, result]
    if what == "others":
        # The gradient of one array needs the others.
        required = [t for t in given if t.requires_grad]
        return given if len(required) > 1 else [t for t in given if t is not required[0]]
    return [result] if what == "result" else []
