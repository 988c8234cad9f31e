"""The optimizers."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.optim.ahead import Numbers
from cuslayer.optim.base import Group, Optimizer, Update
from cuslayer.optim.finite import Bounds
from cuslayer.optim.groups import Parameters, Rules, betas, optional
from cuslayer.optim.schedules import Rate

# Its square is finite in float32.
_LARGEST_SLOPE = 1e18
# A smaller one may be 0 in float32.
_LEAST_EPS = 1e-37


class _ByKernel(Optimizer):
    """The step of a kernel: NAME_each on the CPU, NAME_all on a GPU, for arrays of the memory and rows of numbers."""

    kernel: ClassVar[str]
    arrays: ClassVar[tuple[str, ...]]

    def memory_names(self, group: Group) -> tuple[str, ...]:
        return self.arrays

    def _update_several(
        self, k: Any, weights: list[Array], grads: list[Array], memory: list[dict[str, Array]], updates: list[Update]
    ) -> None:
        with np.errstate(over="ignore"):  # a rate past float32 is infinite, which the check of the weights finds
            rows = np.array([self._row(update) for update in updates], weights[0].dtype)
        getattr(k.optim, f"{self.kernel}_each")(weights, grads, *self._arrays(memory), rows)

    def _update_all(
        self, k: Any, weights: list[Array], grads: list[Array], memory: list[dict[str, Array]], ahead: list[Array]
    ) -> None:
        getattr(k.optim, f"{self.kernel}_all")(weights, grads, *self._arrays(memory), *ahead)

    def _arrays(self, memory: list[dict[str, Array]]) -> list[list[Array | None]]:
        return [[of_weight.get(name) for of_weight in memory] for name in self.arrays]

    def _row(self, update: Update) -> Numbers:
        return (*self._numbers(update), *self._constants(update.group))


class SGD(_ByKernel):
    """Gradient descent with momentum: ``v = momentum v + g + weight_decay w``, ``w = w - lr v``.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `optim.Optimizer`.
        lr: the learning rate, or a function from the epoch to it.
        momentum: the decay rate of the velocity.
        weight_decay: the factor of the parameter that is added to its gradient.
        relative, warmup: how the rate depends on the parameter and the step; see `optim.Optimizer`.
        clip_norm, clip_value: the limits of the gradients; see `optim.Optimizer`.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = SGD([w], lr=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); w.data.tolist()
    [0.0]
    """

    rules: ClassVar[Rules] = {**Optimizer.rules, "momentum": check.fraction}
    kernel, arrays = "sgd", ("velocity",)
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
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        options = {"weight_decay": weight_decay, "relative": relative, "warmup": warmup}
        super().__init__(parameters, lr, clip_norm=clip_norm, clip_value=clip_value, momentum=momentum, **options)

    def _grow(self, bounds: Bounds, gradient: float, update: Update) -> None:
        momentum, decay = update.group.option("momentum"), update.group.option("weight_decay")
        bounds.moment = momentum * bounds.moment + gradient + decay * bounds.weight
        bounds.weight += update.lr * bounds.moment

    def _numbers(self, update: Update) -> Numbers:
        return (update.lr,)

    def _constants(self, group: Group) -> Numbers:
        return group.option("momentum"), group.option("weight_decay")


class Adam(_ByKernel):
    """Adam; with amsgrad, AMSGrad, which divides by the largest second moment so far.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``,
    ``w = w - lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)`` at step n of the parameter.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `optim.Optimizer`.
        lr: the learning rate, or a function from the epoch to it.
        betas: b1 and b2.
        eps: added to the denominator.
        weight_decay: the factor of the parameter that is added to its gradient.
        amsgrad: whether to replace v by the largest v so far.
        relative, warmup: how the rate depends on the parameter and the step; see `optim.Optimizer`.
        clip_norm, clip_value: the limits of the gradients; see `optim.Optimizer`.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    Source: Kingma and Ba 2015, arXiv 1412.6980; Reddi et al. 2018, arXiv 1904.09237.

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 3)
    0.9
    """

    rules: ClassVar[Rules] = {**Optimizer.rules, "betas": betas, "eps": check.constant, "amsgrad": check.flag}
    kernel, arrays = "adam", ("mean", "square", "peak")
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
        relative: bool = False,
        warmup: int = 0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        options = {"weight_decay": weight_decay, "amsgrad": amsgrad, "relative": relative, "warmup": warmup}
        super().__init__(parameters, lr, clip_norm=clip_norm, clip_value=clip_value, betas=betas, eps=eps, **options)

    def memory_names(self, group: Group) -> tuple[str, ...]:
        return self.arrays if group.option("amsgrad") else self.arrays[:2]

    def _numbers(self, update: Update) -> Numbers:
        """Return the learning rates of the mean and of the gradient, and the factor of sqrt(v), with corrections."""
        b1, b2 = update.group.option("betas")
        return update.lr / (1 - b1**update.steps), 0.0, 1 / math.sqrt(1 - b2**update.steps)

    def _row(self, update: Update) -> Numbers:
        b1, b2, eps, decay = self._constants(update.group)
        return b1, b2, *self._numbers(update), eps, decay

    def _grow(self, bounds: Bounds, gradient: float, update: Update) -> None:
        slope = gradient + update.group.option("weight_decay") * bounds.weight
        # The square of the slope is to be finite, too, in float32.
        bounds.moment = max(bounds.moment, slope) if slope < _LARGEST_SLOPE else math.inf
        rate_m, rate_g, _ = self._numbers(update)
        eps = update.group.option("eps")
        bounds.weight += (rate_m * bounds.moment + rate_g * slope) / eps if eps > _LEAST_EPS else math.inf

    def _constants(self, group: Group) -> Numbers:
        return (*group.option("betas"), group.option("eps"), group.option("weight_decay"))


class NAdam(Adam):
    """Adam with Nesterov's momentum.

    With ``mu[n] = b1 (1 - 0.96^(n psi) / 2)``, ``w = w - lr (mu[n+1] m / (1 - mu[1] .. mu[n+1]) +
    (1 - mu[n]) g / (1 - mu[1] .. mu[n])) / (sqrt(v / (1 - b2^n)) + eps)``.

    Without momentum_decay it is the Nadam of SLAYER-PyTorch, whose momentum is constant:
    ``w = w - lr sqrt(1 - b2^n) / (1 - b1^n) (b1 m + (1 - b1) g) / (sqrt(v) + eps)``.

    Args:
        parameters, betas, eps, weight_decay, amsgrad, relative, warmup, clip_norm, clip_value: as in `Adam`, as are the
            errors.
        lr: the learning rate, or a function from the epoch to it; by default 0.002, and 0.001 without momentum_decay.
        momentum_decay: psi, the rate at which mu rises to b1; None for the constant momentum of SLAYER-PyTorch.

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam".

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = NAdam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w.item() < 1.0
    True
    """

    rules: ClassVar[Rules] = {**Adam.rules, "momentum_decay": optional(check.factor)}
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
        relative: bool = False,
        warmup: int = 0,
        momentum_decay: float | None = 0.004,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        if lr is None:
            lr = 0.001 if momentum_decay is None else 0.002
        self._products: dict[tuple[float, float], list[float]] = {}
        options: dict[str, Any] = {"weight_decay": weight_decay, "amsgrad": amsgrad, "relative": relative}
        options |= {"warmup": warmup, "momentum_decay": momentum_decay, "betas": betas, "eps": eps}
        Optimizer.__init__(self, parameters, lr, clip_norm=clip_norm, clip_value=clip_value, **options)

    def _numbers(self, update: Update) -> Numbers:
        (b1, b2), psi, steps = update.group.option("betas"), update.group.option("momentum_decay"), update.steps
        if psi is None:
            rate = update.lr * math.sqrt(1 - b2**steps) / (1 - b1**steps)
            return rate * b1, rate * (1 - b1), 1.0

        def mu(n: int) -> float:
            return float(b1 * (1 - 0.5 * 0.96 ** (n * psi)))

        products = self._products.setdefault((b1, psi), [1.0])
        while len(products) <= steps:
            products.append(products[-1] * mu(len(products)))
        product, ahead = products[steps], mu(steps + 1)
        rate_m, rate_g = update.lr * ahead / (1 - product * ahead), update.lr * (1 - mu(steps)) / (1 - product)
        return rate_m, rate_g, 1 / math.sqrt(1 - b2**steps)
