"""Several processes without MPI: forks of this one, which keep its compiled kernels, with queues between them."""

from __future__ import annotations

import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cuslayer.distributed.context import Context, Request

_fork = multiprocessing.get_context("fork")
# Seconds in which a process must answer.
LIMIT = 120


class Queued(Context):
    """A context of processes that have a queue for each pair."""

    def __init__(self, rank: int, size: int, queues: Any) -> None:
        self.rank, self.size, self._queues = rank, size, queues
        # What has come before it was asked for, by its sender and its tag.
        self._early: dict[tuple[int, Any], list[Any]] = {}

    def _put(self, rank: int, tag: Any, value: Any) -> None:
        self._queues[self.rank][rank].put((tag, value))

    def _get(self, rank: int, tag: Any) -> Any:
        waiting = self._early.setdefault((rank, tag), [])
        while not waiting:
            found, value = self._queues[rank][self.rank].get(timeout=LIMIT)
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

        def receive() -> None:
            for rank in others:
                if into[rank].size:
                    into[rank][...] = self._get(rank, tag)

        return _Later(receive)

    def begin_sum(self, array: Any) -> Request:
        # In the order of arrival at this process, which differs from the others'.
        order = [(self.rank + n) % self.size for n in range(self.size)]
        values = self.gather(array.copy())
        array[...] = sum((values[rank] for rank in order[1:]), values[order[0]])
        return Request()


class _Later(Request):
    """A transfer that is complete when it is asked for the third time."""

    def __init__(self, receive: Callable[[], None]) -> None:
        self._receive, self._asked = receive, 0

    def done(self) -> bool:
        self._asked += 1
        if self._asked == 3:
            self._receive()
        return self._asked >= 3


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


def cores_of_fork() -> int:
    """Return the number of cores of this process, for tests that do not depend on it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def same(results: Sequence[Any]) -> bool:
    """Return whether all results are the same."""
    return all(
        np.array_equal(each, results[0]) if isinstance(each, np.ndarray) else each == results[0] for each in results
    )
