"""Timing on a GPU, and capture of a training step as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from typing import Any, Protocol
from unittest import mock

from cuslayer import backend
from cuslayer.kernels import TOPICS, gpu

Work = Callable[[], Any]


class Card(Protocol):
    """The interface of a GPU, so that tests can replace it."""

    name: str
    l2: int
    versions: dict[str, str]

    def seconds(self, work: Work) -> float:
        """Return the seconds that work takes after a first call."""

    def settled(self) -> Any:
        """Return a context whose memory no other work gets as long as the yielded object exists."""

    def begin(self) -> None:
        """Begin a capture: kernels launched from now on are recorded and do not run."""

    def end(self) -> Work:
        """End the capture and return a function that launches its graph."""


class Cuda:
    """The GPU in use, through CuPy, on its own stream."""

    def __init__(self) -> None:
        self._cupy = cupy = backend.cupy()
        runtime = cupy.cuda.runtime
        about = runtime.getDeviceProperties(cupy.cuda.Device().id)
        self.name = about["name"].decode()
        self.l2 = about["l2CacheSize"]
        self.versions = {
            "cupy": cupy.__version__,
            "cuda": str(runtime.runtimeGetVersion()),
            "driver": str(runtime.driverGetVersion()),
        }
        self._stream = cupy.cuda.Stream(non_blocking=True)

    def seconds(self, work: Work) -> float:
        """Return the smallest of five times between two events, each of about 20 ms of work."""
        begin, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()

        def measured(times: int) -> float:
            begin.record()
            for _ in range(times):
                work()
            end.record()
            end.synchronize()
            return self._cupy.cuda.get_elapsed_time(begin, end) / 1e3 / times

        # The arrays were made on another stream.
        self._cupy.cuda.Device().synchronize()
        with self._stream:
            measured(2)
            times = max(1, min(1000, round(0.02 / max(measured(1), 1e-6))))
            return min(measured(times) for _ in range(5))

    @contextmanager
    def settled(self) -> Iterator[Any]:
        """Allocate from a separate memory pool."""
        pool = self._cupy.cuda.MemoryPool()
        self._cupy.cuda.Device().synchronize()
        with self._stream, self._cupy.cuda.using_allocator(pool.malloc):
            yield pool
            self._stream.synchronize()

    def begin(self) -> None:
        self._stream.begin_capture()

    def end(self) -> Work:
        return self._stream.end_capture().launch


class _Refused(Exception):
    def __init__(self, name: str) -> None:
        self.name = name


class Graphs:
    """A step as graphs, and between them the kernels that cannot be captured, such as CuPy's matrix products.

    A capture records addresses and numbers, and does nothing. So a replay computes the step again from what now lies in
    the weights and inputs, with every number from the host as it was. The rates of an optimizer are read from its table
    on the device (cuslayer/optim/ahead.py), from the last row again once it is used up.

    Attributes:
        outside: the functions of `kernels.gpu` that run between the graphs.
        graphs: how many there are.

    Raises:
        Exception: the step is not captured; the error is CUDA's or CuPy's.
    """

    def __init__(self, card: Card, step: Work) -> None:
        self.outside: set[str] = set()
        # A graph writes to the addresses of its capture, whether or not they are still allocated.
        with card.settled() as self._memory:
            # Run it first: compiling cannot be captured, and the pool must already have the memory of the step.
            step()
            step()
            while True:
                self._pieces: list[Work] = []
                self.graphs = 0
                try:
                    self._record(card, step)
                    return
                except _Refused as refused:
                    self.outside.add(refused.name)

    def __call__(self) -> None:
        """Replay the step."""
        for piece in self._pieces:
            piece()

    def _record(self, card: Card, step: Work) -> None:
        with ExitStack() as patches:
            for topic in TOPICS:
                module = getattr(gpu, topic)
                for name in module.__all__:
                    parted = self._parted(card, f"{topic}.{name}", getattr(module, name))
                    patches.enter_context(mock.patch.object(module, name, parted))
            card.begin()
            try:
                step()
                self._close(card)
            except BaseException:
                # A stream in an unfinished capture accepts no other work.
                with suppress(Exception):
                    card.end()
                raise

    def _close(self, card: Card) -> None:
        self._pieces.append(card.end())
        self.graphs += 1

    def _parted(self, card: Card, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a kernel that runs between two graphs if it is in `outside`, else one that raises if it must be."""

        @wraps(function)
        def outside(*arrays: Any, **options: Any) -> Any:
            self._close(card)
            out = function(*arrays, **options)
            kept = out if isinstance(out, tuple) else (out,)

            def again() -> None:
                made = function(*arrays, **options)
                for old, new in zip(kept, made if isinstance(made, tuple) else (made,), strict=True):
                    old[...] = new

            self._pieces.append(again)
            card.begin()
            return out

        @wraps(function)
        def inside(*arrays: Any, **options: Any) -> Any:
            try:
                return function(*arrays, **options)
            except NotImplementedError as problem:
                raise _Refused(name) from problem

        return outside if name in self.outside else inside
