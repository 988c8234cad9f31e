"""A replacement for CuPy on machines without a GPU: device arrays that NumPy cannot access, and emulated kernels.

It rejects what CuPy rejects and more: an operation on a device array and a NumPy array, a function of NumPy on a device
array, a function not listed below. A stream can be captured as in CUDA: operations are recorded instead of executed,
transfers from and to the device and cuBLAS are rejected as in CuPy, and a launch of the graph executes all of it in the
same memory. It does not reproduce the rounding, the order and the times of the hardware.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from tests.support.emulator.driver import Emulator

METADATA = ("dtype", "flags", "itemsize", "nbytes", "ndim", "shape", "size", "strides")
METHODS = (
    *("all", "any", "argmax", "argmin", "astype", "clip", "copy", "cumsum"),
    *("max", "min", "ravel", "reshape", "sum", "swapaxes", "transpose", "view"),
)
FUNCTIONS = (
    *("ascontiguousarray", "broadcast_to", "exp", "expand_dims", "log", "maximum", "minimum", "ones", "rint", "sign"),
    *("sqrt", "tanh", "trunc", "where", "zeros", "zeros_like"),
)
BINARY = ("add", "sub", "mul", "truediv", "pow", "and", "or", "eq", "ne", "lt", "le", "gt", "ge")

# The operations recorded by a capture; None outside of a capture.
_notes: list[Callable[[], None]] | None = None


class DeviceArray:
    """An array on the device; `host` holds its data and is used in this file only."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self.host = host

    def __getattr__(self, name: str) -> Any:
        if name in METADATA:
            return getattr(self.host, name)
        if name in METHODS:
            return partial(_run, getattr(np.ndarray, name), self)
        raise AttributeError(f"DeviceArray has no {name}")

    @property
    def T(self) -> DeviceArray:
        return DeviceArray(self.host.T)

    @property
    def data(self) -> SimpleNamespace:
        return SimpleNamespace(device_id=0)

    @property
    def base(self) -> DeviceArray | None:
        return None if self.host.base is None else DeviceArray(self.host.base)

    def __len__(self) -> int:
        return len(self.host)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.host.ctypes.data, False), "version": 3}

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> DeviceArray:
        return self

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of an array on the device")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        # Called for `np.float32(2) * x`, as in CuPy.
        if method == "__call__" and not options and isinstance(inputs[0], np.generic):
            return _run(ufunc, *inputs)
        raise TypeError(f"numpy.{ufunc.__name__} of an array on the device")

    def __getitem__(self, index: Any) -> Any:
        return _run(lambda x: x[_at(index)], self)

    def __setitem__(self, index: Any, value: Any) -> None:
        _run(lambda x, y: x.__setitem__(_at(index), y), self, value, changes=True)

    def item(self) -> Any:
        return _read(self).item()

    def tolist(self) -> Any:
        return _read(self).tolist()

    def __bool__(self) -> bool:
        return bool(_read(self))

    def __float__(self) -> float:
        return float(_read(self))

    def __int__(self) -> int:
        return int(_read(self))


def _operator(name: str, changes: bool = False) -> Callable[..., Any]:
    def run(self: DeviceArray, *others: Any) -> Any:
        if not changes and any(_has_operators(x) for x in others):
            return NotImplemented
        return _run(getattr(np.ndarray, name), self, *others, changes=changes)

    return run


def _has_operators(x: Any) -> bool:
    """Return whether CuPy leaves an operator to x: `__array_ufunc__` of the instance is None."""
    return getattr(x, "__array_ufunc__", ...) is None


for _name in BINARY:
    setattr(DeviceArray, f"__{_name}__", _operator(f"__{_name}__"))
for _name in BINARY[:4]:
    setattr(DeviceArray, f"__r{_name}__", _operator(f"__r{_name}__"))
    setattr(DeviceArray, f"__i{_name}__", _operator(f"__i{_name}__", changes=True))
for _name in ("neg", "abs", "invert"):
    setattr(DeviceArray, f"__{_name}__", _operator(f"__{_name}__"))


def _matmul(a: Any, b: Any) -> Any:
    if _has_operators(b):
        return NotImplemented
    if _notes is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
    return _run(np.matmul, a, b)


DeviceArray.__matmul__ = _matmul  # type: ignore[attr-defined]


def _inside(x: Any) -> Any:
    if isinstance(x, DeviceArray):
        return x.host
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return x


def _at(index: Any) -> Any:
    """Return an index of the host array; it may contain a NumPy array, which CuPy transfers to the device."""
    if isinstance(index, tuple):
        return tuple(map(_at, index))
    if isinstance(index, np.ndarray):
        _transfer()
    return index.host if isinstance(index, DeviceArray) else index


def _transfer() -> None:
    if _notes is not None:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


def _read(x: DeviceArray) -> np.ndarray[Any, Any]:
    _transfer()
    return x.host


