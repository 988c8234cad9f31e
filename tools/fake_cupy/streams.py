"""Streams: the order of work on a device, and its capture as a graph.

Work of the default stream runs when it is launched. Work of another stream runs as late as CUDA allows it: when
something waits for it. So a result that nothing has waited for is not there yet.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tools.fake_cupy import costs
from tools.fake_cupy.state import State, state

if TYPE_CHECKING:
    from tools.fake_cupy.memory import Part

Work = Callable[[], None]


def unsupported() -> RuntimeError:
    """Return the error of an operation that a capture does not allow."""
    return RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


class Graph:
    """The operations of a capture: what they do, what they cost, and the memory that they use.

    Attributes:
        kept: memory that lives as long as the graph.
    """

    def __init__(self) -> None:
        self.valid, self.kept = True, list[Any]()
        self.works = list[Work]()
        self.operations = list[tuple[costs.Costs, costs.Operation]]()
        self._parts = dict[int, Callable[[], None]]()

    def use(self, parts: Iterable[Part]) -> None:
        """Note the memory of operations."""
        for part in parts:
            self._parts.setdefault(id(part), part.promise())

    def launch(self, stream: Stream | None = None) -> None:
        """Execute the operations in their order on a stream.

        Raises:
            RuntimeError: their memory was freed, or other work uses it.
        """
        for check in self._parts.values():
            check()
        costs.add(self.operations)
        works = list(self.works)

        def work() -> None:
            for each in works:
                each()

        (stream or current()).run(work)


class Stream:
    """A stream; it is in use within a ``with`` block."""

    def __init__(self, *, non_blocking: bool = False) -> None:
        self._state = state()
        self._device, self._blocking, self._legacy = self._state.device, not non_blocking, False
        self._queue = deque[Work]()
        # The works that were launched, and those that have run.
        self.launched = self._ran = 0
        self.graph: Graph | None = None
        self._state.streams.append(self)

    @classmethod
    def legacy(cls, of: State) -> Stream:
        """Return the default stream of the device in use."""
        if of.device not in of.legacy:
            of.legacy[of.device] = cls()
            of.legacy[of.device]._legacy = True
        return of.legacy[of.device]

    def __enter__(self) -> Stream:
        self._state.stacks.streams.setdefault(self._device, []).append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self._state.stacks.streams[self._device].pop()

    def run(self, work: Work) -> None:
        """Launch work, or record it during a capture."""
        if self.graph is not None:
            self.graph.works.append(work)
        elif self._legacy:
            for other in self._state.streams:
                if other._blocking and other._device == self._device:
                    other.drain()
            work()
        else:
            self._queue.append(work)
            self.launched += 1

    def drain(self, until: int | None = None) -> None:
        """Run the works, or the first of all that were launched."""
        while self._queue and (until is None or self._ran < until):
            self._ran += 1
            self._queue.popleft()()

    def begin_capture(self) -> None:
        if self._blocking:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self.graph is not None:
            raise RuntimeError("cudaErrorIllegalState: the stream is capturing")
        self.graph = Graph()

    def end_capture(self) -> Graph:
        graph, self.graph = self.graph, None
        if graph is None:
            raise RuntimeError("cudaErrorIllegalState: the stream is not capturing")
        if not graph.valid:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        return graph

    def is_capturing(self) -> bool:
        return self.graph is not None

    def check_transfer(self) -> None:
        """Raise RuntimeError during a capture, which does not allow transfers and synchronization."""
        if self.graph is not None:
            self.graph.valid = False
            raise unsupported()

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        self.check_transfer()
        self.run(event.wait)

    def synchronize(self) -> None:
        self.check_transfer()
        self.drain()


class Event:
    """A point in the order of a stream."""

    def __init__(self) -> None:
        self._stream: Stream | None = None

    def record(self, stream: Stream | None = None) -> None:
        self._stream = stream or current()
        self._stream.check_transfer()
        self._place, self.time = self._stream.launched, time.perf_counter()

    def wait(self) -> None:
        """Run the work before the event."""
        if self._stream is not None:
            self._stream.drain(self._place)

    def synchronize(self) -> None:
        current().check_transfer()
        self.wait()


def current() -> Stream:
    """Return the stream in use, of the device in use."""
    stack = state().stacks.streams.get(state().device)
    return stack[-1] if stack else Stream.legacy(state())


def check_transfer() -> None:
    """Raise RuntimeError if the stream in use is being captured."""
    current().check_transfer()


def synchronize(device: int) -> None:
    """Wait for all streams of a device; raise RuntimeError if one of them is being captured."""
    streams = [stream for stream in state().streams if stream._device == device]
    for stream in streams:
        stream.check_transfer()
    for stream in streams:
        stream.drain()
