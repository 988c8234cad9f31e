"""`kernels.gpu` with NumPy arrays, for tests that were written for the CPU.

Each argument is copied to the device before the call and back after it, so that tests of layers, losses and twins run
on CUDA unchanged. Tests with arrays that stay on the device: tests/device/test_operations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache, wraps
from inspect import isfunction, ismethod
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest

from cuslayer import backend, kernels
from cuslayer._tape import DeferredGradient
from cuslayer.kernels import gpu
from cuslayer.kernels.constants import Product
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.fused.gpu import GpuPass
from cuslayer.kernels.spikes.packed import PackedSpikes


class Bridge:
    """The kernels of the GPU with NumPy arrays as arguments and results."""

    def __getattr__(self, topic: str) -> Any:
        return Topic(getattr(gpu, topic))


class Topic:
    """Functions of the device with NumPy arrays: those of a module, or the methods of an object that has kernels.

    A name that a monkeypatch sets is set in the module, and again what it was where the monkeypatch removes it.
    """

    _functions: ModuleType | GpuPass
    _before: dict[str, Any]

    def __init__(self, functions: ModuleType | GpuPass) -> None:
        self.__dict__.update(_functions=functions, _before={})

    def __setattr__(self, name: str, value: Any) -> None:
        self._before.setdefault(name, getattr(self._functions, name))
        setattr(self._functions, name, getattr(value, "of_device", value))

    def __delattr__(self, name: str) -> None:
        # Once for each time that it was set.
        if name in self._before:
            setattr(self._functions, name, self._before.pop(name))

    def __getattr__(self, name: str) -> Any:
        thing = getattr(self._functions, name)
        return _across(thing) if isfunction(thing) or ismethod(thing) else thing


def _across(kernel: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(kernel)
    def call(*arrays: Any, **options: Any) -> Any:
        cupy = backend.cupy()
        # Arrays of the host and their copies on the device, by the identity of the first.
        moved: dict[int, tuple[Any, Any]] = {}

        on_device = []

        def there(x: Any) -> Any:
            if not isinstance(x, np.ndarray):
                on_device.append(isinstance(x, cupy.ndarray))
                return x
            if id(x) not in moved:
                moved[id(x)] = x, cupy.asarray(x)
            return moved[id(x)][1]

        def back(x: Any) -> Any:
            if isinstance(x, (ModuleType, GpuPass)):
                return Topic(x)
            if not isinstance(x, cupy.ndarray):
                return x
            given = [here for here, copied in moved.values() if x is copied]
            return given[0] if given else cupy.asnumpy(x)

        out = kernel(*_each(there, arrays), **_each(there, options))
        for here, copied in moved.values():
            if here.flags.writeable:
                here[...] = cupy.asnumpy(copied)
        # A launcher that calls another one has the arrays on the device already.
        return out if any(on_device) else _each(back, out)

    call.of_device = kernel  # type: ignore[attr-defined]
    return call


def _each(change: Callable[[Any], Any], x: Any) -> Any:
    """Return x with each array changed, also in lists, tuples, dictionaries and what holds arrays of a device."""
    if isinstance(x, dict):
        return {name: _each(change, value) for name, value in x.items()}
    if isinstance(x, (list, tuple)):
        parts = [_each(change, part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if isinstance(x, (PackedSpikes, Product, DeferredGradient)):
        return replace(x, **{field.name: _each(change, getattr(x, field.name)) for field in fields(x)})
    return change(x)


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
        # Packed spikes are unpacked by the kernels of the GPU, whoever has them.
        patch.setattr(kernels, "gpu", bridge)
        yield source.library.driver
