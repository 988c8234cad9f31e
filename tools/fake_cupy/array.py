"""Arrays on the device, and how an operation on them is counted and executed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from tools.fake_cupy import costs
from tools.fake_cupy.memory import Part, alloc
from tools.fake_cupy.state import state
from tools.fake_cupy.streams import check_transfer, current

METADATA = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")

# The characters of CuPy's types: no strings, objects, structures, dates or long doubles.
_TYPES = "?bhilqBHILQefdFD"


class DeviceArray:
    """An array on the device.

    Its operators and methods are in the neighbouring files.

    Attributes:
        host: its data, used by the stand-in only.
        number: the number of its device.
        part: its memory; None if it has no element.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Any, part: Any, number: int | None = None) -> None:
        """Take host and part, or, as CuPy, the shape of an array without elements and its type."""
        of_shape = isinstance(host, tuple)
        self.host: np.ndarray[Any, Any] = np.empty(host, part) if of_shape else host
        self.part: Part | None = None if of_shape else part
        self.number = state().device if number is None else number

    def __getattr__(self, name: str) -> Any:
        if name in METADATA:
            return getattr(self.host, name)
        raise AttributeError(f"DeviceArray has no {name}")

    @property
    def T(self) -> DeviceArray:
        return view(self, self.host.T)

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(device_id=self.number, ptr=self.host.ctypes.data)

    @property
    def base(self) -> DeviceArray | None:
        base = self.host.base
        return DeviceArray(base, self.part, self.number) if isinstance(base, np.ndarray) else None

    def __len__(self) -> int:
        return len(self.host)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.host.ctypes.data, False), "version": 3}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.number

    def __dlpack__(self, **_: Any) -> DeviceArray:
        return self

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of an array on the device")

    def item(self) -> Any:
        return read(self).item()

    def tolist(self) -> Any:
        return read(self).tolist()

    def set(self, x: np.ndarray[Any, Any]) -> None:
        """Copy a NumPy array of the same shape and type from the host."""
        if not isinstance(x, np.ndarray):
            raise TypeError(f"Only numpy.ndarray can be set to cupy.ndarray, got {type(x).__name__}")
        if x.dtype != self.dtype:
            raise TypeError(f"{x.dtype} array cannot be set to {self.dtype} array")
        if x.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {x.shape}")
        if not self.host.flags.c_contiguous:
            raise RuntimeError("Cannot set to non-contiguous array")
        _send(x, self)

    def __bool__(self) -> bool:
        return bool(read(self))

    def __float__(self) -> float:
        return float(read(self))

    def __int__(self) -> int:
        return int(read(self))


def checked_type(dtype: Any) -> np.dtype[Any]:
    """Return a type that CuPy has; raise ValueError for any other."""
    dtype = np.dtype(dtype)
    if dtype.char not in _TYPES or dtype.byteorder == ">":
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def view(x: DeviceArray, host: np.ndarray[Any, Any]) -> DeviceArray:
    """Return an array on the device of x that shares its memory."""
    return DeviceArray(host, x.part, x.number)


def empty(shape: Any, dtype: Any, order: str = "C") -> DeviceArray:
    """Return an array of new memory on the device in use, with any contents."""
    return empty_like(np.empty(shape, checked_type(dtype), order))


def empty_like(host: np.ndarray[Any, Any]) -> DeviceArray:
    """Return an array of new memory on the device in use, with the shape, the type and the strides of another."""
    if not host.nbytes:
        return DeviceArray(host, None)
    part = alloc(host.nbytes).mem
    memory = part.memory
    return DeviceArray(np.ndarray(host.shape, host.dtype, memory.room, memory.first, host.strides), part)


def distinct_bytes(x: DeviceArray) -> int:
    """Return the bytes of the elements of x, where a broadcast element counts once."""
    host = x.host
    return host.itemsize * math.prod(n for n, stride in zip(host.shape, host.strides, strict=True) if stride or n == 0)


def _bytes(arrays: Sequence[DeviceArray]) -> int:
    """Return the bytes of arrays, each once."""
    places = {(x.host.ctypes.data, x.host.shape, x.host.strides): distinct_bytes(x) for x in arrays}
    return sum(places.values())


