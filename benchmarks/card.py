"""A graphics card as benchmarks see it: how long work takes on it, and how a step becomes CUDA graphs."""

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
    """What the benchmarks need of a card."""

    name: str
    l2: int
    versions: dict[str, str]

    def seconds(self, work: Work) -> float:
        """Return how long work takes once it is warm."""

    def settled(self) -> Any:
        """Return a context of memory that no other work is given, as long as what it yields is kept."""

    def begin(self) -> None:
        """Begin to capture: what is launched from now on is noted and not done."""

    def end(self) -> Work:
        """End the capture and return how its graph is launched."""


class Cuda:
    """The card in use, through CuPy, on a stream of its own."""

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
        """Return the least of five measurements between two events, each of about 20 ms of work."""
        begin, end = self._cupy.cuda.Event(), self._cupy.cuda.Event()

        def measured(times: int) -> float:
            begin.record()
            for _ in range(times):
                work()
            end.record()
            end.synchronize()
            return self._cupy.cuda.get_elapsed_time(begin, end) / 1e3 / times

        # The arrays that work uses were made on another stream.
        self._cupy.cuda.Device().synchronize()
        with self._stream:
            measured(2)
            times = max(1, min(1000, round(0.02 / max(measured(1), 1e-6))))
            return min(measured(times) for _ in range(5))

    @contextmanager
    def settled(self) -> Iterator[Any]:
        """Take memory from a pool of its own."""
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
    """A step as graphs, and between them the kernels that cannot be captured, as CuPy's products cannot.

    A capture records addresses and numbers, and does nothing. So a replay computes the step again from what now lies in
    the weights and inputs, with every number from the host, a learning rate, as it was.

    Attributes:
        outside: the functions of `kernels.gpu` that run between the graphs.
        graphs: how many there are.

    Raises:
        Exception: the step is not captured; the error is CUDA's or CuPy's.
    """

    def __init__(self, card: Card, step: Work) -> None:
        self.outside: set[str] = set()
        # A graph writes to the addresses that it was captured with, free or not.
        with card.settled() as self._memory:
            # Warm: what is compiled at first use cannot be captured, and the pool learns what the step takes.
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
        """Do the step again."""
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
                # A stream that is left in its capture takes no other work.
                with suppress(Exception):
                    card.end()
                raise

    def _close(self, card: Card) -> None:
        self._pieces.append(card.end())
        self.graphs += 1

    def _parted(self, card: Card, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a kernel that runs between two graphs if it is one of `outside`, else one that says if it has to."""

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
