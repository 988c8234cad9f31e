"""A replacement for CuPy on machines without a GPU: device arrays that NumPy cannot access, and emulated kernels.

It rejects what CuPy rejects and more: an operation on a device array and a NumPy array, a function of NumPy on a device
array, a function that it does not list, an array on another device, types and options of the compiler that CuPy does
not have. Where CuPy's results differ from NumPy's, it does as CuPy: an index array out of range wraps around, scattered
additions have another order each time, some cumulative sums are not in C order. Own kernels flush subnormal numbers to
0, as CuPy compiles them. The memory can be limited.

Streams (streams.py) run work as late as CUDA may. A capture records what is launched on its stream, and a launch of the
graph executes all of it in the same memory; transfers from and to the device and cuBLAS are rejected as in CuPy. Pools
(memory.py) reuse and overwrite what is freed, and give it back to the driver as if memory were short.

Every operation that CuPy would launch can be counted (`counted`), with or without being computed. What is launched was
read from CuPy's source, of version 14: a reduction counts as one kernel, though of a whole array CUB may make two.

It does not reproduce the rounding, the order and the times of the hardware.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from cuslayer.training.score import Tally
from tools.emulator.driver import Emulator
from tools.fake_cupy import cuda, elementwise, indexing, products, reductions, shapes
from tools.fake_cupy.array import METADATA, DeviceArray
from tools.fake_cupy.costs import Costs, Operation, counted
from tools.fake_cupy.memory import Memory, MemoryPointer, OutOfMemoryError, Pool, default_pool, using_allocator
from tools.fake_cupy.modules import RawModule
from tools.fake_cupy.state import fresh
from tools.fake_cupy.streams import Graph, Stream

__all__ = [
    "FUNCTIONS",
    "METADATA",
    "METHODS",
    "Costs",
    "DeviceArray",
    "Operation",
    "OutOfMemoryError",
    "captured",
    "counted",
    "in_use",
    "strict",
]

_OPERATORS = elementwise.OPERATORS | products.OPERATORS | indexing.OPERATORS
_METHODS: dict[str, Any] = elementwise.METHODS | shapes.METHODS | reductions.METHODS | indexing.METHODS
_FUNCTIONS: dict[str, Any] = (
    elementwise.FUNCTIONS | shapes.FUNCTIONS | products.FUNCTIONS | indexing.FUNCTIONS | reductions.FUNCTIONS
)
# The names of all methods and functions.
METHODS, FUNCTIONS = tuple(_METHODS), tuple(_FUNCTIONS)

for _name, _method in (_OPERATORS | _METHODS).items():
    setattr(DeviceArray, _name, _method)


class _CuPy(ModuleType):
    """The module: only what the library may use."""

    ndarray = DeviceArray
    __version__ = "0"

    def __init__(self, emulator: Emulator) -> None:
        super().__init__("cupy")
        for name, function in _FUNCTIONS.items():
            setattr(self, name, function)
        self.RawModule = partial(RawModule, emulator)
        self.cuda = cuda.namespace()
        self.get_default_memory_pool = default_pool


@contextmanager
def strict(*, memory: int | None = None, compute: bool = True, counting: bool = False) -> Iterator[Emulator]:
    """Replace CuPy and the device "cuda"; the emulator's `launches` lists the kernels that ran.

    Args:
        memory: the bytes of a device's memory; an allocation beyond them raises OutOfMemoryError. None for no limit.
        compute: whether operations are computed. If not, arrays have any contents, what is read back is 0, and a step
            of a large network takes the time of its Python code; `counted` counts the same.
        counting: whether the emulator counts the accesses of own kernels to memory, in its `counts`.
    """
    emulator = Emulator(counting=counting)
    cupy = _CuPy(emulator)
    with pytest.MonkeyPatch.context() as patch, fresh(compute, memory):
        patch.setitem(sys.modules, "cupy", cupy)
        patch.setattr(backend, "cupy", lambda: cupy)
        patch.setattr(backend, "_driver_problem", lambda: None)
        patch.setattr(source, "library", source.Library(source.Cuda()))
        if not compute:  # the numbers of samples and of their spikes would be 0
            patch.setattr(Tally, "samples", 1)
            patch.setattr(Tally, "spiked", True)
        yield emulator


@contextmanager
def captured() -> Iterator[Graph]:
    """Capture what the block launches; the graph can be launched after it."""
    kept = list[Memory]()

    def keep(size: int) -> MemoryPointer:
        kept.append(Memory(size))
        return MemoryPointer(kept[-1], 0)

    stream, pool = Stream(non_blocking=True), Pool(keep)
    with stream, using_allocator(pool.malloc):
        stream.begin_capture()
        graph = stream.graph
        assert graph is not None
        graph.kept = kept
        try:
            yield graph
        finally:
            stream.end_capture()


@contextmanager
def in_use(**options: Any) -> Iterator[Emulator]:
    """Use the device "cuda" of `strict`, with its options, and the CPU afterwards."""
    with strict(**options) as emulator:
        backend.use("cuda")
        try:
            yield emulator
        finally:
            backend.use("cpu")
