"""`parallel_for`: the parts of a kernel's range on every core.

Numba's own parallel loops compile several times slower, and one of its threading layers aborts when two threads use it
at once, such as a loader's and a trainer's.

To wake a thread that sleeps takes some 50 us, longer than many kernels. So a thread without work watches a counter for
a while before it sleeps. Only one thread at a time runs Python, and one that waits for another to leave Python sleeps
as well. So a thread that sees a change gives the other one time to leave. Where other processes use the cores as well,
threads sleep at once: one that watched would take their time, and would be late itself.

Loops over time take a signal (T, ...) as a matrix (T, columns), in blocks of columns. The states of a block stay in the
first-level cache, and the inner loop runs over neighbouring columns, which the compiler turns into SIMD. All states of
a block lie in one array at fixed distances. With separate arrays, the compiler would have to check at run time that
none overlap, and would give up after a few.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from functools import cache, lru_cache
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer._base.jit import compiled
from cuslayer._base.threads import thread_count
from cuslayer.backend import Array

# The columns of a block.
BLOCK = 2048
# The minimum number of columns in one thread's part.
GRAIN = 128

# Elements of the counters, in cache lines of their own.
_STARTED, _ENDED = 0, 16
# Loads of a counter, some 15 ns each: by a thread without work, by one that waits for the others to end, and after a
# change, until the thread that made it has left Python.
_PATIENCE, _ENDING, _LEAVING = 60_000, 8_000, 1_500
# Cycles between two loads if another process took the core, and the seconds for which threads then sleep at once.
_LOST, _CROWDED = 1_000_000, 0.5
_X86 = platform.machine() in ("x86_64", "AMD64")


def _load(_context: Any, counters: Any, at: Any) -> Any:
    """Return an element of an array that another thread may change, and pause."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if _X86:
            pause = builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), ir.FunctionType(ir.VoidType(), []))
            builder.call(pause, [])
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.load_atomic(builder.gep(array.data, [values[1]]), "acquire", 8)

    return types.int64(counters, at), emit


def _time(_context: Any) -> Any:
    """Return the cycles of the processor, 0 where programs may not read them."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number = ir.IntType(64)
        if not _X86:
            return ir.Constant(number, 0)
        return builder.call(
            builder.module.declare_intrinsic("llvm.readcyclecounter", (), ir.FunctionType(number, [])), []
        )

    return types.int64(), emit


_loaded: Any = intrinsic(_load)
_cycles: Any = intrinsic(_time)


@compiled
def _watch(counters: Any, at: int, before: int, loads: int, after: int) -> bool:
    """Wait until a counter is no longer `before`, for some loads at most; then for some loads after that.

    Return whether another process took the core meanwhile.
    """
    lost = False
    last = _cycles()
    for _ in range(loads):
        now = _cycles()
        lost |= now - last > _LOST
        last = now
        if _loaded(counters, at) != before:
            for _ in range(after):
                _loaded(counters, at)
            break
    return lost


# The first error of a thread, or None, for each thread that ends.
_Ends: TypeAlias = "SimpleQueue[BaseException | None]"


class _Team:
    """Threads that run functions for the thread that calls `start`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.calls: SimpleQueue[tuple[Callable[[], None], _Ends]] = SimpleQueue()
        self.counters = np.zeros(32, np.int64)
        self.crowded_until = 0.0
        for number in range(size):
            Thread(target=self._serve, name=f"cuslayer-{number}", daemon=True).start()

    def _serve(self) -> None:
        counters = self.counters
        while True:
            work, ends = self.calls.get()
            problem: BaseException | None = None
            try:
                work()
            except BaseException as error:
                problem = error
            started = int(counters[_STARTED])
            ends.put(problem)
            # A thread that waits keeps no array.
            del work, ends, problem
            counters[_ENDED] += 1
            self._wait(_STARTED, started, _PATIENCE)

    def _wait(self, at: int, before: int, loads: int) -> None:
        """Wait until a counter changes, for some loads at most; not at all on cores that other processes use."""
        if monotonic() > self.crowded_until and _watch(self.counters, at, before, loads, _LEAVING):
            self.crowded_until = monotonic() + _CROWDED

    def start(self, work: Callable[[], None]) -> _Ends:
        """Have each thread call a function; return what `join` takes."""
        ends: _Ends = SimpleQueue()
        for _ in range(self.size):
            self.calls.put((work, ends))
        self.counters[_STARTED] += 1
        return ends

    def join(self, ends: _Ends) -> None:
        """Wait until each thread has ended, and raise the first error of any."""
        for _ in range(self.size):
            ended = int(self.counters[_ENDED])
            if ends.empty():
                self._wait(_ENDED, ended, _ENDING)
            problem = ends.get()
            if problem is not None:
                raise problem


_team = cache(_Team)
if hasattr(os, "register_at_fork"):
    # After a fork, the child has none of its parent's threads: the parent's team would wait for ever.
    os.register_at_fork(after_in_child=_team.cache_clear)


@lru_cache(4096)
def _shares(size: int, grain: int, threads: int) -> tuple[tuple[int, int], ...]:
    """Return the parts of [0, size), large ones first: free threads take the next part, so that all end together."""
    grains = -(-size // grain)
    # Between parts a thread needs Python, which the others may hold: many parts cost more than they balance.
    least = max(1, grains // (6 * threads))
    parts = []
    first = 0
    while first < grains:
        last = min(first + max(least, 2 * (grains - first) // (3 * threads)), grains)
        parts.append((first * grain, min(last * grain, size)))
        first = last
    return tuple(parts)


def parallel_for(
    kernel: Callable[..., None], size: int, *arguments: Any, grain: int, memory: Callable[[], tuple[Any, ...]] = tuple
) -> None:
    """Run ``kernel(first, last, *arguments)`` over [0, size) on every core, in parts that are multiples of `grain`.

    The parts must be independent: the result must not depend on their number. `memory` returns further arguments,
    separate for each thread, which its parts reuse. If a kernel allocated memory itself, the system would clear it,
    page by page, for each part.
    """
    threads = thread_count()
    if threads == 1 or size <= grain:
        kernel(0, size, *arguments, *memory())
        return
    parts = iter(_shares(size, grain, threads))

    def work(own: tuple[Any, ...]) -> None:
        for first, last in parts:
            kernel(first, last, *arguments, *own)

    own = memory()
    team = _team(threads - 1)
    ends = team.start(lambda: work(memory()))
    work(own)
    team.join(ends)


def columns(x: Array) -> Array:
    """Return x (T, ...) as the matrix (T, columns), without a copy."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))