def record(operation: costs.Operation) -> None:
    """Count an operation, at the launch of the graph if it is captured."""
    graph = current().graph
    if graph is None:
        costs.add(costs.labelled(operation))
    else:
        graph.operations += costs.labelled(replace(operation, graph=True))


def execute(work: Callable[[], None], arrays: Sequence[DeviceArray]) -> None:
    """Launch the work of an operation on arrays; where operations are only counted, only note their memory.

    The work may refer to the arrays' data, but not to the arrays, which would never be freed during a capture.
    """
    graph = current().graph
    if graph is not None:
        graph.use(x.part for x in arrays if x.part is not None)
        if _refers(work):
            raise AssertionError(f"the work {work} refers to an array on the device")
    if state().compute:
        current().run(work)


def _refers(x: Any) -> bool:
    """Return whether work refers to an array on the device."""
    if isinstance(x, (list, tuple)):
        return any(map(_refers, x))
    if isinstance(x, partial):
        return _refers((x.func, x.args, tuple(x.keywords.values())))
    inside = getattr(x, "__closure__", None) or ()
    return isinstance(x, DeviceArray) or any(_refers(cell.cell_contents) for cell in inside)


def check_devices(arrays: Sequence[DeviceArray]) -> None:
    """Raise ValueError unless all arrays are on the device in use."""
    for x in arrays:
        if x.number != state().device:
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {x.number} while current = {state().device}"
            )


def launch(
    name: str,
    work: Callable[[], None],
    reads: Sequence[DeviceArray],
    writes: Sequence[DeviceArray],
    *,
    kind: str = "kernel",
    flops: int = 0,
) -> None:
    """Count an operation on the device and execute it; one that writes no element is not launched."""
    check_devices((*reads, *writes))
    if any(x.host.size for x in writes):
        record(costs.Operation(name, kind, _bytes(reads), _bytes(writes), flops))
        execute(work, (*reads, *writes))


def made(
    name: str,
    compute: Callable[[], Any],
    reads: Sequence[DeviceArray],
    out: DeviceArray,
    *,
    kind: str = "kernel",
    flops: int = 0,
) -> DeviceArray:
    """Return `out` filled by one operation with the result of compute, which must have its shape and type."""

    host = out.host

    def work() -> None:
        found = np.asarray(compute())
        if (found.shape, found.dtype) != (host.shape, host.dtype):
            raise AssertionError(f"{name} is {found.dtype} {found.shape}, not {host.dtype} {host.shape}")
        np.copyto(host, found)

    launch(name, work, reads, [out], kind=kind, flops=flops)
    return out


def read(x: DeviceArray) -> np.ndarray[Any, Any]:
    """Return a copy of x on the host; zeros where operations are only counted."""
    check_transfer()
    if x.host.size:
        if not x.host.flags.c_contiguous:
            record(costs.Operation("copy", "copy", distinct_bytes(x), x.host.nbytes))
        record(costs.Operation("readback", "readback", bytes_read=x.host.nbytes))
    current().drain()
    return x.host.copy() if state().compute else np.zeros(x.host.shape, x.host.dtype)


def upload(x: np.ndarray[Any, Any], order: str | None = None) -> DeviceArray:
    """Return a copy of a NumPy array on the device in use; a single number is the argument of a kernel that writes it.

    Args:
        x: the array.
        order: "C" or "F"; None for the order of x.
    """
    if order in (None, "K", "A"):
        order = "F" if x.flags.fnc else "C"
    out = empty(x.shape, checked_type(x.dtype.newbyteorder("=")), order)
    if not x.ndim:
        return filled(out, x.item())
    _send(x, out)
    return out


def _send(x: np.ndarray[Any, Any], out: DeviceArray) -> None:
    """Copy a NumPy array to the device in the order of the stream."""
    check_transfer()
    host, sent = out.host, x.copy()
    current().run(lambda: np.copyto(host, sent))
    if x.size:
        record(costs.Operation("upload", "upload", bytes_written=host.nbytes))


def filled(x: DeviceArray, value: Any) -> DeviceArray:
    """Write a number to all elements of x, and return x."""
    memset = bool(value == 0) and x.host.flags.c_contiguous
    host = x.host
    launch("fill", lambda: np.copyto(host, value, casting="unsafe"), [], [x], kind="memset" if memset else "kernel")
    return x
