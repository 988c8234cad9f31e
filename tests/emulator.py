"""The CUDA kernels on a CPU: the unmodified text, compiled by the host's C++ compiler, over the real grid and blocks.

It stands in for CuPy as the driver of `kernels.source`, so that NumPy arrays take the whole way through `kernels.gpu`:
the launchers, the binder, the index arithmetic of every thread. Threads run to their end one after another, which
is right only because these kernels have no barriers. What it cannot show is what the hardware adds: races,
alignment, and the rounding of CUDA's own exp.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvrtc import missing

from cuslayer import kernels
from cuslayer.kernels import gpu, source

_FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w")


@cache
def _compiler() -> str | None:
    return next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)


@cache
def _compiled(text: str) -> ctypes.CDLL:
    """Return a source as a library, from the temporary folder where the same text was compiled before."""
    compiler = _compiler()
    if compiler is None:
        missing("no C++ compiler (c++, g++, clang++) to emulate CUDA with")
    key = hashlib.sha256("\0".join((compiler, *_FLAGS, text)).encode()).hexdigest()[:32]
    folder = Path(tempfile.gettempdir()) / f"cuslayer-emulator-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            code, made = Path(work, "kernels.cpp"), Path(work, "kernels.so")
            code.write_text(text, "utf-8")
            outcome = subprocess.run([compiler, *_FLAGS, code, "-o", made], capture_output=True, text=True)
            if outcome.returncode:
                raise RuntimeError(f"{compiler} refuses the kernels:\n{outcome.stderr}")
            made.replace(library)
    return ctypes.CDLL(str(library))


class Emulator:
    """A driver for `source.Library` that runs kernels on NumPy arrays."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.launches: list[str] = []

    def array_type(self) -> type:
        return np.ndarray

    def device(self) -> int:
        return 0

    def device_of(self, x: Any) -> int:
        return 0

    def build(self, text: str, names: Iterable[str]) -> Mapping[str, source.Launch]:
        names = list(names)
        header = Path(__file__).with_name("emulator.h").read_text("utf-8")
        doors = "".join(
            f'extern "C" void launch_{name}(unsigned grid, unsigned block, void **arguments)'
            f" {{ emulator::launch({name}, grid, block, arguments); }}\n"
            for name in names
        )
        library = _compiled(f"{header}{text}{doors}")
        self.built.append(text)
        return {name: self._launcher(name, library[f"launch_{name}"]) for name in names}

    def _launcher(self, name: str, door: Any) -> source.Launch:
        door.restype = None
        door.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)]

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            # A pointer is passed by the address of a cell that holds it, a number by the address of its bytes.
            cells = [
                np.array(argument.ctypes.data, np.uintp) if isinstance(argument, np.ndarray) else np.array(argument)
                for argument in arguments
            ]
            addresses = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            self.launches.append(name)
            door(*grid, *block, addresses)

        return launch


class _Poisoned:
    """NumPy, but for `empty`, whose every byte is 0xFF: NaN as a float, and neither True nor False."""

    @staticmethod
    def empty(shape: Any, dtype: Any) -> Any:
        out = np.empty(shape, dtype)
        out.reshape(-1).view(np.uint8)[:] = 0xFF
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@contextmanager
def emulation() -> Iterator[Emulator]:
    """Send NumPy arrays through `kernels.gpu` and its CUDA sources, everywhere in cuslayer."""
    emulator = Emulator()
    poisoned = _Poisoned()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "library", source.Library(emulator))
        patch.setattr(gpu, "namespace", lambda _: poisoned)
        patch.setattr(kernels, "of", lambda _: gpu)
        yield emulator


@pytest.fixture
def emulated() -> Iterator[Emulator]:
    """The test runs on emulated CUDA; the fixture's `launches` names the kernels that ran."""
    with emulation() as emulator:
        yield emulator
