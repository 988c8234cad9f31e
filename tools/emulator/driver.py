"""Emulation of the CUDA kernels on a CPU: the PTX that NVRTC makes of them, executed over the full grid.

It is a driver of `kernels.cuda.compile`, so that NumPy arrays pass through all of `kernels.gpu`: the launchers, the
binding of arguments, the index arithmetic of every thread. The compiler's options are the library's and CuPy's, so that
contraction, rounding and flushing are those of a GPU. A fault that is undefined on a GPU raises `EmulationError`:

- an access outside of every argument or variable in shared memory, or a write to a const argument;
- an access at an address that is no multiple of its size;
- a read of uninitialized memory (shared memory too, of each block anew), an output that is not completely written, a
  bool that is neither True nor False;
- a read by an instruction for constant memory (ld.global.nc) of what the kernel wrote;
- a barrier that some threads of a block do not reach, a shuffle from an inactive lane;
- a data race: two threads access an element without a barrier between them, and one of them writes it;
- a result that depends on the order of threads, such as a sum of floats by atomicAdd;
- a division of integers by zero;
- a grid or block that no GPU launches, or larger than the launch bounds;
- more shared memory than the launch may have: 48 KiB or what `max_dynamic_shared_size_bytes` was set to, and 227 KiB.

An instruction that is not known raises `PtxError`, and so does an addition or a multiplication that the assembler may
contract (ptx.py). Every access goes through memory.cpp. Each launch runs twice, with threads and blocks in ascending
and descending order and different poison in uninitialized memory, a third time if threads wait for one another; the
results must be the same to the bit (launch.py). Threads are plain calls, or fibers where the kernel has barriers
(threads.cpp). On request it counts what the accesses of warps would cost on a GPU (counts.py).

Not detected: what the assembler makes of the PTX, the error of approximate instructions beyond two units in the last
place (`Emulator`), the bits of NaN, other lanes in activemask than those with which the warp began, aliases of
__restrict__ pointers, and races between blocks after a __threadfence(). A thread that spins until another has written
waits forever. It needs a POSIX system with makecontext, and NVRTC, which is not there for macOS.
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
from tools import nvrtc
from tools.emulator import build as emulator_build
from tools.emulator import launch as passes
from tools.emulator.counts import LaunchCounts
from tools.emulator.launch import Kernel
from tools.emulator.memory import Blank, EmulationError, address_of

__all__ = ["EmulationError", "Emulator", "ascending", "emulated", "emulation", "in_one_order"]


class Emulator:
    """A driver for `source.Library` that runs kernels on NumPy arrays.

    Attributes:
        flush: whether floats that are subnormal become 0, as arguments and as results: CuPy compiles with
            ``-ftz=true``.
        counting: whether accesses are counted.
        perturbed: whether the results of approximate instructions, as ex2.approx of exp, are up to two units in the
            last place off, by a hash of their bits.
        options: of the compiler, in place of the library's.
        release: of NVRTC; by default the first that is installed.
        built: the sources that were compiled.
        launches: the names of the kernels that ran.
        counts: for each of them, if counting, what its accesses would cost on a GPU; see `counts.py`.
    """

    def __init__(
        self,
        flush: bool = True,
        counting: bool = False,
        perturbed: bool = True,
        options: tuple[str, ...] = source.OPTIONS,
        release: str | None = None,
    ) -> None:
        self.options = (*options, f"-ftz={str(flush).lower()}")
        self.counting = counting
        self.perturbed = perturbed
        self.release = release or next(iter(nvrtc.releases()), "12")
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

    def build(
        self, text: str, names: Iterable[str], options: tuple[str, ...] | None = None
    ) -> Mapping[str, source.Launch]:
        # The last option changes no instruction: it says where they come from.
        options = (*(options or self.options), "-lineinfo")
        made = nvrtc.compile(text, emulator_build.ARCHITECTURE, options, self.release)[0].rstrip(b"\0").decode()
        constants = emulator_build.signatures(text)
        self.built.append(text)
        return {name: Kernel(name, constants[name], made, self) for name in names}


class _Namespace:
    """NumPy, with the `empty` of an emulator."""

    def __init__(self, emulator: Emulator):
        self.empty = emulator.empty

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def emulation(flush: bool = True, **options: Any) -> Iterator[Emulator]:
    """Run all kernels of cuslayer by `kernels.gpu` and emulated CUDA, with NumPy arrays.

    Args:
        flush: see `Emulator`.
        options: more of its arguments.
    """
    emulator = Emulator(flush, **options)
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
