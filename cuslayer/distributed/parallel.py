"""`DataParallel`: division of batches among processes, and sums of the results."""

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

# The default maximum of recordings in a micro-batch, and the default size of a bucket, MB.
MICRO, BUCKET = 16, 4.0
# The default minimum of micro-batches in a batch.
_PARTS = 4
# A tag above the buckets' tags.
_ROWS = 1 << 14


def usual_micro(batch: int) -> int:
    """Return the default number of recordings in a micro-batch: 16, or a quarter of a batch of fewer than 64.

    Larger micro-batches are more efficient; smaller ones suit more processes. The bits depend on this number, so it
    depends only on the batch, never on the number of processes.

    >>> [usual_micro(batch) for batch in (1, 16, 64, 1024)]
    [1, 4, 16, 16]
    """
    return min(MICRO, max(batch // _PARTS, 1))


@check.named
class DataParallel:
    """Divides each batch among processes; an option of `Trainer`.

    A batch is cut into micro-batches of a fixed number of recordings; each process gets adjacent micro-batches. A
    binary tree gives the order in which their gradients are added. It depends only on the number of micro-batches, so
    that any number of processes computes the same bits; a process without a micro-batch adds nothing. Each process
    takes the same optimizer step. The sums are sent in buckets: the last layers' sums while backward computes the first
    layers' gradients.

    Args:
        context: the processes; by default all that mpiexec has started; see `world`.
        micro: recordings per micro-batch; the last one of a batch may be smaller. Like the batch, it determines the
            bits.
        fast: whether MPI or NCCL may choose the order of additions; the bits then depend on the processes.
        bucket: size of the gradients that are sent together, MB.

    Attributes:
        context: the processes.
        micro: recordings per micro-batch.
        fast: whether gradients are added in any order.
        bucket: size of a bucket, MB.
        seconds: the total time, s, of sending, of adding received gradients, and of waiting for others.
        stop: a function, called after each batch, that returns whether this process should stop.
        stopping: whether a process asked to stop after the last batch.

    Raises:
        ValueError: micro is below 1, or bucket is not positive.
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
        self.fast = check.flag("fast", fast)
        self.bucket = check.positive("bucket", bucket)
        self.seconds = 0.0
        self.stop: Callable[[], bool] = lambda: False
        self.stopping = False
        self._transport: Transport | None = None
        self._buckets: tuple[list[int], list[Bucket]] = [], []

    def sums(self, parameters: Sequence[Tensor], leaves: int) -> GradientSums:
        """Return the sums of a step over a number of micro-batches; frozen parameters have none."""
        if self._transport is None:
            self._transport = transport_of(self.context)
        trained = [p for p in parameters if p.requires_grad]
        if self._buckets[0] != [id(p) for p in trained]:
            self._buckets = [id(p) for p in trained], fill(trained, self.bucket)
        return GradientSums(self, self._transport, self._buckets[1], leaves)

    def exchange_rows(self, rows: npt.NDArray[np.float64], flags: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Send the rows of this process's micro-batches to all; return the flags of all processes (size, flags).

        The rows are (micro-batches of the step, columns); the method fills in other processes' rows.
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
        """Add the time of the block to `seconds`."""
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
        """Return a context for backward of a micro-batch; in this process's last one, it sends gradients."""
        if not last or self._parallel.context.size == 1:
            return nullcontext()

        def complete(p: Tensor) -> None:
            number = self._bucket_of.get(id(p))
            if number is not None:
                self._missing[number] -= 1
                with self._parallel.timed():
                    # In the order of buckets, which is the same on every process.
                    while self._sent < len(self._sums) and not self._missing[self._sent]:
                        self._send(leaf)
                    self.done()

        return on_gradient(complete)

    def add(self, leaf: int, last: bool) -> None:
        """Add and clear the gradients that backward of a micro-batch has left in the parameters."""
        while last and self._sent < len(self._sums):
            with self._parallel.timed():
                self._send(leaf)
        for number in range(self._sent, len(self._sums)):
            self._sums[number].add(leaf, self._buckets[number].take())

    def _send(self, leaf: int | None) -> None:
        """Send the next bucket, after adding the gradient of a micro-batch."""
        current = self._sums[self._sent]
        if leaf is not None:
            current.add(leaf, self._buckets[self._sent].take())
        with self._transport.used():
            current.send()
            current.advance()
        self._sent += 1

    def done(self) -> bool:
        # The call advances each of them.
        with self._transport.used():
            return all([each.advance() for each in self._sums[: self._sent]])

    def finish(self) -> None:
        """Wait for the sums, and set the gradients of all parameters to them."""
        with self._parallel.timed():
            while self._sent < len(self._sums):
                self._send(None)  # for a process without a micro-batch
            self.wait()
        self._transport.join()
        for each in self._sums:
            each.finish()
