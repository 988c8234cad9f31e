"""Describe a network as JSON and arrays.

Each object that is not plain data has an entry in a list: the name of its class and the arguments that make it. Its
arrays are its state: each tensor, array and training flag within it that the arguments do not hold, by its path. An
object or a tensor that stands at several places has one entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.parameter import Bounded
from cuslayer.saving.known import CLASSES, FUNCTIONS, METHODS, call_of, fields_of, is_part
from cuslayer.tape import Tensor

_PLAIN = (bool, int, float, str, type(None))


class Description:
    """The description of an object: `root`, the entries of objects and tensors, arrays, and classes of a user's."""

    def __init__(self, root: Any) -> None:
        self.objects: list[dict[str, Any]] = []
        self.tensors: list[dict[str, Any]] = []
        self.arrays: dict[str, Array] = {}
        self.own: dict[str, Any] = {}
        # The number of each object and tensor; what is described must stay alive, so that identities stay distinct.
        self._numbers: dict[int, int] = {}
        self._described: list[Any] = []
        self._unfinished: set[int] = set()
        self.root = self._value("the network", root)

    def _value(self, where: str, x: Any) -> Any:
        """Return a value as JSON: plain data as it is, everything else as a dictionary of one key."""
        if type(x) in _PLAIN:
            return x
        if isinstance(x, np.generic):
            return self._value(where, x.item())
        if isinstance(x, list):
            return [self._value(where, each) for each in x]
        if type(x) is tuple:
            return {"tuple": [self._value(where, each) for each in x]}
        if isinstance(x, dict):
            return {"dict": [[self._value(where, key), self._value(where, each)] for key, each in x.items()]}
        if isinstance(x, Tensor):
            return {"tensor": self._tensor(where, x)}
        if is_array(x):
            return self._array(where, x)
        return {"object": self._object(where, x)}

    def _array(self, where: str, x: Any) -> dict[str, Any]:
        if x.dtype.hasobject:
            raise TypeError(f"{where} is an array of Python objects, which a file cannot hold")
        name = f"{len(self.arrays)}"
        self.arrays[name] = to_numpy(x)
        return {"array": name, "on_device": namespace(x) is not np}

    def _tensor(self, where: str, x: Tensor) -> int:
        if id(x) not in self._numbers:
            self._enter(x, len(self.tensors))
            trained = x.requires_grad and x.node is None
            entry = self._array(where, x.data) | {"requires_grad": trained}
            if isinstance(x, Bounded):
                entry["bounds"] = [bound if math.isfinite(bound) else None for bound in (x.least, x.most)]
            self.tensors.append(entry)
        return self._numbers[id(x)]

    def _enter(self, x: Any, number: int) -> None:
        self._numbers[id(x)] = number
        self._described.append(x)

    def _object(self, where: str, x: Any) -> int:
        """Return the number of an object's entry, which is made at its first place."""
        if id(x) in self._unfinished:
            raise TypeError(f"{where} holds itself, which a file cannot hold")
        if id(x) not in self._numbers:
            self._unfinished.add(id(x))
            entry = self._entry(where, x)
            self._unfinished.remove(id(x))
            self._enter(x, len(self.objects))
            self.objects.append(entry)
        return self._numbers[id(x)]

    def _entry(self, where: str, x: Any) -> dict[str, Any]:
        if type(x) is partial:
            args, options = [self._value(where, a) for a in x.args], x.keywords
            return {
                "partial": self._value(where, x.func),
                "args": args,
                "options": {name: self._value(f"{where}'s {name}", each) for name, each in options.items()},
            }
        if isinstance(x, MethodType):
            if all(x.__func__ is not each for each in METHODS):
                known = "only psp and spike of the library's neurons; a layer of your own may call it"
                raise TypeError(f"{where} is the method {x.__name__}, which a file cannot hold: {known}")
            return {"method": x.__name__, "of": self._value(where, x.__self__)}
        if isinstance(x, (FunctionType, BuiltinFunctionType, np.ufunc)):
            return {"function": self._name(where, x, x.__name__, FUNCTIONS.get(x.__name__))}
        kind = type(x)
        try:
            call = None if kind.__module__ == "builtins" or isinstance(x, (type, ModuleType)) else call_of(x)
        except ValueError:  # a class of C without a signature
            call = None
        if call is None:
            raise TypeError(f"{where} is of type {kind.__name__}, which a file cannot hold")
        entry: dict[str, Any] = {"class": self._name(where, kind, kind.__name__, CLASSES.get(kind.__name__))}
        entry["args"] = [self._value(f"{kind.__name__}'s part {i}", each) for i, each in enumerate(call.positional)]
        entry["options"] = {name: self._value(f"{kind.__name__}'s {name}", v) for name, v in call.options.items()}
        entry["state"] = [[path, self._value(f"{kind.__name__}'s array", v)] for path, v in self._state(x, call.used)]
        return entry

    def _name(self, where: str, thing: Any, name: str, ours: Any) -> dict[str, Any]:
        """Return the name of a class or a function, and whether it is the library's."""
        if thing is ours:
            return {"name": name, "own": False}
        if name == "<lambda>" or (isinstance(thing, FunctionType) and "<locals>" in thing.__qualname__):
            raise TypeError(
                f"{where} is a lambda or a function in a function, which a file cannot hold; use functools.partial, as "
                "in partial(cs.quantize, step=2), or a function of a module"
            )
        if self.own.setdefault(name, thing) is not thing:
            raise TypeError(f"{where} is one of two classes or functions named {name}, rename one of them")
        return {"name": name, "own": True}

    def _state(self, x: Any, used: set[str], above: tuple[int, ...] = ()) -> Iterator[tuple[list[Any], Any]]:
        """Yield the path and the value of each tensor, array and training flag in an object.

        Objects that have an entry of their own are left out, and those that hold x, whose identities are `above`.
        """
        for name, value in fields_of(x).items():
            if name not in used:
                yield from self._within([name], value, (*above, id(x)))

    def _within(self, path: list[Any], value: Any, above: tuple[int, ...]) -> Iterator[tuple[list[Any], Any]]:
        flag = path[-1] == "training" and isinstance(value, bool)
        if flag or is_array(value) or (isinstance(value, Tensor) and value.node is None):
            yield path, value
        elif isinstance(value, (list, tuple)):
            for number, each in enumerate(value):
                yield from self._within([*path, number], each, above)
        elif isinstance(value, dict):
            for key, each in value.items():
                if type(key) in _PLAIN:
                    yield from self._within([*path, {"key": key}], each, above)
        elif is_part(value) and id(value) not in self._numbers and id(value) not in above:
            for deeper, each in self._state(value, set(), above):
                yield [*path, *deeper], each


def is_array(x: Any) -> bool:
    """Return whether a value is an array, of NumPy or CuPy."""
    return isinstance(x, np.ndarray) or namespace(x) is not np
