"""One launch of an emulated kernel: several passes over the same arguments, with equal results."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer.kernels.cuda.compile import Table
from tools.emulator import build as emulator_build
from tools.emulator import ptx
from tools.emulator.counts import LaunchCounts, argument_counts, shared_counts
from tools.emulator.memory import POISON, EmulationError, Memory

if TYPE_CHECKING:
    from tools.emulator.driver import Emulator


class _Pass(NamedTuple):
    """The order of threads and blocks, and the contents of uninitialized memory."""

    order: str
    poison: int


_ORDERS = ("ascending", "descending", "shuffled")
# Two orders suffice where threads never wait for one another. As a float, 0x7E repeated is finite and huge.
_PLAIN = (_Pass("ascending", POISON), _Pass("descending", 0x7E))
_FIBERS = (*_PLAIN, _Pass("shuffled", 0))


class _Three(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint) for name in "xyz")


class _Shared(ctypes.Structure):
    """The Shared of state.h."""

    _fields_ = (("name", ctypes.c_char_p), ("offset", ctypes.c_uint64), ("size", ctypes.c_uint64))


class _Launch(ctypes.Structure):
    """The Launch of state.h."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("parameters", ctypes.c_char_p),
        ("grid", _Three),
        ("block", _Three),
        ("shared", ctypes.POINTER(_Shared)),
        ("variables", ctypes.c_uint),
        ("order", ctypes.c_uint),
        ("fibers", ctypes.c_uint),
        ("perturbed", ctypes.c_uint),
        ("counting", ctypes.c_uint),
        ("message", ctypes.c_char * 512),
    )


# Bytes of shared memory that a block may have: of any kernel, and of one that asks for more (compute capability 9.0).
SHARED, MOST_SHARED = 48 << 10, 227 << 10

# The most blocks and threads in each dimension, and in all.
_GRID = ((1 << 31) - 1, (1 << 16) - 1, (1 << 16) - 1), 1 << 63
_BLOCK = (1024, 1024, 64), 1024


