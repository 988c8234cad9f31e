"""What files may name: classes, functions and methods of the library, their arguments, and the fields of objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cuslayer import check, functions, layers, network, neurons, surrogates
from cuslayer.network.network import Network, Sequential
from cuslayer.neurons.base import Neuron

# All of the library: a class that is added to one of these lists can be saved.
CLASSES: dict[str, type] = {
    name: found
    for package in (layers, network, neurons, surrogates)
    for name in package.__all__
    if inspect.isclass(found := getattr(package, name))
}
# Functions that make arrays of one array and of constants, and do nothing else: they may be a stage or a hook.
_NAMES = """
absolute add all any argmax argmin astype clip concatenate copy cumsum decimate divide dot dropout einsum equal exp
expand_dims greater greater_equal k_winners less less_equal log logical_and logical_not logical_or logical_xor matmul
max maximum mean min minimum moveaxis moving_count multiply negative not_equal pool power psp quantize ravel replicate
reshape shift sigmoid softmax sqrt square squeeze stack std subtract sum swapaxes tanh tensordot transpose unpool var
where
"""
FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(functions, name) for name in _NAMES.split()}
# Methods of neurons that may be a stage; also those of a subclass that does not define them anew.
METHODS: tuple[Callable[..., Any], ...] = (
    Neuron.psp,
    layers.Recurrent.psp,
    neurons.SRM.spike,
    neurons.SampledSRM.spike,
)

# What an argument, or an object, may be besides data: an instance of a class, or also something that is called.
DATA: tuple[str, ...] = ()
PARTS = ("class",)
CALLABLES = ("class", "function", "method", "partial")
# The arguments of constructors of the library that may be more than data, besides stages.
_ARGUMENTS = dict.fromkeys(("layer", "neuron", "surrogate"), PARTS) | dict.fromkeys(
    ("weight_hook", "mean_hook"), CALLABLES
)


class Call(NamedTuple):
    """The arguments of the call that makes an object, by position and by name, and the attributes they come from."""

    positional: list[Any]
    options: dict[str, Any]
    used: set[str]


def call_of(thing: Any) -> Call:
    """Return the call of its class that makes an object like this one, apart from its arrays.

    The arguments are attributes of the same names, as scikit-learn has it. A class whose attributes are others defines
    ``saved_options()``, which returns the arguments by name. Constructors of the library leave out what only draws the
    first weights, such as ``weight_scale``.
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


def maker(kind: type) -> Callable[..., Any]:
    """Return the function that makes an object of a class from the arguments of `call_of`."""
    return _network if kind is Network else kind


def _network(*stages: Any, notation: str, input_shape: tuple[int, ...], potentials: str) -> Network:
    """Return a `Network` of stages that exist: words with options are not part of its notation."""
    if not isinstance(notation, str) or not isinstance(input_shape, tuple):
        raise TypeError("notation must be a string and input_shape a tuple")
    net = Network.__new__(Network)
    Sequential.__init__(net, *stages, potentials=potentials)
    net.notation = notation
    net.input_shape = tuple(check.integer("Network", "input_shape", size, least=1) for size in input_shape)
    return net


def is_ours(kind: type) -> bool:
    """Return whether a class is one of the library that files name."""
    return CLASSES.get(kind.__name__) is kind


def arguments_of(kind: type) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of a class of the library; none of any other, whose constructor decides itself."""
    return inspect.signature(maker(kind)).parameters if is_ours(kind) else {}


def allowed(kind: type, name: str | None) -> tuple[str, ...]:
    """Return what an argument of a class may be besides data; None is the name of arguments by position."""
    if not is_ours(kind):
        return CALLABLES
    if name is None:
        stages = any(each.kind is each.VAR_POSITIONAL for each in arguments_of(kind).values())
        return CALLABLES if stages else DATA
    return _ARGUMENTS.get(name, DATA)


def fields_of(x: Any) -> dict[str, Any]:
    """Return the attributes that an object itself holds, without properties, cached or not. No code of x runs."""
    own = vars(x) if hasattr(x, "__dict__") else {}
    kinds = {name: type(inspect.getattr_static(type(x), name, None)) for name in own}
    return {name: value for name, value in own.items() if not hasattr(kinds[name], "__get__")}


def is_part(x: Any) -> bool:
    """Return whether a value is a layer, a neuron or a weight hook, whose fields belong to the object that made it."""
    return isinstance(x, (layers.Layer, Neuron)) or hasattr(type(x), "parameters")
