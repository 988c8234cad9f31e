"""The optimizer of a run: its class and the function of its schedule, with arguments from their signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import isfunction
from typing import Any

from cuslayer import optim
from cuslayer._base import check
from cuslayer._base.keys import named_keys
from cuslayer._tape import Tensor
from cuslayer.optim import Adam, LearningRate, Optimizer, Schedule
from cuslayer.training.named import Named, arguments_of, kinds_of, read_named
from cuslayer.training.stats import Stats, plateaus

_AT = "training.optimizer"
# The default rate of Adam and NAdam, which fits every network with calibrated initial weights.
_DEFAULT_RATE: dict[str, Any] = {"lr": 0.1, "relative": True, "warmup": 30}
# With a user's rate, the other options have their usual defaults.
_PLAIN_RATE: dict[str, Any] = {"lr": 0.01}
# The schedules of earlier files.
_WORDS = {"step": "step_decay", "cosine": "cosine_decay"}
# Arguments that are not in a file: those of the run, and for a schedule those of the optimizer.
_OF_RUN = ("parameters",)
_OF_OPTIMIZER = ("lr", "stats")


def constant(lr: float) -> LearningRate:
    """Return the rate."""
    return lr


def plateau(lr: float, *, every: int = 10, factor: float = 0.1, stats: Stats | None = None) -> Schedule:
    """Return a schedule that multiplies lr by factor after `every` epochs without a better validation score."""
    every = check.integer("every", every, least=1)
    factor = check.constant("factor", factor)
    # The rows before an epoch do not change.
    return cache(lambda epoch: lr * factor ** plateaus([] if stats is None else stats.epochs[:epoch], every))


def schedules() -> dict[str, Callable[..., LearningRate]]:
    """Return the functions that make schedules by name."""
    return {name: f for name, f in vars(optim).items() if isfunction(f)} | {"constant": constant, "plateau": plateau}


def optimizer_class(name: object) -> type[Optimizer]:
    """Return the class of an optimizer by name."""
    kinds = kinds_of(Optimizer)
    return kinds[check.one_of(f"{_AT}.type", name, kinds)]


def schedule_maker(key: str, name: object) -> Callable[..., LearningRate]:
    """Return the function that makes a schedule, by its name, which is in a file under a key."""
    makers = schedules()
    makers |= {word: makers[function] for word, function in _WORDS.items()}
    return makers[check.one_of(f"{_AT}.schedule{key}", name, makers)]


@dataclass(frozen=True, init=False)
class OptimizerConfig:
    """The class of the optimizer and the function of its schedule, with all arguments of their signatures.

    Without lr, Adam and NAdam have a relative rate of 0.1, which rises in the first 30 steps and falls to zero along a
    cosine. With lr, and for other classes, the rate is lr (by default 0.01) in each step, unless other arguments change
    it. The warm-up takes at most a tenth of a run's steps.

    Args:
        type: the name of a class of `cuslayer.optim`, or of your own subclass of `Optimizer`.
        schedule: the name of a function of `cuslayer.optim`, such as "cosine_decay"; "plateau" (multiplied by `factor`
            after `every` epochs without a better validation score); "constant"; or a `Named` with its arguments.
        arguments: of the class and of the schedule, such as lr and every. amsgrad is True by default. Arguments
            of other optimizers are ignored.
    """

    kind: Named
    schedule: Named

    def __init__(self, type: str = "Adam", *, schedule: str | Named | None = None, **arguments: object) -> None:
        kind = optimizer_class(type)
        if schedule is not None and not isinstance(schedule, (str, Named)):
            raise check.mistyped(f"{_AT}.schedule", "must be the name of a schedule, or a Named", schedule)
        arguments = {name: value for name, value in arguments.items() if name != "lr" or value is not None}
        for name in arguments.keys() - _known_arguments():
            raise TypeError(f"OptimizerConfig: {name} is no argument{check.nearest(name, _known_arguments())}")
        plain = not issubclass(kind, Adam) or "lr" in arguments or arguments.get("relative") is False
        usual = {"amsgrad": True} | (_PLAIN_RATE if plain else _DEFAULT_RATE) | arguments
        object.__setattr__(self, "kind", Named(type, _all_arguments(kind, _OF_RUN, usual)))
        if schedule is None:
            schedule = "constant" if plain else "cosine"
        if isinstance(schedule, str):
            schedule = Named(_WORDS.get(schedule, schedule), arguments)
        own = _all_arguments(schedule_maker("", schedule.name), _OF_OPTIMIZER, schedule.arguments)
        object.__setattr__(self, "schedule", Named(schedule.name, own))

    @property
    def type(self) -> str:
        """The name of the optimizer's class."""
        return self.kind.name

    @property
    def lr(self) -> Any:
        """The initial learning rate."""
        return self.kind.arguments["lr"]

    def document(self) -> dict[str, object]:
        """Return the section of a file."""
        return {**self.kind.document(), "schedule": self.schedule.document()}

    def changed(self, **arguments: object) -> OptimizerConfig:
        """Return a copy with other arguments, or another type, which keeps the arguments that it has."""
        return OptimizerConfig(**{"type": self.type, "schedule": self.schedule, **self.kind.arguments, **arguments})

    def lost(self, kind: str) -> list[str]:
        """Return the names of changed arguments that another type lacks."""
        usual = OptimizerConfig(self.type).kind.arguments
        others = OptimizerConfig(kind).kind.arguments
        return [name for name, x in self.kind.arguments.items() if name not in others and x != usual[name]]

    def make(self, parameters: Iterable[Tensor], epochs: int, steps: int | None, stats: Stats | None) -> Optimizer:
        """Return the optimizer for a run of a number of epochs and steps, whose log is `stats`."""
        arguments = dict(self.kind.arguments)
        if steps is not None and "warmup" in arguments:
            arguments["warmup"] = min(arguments["warmup"], steps // 10)
        if arguments.get("momentum_decay") is not None:
            # With a schedule of the momentum, amsgrad stays off, so that runs of earlier versions can resume.
            arguments["amsgrad"] = False
        own = {name: x for name, x in self.schedule.arguments.items() if x is not None}
        context = {"lr": arguments["lr"], "stats": stats}
        if not own.keys() & {"epochs", "steps"}:
            context["epochs"] = epochs
        arguments["lr"] = Named(self.schedule.name, own).make(f"{_AT}.schedule", schedules(), **context)
        optimizer: Optimizer = Named(self.type, arguments).make(_AT, kinds_of(Optimizer), parameters=parameters)
        return optimizer


def _known_arguments() -> set[str]:
    """Return the names of the arguments of all optimizers and schedules."""
    kinds: list[Any] = [*kinds_of(Optimizer).values(), *schedules().values()]
    return {p.name for kind in kinds for p in arguments_of(kind, (*_OF_RUN, "stats")).values()}


def _all_arguments(
    kind: Callable[..., object], context: tuple[str, ...], arguments: Mapping[str, object]
) -> dict[str, object]:
    """Return all arguments of a class, by default those of its signature."""
    return {p.name: arguments.get(p.name, p.default) for p in arguments_of(kind, context).values()}


def read_optimizer(section: Any) -> OptimizerConfig:
    """Return the optimizer of a section of a file, which may have keys of the schedule and of other optimizers."""
    section = {key: value for key, value in named_keys(section, _AT).items() if value is not None}
    kind = section.pop("type", "Adam")
    schedule = section.pop("schedule", None)
    parameters = arguments_of(plateau, _OF_OPTIMIZER)
    for other in (*kinds_of(Optimizer).values(), optimizer_class(kind)):
        parameters |= arguments_of(other, _OF_RUN)
    if isinstance(schedule, dict):
        maker = schedule_maker(".type", schedule.get("type"))
        schedule = named_keys(schedule, f"{_AT}.schedule")
        schedule = read_named(f"{_AT}.schedule", schedule, arguments_of(maker, _OF_OPTIMIZER))
    arguments = read_named(_AT, {"type": kind, **section}, parameters, all_of=True).arguments
    return OptimizerConfig(kind, schedule=schedule, **arguments)
