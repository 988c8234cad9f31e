"""Devices, arrays, the random generator, and deferred signals.

This is the only module that imports CuPy, after it has found a CUDA driver. A CPU needs no CuPy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from types import FrameType, ModuleType
from typing import Any, Generic, TypeAlias, TypeVar, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.device_random import DeviceRandom
from cuslayer._base.threads import thread_count

# A NumPy or CuPy array, used through their common interface.
DType: TypeAlias = "np.dtype[Any]"
Array: TypeAlias = "np.ndarray[Any, DType]"

_DEVICES = ("auto", "cpu", "cuda")
# First letters of other words for a GPU, in lower case.
_GPU_WORDS = ("gpu", "nvidia", "cuda", "cupy", "geforce", "rtx", "tesla")

_device = os.environ.get("CUSLAYER_DEVICE", "auto")
_generator = np.random.default_rng()
_device_random = DeviceRandom()

# Doubles each element of an array with one block.
_TRIAL = 'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }'
_INSTALL = "pip install 'cuslayer[cuda12]', or 'cuslayer[cuda13]' for CUDA 13"


@cache
def _driver_problem() -> str | None:
    """Return why CUDA cannot be used on this machine, or None if it can."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return f"no CUDA driver ({library}) on this machine"
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except ModuleNotFoundError as problem:
        if problem.name == "cupy":
            return f"CuPy is not installed: {_INSTALL}"
        return duplicate_cupy() or f"CuPy cannot be used ({_reason(problem)})"
    except Exception as problem:  # a broken CuPy installation raises any error of its libraries
        return duplicate_cupy() or f"CuPy cannot be used ({_reason(problem)})"
    if not count:
        return "the CUDA driver finds no device"
    failure = _trial(cupy)
    return failure and (duplicate_cupy() or failure)


def _trial(cupy: ModuleType) -> str | None:
    """Return which test fails on the device, compiling and running a kernel or a matrix product; None if both work."""
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    what = "a kernel cannot be compiled and run"
    try:
        there = cupy.asarray(x)
        cupy.RawModule(code=_TRIAL).get_function("twice")((1,), (x.size,), (there,))
        if not np.array_equal(cupy.asnumpy(there), 2 * x):
            return "a kernel that was compiled computes wrong results"
        what = "matrices cannot be multiplied"
        product = cupy.asnumpy(there @ there)
    except Exception as problem:  # as above
        return f"{what} ({_reason(problem)})"
    return None if np.array_equal(product, 4 * x @ x) else "the product of two matrices is wrong"


def _reason(problem: Exception) -> str:
    """Return the type of an error and the first nonempty line of its message."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return ": ".join([type(problem).__name__, *lines[:1]])


def duplicate_cupy() -> str | None:
    """Return a line that names the CuPy packages and what to do, if more than one is installed; else None.

    They share one folder, where each replaces files of the other.
    """
    from importlib import metadata  # slow, and not needed if CuPy works

    names = {found.metadata["Name"] or "" for found in metadata.distributions()}
    packages = sorted(name for name in names if name == "cupy" or name.startswith(("cupy-cuda", "cupy-rocm")))
    if len(packages) < 2:
        return None
    return (
        f"{' and '.join(packages)} are in one folder and replace each other's files: "
        f"pip uninstall {' '.join(packages)}, then {_INSTALL}"
    )


@check.operation("device")
def cupy() -> ModuleType:
    """Return the module cupy.

    Raises:
        ValueError: this machine has no CUDA driver, no CuPy, or a CuPy that does not work.
    """
    problem = _driver_problem()
    if problem:
        raise ValueError(f"cuda is out of reach: {problem}")
    import cupy

    return cupy


@check.operation
def use(device: str) -> None:
    """Set the device of new arrays and of operations.

    Args:
        device: "cpu", "cuda", or "auto": cuda if it can compile a kernel and multiply two matrices.

    Raises:
        ValueError: the name is unknown, or cuda is not available.

    >>> use("cpu")
    >>> device()
    'cpu'
    """
    global _device
    _check_device("device", device)
    if device == "cuda":
        cupy()
    _device = device


def _check_device(name: str, device: object) -> None:
    """Raise ValueError unless device is a known word; the error for other words for a GPU suggests "cuda"."""
    word = device.lower() if isinstance(device, str) else ""
    if device not in _DEVICES and word.startswith(_GPU_WORDS):
        number = "; the variable CUDA_VISIBLE_DEVICES chooses one of several GPUs" if word[-1].isdigit() else ""
        known = ", ".join(_DEVICES)
        raise ValueError(f"{name} must be one of {known}, got {device!r}; a GPU of NVIDIA is 'cuda'{number}")
    check.one_of(name, device, _DEVICES)


@check.operation
def device() -> str:
    """Return the device in use: "cpu" or "cuda".

    Raises:
        ValueError: the variable CUSLAYER_DEVICE names an unknown or unavailable device.
    """
    _check_device("CUSLAYER_DEVICE", _device)
    if _device == "auto":
        return "cpu" if _driver_problem() else "cuda"
    if _device == "cuda":
        cupy()
    return _device


def device_name() -> str:
    """Return the name of the device in use for display."""
    if device() == "cuda":
        properties = cupy().cuda.runtime.getDeviceProperties(cupy().cuda.Device().id)
        return f"cuda ({properties['name'].decode()})"
    count = thread_count()
    return f"cpu ({count} thread{'s' if count > 1 else ''})"


def free_memory() -> int:
    """Return the bytes of GPU memory that are free or unused in CuPy's pool."""
    module = cupy()
    return int(module.cuda.runtime.memGetInfo()[0]) + int(module.get_default_memory_pool().free_bytes())


