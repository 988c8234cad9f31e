"""The CUDA kernels on a CPU: the unmodified text, compiled by the host's C++ compiler, over the real grid and blocks.

It stands in for CuPy as the driver of `kernels.source`, so that NumPy arrays take the whole way through `kernels.gpu`:
the launchers, the binder, the index arithmetic of every thread. What a GPU would not forgive ends the launch with an
`EmulationError`:

- an access outside of every argument, or a write to a const one;
- a read of memory that nothing wrote, an output that is not wholly written, a bool that is neither True nor False;
- a barrier that some threads of a block do not reach, a shuffle from a lane that takes no part;
- a data race: two threads touch an element, one of them writes it, and no barrier lies between them;
- a result that depends on the order of threads, as a sum of floats by atomicAdd does.

The compiler announces every access to memory (emulator_build.py), so that each is held against the bounds of its
argument and against the threads that were there before (emulator_memory.cpp). Each launch runs twice, with threads and
blocks from either end and with different poison where nothing was written, a third time where threads wait for one
another; the results must be the same to the bit (emulator_launch.py). Threads are plain calls until a kernel reaches a
barrier, and fibers from then on (emulator_threads.cpp).

What it cannot show: the alignment of wide accesses, the rounding of CUDA's own exp, what memcpy does, accesses past the
end of a local or a shared array that meet another variable, aliases of __restrict__ pointers, and how blocks hand work
to one another: past a __threadfence(), races between blocks go unseen. A thread that spins until another has written
waits forever. It needs a POSIX system with makecontext; Linux is where it is tried, macOS is provided for, not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Return an array of poison, for a kernel to write."""
        return self._blank.empty(shape, dtype)

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        parameters = source.signatures(text)
        library = emulator_build.kernels(text, parameters)
        self.built.append(text)
        return {name: self._launcher(Kernel(name, parameters[name], library, self._blank)) for name in names}

    def _launcher(self, kernel: Kernel) -> source.Launch:
        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            self.launches.append(kernel.name)
            kernel(grid, block, arguments)

        return launch


class _Namespace:
    """NumPy, with the `empty` of an emulator."""

    def __init__(self, emulator: Emulator):
        self.empty = emulator.empty

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def emulation() -> Iterator[Emulator]:
    """Send NumPy arrays through `kernels.gpu` and its CUDA sources, everywhere in cuslayer."""
    emulator = Emulator()
    namespace = _Namespace(emulator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "library", source.Library(emulator))
        patch.setattr(launch, "namespace", lambda _: namespace)
        patch.setattr(kernels, "of", lambda _: gpu)
        yield emulator


@pytest.fixture
def emulated() -> Iterator[Emulator]:
    """The test runs on emulated CUDA; the fixture's `launches` names the kernels that ran."""
    with emulation() as emulator:
        yield emulator
