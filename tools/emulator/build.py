"""Compilation of the CUDA sources and of the emulator by the host's C++ compiler, with a cache on disk.

The kernels are compiled with -fsanitize=thread and linked without the sanitizer: the calls that it puts before every
access to memory go to compiler_calls.cpp instead.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from tools.nvrtc import missing

_HERE = Path(__file__).parent
_PARTS = ("threads.cpp", "memory.cpp", "compiler_calls.cpp", "counts.cpp", "loops.cpp")
_HEADERS = tuple(sorted(file.name for file in _HERE.glob("*.h")))

# _longjmp leaves one stack for another, which a fortified one takes for an attack.
_FLAGS = ("-std=c++17", "-fPIC", "-U_FORTIFY_SOURCE", f"-I{_HERE}")
_RUNTIME = (*_FLAGS, "-O2", "-Wall", "-Wextra", "-fno-exceptions")
_KERNELS = (
    *(*_FLAGS, "-O1", "-w", "-fsanitize=thread", "-ffp-contract=off", "-fno-exceptions", "-fvisibility=hidden"),
    "-fno-strict-aliasing",
    # What a shift or a division does then differs between CPU and GPU.
    "-fsanitize=shift-exponent,integer-divide-by-zero",
    # Of vectors of 32 bytes and more nothing is announced.
    *("-fno-tree-vectorize", "-fno-tree-slp-vectorize"),
)
_COUNTED = ("-fsanitize-coverage=trace-pc",)
# Every declaration of dynamic shared memory is made to name the same array.
_DYNAMIC_SHARED = re.compile(
    r"\bextern\b((?:[^;()\[\]{}]|\(\d+\))*)\b__shared__\b([^;\[\]{}]*\b(\w+)\s*\[\s*\][^;{}]*;)"
)

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BOUNDS = re.compile(r"__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)")
_KERNEL = re.compile(r"__global__\s+void\s+(\w+)\s*\(([^)]*)\)")
_LINK = ("-shared", "-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-shared",)


@cache
def _compiler() -> tuple[str, ...]:
    """Return the command of a C++ compiler, with what it has to be told to announce every read."""
    found = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if found is None or os.name != "posix":
        missing("no C++ compiler (c++, g++, clang++) to emulate CUDA with")
    version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    return (found, "-mllvm", "-tsan-instrument-read-before-write=1") if "clang" in version else (found,)


def _built(sources: Sequence[tuple[str, str]], flags: Sequence[str]) -> Path:
    """Return a library of sources (name, text), from the temporary folder where it was built before."""
    compiler = _compiler()
    headers = [(_HERE / name).read_text("utf-8") for name in _HEADERS]
    key = hashlib.sha256("\0".join((*compiler, *flags, *headers, *(text for _, text in sources))).encode())
    folder = Path(tempfile.gettempdir()) / f"cuslayer-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{key.hexdigest()[:32]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            objects = []
            for name, text in sources:
                code = Path(work, name)
                code.write_text(text, "utf-8")
                objects.append(code.with_suffix(".o"))
                _call(*compiler, *flags, "-c", code, "-o", objects[-1])
            made = Path(work, "made.so")
            _call(compiler[0], *_LINK, *objects, "-o", made)
            made.replace(library)
    return library


def _call(*command: str | Path) -> None:
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode:
        raise RuntimeError(f"{command[0]} refuses the kernels:\n{outcome.stderr}")


@cache
def runtime() -> ctypes.CDLL:
    """Return the emulator's own library, in which the kernels' libraries find what they call."""
    library = _built([(name, (_HERE / name).read_text("utf-8")) for name in _PARTS], _RUNTIME)
    return ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


@cache
def _kernels(text: str, counting: bool) -> ctypes.CDLL:
    runtime()
    return ctypes.CDLL(str(_built([("kernels.cpp", text)], _KERNELS + _COUNTED * counting)))


def signatures(text: str) -> dict[str, list[str]]:
    """Return the names of the parameters of each kernel in a source."""
    found = _KERNEL.findall(_BOUNDS.sub("", _COMMENT.sub("", text)))
    return {name: re.findall(r"(\w+)\s*(?:,|$)", parameters.replace("void", "")) for name, parameters in found}


def kernels(text: str, names: Iterable[str], counting: bool) -> ctypes.CDLL:
    """Return a CUDA source as a library, which says what blocks of code it runs if its accesses are to be counted.

    It has a function launch_NAME for each kernel, and two arrays with an element for each parameter: constant_NAME,
    whether it is a pointer to const, and sizes_NAME, its bytes.
    """
    arrays = sorted({name for *_, name in _DYNAMIC_SHARED.findall(text)})
    dynamic = "".join(f"EMULATOR_DYNAMIC({name})\n" for name in arrays)
    text = _DYNAMIC_SHARED.sub(r"extern\1\2", text)
    exported = 'extern "C" __attribute__((visibility("default")))'
    doors = "".join(
        f"{exported} emulator::Outcome launch_{name}(emulator::Launch &launch)"
        f" {{ return emulator::Kernel<{name}>::run(launch); }}\n"
        f"{exported} const auto &constant_{name} = emulator::Kernel<{name}>::constant;\n"
        f"{exported} const auto &sizes_{name} = emulator::Kernel<{name}>::sizes;\n"
        for name in names
    )
    return _kernels(f'#include "emulator.h"\n#line 1 "kernels.cu"\n{text}\n{dynamic}{doors}', counting)


@cache
def variables(library: str) -> tuple[Sequence[int], Sequence[int]]:
    """Return the offsets and the sizes of the variables of a library, shared memory among them; none without `nm`."""
    nm = shutil.which("nm")
    listed = subprocess.run([nm, "-S", library], capture_output=True, text=True).stdout if nm else ""
    found = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [bBdDuVvW] ", listed, re.MULTILINE)
    return tuple(int(offset, 16) for offset, _ in found), tuple(int(size, 16) for _, size in found)
