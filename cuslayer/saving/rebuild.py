"""Make the objects of a description anew. Only classes that are known or given are called: a file holds no code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device
from cuslayer.saving.known import CLASSES, FUNCTIONS, maker
from cuslayer.tape import Tensor


class Rebuilt:
    """The objects of a description.

    Args:
        about: the description, as JSON is read.
        arrays: its arrays by name.
        own: classes and functions that are not the library's, by name.

    Attributes:
        root: the object that was described.

    Raises:
        ValueError: a class is unknown, or the description does not fit the class.
        KeyError, TypeError and others: the description is damaged.
    """

    def __init__(self, about: Mapping[str, Any], arrays: Mapping[str, Array], own: Mapping[str, Any]) -> None:
        self._objects, self._tensors, self._arrays, self._own = about["objects"], about["tensors"], arrays, own
        self._made: dict[int, Any] = {}
        self._made_tensors: dict[int, Tensor] = {}
        self.root = self._value(about["root"])
        # After all constructors: those of layers attach their weight hooks, which makes the arrays of the hooks.
        for number, thing in self._made.items():
            for path, described in self._objects[number].get("state", ()):
                self._set(thing, path, described)

    def _value(self, described: Any) -> Any:
        """Return a value from its JSON."""
        if isinstance(described, list):
            return [self._value(each) for each in described]
        if not isinstance(described, dict):
            return described
        if "object" in described:
            return self._object(described["object"])
        if "tensor" in described:
            return self._tensor(described["tensor"], None)
        if "array" in described:
            return self._array(described)
        if "tuple" in described:
            return tuple(self._value(each) for each in described["tuple"])
        return {self._value(key): self._value(each) for key, each in described["dict"]}

    def _array(self, described: Mapping[str, Any]) -> Array:
        array = self._arrays[described["array"]]
        return to_device(array) if described["on_device"] else array

    def _tensor(self, number: int, current: Any) -> Tensor:
        """Return a tensor, at its first place the one that stands there, with the data of the file."""
        if number not in self._made_tensors:
            described = self._tensors[number]
            data = to_device(self._arrays[described["array"]])
            tensor = current if isinstance(current, Tensor) else Tensor(data)
            tensor.data, tensor.requires_grad = data, described["requires_grad"]
            self._made_tensors[number] = tensor
        return self._made_tensors[number]

    def _object(self, number: int) -> Any:
        if number not in self._made:
            self._made[number] = self._make(self._objects[number])
        return self._made[number]

    def _make(self, entry: Mapping[str, Any]) -> Any:
        if "function" in entry:
            return self._named("function", FUNCTIONS, **entry["function"])
        if "method" in entry:
            return self._method(self._value(entry["of"]), entry["method"])
        args = [self._value(each) for each in entry["args"]]
        options = {name: self._value(each) for name, each in entry["options"].items()}
        if "partial" in entry:
            return partial(self._value(entry["partial"]), *args, **options)
        kind = self._named("class", CLASSES, **entry["class"])
        try:
            return maker(kind)(*args, **options)
        except Exception as problem:  # the constructor of a user's class may raise anything
            raise ValueError(f"{kind.__name__} cannot be made: {' '.join(str(problem).split())}") from problem

    def _named(self, what: str, ours: Mapping[str, Any], name: str, own: bool) -> Any:
        """Return a class or a function by its name."""
        known = self._own if own else ours
        if name not in known:
            advice = f"which is not given; pass classes=[{name}]" if own else "which this version does not know"
            raise ValueError(f"the {what} {name} is in it, {advice}")
        return known[name]

    @staticmethod
    def _method(owner: Any, name: str) -> Any:
        found = None if name.startswith("_") else getattr(owner, name, None)
        if not callable(found):
            raise ValueError(f"{type(owner).__name__} has no method {name}")
        return found

    def _set(self, thing: Any, path: list[Any], described: Any) -> None:
        """Set the tensor, array or training flag at a path in an object."""
        *steps, last = path
        holder, where = thing, f"{type(thing).__name__}'s {'.'.join(map(_text, path))}"
        try:
            for step in steps:
                holder = _get(holder, step)
            current = _get(holder, last, missing_ok=True)
        except (AttributeError, LookupError):
            raise ValueError(f"{where} has no place in the {type(thing).__name__} that its constructor makes") from None
        library = type(thing) is CLASSES.get(type(thing).__name__)
        if isinstance(described, dict) and "tensor" in described:
            saved = self._arrays[self._tensors[described["tensor"]]["array"]]
            if library and isinstance(current, Tensor):
                check.same_shape("load", where, saved, "its constructor's", current)
            value: Any = self._tensor(described["tensor"], current)
        else:
            value = self._value(described)
        if isinstance(holder, tuple):
            if isinstance(value, np.ndarray):
                current[...] = value
        elif isinstance(last, str):
            object.__setattr__(holder, last, value)  # neurons are frozen dataclasses
        else:
            holder[last["key"] if isinstance(last, dict) else last] = value


def _text(step: Any) -> str:
    return str(step["key"] if isinstance(step, dict) else step)


def _get(holder: Any, step: Any, missing_ok: bool = False) -> Any:
    """Return an attribute, an item of a list or a value of a dictionary."""
    if isinstance(step, str):
        if step.startswith("__"):
            raise AttributeError(step)
        return getattr(holder, step, None) if missing_ok else getattr(holder, step)
    if isinstance(step, dict):
        return holder.get(step["key"]) if missing_ok else holder[step["key"]]
    return holder[step]