def use_card(number: int) -> None:
    """Use one of several GPUs, its number modulo their count, if a GPU is the device in use."""
    if device() == "cuda":
        cuda = cupy().cuda
        cuda.Device(number % cuda.runtime.getDeviceCount()).use()


def card() -> str | None:
    """Return the location of the GPU in use, unique among all GPUs of all machines; None without NCCL."""
    cuda = cupy().cuda
    if not getattr(getattr(cuda, "nccl", None), "available", False):
        return None
    return f"{socket.gethostname()} {cuda.runtime.deviceGetPCIBusId(cuda.Device().id)}"


def process_group(size: int, rank: int) -> tuple[Any, ModuleType]:
    """Return a communicator of `cupyx.distributed` for the processes of mpiexec, and CuPy's NCCL."""
    from cupyx.distributed import init_process_group

    return init_process_group(size, rank, use_mpi=True), cupy().cuda.nccl


def namespace(x: object) -> ModuleType:
    """Return the module of the array x, numpy or cupy; see `cupy.get_array_module`."""
    loaded = sys.modules.get("cupy")
    return loaded if loaded is not None and isinstance(x, loaded.ndarray) else np


def to_device(x: object) -> Array:
    """Return x as a C-contiguous array on the device in use, copied only if necessary."""
    if device() == "cuda":
        if namespace(x) is np:
            check_upload()
        return cupy().asarray(x, order="C")
    return np.asarray(to_numpy(x), order="C")


def sent_once(constants: Array, beside: Array) -> Array:
    """Return constants of the host on the device of another array; equal constants are sent there once."""
    module = namespace(beside)
    if module is np:
        return constants
    content = constants.tobytes(), constants.dtype, constants.shape
    return _sent(*content, module, module.cuda.Device().id)


# Never dropped: a captured graph reads them at their addresses as long as it lives.
@cache
def _sent(
    content: bytes, dtype: np.dtype[np.generic], shape: tuple[int, ...], module: ModuleType, device: int
) -> Array:
    check_upload()
    return cast("Array", module.asarray(np.frombuffer(content, dtype).reshape(shape)))


def to_numpy(x: object) -> Array:
    """Return x as a NumPy array, copied only from a GPU; all arrays from users pass through this function."""
    if type(x) is np.ndarray:
        return x
    check.unmasked(x)
    if isinstance(x, np.ndarray):
        return np.asarray(x) if isinstance(x, np.ma.MaskedArray) else x
    module = namespace(x)
    return np.asarray(x) if module is np else module.asnumpy(x)


def numeric(x: Array) -> Array:
    """Return x with spikes counted as 1.0, in float32."""
    return x.astype(numeric_type(x.dtype), copy=False)


def numeric_type(dtype: np.dtype[np.generic]) -> DType:
    """Return the numeric type for a type, float32 for spikes."""
    return np.dtype(np.float32) if dtype.kind == "b" else dtype


def contiguous(x: Array) -> Array:
    """Return x as a C-contiguous array with the same axes, copied only if necessary."""
    xp = namespace(x)
    return xp.ascontiguousarray(x) if x.ndim else xp.asarray(x)


@check.operation
def seed(value: int) -> None:
    """Seed the random generator of weights, dropout and shuffling.

    The generator runs on the CPU, so that a seed gives the same weights on every device. For dropout, a GPU draws
    neurons itself, with a key from this generator; see `random_state`.

    Args:
        value: an integer of at least 0.

    Raises:
        TypeError: value is not an integer.
        ValueError: value is negative.

    >>> seed(0); first = generator().random()
    >>> seed(0); first == generator().random()
    True
    """
    global _generator
    _generator = np.random.default_rng(check.integer("value", value, least=0))
    _device_random.restart()


def generator() -> np.random.Generator:
    """Return the library's random generator."""
    return _generator


