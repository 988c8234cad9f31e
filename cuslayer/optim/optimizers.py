"""The optimizers; their base has parameters in groups, learning rates, frozen parameters, and the state."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.optim.groups import Given, Parameters, Rules, betas, flag, optional_decay, read_groups
from cuslayer.optim.schedules import Rate, Schedule, as_schedule
from cuslayer.parameter import Bounded


class Group:
    """Parameters of an optimizer that share their options.

    Attributes:
        params: the tensors.
        options: the options that differ from the optimizer's, by name.

    >>> from cuslayer.tape import Tensor
    >>> w, v = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([{"params": [w], "lr": 0.001}, {"params": [v]}], lr=0.1)
    >>> [group.lr for group in optimizer.groups]
    [0.001, 0.1]
    """

    def __init__(self, optimizer: Optimizer, given: Given) -> None:
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


class Optimizer:
    """The base of all optimizers.

    ``parameters`` is a list of tensors, or a list of groups: dictionaries with ``"params"``, a list of tensors, and any
    option of the optimizer that differs for them, such as ``"lr"`` or ``"weight_decay"``. A parameter whose
    ``requires_grad`` is False is frozen: no step moves it until it is True again.

    ``lr``, of the optimizer or of a group, can be set at any time to a number or to a schedule, a function from the
    epoch to the rate. Groups without a rate of their own have the optimizer's.

    Attributes:
        groups: the groups, one if none are given.
        parameters: the tensors of all groups in order.
        schedule: the learning rate as a function of the epoch.
        epoch: the current epoch, from 0; the training loop sets it.
        steps: the number of steps so far.
        memory: for each parameter, the arrays of the optimizer's state, by name.
    """

    rules: ClassVar[Rules] = {"weight_decay": check.not_negative}
    weight_decay: float

    def __init__(self, parameters: Parameters, lr: Rate, **options: Any) -> None:
        op = self._op = type(self).__name__
        for name, value in options.items():
            setattr(self, name, self.rules[name](op, name, value))
        self.epoch = self.steps = 0
        self.schedule = as_schedule(self._op, "lr", lr)
        self._assigned: float | None = None
        self.groups = [Group(self, given) for given in read_groups(op, parameters, self.rules)]
        self.parameters = [p for group in self.groups for p in group.params]
        self._check_frozen()
        self.memory: list[dict[str, Array]] = [
            {name: namespace(p.data).zeros_like(p.data) for name in self.memory_names(group)}
            for group in self.groups
            for p in group.params
        ]
        # A parameter that was frozen for some time has taken fewer steps: the corrections of its means begin later.
        self._taken = [0 for _ in self.parameters]

    def _check_frozen(self) -> None:
        """Raise ValueError if all parameters are frozen."""
        if not any(p.requires_grad for p in self.parameters):
            raise ValueError(
                f"{self._op}: a parameter must have requires_grad=True, all {len(self.parameters)} are frozen"
            )

    def memory_names(self, group: Group) -> tuple[str, ...]:
        """Return the names of the arrays that a parameter of a group needs."""
        return ()

    @property
    def lr(self) -> float:
        """The learning rate in the current epoch. A number or a schedule can be assigned."""
        return self.rate("lr", self.schedule)

    @lr.setter
    def lr(self, rate: Rate) -> None:
        self.schedule = as_schedule(self._op, "lr", rate)
        self._assigned = None if callable(rate) else float(rate)

    def rate(self, name: str, schedule: Schedule) -> float:
        """Return the rate of a schedule in the current epoch; `name` is what a message calls it."""
        return check.not_negative(self._op, name, schedule(self.epoch))

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient and is not frozen; clip bounded ones to their bounds.

        Raises:
            ValueError: all parameters are frozen.
        """
        self._check_frozen()
        self.steps += 1
        numbers = iter(range(len(self.parameters)))
        for group in self.groups:
            for p, i in zip(group.params, numbers, strict=False):
                if p.grad is None or not p.requires_grad:
                    continue
                self._taken[i] += 1
                grad = namespace(p.grad).ascontiguousarray(p.grad)
                self._update(kernels.of(p.data), p.data, grad, self.memory[i], group, self._taken[i])
                if isinstance(p, Bounded):
                    p.clamp()

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array], group: Group, steps: int) -> None:
        """Update a weight of a group in place, in its step number `steps`."""
        raise TypeError(f"{self._op}: an optimizer must define _update")

    def state(self) -> dict[str, Array]:
        """Return copies of the optimizer's state by name, on the CPU.

        It has the number of steps, the arrays of each parameter, and each learning rate that was assigned as a number.
        Schedules are functions: they are not part of it.
        """
        found = {"steps": np.array(self.steps)}
        for i, (memory, taken) in enumerate(zip(self.memory, self._taken, strict=True)):
            found |= {f"{i}.{name}": to_numpy(a).copy() for name, a in memory.items()}
            found |= {} if taken == self.steps else {f"{i}.steps": np.array(taken)}
        rates = {"lr": self._assigned} | {f"group.{n}.lr": group.assigned for n, group in enumerate(self.groups)}
        return found | {name: np.array(rate) for name, rate in rates.items() if rate is not None}

    def load_state(self, state: dict[str, Array]) -> None:
        """Load a result of `state`, for the same parameters and groups. A rate that it does not have is not changed.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs; the optimizer is unchanged then.
        """
        needed = {f"{i}.{name}": a for i, memory in enumerate(self.memory) for name, a in memory.items()}
        needed |= {"steps": np.array(self.steps)}
        optional = [f"{i}.steps" for i in range(len(self.memory))]
        optional += ["lr", *(f"group.{number}.lr" for number in range(len(self.groups)))]
        known = needed | dict.fromkeys(optional, np.array(0))
        for name in sorted(needed.keys() - state.keys()) + sorted(state.keys() - known.keys()):
            raise ValueError(f"load_state: optimizer's {name} is {'missing' if name in needed else 'unknown'}")
        for name, array in state.items():
            check.same_shape("load_state", f"optimizer's {name}", array, "the parameter's", known[name])
        self.steps = int(state["steps"])
        for i, memory in enumerate(self.memory):
            self._taken[i] = int(state.get(f"{i}.steps", state["steps"]))
            for name, a in memory.items():
                memory[name] = to_device(state[f"{i}.{name}"].astype(a.dtype))
        if "lr" in state:
            self.lr = float(state["lr"])
        for number, group in enumerate(self.groups):
            if f"group.{number}.lr" in state:
                group.lr = float(state[f"group.{number}.lr"])


class SGD(Optimizer):
    """Gradient descent with momentum: ``v = momentum v + g + weight_decay w``, ``w = w - lr v``.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `optim.Optimizer`.
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


class Adam(Optimizer):
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

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    Source: Kingma and Ba 2015, arXiv 1412.6980; Reddi et al. 2018, arXiv 1904.09237.

    >>> from cuslayer.tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = Adam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); round(w.item(), 3)
    0.9
    """

    rules: ClassVar[Rules] = {**Optimizer.rules, "betas": betas, "eps": check.positive, "amsgrad": flag}
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

    rules: ClassVar[Rules] = {**Adam.rules, "momentum_decay": optional_decay}
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
