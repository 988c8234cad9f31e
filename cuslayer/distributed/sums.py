"""Sums of gradients over the micro-batches of a step and over processes, sent while backward goes on."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.distributed.additions import Sum, add_later, add_up
from cuslayer.distributed.buckets import Bucket
from cuslayer.distributed.context import Context, Request
from cuslayer.distributed.transport import Transport
from cuslayer.distributed.tree import Label, Partial, labels, share


class OrderedSum:
    """The sum of a bucket's gradients in the order of the tree, which is the same on any number of processes.

    Of the elements, each process adds up a slice: it receives the nodes that the others have of it, and sends them the
    sum. Both are as many bytes as a usual sum of floats sends, where the share of each process is one node.

    Args:
        context: the processes.
        transport: moves the arrays.
        bucket: the bucket.
        number: its number, for tags.
        leaves: the number of micro-batches of the step.
    """

    def __init__(self, context: Context, transport: Transport, bucket: Bucket, number: int, leaves: int) -> None:
        self._rank, self._size, self._transport, self._bucket = context.rank, context.size, transport, bucket
        self._leaves, self._tag = leaves, 2 * number
        self._partial = Partial[Sum](leaves, add_later)
        self._edges = [bucket.size * rank // self._size for rank in range(self._size + 1)]
        self._received: list[tuple[Label, Array]] = []
        self._request: Request | None = None
        self._out: Array | None = None
        self._gathered = False
        # What is being sent, which must stay until it has arrived.
        self._sent: list[Array] = []

    def add(self, leaf: int, gradient: Array) -> None:
        """Add the gradient of a micro-batch of this process; they come in their order."""
        self._partial.add(Label(0, leaf), gradient)

    def send(self) -> None:
        """Begin to send; all micro-batches of this process have been added."""
        nodes = [(label, self._transport.leave(add_up(given))) for label, given in self._partial.nodes]
        self._partial.nodes.clear()
        if self._size == 1:
            self._out, self._gathered = nodes[0][1], True
            return
        mine = slice(self._edges[self._rank], self._edges[self._rank + 1])
        theirs = [labels(self._leaves, share(self._leaves, rank, self._size)) for rank in range(self._size)]
        begun = []
        none = self._transport.empty(0, self._bucket.dtype)
        # The nodes of a process one after another: the first of each, then the second.
        for turn in range(max(map(len, theirs))):
            into = []
            for rank, each in enumerate(theirs):
                there = turn < len(each) and rank != self._rank
                into.append(self._transport.empty(mine.stop - mine.start, self._bucket.dtype) if there else none)
                if there:
                    self._received.append((each[turn], into[-1]))
            flat = nodes[turn][1] if turn < len(nodes) else None
            parts = [
                none if flat is None or rank == self._rank else flat[self._edges[rank] : self._edges[rank + 1]]
                for rank in range(self._size)
            ]
            begun.append(self._transport.exchange(parts, into, self._tag))
        self._received += [(label, flat[mine]) for label, flat in nodes]
        self._sent = [flat for _, flat in nodes]
        self._request = Several(begun)

    def advance(self) -> bool:
        """Go on as far as possible without waiting; return whether the sum is complete."""
        if self._request is None or not self._request.done():
            return self._request is None and self._out is not None
        if not self._gathered:
            self._gathered = True
            self._request = self._gather()
        return self._request.done()

    def _gather(self) -> Request:
        """Add up the slice of this process, and begin to send it to the others."""
        total = Partial[Sum](self._leaves, add_later)
        for label, part in sorted(self._received, key=lambda node: node[0].first):
            total.add(label, part)
        self._received.clear()
        ((_, mine),) = total.nodes
        self._out = out = self._transport.empty(self._bucket.size, self._bucket.dtype)
        parts = [out[first:last] for first, last in zip(self._edges, self._edges[1:], strict=False)]
        add_up(mine, parts[self._rank])
        return self._transport.exchange([parts[self._rank]] * self._size, parts, self._tag + 1)

    def finish(self) -> None:
        """Set the gradients of the bucket to the sum, which is complete."""
        if self._out is not None:
            self._bucket.give(self._transport.enter(self._out, self._bucket))


class FastSum:
    """The usual sum of a bucket's gradients, in whatever order is fast.

    Arguments and methods are those of `OrderedSum`.
    """

    def __init__(self, context: Context, transport: Transport, bucket: Bucket, number: int, leaves: int) -> None:
        self._context, self._transport, self._bucket = context, transport, bucket
        self._sum: Array | None = None
        self._request: Request | None = None

    def add(self, leaf: int, gradient: Array) -> None:
        self._sum = gradient if self._sum is None else add_up((self._sum, gradient))

    def send(self) -> None:
        given = self._bucket.zeros() if self._sum is None else self._sum
        self._sum = self._transport.leave(given)
        self._request = self._transport.begin_sum(self._sum)

    def advance(self) -> bool:
        return self._request is not None and self._request.done()

    def finish(self) -> None:
        if self._sum is not None:
            self._bucket.give(self._transport.enter(self._sum, self._bucket))


class Several(Request):
    """Several requests as one."""

    def __init__(self, requests: list[Any]) -> None:
        self._requests = requests

    def done(self) -> bool:
        # Each of them is asked, so that all go on.
        self._requests = [request for request in self._requests if not request.done()]
        return not self._requests
