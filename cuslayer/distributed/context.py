"""`Context`: communication between the processes of a training. The default is a single process."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cuslayer._base import check
from cuslayer.backend import Array

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

# The default limit, s, for which a process waits for another: saving, drawing and compiling take less.
TIMEOUT = 600.0
# Seconds of waiting after which a process yields its core: several may share one.
_PATIENCE = 1e-3
_NAP = 5e-5


class Request:
    """A started transfer. This class is a complete one."""

    def done(self) -> bool:
        """Return whether the transfer is complete; also advance it."""
        return True

    def wait(self) -> None:
        """Wait until the transfer is complete."""
        start = time.perf_counter()
        while not self.done():
            time.sleep(0 if time.perf_counter() - start < _PATIENCE else _NAP)


class Context:
    """One of several processes that compute together; this class is a single process.

    Every process calls the same methods in the same order. Objects are sent by pickle, between processes of one user;
    arrays are sent as raw bytes.

    Attributes:
        rank: the number of the process, from 0. Process 0 writes files and shows progress.
        size: the number of processes.
        timeout: seconds for which a process waits for another before it ends all processes: the other one hangs, is
            stopped, or is out of reach. Time in which the waiting process itself is stopped does not count. None for no
            limit.

    >>> context = Context()
    >>> context.rank, context.size, context.sum(3), context.gather("a")
    (0, 1, 3, ['a'])
    """

    rank, size = 0, 1
    _timeout: float | None = TIMEOUT

    @property
    def timeout(self) -> float | None:
        """Seconds for which a process waits for another; None for no limit."""
        return self._timeout

    @timeout.setter
    @check.method
    def timeout(self, seconds: float | None) -> None:
        self._timeout = None if seconds is None else check.positive("timeout", seconds)

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        return [value]

    def exchange(self, parts: Sequence[Array], into: Sequence[Array], tag: int = 0) -> Request:
        """Start to send ``parts[q]`` to each process q, and to receive its array for this process into ``into[q]``.

        The arrays are contiguous NumPy arrays, and must not change until the request is complete. Arrays of this
        process itself and empty arrays are skipped; both sides must agree which are empty. Transfers of one tag arrive
        in order.

        Args:
            parts: an array for each process.
            into: an array for each process.
            tag: a number, at least 0, that both sides use.
        """
        return Request()

    def begin_sum(self, array: Array) -> Request:
        """Start to sum a contiguous NumPy array over all processes, in place, in any order."""
        return Request()

    def fail(self, reason: str, code: int = 1) -> None:
        """End all processes with an exit code; write the reason and this process's rank to standard error."""
        raise SystemExit(code)

    def describe(self) -> str:
        """Return the processes on each machine as text, which explains mpiexec's messages about one of them."""
        return "one process"

    def barrier(self) -> None:
        """Wait until every process calls this."""
        self.gather(None)

    def sum(self, value: Any) -> Any:
        """Return the sum of the values of all processes, in the order of ranks."""
        first, *others = self.gather(value)
        for other in others:
            first = first + other
        return first

    def max(self, value: Any) -> Any:
        """Return the largest of the values of all processes."""
        return max(self.gather(value))

    def broadcast(self, value: T, root: int = 0) -> T:
        """Return the value of one process on all processes."""
        return self.gather(value if self.rank == root else None)[root]  # type: ignore[return-value]

    def from_root(self, work: Callable[[], T], *, patient: bool = False) -> T:
        """Let process 0 do some work, and return its result on all processes; all raise its errors.

        Only one of them needs to report such an error: `is_on_all` is True.

        Args:
            work: a function.
            patient: whether the others wait without limit, such as for a download.
        """
        before, self._timeout = self._timeout, None if patient else self._timeout
        try:
            result, problem = _attempt(work) if self.rank == 0 else (None, None)
            if self.size > 1:
                result, received = self.broadcast((result, problem and _sendable(problem)))
                problem = problem or received
        finally:
            self._timeout = before
        if problem is not None:
            raise on_all(problem)
        return result  # type: ignore[return-value]

    def on_each(self, work: Callable[[], T]) -> T:
        """Let each process do some work, such as reading a file; if one raises an error, all raise it.

        If only some processes raise, the error is a ValueError that names the first of them.
        """
        result, problem = _attempt(work)
        found = self.gather(None if problem is None else " ".join(str(problem).split()))
        if problem is not None and found == [found[0]] * self.size:
            raise on_all(problem)
        for rank, text in enumerate(found):
            if text is not None:
                raise on_all(ValueError(f"process {rank} of {self.size}: {text}")) from problem
        return result  # type: ignore[return-value]

    def agree(self, **facts: str) -> None:
        """Raise ValueError unless named facts, such as a version or a digest, agree on all processes.

        Args:
            facts: a short text per name.

        >>> Context().agree(version="0.1.0")
        """
        found = self.gather(facts)
        for name, mine in found[0].items():
            for rank, theirs in enumerate(found):
                other = theirs.get(name)
                if other != mine:
                    what, got = check.one_line(mine), check.one_line(other)
                    rule = f"all processes must have the same {name}"
                    raise on_all(ValueError(f"{rule}: process 0 has {what}, process {rank} {got}"))


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except Exception as problem:
        return None, problem


def on_all(problem: E) -> E:
    """Mark an error that all processes raise."""
    problem.on_all_processes = True  # type: ignore[attr-defined]
    return problem


def is_on_all(problem: BaseException) -> bool:
    """Return whether all processes raise an error."""
    return getattr(problem, "on_all_processes", False)


def _sendable(problem: Exception) -> Exception:
    """Return an error in a form that can be sent: itself, or a ValueError with its text."""
    try:
        pickle.loads(pickle.dumps(problem))
    except Exception:  # an error may have its own constructor
        return ValueError(str(problem))
    return problem
