"""Emulation of the CUDA kernels on a CPU: the unmodified sources, compiled for the host, over the full grid.

It is a driver of `kernels.cuda.compile`, so that NumPy arrays pass through all of `kernels.gpu`: the launchers, the
binding of arguments, the index arithmetic of every thread. A fault that is undefined on a GPU raises `EmulationError`:

- an access outside of every argument or past the dynamic shared memory of the launch, or a write to a const argument;
- an access to a number of 2 to 8 bytes, or to a whole vector of CUDA's, at an address that is no multiple of its size;
- a read of uninitialized memory (shared memory too, of each block anew), an output that is not completely written, a
  bool that is neither True nor False;
- a barrier that some threads of a block do not reach, a shuffle from an inactive lane;
- a data race: two threads access an element without a barrier between them, and one of them writes it;
- a result that depends on the order of threads, such as a sum of floats by atomicAdd;
- a shift by a negative number or by all bits, a division of integers by zero;
- a grid or block that no GPU launches;
- more shared memory than the launch may have: 48 KiB or what `max_dynamic_shared_size_bytes` was set to, and 227 KiB.
  A static variable counts where the launch touches it.

The compiler inserts a call at every memory access (build.py), which checks the bounds of the argument and the earlier
accesses of other threads (memory.cpp). Each launch runs twice, with threads and blocks in ascending and descending
order and different poison in uninitialized memory, a third time if threads wait for one another; the results must be
the same to the bit (launch.py). Threads are plain calls; once a kernel reaches a barrier they are fibers (threads.cpp).
On request it counts what the accesses of warps would cost on a GPU (counts.py).

Not detected: the alignment of structures that are no vectors of CUDA's, the rounding of CUDA's exp and of __expf, other
lanes in __activemask() than those with which the warp began, memcpy, accesses past the end of a local or static shared
array that reach another variable, aliases of __restrict__ pointers, and races between blocks after a __threadfence().
Subnormal numbers are flushed only on request (`Emulator`), and not by fabs, fmin, fmax and a change of sign. A thread
that spins until another has written waits forever. It needs a POSIX system with makecontext; it is tested on Linux, and
macOS is supported but not tested (there, static shared memory does not count).
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
from tools.emulator import build as emulator_build
from tools.emulator import launch as passes
from tools.emulator.counts import LaunchCounts
from tools.emulator.launch import Kernel
from tools.emulator.memory import Blank, EmulationError, address_of

__all__ = ["EmulationError", "Emulator", "ascending", "emulated", "emulation", "in_one_order"]


class Emulator:
    """A driver for `source.Library` that runs kernels on NumPy arrays.

    Attributes:
        flush: whether subnormal numbers become 0, as arguments and as results of arithmetic: CuPy compiles with
            ``-ftz=true``. On a GPU that holds for float only. A CPU flushes double too, so a kernel with a double
            among its parameters runs without it; in the other kernels doubles are flushed below 2.2e-308.
            Only an x86 CPU can do so; elsewhere the test is skipped.
        built: the sources that were compiled.
        counting: whether accesses are counted, by kernels that are built from then on; it takes ten times as long.
        launches: the names of the kernels that ran.
        counts: for each of them, if counting, what its accesses would cost on a GPU; see `counts.py`.
    """

    def __init__(self, flush: bool = False, counting: bool = False) -> None:
        if flush and not emulator_build.runtime().emulator_flushes():
            pytest.skip("this CPU cannot flush subnormal numbers to 0")
        self.flush = flush
        self.counting = counting
        self.built: list[str] = []
        self.launches: list[str] = []
        self.counts: list[LaunchCounts] = []
        self.blank = Blank()

    def array_type(self) -> type:
        return np.ndarray

    def device(self) -> int:
        return 0

    def device_of(self, x: Any) -> int:
        return 0

    address_of = staticmethod(address_of)

    def shared_bytes(self) -> int:
        return 232_448

    def empty(self, shape: Any, dtype: Any) -> Any:
        """Return an array of poison, for a kernel to write."""
        return self.blank.empty(shape, dtype)

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        parameters = emulator_build.signatures(text)
        library = emulator_build.kernels(text, parameters, self.counting)
        self.built.append(text)
        return {name: Kernel(name, parameters[name], library, self) for name in names}


class _Namespace:
    """NumPy, with the `empty` of an emulator."""

    def __init__(self, emulator: Emulator):
        self.empty = emulator.empty

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def emulation(flush: bool = False, counting: bool = False) -> Iterator[Emulator]:
    """Run all kernels of cuslayer by `kernels.gpu` and emulated CUDA, with NumPy arrays.

    Args:
        flush: see `Emulator`.
        counting: see `Emulator`.
    """
    emulator = Emulator(flush, counting)
    namespace = _Namespace(emulator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "library", source.Library(emulator))
        patch.setattr(launch, "namespace", lambda _: namespace)
        patch.setattr(kernels, "of", lambda _: gpu)
        yield emulator


@contextmanager
def in_one_order() -> Iterator[None]:
    """Run each launch once, with threads ascending: for training, whose kernels other tests run in all orders."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_PLAIN", "_FIBERS"):
            patch.setattr(passes, name, getattr(passes, name)[:1])
        yield


@pytest.fixture
def ascending() -> Iterator[None]:
    """Run the test `in_one_order`."""
    with in_one_order():
        yield


@pytest.fixture
def emulated() -> Iterator[Emulator]:
    """Run the test on emulated CUDA; the fixture's `launches` lists the kernels that ran."""
    with emulation() as emulator:
        yield emulator
