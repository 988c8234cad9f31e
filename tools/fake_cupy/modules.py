"""Own kernels: compiled by the emulator, launched and counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.kernels.cuda import compile as source
from tools.emulator import build
from tools.emulator.driver import Emulator
from tools.fake_cupy import costs
from tools.fake_cupy.array import DeviceArray, check_devices, distinct_bytes, execute, record
from tools.fake_cupy.elementwise import operand
from tools.fake_cupy.state import state

# Bytes of dynamic shared memory that any kernel may have, and that one may have which asks for it, on an H100.
SHARED, MOST_SHARED = 48 << 10, 227 << 10
_MOST_THREADS, _MOST_BLOCKS = 1024, ((1 << 31) - 1, 65535, 65535)


class CUDADriverError(RuntimeError):
    """As cupy.cuda.driver.CUDADriverError."""


class RawModule:
    """A source, compiled at its first use.

    Attributes:
        options: the options of the compiler, with the one that CuPy adds.
    """

    def __init__(self, emulator: Emulator, *, code: str, options: tuple[str, ...] = ()) -> None:
        if not isinstance(code, str):
            raise TypeError(f"Argument 'code' has incorrect type (expected str, got {type(code).__name__})")
        if not isinstance(options, tuple):
            raise TypeError(f"Argument 'options' has incorrect type (expected tuple, got {type(options).__name__})")
        self.options = (*options, "-ftz=true")
        self._emulator, self._code = emulator, code
        self._kernels: dict[str, Any] | None = None

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel.

        Raises:
            CUDADriverError: the source has no kernel of this name.
        """
        if self._kernels is None:
            names = source.signatures(self._code)
            made = self._emulator.build if state().compute else lambda code, names, options: dict.fromkeys(names)
            self._kernels = dict(made(self._code, names, self.options))
        if name not in self._kernels:
            raise CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        return RawKernel(name, build.signatures(self._code)[name], self._kernels[name], self._emulator)


def is_struct(x: Any) -> bool:
    """Return whether an argument is a struct that is passed by value."""
    return isinstance(x, np.ndarray) and x.dtype.names is not None and x.shape == ()


def _arrays(argument: Any) -> list[DeviceArray]:
    """Return the arrays of an argument: one, those of a table, or none."""
    given = argument.arrays if isinstance(argument, source.Table) else [argument]
    return [x for x in given if isinstance(x, DeviceArray)]


def _of_host(argument: Any) -> Any:
    """Return an argument for the emulator."""
    if not isinstance(argument, source.Table):
        return argument if is_struct(argument) else operand(argument)
    found = argument.copy()
    found.arrays = [x.host if isinstance(x, DeviceArray) else None for x in argument.arrays]
    return found


class RawKernel:
    """A kernel that can be launched; `max_dynamic_shared_size_bytes` allows more shared memory, as in CuPy."""

    def __init__(self, name: str, constants: dict[str, bool], kernel: Any, emulator: Emulator) -> None:
        self.name = name
        self._constants, self._kernel, self._emulator = constants, kernel, emulator
        self._shared = SHARED

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if not 0 <= size <= MOST_SHARED:
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._shared = size
        if self._kernel is not None:
            self._kernel.max_dynamic_shared_size_bytes = size

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        """Launch the kernel.

        Raises:
            TypeError: an argument is neither an array on the device nor a number.
            ValueError: an array is on another device.
            CUDADriverError: a block has too many threads or too much shared memory, or there are too many blocks.
        """
        hosts = tuple(map(_of_host, args))
        arrays = [x for arg in args for x in _arrays(arg)]
        check_devices(arrays)
        threads = int(np.prod(block))
        fits = all(0 < n <= most for n, most in zip(grid, _MOST_BLOCKS, strict=False))
        if not (fits and 0 < threads <= _MOST_THREADS and 0 <= shared_mem <= self._shared):
            raise CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        read, written = self._bytes(args)
        record(costs.Operation(self.name, "own", read, written, grid=grid, block=block, shared=shared_mem))
        # The emulator notes its launches itself.
        if self._kernel is None:
            self._emulator.launches.append(self.name)
        options = {"shared_mem": shared_mem} if shared_mem else {}
        execute(lambda: self._kernel(grid, block, hosts, **options), arrays)

    def _bytes(self, args: tuple[Any, ...]) -> tuple[int, int]:
        """Return the bytes of the arrays that are read and of those that are written."""
        read, written, updated = dict[int, int](), dict[int, int](), costs.updated(self.name)
        for (name, constant), x in zip(self._constants.items(), args, strict=True):
            for array in _arrays(x):
                place, size = array.host.ctypes.data, distinct_bytes(array)
                if constant or name in updated:
                    read[place] = size
                if not constant:
                    written[place] = size
        return sum(read.values()), sum(written.values())
