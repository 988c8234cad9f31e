"""One walk over the fields of a configuration: the keys of a YAML file, what they may be, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from cuslayer import check
from cuslayer.training.yaml_document import number_of

Rule = Callable[[str, Any], Any]


class Key(NamedTuple):
    """A key of a file and the field that has its value.

    Attributes:
        path: the names of the sections and of the key, with dots between them.
        name: the field.
        rule: returns the checked value of (path, value), as the functions of `check` do.
        needed: the types of the error with which the key must be there, "always", or "section": with its section.
        types: the types of the error that have the key; empty for all.
        item: the place within a field that is a tuple.
    """

    path: str
    name: str
    rule: Rule
    needed: str = ""
    types: str = ""
    item: int | None = None

    def belongs(self, kind: str) -> bool:
        """Return whether a configuration with a type of error has the key."""
        return not self.types or kind in self.types.split()


def plain_number(value: Any) -> Any:
    """Convert a string that is a decimal number to float, and return any other value unchanged.

    YAML 1.1 reads 1e-3, which has no dot, as a string.

    >>> plain_number("1e-3"), plain_number("exact")
    (0.001, 'exact')
    """
    number = number_of(value) if isinstance(value, str) else None
    return value if number is None else number


def real(rule: Rule) -> Rule:
    """Return a rule for numbers that may be written with an exponent and no dot."""
    return lambda name, value: rule(name, plain_number(value))


def choice(known: Iterable[str]) -> Rule:
    """Return the rule of a word that must be one of those known."""
    return lambda name, value: check.one_of(name, value, known)


def flag(name: str, value: Any) -> bool:
    """Return a boolean."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false, got {value!r}")
    return value


def path(name: str, value: Any) -> str:
    """Return a path."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a path, got {value!r}")
    return value


positive, not_negative, fraction = real(check.positive), real(check.not_negative), real(check.fraction)
counted, from_zero = partial(check.integer, least=1), partial(check.integer, least=0)


def key_of(name: str) -> str:
    """Return the key of a field in a file.

    >>> key_of("weight_decay")
    'weightDecay'
    """
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def word(key: Any) -> str:
    """Return a key as text; YAML reads true and false as booleans."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def tree_of(paths: Iterable[str]) -> dict[str, Any]:
    """Return nested mappings of paths; a key has an empty one."""
    tree: dict[str, Any] = {}
    for each in paths:
        place = tree
        for name in each.split("."):
            place = place.setdefault(name, {})
    return tree


def check_keys(given: Any, known: Mapping[str, Any], whole: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return a section with text as keys; raise an error for an unknown key or what should be a section."""
    if not isinstance(given, dict):
        raise TypeError(f"{at or 'the document'} must be a mapping, got {type(given).__name__}")
    found = {}
    for key, value in given.items():
        name = word(key)
        path = f"{at}.{name}" if at else name
        if name not in known:
            near = check.nearest(key, known)
            where = "" if near else _section_of(name, whole)
            raise ValueError(f"{path} is an unknown key{near or (where and f'; it belongs to {where}')}")
        found[name] = check_keys(value, known[name], whole, path) if known[name] and value is not None else value
    return found


def _section_of(key: str, tree: Mapping[str, Any], at: str = "") -> str:
    """Return the path of the section that has a key; '' if there is none."""
    if at and key in tree:
        return at
    found = (_section_of(key, inner, f"{at}.{name}" if at else name) for name, inner in tree.items())
    return next(filter(None, found), "")


def read_fields(
    keys: Iterable[Key], given: Mapping[str, Any], at: str = "", kind: str = "always", missing: Any = None
) -> dict[str, Any]:
    """Return the values of the fields whose keys a section has."""
    found: dict[str, Any] = {}
    for key in keys:
        if not key.belongs(kind):
            continue
        place: Any = given
        needed, gone = {"always", kind} & {*key.needed.split()}, ""
        for name in key.path.split("."):
            outer, place = place, place.get(name)
            gone = f"{gone}.{name}" if gone else name
            if place is None:
                if needed or ("section" in key.needed and outer is not given and name == key.path.rpartition(".")[2]):
                    missing.append(f"{at}{gone}")
                break
        else:
            value = key.rule(f"{at}{key.path}", place)
            found[key.name] = value if key.item is None else (*found.get(key.name, ()), value)
    return found


def written(keys: Iterable[Key], owner: Any, kind: str, document: dict[str, Any]) -> None:
    """Add the values of an owner's fields to the document of a file, except those that are None."""
    for key in keys:
        value = getattr(owner, key.name) if key.belongs(kind) else None
        if value is not None:
            place, names = document, key.path.split(".")
            for name in names[:-1]:
                place = place.setdefault(name, {})
            place[names[-1]] = value if key.item is None else value[key.item]
