"""Kernels: loops over plain arrays, twice, for the CPU (Numba) and for CUDA, under the same names.

`of(x)` returns the twin that fits an array, as `cupy.get_array_module` returns the module. Numba and the CUDA
sources are loaded by the first call that needs them, so that importing cuslayer stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cuslayer.backend import namespace


def of(x: Any) -> Any:
    """Return the twin of the kernels that works on arrays like x: `kernels.cpu` or `kernels.gpu`."""
    return import_module("cuslayer.kernels.cpu" if namespace(x).__name__ == "numpy" else "cuslayer.kernels.gpu")
