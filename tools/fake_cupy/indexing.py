"""Reading and writing parts of arrays.

CuPy differs from NumPy: an index array that is out of range wraps around instead of raising, and where elements are
named twice, the order of additions and assignments is another at each run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tools.fake_cupy import costs
from tools.fake_cupy.array import DeviceArray, empty, filled, launch, made, record, view
from tools.fake_cupy.shapes import asarray, astype
from tools.fake_cupy.state import state
from tools.fake_cupy.streams import check_transfer

# Elements of a part of a mask, whose sums CuPy adds in a kernel of their own.
_SCAN_PART = 512
# The types that CuPy adds atomically.
_ADDED = "ifdeILQ"


def _prepared(index: Any) -> tuple[Any, ...]:
    """Return an index as a tuple; its lists and NumPy arrays are copied to the device."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(_part(part) for part in parts)


def _part(part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, (slice, DeviceArray)):
        return part
    if np.isscalar(part) and not isinstance(part, (bool, np.bool_)):
        return part
    try:
        found = asarray(part)
    except ValueError:
        raise IndexError("only integers, slices, ellipsis, None and arrays are valid indices") from None
    return astype(found, np.int32) if not found.host.size and isinstance(part, (list, tuple)) else found


def _arrays(index: tuple[Any, ...]) -> list[DeviceArray]:
    return [part for part in index if isinstance(part, DeviceArray)]


