"""NVRTC without CUDA: NVIDIA's compiler as a wheel, through ctypes. It needs neither a driver nor a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import tempfile
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cuslayer._base.files import write_whole

# The folder of the wheel of each release.
_WHEELS = {"12": "cuda_nvrtc", "13": "cu13"}


def missing(reason: str) -> NoReturn:
    """Skip the test, except on CI, where what it needs has to be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class CompileError(Exception):
    """NVRTC refused a source; the message is its log."""


@cache
def _libraries() -> dict[str, Any]:
    """Return the libraries that are installed, by their releases."""
    spec = find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or []]
    found = {}
    for release, wheel in _WHEELS.items():
        for folder in (folder / wheel / "lib" for folder in folders):
            if (library := folder / f"libnvrtc.so.{release}").exists():
                # NVRTC opens it by its name alone.
                for builtins in folder.glob(f"libnvrtc-builtins.so.{release}.*"):
                    ctypes.CDLL(str(builtins))
                found[release] = ctypes.CDLL(str(library))
    return found


def releases() -> tuple[str, ...]:
    """Return the releases of NVRTC that are installed, of "12" and "13"."""
    return tuple(_libraries())


def compile(text: str, arch: str, options: tuple[str, ...] = (), release: str = "12") -> tuple[bytes, str]:
    """Return what the compiler makes of a source, and its log.

    Args:
        text: the source.
        arch: sm_90 for machine code, compute_90 for PTX.
        options: more options of the compiler.
        release: of NVRTC.

    Raises:
        CompileError: the source does not compile.
    """
    nvrtc = _libraries().get(release)
    if nvrtc is None:
        missing(f"NVRTC {release} is not installed (nvidia-cuda-nvrtc-cu12, or nvidia-cuda-nvrtc for 13)")
    known = _kept(text, arch, options, nvrtc)
    if known.exists():
        found: tuple[bytes, str] = pickle.loads(known.read_bytes())
        return found
    if "-G" in options and parent_process() is None:
        # After it, NVRTC would compile the other sources of this process without optimization, too.
        with get_context("spawn").Pool(1) as pool:
            return pool.apply(compile, (text, arch, options, release))
    program = ctypes.c_void_p()
    flags = [f"-arch={arch}".encode(), *(option.encode() for option in options)]
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
    try:
        outcome = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
        log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if outcome:
            raise CompileError(log)
        code = "PTX" if arch.startswith("compute") else "CUBIN"
        made = _read(nvrtc[f"nvrtcGet{code}Size"], nvrtc[f"nvrtcGet{code}"], program), log
        data = pickle.dumps(made)
        write_whole(known, lambda file: file.write(data))
        return made
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _kept(text: str, arch: str, options: tuple[str, ...], nvrtc: Any) -> Path:
    """Return the temporary file of a compilation: the processes that run tests compile each source once together."""
    version = ctypes.c_int(), ctypes.c_int()
    _check(nvrtc.nvrtcVersion(*map(ctypes.byref, version)))
    key = repr((text, arch, options, *(number.value for number in version)))
    folder = Path(tempfile.gettempdir()) / f"cuslayer-nvrtc-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / hashlib.sha256(key.encode()).hexdigest()[:32]


def _check(outcome: int) -> None:
    if outcome:
        raise RuntimeError(f"NVRTC answers {outcome}")


def _read(size_of: Any, fill: Any, program: Any) -> bytes:
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(fill(program, buffer))
    return buffer.raw
