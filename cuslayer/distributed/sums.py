"""Sums of gradients over the micro-batches of a step and over processes, sent while backward runs.

The order of a sum does not depend on the division of micro-batches among processes. The micro-batches of a batch are
the leaves of a binary tree. Node (level, place) is the sum of the existing leaves from ``place 2^level`` to
``(place + 1) 2^level - 1``: the left half plus the right half. The tree depends only on the number of micro-batches. A
process adds its adjacent leaves to the largest whole nodes; other processes continue from there. So every addition has
the same two operands, and the sum the same bits, on any number of processes.

An addition of two arrays reads two and writes one. One pass over four arrays reads each once, and writes only their
sum; intermediate results stay in the cache. The operands of each addition are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer._tape import Tensor
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.distributed.context import Context, Request
from cuslayer.kernels.host import memory

T = TypeVar("T")
# An array, or the pending sum of two sums.
Sum: TypeAlias = "Array | tuple[Sum, Sum]"

# The maximum number of arrays in one pass, and their maximum bytes.
_ARRAYS, _MOST_BYTES = 4, 1 << 26
# Elements of an array chunk: intermediate results fit into a core's cache.
_PIECE = 1 << 15


class Label(NamedTuple):
    """The position of a node in the tree."""

    level: int
    place: int

    @property
    def first(self) -> int:
        """The first leaf."""
        return self.place << self.level


class Partial(Generic[T]):
    """The largest whole nodes of leaves that arrive from left to right.

    `add` adds the right operand to the left one, and returns the sum; it may be the left one, changed.

    Attributes:
        nodes: the nodes so far with their sums, from left to right.

    >>> partial = Partial(5, lambda a, b: f"({a}{b})")
    >>> for leaf, text in enumerate("abcde"):
    ...     partial.add(Label(0, leaf), text)
    >>> partial.nodes
    [(Label(level=3, place=0), '(((ab)(cd))e)')]
    """

    def __init__(self, leaves: int, add: Callable[[T, T], T]) -> None:
        self._leaves, self._add = leaves, add
        self.nodes: list[tuple[Label, T]] = []

    def add(self, label: Label, value: T) -> None:
        """Add a node to the right of the present nodes."""
        self.nodes.append((label, value))
        while True:
            (level, place), value = self.nodes[-1]
            if 1 << level >= self._leaves:
                return
            if place % 2:
                if len(self.nodes) < 2 or self.nodes[-2][0] != (level, place - 1):
                    return
                self.nodes.pop()
                value = self._add(self.nodes[-1][1], value)
            elif (place + 1) << level < self._leaves:
                return
            # A left half without leaves to its right is the whole node.
            self.nodes[-1] = Label(level + 1, place // 2), value


def share(leaves: int, rank: int, size: int) -> range:
    """Return the micro-batches of a process: adjacent parts whose sizes differ by at most one.

    >>> [list(share(5, rank, 3)) for rank in range(3)], list(share(1, 0, 2))
    ([[0], [1, 2], [3, 4]], [])
    """
    return range(leaves * rank // size, leaves * (rank + 1) // size)


def labels(leaves: int, part: range) -> list[Label]:
    """Return the nodes that a process computes from its leaves.

    >>> [tuple(label) for label in labels(8, range(3, 6))], labels(5, range(4, 5))
    ([(0, 3), (1, 2)], [Label(level=2, place=1)])
    """
    partial = Partial[None](leaves, lambda a, b: None)
    for leaf in part:
        partial.add(Label(0, leaf), None)
    return [label for label, _ in partial.nodes]


def add_later(a: Sum, b: Sum) -> Sum:
    """Return a + b, computed once it has enough arrays; the sum may overwrite the arrays.

    >>> one, two = np.ones(3), np.full(3, 2.0)
    >>> later = add_later(one, two)
    >>> add_up(add_later(later, np.zeros(3))).tolist()
    [3.0, 3.0, 3.0]
    """
    both = a, b
    arrays = _arrays(both)
    if namespace(arrays[0]) is not np or len(arrays) >= _ARRAYS or arrays[0].nbytes * len(arrays) > _MOST_BYTES:
        return add_up(both)
    return both


def add_up(given: Sum, out: Array | None = None) -> Array:
    """Return the array of a sum: in `out`, by default in its first array."""
    arrays = _arrays(given)
    total = arrays[0] if out is None else out
    if namespace(total) is not np:
        # At most two: on a GPU no sum is pending.
        if out is not None:
            out[...] = arrays[0]
        for each in arrays[1:]:
            total += each
    elif given is not total:
        # Imports Numba on first use.
        from cuslayer._base.parallel import parallel_for

        def pieces(first: int, last: int) -> None:
            for n in range(first, last):
                piece = slice(n * _PIECE, (n + 1) * _PIECE)
                out = total[piece]
                found = _piece_of(given, piece, out)
                if found is not out:
                    out[...] = found

        parallel_for(pieces, -(-total.size // _PIECE), grain=1)
    return total


def _arrays(given: Sum) -> list[Array]:
    return [*_arrays(given[0]), *_arrays(given[1])] if isinstance(given, tuple) else [given]


def _piece_of(given: Sum, piece: slice, out: Array | None = None) -> Array:
    """Return a chunk of a sum; in `out`, if there is an addition."""
    if not isinstance(given, tuple):
        part: Array = given[piece]
        return part
    found: Array = np.add(_piece_of(given[0], piece, out), _piece_of(given[1], piece), out=out)
    return found


class Bucket:
    """Parameters of one type, with consecutive gradients in one array."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.size = sum(p.data.size for p in parameters)
        self.dtype = parameters[0].dtype

    def take(self) -> Array:
        """Return and clear the gradients, in one array, with zeros for missing ones."""
        grads: list[Any] = [
            namespace(p.data).zeros(p.data.size, p.dtype) if p.grad is None else p.grad.reshape(-1)
            for p in self.parameters
        ]
        for p in self.parameters:
            p.grad = None
        return grads[0] if len(grads) == 1 else namespace(grads[0]).concatenate(grads, axis=0)

    def give(self, flat: Array) -> None:
        """Set the gradients to the parts of an array."""
        first = 0
        for p in self.parameters:
            p.grad = flat[first : first + p.data.size].reshape(p.data.shape)
            first += p.data.size

    def zeros(self) -> Array:
        """Return gradients of zeros."""
        return namespace(self.parameters[0].data).zeros(self.size, self.dtype)


