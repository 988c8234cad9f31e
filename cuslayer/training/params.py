"""The keys and values of a YAML file, read and changed by item or by attribute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml

from cuslayer import check
from cuslayer.files import write_whole
from cuslayer.training.keys import read_yaml


@check.named
class Params(MutableMapping[Any, Any]):
    """The keys and values of a YAML file, by item or by attribute; `str` returns the YAML text.

    Nested mappings are Params too, also inside lists. Values are not checked: `load_config` does that and accepts
    Params. A key that is also a method, as ``items``, or a keyword of Python, as ``in``, is available by item only.

    Args:
        source: the path of a YAML file, or a mapping, which is copied.

    Raises:
        ValueError: the file is missing or is not YAML.
        TypeError: the file does not hold a mapping.
        KeyError: an item is missing; the nearest key is named.
        AttributeError: an attribute is missing; the nearest key is named.

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

    def __getitem__(self, key: Any) -> Any:
        if key not in self._values:
            raise KeyError(f"Params: {key!r} is missing{check.nearest(key, self._values)}")
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = _wrapped(value)

    def __delitem__(self, key: Any) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        # copy looks up special methods before _values exists.
        if name.startswith("_") or name not in self._values:
            near = "" if name.startswith("_") else check.nearest(name, self._values)
            raise AttributeError(f"Params: {name!r} is missing{near}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return Params, (self.plain(),)

    def __str__(self) -> str:
        return yaml.safe_dump(self.plain(), sort_keys=False).rstrip("\n")

    def __repr__(self) -> str:
        return f"Params({self.plain()!r})"

    def plain(self) -> dict[Any, Any]:
        """Return a copy made of plain dictionaries and lists."""
        return {key: _unwrapped(value) for key, value in self._values.items()}

    def save(self, path: str | Path) -> None:
        """Write a YAML file, atomically."""
        write_whole(Path(path), lambda file: file.write(f"{self}\n".encode()))


def _wrapped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Params(value)
    return [_wrapped(each) for each in value] if isinstance(value, (list, tuple)) else value


def _unwrapped(value: Any) -> Any:
    if isinstance(value, Params):
        return value.plain()
    return [_unwrapped(each) for each in value] if isinstance(value, list) else value
