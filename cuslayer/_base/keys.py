"""The keys of files: each field of a dataclass has its form in files; `read` and `write` process all fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, astuple, fields
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from cuslayer._base import check

_NUMBER = re.compile(r"[-+]?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf|nan)")


class Key(NamedTuple):
    """The form of a field in files."""

    # A function that returns the checked value for (path, value), like the functions of `check`; or the dataclass of a
    # section, which a tuple field stores as a tuple.
    rule: Any
    path: str = ""  # the names of the sections and of the key, joined by dots
    needed: str = ""  # the types of files that must have the key, "always" for all
    # A function that returns a value's form in files, or None to omit it.
    write: Callable[[Any], Any] = lambda value: value


def key(*given: Any, **more: Any) -> dict[str, Key]:
    """Return the metadata of a field. Arguments: see `Key`; without a path the key is the field's name."""
    return {"key": Key(*given, **more)}


def keys(kind: type) -> Iterator[tuple[Field[Any], Key, str]]:
    """Yield the fields of a dataclass that files store, their keys, and the keys' paths."""
    for each in fields(kind):
        if "key" in each.metadata:
            yield each, each.metadata["key"], each.metadata["key"].path or key_of(each.name)


def key_of(name: str) -> str:
    """Return the key of a field without a path: weightDecay for weight_decay."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def read(kind: type, given: Any, at: str, missing: list[str], of: str = "") -> dict[str, Any]:
    """Return the values of the fields in a section at `at`, and add missing required paths to `missing`."""
    found: dict[str, Any] = {}
    for each, key, path in keys(kind):
        value, names, depth = given, path.split("."), 0
        while value is not None and depth < len(names):
            value, depth = value.get(names[depth]), depth + 1
        if value is None:
            missing += [at + ".".join(names[:depth])] if {"always", of} & {*key.needed.split()} else []
        elif isinstance(key.rule, type):
            section = key.rule(**read(key.rule, value, f"{at}{path}.", missing, of))
            found[each.name] = section if isinstance(each.default, key.rule) else astuple(section)
        else:
            found[each.name] = key.rule(at + path, plain_number(value) if "float" in str(each.type) else value)
    return found


def write(owner: object, into: dict[str, object] | None = None, *, nulls: bool = False) -> dict[str, Any]:
    """Return the sections of a file, or add them to `into`; without None values unless `nulls`."""
    document: dict[str, Any] = {} if into is None else into
    for each, key, path in keys(type(owner)):
        value = key.write(getattr(owner, each.name))
        if value is not None and isinstance(key.rule, type):
            value = write(key.rule(*value) if isinstance(value, tuple) else value, nulls=True)
        if value is not None or nulls:
            put(document, path, [*value] if isinstance(value, tuple) else value)
    return document


def put(document: Any, path: str, value: object) -> None:
    """Set the value at a path, such as "layer[1].dim", of a document; create sections; items must exist."""
    *outer, last = path.replace("[", ".").replace("]", "").split(".")
    for name in outer:
        document = document[int(name)] if isinstance(document, list) else document.setdefault(name, {})
    document[last] = value


def known(*kinds: type) -> dict[str, object]:
    """Return the keys of dataclasses as nested mappings; a key without a section has an empty one."""
    tree: dict[str, Any] = {}
    for _, key, path in chain.from_iterable(map(keys, kinds)):
        put(tree, path, known(key.rule) if isinstance(key.rule, type) else {})
    return tree


def named_keys(given: object, at: str) -> dict[str, object]:
    """Return a section with text as keys; YAML reads true and false as booleans."""
    if not isinstance(given, dict):
        raise TypeError(f"{at or 'the document'} must be a mapping, got {type(given).__name__}")
    return {str(key).lower() if isinstance(key, bool) else str(key): value for key, value in given.items()}


def check_keys(given: object, tree: Mapping[str, Any], whole: Mapping[str, object] | None = None, at: str = "") -> Any:
    """Return a section with text as keys; raise an error for an unknown key, or a value in place of a section."""
    whole, found = tree if whole is None else whole, {}
    for name, value in named_keys(given, at).items():
        path = f"{at}.{name}" if at else name
        if name not in tree:
            near = check.nearest(name, tree)
            where = "" if near else _section_of(name, whole)
            cure = f"it belongs to {where}" if where else f"there are {', '.join(tree)}"
            raise ValueError(f"{path} is an unknown key{near or f'; {cure}'}")
        found[name] = check_keys(value, tree[name], whole, path) if tree[name] and value is not None else value
    return found


def _section_of(key: str, tree: Mapping[str, Any], at: str = "") -> str:
    """Return the path of the section that has a key; '' if there is none."""
    if at and key in tree:
        return at
    found = (_section_of(key, inner, f"{at}.{name}" if at else name) for name, inner in tree.items())
    return next(filter(None, found), "")


def plain_number(value: object) -> Any:
    """Convert a decimal number such as 1e-3, in YAML 1.1 text; return any other value unchanged."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def choice(known: Iterable[str]) -> Callable[[str, object], str]:
    """Return the rule for one of the known words."""
    return lambda name, value: check.one_of(name, value, known)


def of_type(kind: type, what: str) -> Callable[[str, object], Any]:
    """Return the rule for a value of a type."""

    def rule(name: str, value: object) -> object:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {what}, got {value!r}")
        return value

    return rule


def a_path(name: str, value: object) -> str:
    """Return a path as text; an empty one would be the current folder."""
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a path, got {value!r}")
    return value


flag, as_given = of_type(bool, "true or false"), of_type(object, "anything")
counted, from_zero = partial(check.integer, least=1), partial(check.integer, least=0)
