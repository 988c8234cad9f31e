"""A group of an optimizer's parameters, and the numbers of a step of one of them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol, TypeAlias

from cuslayer.optim.groups import Given
from cuslayer.optim.schedules import Rate, Schedule, as_schedule
from cuslayer.parameter import Bounded
from cuslayer.tape import Tensor


class Owner(Protocol):
    """The optimizer of a group."""

    @property
    def lr(self) -> float: ...
    def rate(self, name: str, schedule: Schedule) -> float: ...


class Group:
    """Parameters of an optimizer that share their options.

    Attributes:
        params: the tensors.
        options: the options that differ from the optimizer's, by name.

    >>> from cuslayer.optim.optimizers import SGD
    >>> from cuslayer.tape import Tensor
    >>> w, v = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([{"params": [w], "lr": 0.001}, {"params": [v]}], lr=0.1)
    >>> [group.lr for group in optimizer.groups]
    [0.001, 0.1]
    """

    def __init__(self, optimizer: Owner, given: Given) -> None:
        self._optimizer, (self._name, self.params, self.options) = optimizer, given
        self.assigned: float | None = None

    @property
    def lr(self) -> float:
        """The learning rate in the current epoch. A number or a schedule can be assigned."""
        if "lr" not in self.options:
            return self._optimizer.lr
        return self._optimizer.rate(f"{self._name}lr", self.options["lr"])

    @lr.setter
    def lr(self, rate: Rate) -> None:
        self.options["lr"] = as_schedule(type(self._optimizer).__name__, f"{self._name}lr", rate)
        self.assigned = None if callable(rate) else float(rate)

    def option(self, name: str) -> Any:
        """Return the group's own value of an option, or the optimizer's."""
        return self.options[name] if name in self.options else getattr(self._optimizer, name)


class Update(NamedTuple):
    """The group of a parameter, the number of its step, from 1, and its learning rate in that step."""

    group: Group
    steps: int
    lr: float


# The number of a parameter that moves, its group, and the parameter.
Moving: TypeAlias = tuple[int, Group, Tensor]


def bounds_of(p: Tensor) -> tuple[float, ...] | None:
    """Return the bounds that a kernel clips a parameter to: none for one without, None for one that clips itself."""
    if not isinstance(p, Bounded):
        return -math.inf, math.inf
    return (p.least, p.most) if type(p).clamp is Bounded.clamp else None