def _plain(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an index with the data of its arrays."""
    return tuple(part.host if isinstance(part, DeviceArray) else part for part in index)


def _hosts(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return a plain index for NumPy, its integer arrays wrapped around."""
    used = sum(_axes(part) for part in index)
    if used > len(shape):
        raise IndexError(f"too many indices for array: array is {len(shape)}-dimensional, but {used} were indexed")
    found, axis = list[Any](), 0
    for part in index:
        if isinstance(part, np.ndarray):
            if part.dtype.kind not in "iub":
                raise IndexError(f"arrays used as indices must be of integer or boolean type. (actual: {part.dtype})")
            found.append(part if part.dtype == bool else _wrapped(part, shape[axis]))
        else:
            found.append(part)
        axis += len(shape) - used if part is Ellipsis else _axes(part)
    return tuple(found)


def _axes(part: Any) -> int:
    """Return how many axes of the array a part of an index takes."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1


def _wrapped(numbers: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    if not size and numbers.size:
        raise IndexError("cannot do a non-empty take from an empty axes.")
    return numbers % size if size else numbers


def _count_search(x: DeviceArray, index: tuple[Any, ...]) -> None:
    """Count what is launched before the elements are copied: the positions of a mask, or one index of several."""
    arrays = _arrays(index)
    for mask in arrays:
        if mask.host.dtype == bool:
            check_transfer()
            positions = empty(mask.host.size, np.int32)
            _count_scan(mask, positions)
            record(costs.Operation("readback", "readback", bytes_read=4))
            if mask.host.ndim < x.host.ndim:
                _count_scan(view(mask, np.broadcast_to(False, x.host.size)), empty(x.host.size, np.int32))
    if len(arrays) > 1:
        merged = filled(empty(np.broadcast_shapes(*(part.host.shape for part in arrays)), np.int64), 0)
        for part in arrays:
            launch("index", lambda: None, [part, merged], [merged])


def _count_scan(numbers: DeviceArray, sums: DeviceArray) -> None:
    """Count the kernels of a cumulative sum: of long ones, first the sums of parts and their cumulative sum."""
    if numbers.host.size > _SCAN_PART:
        parts = empty(-(-numbers.host.size // _SCAN_PART), np.int32)
        launch("scan", lambda: None, [numbers], [parts])
        _count_scan(parts, parts)
    launch("scan", lambda: None, [numbers], [sums])


def getitem(self: DeviceArray, index: Any) -> DeviceArray:
    """Return a part of x: a view, or a copy of the elements that arrays name."""
    parts = _prepared(index)
    host, plain = self.host, _plain(parts)
    if not _arrays(parts):
        hosts = _hosts(plain, host.shape)
        return view(self, host[(*hosts, Ellipsis)] if Ellipsis not in hosts else host[hosts])
    _count_search(self, parts)
    out = empty(host[_hosts(plain, host.shape)].shape, host.dtype)
    # Of a large array only the elements that are named are read.
    source = self if host.nbytes < out.host.nbytes else view(self, out.host)
    return made("take", lambda: host[_hosts(plain, host.shape)], [source, *_arrays(parts)], out)


def take(self: DeviceArray, indices: DeviceArray, axis: int, out: DeviceArray) -> DeviceArray:
    """Copy the elements of indices along an axis to out, an array of their type and shape."""
    host, chosen = self.host, indices.host
    shape = (*host.shape[:axis], *indices.shape, *host.shape[axis + 1 :])
    if out.dtype != host.dtype:
        raise TypeError("Output dtype mismatch")
    if out.shape != shape:
        raise ValueError("Output shape mismatch")
    # Of a large array only the elements that are named are read.
    source = self if host.nbytes < out.host.nbytes else view(self, out.host)
    return made("take", lambda: host.take(_wrapped(chosen, host.shape[axis]), axis), [source, indices], out)


def setitem(self: DeviceArray, index: Any, value: Any) -> None:
    """Write an array or a number, which broadcasts, to a part of x."""
    parts = _prepared(index)
    if _arrays(parts):
        _scatter("scatter", self, parts, value, lambda x, at, y: x.__setitem__(at, y))
        return
    target = getitem(self, index)
    if not isinstance(value, DeviceArray):
        if isinstance(value, np.ndarray) and value.shape:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        filled(target, np.asarray(value).item())
        return
    there, here = target.host, value.host
    while here.ndim and here.shape[0] == 1 and here.ndim > there.ndim:
        here = here[0]
    if here.shape == there.shape and here.strides == there.strides and here.ctypes.data == there.ctypes.data:
        return
    np.broadcast_to(here, there.shape)
    launch("copy", lambda: np.copyto(there, here, casting="unsafe"), [value], [target], kind="copy")


def add_at(x: DeviceArray, index: Any, value: Any) -> None:
    """Add values to the elements that an index names, in an order of its own at each call."""
    if x.host.dtype.char not in _ADDED:
        raise TypeError("scatter_add only supports int32, float16, float32, float64, uint32, uint64, as data type")
    _scatter("scatter_add", x, _prepared(index), value, np.add.at)


def _scatter(
    name: str, x: DeviceArray, parts: tuple[Any, ...], value: Any, write: Callable[[Any, Any, Any], None]
) -> None:
    """Write values to the elements that an index with arrays names, in an order of its own at each call."""
    given = value if isinstance(value, DeviceArray) else asarray(value, x.host.dtype)
    values, host, plain = astype(given, x.host.dtype, copy=False), x.host, _plain(parts)
    _count_search(x, parts)
    state().scatters += 1
    seed, numbers = state().scatters, np.arange(host.size).reshape(host.shape)
    named, written = numbers[_hosts(plain, host.shape)].shape, values.host
    np.broadcast_to(written, named)

    def work() -> None:
        order = np.random.default_rng(seed).permutation(math.prod(named))
        places = np.unravel_index(numbers[_hosts(plain, host.shape)].reshape(-1)[order], host.shape)
        write(host, places, np.broadcast_to(written, named).reshape(-1)[order])

    launch(name, work, [values, *_arrays(parts)], [view(x, np.empty(named, host.dtype))])


OPERATORS: dict[str, Callable[..., Any]] = {"__getitem__": getitem, "__setitem__": setitem}
METHODS: dict[str, Callable[..., Any]] = {"take": take}
FUNCTIONS: dict[str, Any] = {"add": SimpleNamespace(at=add_at)}
