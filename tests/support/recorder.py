"""A driver of kernels that records their launches, and arguments to launch one with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np

from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step import print_cuda
from cuslayer.surrogates import EXPONENTIAL

# The header that the kernel surrogate_adjoint is compiled with.
SURROGATE = print_cuda.surrogate(EXPONENTIAL.shape.curve)


class Recorder:
    """A driver that compiles nothing and records its calls; `places` has the devices of arrays, by default 0."""

    def __init__(self) -> None:
        self.current = 0
        self.places: dict[int, int] = {}
        self.built: list[tuple[str, int]] = []
        self.launches: list[tuple[str, Any, Any, tuple[Any, ...]]] = []

    def array_type(self) -> type:
        return np.ndarray

    def device(self) -> int:
        return self.current

    def device_of(self, x: Any) -> int:
        return self.places.get(id(x), 0)

    address_of = staticmethod(id)

    def shared_bytes(self) -> int:
        return 100_000

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        self.built.append((text, self.current))
        return {name: self._launch(name) for name in names}

    def _launch(self, name: str) -> source.Launch:
        def launch(*call: Any, shared_mem: int | None = None) -> None:
            assert (shared_mem or 0) <= getattr(launch, "max_dynamic_shared_size_bytes", 48 << 10)
            self.launches.append((name, *call) if shared_mem is None else (name, *call, shared_mem))

        return cast(source.Launch, launch)


def surrogate(**changed: Any) -> dict[str, Any]:
    """Return arguments that the kernel surrogate_adjoint takes, except for those changed, of its struct too."""
    x = np.zeros((4, 3), np.float32)
    of = {"theta": 0.9, "steep": 1.0, "height": 1.0}
    of |= {name: changed.pop(name) for name in of.keys() & changed.keys()}
    return {"g": x, "u": x, "y": x, "size": 12, "of": of} | changed
