"""YAML: `Params`, and the content of a file within limits.

PyYAML's safe loader needs limits. An alias may expand a few hundred bytes to billions of values. The last of two equal
keys wins silently. YAML 1.1 reads 010 as 8, 1:30 as 90 and 2001-01-01 as a date.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml

from cuslayer._base import check
from cuslayer._base.files import write_text

LARGEST_FILE = 1 << 18
_MOST_VALUES = 4000
_DEEPEST = 32
_LONGEST_KEY, _LONGEST_VALUE = 100, 4096
# Seeds may have 128 bits.
_LARGEST_INTEGER = 2**128
_TAG = "tag:yaml.org,2002:"


class BadParams(ValueError):
    """A document is not allowed; the message says where."""


class _Loader(yaml.SafeLoader):
    """The safe loader, with limits, without tags, and with only decimal numbers."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = self._depth = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: object, index: object) -> yaml.Node | None:
        loader: Any = super()  # PyYAML is not typed
        event = loader.peek_event()
        anchor, first = getattr(event, "anchor", None), self._values
        if isinstance(event, yaml.AliasEvent):
            if anchor not in self._sizes:  # also within the value of the anchor itself
                raise _refused(event, f"*{check.one_line(anchor)[1:-1]} must follow its anchor")
            self._values += self._sizes[anchor]
        self._values += 1
        self._depth += 1
        if self._values > _MOST_VALUES:
            raise _refused(event, f"the document must have at most {_MOST_VALUES} values, got more")
        if self._depth > _DEEPEST + 1:
            raise _refused(event, f"the document must not be nested deeper than {_DEEPEST} levels")
        if getattr(event, "tag", None) is not None:
            raise _refused(event, f"tags are not allowed, got {check.one_line(event.tag)}")
        if len(getattr(event, "value", "")) > _LONGEST_VALUE:
            raise _refused(event, f"a value must have at most {_LONGEST_VALUE} characters, got {len(event.value)}")
        node = loader.compose_node(parent, index)
        self._depth -= 1
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            self._sizes[anchor] = self._values - first
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: Any = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if key.tag != f"{_TAG}merge"):
            if not isinstance(key, yaml.ScalarNode) or len(key.value) > _LONGEST_KEY:
                raise _refused(key, f"a key must be a word or a number of at most {_LONGEST_KEY} characters")
            name = self.construct_object(key)
            if name in seen:
                raise _refused(key, f"{key.value} must be there once, got it twice")
            seen.add(name)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value
        if len(text) > 40 or abs(int(text)) > _LARGEST_INTEGER:
            raise _refused(node, f"an integer must lie within 2**128 of 0, got {text[:20]}...")
        return int(text)


# Text that YAML 1.1 reads as another type.
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
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_yaml_int)


def _refused(marked: Any, message: str) -> BadParams:
    return BadParams(f"line {marked.start_mark.line + 1}: {message}")


def document_of(text: str) -> Any:
    """Return the content of a YAML document as dictionaries, lists, strings, numbers, booleans and None.

    Only decimal integers and fractions, .inf and .nan are numbers; dates and other numbers of YAML 1.1 are strings.
    Anchors, aliases and merge keys work as long as the document stays small.
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
            raise BadParams(f"a configuration must have at most {LARGEST_FILE} bytes, got more")
        return document_of(raw.decode("utf-8-sig"))
    except OSError as problem:
        raise ValueError(f"{path} cannot be read ({problem.strerror or type(problem).__name__})") from None
    except BadParams as problem:
        raise ValueError(f"{path}: {problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        # The message omits the lines around the error: it may be the wrong file.
        mark, text = getattr(problem, "problem_mark", None), str(problem)
        if mark is not None:
            text = f"line {mark.line + 1}, column {mark.column + 1}: {getattr(problem, 'problem', None) or 'invalid'}"
        raise ValueError(f"{path} is no YAML: {' '.join(text.split())}") from None


@check.named
class Params(MutableMapping[Any, Any]):
    """The keys and values of a YAML file, by item or by attribute; `str` returns the YAML text.

    Nested mappings are Params too, also inside lists. Values are not checked: `load_config` accepts Params and checks
    them. A key that is also a method, such as ``items``, or a Python keyword, such as ``in``, is only available as an
    item.

    Args:
        source: the path of a YAML file, or a mapping, which is copied.

    Raises:
        ValueError: the file is missing or is not YAML.
        TypeError: the file does not contain a mapping.
        KeyError: an item is missing; the message names the nearest key.
        AttributeError: an attribute is missing; the message names the nearest key.

    >>> params = Params({"neuron": {"type": "SRMALPHA", "theta": 10}, "layer": [{"dim": 200}, {"dim": 10}]})
    >>> params.neuron.theta, params["neuron"]["theta"], params.layer[1].dim
    (10, 10, 10)
    >>> params.neuron.theta = 5
    >>> print(params.neuron)
    type: SRMALPHA
    theta: 5
    """

    __slots__ = ("_values",)

    def __init__(self, source: str | Path | Mapping[Any, Any]) -> None:
        found = source if isinstance(source, Mapping) else read_yaml(source)
        if not isinstance(found, Mapping):
            raise TypeError(f"{source} must hold a mapping, got {type(found).__name__}")
        object.__setattr__(self, "_values", {key: _wrapped(value) for key, value in found.items()})

    def __getitem__(self, key: object) -> Any:
        if key not in self._values:
            raise KeyError(f"Params: {key!r} is missing{check.nearest(key, self._values)}")
        return self._values[key]

    def __setitem__(self, key: object, value: object) -> None:
        self._values[key] = _wrapped(value)

    def __delitem__(self, key: object) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        # copy looks up special methods before _values exists.
        if name.startswith("_") or name not in self._values:
            near = "" if name.startswith("_") else check.nearest(name, self._values)
            raise AttributeError(f"Params: {name!r} is missing{near}")
        return self._values[name]

    def __setattr__(self, name: str, value: object) -> None:
        self[name] = value

    def __reduce__(self) -> tuple[object, ...]:
        return Params, (self.plain(),)

    def __str__(self) -> str:
        return yaml.safe_dump(self.plain(), sort_keys=False).rstrip("\n")

    def __repr__(self) -> str:
        return f"Params({self.plain()!r})"

    def plain(self) -> dict[str, Any]:
        """Return a copy with plain dictionaries and lists."""
        return {key: _unwrapped(value) for key, value in self._values.items()}

    def save(self, path: str | Path) -> None:
        """Write a YAML file, atomically."""
        write_text(path, f"{self}\n")


def _wrapped(value: object) -> Any:
    if isinstance(value, Mapping):
        return Params(value)
    return [_wrapped(each) for each in value] if isinstance(value, (list, tuple)) else value


def _unwrapped(value: object) -> Any:
    if isinstance(value, Params):
        return value.plain()
    return [_unwrapped(each) for each in value] if isinstance(value, list) else value
