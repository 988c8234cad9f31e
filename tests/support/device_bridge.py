"""`kernels.gpu` with NumPy arrays, for tests that were written for the CPU.

Each argument is copied to the device before the call and back after it, so that tests of layers, losses and twins run
on CUDA unchanged. Tests with arrays that stay on the device: tests/device/test_operations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from inspect import isfunction
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

from cuslayer import backend, kernels
from cuslayer.kernels import gpu
from cuslayer.kernels.constants import ClassCounts
from cuslayer.kernels.cuda import compile as source


class Bridge:
    """The kernels of the GPU with NumPy arrays as arguments and results."""

    def __getattr__(self, topic: str) -> Any:
        return _Topic(getattr(gpu, topic))


class _Topic:
    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        thing = getattr(self._module, name)
        return _across(thing) if isfunction(thing) else thing


def _across(kernel: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(kernel)
    def call(*arrays: Any, **options: Any) -> Any:
        cupy = backend.cupy()
        moved = [(x, cupy.asarray(x)) for x in _flat(arrays) if isinstance(x, np.ndarray)]

        def there(x: Any) -> Any:
            if isinstance(x, (list, ClassCounts)):
                return type(x)(*map(there, x)) if isinstance(x, ClassCounts) else list(map(there, x))
            return next((on_device for here, on_device in moved if here is x), x)

        def back(out: Any) -> Any:
            for here, on_device in moved:
                if out is on_device:
                    return here
            return cupy.asnumpy(out) if isinstance(out, cupy.ndarray) else out

        out = kernel(*map(there, arrays), **options)
        for here, on_device in moved:
            if here.flags.writeable:
                here[...] = cupy.asnumpy(on_device)
        return tuple(map(back, out)) if type(out) is tuple else back(out)

    return call


def _flat(arguments: Any) -> Iterator[Any]:
    """Yield arguments, and those within lists."""
    for x in arguments:
        yield from _flat(x) if isinstance(x, (list, ClassCounts)) else [x]


class _Watched(source.Cuda):
    """CUDA; records the names of the kernels that were launched."""

    def __init__(self) -> None:
        self.launches: list[str] = []

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        return {name: self._noted(name, launch) for name, launch in super().build(text, names).items()}

    def _noted(self, name: str, launch: source.Launch) -> source.Launch:
        def noted(*arguments: Any, **options: Any) -> None:
            self.launches.append(name)
            launch.max_dynamic_shared_size_bytes = options.get("shared_mem", 0)
            launch(*arguments, **options)

        return cast(source.Launch, noted)


@cache
def _library(cupy: Any) -> source.Library:
    """Return the kernels for CuPy or its replacement, compiled once in a session."""
    return source.Library(_Watched())


@contextmanager
def watched() -> Iterator[Any]:
    """Yield a driver whose `launches` lists the kernels that ran on the device."""
    library = _library(backend.cupy())
    library.driver.launches.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "library", library)
        yield library.driver


@contextmanager
def bridged() -> Iterator[Any]:
    """Run all kernels of cuslayer on the device, with NumPy arrays."""
    bridge = Bridge()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "of", lambda _: bridge)
        yield source.library.driver
