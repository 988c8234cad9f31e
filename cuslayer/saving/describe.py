"""Describe a network as JSON and arrays; list the names that a description may use.

Each object that is not plain data has an entry in a list: the name of its class and the arguments of its constructor.
Its state has, by path, each tensor, array and training flag within it that the arguments do not contain. An object or a
tensor with several positions has one entry.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from cuslayer import functions, layers, network, neurons, surrogates
from cuslayer._base import check
from cuslayer._parameter import Bounded
from cuslayer._tape import Tensor
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.network.network import Sequential, Stage
from cuslayer.network.notation import Network
from cuslayer.neurons.base import Neuron

# All classes of the library: a class that is added to one of these lists can be saved.
CLASSES: dict[str, type] = {
    name: found
    for package in (layers, network, neurons, surrogates)
    for name in package.__all__
    if inspect.isclass(found := getattr(package, name))
}
# Classes by their names in files of version 0.2.
OLD_NAMES = {"Affine": layers.ReadOut, "Pool": layers.SumPool}
# Functions of arrays and constants without side effects: they may be a stage or a hook.
_NAMES = """
absolute add all any argmax argmin astype clip concatenate copy cos cumsum decimate divide dot dropout einsum equal exp
expand_dims flip greater greater_equal k_winners less less_equal log logical_and logical_not logical_or logical_xor
logsumexp matmul max max_pool maximum mean min minimum moveaxis moving_count multiply negative norm not_equal pool power
prod psp quantize ravel replicate reshape shift sigmoid sin softmax sort sqrt square squeeze stack std subtract sum
swapaxes tanh tensordot transpose unpool var where
"""
FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(functions, name) for name in _NAMES.split()}
# Methods of neurons that may be a stage, also in a subclass that does not override them.
METHODS: tuple[Callable[..., Any], ...] = (
    Neuron.psp,
    layers.Recurrent.psp,
    neurons.SRM.spike,
    neurons.SampledSRM.spike,
)

# The types of arguments and objects other than data: an instance of a class, or also a callable.
DATA: tuple[str, ...] = ()
PARTS = ("class",)
CALLABLES = ("class", "function", "method", "partial")
# The arguments of the library's constructors, except for stages, that may be more than data.
_ARGUMENTS = (
    dict.fromkeys(("layer", "neuron", "surrogate"), PARTS)
    | dict.fromkeys(("weight_hook", "mean_hook", "shortcut"), CALLABLES)
    | {"delays": PARTS}
)
_PLAIN = (bool, int, float, str, type(None))


class Description:
    """The description of an object: `root`, the entries of objects and tensors, arrays, and users' classes."""

    def __init__(self, root: object) -> None:
        self.objects: list[dict[str, Any]] = []
        self.tensors: list[dict[str, Any]] = []
        self.arrays: dict[str, Array] = {}
        self.own: dict[str, Any] = {}
        # The number of each object and tensor. Described objects must stay alive, so that identities stay distinct.
        self._numbers: dict[int, int] = {}
        self._described: list[Any] = []
        self._unfinished: set[int] = set()
        self.root = self._value("the network", root)

    def _value(self, where: str, x: Any) -> object:
        """Return a value as JSON: plain data unchanged, everything else as a dictionary with one key."""
        if type(x) in _PLAIN:
            return x
        if isinstance(x, (float, str)):
            return float(x) if isinstance(x, float) else str(x)
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

    def _array(self, where: str, x: Array | Tensor) -> dict[str, object]:
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

    def _enter(self, x: object, number: int) -> None:
        self._numbers[id(x)] = number
        self._described.append(x)

    def _object(self, where: str, x: object) -> int:
        """Return the number of an object's entry, which its first occurrence creates."""
        if id(x) in self._unfinished:
            raise TypeError(f"{where} holds itself, which a file cannot hold")
        if id(x) not in self._numbers:
            self._unfinished.add(id(x))
            entry = self._entry(where, x)
            self._unfinished.remove(id(x))
            self._enter(x, len(self.objects))
            self.objects.append(entry)
        return self._numbers[id(x)]

    def _entry(self, where: str, x: Any) -> dict[str, object]:
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
        except ValueError:  # a class in C without a signature
            call = None
        if call is None:
            raise TypeError(f"{where} is of type {kind.__name__}, which a file cannot hold")
        entry: dict[str, Any] = {"class": self._name(where, kind, kind.__name__, CLASSES.get(kind.__name__))}
        entry["args"] = [self._value(f"{kind.__name__}'s part {i}", each) for i, each in enumerate(call.positional)]
        entry["options"] = {name: self._value(f"{kind.__name__}'s {name}", v) for name, v in call.options.items()}
        entry["state"] = [[path, self._value(f"{kind.__name__}'s array", v)] for path, v in self._state(x, call.used)]
        return entry

    def _name(self, where: str, thing: object, name: str, ours: object) -> dict[str, object]:
        """Return the name of a class or a function, and whether it is the library's."""
        if thing is ours:
            return {"name": name, "own": False}
        if name == "<lambda>" or (isinstance(thing, FunctionType) and "<locals>" in thing.__qualname__):
            raise TypeError(
                f"{where} is a lambda or a function in a function, which a file cannot hold; use functools.partial, as "
                "in partial(cs.functions.quantize, step=2), or a function of a module"
            )
        if self.own.setdefault(name, thing) is not thing:
            raise TypeError(f"{where} is one of two classes or functions named {name}, rename one of them")
        return {"name": name, "own": True}

    def _state(
        self, x: object, used: set[str], above: tuple[int, ...] = ()
    ) -> Iterator[tuple[list[str | int], object]]:
        """Yield the path and the value of each tensor, array and training flag in an object without its own entry."""
        for name, value in fields_of(x).items():
            if name not in used:
                yield from self._within([name], value, (*above, id(x)))

    def _within(self, path: list[Any], value: Any, above: tuple[int, ...]) -> Iterator[tuple[list[str | int], object]]:
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


