"""Sections of a file that name a class and its arguments, which are read from the signature of the class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._base.keys import key_of, plain_number


@dataclass(frozen=True)
class Named:
    """A class by its name, with arguments of its constructor.

    Attributes:
        name: the name of the class.
        arguments: the arguments by name; without those that have their default value.

    >>> Named("SpikeCountLoss", {"true": 5.0, "false": 1.0}).arguments["true"]
    5.0
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = {name: _plain(value) for name, value in self.arguments.items()}
        object.__setattr__(self, "arguments", plain)

    def document(self) -> dict[str, object]:
        """Return the section of a file."""
        return {"type": self.name, **{key_of(name): _written(value) for name, value in self.arguments.items()}}

    def make(self, at: str, kinds: Mapping[str, Callable[..., object]], **context: object) -> Any:
        """Return an object of the class, made with the arguments and those of `context` that its constructor has.

        Raises:
            ValueError, TypeError: an argument is wrong; the message names its key in the section at `at`.
        """
        kind = kinds[check.one_of(f"{at}.type", self.name, kinds)]
        taken = inspect.signature(kind).parameters
        try:
            return kind(**{name: value for name, value in context.items() if name in taken}, **self.arguments)
        except (ValueError, TypeError) as problem:
            reason = check.reason(problem)
            name, rest = re.fullmatch(r"(\w*)(.*)", reason, re.DOTALL).groups()  # type: ignore[union-attr]
            where = f".{key_of(name)}{rest}" if name in self.arguments else f": {reason}"
            raise type(problem)(f"{at}{where}") from None


def kinds_of(base: type) -> dict[str, type]:
    """Return all public subclasses of a class by name, of the library and of a user's modules; the library's first."""
    kinds = list[type]()
    waiting: list[type] = base.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if not kind.__name__.startswith("_"):
            kinds.append(kind)
    kinds.sort(key=lambda kind: kind.__module__.startswith("cuslayer."))  # a later name replaces an earlier one
    named = {kind.__name__: kind for kind in kinds}
    return {name: named[name] for name in sorted(named)}


def arguments_of(kind: Callable[..., object], context: Collection[str]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class by their keys in files, without those of the context."""
    parameters = inspect.signature(kind).parameters
    return {key_of(name): p for name, p in parameters.items() if name not in context and p.kind != p.VAR_KEYWORD}


def _plain(value: object) -> object:
    """Return an argument as a file gives it: numbers of Python, sequences as tuples."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value


def _written(value: object) -> object:
    """Return an argument as a file has it: None as "none", since a null stands for the default."""
    if value is None:
        return "none"
    return [*value] if isinstance(value, tuple) else value


def read_named(
    at: str, section: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter], *, all_of: bool = False
) -> Named:
    """Return the class of a section at `at` of a file, with its arguments; a null is the default.

    Arguments with their default value are left out, unless `all_of`.

    Raises:
        ValueError: a key is not one of the parameters of the class.
    """
    arguments = dict[str, Any]()
    for key, value in section.items():
        if key == "type" or value is None:
            continue
        if key not in parameters:
            raise ValueError(f"{at}.{key} is an unknown key{check.nearest(key, parameters)}")
        parameter = parameters[key]
        if "str" not in str(parameter.annotation):
            value = plain_number(value)
        if isinstance(value, list):
            value = tuple(map(plain_number, value))
        if value == "none" and "None" in str(parameter.annotation):
            value = None
        if all_of or value != parameter.default or isinstance(value, bool) != isinstance(parameter.default, bool):
            arguments[parameter.name] = value
    return Named(section["type"], arguments)
