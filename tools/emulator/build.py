"""Compilation: CUDA to PTX by NVRTC, PTX to C++ by ptx.py, C++ by the host's compiler, with caches on disk."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cuslayer._base.files import write_whole
from tools import nvrtc
from tools.emulator import ptx

_HERE = Path(__file__).parent
_PARTS = ("threads.cpp", "memory.cpp", "counts.cpp")
# What a translation depends on beside the PTX.
_TRANSLATOR = ("ptx.py", "machine.h")

# _longjmp leaves one stack for another, which a fortified one takes for an attack.
_FLAGS = ("-std=c++17", "-fPIC", "-U_FORTIFY_SOURCE", "-fno-exceptions", "-ffp-contract=off", f"-I{_HERE}")
_RUNTIME = (*_FLAGS, "-O2", "-Wall", "-Wextra")
_KERNEL = (*_FLAGS, "-w", "-fno-math-errno", "-fno-strict-aliasing", "-fwrapv")
# Of a long kernel the compiler takes longer to optimize the code than the tests to run it.
_LONG = 4000

# The oldest architecture that both releases of NVRTC know and that has all instructions of warps.
ARCHITECTURE = "compute_80"

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BOUNDS = re.compile(r"__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)")
_SIGNATURE = re.compile(r"__global__\s+void\s+(\w+)\s*\(([^)]*)\)")


@cache
def _compiler() -> str:
    found = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if found is None or os.name != "posix":
        nvrtc.missing("no C++ compiler (c++, g++, clang++) to emulate CUDA with")
    return found


def _text(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


def _kept(*key: str) -> Path:
    """Return the temporary file, without its ending, of what was made of some texts."""
    folder = Path(tempfile.gettempdir()) / f"cuslayer-emulator-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]


def _compile(sources: Sequence[tuple[str, str]], flags: Sequence[str], library: Path) -> None:
    """Compile sources (name, text) to a library."""
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        objects = []
        for name, text in sources:
            code = Path(work, name)
            code.write_text(text, "utf-8")
            objects.append(code.with_suffix(".o"))
            _call(_compiler(), *flags, "-c", code, "-o", objects[-1])
        made = Path(work, "made.so")
        _call(_compiler(), "-shared", *objects, "-o", made)
        made.replace(library)


def _call(*command: str | Path) -> None:
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode:
        raise RuntimeError(f"{command[0]} refuses the code:\n{outcome.stderr}")


@cache
def runtime() -> ctypes.CDLL:
    """Return the machine's library, in which the kernels' libraries find what they call."""
    sources = [(name, _text(name)) for name in _PARTS]
    headers = [file.read_text("utf-8") for file in sorted(_HERE.glob("*.h"))]
    library = _kept(_compiler(), *_RUNTIME, *headers, *(text for _, text in sources)).with_suffix(".so")
    if not library.exists():
        _compile(sources, _RUNTIME, library)
    return ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


@cache
def kernel(text: str, name: str) -> tuple[ptx.Kernel, Any]:
    """Return a kernel of a module of PTX: its description and its function."""
    kept = _kept(_compiler(), *_KERNEL, *map(_text, _TRANSLATOR), text, name)
    library, description = kept.with_suffix(".so"), kept.with_suffix(".pickle")
    if not (library.exists() and description.exists()):
        made = ptx.kernel(text, name)
        write_whole(description, lambda file: file.write(pickle.dumps(made)))
        optimize = "-O0" if made.code.count("\n") > _LONG else "-O1"
        _compile([("kernel.cpp", f'#include "machine.h"\n{made.code}')], (*_KERNEL, optimize), library)
    runtime()
    return pickle.loads(description.read_bytes()), ctypes.CDLL(str(library))[name]


def signatures(text: str) -> dict[str, dict[str, bool]]:
    """Return the parameters of each kernel in a source of CUDA by name, and whether they are const."""
    found = _SIGNATURE.findall(_BOUNDS.sub("", _COMMENT.sub("", text)))
    return {
        name: {
            re.findall(r"\w+", parameter)[-1]: bool(re.search(r"\bconst\b", parameter))
            for parameter in (parameters.split(",") if parameters.strip() not in ("", "void") else [])
        }
        for name, parameters in found
    }
