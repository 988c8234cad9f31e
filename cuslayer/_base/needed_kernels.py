"""The list of kernels that usual networks call first, with the types of their arguments: `kernels/needed.json`.

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

FILE = Path(__file__).parents[1] / "kernels" / "needed.json"


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


class NeededKernel(NamedTuple):
    """A kernel of the list, and what all networks that call it have in common: steps of their plans, losses."""

    signature: Signature
    parts: frozenset[str]


@cache
def needed_kernels() -> tuple[NeededKernel, ...]:
    """Return the list, in the order of the first calls."""
    return kernels_of(json.loads(FILE.read_text("utf-8")))


def kernels_of(content: dict[str, list[Any]]) -> tuple[NeededKernel, ...]:
    """Return the kernels of the file's content."""
    known: list[Any] = []
    for text in content["types"]:
        known.append(_type_of(text, known))
    return tuple(
        NeededKernel(Signature(kernel, tuple(known[number] for number in numbers)), frozenset(parts))
        for kernel, numbers, parts in content["kernels"]
    )


def content_of(kernels: Iterable[NeededKernel]) -> dict[str, list[Any]]:
    """Return the content of the file: types, which refer to earlier ones by number, and kernels."""
    texts: list[Any] = []
    numbers: dict[Any, int] = {}

    def number_of(kind: Any) -> int:
        if kind not in numbers:
            texts.append([_name(kind), *map(number_of, kind)] if isinstance(kind, types.BaseTuple) else _text(kind))
            numbers[kind] = len(texts) - 1
        return numbers[kind]

    rows = [
        [kernel.signature.kernel, [number_of(kind) for kind in kernel.signature.arguments], sorted(kernel.parts)]
        for kernel in kernels
    ]
    return {"types": texts, "kernels": rows}


def _named(name: str) -> Any:
    module, attribute = name.split(":")
    return getattr(import_module(module), attribute)


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
    return types.BaseTuple.from_types(parts, *([_named(name)] if name else []))