def fill(parameters: Sequence[Tensor], megabytes: float) -> list[Bucket]:
    """Return the buckets of parameters, the last parameter first: backward completes its gradient first.

    A bucket has at most `megabytes` million bytes; a larger parameter has its own bucket.

    >>> import numpy as np
    >>> sizes = [100, 300, 5, 5]
    >>> buckets = fill([Tensor(np.zeros(n, np.float32)) for n in sizes], 1000e-6)
    >>> [[p.size for p in bucket.parameters] for bucket in buckets]
    [[5, 5], [300], [100]]
    """
    found: list[list[Tensor]] = []
    bytes_so_far, limit = 0, megabytes * 1e6
    for p in reversed(parameters):
        size = p.data.size * np.dtype(p.dtype).itemsize
        if not found or found[-1][0].dtype != p.dtype or bytes_so_far + size > limit:
            found.append([])
            bytes_so_far = 0
        found[-1].append(p)
        bytes_so_far += size
    return [Bucket(group) for group in found]


class OrderedSum:
    """The sum of a bucket's gradients in the order of the tree, which is the same on any number of processes.

    Each process adds one slice of the elements: it receives the other processes' nodes of the slice, and sends them the
    sum. If each process has one node, this sends as many bytes as a usual sum of floats.

    `number` is the number of the bucket, for tags; `leaves` is the number of micro-batches in the step.
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
        # Arrays in transfer, which must stay until they arrive.
        self._sent: list[Array] = []

    def add(self, leaf: int, gradient: Array) -> None:
        """Add the gradient of a micro-batch of this process, in order."""
        self._partial.add(Label(0, leaf), gradient)

    def send(self) -> None:
        """Start to send, after all micro-batches of this process."""
        nodes = [(label, self._transport.leave(add_up(given))) for label, given in self._partial.nodes]
        self._partial.nodes.clear()
        if self._size == 1:
            self._out, self._gathered = nodes[0][1], True
            return
        mine = slice(self._edges[self._rank], self._edges[self._rank + 1])
        theirs = [labels(self._leaves, share(self._leaves, rank, self._size)) for rank in range(self._size)]
        begun = []
        none = self._transport.empty(0, self._bucket.dtype)
        # First each process's first node, then the second.
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
        """Advance without waiting; return whether the sum is complete."""
        if self._request is None or not self._request.done():
            return self._request is None and self._out is not None
        if not self._gathered:
            self._gathered = True
            self._request = self._gather()
        return self._request.done()

    def _gather(self) -> Request:
        """Add the slice of this process, and start to send it to the others."""
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
        """Set the gradients of the bucket to the complete sum."""
        if self._out is not None:
            self._bucket.give(self._transport.enter(self._out, self._bucket.parameters[0].data))


class FastSum:
    """The usual sum of a bucket's gradients, in any fast order; arguments and methods: see `OrderedSum`."""

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
            self._bucket.give(self._transport.enter(self._sum, self._bucket.parameters[0].data))


