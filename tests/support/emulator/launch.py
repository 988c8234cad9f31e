"""One launch of an emulated kernel: several passes over the same arguments, with equal results."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.cuda.compile import Parameter
from tests.support.emulator.memory import POISON, Blank, EmulationError, Memory, address_of


class _Pass(NamedTuple):
    """The order of threads and blocks, and the contents of uninitialized memory."""

    order: str
    poison: int


_ORDERS = ("ascending", "descending", "shuffled")
# Two orders suffice where threads never wait for one another. As a float, 0x7E repeated is finite and huge.
_PLAIN = (_Pass("ascending", POISON), _Pass("descending", 0x7E))
_FIBERS = (*_PLAIN, _Pass("shuffled", 0))

_REFUSED, _NEEDS_FIBERS = 1, 2


class _Launch(ctypes.Structure):
    """The Launch of runtime.h."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("arguments", ctypes.c_void_p),
        ("order", ctypes.c_uint),
        ("fibers", ctypes.c_uint),
        ("message", ctypes.c_char * 256),
    )


class Kernel:
    """A kernel of a library of `emulator_build`, and how it is launched."""

    # All launches use the same places and the same fibers.
    _lock = Lock()

    def __init__(self, name: str, parameters: Sequence[Parameter], library: ctypes.CDLL, blank: Blank):
        self.name = name
        self._names = [parameter.name for parameter in parameters]
        self._blank = blank
        self._run = library[f"launch_{name}"]
        self._constant = ctypes.POINTER(ctypes.c_bool).in_dll(library, f"constant_{name}")
        # A plain call cannot wait. The first thread that wants to ends the pass, which begins again on fibers: kernels
        # without barriers do not pay for what they do not use.
        self._fibers = False

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any]) -> None:
        with self._lock:
            try:
                self._launch(grid, block, arguments)
            except EmulationError as error:
                raise EmulationError(f"{self.name}: {error}") from None

    def _launch(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any]) -> None:
        placed = self._placed(arguments)
        memories = [memory for memory in dict.fromkeys(placed) if memory]
        written = [memory for memory in memories if not memory.constant]
        launch = _Launch((*grid, 1, 1)[:3], (*block, 1, 1)[:3])

        def results(this: _Pass) -> list[bytes]:
            for memory in memories:
                memory.begin(this.poison)
            if self._ends(launch, this, placed, arguments):
                return [memory.end() for memory in written]
            self._fibers = True
            return results(this)

        expected = results(_PLAIN[0])
        for this in (_FIBERS if self._fibers else _PLAIN)[1:]:
            found = results(this)
            if found != expected:
                ordered = results(_Pass(_PLAIN[0].order, this.poison)) == expected
                raise EmulationError(_difference(written, expected, found, this.order if ordered else ""))
        for memory, result in zip(written, expected, strict=True):
            memory.keep(result)
            self._blank.written(memory.array)

    def _placed(self, arguments: Sequence[Any]) -> list[Memory | None]:
        """Return the memory of each argument; None for a number."""
        memories: list[Memory] = []
        placed: list[Memory | None] = []
        for name, constant, x in zip(self._names, self._constant[: len(self._names)], arguments, strict=True):
            if not isinstance(x, np.ndarray):
                placed.append(None)
                continue
            new = Memory(len(memories), name, x, constant, self._blank.unwritten(x))
            placed.append(next((old for old in memories if old.takes(new)), new))
            if placed[-1] is new:
                memories.append(new)
        return placed

    def _ends(self, launch: _Launch, this: _Pass, placed: Sequence[Memory | None], arguments: Sequence[Any]) -> bool:
        """Run the kernel once; return whether it came to its end, and not to a barrier that plain calls cannot pass."""
        # A pointer is passed by the address of a cell that holds it, a number by the address of its bytes.
        cells = [
            np.array(memory.place, np.uintp) if memory else np.array(argument)
            for memory, argument in zip(placed, arguments, strict=True)
        ]
        table = (ctypes.c_void_p * len(cells))(*map(address_of, cells))
        launch.arguments = ctypes.addressof(table)
        launch.order, launch.fibers = _ORDERS.index(this.order), self._fibers
        outcome = self._run(ctypes.byref(launch))
        if outcome == _REFUSED:
            raise EmulationError(launch.message.decode())
        return outcome != _NEEDS_FIBERS


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
