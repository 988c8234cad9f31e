"""Optimizers and schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.parameter import Bounded
from cuslayer.tape import Tensor

Schedule: TypeAlias = Callable[[int], float]
Rate: TypeAlias = float | Schedule


class _Optimizer:
    """The base of all optimizers.

    Attributes:
        parameters: the tensors that are updated.
        schedule: the learning rate as a function of the epoch.
        epoch: the current epoch, from 0; the training loop sets it.
        steps: the number of steps so far.
        memory: for each parameter, the arrays of the optimizer's state, by name.
    """

    state_names: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Tensor], lr: Rate, weight_decay: float) -> None:
        op = self._op = type(self).__name__
        self.parameters = list(parameters)
        for p in self.parameters:
            if not isinstance(p, Tensor) or not p.requires_grad:
                raise TypeError(f"{op}: parameters must be tensors that require a gradient, got {type(p).__name__}")
        if not self.parameters:
            raise ValueError(f"{op}: parameters must be at least one, got none")
        constant = 0.0 if callable(lr) else check.not_negative(op, "lr", lr)
        self.schedule: Schedule = lr if callable(lr) else lambda epoch: constant
        self.weight_decay = check.not_negative(op, "weight_decay", weight_decay)
        self.epoch = 0
        self.steps = 0
        self.memory: list[dict[str, Array]] = [
            {name: namespace(p.data).zeros_like(p.data) for name in self.state_names} for p in self.parameters
        ]

    @property
    def lr(self) -> float:
        """The learning rate of the current epoch."""
        return check.not_negative(self._op, "lr", self.schedule(self.epoch))

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient and clip bounded ones to their bounds."""
        self.steps += 1
        for p, memory in zip(self.parameters, self.memory, strict=True):
            if p.grad is not None:
                grad = namespace(p.grad).ascontiguousarray(p.grad)
                self._update(kernels.of(p.data), p.data, grad, memory)
                if isinstance(p, Bounded):
                    p.clamp()

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array]) -> None:
        raise TypeError(f"{self._op}: an optimizer must define _update")

    def state(self) -> dict[str, Array]:
        """Return copies of the optimizer's state by name, and the number of steps, on the CPU."""
        arrays = {
            f"{i}.{name}": to_numpy(a).copy() for i, memory in enumerate(self.memory) for name, a in memory.items()
        }
        return {"steps": np.array(self.steps), **arrays}

    def load_state(self, state: dict[str, Array]) -> None:
        """Load a result of `state`.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs; the optimizer is unchanged then.
        """
        own = self.state()
        for name in own.keys() ^ state.keys():
            raise ValueError(f"load_state: optimizer's {name} is {'missing' if name in own else 'unknown'}")
        for name, array in own.items():
            check.same_shape("load_state", f"optimizer's {name}", state[name], "the parameter's", array)
        self.steps = int(state["steps"])
        for i, memory in enumerate(self.memory):
            for name, a in memory.items():
                memory[name] = to_device(state[f"{i}.{name}"].astype(a.dtype))


class SGD(_Optimizer):
    """Gradient descent with momentum: ``v = momentum v + g + weight_decay w``, ``w = w - lr v``.

    Args:
        parameters: tensors that require a gradient.
        lr: the learning rate, or a function from the epoch to it.
        momentum: the decay rate of the velocity.
        weight_decay: the factor of the parameter that is added to its gradient.

    Raises:
        ValueError: a constant is out of range, or there is no parameter.
        TypeError: a parameter is not a tensor that requires a gradient.

    >>> w = Tensor([1.0], requires_grad=True); optimizer = SGD([w], lr=0.5)
    >>> (w * w).sum().backward(); optimizer.step(); w.data.tolist()
    [0.0]
    """

    state_names = ("velocity",)

    def __init__(
        self, parameters: Iterable[Tensor], lr: Rate = 0.01, *, momentum: float = 0.0, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        self.momentum = check.fraction("SGD", "momentum", momentum)

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array]) -> None:
        k.optim.sgd(weight, grad, memory["velocity"], self.lr, self.momentum, self.weight_decay)


