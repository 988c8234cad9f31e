"""Arguments of optimizers: tensors or groups of tensors, and the options of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from cuslayer._base import check
from cuslayer._tape import Tensor

Parameters: TypeAlias = Iterable[Tensor] | Iterable[Mapping[str, Any]]
# For each option of an optimizer, the function that checks a name and a value.
Rule: TypeAlias = Callable[[str, Any], Any]
Rules: TypeAlias = Mapping[str, Rule]


class Given(NamedTuple):
    """A group from the arguments: the start of its name in messages, its tensors, and its own options."""

    name: str
    params: list[Tensor]
    options: dict[str, Any]


def read_groups(parameters: object, rules: Rules) -> list[Given]:
    """Return the groups of a list of tensors, or of dictionaries."""
    if isinstance(parameters, Mapping):
        raise check.mistyped("parameters", "must be a list of groups", parameters, "; pass [group]")
    given = _tensors("parameters", parameters, groups=True)
    grouped = [isinstance(each, Mapping) for each in given]
    if any(grouped) and not all(grouped):
        raise TypeError("parameters must be all tensors or all groups, got both")
    found = [_read_group(n, group, rules) for n, group in enumerate(given)] if any(grouped) else [Given("", given, {})]
    first: dict[int, int] = {}
    for number, p in enumerate(p for group in found for p in group.params):
        if first.setdefault(id(p), number) != number:
            raise ValueError(f"parameter {number} is parameter {first[id(p)]} again")
    return found


def _read_group(number: int, given: Mapping[str, object], rules: Rules) -> Given:
    name, known = f"group {number}'s ", ("params", *rules)
    for key in given:
        if key not in known:
            raise ValueError(f"{name}option {key!r} is unknown{check.nearest(key, known)}")
    if "params" not in given:
        raise ValueError(f"{name}params are missing")
    params = given["params"]
    params = _tensors(f"{name}params", [params] if isinstance(params, Tensor) else params)
    options = {key: rules[key](name + key, value) for key, value in given.items() if key in rules}
    return Given(name, params, options)


def _tensors(name: str, given: object, *, groups: bool = False) -> list[Any]:
    """Return a list of tensors, or of groups if allowed; raise an error that says what to pass."""
    if isinstance(given, Tensor):
        raise TypeError(f"{name} must be a list of tensors, got a Tensor; pass [tensor]")
    if callable(getattr(given, "parameters", None)):
        raise TypeError(f"{name} must be tensors, got {_with_parameters(given)}")
    if callable(given):
        raise TypeError(f"{name} must be tensors, got a function; call it, as in net.parameters()")
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise check.mistyped(name, "must be tensors", given)
    found = list(given)
    if not found:
        raise ValueError(f"{name} must be at least one, got none")
    for each in found:
        if isinstance(each, Tensor):
            if each.node is not None:
                raise ValueError(f"{name} must be leaf tensors, got the result of an operation")
        elif not (groups and isinstance(each, Mapping)):
            wrong = _with_parameters(each) if hasattr(each, "parameters") else type(each).__name__
            raise TypeError(f"{name} must be tensors, got {wrong}")
    return found


def _with_parameters(given: object) -> str:
    """Return what an object with parameters is, and what to pass instead."""
    return "a network; pass net.parameters()" if hasattr(given, "layers") else "a layer; pass layer.parameters()"


def betas(name: str, value: Any) -> tuple[float, float]:
    """Return b1 and b2; raise ValueError or TypeError unless they are two numbers in [0, 1)."""
    check.two(name, value)
    return check.fraction(f"{name}[0]", value[0]), check.fraction(f"{name}[1]", value[1])


def optional(rule: Rule) -> Rule:
    """Return a check that accepts None."""
    return lambda name, value: None if value is None else rule(name, value)