def is_array(x: object) -> bool:
    """Return whether a value is an array, of NumPy or CuPy."""
    return isinstance(x, np.ndarray) or namespace(x) is not np


class Call(NamedTuple):
    """The arguments of the constructor call, by position and by name, and the attributes they come from."""

    positional: list[Any]
    options: dict[str, Any]
    used: set[str]


def call_of(thing: Any) -> Call:
    """Return the constructor call that makes an object like this one, except for its arrays.

    The arguments are attributes of the same names, as in scikit-learn. A class with other attributes defines
    ``saved_options()``, which returns the arguments by name. The library's constructors omit arguments that only affect
    initial weights, such as ``weight_scale``.
    """
    kind = type(thing)
    if kind is Network:
        options = {name: getattr(thing, name) for name in ("notation", "input_shape", "potentials")}
        return Call(list(thing.layers), options, {"layers", *options})
    if callable(getattr(thing, "saved_options", None)):
        given = dict(thing.saved_options())
        return Call([], given, set(given))
    positional, found, used = list[Any](), dict[str, Any](), set[str]()
    parameters, ours = _parameters(kind)
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and ours and isinstance(thing, Sequential):
            found |= thing.named
            positional = positional[: len(positional) - len(thing.named)]
            continue
        if name == "dt" and ours and isinstance(thing, Sequential):
            continue  # its neurons have it
        if parameter.kind is parameter.VAR_KEYWORD:
            raise TypeError(f"{kind.__name__}'s constructor takes **{name}; define saved_options()")
        if not hasattr(thing, name):
            if ours and parameter.default is not parameter.empty:
                continue
            raise TypeError(
                f"{kind.__name__}'s argument {name} is not an attribute; keep it as self.{name}, or define "
                "saved_options()"
            )
        used.add(name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional = list(getattr(thing, name))
        else:
            found[name] = getattr(thing, name)
    return Call(positional, found, used)


def _parameters(kind: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters of a constructor by name, and whether a class of the library defines it."""
    defines = next(each for each in kind.__mro__ if {"__init__", "__new__"} & vars(each).keys())
    if defines is object:
        return {}, False
    ours = defines.__module__.split(".")[0] == "cuslayer"
    return dict(inspect.signature(kind).parameters), ours


def maker(kind: type) -> Callable[..., object]:
    """Return the function that makes an object of a class from the arguments of `call_of`."""
    return _network if kind is Network else kind


def _network(*stages: Stage, notation: str, input_shape: tuple[int, ...], potentials: str) -> Network:
    """Return a `Network` of existing stages: words with options are not part of its notation."""
    if not isinstance(notation, str) or not isinstance(input_shape, tuple):
        raise TypeError("notation must be a string and input_shape a tuple")
    net = Network.__new__(Network)
    Sequential.__init__(net, *stages, potentials=potentials)
    net.notation = notation
    net.input_shape = tuple(check.integer("input_shape", size, least=1) for size in input_shape)
    return net


def is_ours(kind: type) -> bool:
    """Return whether a class is a class of the library that files name."""
    return CLASSES.get(kind.__name__) is kind


def arguments_of(kind: type) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of a class of the library; {} for any other, whose constructor decides itself."""
    return inspect.signature(maker(kind)).parameters if is_ours(kind) else {}


def allowed(kind: type, name: str | None) -> tuple[str, ...]:
    """Return the types of an argument of a class other than data; None is the name of positional arguments."""
    if not is_ours(kind):
        return CALLABLES
    if name is None:
        stages = any(each.kind is each.VAR_POSITIONAL for each in arguments_of(kind).values())
        return CALLABLES if stages else DATA
    parameters = arguments_of(kind)
    named = name not in parameters and any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return CALLABLES if named else _ARGUMENTS.get(name, DATA)


def fields_of(x: object) -> dict[str, object]:
    """Return an object's own attributes, without properties, cached or not. No code of x runs."""
    own = vars(x) if hasattr(x, "__dict__") else {}
    kinds = {name: type(inspect.getattr_static(type(x), name, None)) for name in own}
    return {name: value for name, value in own.items() if not hasattr(kinds[name], "__get__")}


def is_part(x: object) -> bool:
    """Return whether a value is a layer, a neuron or a weight hook, whose fields belong to its owner."""
    return isinstance(x, (layers.Layer, Neuron)) or hasattr(type(x), "parameters")
