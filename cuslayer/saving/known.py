"""The classes and functions of the library that files name, and how each class is described and made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from cuslayer import functions, layers, network, neurons, surrogates
from cuslayer.network.network import Network, Sequential

# All of the library: a class that is added to one of these lists can be saved.
CLASSES: dict[str, type] = {
    name: found
    for package in (layers, network, neurons, surrogates)
    for name in package.__all__
    if inspect.isclass(found := getattr(package, name))
}
FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(functions, name) for name in functions.__all__}


class Call(NamedTuple):
    """The arguments of the call that makes an object.

    Attributes:
        positional: the arguments by position, those of a ``*name`` parameter.
        options: the arguments by name.
        used: the attributes that the arguments come from.
    """

    positional: list[Any]
    options: dict[str, Any]
    used: set[str]


def call_of(thing: Any) -> Call:
    """Return the call of its class that makes an object like this one, apart from its arrays.

    The arguments are attributes of the same names, as scikit-learn has it. A class whose attributes are others defines
    ``saved_options()``, which returns the arguments by name. Constructors of the library leave out what only draws the
    first weights, such as ``weight_scale``.

    Raises:
        TypeError: an argument is not an attribute.
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
    net = Network.__new__(Network)
    Sequential.__init__(net, *stages, potentials=potentials)
    net.notation, net.input_shape = notation, input_shape
    return net
