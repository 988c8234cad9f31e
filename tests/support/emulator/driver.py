"""Emulation of the CUDA kernels on a CPU: the unmodified sources, compiled for the host, over the full grid.

It is a driver of `kernels.cuda.compile`, so that NumPy arrays pass through all of `kernels.gpu`: the launchers, the
binding of arguments, the index arithmetic of every thread. A fault that is undefined on a GPU raises `EmulationError`:

- an access outside of every argument, or a write to a const one;
- a read of uninitialized memory, an output that is not completely written, a bool that is neither True nor False;
- a barrier that some threads of a block do not reach, a shuffle from an inactive lane;
- a data race: two threads access an element without a barrier between them, and one of them writes it;
- a result that depends on the order of threads, such as a sum of floats by atomicAdd.

The compiler inserts a call at every memory access (build.py), which checks the bounds of the argument and the earlier
accesses of other threads (memory.cpp). Each launch runs twice, with threads and blocks in ascending and descending
order and different poison in uninitialized memory, a third time if threads wait for one another; the results must be
the same to the bit (launch.py). Threads are plain calls; once a kernel reaches a barrier they are fibers (threads.cpp).

Not detected: the alignment of wide accesses, the rounding of CUDA's exp, memcpy, accesses past the end of a local or
shared array that reach another variable, aliases of __restrict__ pointers, and races between blocks after a
__threadfence(). A thread that spins until another has written waits forever. It needs a POSIX system with makecontext;
it is tested on Linux, and macOS is supported but not tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest

from cuslayer import kernels
from cuslayer.kernels import gpu
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.cuda import launch
from tests.support.emulator import build as emulator_build
from tests.support.emulator.launch import Kernel
from tests.support.emulator.memory import Blank, EmulationError

__all__ = ["EmulationError", "Emulator", "emulated", "emulation"]


class Emulator:
    """A driver for `source.Library` that runs kernels on NumPy arrays."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.launches: list[str] = []
        self._blank = Blank()

    def array_type(self) -> type:
        return np.ndarray

    def device(self) -> int:
        return 0

    def device_of(self, x: Any) -> int:
        return 0

    def shared_bytes(self) -> int:
        return 232_448

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Return an array of poison, for a kernel to write."""
        return self._blank.empty(shape, dtype)

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        parameters = source.signatures(text)
        library = emulator_build.kernels(text, parameters)
        self.built.append(text)
        return {name: self._launcher(Kernel(name, parameters[name], library, self._blank)) for name in names}

    def _launcher(self, kernel: Kernel) -> source.Launch:
        def launch(
            grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], *, shared_mem: int = 0
        ) -> None:
            self.launches.append(kernel.name)
            kernel(grid, block, arguments)

        return cast(source.Launch, launch)


class _Namespace:
    """NumPy, with the `empty` of an emulator."""

    def __init__(self, emulator: Emulator):
        self.empty = emulator.empty

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def emulation() -> Iterator[Emulator]:
    """Run all kernels of cuslayer by `kernels.gpu` and emulated CUDA, with NumPy arrays."""
    emulator = Emulator()
    namespace = _Namespace(emulator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "library", source.Library(emulator))
        patch.setattr(launch, "namespace", lambda _: namespace)
        patch.setattr(kernels, "of", lambda _: gpu)
        yield emulator


@pytest.fixture
def emulated() -> Iterator[Emulator]:
    """Run the test on emulated CUDA; the fixture's `launches` lists the kernels that ran."""
    with emulation() as emulator:
        yield emulator
