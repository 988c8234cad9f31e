"""Every CUDA source compiles for every architecture, in both number types, without a GPU: by NVRTC alone."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import nvrtc
import pytest

from cuslayer.kernels import source

ARCHITECTURES = ("sm_70", "sm_80", "sm_90", "sm_100", "sm_120")
DTYPES = ("float32", "float64")


@cache
def compiled(topic: str, dtype: str, arch: str) -> tuple[bytes, str]:
    options = (*source.OPTIONS, "--ptxas-options=-v")
    return nvrtc.compile(source.text(topic, np.dtype(dtype)), arch, options)


each = pytest.mark.parametrize(
    ("topic", "dtype", "arch"),
    [(topic, dtype, arch) for topic in source.topics() for dtype in DTYPES for arch in ARCHITECTURES],
)


@each
def test_compiles_without_warnings(topic: str, dtype: str, arch: str) -> None:
    code, log = compiled(topic, dtype, arch)
    assert code.startswith(b"\x7fELF")
    warnings = [line for line in log.splitlines() if "warning" in line.lower()]
    # The compiler announces that it will drop the oldest architectures one day.
    assert [line for line in warnings if "deprecated" not in line.lower()] == []


@each
def test_keeps_everything_in_registers(topic: str, dtype: str, arch: str) -> None:
    log = compiled(topic, dtype, arch)[1]
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    kernels = [name for name, home in source.kernel_names().items() if home == topic]
    assert sorted(re.findall(r"entry function '(\w+)'", log)) == sorted(kernels)
    assert frames == [("0", "0", "0")] * len(kernels)


def test_a_broken_source_is_refused() -> None:
    text = source.text("response", np.dtype(np.float32)).replace("long long steps,", "long lung steps,", 1)
    with pytest.raises(nvrtc.CompileError, match=r"common\.cuh\(\d+\): error"):
        nvrtc.compile(text, "sm_90")


def test_an_error_is_reported_at_its_line_of_the_file() -> None:
    text = source.text("optim", np.dtype(np.float32)) + "broken\n"
    lines = text.split('#line 1 "optim.cu"\n')[1].count("\n")
    with pytest.raises(nvrtc.CompileError, match=rf"optim\.cu\(({lines}|{lines + 1})\): error"):
        nvrtc.compile(text, "sm_90")


def test_a_spill_would_be_seen() -> None:
    hoard = """
    extern "C" __global__ void hoard(float *x, int n)
    {
        float mine[64];
        for (int i = 0; i < 64; ++i)
            mine[i] = x[i];
        for (int i = 0; i < n; ++i)
            x[i] = mine[int(x[i]) % 64];
    }
    """
    log = nvrtc.compile(hoard, "sm_90", ("--ptxas-options=-v",))[1]
    assert "256 bytes stack frame" in log
