"""Arrays on the device, and how an operation on them is counted and executed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from tools.fake_cupy import costs
from tools.fake_cupy.state import check_transfer, state

METADATA = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")

# The characters of CuPy's types: no strings, objects, structures, dates or long doubles.
_TYPES = "?bhilqBHILQefdFD"


class DeviceArray:
    """An array on the device.

    Its operators and methods are in the neighbouring files.

    Attributes:
        host: its data, used by the stand-in only.
        number: the number of its device.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray[Any, Any], number: int | None = None) -> None:
        self.host = host
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
        return None if self.host.base is None else DeviceArray(self.host.base, self.number)

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
        check_transfer()
        np.copyto(self.host, x)
        if x.size:
            record(costs.Operation("upload", "upload", bytes_written=x.nbytes))

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
    return DeviceArray(host, x.number)


def empty(shape: Any, dtype: Any, order: str = "C") -> DeviceArray:
    """Return an array of new memory on the device in use, with any contents."""
    host = np.empty(shape, checked_type(dtype), order)
    state().take(host)
    return DeviceArray(host)


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
    capture = state().capture
    if capture is None:
        costs.add(costs.labelled(operation))
    else:
        capture.operations += costs.labelled(replace(operation, graph=True))


def execute(work: Callable[[], None]) -> None:
    """Do the work of an operation, or record it during a capture; nothing where operations are only counted."""
    if not state().compute:
        return
    capture = state().capture
    if capture is None:
        work()
    else:
        capture.works.append(work)


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
        execute(work)


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

    def work() -> None:
        found = np.asarray(compute())
        if (found.shape, found.dtype) != (out.host.shape, out.host.dtype):
            raise AssertionError(f"{name} is {found.dtype} {found.shape}, not {out.host.dtype} {out.host.shape}")
        np.copyto(out.host, found)

    launch(name, work, reads, [out], kind=kind, flops=flops)
    return out


def read(x: DeviceArray) -> np.ndarray[Any, Any]:
    """Return a copy of x on the host; zeros where operations are only counted."""
    check_transfer()
    if x.host.size:
        if not x.host.flags.c_contiguous:
            record(costs.Operation("copy", "copy", distinct_bytes(x), x.host.nbytes))
        record(costs.Operation("readback", "readback", bytes_read=x.host.nbytes))
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
    check_transfer()
    np.copyto(out.host, x)
    if x.size:
        record(costs.Operation("upload", "upload", bytes_written=out.host.nbytes))
    return out


def filled(x: DeviceArray, value: Any) -> DeviceArray:
    """Write a number to all elements of x, and return x."""
    memset = bool(value == 0) and x.host.flags.c_contiguous
    launch("fill", lambda: np.copyto(x.host, value, casting="unsafe"), [], [x], kind="memset" if memset else "kernel")
    return x
