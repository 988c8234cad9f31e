"""The content of a YAML file, with limits on its size, depth and number of values.

PyYAML's own constructor is not used: an alias may unfold a few hundred bytes into billions of values, its recursion
exhausts the stack, the last of two equal keys wins without a word, and YAML 1.1 reads 010 as 8, 1:30 as 90 and
2001-01-01 as a date. Here the events of its parser, which needs no stack, are counted and joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from cuslayer import check

LARGEST_FILE = 1 << 18
_MOST_VALUES = 4000
_DEEPEST = 32
_TOO_DEEP = f"the document must not be nested deeper than {_DEEPEST} levels"
_LONGEST_KEY = 100
_LONGEST_VALUE = 4096
# Seeds of 128 bits are in use.
_LARGEST_INTEGER = 2**128
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf|nan)")
_CORE = "tag:yaml.org,2002:"


class Refused(ValueError):
    """A document is not allowed; the message begins with the path of the key, if there is one."""


def number_of(text: str) -> float | None:
    """Return the number that a decimal literal, inf or nan means, None if the text is none of them.

    >>> number_of("1e-3"), number_of("2."), number_of("inf"), number_of("010"), number_of("1_000")
    (0.001, 2.0, inf, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


def document_of(text: str) -> Any:
    """Return the content of a YAML document as dictionaries, lists, strings, numbers, booleans and None.

    Only decimal integers and decimal fractions, .inf and .nan are numbers; dates and what YAML 1.1 alone reads as
    numbers are strings. Anchors, aliases and merge keys are followed as long as the document stays small.

    Raises:
        Refused: a key is there twice, or the document is too deep or too large.
        yaml.YAMLError: the text is no YAML, or has a tag.
    """
    return _Document(text).content()


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner, whose time grows with the square of the depth of brackets, with a limit of this depth."""

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level > _DEEPEST:
            raise Refused(_TOO_DEEP)
        scanner: Any = super()  # PyYAML's types leave it out
        scanner.fetch_flow_collection_start(token)


class _Document:
    """Builds the values of one document from the events of the parser."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_Loader))
        self._resolver: Any = yaml.SafeLoader("")
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0

    def content(self) -> Any:
        """Return the content; None for an empty document."""
        content, documents = None, 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise Refused("must be one document, got several")
                content = self._value(next(self._events), "", 0)
        return content

    def _value(self, event: Any, path: str, depth: int) -> Any:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise yaml.YAMLError(f"{_at(path)}*{check.one_line(event.anchor)[1:-1]} must follow its anchor")
            value, size = self._anchors[event.anchor]
            self._count(size, path)
            return value
        first = self._values
        self._count(1, path)
        if depth > _DEEPEST:
            raise Refused(f"{_at(path)}{_TOO_DEEP}")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise yaml.YAMLError(f"{_at(path)}tags are not allowed, got {check.one_line(tag)}")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path, depth)
        else:
            value = self._mapping(path, depth)
        # An alias within the value of its own anchor comes before the anchor is known, and is refused.
        if getattr(event, "anchor", None) is not None:
            self._anchors[event.anchor] = value, self._values - first
        return value

    def _count(self, values: int, path: str) -> None:
        self._values += values
        if self._values > _MOST_VALUES:
            raise Refused(f"{_at(path)}the document must have at most {_MOST_VALUES} values, got more")

    def _sequence(self, path: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, f"{path}[{len(found)}]", depth + 1))
        return found

    def _mapping(self, path: str, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        merged: list[dict[Any, Any]] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if self._is_merge(event):
                self._count(1, path)
                merged += self._merged(self._value(next(self._events), path, depth + 1), path)
                continue
            key = self._value(event, path, depth + 1)
            if isinstance(key, (dict, list)):
                raise Refused(f"{_at(path)}a key must be a word or a number, got {check.one_line(key)}")
            if len(str(key)) > _LONGEST_KEY:
                raise Refused(f"{_at(path)}a key must have at most {_LONGEST_KEY} characters, got {len(str(key))}")
            inner = f"{path}.{_word(key)}" if path else _word(key)
            if key in found:
                raise Refused(f"{inner} must be there once, got it twice")
            found[key] = self._value(next(self._events), inner, depth + 1)
        for more in merged:
            self._count(len(more), path)
            found = {**more, **found}
        return found

    def _merged(self, value: Any, path: str) -> list[dict[Any, Any]]:
        """Return the mappings of a merge key, the weakest last."""
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in several):
            raise Refused(f"{_at(path)}<< must be a mapping or a list of mappings, got {check.one_line(value)}")
        return several

    def _is_merge(self, event: yaml.Event) -> bool:
        return isinstance(event, yaml.ScalarEvent) and event.style is None and event.value == "<<"

    def _scalar(self, event: Any, path: str) -> Any:
        text = event.value
        if len(text) > _LONGEST_VALUE:
            raise Refused(f"{_at(path)}a value must have at most {_LONGEST_VALUE} characters, got {len(text)}")
        tag = self._resolver.resolve(yaml.ScalarNode, text, event.implicit).removeprefix(_CORE)
        if tag == "null":
            return None
        if tag == "bool":
            return yaml.SafeLoader.bool_values[text.lower()]
        if tag == "int" and _INTEGER.fullmatch(text):
            if len(text) > 40 or abs(int(text)) > _LARGEST_INTEGER:
                raise Refused(f"{_at(path)}an integer must lie within 2**128 of 0, got {text[:20]}...")
            return int(text)
        if tag == "float":
            word = text.lower().lstrip("+-")
            if word in (".inf", ".nan"):
                return float(text.lower().replace(".", "", 1))
            number = number_of(text)
            return text if number is None else number
        return text


def _at(path: str) -> str:
    return f"{path}: " if path else ""


def _word(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
