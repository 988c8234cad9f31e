"""NumPy arrays through a device: `kernels.gpu` for tests that were written for the CPU.

Every array that a kernel is handed goes to the device first, and comes back after, changed or not, so that tests of
layers, losses and twins run on CUDA as they stand. Tests of what lies on the device and stays there: test_device.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from inspect import isfunction
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cuslayer import backend, kernels
from cuslayer.kernels import gpu
from cuslayer.kernels.cuda import compile as source


class Bridge:
    """The kernels of the GPU, their functions taking NumPy arrays and returning them."""

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
        there = [cupy.asarray(x) if isinstance(x, np.ndarray) else x for x in arrays]

        def back(out: Any) -> Any:
            for here, moved in zip(arrays, there, strict=True):
                if out is moved:
                    return here
            return cupy.asnumpy(out) if isinstance(out, cupy.ndarray) else out

        out = kernel(*there, **options)
        for here, moved in zip(arrays, there, strict=True):
            if isinstance(here, np.ndarray) and here.flags.writeable:
                here[...] = cupy.asnumpy(moved)
        return tuple(map(back, out)) if type(out) is tuple else back(out)

    return call


class _Watched(source.Cuda):
    """CUDA, with the names of the kernels that were launched."""

    def __init__(self) -> None:
        self.launches: list[str] = []

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        return {name: self._noted(name, launch) for name, launch in super().build(text, names).items()}

    def _noted(self, name: str, launch: source.Launch) -> source.Launch:
        def noted(*arguments: Any) -> None:
            self.launches.append(name)
            launch(*arguments)

        return noted


@cache
def _library(cupy: Any) -> source.Library:
    """Return the kernels for a module CuPy, or for what stands in for it; they are compiled once a session."""
    return source.Library(_Watched())


@contextmanager
def watched() -> Iterator[Any]:
    """Let `launches` of what this yields name the kernels that ran on the device."""
    library = _library(backend.cupy())
    library.driver.launches.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "library", library)
        yield library.driver


@contextmanager
def bridged() -> Iterator[Any]:
    """Send NumPy arrays through the device, everywhere in cuslayer."""
    bridge = Bridge()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "of", lambda _: bridge)
        yield source.library.driver