def random_state(beside: Array) -> Array:
    """Return the state of a GPU's generator, (2,) int64 on the device: a key, and the number of the next draw.

    The first use after `seed` draws the key from the library's generator. A kernel that draws advances the number. It
    is a RuntimeError if a CUDA graph is being captured and the state is not yet on the device.
    """
    module = namespace(beside)
    # Tests run kernels on NumPy arrays.
    number, allow = (0, lambda: None) if module is np else (module.cuda.Device().id, check_upload)
    return _device_random.array(module, number, lambda: int(_generator.integers(2**63)), allow)


def device_draws() -> int:
    """Return the number of launched or captured draws on a GPU."""
    return _device_random.uses


def generator_state() -> dict[str, object]:
    """Return the state of the random generator and, under "device", of a GPU's generator if it has been used."""
    state, on_device = dict(_generator.bit_generator.state), _device_random.state(to_numpy)
    return state if on_device is None else state | {"device": list(on_device)}


@check.operation
def load_generator_state(state: Mapping[str, Any]) -> None:
    """Continue with a state from `generator_state`.

    Raises:
        ValueError: the state belongs to another kind of generator. Nothing then changes.
    """
    on_device = state.get("device")
    if on_device is not None and not (len(on_device) == 2 and all(type(number) is int for number in on_device)):
        raise ValueError(f"device must be a key and a number, got {on_device!r}")
    _generator.bit_generator.state = {name: value for name, value in state.items() if name != "device"}
    _device_random.restart(on_device and tuple(on_device))


@contextmanager
def preserved_generator() -> Iterator[None]:
    """Restore the random generators of the library and of a GPU after the block."""
    state = _generator.bit_generator.state
    try:
        with _device_random.preserved():
            yield
    finally:
        _generator.bit_generator.state = state


@contextmanager
def derived_generator(*key: int) -> Iterator[None]:
    """Within the block, draw from a generator that nonnegative integers determine, not from the library's.

    >>> with derived_generator(5, 1): first = generator().random()
    >>> with derived_generator(5, 1): first == generator().random()
    True
    """
    global _generator
    before, _generator = _generator, np.random.default_rng(key)
    try:
        with _device_random.preserved():
            _device_random.restart()
            yield
    finally:
        _generator = before


T = TypeVar("T")


class Setting(Generic[T]):
    """A thread-local value that a ``with`` block changes; `default` is the value outside any block.

    >>> level = Setting(0)
    >>> with level.set(2):
    ...     level.get()
    2
    >>> level.get()
    0
    """

    def __init__(self, default: T) -> None:
        self._default, self._local = default, threading.local()

    def get(self) -> T:
        """Return the current value."""
        value: T = getattr(self._local, "value", self._default)
        return value

    @contextmanager
    def set(self, value: T) -> Iterator[None]:
        """Set the value within the block; blocks nest."""
        before = self.get()
        self._local.value = value
        try:
            yield
        finally:
            self._local.value = before


_capturing = Setting(False)


def capture() -> AbstractContextManager[None]:
    """Within the block and this thread, refuse to send arrays to a GPU: a graph would send the same at each run."""
    return _capturing.set(True)


def capturing() -> bool:
    """Return whether a CUDA graph is being captured, in this thread."""
    return _capturing.get()


def check_upload() -> None:
    """Raise RuntimeError if a CUDA graph is being captured."""
    if _capturing.get():
        raise RuntimeError("capture: a captured step cannot send an array of the host to the GPU")


# Signals that end a program, such as from Ctrl-C.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class DeferredCheck:
    """The received signal.

    Attributes:
        number: its number; None if there was none.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self) -> bool:
        """Return whether a signal was received."""
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """The exit code of a program that a signal ended; 0 without a signal."""
        return 0 if self.number is None else 128 + self.number


@contextmanager
def deferred() -> Iterator[DeferredCheck]:
    """Note the first signal within the block instead of ending; a second signal has its usual effect.

    Ignored signals stay ignored. Outside the main thread, nothing changes: no signals arrive there.
    """
    found = DeferredCheck()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    # Python did not set a handler that is None, and could not restore it.
    kept = None, signal.SIG_IGN
    before: dict[int, Any] = {n: handler for n in _SIGNALS if (handler := signal.getsignal(n)) not in kept}

    def note(number: int, frame: FrameType | None) -> None:
        if found.number is None:
            found.number = number
            return
        signal.signal(number, before[number])
        signal.raise_signal(number)

    for number in before:
        signal.signal(number, note)
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay the effect of signals within the block, such as an interrupt, until its end."""
    noted = DeferredCheck()
    try:
        with deferred() as noted:
            yield
    finally:
        if noted.number is not None:
            signal.raise_signal(noted.number)
