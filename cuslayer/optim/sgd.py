"""Gradient descent with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.optim.base import Group, Optimizer, Parameters, Rate, Rules


class SGD(Optimizer):
    """Gradient descent with momentum: ``v = momentum v + g + weight_decay w``, ``w = w - lr v``.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `Optimizer`.
        lr: the learning rate, or a function from the epoch to it.
        momentum: the decay rate of the velocity.
        weight_decay: the factor of the parameter that is added to its gradient.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = SGD([w], lr=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); w.data.tolist()
    [0.0]
    """

    rules: ClassVar[Rules] = {**Optimizer.rules, "momentum": check.fraction}
    momentum: float

    def __init__(
        self, parameters: Parameters, lr: Rate = 0.01, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, momentum=momentum, weight_decay=weight_decay)

    def memory_names(self, group: Group) -> tuple[str, ...]:
        return ("velocity",)

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array], group: Group, steps: int) -> None:
        momentum, decay = group.option("momentum"), group.option("weight_decay")
        k.optim.sgd(weight, grad, memory["velocity"], group.lr, momentum, decay)
