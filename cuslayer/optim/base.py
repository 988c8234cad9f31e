"""The base of the optimizers: parameters in groups, learning rates, frozen parameters, and the state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.optim.ahead import Numbers, StepsAhead
from cuslayer.optim.groups import Given, Parameters, Rules, flag, read_groups, root_mean_square, steps
from cuslayer.optim.schedules import Rate, Schedule, as_schedule
from cuslayer.parameter import Bounded
from cuslayer.tape import Tensor


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


class Update(NamedTuple):
    """The group of a parameter, the number of its step, from 1, and its learning rate in that step."""

    group: Group
    steps: int
    lr: float


# The number of a parameter that moves, its group, and the parameter.
Moving: TypeAlias = tuple[int, Group, Tensor]


class Optimizer:
    """The base of all optimizers.

    ``parameters`` is a list of tensors, or a list of groups: dictionaries with ``"params"``, a list of tensors, and any
    option of the optimizer that differs for them, such as ``"lr"`` or ``"weight_decay"``. A parameter whose
    ``requires_grad`` is False is frozen: no step moves it until it is True again.

    ``lr``, of the optimizer or of a group, can be set at any time to a number or to a schedule, a function from the
    epoch to the rate. Groups without a rate of their own have the optimizer's.

    With ``relative=True`` the rate of a parameter is ``lr`` times its root mean square before its first step: layers of
    small weights and layers of large ones then change by the same share. A parameter of zeros has the rate ``lr``.
    With ``warmup=n`` the rate rises linearly over the first n steps of a parameter. A group can have its own of both.

    On a GPU all parameters are updated together, 8 to a launch, with rates that were sent for many steps ahead; see
    `StepsAhead`. A step reads nothing from the device, except for the first step of a relative rate.

    Attributes:
        groups: the groups, one if none are given.
        parameters: the tensors of all groups in order.
        schedule: the learning rate as a function of the epoch.
        epoch: the current epoch, from 0; the training loop sets it.
        steps: the number of steps so far.
        memory: for each parameter, the arrays of the optimizer's state, by name.
    """

    rules: ClassVar[Rules] = {"weight_decay": check.not_negative, "relative": flag, "warmup": steps}
    weight_decay: float
    relative: bool
    warmup: int

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
        self._sizes: list[float | None] = [None for _ in self.parameters]
        self._ahead: dict[np.dtype[Any], StepsAhead] = {}

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
        alone, together = self._count()
        for i, group, p in alone:
            grad = namespace(p.grad).ascontiguousarray(p.grad)
            update = Update(group, self._taken[i], self._rate(i, group, self._taken[i], group.lr))
            self._update(kernels.of(p.data), p.data, grad, self.memory[i], update)
            if isinstance(p, Bounded):
                p.clamp()
        for dtype, moving in together.items():
            ahead = self._prepared(dtype, moving, 0)
            numbers, _, parameters = zip(*moving, strict=True)
            memory = [self.memory[i] for i in numbers]
            weights, grads = [p.data for p in parameters], [p.grad for p in parameters]
            self._update_all(kernels.of(weights[0]), weights, grads, memory, ahead.arrays)
            ahead.advance()
            for p in parameters:
                if isinstance(p, Bounded) and not _bounds(p):
                    p.clamp()

    def count_step(self) -> None:
        """Count a step that a captured graph is about to take, and send its rates if they are not on the device yet.

        A graph that has captured `step` moves the weights whenever it runs, but no line of this class runs with it. So
        this is called before each run but the first, whose step the capture has counted.

        Raises:
            ValueError: all parameters are frozen, or they are not all updated together on a GPU.
        """
        alone, together = self._count()
        if alone:
            raise ValueError(f"{self._op}: a step can be captured only if all parameters are on a GPU")
        for dtype, moving in together.items():
            self._prepared(dtype, moving, 0).advance()

    def prepare(self) -> None:
        """Send the rates of the next steps to the GPU, so that the next `step` sends nothing and can be captured."""
        for dtype, moving in self._moving()[1].items():
            self._prepared(dtype, moving, 1)

    def _moving(self) -> tuple[list[Moving], dict[np.dtype[Any], list[Moving]]]:
        """Return the parameters that have a gradient and are not frozen.

        Returns:
            Those that are updated one by one, and those that are updated together on a GPU, by type.
        """
        numbers = iter(range(len(self.parameters)))
        alone, together = list[Moving](), dict[np.dtype[Any], list[Moving]]()
        for group in self.groups:
            for p, i in zip(group.params, numbers, strict=False):
                if p.grad is None or not p.requires_grad:
                    continue
                moving = together.setdefault(p.dtype, []) if self._updates_together(kernels.of(p.data)) else alone
                moving.append((i, group, p))
        return alone, together

    def _count(self) -> tuple[list[Moving], dict[np.dtype[Any], list[Moving]]]:
        """Count a step, of the optimizer and of each parameter that moves; return these as `_moving` does."""
        self._check_frozen()
        self.steps += 1
        alone, together = self._moving()
        for i, _, _ in chain(alone, *together.values()):
            self._taken[i] += 1
        return alone, together

    def _updates_together(self, k: Any) -> bool:
        """Return whether parameters with these kernels are updated by `_update_all`, not one by one by `_update`."""
        if k is kernels.cpu:
            return False
        one, many = (next(c for c in type(self).__mro__ if name in vars(c)) for name in ("_update", "_update_all"))
        # Not where a subclass has only an _update of its own.
        return many is not Optimizer and issubclass(many, one)

    def _prepared(self, dtype: np.dtype[Any], moving: list[Moving], start: int) -> StepsAhead:
        """Return the table of parameters that move, with the numbers of `start` steps after the last counted."""
        ahead = self._ahead.setdefault(dtype, StepsAhead(dtype))
        constants = [self._constants(group) + (_bounds(p) or (-math.inf, math.inf)) for _, group, p in moving]
        ahead.prepare(self._rows(moving, start), constants, moving[0][2].data)
        return ahead

    def _rows(self, moving: list[Moving], start: int) -> Callable[[int], list[Numbers]]:
        """Return a function from a number of steps to the numbers of each parameter so many steps after `start`."""
        rates = {id(group): group.lr for _, group, _ in moving}
        known: dict[tuple[int, int, float], Numbers] = {}

        def row(n: int) -> list[Numbers]:
            found = []
            for i, group, _ in moving:
                taken = self._taken[i] + start + n
                key = id(group), taken, self._rate(i, group, taken, rates[id(group)])
                if key not in known:
                    known[key] = self._numbers(Update(group, taken, key[2]))
                found.append(known[key])
            return found

        return row

    def _rate(self, i: int, group: Group, taken: int, rate: float) -> float:
        """Return the learning rate of parameter i in a step of it, counted from 1; `rate` is that of its group."""
        warmup = group.option("warmup")
        if taken < warmup:
            rate *= taken / warmup
        if group.option("relative"):
            size = self._sizes[i]
            if size is None:
                size = self._sizes[i] = root_mean_square(self.parameters[i].data) or 1.0
            rate *= size
        return rate

    def _numbers(self, update: Update) -> Numbers:
        """Return the numbers of a step of a parameter that differ from step to step."""
        raise TypeError(f"{self._op}: an optimizer with _update_all must define _numbers")

    def _constants(self, group: Group) -> Numbers:
        """Return the numbers of a parameter of a group that do not."""
        raise TypeError(f"{self._op}: an optimizer with _update_all must define _constants")

    def _update_all(
        self, k: Any, weights: list[Array], grads: list[Array], memory: list[dict[str, Array]], ahead: list[Array]
    ) -> None:
        """Update several weights on a GPU in place, by the constants, the table and the counter of `StepsAhead`."""

    def _update(self, k: Any, weight: Array, grad: Array, memory: dict[str, Array], update: Update) -> None:
        """Update a weight in place."""
        raise TypeError(f"{self._op}: an optimizer must define _update")

    def state(self) -> dict[str, Array]:
        """Return copies of the optimizer's state by name, on the CPU.

        It has the number of steps, the arrays of each parameter, its initial root mean square where rates are relative
        to it, and each learning rate that was assigned as a number.
        Schedules are functions: they are not part of it.
        """
        found = {"steps": np.array(self.steps)}
        for i, (memory, taken) in enumerate(zip(self.memory, self._taken, strict=True)):
            found |= {f"{i}.{name}": to_numpy(a).copy() for name, a in memory.items()}
            found |= {} if taken == self.steps else {f"{i}.steps": np.array(taken)}
            found |= {} if self._sizes[i] is None else {f"{i}.size": np.array(self._sizes[i])}
        rates = {"lr": self._assigned} | {f"group.{n}.lr": group.assigned for n, group in enumerate(self.groups)}
        return found | {name: np.array(rate) for name, rate in rates.items() if rate is not None}

    def load_state(self, state: dict[str, Array]) -> None:
        """Load a result of `state`, for the same parameters and groups. A rate that it does not have is not changed.

        Raises:
            ValueError: a name is missing or unknown, a shape differs, or a number is out of range; the optimizer is
                unchanged then.
        """
        self.check_state(state)
        op = "load_state"
        steps = {n: check.integer(op, f"optimizer's {n}", a[()], least=0) for n, a in state.items() if _is_steps(n)}
        rates = {n: check.not_negative(op, f"optimizer's {n}", a) for n, a in state.items() if n.split(".")[-1] == "lr"}
        sizes = {n: check.positive(op, f"optimizer's {n}", a) for n, a in state.items() if n.split(".")[-1] == "size"}
        memory = [
            {name: to_device(state[f"{i}.{name}"].astype(a.dtype)) for name, a in memory.items()}
            for i, memory in enumerate(self.memory)
        ]
        self.memory, self.steps = memory, steps["steps"]
        self._taken = [steps.get(f"{i}.steps", self.steps) for i in range(len(memory))]
        self._sizes = [sizes.get(f"{i}.size") for i in range(len(memory))]
        if "lr" in rates:
            self.lr = rates["lr"]
        for number, group in enumerate(self.groups):
            if f"group.{number}.lr" in rates:
                group.lr = rates[f"group.{number}.lr"]

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Raise the errors of `load_state` for what has the names and the shapes of a state."""
        needed = {f"{i}.{name}": a for i, memory in enumerate(self.memory) for name, a in memory.items()}
        needed |= {"steps": np.array(self.steps)}
        optional = [f"{i}.{name}" for i in range(len(self.memory)) for name in ("steps", "size")]
        optional += ["lr", *(f"group.{number}.lr" for number in range(len(self.groups)))]
        known = needed | dict.fromkeys(optional, np.array(0))
        for name in sorted(needed.keys() - state.keys()) + sorted(state.keys() - known.keys()):
            raise ValueError(f"load_state: optimizer's {name} is {'missing' if name in needed else 'unknown'}")
        for name, array in state.items():
            check.same_shape("load_state", f"optimizer's {name}", array, "the parameter's", known[name])


def _is_steps(name: str) -> bool:
    return name.split(".")[-1] == "steps"


def _bounds(p: Tensor) -> Numbers | None:
    """Return the bounds that a kernel clips a parameter to: none for one without, None for one that clips itself."""
    if not isinstance(p, Bounded):
        return -math.inf, math.inf
    return (p.least, p.most) if type(p).clamp is Bounded.clamp else None
