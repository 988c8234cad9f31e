"""Several processes without MPI: forks of this one, which keep its compiled kernels, with queues between them."""

from __future__ import annotations

import multiprocessing
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty
from typing import Any

from cuslayer.distributed.context import Context, Request

_fork = multiprocessing.get_context("fork")
# Seconds in which a process must answer, on a machine that may have much to do: only one that hangs needs more.
LIMIT = 900


class Queued(Context):
    """A context of processes that have a queue for each pair."""

    def __init__(self, rank: int, size: int, queues: Any) -> None:
        self.rank, self.size, self._queues = rank, size, queues
        # What has come before it was asked for, by its sender and its tag.
        self._early: dict[tuple[int, Any], list[Any]] = {}
        # Transfers that wait for it, the first of which gets what comes first.
        self._waiting: dict[tuple[int, Any], list[Any]] = {}

    def _put(self, rank: int, tag: Any, value: Any) -> None:
        self._queues[self.rank][rank].put((tag, value))

    def _get(self, rank: int, tag: Any, limit: float = LIMIT) -> Any:
        """Return what has come from a process; raise Empty if nothing does within so many seconds."""
        waiting = self._early.setdefault((rank, tag), [])
        while not waiting:
            found, value = self._queues[rank][self.rank].get(timeout=limit)
            self._early.setdefault((rank, found), []).append(value)
        return waiting.pop(0)

    def gather(self, value: Any) -> list[Any]:
        for rank in range(self.size):
            if rank != self.rank:
                self._put(rank, "gather", value)
        return [value if rank == self.rank else self._get(rank, "gather") for rank in range(self.size)]

    def exchange(self, parts: Sequence[Any], into: Sequence[Any], tag: int = 0) -> Request:
        others = [rank for rank in range(self.size) if rank != self.rank]
        for rank in others:
            if parts[rank].size:
                self._put(rank, tag, parts[rank].copy())

        return _Later(self, {rank: into[rank] for rank in others if into[rank].size}, tag)

    def begin_sum(self, array: Any) -> Request:
        # In the order of arrival at this process, which differs from the others'.
        order = [(self.rank + n) % self.size for n in range(self.size)]
        values = self.gather(array.copy())
        array[...] = sum((values[rank] for rank in order[1:]), values[order[0]])
        return Request()


class _Later(Request):
    """A transfer that is complete when it is asked for the third time at the earliest; asking does not wait."""

    def __init__(self, context: Queued, into: dict[int, Any], tag: Any) -> None:
        self._context, self._into, self._tag = context, into, tag
        for rank in into:
            context._waiting.setdefault((rank, tag), []).append(self)
        self._asked, self._begun = 0, time.monotonic()

    def done(self) -> bool:
        self._asked += 1
        if self._asked < 3:
            return False
        for rank in list(self._into):
            line = self._context._waiting[rank, self._tag]
            with suppress(Empty):
                if line[0] is self:
                    self._into[rank][...] = self._context._get(rank, self._tag, 1e-4)
                    line.pop(0)
                    del self._into[rank]
        if self._into and time.monotonic() > self._begun + LIMIT:
            raise Empty(f"processes {list(self._into)} have sent nothing")
        return not self._into


def together(size: int, work: Callable[[Context], Any]) -> list[Any]:
    """Return what some work returns in each of several processes, by rank; what one raises is raised."""
    queues = [[_fork.Queue() for _ in range(size)] for _ in range(size)]
    results = _fork.Queue()

    def run(rank: int) -> None:
        try:
            results.put((rank, True, work(Queued(rank, size, queues))))
        except BaseException as problem:
            results.put((rank, False, (repr(problem), traceback.format_exc())))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that other threads of this process do not go on in a fork
        children = [_fork.Process(target=run, args=(rank,), daemon=True) for rank in range(size)]
        for child in children:
            child.start()
    found: list[Any] = [None] * size
    problems = []
    try:
        for _ in range(size):
            rank, fine, value = results.get(timeout=LIMIT)
            found[rank] = value
            if not fine:
                problems.append((rank, *value))
                break
    finally:
        for child in children:
            if problems:
                child.kill()
            child.join(LIMIT)
    if problems:
        rank, shown, where = problems[0]
        raise Failed(f"process {rank}: {shown}\n{where}")
    return found


class Failed(Exception):
    """What a process has raised, as text."""