class Kernel:
    """A kernel of a library of `emulator_build`, launched as CuPy's RawKernel is."""

    # All launches use the same places and the same fibers.
    _lock = Lock()

    def __init__(self, name: str, constants: Mapping[str, bool], text: str, emulator: Emulator):
        self.name = name
        self._constants, self._text, self._emulator = constants, text, emulator
        self._most_dynamic: int | None = None

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """The largest dynamic shared memory of a launch; by default 48 KiB less the kernel's static shared memory."""
        return SHARED if self._most_dynamic is None else self._most_dynamic

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not 0 <= size <= MOST_SHARED:
            raise EmulationError(
                f"{self.name}: max_dynamic_shared_size_bytes is {size}, of {MOST_SHARED} bytes of shared memory"
            )
        self._most_dynamic = size

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any], shared_mem: int = 0
    ) -> None:
        """Run the kernel with `shared_mem` bytes of dynamic shared memory."""
        self._emulator.launches.append(self.name)
        with self._lock:
            try:
                self._launch(_three("a grid", grid, *_GRID), _three("a block", block, *_BLOCK), arguments, shared_mem)
            except EmulationError as error:
                raise EmulationError(f"{self.name}: {error}") from None

    def _launch(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any], dynamic: int) -> None:
        kernel, function = emulator_build.kernel(self._text, self.name)
        if math.prod(block) > kernel.most_threads:
            raise EmulationError(f"a block has {math.prod(block)} threads, the launch bounds say {kernel.most_threads}")
        sizes = [dynamic if each is kernel.shared[-1] else each.size for each in kernel.shared]
        static = sum(sizes) - dynamic
        self._check_shared(dynamic, static)
        shared = [
            _Shared(each.name.encode(), each.offset, size) for each, size in zip(kernel.shared, sizes, strict=True)
        ]
        launch = _Launch(
            kernel=ctypes.cast(function, ctypes.c_void_p),
            grid=_Three(*grid),
            block=_Three(*block),
            shared=(_Shared * len(shared))(*shared),
            variables=len(shared),
            fibers=kernel.waits,
            perturbed=self._emulator.perturbed,
        )
        placed = self._placed(kernel, arguments)
        memories = [memory for memory in dict.fromkeys(chain(*placed)) if memory]
        written = [memory for memory in memories if not memory.constant]

        def results(this: _Pass) -> list[bytes]:
            for memory in memories:
                memory.begin(this.poison)
            launch.parameters = _bytes(kernel, placed, arguments)
            launch.order = _ORDERS.index(this.order)
            if emulator_build.runtime().machine_run(ctypes.byref(launch)):
                # A number stands for an instruction.
                raise EmulationError(re.sub(r"#(\d+)", lambda at: kernel.sites[int(at[1])], launch.message.decode()))
            return [memory.end() for memory in written]

        launch.counting = self._emulator.counting
        first, *others = _FIBERS if kernel.waits else _PLAIN
        expected = results(first)
        if launch.counting:
            sectors = {memory.name: argument_counts(memory.number) for memory in memories}
            self._emulator.counts.append(
                LaunchCounts(self.name, grid, block, static + dynamic, sectors, *shared_counts())
            )
            launch.counting = False
        for this in others:
            found = results(this)
            if found != expected:
                ordered = results(_Pass(first.order, this.poison)) == expected
                raise EmulationError(_difference(written, expected, found, this.order if ordered else ""))
        for memory, result in zip(written, expected, strict=True):
            memory.keep(result)
            self._emulator.blank.written(memory.array)

    def _check_shared(self, dynamic: int, static: int) -> None:
        if static > SHARED:
            raise EmulationError(f"a kernel has {static} bytes of static shared memory, more than {SHARED}")
        most = SHARED - static if self._most_dynamic is None else self._most_dynamic
        if dynamic > most or static + dynamic > MOST_SHARED:
            limit = MOST_SHARED if static + dynamic > MOST_SHARED else most + static
            advice = "" if limit == MOST_SHARED else " without a larger max_dynamic_shared_size_bytes"
            raise EmulationError(
                f"a block has {static} bytes of static and {dynamic} of dynamic shared memory,"
                f" more than the {limit} that it may have{advice}"
            )

    def _placed(self, kernel: ptx.Kernel, arguments: Sequence[Any]) -> list[list[Memory | None]]:
        """Return the memory of each argument, those of all arrays of a table, and none for a number."""
        memories: list[Memory] = []

        def placed(name: str, constant: bool, x: Any) -> Memory | None:
            if x is None:
                return None
            new = Memory(len(memories), name, x, constant, self._emulator.blank.unwritten(x))
            found = next((old for old in memories if old.takes(new)), new)
            if found is new:
                memories.append(new)
            return found

        def placed_all(name: str, parameter: ptx.Variable, x: Any) -> list[Memory | None]:
            constant = self._constants[name]
            if isinstance(x, Table):
                return [placed(f"{name}{i}", constant, array) for i, array in enumerate(x.arrays)]
            if isinstance(x, np.ndarray) and not x.dtype.names:
                return [placed(name, constant, x)]
            if np.array(x).nbytes != parameter.size:
                raise EmulationError(f"{name} takes {parameter.size} bytes, got {type(x).__name__}")
            return []

        return list(map(placed_all, self._constants, kernel.parameters, arguments))


def _bytes(kernel: ptx.Kernel, placed: Sequence[Sequence[Memory | None]], arguments: Sequence[Any]) -> bytes:
    """Return what is passed to a kernel: pointers, numbers and structs at the offsets of its parameters."""
    made = bytearray(max((each.offset + each.size for each in kernel.parameters), default=0))
    for parameter, memories, argument in zip(kernel.parameters, placed, arguments, strict=True):
        places = [memory.place if memory else 0 for memory in memories]
        if isinstance(argument, Table):
            cell = np.array(argument)
            cell["at"][0, : len(places)] = places
        else:
            cell = np.array(places[0], np.uintp) if places else np.array(argument)
        made[parameter.offset : parameter.offset + parameter.size] = cell.tobytes()
    return bytes(made)


def _three(what: str, size: tuple[int, ...], most: tuple[int, ...], most_of_all: int) -> tuple[int, ...]:
    """Return a grid or block in three dimensions.

    Raises:
        EmulationError: no GPU launches one of this size.
    """
    three = (*size, 1, 1)[:3]
    if math.prod(three) > most_of_all or not all(0 < n <= limit for n, limit in zip(three, most, strict=True)):
        raise EmulationError(f"no GPU launches {what} of {' x '.join(map(str, size))}")
    return three


def _difference(memories: Sequence[Memory], expected: Sequence[bytes], found: Sequence[bytes], order: str) -> str:
    """Return how the results of two passes differ, by the order of threads or by what was unwritten."""
    for memory, one, other in zip(memories, expected, found, strict=True):
        i = memory.difference(one, other)
        if i is not None:
            break
    what = f"{memory.name}[{i}]"
    if not order:
        return f"{what} depends on memory that nothing wrote"
    return f"{what} is {memory.element(one, i)} with threads ascending, {memory.element(other, i)} with threads {order}"