class Adam(_Optimizer):
    """Adam; with amsgrad, AMSGrad, which divides by the largest second moment so far.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``,
    ``w = w - lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)`` at step n.

    Args:
        parameters: tensors that require a gradient.
        lr: the learning rate, or a function from the epoch to it.
        betas: b1 and b2.
        eps: added to the denominator.
        weight_decay: the factor of the parameter that is added to its gradient.
        amsgrad: whether to replace v by the largest v so far.

    Raises:
        ValueError: a constant is out of range, or there is no parameter.
        TypeError: a parameter is not a tensor that requires a gradient.

    Source: Kingma and Ba 2015, arXiv 1412.6980; Reddi et al. 2018, arXiv 1904.09237.

    >>> w = Tensor([1.0], requires_grad=True); optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 3)
    0.9
    """

    state_names: tuple[str, ...] = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: Rate = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        op = type(self).__name__
        self.betas = check.fraction(op, "betas[0]", betas[0]), check.fraction(op, "betas[1]", betas[1])
        self.eps = check.positive(op, "eps", eps)
        if amsgrad:
            self.state_names = ("mean", "square", "peak")
        super().__init__(parameters, lr, weight_decay)

    def _rates(self) -> tuple[float, float]:
        """Return the learning rates of the mean and of the gradient, with the bias corrections."""
        return self.lr / (1 - self.betas[0] ** self.steps), 0.0

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array]) -> None:
        rate_m, rate_g = self._rates()
        k.optim.adam(
            *(weight, grad, memory["mean"], memory["square"], memory.get("peak")),
            betas=self.betas,
            rate_m=rate_m,
            rate_g=rate_g,
            scale_v=1 / math.sqrt(1 - self.betas[1] ** self.steps),
            eps=self.eps,
            decay=self.weight_decay,
        )


class NAdam(Adam):
    """Adam with Nesterov's momentum.

    With ``mu[n] = b1 (1 - 0.96^(n psi) / 2)``, ``w = w - lr (mu[n+1] m / (1 - mu[1] .. mu[n+1]) +
    (1 - mu[n]) g / (1 - mu[1] .. mu[n])) / (sqrt(v / (1 - b2^n)) + eps)``.

    Args:
        parameters, lr, betas, eps, weight_decay: as in `Adam`.
        momentum_decay: psi, the rate at which mu rises to b1.

    Raises:
        ValueError: a constant is out of range, or there is no parameter.
        TypeError: a parameter is not a tensor that requires a gradient.

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam".

    >>> w = Tensor([1.0], requires_grad=True); optimizer = NAdam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w.item() < 1.0
    True
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: Rate = 0.002,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)
        self.momentum_decay = check.not_negative("NAdam", "momentum_decay", momentum_decay)
        self._products = [1.0]

    def _mu(self, n: int) -> float:
        return self.betas[0] * (1 - 0.5 * 0.96 ** (n * self.momentum_decay))

    def _rates(self) -> tuple[float, float]:
        while len(self._products) <= self.steps:
            self._products.append(self._products[-1] * self._mu(len(self._products)))
        product = self._products[self.steps]
        ahead = self._mu(self.steps + 1)
        return self.lr * ahead / (1 - product * ahead), self.lr * (1 - self._mu(self.steps)) / (1 - product)


def step_decay(lr: float, *, every: int, factor: float = 0.1) -> Schedule:
    """Return a schedule: the learning rate is multiplied by factor after every `every` epochs.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a constant is not a number, or `every` not an integer.

    >>> [step_decay(1.0, every=2, factor=0.5)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    lr, factor = check.positive("step_decay", "lr", lr), check.positive("step_decay", "factor", factor)
    every = check.integer("step_decay", "every", every, least=1)
    return lambda epoch: lr * factor ** (epoch // every)


def cosine_decay(lr: float, *, epochs: int, least: float = 0.0) -> Schedule:
    """Return a schedule: the rate falls from lr along half a cosine and is `least` from epoch `epochs` on.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a constant is not a number, or `epochs` not an integer.

    >>> [round(cosine_decay(1.0, epochs=2)(epoch), 6) for epoch in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """
    lr, least = check.positive("cosine_decay", "lr", lr), check.not_negative("cosine_decay", "least", least)
    epochs = check.integer("cosine_decay", "epochs", epochs, least=1)
    return lambda epoch: least + (lr - least) * (1 + math.cos(math.pi * min(epoch / epochs, 1))) / 2