def _run(work: Callable[..., Any], *arguments: Any, changes: bool = False, **options: Any) -> Any:
    """Execute work on device arrays and numbers, or record it during a capture."""
    hosts = [_inside(argument) for argument in arguments]
    if _notes is not None and changes:
        _notes.append(lambda: work(*hosts, **options))
        return arguments[0]
    with np.errstate(all="ignore" if _notes is not None else "warn"):
        made = work(*hosts, **options)
    if changes:
        return arguments[0]
    if made is NotImplemented:
        return made
    for argument in arguments:
        if isinstance(argument, DeviceArray) and argument.host is made:
            return argument
    out = np.asarray(made)
    if _notes is not None and not any(np.may_share_memory(out, host) for host in hosts if isinstance(host, np.ndarray)):
        _notes.append(lambda: np.copyto(out, work(*hosts, **options)))
    return DeviceArray(out)


class _RawModule:
    """A source compiled by the emulator."""

    def __init__(self, emulator: Emulator, code: str, options: tuple[str, ...]) -> None:
        self._launches = emulator.build(code, source.signatures(code))

    def get_function(self, name: str) -> source.Launch:
        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...], **options: Any) -> None:
            hosts = tuple(map(_inside, arguments))
            if _notes is None:
                self._launches[name](grid, block, hosts, **options)
            else:
                _notes.append(lambda: self._launches[name](grid, block, hosts, **options))

        return cast(source.Launch, launch)


class _Stream:
    def __init__(self, *, non_blocking: bool) -> None:
        self._captures = non_blocking

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        pass

    def begin_capture(self) -> None:
        if not self._captures:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        begin_capture()

    def end_capture(self) -> SimpleNamespace:
        return SimpleNamespace(launch=end_capture())

    def synchronize(self) -> None:
        _transfer()


class _Event:
    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        _transfer()


class _CuPy(ModuleType):
    """The module: only what the library may use."""

    ndarray = DeviceArray

    def __init__(self, emulator: Emulator) -> None:
        super().__init__("cupy")
        for name in FUNCTIONS:
            setattr(self, name, partial(_run, getattr(np, name)))
        self.concatenate = lambda arrays, axis: _run(lambda *x: np.concatenate(x, axis=axis), *arrays)
        self.stack = lambda arrays, axis: _run(lambda *x: np.stack(x, axis=axis), *arrays)
        self.einsum = partial(_run, np.einsum)
        self.from_dlpack = lambda x: x.__dlpack__(stream=None)
        self.copyto = partial(_run, np.copyto, changes=True)
        self.add = SimpleNamespace(
            at=lambda x, index, y: _run(lambda x, y: np.add.at(x, _at(index), y), x, y, changes=True)
        )
        self.RawModule = partial(_RawModule, emulator)
        about = {"name": b"stand-in", "l2CacheSize": 1000}
        runtime = SimpleNamespace(
            getDevice=lambda: 0,
            getDeviceProperties=lambda device: about,
            memGetInfo=lambda: (1 << 30, 2 << 30),
            runtimeGetVersion=lambda: 12000,
            driverGetVersion=lambda: 12000,
        )
        self.cuda = SimpleNamespace(
            runtime=runtime,
            Device=lambda: SimpleNamespace(
                id=0, synchronize=_transfer, attributes={"MaxSharedMemoryPerBlockOptin": 232_448}
            ),
            Stream=_Stream,
            Event=_Event,
            get_elapsed_time=lambda begin, end: 1e3 * (end.time - begin.time),
            MemoryPool=lambda: SimpleNamespace(malloc=None),
            using_allocator=lambda malloc: nullcontext(),
        )
        self.get_default_memory_pool = lambda: SimpleNamespace(free_bytes=lambda: 0)
        self.__version__ = "0"

    @staticmethod
    def empty(shape: Any, dtype: Any = float) -> DeviceArray:
        """Return uninitialized memory: here every byte is 0xFF, NaN as a float."""
        out = np.empty(shape, dtype)
        out.reshape(-1).view(np.uint8)[:] = 0xFF
        return DeviceArray(out)

    @staticmethod
    def asarray(x: Any, dtype: Any = None, order: Any = None) -> DeviceArray:
        if isinstance(x, DeviceArray):
            return _run(np.asarray, x, dtype=dtype, order=order)
        _transfer()
        return DeviceArray(np.array(x, dtype, order=order or "K"))

    @staticmethod
    def asnumpy(x: DeviceArray) -> np.ndarray[Any, Any]:
        return _read(x).copy()


def begin_capture() -> None:
    global _notes
    _notes = []


def end_capture() -> Callable[[], None]:
    """End the capture and return the launch of its graph."""
    global _notes
    notes, _notes = _notes, None

    def launch() -> None:
        for note in notes or []:
            note()

    return launch


@contextmanager
def strict() -> Iterator[Emulator]:
    """Replace CuPy and the device "cuda"; the emulator's `launches` lists the kernels that ran."""
    emulator = Emulator()
    cupy = _CuPy(emulator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", cupy)
        patch.setattr(backend, "cupy", lambda: cupy)
        patch.setattr(backend, "_driver_problem", lambda: None)
        patch.setattr(source, "library", source.Library(source.Cuda()))
        try:
            yield emulator
        finally:
            end_capture()
