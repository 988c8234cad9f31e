"""Optimizers: parameters in groups, learning rates, frozen parameters, clipping, the state, and the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from cuslayer import kernels
from cuslayer._base import check, instead
from cuslayer._parameter import Bounded, optimizers
from cuslayer._tape import Tensor, note_change
from cuslayer.backend import Array, DType, namespace, to_device, to_numpy, uninterrupted
from cuslayer.kernels import Kernels
from cuslayer.optim.ahead import Numbers, StepsAhead
from cuslayer.optim.finite import Bounds, NotFinite, StepCheck
from cuslayer.optim.groups import Given, Parameters, Rules, betas, optional, read_groups

Schedule: TypeAlias = Callable[[int], float]
LearningRate: TypeAlias = float | Schedule

# Its square is finite in float32.
_LARGEST_SLOPE = 1e18
# A smaller number may be 0 in float32.
_LEAST_EPS = 1e-37


@dataclass(frozen=True)
class Constant:
    """The schedule of a constant rate."""

    rate: float

    def __call__(self, epoch: int) -> float:
        """Return the rate."""
        return self.rate


@check.constructed
@dataclass(frozen=True)
class ByStep:
    """A schedule by step: a function from the number of the optimizer's steps so far to the rate of the next.

    >>> from cuslayer._tape import Tensor
    >>> optimizer = SGD([Tensor([1.0], requires_grad=True)], lr=ByStep(lambda step: 0.5**step))
    >>> optimizer.step(); optimizer.lr
    0.5
    """

    rate: Schedule

    def __call__(self, step: int) -> float:
        """Return the rate of the step after `step` others."""
        return self.rate(step)


def as_schedule(name: str, rate: object) -> Schedule:
    """Return a learning rate, a number or a schedule, as a schedule; raise ValueError or TypeError if it is neither."""
    if callable(rate):
        return rate
    return Constant(check.factor(name, rate))


class Group:
    """Parameters of an optimizer that share their options.

    Attributes:
        params: the tensors.
        options: the options that differ from the optimizer's, by name.

    >>> from cuslayer._tape import Tensor
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
        """The learning rate of the next step, as in `Optimizer.lr`. A number or a schedule can be assigned."""
        return _warmed(self.base_lr, self._optimizer.steps + 1, self.option("warmup"))

    @lr.setter
    def lr(self, rate: LearningRate) -> None:
        with check.about(type(self._optimizer).__name__):
            self.options["lr"] = as_schedule(f"{self._name}lr", rate)
        self.assigned = None if callable(rate) else float(rate)

    @property
    def base_lr(self) -> float:
        """The learning rate of the next step without the warm-up."""
        return self.rate(0)

    def rate(self, later: int) -> float:
        """Return the rate without the warm-up, `later` steps after the next step of the optimizer."""
        if "lr" not in self.options:
            return self._optimizer.rate("lr", self._optimizer.schedule, later)
        return self._optimizer.rate(f"{self._name}lr", self.options["lr"], later)

    def option(self, name: str) -> Any:
        """Return the group's own value of an option, or the optimizer's."""
        return self.options[name] if name in self.options else getattr(self._optimizer, name)


class Update(NamedTuple):
    """The group of a parameter, the number of its step, from 1, and its learning rate in this step."""

    group: Group
    steps: int
    lr: float


# The number of a parameter to update, its group, and the parameter.
Moving: TypeAlias = tuple[int, Group, Tensor]


def bounds_of(p: Tensor) -> tuple[float, ...] | None:
    """Return the bounds to which a kernel clips a parameter: () without bounds, None if it clips itself."""
    if not isinstance(p, Bounded):
        return -math.inf, math.inf
    return (p.least, p.most) if type(p).clamp is Bounded.clamp else None


