"""The content of a YAML file, with limits on its size, depth and number of values.

PyYAML's safe loader needs them: an alias may unfold a few hundred bytes into billions of values, the last of two equal
keys wins without a word, and YAML 1.1 reads 010 as 8, 1:30 as 90 and 2001-01-01 as a date.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from cuslayer import check

LARGEST_FILE = 1 << 18
_MOST_VALUES = 4000
_DEEPEST = 32
_LONGEST_KEY, _LONGEST_VALUE = 100, 4096
# Seeds of 128 bits are in use.
_LARGEST_INTEGER = 2**128
_NUMBER = re.compile(r"[-+]?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|inf|nan)")


def number_of(text: str) -> float | None:
    """Return the number that a decimal literal, inf or nan means, None if the text is none of them.

    >>> number_of("1e-3"), number_of("2."), number_of("inf"), number_of("010"), number_of("1_000")
    (0.001, 2.0, inf, None, None)
    """
    return float(text) if _NUMBER.fullmatch(text) else None


class Refused(ValueError):
    """A document is not allowed; the message says where."""


class _Loader(yaml.SafeLoader):
    """The safe loader, with limits, without tags, and with decimal numbers only."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        loader: Any = super()  # PyYAML is not typed
        event = loader.peek_event()
        anchor = getattr(event, "anchor", None)
        first = self._values
        if isinstance(event, yaml.AliasEvent):
            if anchor not in self._sizes:  # also within the value of the anchor itself
                raise Refused(_at(event, f"*{check.one_line(anchor)[1:-1]} must follow its anchor"))
            self._values += self._sizes[anchor]
        self._values += 1
        self._depth += 1
        if self._values > _MOST_VALUES:
            raise Refused(_at(event, f"the document must have at most {_MOST_VALUES} values, got more"))
        if self._depth > _DEEPEST + 1:
            raise Refused(_at(event, f"the document must not be nested deeper than {_DEEPEST} levels"))
        if getattr(event, "tag", None) is not None:
            raise Refused(_at(event, f"tags are not allowed, got {check.one_line(event.tag)}"))
        if len(getattr(event, "value", "")) > _LONGEST_VALUE:
            raise Refused(_at(event, f"a value must have at most {_LONGEST_VALUE} characters, got {len(event.value)}"))
        node = loader.compose_node(parent, index)
        self._depth -= 1
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._sizes[anchor] = self._values - first
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node: Any = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if key.tag != _MERGE):
            if not isinstance(key, yaml.ScalarNode) or len(key.value) > _LONGEST_KEY:
                raise Refused(_at(key, f"a key must be a word or a number of at most {_LONGEST_KEY} characters"))
            name = self.construct_object(key)
            if name in seen:
                raise Refused(_at(key, f"{key.value} must be there once, got it twice"))
            seen.add(name)
        return node

    def construct_yaml_int(self, node: Any) -> int:
        text = node.value
        if len(text) > 40 or abs(int(text)) > _LARGEST_INTEGER:
            raise Refused(_at(node, f"an integer must lie within 2**128 of 0, got {text[:20]}..."))
        return int(text)


_MERGE = "tag:yaml.org,2002:merge"
# Of what YAML 1.1 reads as something else than text.
_KINDS = {
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    "float": (
        r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "bool": (r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": (r"<<", "<"),
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _KINDS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _at(marked: Any, message: str) -> str:
    return f"line {marked.start_mark.line + 1}: {message}"


def document_of(text: str) -> Any:
    """Return the content of a YAML document as dictionaries, lists, strings, numbers, booleans and None.

    Only decimal integers and decimal fractions, .inf and .nan are numbers; dates and what YAML 1.1 alone reads as
    numbers are strings. Anchors, aliases and merge keys are followed as long as the document stays small.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file; raise ValueError if it is missing, is not YAML, or is refused."""
    path = check.path("source", path)
    if not os.path.isfile(path):
        raise ValueError(f"{path} is no file")
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise Refused(f"a configuration must have at most {LARGEST_FILE} bytes, got more")
        return document_of(raw.decode("utf-8-sig"))
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except Refused as problem:
        raise ValueError(f"{path}: {problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path} is no YAML: {_without_content(problem)}") from None


def _without_content(problem: Exception) -> str:
    """Return what is wrong with a file and where, without the lines around it: the file may be another than meant."""
    mark = getattr(problem, "problem_mark", None)
    if mark is None:
        return " ".join(str(problem).split())
    text = " ".join(str(getattr(problem, "problem", None) or "unreadable").split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {text}"
