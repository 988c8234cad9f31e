"""Rebuild the objects of a description. Only the library's and given classes are called: a file contains no code.

A class makes an object from arguments, which are data or earlier objects. Then the object's arrays are set: each
replaces an array that the class has created. Names from the file are looked up only in the lists of `describe` and
among an object's own attributes, so no property is evaluated and no other method is found.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._base.archive import Refused, check_finite
from cuslayer._parameter import Bounded
from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_device
from cuslayer.layers import Layer
from cuslayer.neurons.base import Neuron
from cuslayer.saving import describe

# The types of tensors, in the byte order of this machine.
_NUMBERS = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.bool_))
# Each constructor of a network visits the stages of the networks in it. All visits of a file together are limited to
# this number, and to this many for each time that it names an object.
_VISITS, _VISITS_OF_NAME = 10_000, 4


class ReadArrays(NamedTuple):
    """The names of the arrays in a file, and functions that read their headers and contents."""

    names: Iterable[str]
    header: Callable[[str], Any]
    read: Callable[[str], Array]


class Rebuilt:
    """The objects of a description.

    `about` is the description, from JSON. Each array is read once, after a check of its shape and its type. `own` has
    the users' classes and functions, by name. `load` catches all errors of a damaged description.
    """

    def __init__(self, about: Mapping[str, Any], arrays: ReadArrays, own: Mapping[str, object]) -> None:
        self._tensors, self._arrays, self._own = about["tensors"], arrays, own
        self._unread = set(arrays.names)
        # The type of each object, one of `CALLABLES`, and the object.
        self._made: list[tuple[str, Any]] = []
        self._made_tensors: dict[int, Tensor] = {}
        _check_visits(about["objects"])
        for entry in about["objects"]:
            self._made.append(self._make(entry))
        self.root = self._value("the network", about["root"], describe.PARTS)
        if not isinstance(self.root, (Layer, Neuron)) and type(self.root) not in own.values():
            raise ValueError(f"the network must be a network, a layer or a neuron, got {type(self.root).__name__}")
        # After all constructors: layers attach their weight hooks, which creates the arrays of the hooks.
        for entry, (what, thing) in zip(about["objects"], self._made, strict=True):
            for path, described in entry.get("state", ()) if what == "class" else ():
                self._set(thing, entry["options"], path, described)
        if self._unread:
            raise Refused(f"has {len(self._unread)} arrays that its description does not name")

    def _value(self, where: str, described: Mapping[str, object], may_be: tuple[str, ...]) -> Any:
        """Return a value from its JSON: data, or an object of the allowed types."""
        if isinstance(described, list):
            return [self._value(where, each, may_be) for each in described]
        if not isinstance(described, dict):
            return described
        if "object" in described:
            return self._object(where, described["object"], may_be)
        if "tensor" in described:
            return self._tensor(where, described["tensor"])
        if "array" in described:
            return self._array(where, described)
        if "tuple" in described:
            return tuple(self._value(where, each, may_be) for each in described["tuple"])
        # An object as a key would run code of its class.
        return {self._value(where, k, describe.DATA): self._value(where, v, may_be) for k, v in described["dict"]}

    def _object(self, where: str, number: object, may_be: tuple[str, ...]) -> object:
        if type(number) is not int or number < 0:
            raise ValueError(f"{where} is object {check.one_line(number)}, which is not the number of an object")
        what, thing = self._made[number]
        if what not in may_be:
            raise ValueError(f"{where} must not be a {what}")
        return thing

    def _make(self, entry: Mapping[str, Any]) -> tuple[str, object]:
        """Return the type of an object, and the object."""
        found = [each for each in describe.CALLABLES if each in entry]
        if len(found) != 1:
            raise ValueError(f"an object is {' and '.join(found) or 'of no kind'}")
        (what,) = found
        if what == "function":
            return what, self._named(what, describe.FUNCTIONS, **entry[what])
        if what == "method":
            return what, self._method(entry[what], self._value("the owner of a method", entry["of"], describe.PARTS))
        if what == "partial":
            function = self._value("a partial's function", entry[what], ("function",))
            ours = any(function is each for each in describe.FUNCTIONS.values())
            args, options = self._arguments("a partial", entry, lambda _: describe.DATA if ours else describe.CALLABLES)
            return what, partial(function, *args, **options)
        kind = self._named(what, describe.OLD_NAMES | describe.CLASSES, **entry[what])
        args, options = self._arguments(kind.__name__, entry, lambda name: describe.allowed(kind, name))
        try:
            return what, describe.maker(kind)(*args, **options)
        except Exception as problem:  # the constructor of a user's class may raise anything
            raise ValueError(f"{kind.__name__} cannot be made: {' '.join(str(problem).split())}") from problem

    def _arguments(
        self, of: str, entry: Mapping[str, Any], may_be: Callable[[str | None], tuple[str, ...]]
    ) -> tuple[list[object], dict[str, object]]:
        """Return the arguments of a call by position and by name; `may_be` returns the allowed types for a name."""
        args = [self._value(f"{of}'s part {i}", each, may_be(None)) for i, each in enumerate(entry["args"])]
        return args, {n: self._value(f"{of}'s {n}", each, may_be(n)) for n, each in entry["options"].items()}

    def _named(self, what: str, ours: Mapping[str, Any], name: str, own: bool) -> Any:
        """Return a class or a function by its name."""
        known = self._own if own else ours
        if name not in known:
            advice = f"which is not given; pass classes=[{name}]" if own else "which this version does not know"
            raise ValueError(f"the {what} {name} is in it, {advice}")
        if isinstance(known[name], type) is not (what == "class"):
            raise ValueError(f"{name} must be a {what}")
        return known[name]

    @staticmethod
    def _method(name: str, owner: object) -> object:
        found = inspect.getattr_static(type(owner), name, None)
        if all(found is not each for each in describe.METHODS):
            raise ValueError(f"the method {name} of {type(owner).__name__} must not be in it")
        return MethodType(found, owner)

    def _set(
        self, thing: object, options: Mapping[str, object], path: list[str | int], described: Mapping[str, object]
    ) -> None:
        """Set the tensor, array or training flag at a path in an object."""
        where = f"{type(thing).__name__}'s {'.'.join(map(_text, path))}"
        argument = path[0] in options or path[0] in describe.arguments_of(type(thing))
        if argument or self._put(where, thing, path, described) is None:
            rule = f"has no place in the {type(thing).__name__} that its constructor makes"
            raise ValueError(f"{where} {rule}, which must have an array of the same kind there")

    def _put(self, where: str, holder: object, path: list[str | int], described: Mapping[str, object]) -> object:
        """Set the value at a path in a holder; return the holder, or a new tuple; None if nothing fits there."""
        step, *rest = path
        current = _at(holder, step)
        if not rest:
            new = self._stored(where, current, described)
        else:
            within = _base(current) or describe.is_part(current)
            new = self._put(where, current, rest, described) if within else None
        if new is None:
            return None
        if isinstance(step, str):
            vars(holder)[step] = new  # neurons are frozen, and no code of a class runs
        elif isinstance(holder, tuple):
            items = [*tuple.__iter__(holder)]
            items[step] = new
            return tuple.__new__(type(holder), items)
        else:
            _base(holder).__setitem__(holder, step["key"] if isinstance(step, dict) else step, new)
        return holder

    def _stored(self, where: str, current: object, described: Mapping[str, object]) -> object:
        """Return the flag, tensor or array that replaces the current one; None if that has another type."""
        if isinstance(current, bool):
            if not isinstance(described, bool):
                raise ValueError(f"{where} must be true or false, got {check.one_line(described)}")
            return described
        if not isinstance(described, dict):
            return None
        if isinstance(current, Tensor) and "tensor" in described:
            return self._tensor(where, described["tensor"], current)
        return self._array(where, described, current) if describe.is_array(current) and "array" in described else None

    def _tensor(self, where: str, number: object, current: Tensor | None = None) -> Tensor:
        """Return a tensor with the data of the file; its first occurrence reuses the current tensor."""
        if type(number) is not int or number < 0:
            raise ValueError(f"{where} is tensor {check.one_line(number)}, which is not the number of an object")
        if number not in self._made_tensors:
            self._made_tensors[number] = self._make_tensor(where, self._tensors[number], current)
        found = self._made_tensors[number]
        if current is not None:
            _check_fits(where, found, current)
            if not isinstance(found, type(current)):
                raise ValueError(f"{where} must be a {type(current).__name__}, got a {type(found).__name__}")
        return found

    def _make_tensor(self, where: str, described: Mapping[str, Any], current: Tensor | None) -> Tensor:
        trained, bounds = described["requires_grad"], described.get("bounds")
        if not isinstance(trained, bool):
            raise ValueError(f"{where}'s requires_grad must be true or false, got {check.one_line(trained)}")
        array = self._read(where, described, current, _NUMBERS)
        check_finite(where, array)
        data = to_device(array)
        if current is not None:
            tensor = current
        else:
            tensor = Tensor(data) if bounds is None else Bounded(data, least=bounds[0], most=bounds[1])
        tensor.data, tensor.requires_grad = data, trained
        return tensor

    def _array(self, where: str, described: Mapping[str, object], current: object = None) -> Array:
        array = self._read(where, described, current)
        return to_device(array) if described["on_device"] else array

    def _read(self, where: str, described: Mapping[str, object], current: object, types: Any = None) -> Array:
        """Return an array of the file that fits a current one and has one of some types."""
        name = f"array/{described['array']}"
        self._unread.remove(name)
        header = self._arrays.header(name)
        if types and header.dtype not in types:
            raise ValueError(f"{where} must be float32, float64 or bool, got {header.dtype.str}")
        if current is not None:
            _check_fits(where, header, current)
        return self._arrays.read(name)


def _check_visits(entries: list[Any]) -> None:
    """Raise Refused if constructors would visit too many stages, each counted as often as a network has it."""
    visits, allowed = list[int](), _VISITS
    for entry in entries:
        inner = _named_objects([entry.get("args"), entry.get("options")])
        allowed += _VISITS_OF_NAME * (1 + len(inner))
        visits.append(1 + sum(visits[number] for number in inner if 0 <= number < len(visits)))
        allowed -= visits[-1]
        if allowed < 0:
            raise Refused("has networks in one another with too many stages, each counted as often as it is there")


def _named_objects(value: object) -> list[int]:
    """Return the numbers of the objects that a value names, as often as it names them."""
    numbers, waiting = list[int](), [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            number = part.get("object")
            if type(number) is int:
                numbers.append(number)
            else:
                waiting += part.values()
    return numbers


def _at(holder: Any, step: object) -> object:
    """Return an object's attribute, or an item of a list, tuple or dictionary; None if it does not exist."""
    if step == "training":
        found = inspect.getattr_static(holder, step, None)
        return found if isinstance(found, bool) else None
    if isinstance(step, str):
        found = describe.fields_of(holder).get(step)
        return None if isinstance(found, bool) else found
    base = _base(holder)
    if isinstance(step, dict):
        return dict.get(holder, step["key"]) if base is dict else None
    inside = base in (list, tuple) and type(step) is int and 0 <= step < base.__len__(holder)
    return base.__getitem__(holder, step) if inside else None


def _base(x: object) -> Any:
    """Return the built-in type, list, tuple or dict, of x or its base class, whose methods no subclass overrides."""
    return next((kind for kind in (list, tuple, dict) if isinstance(x, kind)), None)


def _check_fits(where: str, found: Any, current: Any) -> None:
    """Raise ValueError unless two arrays have the same shape and kind of numbers, in the byte order of this machine."""
    its = "its constructor's has"
    if tuple(found.shape) != tuple(current.shape):
        raise ValueError(f"{where} has shape {tuple(found.shape)}, {its} shape {tuple(current.shape)}")
    if found.dtype.kind != current.dtype.kind or not found.dtype.isnative:
        raise ValueError(f"{where} has type {found.dtype.str}, {its} type {current.dtype.str}")


def _text(step: object) -> str:
    return str(step["key"] if isinstance(step, dict) else step)