@instead.attributes("optimizer")
@check.named
class Optimizer:
    """Base class of optimizers.

    ``parameters`` is a list of tensors, or a list of groups. A group is a dictionary with ``"params"``, a list of
    tensors, and the options that differ for them, such as ``"lr"`` or ``"weight_decay"``. A parameter with
    ``requires_grad`` False is frozen: no step changes it until it is True again.

    ``lr``, of the optimizer or of a group, can be set at any time to a number or to a schedule, a function from the
    epoch to the rate, or `ByStep` of one from the step. Groups without their own rate use the optimizer's. Read, ``lr``
    is the rate of the next step, with the schedule and the warm-up. ``base_lr`` is the rate without the warm-up: during
    a warm-up, set ``optimizer.lr = optimizer.base_lr / 2`` to halve it.

    With ``relative=True`` the rate of a parameter is ``lr`` times its root mean square before its first step. Layers
    with small and with large weights then change by the same fraction. A parameter of zeros has the rate ``lr``. With
    ``warmup=n`` the rate rises linearly over the first n steps of a parameter. Groups can have their own values of
    both.

    With ``clip_value`` a step first clips each element of the gradients to this absolute value. With ``clip_norm`` it
    then scales all gradients to this Euclidean norm if their joint norm is larger. Frozen parameters and parameters
    without a gradient do not count. After the step, ``grad`` of a parameter is its clipped gradient.

    On a CPU one pass updates all parameters of a type. On a GPU one launch updates 48 parameters, with rates that were
    sent for many steps ahead; see `StepsAhead`. A step reads nothing from the device, except for the first step of a
    relative rate.

    Attributes:
        groups: the groups; without given groups there is one.
        parameters: the tensors of all groups in order.
        schedule: the learning rate as a function of the epoch or, `ByStep`, of the step.
        epoch: the current epoch, from 0; the training loop sets it.
        steps: the number of steps so far.
        memory: for each parameter, the arrays of the optimizer's state, by name.
    """

    rules: ClassVar[Rules] = {
        "lr": as_schedule,
        "weight_decay": check.factor,
        "relative": check.flag,
        "warmup": partial(check.integer, least=0),
    }
    weight_decay: float
    relative: bool
    warmup: int

    def __init__(
        self,
        parameters: Parameters,
        lr: LearningRate,
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        **options: object,
    ) -> None:
        limit = optional(check.constant)
        self._clip_norm, self._clip_value = limit("clip_norm", clip_norm), limit("clip_value", clip_value)
        for name, value in options.items():
            setattr(self, name, self.rules[name](name, value))
        self.epoch = self.steps = 0
        self.schedule = as_schedule("lr", lr)
        self._assigned: float | None = None
        self.groups = [Group(self, given) for given in read_groups(parameters, self.rules)]
        self.parameters = [p for group in self.groups for p in group.params]
        self._check_frozen()
        self.memory: list[dict[str, Array]] = [
            {name: namespace(p.data).zeros_like(p.data) for name in self.memory_names(group)}
            for group in self.groups
            for p in group.params
        ]
        # A parameter that was frozen for some time has taken fewer steps: the corrections of its means start later.
        self._taken = [0 for _ in self.parameters]
        self._sizes: list[float | None] = [None for _ in self.parameters]
        self._ahead: dict[DType, StepsAhead] = {}
        self._group_of = [group for group in self.groups for _ in group.params]
        self._check = StepCheck()
        optimizers.add(self)

    def __repr__(self) -> str:
        return check.shown(self, parameters=len(self.parameters), lr=self.base_lr)

    def _check_frozen(self) -> None:
        """Raise ValueError if all parameters are frozen."""
        if not any(p.requires_grad for p in self.parameters):
            raise ValueError(f"a parameter must have requires_grad=True, all {len(self.parameters)} are frozen")

    def memory_names(self, group: Group) -> tuple[str, ...]:
        """Return the names of the arrays that a parameter of a group needs."""
        return ()

    @property
    def clip_norm(self) -> float | None:
        """The largest joint norm of all gradients; None for no limit."""
        return self._clip_norm

    @property
    def clip_value(self) -> float | None:
        """The largest absolute value of an element of a gradient; None for no limit."""
        return self._clip_value

    @property
    @check.method
    def lr(self) -> float:
        """The learning rate of the next step, with schedule and warm-up. A number or a schedule can be assigned."""
        return _warmed(self.base_lr, self.steps + 1, self.warmup)

    @lr.setter
    def lr(self, rate: LearningRate) -> None:
        self.schedule = as_schedule("lr", rate)
        self._assigned = None if callable(rate) else float(rate)

    @property
    @check.method
    def base_lr(self) -> float:
        """The learning rate of the next step without the warm-up."""
        return self.rate("lr", self.schedule)

    def rate(self, name: str, schedule: Schedule, later: int = 0) -> float:
        """Return the rate of a schedule, `later` steps after the next; `name` is its name in messages."""
        return check.factor(name, schedule(self.steps + later if isinstance(schedule, ByStep) else self.epoch))

    def zero_grad(self) -> None:
        """Set the gradients of all parameters to None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient and is not frozen; clip bounded ones to their bounds.

        A step counts when its weights have changed. SIGINT and SIGTERM wait until then. After another exception,
        exactly the changed parameters have taken the step.

        Raises:
            ValueError: all parameters are frozen.
        """
        with uninterrupted():
            self._check_frozen()
            alone, together = self._moving()
            _clip([p for _, _, p in chain(alone, *together.values())], self._clip_value, self._clip_norm)
            self._update_alone(alone)
            for dtype, moving in together.items():
                self._update_together(self._prepared(dtype, moving), moving)
            self.steps += 1

    def _update_together(self, ahead: StepsAhead, moving: list[Moving]) -> None:
        """Update the parameters of a type on a GPU."""
        numbers, _, parameters = zip(*moving, strict=True)
        memory = [self.memory[i] for i in numbers]
        weights, grads = [p.data for p in parameters], [p.grad for p in parameters]
        try:
            self._update_all(kernels.of(weights[0]), weights, grads, memory, ahead.arrays)
        except BaseException:
            ahead.expire()  # the kernel may have advanced the counter on the device
            raise
        ahead.advance()
        for i, p in zip(numbers, parameters, strict=True):
            if isinstance(p, Bounded) and not bounds_of(p):
                p.clamp()
            self._count(i)

    def _update_alone(self, moving: list[Moving]) -> None:
        """Update the parameters that are not updated together on a GPU; on the CPU one pass for all of a type."""
        one_pass = self._applies("_update_several")
        found: dict[Any, list[tuple[int, Array, Update]]] = {}
        for i, group, p in moving:
            grad = namespace(p.grad).ascontiguousarray(p.grad).astype(p.dtype, copy=False)
            update = Update(group, self._taken[i] + 1, self._rate(i, group, self._taken[i] + 1, group.base_lr))
            several = one_pass and kernels.of(p.data) is kernels.cpu
            found.setdefault((several, p.dtype if several else i), []).append((i, grad, update))
        for (several, _), given in found.items():
            numbers, grads, updates = zip(*given, strict=True)
            weights, memory = [self.parameters[i].data for i in numbers], [self.memory[i] for i in numbers]
            of = type(self) if several else Optimizer
            of._update_several(self, kernels.of(weights[0]), weights, list(grads), memory, list(updates))
            for i in numbers:
                p = self.parameters[i]
                if isinstance(p, Bounded):
                    p.clamp()
                self._count(i)

    def step_by(self, launch: Callable[[], None]) -> None:
        """Take a step by launching a captured graph, and count it; send its rates if they are not on the device.

        A graph that has captured `step` changes the weights whenever it runs, but no line of this class runs with it.
        So all runs go through this method, except for the first, which the capture has counted.

        Raises:
            ValueError: all parameters are frozen, or they are not all updated together on a GPU.
        """
        with uninterrupted():
            self._check_frozen()
            alone, together = self._moving()
            if alone:
                raise ValueError("a step can be captured only if all parameters are on a GPU")
            tables = [self._prepared(dtype, moving) for dtype, moving in together.items()]
            launch()
            for ahead in tables:
                ahead.advance()
            for i, _, _ in chain(*together.values()):
                self._count(i)
            self.steps += 1

    def prepare(self) -> None:
        """Send the rates of the next steps to the GPU, so that the next `step` sends nothing and can be captured."""
        for dtype, moving in self._moving()[1].items():
            self._prepared(dtype, moving)

    def check_gradients(self) -> NotFinite | None:
        """Return the last gradient of the coming step that is not finite; None if all are finite.

        It does not read gradients on a GPU: its kernels note values that are not finite; see `not_finite`.
        """
        grads = [(i, p.grad) for i, _, p in self._moving()[0] if p.grad is not None]
        wrong = self._check.gradients([(i, g) for i, g in grads if kernels.of(g) is kernels.cpu])
        return None if wrong is None else NotFinite(self.steps + 1, wrong, "gradient")

    def not_finite(self) -> NotFinite | None:
        """Return the first number that is not finite since the last call: of a gradient, a weight or the state.

        Among several gradients of one step, it is the last, which backward computes first. For parameters on a GPU this
        waits for the device. For parameters on the CPU it checks the last step, if `check_gradients` was called before
        it.
        """
        found = [each for ahead in self._ahead.values() for each in ahead.not_finite()]
        for i, gradient in self._check.taken():
            if not self._check.stays(i, self.parameters[i].data, self.memory[i], partial(self._grow_one, i, gradient)):
                found.append(NotFinite(self.steps, i, "update"))
        order = {"gradient": -1, "update": 1}
        return min(found, key=lambda x: (x.step, order[x.what], order[x.what] * x.parameter), default=None)

    def restart_check(self) -> None:
        """Let the next check read all parameters: they may have changed without a step."""
        self._check.forget()

    def _grow_one(self, i: int, gradient: float, bounds: Bounds) -> None:
        """Update the bounds of parameter i for a step with a gradient of at most a size."""
        p, group, taken = self.parameters[i], self._group_of[i], self._taken[i]
        if not self._applies("_grow"):
            bounds.weight = math.inf
            return
        self._grow(bounds, gradient, Update(group, taken, self._rate(i, group, taken, group.rate(-1))))
        if isinstance(p, Bounded):
            finite = [abs(x) for x in (p.least, p.most) if math.isfinite(x)]
            bounds.weight = max(bounds.weight, *finite, 0.0)

    def _grow(self, bounds: Bounds, gradient: float, update: Update) -> None:
        """Update bounds for a step; by default they are then unknown."""
        bounds.weight = math.inf

    def _definer(self, name: str) -> type:
        """Return the class that defines a method of this optimizer."""
        return next(c for c in type(self).__mro__ if name in vars(c))

    def _applies(self, name: str) -> bool:
        """Return whether a method belongs to `_update`: not if a subclass overrides only `_update`."""
        return issubclass(self._definer(name), self._definer("_update"))

    def _moving(self) -> tuple[list[Moving], dict[np.dtype[np.generic], list[Moving]]]:
        """Return the parameters to update: alone, and, by type, together on a GPU."""
        numbers = iter(range(len(self.parameters)))
        alone, together = list[Moving](), dict[DType, list[Moving]]()
        for group in self.groups:
            for p, i in zip(group.params, numbers, strict=False):
                if p.grad is None or not p.requires_grad:
                    continue
                if isinstance(p, Bounded):
                    p.prepare()
                moving = together.setdefault(p.dtype, []) if self._updates_together(kernels.of(p.data)) else alone
                moving.append((i, group, p))
        return alone, together

    def _count(self, i: int) -> None:
        """Count a step of parameter i, which has changed."""
        self._taken[i] += 1
        note_change(self.parameters[i])

    def _updates_together(self, k: Kernels) -> bool:
        """Return whether `_update_all` updates parameters with these kernels, not `_update` one by one."""
        return k is not kernels.cpu and self._definer("_update_all") is not Optimizer and self._applies("_update_all")

    def _prepared(self, dtype: np.dtype[np.generic], moving: list[Moving]) -> StepsAhead:
        """Return the table of the parameters to update, with the numbers of the next steps."""
        ahead = self._ahead.setdefault(dtype, StepsAhead(dtype))
        constants = [self._constants(group) + (bounds_of(p) or (-math.inf, math.inf)) for _, group, p in moving]
        numbers = tuple(i for i, _, _ in moving)
        ahead.prepare(self._rows(moving), constants, moving[0][2].data, numbers, self.steps)
        return ahead

    def _rows(self, moving: list[Moving]) -> Callable[[int], list[Numbers]]:
        """Return a function from the number of a step, 0 for the next, to the numbers of each parameter in it."""
        groups = {id(group): group for _, group, _ in moving}
        known: dict[tuple[int, int, float], Numbers] = {}

        def row(n: int) -> list[Numbers]:
            found = []
            rates = {key: group.rate(n) for key, group in groups.items()}
            for i, group, _ in moving:
                taken = self._taken[i] + 1 + n
                key = id(group), taken, self._rate(i, group, taken, rates[id(group)])
                if key not in known:
                    known[key] = self._numbers(Update(group, taken, key[2]))
                found.append(known[key])
            return found

        return row

    def _rate(self, i: int, group: Group, taken: int, rate: float) -> float:
        """Return the learning rate of parameter i in its step `taken`, from 1; `rate` is its group's."""
        rate = _warmed(rate, taken, group.option("warmup"))
        if group.option("relative"):
            size = self._sizes[i]
            if size is None:
                size = self._sizes[i] = _root_mean_square(self.parameters[i].data) or 1.0
            rate *= size
        return rate

    def _numbers(self, update: Update) -> Numbers:
        """Return the numbers for a parameter's step that differ from step to step."""
        raise TypeError("an optimizer with _update_all must define _numbers")

    def _constants(self, group: Group) -> Numbers:
        """Return the numbers for a group's parameters that do not differ."""
        raise TypeError("an optimizer with _update_all must define _constants")

    def _update_all(
        self, k: Kernels, weights: list[Array], grads: list[Array], memory: list[dict[str, Array]], ahead: list[Array]
    ) -> None:
        """Update several weights on a GPU in place, by the constants, the table and the counter of `StepsAhead`."""

    def _update(self, k: Kernels, weight: Array, grad: Array, memory: dict[str, Array], update: Update) -> None:
        """Update a weight in place; an optimizer may define only this."""
        if self._definer("_update_several") is Optimizer:
            raise TypeError("an optimizer must define _update")
        self._update_several(k, [weight], [grad], [memory], [update])

    def _update_several(
        self,
        k: Kernels,
        weights: list[Array],
        grads: list[Array],
        memory: list[dict[str, Array]],
        updates: list[Update],
    ) -> None:
        """Update several weights of a type on the CPU in place."""
        for given in zip(weights, grads, memory, updates, strict=True):
            self._update(k, *given)

    def state(self) -> dict[str, Array]:
        """Return copies of the optimizer's state by name, on the CPU.

        It has the number of steps, the arrays of each parameter, its initial root mean square for relative rates, and
        each learning rate that was assigned as a number. Schedules are functions, and not part of it.
        """
        found = {"steps": np.array(self.steps)}
        for i, (memory, taken) in enumerate(zip(self.memory, self._taken, strict=True)):
            found |= {f"{i}.{name}": to_numpy(a).copy() for name, a in memory.items()}
            found |= {} if taken == self.steps else {f"{i}.steps": np.array(taken)}
            found |= {} if self._sizes[i] is None else {f"{i}.size": np.array(self._sizes[i])}
        rates = {"lr": self._assigned} | {f"group.{n}.lr": group.assigned for n, group in enumerate(self.groups)}
        return found | {name: np.array(rate) for name, rate in rates.items() if rate is not None}

    @check.operation
    def load_state(self, state: dict[str, Array]) -> None:
        """Load a result of `state`, for the same parameters and groups. Missing rates do not change.

        Raises:
            ValueError: a name is missing or unknown, a shape differs, or a number is out of range. The optimizer is
                then unchanged.
        """
        self.check_state(state)
        steps, rates, sizes = dict[str, int](), dict[str, float](), dict[str, float]()
        for name, a in state.items():
            kind, what = name.split(".")[-1], f"optimizer's {name}"
            if kind == "steps":
                steps[name] = check.integer(what, a[()], least=0)
            elif kind == "lr":
                rates[name] = check.factor(what, a)
            elif kind == "size":
                sizes[name] = check.positive(what, a)
        memory = [
            {
                name: to_device(check.as_type(f"optimizer's {i}.{name}", state[f"{i}.{name}"], a.dtype, copy=True))
                for name, a in memory.items()
            }
            for i, memory in enumerate(self.memory)
        ]
        self.memory, self.steps = memory, steps["steps"]
        self._taken = [steps.get(f"{i}.steps", self.steps) for i in range(len(memory))]
        self._sizes = [sizes.get(f"{i}.size") for i in range(len(memory))]
        for ahead in self._ahead.values():
            ahead.expire()
        self.restart_check()
        owners = {"lr": self} | {f"group.{number}.lr": group for number, group in enumerate(self.groups)}
        for name, rate in rates.items():
            owners[name].lr = rate

    @check.operation("load_state")
    def check_state(self, state: Mapping[str, object]) -> None:
        """Raise the errors of `load_state` for a mapping with the names and shapes of a state."""
        needed = {f"{i}.{name}": a for i, arrays in enumerate(self.memory) for name, a in arrays.items()}
        needed |= {"steps": np.array(0)}
        optional = [f"{i}.{name}" for i in range(len(self.memory)) for name in ("steps", "size")]
        optional += ["lr", *(f"group.{number}.lr" for number in range(len(self.groups)))]
        known = needed | dict.fromkeys(optional, np.array(0))
        for name in sorted(needed.keys() - state.keys()) + sorted(state.keys() - known.keys()):
            raise ValueError(f"optimizer's {name} is {'missing' if name in needed else 'unknown'}")
        for name, array in state.items():
            check.same_shape(f"optimizer's {name}", array, "the parameter's", known[name])


