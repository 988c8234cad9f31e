"""Gradient descent with momentum."""

from __future__ import annotations

from typing import Any, ClassVar

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.optim.base import Group, Optimizer, Parameters, Rate, Rules, Update


class SGD(Optimizer):
    """Gradient descent with momentum: ``v = momentum v + g + weight_decay w``, ``w = w - lr v``.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `Optimizer`.
        lr: the learning rate, or a function from the epoch to it.
        momentum: the decay rate of the velocity.
        weight_decay: the factor of the parameter that is added to its gradient.
        relative: whether lr is a fraction of each parameter's initial root mean square; see `Optimizer`.
        warmup: the number of steps in which the rate rises linearly to lr.

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
        self,
        parameters: Parameters,
        lr: Rate = 0.01,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        relative: bool = False,
        warmup: int = 0,
    ) -> None:
        options = {"weight_decay": weight_decay, "relative": relative, "warmup": warmup}
        super().__init__(parameters, lr, momentum=momentum, **options)

    def memory_names(self, group: Group) -> tuple[str, ...]:
        return ("velocity",)

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array], update: Update) -> None:
        momentum, decay = update.group.option("momentum"), update.group.option("weight_decay")
        k.optim.sgd(weight, grad, memory["velocity"], update.lr, momentum, decay)
