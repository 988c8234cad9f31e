"""Checked access to a YAML document: an error names the path of the unknown key or wrong value."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cuslayer import check
from cuslayer.training.yaml_document import LARGEST_FILE, Refused, document_of, number_of


def read_yaml(op: str, path: str | Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        ValueError: the file is missing, is not YAML, or is refused by `document_of`.
    """
    path = check.path(op, "source", path)
    if not os.path.isfile(path):
        raise ValueError(f"{op}: {path} is no file")
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise Refused(f"a configuration must have at most {LARGEST_FILE} bytes, got more")
        return document_of(raw.decode("utf-8-sig"))
    except OSError as problem:
        raise ValueError(f"{op}: {path} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except Refused as problem:
        raise ValueError(f"{op}: {path}: {problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{op}: {path} is no YAML: {_without_content(problem)}") from None


def _without_content(problem: Exception) -> str:
    """Return what is wrong with a file and where, without the lines around it: the file may be another than meant."""
    mark = getattr(problem, "problem_mark", None)
    if mark is None:
        return " ".join(str(problem).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(problem, 'problem', None) or 'unreadable'}"


class UnknownKey(ValueError):
    """A key is unknown.

    Attributes:
        key: the key.
        near: whether the message names a known key.
    """

    def __init__(self, message: str, key: Any, near: str) -> None:
        super().__init__(message + near)
        self.key, self.near = key, bool(near)


class Section:
    """A mapping in a configuration; unknown keys raise.

    Attributes:
        op: the beginning of every error message.
        name: the path of keys to this mapping, empty for the document.
        mapping: the mapping.
    """

    def __init__(self, op: str, name: str, mapping: Any, known: tuple[Any, ...]) -> None:
        self.op, self.name = op, name
        if not isinstance(mapping, dict):
            raise TypeError(f"{op}: {name or 'the document'} must be a mapping, got {type(mapping).__name__}")
        self.mapping = mapping
        for key in mapping:
            if key not in known:
                raise UnknownKey(f"{op}: {self.path(key)} is an unknown key", key, check.nearest(key, known))

    def path(self, key: Any) -> str:
        """Return the path of a key, for error messages."""
        word = str(key).lower() if isinstance(key, bool) else str(key)
        return f"{self.name}.{word}" if self.name else word

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default; raise `check.MissingKey` if both are missing."""
        if self.mapping.get(key) is not None:
            return self.mapping[key]
        if default is None:
            raise check.MissingKey(f"{self.op}: {self.path(key)} is missing", self.path(key))
        return default

    def section(self, key: str, known: tuple[Any, ...], default: Any = None) -> Section:
        """Return the mapping under a key."""
        return Section(self.op, self.path(key), self.get(key, default), known)

    def number(self, key: Any, rule: Callable[[str, str, Any], float], default: float | None = None) -> float:
        """Return the number under a key, checked by a function of `check`, such as `check.positive`."""
        return rule(self.op, self.path(key), plain_number(self.get(key, default)))

    def integer(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return the integer under a key."""
        return check.integer(self.op, self.path(key), self.get(key, default), least=least)

    def choice(self, key: str, known: tuple[str, ...], default: str | None = None) -> str:
        """Return the word under a key, which must be one of `known`."""
        return check.one_of(self.op, self.path(key), self.get(key, default), known)

    def flag(self, key: str, default: bool) -> bool:
        """Return the boolean under a key."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise TypeError(f"{self.op}: {self.path(key)} must be true or false, got {value!r}")
        return value


def plain_number(value: Any) -> Any:
    """Convert a string that is a decimal number to float, and return any other value unchanged.

    YAML 1.1 reads 1e-3, which has no dot, as a string.

    >>> plain_number("1e-3"), plain_number("exact")
    (0.001, 'exact')
    """
    number = number_of(value) if isinstance(value, str) else None
    return value if number is None else number
