"""`DataParallel`: how a training divides its batches among processes, and adds up what they find."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._tape import Tensor, on_gradient
from cuslayer.distributed.context import Context, Request
from cuslayer.distributed.mpi import world
from cuslayer.distributed.sums import Bucket, FastSum, OrderedSum, Transport, fill, share, transport_of

# The most recordings of a micro-batch by default, and millions of bytes of a bucket.
MICRO, BUCKET = 16, 4.0
# The least number of micro-batches of a batch by default.
_PARTS = 4
# Above the tags of buckets.
_ROWS = 1 << 14


def usual_micro(batch: int) -> int:
    """Return the recordings of a micro-batch by default: 16, or a quarter of a batch that has fewer than 64.

    Larger ones cost less each, smaller ones can be divided among more processes. The bits depend on it: so it follows
    from the batch alone, never from the number of processes.

    >>> [usual_micro(batch) for batch in (1, 16, 64, 1024)]
    [1, 4, 16, 16]
    """
    return min(MICRO, max(batch // _PARTS, 1))


@check.named
class DataParallel:
    """Divides each batch among processes; an option of `Trainer`.

    A batch is cut into micro-batches of a fixed number of recordings, which are divided among the processes side by
    side. Their gradients are added in the order of a binary tree that depends on their number alone, so that one
    process, and two, three or four, compute the same bits; a process that has no micro-batch of a small batch adds
    nothing. Each process takes the same optimizer step. The sums are sent in buckets, those of the last layers while
    the gradients of the first are computed.

    Args:
        context: the processes; by default all that mpiexec has started, see `world`.
        micro: recordings of a micro-batch; the last of a batch may be smaller. It decides the bits, as the batch does.
        fast: whether gradients are added in any order, as MPI or NCCL likes; the bits then depend on the processes.
        bucket: millions of bytes of gradients that are sent together.

    Attributes:
        context: the processes.
        micro: recordings of a micro-batch.
        fast: whether gradients are added in any order.
        bucket: millions of bytes of a bucket.
        seconds: seconds for which the process has sent, added up what it received, and waited for others so far.
        stop: called after each batch; whether this process is to stop.
        stopping: whether one of the processes was to stop after the last batch.

    Raises:
        ValueError: micro is under 1, or bucket is not positive.
        TypeError: micro is not an integer, bucket is not a number, or context is not a `Context`.

    >>> DataParallel(Context(), micro=8)
    DataParallel(process 0 of 1, micro=8)
    """

    def __init__(
        self, context: Context | None = None, *, micro: int = MICRO, fast: bool = False, bucket: float = BUCKET
    ) -> None:
        self.context = world() if context is None else context
        if not isinstance(self.context, Context):
            raise check.mistyped("context", "must be a Context", context)
        self.micro = check.integer("micro", micro, least=1)
        self.fast = bool(fast)
        self.bucket = check.positive("bucket", bucket)
        self.seconds = 0.0
        self.stop: Callable[[], bool] = lambda: False
        self.stopping = False
        self._transport: Transport | None = None
        self._buckets: tuple[list[int], list[Bucket]] = [], []

    def sums(self, parameters: Sequence[Tensor], leaves: int) -> GradientSums:
        """Return the sums of a step over a number of micro-batches; parameters that are frozen have none."""
        if self._transport is None:
            self._transport = transport_of(self.context)
        trained = [p for p in parameters if p.requires_grad]
        if self._buckets[0] != [id(p) for p in trained]:
            self._buckets = [id(p) for p in trained], fill(trained, self.bucket)
        return GradientSums(self, self._transport, self._buckets[1], leaves)

    def exchange_rows(self, rows: npt.NDArray[np.float64], flags: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Send the rows of this process's micro-batches to all; return the flags of all processes (size, flags).

        The rows are (micro-batches of the step, columns); those of other processes are written.
        """
        size, rank = self.context.size, self.context.rank
        parts = [share(len(rows), each, size) for each in range(size)]
        sent = np.concatenate([flags, rows[parts[rank].start : parts[rank].stop].reshape(-1)])
        into = [np.empty(flags.size + len(part) * rows.shape[1]) for part in parts]
        into[rank] = sent
        with self.timed():
            self.context.exchange([sent] * size, into, _ROWS).wait()
        for part, message in zip(parts, into, strict=True):
            rows[part.start : part.stop] = message[flags.size :].reshape(len(part), rows.shape[1])
        return np.array([message[: flags.size] for message in into])

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of the block."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    def __repr__(self) -> str:
        fast = ", fast=True" if self.fast else ""
        return f"DataParallel(process {self.context.rank} of {self.context.size}, micro={self.micro}{fast})"


class GradientSums(Request):
    """The sums of all gradients over the micro-batches of a step."""

    def __init__(self, parallel: DataParallel, transport: Transport, buckets: list[Bucket], leaves: int) -> None:
        self._parallel, self._transport, self._buckets = parallel, transport, buckets
        kind = FastSum if parallel.fast else OrderedSum
        self._sums = [kind(parallel.context, transport, b, number, leaves) for number, b in enumerate(buckets)]
        self._missing = [len(bucket.parameters) for bucket in buckets]
        self._bucket_of = {id(p): number for number, bucket in enumerate(buckets) for p in bucket.parameters}
        self._sent = 0

    def during(self, leaf: int, last: bool) -> AbstractContextManager[None]:
        """Return a context for backward of a micro-batch, in which the last one of this process sends gradients."""
        if not last or self._parallel.context.size == 1:
            return nullcontext()

        def complete(p: Tensor) -> None:
            number = self._bucket_of.get(id(p))
            if number is not None:
                self._missing[number] -= 1
                with self._parallel.timed():
                    # In the order of buckets, which every process has.
                    while self._sent < len(self._sums) and not self._missing[self._sent]:
                        self._send(leaf)
                    self.done()

        return on_gradient(complete)

    def add(self, leaf: int, last: bool) -> None:
        """Add what backward of a micro-batch has left in the parameters, which have no gradient afterwards."""
        while last and self._sent < len(self._sums):
            with self._parallel.timed():
                self._send(leaf)
        for number in range(self._sent, len(self._sums)):
            self._sums[number].add(leaf, self._buckets[number].take())

    def _send(self, leaf: int | None) -> None:
        """Send the next bucket, after it has got the gradient of a micro-batch."""
        current = self._sums[self._sent]
        if leaf is not None:
            current.add(leaf, self._buckets[self._sent].take())
        with self._transport.used():
            current.send()
            current.advance()
        self._sent += 1

    def done(self) -> bool:
        # Each of them is asked, so that all go on.
        with self._transport.used():
            return all([each.advance() for each in self._sums[: self._sent]])

    def finish(self) -> None:
        """Wait for the sums, and set the gradients of all parameters to them."""
        with self._parallel.timed():
            while self._sent < len(self._sums):
                self._send(None)  # of a process without a micro-batch
            self.wait()
        self._transport.join()
        for each in self._sums:
            each.finish()
