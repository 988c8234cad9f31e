"""The ground: which device computes, where arrays live, and the one source of randomness.

The only module that imports CuPy, and it does so no sooner than a driver is found: on a machine without one, CuPy
need not even be installed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from cuslayer import check

# NumPy's array or CuPy's: the two are used through the interface that they share.
Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_asked = os.environ.get("CUSLAYER_DEVICE", "auto")
_generator = np.random.default_rng()


@cache
def _driver_problem() -> str | None:
    """Return why CUDA cannot be used here, or None where it can."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return f"no CUDA driver ({library}) on this machine"
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as problem:  # a broken installation of CuPy raises whatever its libraries raise
        return f"CuPy cannot be used ({type(problem).__name__}: {str(problem).splitlines()[0]})"
    return None if count else "the CUDA driver finds no device"


def cupy() -> Any:
    """Return the module cupy.

    Raises:
        ValueError: this machine has no CUDA driver, or no CuPy that works.
    """
    problem = _driver_problem()
    if problem:
        raise ValueError(f"device: cuda is out of reach: {problem}")
    import cupy

    return cupy


def use(device: str) -> None:
    """Choose where arrays live and operations run from now on.

    Args:
        device: "cpu", "cuda", or "auto" (cuda where a driver is found).

    Raises:
        ValueError: the word is unknown, or cuda is asked for and out of reach.

    >>> use("cpu")
    >>> device()
    'cpu'
    """
    global _asked
    check.one_of("use", "device", device, ("auto", "cpu", "cuda"))
    if device == "cuda":
        cupy()
    _asked = device


def device() -> str:
    """Return where operations run: "cpu" or "cuda".

    Raises:
        ValueError: the variable CUSLAYER_DEVICE asks for a device that is unknown or out of reach.
    """
    check.one_of("device", "CUSLAYER_DEVICE", _asked, ("auto", "cpu", "cuda"))
    if _asked == "auto":
        return "cpu" if _driver_problem() else "cuda"
    if _asked == "cuda":
        cupy()
    return _asked


def device_name() -> str:
    """Return the name of the device in use, for a person to read."""
    if device() == "cuda":
        properties = cupy().cuda.runtime.getDeviceProperties(cupy().cuda.Device().id)
        return f"cuda ({properties['name'].decode()})"
    return f"cpu ({cores()} cores)"


def cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def namespace(x: Any) -> Any:
    """Return the module that x belongs to, numpy or cupy, as `cupy.get_array_module` does."""
    loaded = sys.modules.get("cupy")
    return loaded if loaded is not None and isinstance(x, loaded.ndarray) else np


def to_device(x: Any) -> Array:
    """Return x as a C-contiguous array on the device in use, copied only where it has to be."""
    if device() == "cuda":
        return cupy().asarray(x, order="C")
    return np.asarray(to_numpy(x), order="C")


def to_numpy(x: Any) -> Array:
    """Return x as a NumPy array, copied only where it lives on the GPU."""
    if isinstance(x, np.ndarray):
        return x
    module = namespace(x)
    return np.asarray(x) if module is np else module.asnumpy(x)


def seed(value: int) -> None:
    """Restart the one generator that weights, dropout and shuffling draw from.

    The generator runs on the CPU, so that a seed gives the same weights on every device.

    Args:
        value: any integer from 0.

    Raises:
        TypeError: value is no integer.
        ValueError: value is negative.

    >>> seed(0); first = generator().random()
    >>> seed(0); first == generator().random()
    True
    """
    global _generator
    _generator = np.random.default_rng(check.integer("seed", "value", value, least=0))


def generator() -> np.random.Generator:
    """Return the generator that everything random draws from."""
    return _generator
