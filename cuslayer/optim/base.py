"""The base of optimizers: parameters in groups, learning rates, frozen parameters, and the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.parameter import Bounded
from cuslayer.tape import Tensor

Schedule: TypeAlias = Callable[[int], float]
Rate: TypeAlias = float | Schedule
Parameters: TypeAlias = Iterable[Tensor] | Iterable[Mapping[str, Any]]
Rules: TypeAlias = Mapping[str, Callable[[str, str, Any], Any]]


class Group:
    """Parameters of an optimizer that share their options.

    Attributes:
        params: the tensors.
        options: the options that differ from the optimizer's, by name.

    >>> from cuslayer.optim.sgd import SGD
    >>> w, v = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([{"params": [w], "lr": 0.001}, {"params": [v]}], lr=0.1)
    >>> [group.lr for group in optimizer.groups]
    [0.001, 0.1]
    """

    def __init__(self, optimizer: Optimizer, name: str, params: list[Tensor], options: dict[str, Any]) -> None:
        self._optimizer, self._name = optimizer, name
        self.params, self.options = params, options
        self.assigned: float | None = None

    @property
    def lr(self) -> float:
        """The learning rate in the current epoch. A number or a schedule can be assigned."""
        if "lr" not in self.options:
            return self._optimizer.lr
        return _rate_at(self._optimizer, f"{self._name}lr", self.options["lr"])

    @lr.setter
    def lr(self, rate: Rate) -> None:
        self.options["lr"] = _schedule(self._optimizer, f"{self._name}lr", rate)
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

    # The function of `check` for each option that a group may have, besides lr.
    rules: ClassVar[Rules] = {"weight_decay": check.not_negative}
    weight_decay: float

    def __init__(self, parameters: Parameters, lr: Rate, **options: Any) -> None:
        op = self._op = type(self).__name__
        for name, value in options.items():
            setattr(self, name, self.rules[name](op, name, value))
        self.epoch = self.steps = 0
        self.schedule = _schedule(self, "lr", lr)
        self._assigned: float | None = None
        self.groups = self._read_groups(parameters)
        self.parameters = [p for group in self.groups for p in group.params]
        self._check_parameters()
        self.memory: list[dict[str, Array]] = [
            {name: namespace(p.data).zeros_like(p.data) for name in self.memory_names(group)}
            for group in self.groups
            for p in group.params
        ]
        # A parameter that was frozen for some time has taken fewer steps: the corrections of its means begin later.
        self._taken = [0 for _ in self.parameters]

    def _read_groups(self, parameters: Any) -> list[Group]:
        """Return the groups of a list of tensors, or of dictionaries."""
        op = self._op
        if isinstance(parameters, Mapping):
            raise TypeError(f"{op}: parameters must be a list of groups, got {type(parameters).__name__}; pass [group]")
        given = _tensors(op, "parameters", parameters, groups=True)
        if not any(isinstance(each, Mapping) for each in given):
            return [Group(self, "", given, {})]
        if not all(isinstance(each, Mapping) for each in given):
            raise TypeError(f"{op}: parameters must be all tensors or all groups, got both")
        return [self._read_group(number, group) for number, group in enumerate(given)]

    def _read_group(self, number: int, given: Mapping[str, Any]) -> Group:
        op, name, known = self._op, f"group {number}'s ", ("params", "lr", *self.rules)
        for key in given:
            if key not in known:
                raise ValueError(f"{op}: {name}option {key!r} is unknown{check.nearest(key, known)}")
        if "params" not in given:
            raise ValueError(f"{op}: {name}params are missing")
        params = given["params"]
        params = _tensors(op, f"{name}params", [params] if isinstance(params, Tensor) else params)
        options = {key: self.rules[key](op, name + key, value) for key, value in given.items() if key in self.rules}
        if "lr" in given:
            options["lr"] = _schedule(self, f"{name}lr", given["lr"])
        return Group(self, name, params, options)

    def _check_parameters(self) -> None:
        """Raise ValueError where a parameter is given twice, or all are frozen."""
        first: dict[int, int] = {}
        for number, p in enumerate(self.parameters):
            if first.setdefault(id(p), number) != number:
                raise ValueError(f"{self._op}: parameter {number} is parameter {first[id(p)]} again")
        self._check_frozen()

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
        return _rate_at(self, "lr", self.schedule)

    @lr.setter
    def lr(self, rate: Rate) -> None:
        self.schedule = _schedule(self, "lr", rate)
        self._assigned = None if callable(rate) else float(rate)

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


def _schedule(optimizer: Optimizer, name: str, rate: Any) -> Schedule:
    """Return a learning rate, a number or a schedule, as a schedule."""
    if callable(rate):
        return rate
    constant = check.not_negative(optimizer._op, name, rate)
    return lambda epoch: constant


def _rate_at(optimizer: Optimizer, name: str, schedule: Schedule) -> float:
    """Return the rate of a schedule in the optimizer's epoch."""
    return check.not_negative(optimizer._op, name, schedule(optimizer.epoch))


def _tensors(op: str, name: str, given: Any, *, groups: bool = False) -> list[Any]:
    """Return a list of tensors, or of groups where they are allowed; raise an error that says what to pass."""
    if isinstance(given, Tensor):
        raise TypeError(f"{op}: {name} must be a list of tensors, got a Tensor; pass [tensor]")
    if callable(getattr(given, "parameters", None)):
        raise TypeError(f"{op}: {name} must be tensors, got {_with_parameters(given)}")
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise TypeError(f"{op}: {name} must be tensors, got {type(given).__name__}")
    found = list(given)
    if not found:
        raise ValueError(f"{op}: {name} must be at least one, got none")
    for each in found:
        if isinstance(each, Tensor):
            if each.node is not None:
                raise ValueError(f"{op}: {name} must be leaf tensors, got the result of an operation")
        elif not (groups and isinstance(each, Mapping)):
            wrong = _with_parameters(each) if hasattr(each, "parameters") else type(each).__name__
            raise TypeError(f"{op}: {name} must be tensors, got {wrong}")
    return found


def _with_parameters(given: Any) -> str:
    """Return what an object with parameters is, and what to pass in its place."""
    return "a network; pass net.parameters()" if hasattr(given, "layers") else "a layer; pass layer.parameters()"
