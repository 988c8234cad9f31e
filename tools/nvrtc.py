"""NVRTC without CUDA: NVIDIA's compiler as a wheel, through ctypes. It needs neither a driver nor a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cuslayer.files import write_whole


def missing(reason: str) -> NoReturn:
    """Skip the test, except on CI, where what it needs has to be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class CompileError(Exception):
    """NVRTC refused a source; the message is its log."""


@cache
def _library() -> Any:
    try:
        spec = find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        spec = None
    folders = spec.submodule_search_locations if spec else None
    found = [file for folder in folders or [] for file in Path(folder).glob("lib/libnvrtc.so.12")]
    return ctypes.CDLL(str(found[0])) if found else None


def compile(text: str, arch: str, options: tuple[str, ...] = ()) -> tuple[bytes, str]:
    """Return the machine code of a source for an architecture, as sm_90, and the compiler's log.

    Raises:
        CompileError: the source does not compile.
    """
    nvrtc = _library()
    if nvrtc is None:
        missing("the package nvidia-cuda-nvrtc-cu12 is not installed")
    known = _kept(text, arch, options, nvrtc)
    if known.exists():
        found: tuple[bytes, str] = pickle.loads(known.read_bytes())
        return found
    program = ctypes.c_void_p()
    flags = [f"-arch={arch}".encode(), *(option.encode() for option in options)]
    _check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
    try:
        outcome = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
        log = _read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if outcome:
            raise CompileError(log)
        made = _read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), log
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
