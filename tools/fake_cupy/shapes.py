"""Views, copies and conversions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from tools.fake_cupy.array import (
    DeviceArray,
    checked_type,
    empty,
    empty_like,
    execute,
    filled,
    launch,
    made,
    read,
    upload,
    view,
)
from tools.fake_cupy.memory import POISON
from tools.fake_cupy.state import state

# More arrays than this, of less than so many bytes each, are joined by one kernel.
_FEW, _SMALL = 8, 2 << 20


def astype(self: DeviceArray, dtype: Any, order: str = "K", copy: bool = True) -> DeviceArray:
    """Return x in a type; x itself if copy is False and neither type nor order would change."""
    dtype, host = checked_type(dtype), self.host
    ordered = order in "KA" or (host.flags.c_contiguous if order == "C" else host.flags.f_contiguous)
    same = dtype == host.dtype
    if same and ordered and not copy:
        return self
    out = empty_like(np.empty_like(host, dtype, order))
    name, kind = ("copy", "copy") if same else ("astype", "kernel")
    return made(name, lambda: host.astype(dtype), [self], out, kind=kind)


def copy(self: DeviceArray, order: str = "C") -> DeviceArray:
    """Return a copy on the device in use, also of an array on another device."""
    if self.number != state().device:
        if not (self.host.flags.c_contiguous or self.host.flags.f_contiguous):
            raise NotImplementedError("CuPy cannot copy non-contiguous array between devices.")
        self, order = DeviceArray(self.host, self.part), "K"
    return astype(self, self.host.dtype, order)


def ascontiguousarray(x: DeviceArray) -> DeviceArray:
    """Return x in C order, with at least one axis; x itself if it is so."""
    _check_array(x)
    if not x.host.ndim:
        return reshape(x, 1)
    return x if x.host.flags.c_contiguous else copy(x)


def _check_array(x: Any) -> None:
    if not isinstance(x, DeviceArray):
        raise TypeError(f"Argument 'a' has incorrect type (expected cupy.ndarray, got {type(x).__name__})")


def asarray(x: Any, dtype: Any = None, order: str | None = None) -> DeviceArray:
    """Return anything as an array on the device in use."""
    if isinstance(x, DeviceArray):
        here = x if x.number == state().device else copy(x)
        return astype(here, here.host.dtype if dtype is None else dtype, order or "K", copy=False)
    host = np.asarray(x, dtype)
    checked_type(host.dtype.newbyteorder("="))
    return upload(host, order)


def asnumpy(x: DeviceArray) -> np.ndarray[Any, Any]:
    """Return a copy of x on the host."""
    return read(x)


def reshape(self: DeviceArray, *shape: Any) -> DeviceArray:
    """Return x in another shape: a view, or a copy where its strides allow none."""
    found = self.host.reshape(*shape)
    if found.size and not np.may_share_memory(found, self.host):
        copied = copy(self)
        return view(copied, copied.host.reshape(*shape))
    return view(self, found)


def ravel(self: DeviceArray) -> DeviceArray:
    """Return x with one axis."""
    return reshape(self, -1)


def _view_of(name: str) -> Callable[..., DeviceArray]:
    return lambda self, *arguments: view(self, getattr(self.host, name)(*arguments))


def broadcast_to(x: DeviceArray, shape: Any) -> DeviceArray:
    """Return a view of x in a larger shape."""
    return view(x, np.broadcast_to(x.host, shape))


def expand_dims(x: DeviceArray, axis: Any) -> DeviceArray:
    """Return a view of x with new axes."""
    return view(x, np.expand_dims(x.host, axis))


def concatenate(arrays: Iterable[DeviceArray], axis: int) -> DeviceArray:
    """Return arrays joined along an axis: a copy of each, or of many small ones one kernel and tables from the host."""
    arrays = list(arrays)
    for x in arrays:
        _check_array(x)
    hosts = [x.host for x in arrays]
    # Of arrays without elements along the axis, NumPy checks the other axes without a copy.
    rest = np.concatenate([np.take(x, [], axis) for x in hosts], axis).shape
    at, sizes = axis % len(rest), [x.shape[axis] for x in hosts]
    out = empty((*rest[:at], sum(sizes), *rest[at + 1 :]), np.result_type(*hosts))
    one_type = all(x.dtype == out.host.dtype for x in hosts)
    if len(arrays) > _FEW and one_type and out.host.nbytes < _SMALL * len(arrays):
        upload(np.zeros(len(arrays), np.int64))
        if len(set(sizes)) > 1 or not all(x.flags.c_contiguous for x in hosts):
            upload(np.zeros(len(arrays), np.int64))
            upload(np.zeros((len(arrays), len(rest)), np.int64))
        return made("concatenate", lambda: np.concatenate(hosts, axis), arrays, out, kind="copy")
    for x, part in zip(arrays, np.split(out.host, np.cumsum(sizes)[:-1], axis), strict=True):
        _copy_to(view(out, part), x)
    return out


def _copy_to(part: DeviceArray, x: DeviceArray) -> None:
    to, source = part.host, x.host
    launch("copy", lambda: np.copyto(to, source), [x], [part], kind="copy")


def stack(arrays: Iterable[DeviceArray], axis: int) -> DeviceArray:
    """Return arrays joined along a new axis."""
    return concatenate([expand_dims(x, axis) for x in arrays], axis)


def copyto(x: DeviceArray, value: Any) -> None:
    """Write an array or a number, which broadcasts, to x."""
    if not isinstance(value, DeviceArray):
        if isinstance(value, np.ndarray) and value.size != 1:
            raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
        filled(x, np.asarray(value).item())
        return
    if not np.can_cast(value.host.dtype, x.host.dtype, "same_kind"):
        raise TypeError(f"Cannot cast {value.host.dtype} to {x.host.dtype} in same_kind casting mode")
    np.broadcast_to(value.host, x.host.shape)
    _copy_to(x, value)


def uninitialized(shape: Any, dtype: Any = float) -> DeviceArray:
    """Return memory in which every byte is 0xFF, NaN as a float."""
    out = empty(shape, dtype)
    execute(partial(out.host.reshape(-1).view(np.uint8).fill, POISON), [out])
    return out


def zeros(shape: Any, dtype: Any = float) -> DeviceArray:
    """Return zeros."""
    return filled(empty(shape, dtype), 0)


def zeros_like(x: DeviceArray) -> DeviceArray:
    """Return zeros of the shape and type of x."""
    _check_array(x)
    return zeros(x.host.shape, x.host.dtype)


def ones(shape: Any, dtype: Any = float) -> DeviceArray:
    """Return ones."""
    return filled(empty(shape, dtype), 1)


METHODS: dict[str, Callable[..., Any]] = {
    "astype": astype,
    "copy": copy,
    "ravel": ravel,
    "reshape": reshape,
    "swapaxes": _view_of("swapaxes"),
    "transpose": _view_of("transpose"),
    "view": _view_of("view"),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "asarray": asarray,
    "ascontiguousarray": ascontiguousarray,
    "asnumpy": asnumpy,
    "broadcast_to": broadcast_to,
    "concatenate": concatenate,
    "copyto": copyto,
    "empty": uninitialized,
    "expand_dims": expand_dims,
    "from_dlpack": lambda x: x.__dlpack__(stream=None),
    "ones": ones,
    "stack": stack,
    "zeros": zeros,
    "zeros_like": zeros_like,
}
