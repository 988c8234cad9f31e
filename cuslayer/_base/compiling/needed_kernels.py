"""The kernels that usual networks call, with the types of their arguments: `kernels/needed.json`.

``python -m tools.needed_kernels`` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from numba import types

FILE = Path(__file__).parents[2] / "kernels" / "needed.json"


class Signature(NamedTuple):
    """A kernel and the types of the arguments for which it is compiled."""

    kernel: str  # module and name, such as "cuslayer.kernels.fused.loop:forward"
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, dispatcher: Any, arguments: Iterable[Any]) -> Signature:
        """Return the signature of a function that Numba compiles."""
        function = dispatcher.py_func
        return cls(f"{function.__module__}:{function.__qualname__}", tuple(arguments))

    def compile(self) -> None:
        """Compile the kernel, unless the cache has it."""
        dispatcher = _named(self.kernel)
        files = dispatcher._cache
        key = files._index_key(self.arguments, dispatcher.targetctx.codegen())
        if key not in files._cache_file._load_index():
            dispatcher.compile(self.arguments)


class UsualNetwork(NamedTuple):
    """A network, by the names of its steps, and the kernels that it calls, in the order of the first calls."""

    steps: frozenset[str]
    kernels: dict[Signature, float]  # with the seconds that one took to compile, somewhere

    def likeness(self, steps: frozenset[str]) -> float:
        """Return the fraction of the steps, of both together, that both have."""
        return len(self.steps & steps) / max(len(self.steps | steps), 1)


@cache
def usual_networks() -> tuple[UsualNetwork, ...]:
    """Return the networks of the file."""
    return networks_of(json.loads(FILE.read_text("utf-8")))


def kernels_for(steps: frozenset[str]) -> dict[Signature, float]:
    """Return the kernels of the network that is most like one with these steps."""
    return max(usual_networks(), key=lambda network: network.likeness(steps)).kernels


def networks_of(content: dict[str, list[Any]]) -> tuple[UsualNetwork, ...]:
    """Return the networks of the file's content: types, which refer to earlier ones by number, kernels, networks."""
    kinds: list[Any] = []
    for text in content["types"]:
        kinds.append(_type_of(text, kinds))
    kernels = [
        (Signature(name, tuple(kinds[number] for number in numbers)), seconds)
        for name, seconds, *numbers in content["kernels"]
    ]
    return tuple(
        UsualNetwork(frozenset(network["steps"]), dict(kernels[number] for number in network["kernels"]))
        for network in content["networks"]
    )


def content_of(networks: Iterable[UsualNetwork]) -> dict[str, list[Any]]:
    """Return the file's content of networks."""
    texts: list[Any] = []
    numbers: dict[Any, int] = {}
    rows: list[Any] = []
    places: dict[Signature, int] = {}

    def number_of(kind: Any) -> int:
        if kind not in numbers:
            parts = [number_of(part) for part in _parts(kind)]
            texts.append([_name(kind), *parts] if isinstance(kind, types.BaseTuple) else _text(kind))
            numbers[kind] = len(texts) - 1
        return numbers[kind]

    def place_of(kernel: Signature, seconds: float) -> int:
        if kernel not in places:
            rows.append([kernel.kernel, seconds, *map(number_of, kernel.arguments)])
            places[kernel] = len(rows) - 1
        return places[kernel]

    listed = [
        {"steps": sorted(network.steps), "kernels": [place_of(*kernel) for kernel in network.kernels.items()]}
        for network in networks
    ]
    return {"types": texts, "kernels": rows, "networks": listed}


def _named(name: str) -> Any:
    module, attribute = name.split(":")
    return getattr(import_module(module), attribute)


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return the types in a tuple; none of another type."""
    parts: Any = kind
    return tuple(parts) if isinstance(kind, types.BaseTuple) else ()


def _name(kind: Any) -> str:
    """Return the module and name of the class of a named tuple; nothing for other tuples."""
    named = getattr(kind, "instance_class", tuple)
    return "" if named is tuple else f"{named.__module__}:{named.__qualname__}"


def _text(kind: Any) -> str:
    """Return the name of a type that is no tuple, followed by the number of axes of an array."""
    return f"{kind.dtype} {kind.ndim}" if isinstance(kind, types.Array) else str(kind)


def _type_of(text: str | list[Any], known: list[Any]) -> Any:
    if isinstance(text, str):
        name, _, axes = text.partition(" ")
        kind = getattr(types, name)
        return types.Array(kind, int(axes), "C") if axes else kind
    name, *numbers = text
    parts = tuple(known[number] for number in numbers)
    tuple_of: Any = types.BaseTuple.from_types  # Numba has no types
    return tuple_of(parts, _named(name)) if name else tuple_of(parts)
