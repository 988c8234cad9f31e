"""Kernels of a few lines, for the emulator's own tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tools.emulator.driver import EmulationError, Emulator

SINGLE = np.float32
# Threads of a block, unless said otherwise.
N = 64
THREAD = "const long long i = blockIdx.x * blockDim.x + threadIdx.x;\n"


def kernel(parameters: str, body: str, above: str = "", emulator: Emulator | None = None) -> Callable[..., None]:
    """Return a kernel named k, launched by its arguments and, if need be, a grid and a block."""
    text = f'typedef float real;\n#line 1\n{above}extern "C" __global__ void k({parameters})\n{{\n{body}\n}}'
    launch: Any = (emulator or Emulator()).build(text, ["k"])["k"]

    def run(
        *arguments: Any, grid: Any = 1, block: Any = N, shared_mem: int = 0, most_dynamic: int | None = None
    ) -> None:
        if most_dynamic is not None:
            launch.max_dynamic_shared_size_bytes = most_dynamic
        sizes = (size if isinstance(size, tuple) else (size,) for size in (grid, block))
        launch(*sizes, tuple(np.int64(x) if isinstance(x, int) else x for x in arguments), shared_mem=shared_mem)

    return run


def refused(message: str) -> Any:
    """Expect an error with this message, and behind it the instruction in parentheses, where it names one."""
    return pytest.raises(EmulationError, match=rf"^k: {message}( \(.*\))?$")


def numbers(size: int = N) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(size).astype(SINGLE)


def zeros(size: int = N) -> np.ndarray[Any, Any]:
    return np.zeros(size, np.int64)
