"""How arrays move between processes: by MPI from the host's memory, or by NCCL from card to card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from cuslayer import backend
from cuslayer.backend import Array, to_numpy
from cuslayer.distributed.context import Context, Request
from cuslayer.kernels.host import memory


class Transport:
    """Moves arrays by way of the host's memory; those of a GPU are copied there and back."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the block compute where arrays are moved."""
        yield

    def leave(self, flat: Array) -> Array:
        """Return a flat array as it is sent."""
        return np.ascontiguousarray(to_numpy(flat))

    def enter(self, flat: Array, beside: Array) -> Array:
        """Return an array that was received, on the device of another one."""
        return backend.namespace(beside).asarray(flat)

    def empty(self, size: int, dtype: Any) -> Array:
        """Return an array to receive into."""
        return memory.empty((size,), dtype)

    def exchange(self, parts: Sequence[Array], into: Sequence[Array], tag: int) -> Request:
        """Begin a transfer, as `Context.exchange`."""
        return self._context.exchange(parts, into, tag)

    def begin_sum(self, array: Array) -> Request:
        """Begin a sum, as `Context.begin_sum`."""
        return self._context.begin_sum(array)

    def join(self) -> None:
        """Let what follows on the device wait for all that was moved."""


class NCCLTransport(Transport):
    """Moves arrays from card to card by NCCL, on a stream of its own: the host waits for nothing."""

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

    def empty(self, size: int, dtype: Any) -> Array:
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
    """Return the fastest transport: by NCCL if every process has a card of its own and CuPy has NCCL."""
    if backend.device() != "cuda" or context.size == 1:
        return Transport(context)
    cards = context.gather(backend.card())
    if None in cards or len(set(cards)) < context.size:
        return Transport(context)
    return NCCLTransport(context)
