"""One launch of an emulated kernel: several passes over the same arguments, with equal results."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer.kernels.cuda.compile import Table
from tools.emulator import build as emulator_build
from tools.emulator.counts import LaunchCounts, argument_counts, totals
from tools.emulator.memory import POISON, EmulationError, Memory, address_of

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

_REFUSED, _NEEDS_FIBERS = 1, 2
_NOT_COUNTING, _LEARN, _COUNT = range(3)


class _Launch(ctypes.Structure):
    """The Launch of runtime.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("arguments", ctypes.c_void_p),
        ("shared", ctypes.c_uint),
        ("order", ctypes.c_uint),
        ("fibers", ctypes.c_uint),
        ("flush", ctypes.c_uint),
        ("counting", ctypes.c_uint),
        ("message", ctypes.c_char * 256),
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

    def __init__(self, name: str, parameters: Sequence[str], library: ctypes.CDLL, emulator: Emulator):
        self.name = name
        self._names = parameters
        self._emulator = emulator
        self._library = library
        self._run = library[f"launch_{name}"]
        self._constant = ctypes.POINTER(ctypes.c_bool).in_dll(library, f"constant_{name}")
        self._sizes = ctypes.POINTER(ctypes.c_uint).in_dll(library, f"sizes_{name}")
        # A plain call cannot wait. The first thread that wants to ends the pass, which begins again on fibers: kernels
        # without barriers do not pay for what they do not use.
        self._fibers = False
        self._most_dynamic: int | None = None
        self._counting = emulator.counting

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
                blocks, threads = _three("a grid", grid, *_GRID), _three("a block", block, *_BLOCK)
                self._launch(_Launch(blocks, threads, shared=shared_mem, flush=self._emulator.flush), arguments)
            except EmulationError as error:
                raise EmulationError(f"{self.name}: {error}") from None

    def _launch(self, launch: _Launch, arguments: Sequence[Any]) -> None:
        self._check_shared(launch.shared, 0)
        placed = self._placed(arguments)
        memories = [memory for memory in dict.fromkeys(chain(*placed)) if memory]
        written = [memory for memory in memories if not memory.constant]

        def results(this: _Pass) -> list[bytes]:
            for memory in memories:
                memory.begin(this.poison)
            if self._ends(launch, this, placed, arguments):
                return [memory.end() for memory in written]
            self._fibers = True
            return results(this)

        if self._counting:
            launch.counting = _LEARN
        expected = results(_PLAIN[0])
        static = self._static_shared()
        self._check_shared(launch.shared, static)
        if self._counting:
            launch.counting = _COUNT
            results(_PLAIN[0])
            launch.counting = _NOT_COUNTING
            self._count(launch, static, memories)
        for this in (_FIBERS if self._fibers else _PLAIN)[1:]:
            found = results(this)
            if found != expected:
                ordered = results(_Pass(_PLAIN[0].order, this.poison)) == expected
                raise EmulationError(_difference(written, expected, found, this.order if ordered else ""))
        for memory, result in zip(written, expected, strict=True):
            memory.keep(result)
            self._emulator.blank.written(memory.array)

    def _count(self, launch: _Launch, static: int, memories: Sequence[Memory]) -> None:
        sectors = {memory.name: argument_counts(memory.number) for memory in memories}
        shared = static + launch.shared
        counts = LaunchCounts(self.name, tuple(launch.grid), tuple(launch.block), shared, sectors, *totals())
        self._emulator.counts.append(counts)

    def _static_shared(self) -> int:
        """Return the bytes of the __shared__ variables that the last pass touched."""
        offsets, sizes = emulator_build.variables(self._library._name)
        table = ctypes.c_size_t * len(sizes)
        touched = emulator_build.runtime().emulator_touched
        touched.restype = ctypes.c_size_t
        return int(touched(ctypes.c_size_t(len(sizes)), table(*offsets), table(*sizes)))

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

    def _placed(self, arguments: Sequence[Any]) -> list[list[Memory | None]]:
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

        def placed_all(name: str, constant: bool, size: int, x: Any) -> list[Memory | None]:
            if isinstance(x, Table):
                return [placed(f"{name}{i}", constant, array) for i, array in enumerate(x.arrays)]
            if isinstance(x, np.ndarray) and not x.dtype.names:
                return [placed(name, constant, x)]
            if np.array(x).itemsize != size:
                raise EmulationError(f"{name} takes {size} bytes, got {type(x).__name__}")
            return []

        count = len(self._names)
        return list(map(placed_all, self._names, self._constant[:count], self._sizes[:count], arguments))

    def _ends(
        self, launch: _Launch, this: _Pass, placed: Sequence[Sequence[Memory | None]], arguments: Sequence[Any]
    ) -> bool:
        """Run the kernel once; return whether it came to its end, and not to a barrier that plain calls cannot pass."""
        # A pointer is passed by the address of a cell that holds it, a number or a table by the address of its bytes.
        cells = list(map(_cell, placed, arguments))
        table = (ctypes.c_void_p * len(cells))(*map(address_of, cells))
        launch.arguments = ctypes.addressof(table)
        launch.order, launch.fibers = _ORDERS.index(this.order), self._fibers
        outcome = self._run(ctypes.byref(launch))
        if outcome == _REFUSED:
            raise EmulationError(launch.message.decode())
        return outcome != _NEEDS_FIBERS


def _cell(placed: Sequence[Memory | None], argument: Any) -> np.ndarray[Any, Any]:
    """Return what the address of an argument points to: a pointer, a number, or a table of pointers."""
    places = [memory.place if memory else 0 for memory in placed]
    if isinstance(argument, Table):
        cell = np.array(argument)
        cell["at"][0, : len(places)] = places
        return cell
    return np.array(places[0], np.uintp) if places else np.array(argument)


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
