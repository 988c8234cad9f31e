"""Adam, AMSGrad and Adam with Nesterov's momentum."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.optim.base import Group, Optimizer, Parameters, Rate, Rules


def _betas(op: str, name: str, value: Any) -> tuple[float, float]:
    """Return b1 and b2; raise ValueError or TypeError unless they are two numbers in [0, 1)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"{op}: {name} must be two numbers, got {value!r}")
    return check.fraction(op, f"{name}[0]", value[0]), check.fraction(op, f"{name}[1]", value[1])


def _flag(op: str, name: str, value: Any) -> bool:
    """Return value if it is a bool; raise TypeError otherwise."""
    if not isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be True or False, got {type(value).__name__}")
    return value


def _decay(op: str, name: str, value: Any) -> float | None:
    """Return value as a float of at least zero, or None."""
    return None if value is None else check.not_negative(op, name, value)


class Adam(Optimizer):
    """Adam; with amsgrad, AMSGrad, which divides by the largest second moment so far.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``,
    ``w = w - lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)`` at step n of the parameter.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `Optimizer`.
        lr: the learning rate, or a function from the epoch to it.
        betas: b1 and b2.
        eps: added to the denominator.
        weight_decay: the factor of the parameter that is added to its gradient.
        amsgrad: whether to replace v by the largest v so far.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    Source: Kingma and Ba 2015, arXiv 1412.6980; Reddi et al. 2018, arXiv 1904.09237.

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 3)
    0.9
    """

    rules: ClassVar[Rules] = {**Optimizer.rules, "betas": _betas, "eps": check.positive, "amsgrad": _flag}
    betas: tuple[float, float]
    eps: float
    amsgrad: bool

    def __init__(
        self,
        parameters: Parameters,
        lr: Rate = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def memory_names(self, group: Group) -> tuple[str, ...]:
        return ("mean", "square", "peak") if group.option("amsgrad") else ("mean", "square")

    def _rates(self, group: Group, steps: int) -> tuple[float, float, float]:
        """Return the learning rates of the mean and of the gradient, and the factor of sqrt(v), with corrections."""
        b1, b2 = group.option("betas")
        return group.lr / (1 - b1**steps), 0.0, 1 / math.sqrt(1 - b2**steps)

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array], group: Group, steps: int) -> None:
        rate_m, rate_g, scale_v = self._rates(group, steps)
        k.optim.adam(
            *(weight, grad, memory["mean"], memory["square"], memory.get("peak")),
            betas=group.option("betas"),
            rate_m=rate_m,
            rate_g=rate_g,
            scale_v=scale_v,
            eps=group.option("eps"),
            decay=group.option("weight_decay"),
        )


class NAdam(Adam):
    """Adam with Nesterov's momentum.

    With ``mu[n] = b1 (1 - 0.96^(n psi) / 2)``, ``w = w - lr (mu[n+1] m / (1 - mu[1] .. mu[n+1]) +
    (1 - mu[n]) g / (1 - mu[1] .. mu[n])) / (sqrt(v / (1 - b2^n)) + eps)``.

    Without momentum_decay it is the Nadam of SLAYER-PyTorch, whose momentum is constant:
    ``w = w - lr sqrt(1 - b2^n) / (1 - b1^n) (b1 m + (1 - b1) g) / (sqrt(v) + eps)``.

    Args:
        parameters, betas, eps, weight_decay, amsgrad: as in `Adam`.
        lr: the learning rate, or a function from the epoch to it; by default 0.002, and 0.001 without momentum_decay.
        momentum_decay: psi, the rate at which mu rises to b1; None for the constant momentum of SLAYER-PyTorch.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam".

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = NAdam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w.item() < 1.0
    True
    """

    rules: ClassVar[Rules] = {**Adam.rules, "momentum_decay": _decay}
    momentum_decay: float | None

    def __init__(
        self,
        parameters: Parameters,
        lr: Rate | None = None,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        momentum_decay: float | None = 0.004,
    ) -> None:
        if lr is None:
            lr = 0.001 if momentum_decay is None else 0.002
        self._products: dict[tuple[float, float], list[float]] = {}
        options = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        Optimizer.__init__(self, parameters, lr, **options, momentum_decay=momentum_decay)

    def _rates(self, group: Group, steps: int) -> tuple[float, float, float]:
        (b1, b2), psi = group.option("betas"), group.option("momentum_decay")
        if psi is None:
            rate = group.lr * math.sqrt(1 - b2**steps) / (1 - b1**steps)
            return rate * b1, rate * (1 - b1), 1.0

        def mu(n: int) -> float:
            return float(b1 * (1 - 0.5 * 0.96 ** (n * psi)))

        products = self._products.setdefault((b1, psi), [1.0])
        while len(products) <= steps:
            products.append(products[-1] * mu(len(products)))
        product, ahead = products[steps], mu(steps + 1)
        rate_m, rate_g = group.lr * ahead / (1 - product * ahead), group.lr * (1 - mu(steps)) / (1 - product)
        return rate_m, rate_g, 1 / math.sqrt(1 - b2**steps)