def _clip(moving: list[Tensor], value: float | None, norm: float | None) -> None:
    """Clip the gradients of parameters: each element to an absolute value, then all together to a norm."""
    limits = ("clip_values", value), ("clip_norm", norm)
    if not moving or all(limit is None for _, limit in limits):
        return
    grads: list[Any] = [p.grad for p in moving]
    k = kernels.of(grads[0])
    if any(kernels.of(g) is not k for g in grads):
        raise ValueError("clip_norm and clip_value need all parameters on one device, got two")
    for name, limit in limits:
        if limit is not None:
            grads = getattr(k.optim, name)(grads, limit)
    for p, g in zip(moving, grads, strict=True):
        p.grad = g


def _warmed(rate: float, step: int, warmup: int) -> float:
    """Return the rate of a step, from 1, whose warm-up takes a number of steps."""
    return rate * (step / warmup) if step < warmup else rate


def _root_mean_square(a: Array) -> float:
    """Return the root of the mean of the squares of an array; 0 for an empty one."""
    return float(np.sqrt(np.mean(np.square(to_numpy(a), dtype=np.float64)))) if a.size else 0.0


class _ByKernel(Optimizer):
    """Steps by a kernel: NAME_each on the CPU, NAME_all on a GPU, for arrays of the memory and rows of numbers."""

    kernel: ClassVar[str]
    arrays: ClassVar[tuple[str, ...]]

    def memory_names(self, group: Group) -> tuple[str, ...]:
        return self.arrays

    def _update_several(
        self,
        k: Kernels,
        weights: list[Array],
        grads: list[Array],
        memory: list[dict[str, Array]],
        updates: list[Update],
    ) -> None:
        with np.errstate(over="ignore"):  # a rate beyond float32 is infinite, which the check of the weights finds
            rows = np.array([self._row(update) for update in updates], weights[0].dtype)
        getattr(k.optim, f"{self.kernel}_each")(weights, grads, *self._arrays(memory), rows)

    def _update_all(
        self, k: Kernels, weights: list[Array], grads: list[Array], memory: list[dict[str, Array]], ahead: list[Array]
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
        lr: the learning rate, or a schedule of it.
        momentum: the decay rate of the velocity.
        weight_decay: the factor of the parameter that is added to its gradient.
        relative, warmup: how the rate depends on the parameter and the step; see `optim.Optimizer`.
        clip_norm, clip_value: the limits of the gradients; see `optim.Optimizer`.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    >>> from cuslayer._tape import Tensor
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
        lr: LearningRate = 0.01,
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

    At step n of the parameter, ``m = b1 m + (1 - b1) g``; ``v = b2 v + (1 - b2) g^2``;
    ``w = w - lr m / (1 - b1^n) / (sqrt(v / (1 - b2^n)) + eps)``.

    Args:
        parameters: tensors, or groups of them, ``[{"params": tensors, "lr": 0.001}, ...]``; see `optim.Optimizer`.
        lr: the learning rate, or a schedule of it.
        betas: b1 and b2.
        eps: constant that is added to the denominator.
        weight_decay: the factor of the parameter that is added to its gradient.
        amsgrad: whether to replace v by the largest v so far.
        relative, warmup: how the rate depends on the parameter and the step; see `optim.Optimizer`.
        clip_norm, clip_value: the limits of the gradients; see `optim.Optimizer`.

    Raises:
        ValueError: a constant is out of range, there is no parameter, one is given twice, or all are frozen.
        TypeError: a parameter is not a tensor.

    Source: Kingma and Ba 2015, arXiv 1412.6980; Reddi et al. 2018, arXiv 1904.09237.

    >>> from cuslayer._tape import Tensor
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
        lr: LearningRate = 0.001,
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
        # The square of the slope must also be finite in float32.
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

    Without momentum_decay it is SLAYER-PyTorch's Nadam, with constant momentum:
    ``w = w - lr sqrt(1 - b2^n) / (1 - b1^n) (b1 m + (1 - b1) g) / (sqrt(v) + eps)``.

    Args:
        parameters, betas, eps, weight_decay, amsgrad, relative, warmup, clip_norm, clip_value: see `Adam`, also for
            errors.
        lr: the learning rate, or a schedule of it; by default 0.002, and 0.001 without momentum_decay.
        momentum_decay: psi, the rate at which mu rises to b1; None for SLAYER-PyTorch's constant momentum.

    Source: Dozat 2016, "Incorporating Nesterov momentum into Adam".

    >>> from cuslayer._tape import Tensor
    >>> w = Tensor([1.0], requires_grad=True); optimizer = NAdam([w], lr=0.1)
    >>> (w * w).sum().backward(); optimizer.step(); w.item() < 1.0
    True
    """

    rules: ClassVar[Rules] = {**Adam.rules, "momentum_decay": optional(check.factor)}
    momentum_decay: float | None

    def __init__(
        self,
        parameters: Parameters,
        lr: LearningRate | None = None,
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
