"""Counts of what the device is asked to do: launches, transfers, bytes and floating-point operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

# Operations on the device; the others are transfers between it and the host.
LAUNCHED = ("kernel", "own", "product", "memset", "copy")
KINDS = (*LAUNCHED, "upload", "readback")


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        name: the operation, or the name of an own kernel.
        kind: "kernel" (CuPy's elementwise kernels, reductions, indexing, fills), "own" (a kernel of a RawModule),
            "product" (a matrix product), "memset", "copy" (device to device), "upload" or "readback".
        bytes_read: the bytes of the arrays that it reads on the device, each once.
        bytes_written: the bytes of the arrays that it writes on the device, each once.
        flops: the floating-point operations of a product; 0 for the others.
        phase: the phase of the caller, such as "forward".
        layer: the layer of the caller, such as "0 Dense".
        grid: the blocks of an own kernel's launch.
        block: the threads of each of its blocks.
        shared: the bytes of its dynamic shared memory.
        graph: whether it ran as a part of a graph.
        sectors: the bytes of the 32-byte sectors that its warps read and write, where they were counted.
    """

    name: str
    kind: str
    bytes_read: int = 0
    bytes_written: int = 0
    flops: int = 0
    phase: str = ""
    layer: str = ""
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()
    shared: int = 0
    graph: bool = False
    sectors: float = 0.0

    @property
    def bytes(self) -> int:
        """The bytes read and written."""
        return self.bytes_read + self.bytes_written


class Costs:
    """A list of operations, and their totals.

    Attributes:
        operations: the operations in the order of their execution; those of a graph at each of its launches.
        updated: by the name of an own kernel, the arrays that it reads as well as writes. Of the other arrays those
            that are const are read, the others written.
    """

    def __init__(
        self, operations: Iterable[Operation] = (), *, updated: Mapping[str, Collection[str]] | None = None
    ) -> None:
        self.operations = list(operations)
        self.updated = updated or {}
        self._phase = self._layer = ""

    @contextmanager
    def phase(self, name: str | None = None, layer: str | None = None) -> Iterator[None]:
        """Set the phase and the layer of the operations within the block; None keeps those of the block around it."""
        before = self._phase, self._layer
        self._phase = before[0] if name is None else name
        self._layer = before[1] if layer is None else layer
        try:
            yield
        finally:
            self._phase, self._layer = before

    def labelled(self, operation: Operation) -> Operation:
        """Return an operation with the present phase and layer."""
        return replace(operation, phase=self._phase, layer=self._layer)

    def count(self, *kinds: str) -> int:
        """Return the number of operations of the given kinds."""
        return sum(operation.kind in kinds for operation in self.operations)

    def _sum(self, number: Callable[[Operation], int], kinds: Collection[str]) -> int:
        return sum(number(operation) for operation in self.operations if operation.kind in kinds)

    @property
    def launches(self) -> int:
        """The number of operations on the device: kernels, products, memsets and copies on it."""
        return self.count(*LAUNCHED)

    @property
    def products(self) -> int:
        """The number of matrix products."""
        return self.count("product")

    @property
    def uploads(self) -> int:
        """The number of copies from the host."""
        return self.count("upload")

    @property
    def readbacks(self) -> int:
        """The number of copies to the host, each of which waits for the device."""
        return self.count("readback")

    @property
    def bytes_up(self) -> int:
        """The bytes copied from the host."""
        return self._sum(lambda operation: operation.bytes, ("upload",))

    @property
    def bytes_down(self) -> int:
        """The bytes copied to the host."""
        return self._sum(lambda operation: operation.bytes, ("readback",))

    @property
    def bytes_read(self) -> int:
        """The bytes read by operations on the device."""
        return self._sum(lambda operation: operation.bytes_read, LAUNCHED)

    @property
    def bytes_written(self) -> int:
        """The bytes written by operations on the device."""
        return self._sum(lambda operation: operation.bytes_written, LAUNCHED)

    @property
    def moved(self) -> int:
        """The bytes read and written by operations on the device."""
        return self.bytes_read + self.bytes_written

    @property
    def flops(self) -> int:
        """The floating-point operations of matrix products."""
        return self._sum(lambda operation: operation.flops, LAUNCHED)

    def own(self) -> dict[str, int]:
        """Return the number of launches of each own kernel, by its name."""
        return dict(Counter(operation.name for operation in self.operations if operation.kind == "own"))

    def by(self, *attributes: str) -> dict[tuple[str, ...], Costs]:
        """Return the costs of each combination of attributes, such as ``by("phase", "layer")``, in order."""
        parts: dict[tuple[str, ...], Costs] = {}
        for operation in self.operations:
            key = tuple(str(getattr(operation, attribute)) for attribute in attributes)
            parts.setdefault(key, Costs()).operations.append(operation)
        return parts


_counting: list[Costs] = []


@contextmanager
def counted(*, updated: Mapping[str, Collection[str]] | None = None) -> Iterator[Costs]:
    """Count the operations of the stand-in within the block; blocks nest.

    Args:
        updated: see `Costs`.
    """
    costs = Costs(updated=updated)
    _counting.append(costs)
    try:
        yield costs
    finally:
        _counting.remove(costs)


def labelled(operation: Operation) -> list[tuple[Costs, Operation]]:
    """Return an operation for each `Costs` that counts now, with its phase and layer."""
    return [(costs, costs.labelled(operation)) for costs in _counting]


def updated(kernel: str) -> Collection[str]:
    """Return the arrays that an own kernel reads and writes, as the innermost `counted` block has them."""
    return _counting[-1].updated.get(kernel, ()) if _counting else ()


def add(operations: Iterable[tuple[Costs, Operation]]) -> None:
    """Add labelled operations to the costs that still count."""
    for costs, operation in operations:
        if any(costs is each for each in _counting):
            costs.operations.append(operation)