class Several(Request):
    """Several requests as one."""

    def __init__(self, requests: list[Any]) -> None:
        self._requests = requests

    def done(self) -> bool:
        # The call advances each of them.
        self._requests = [request for request in self._requests if not request.done()]
        return not self._requests


class Transport:
    """Transfers arrays through the host's memory; GPU arrays are copied there and back."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @contextmanager
    def used(self) -> Iterator[None]:
        """Run the block on the stream of the transfers."""
        yield

    def leave(self, flat: Array) -> Array:
        """Return a flat array in the form that is sent."""
        return np.ascontiguousarray(to_numpy(flat))

    def enter(self, flat: Array, beside: Array) -> Array:
        """Return a received array on the device of another array."""
        return namespace(beside).asarray(flat)

    def empty(self, size: int, dtype: npt.DTypeLike) -> Array:
        """Return an array to receive into."""
        return memory.empty((size,), dtype)

    def exchange(self, parts: Sequence[Array], into: Sequence[Array], tag: int) -> Request:
        """Start a transfer, like `Context.exchange`."""
        return self._context.exchange(parts, into, tag)

    def begin_sum(self, array: Array) -> Request:
        """Start a sum, like `Context.begin_sum`."""
        return self._context.begin_sum(array)

    def join(self) -> None:
        """Let later work on the device wait for all transfers."""


class NCCLTransport(Transport):
    """Transfers arrays between GPUs by NCCL, on its own stream, without waiting on the host."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._group, self._nccl = backend.process_group(context.size, context.rank)
        self._stream = backend.cupy().cuda.Stream(non_blocking=True)

    @contextmanager
    def used(self) -> Iterator[None]:
        computed = backend.cupy().cuda.Event()
        computed.record()
        self._stream.wait_event(computed)
        with self._stream:
            yield

    def leave(self, flat: Array) -> Array:
        return flat

    def enter(self, flat: Array, beside: Array) -> Array:
        return flat

    def empty(self, size: int, dtype: npt.DTypeLike) -> Array:
        return backend.cupy().empty(size, dtype)

    def exchange(self, parts: Sequence[Array], into: Sequence[Array], tag: int) -> Request:
        self._nccl.groupStart()
        for rank in range(self._context.size):
            if rank != self._context.rank:
                if parts[rank].size:
                    self._group.send(parts[rank], rank, self._stream)
                if into[rank].size:
                    self._group.recv(into[rank], rank, self._stream)
        self._nccl.groupEnd()
        return Request()

    def begin_sum(self, array: Array) -> Request:
        self._group.all_reduce(array, array, "sum", self._stream)
        return Request()

    def join(self) -> None:
        moved = self._stream.record()
        backend.cupy().cuda.get_current_stream().wait_event(moved)


def transport_of(context: Context) -> Transport:
    """Return the fastest transport: NCCL if every process has its own GPU and CuPy has NCCL."""
    if backend.device() != "cuda" or context.size == 1:
        return Transport(context)
    cards = context.gather(backend.card())
    if None in cards or len(set(cards)) < context.size:
        return Transport(context)
    return NCCLTransport(context)
