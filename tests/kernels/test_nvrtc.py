"""Every CUDA source compiles with NVRTC for every architecture and both number types; no GPU is needed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from tests.support import nvrtc

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import compile_report  # noqa: E402
import traffic  # noqa: E402
from compile_report import ARCHITECTURES, DTYPES, compiled, rows_of  # noqa: E402

each = pytest.mark.parametrize(
    ("topic", "dtype", "arch"),
    [(topic, dtype, arch) for topic in source.topics() for dtype in DTYPES for arch in ARCHITECTURES],
)


@each
def test_compiles_without_warnings_and_keeps_everything_in_registers(topic: str, dtype: str, arch: str) -> None:
    code, log = compiled(topic, dtype, arch)
    assert code.startswith(b"\x7fELF")
    warnings = [line for line in log.splitlines() if "warning" in line.lower()]
    # The compiler announces that it will drop the oldest architectures one day.
    assert [line for line in warnings if "deprecated" not in line.lower()] == []
    rows = rows_of(log, dtype, arch)
    kernels = [name for name, home in source.kernel_names().items() if home == topic]
    assert sorted(row.kernel for row in rows) == sorted(kernels)
    assert compile_report.kept(rows) == f"None of the {len(rows)} has a stack frame, a spill store or a spill load."
    assert all(0 < row.registers <= 255 for row in rows)


def test_the_report_is_left_where_it_can_be_read() -> None:
    rows = compile_report.report()
    assert len(rows) == len(source.kernel_names()) * len(DTYPES) * len(ARCHITECTURES)
    table, numbers = ROOT / "build" / "compile-report.md", ROOT / "build" / "compile-report.json"
    for path in (table, numbers):
        path.unlink(missing_ok=True)
    compile_report.save(rows, ROOT / "build")
    assert [compile_report.Row(**row) for row in json.loads(numbers.read_text("utf-8"))["kernels"]] == rows
    assert compile_report.registers(rows) in table.read_text("utf-8")


def test_the_page_on_kernels_is_up_to_date() -> None:
    """Bytes and times always; registers where the compiler is the one that the page names."""
    page = compile_report.PAGE.read_text("utf-8")
    again = "run python benchmarks/compile_report.py"
    assert compile_report.between(page, "traffic").strip() == compile_report.moved(), again
    shown = compile_report.between(page, "registers").strip()
    assert re.findall(r"^\| `(\w+)` ", shown, re.MULTILINE) == sorted(source.kernel_names()), again
    if shown.startswith(f"NVRTC {compile_report.compiler()}."):
        assert shown == compile_report.registers(compile_report.report()), again


def test_traffic_names_every_array_of_every_kernel() -> None:
    assert traffic.WAYS.keys() == source.kernel_names().keys()
    for kernel, topic in source.kernel_names().items():
        code = source.text(topic, np.dtype(np.float32))
        arrays = [parameter.name for parameter in source.signatures(code)[kernel] if parameter.array]
        assert list(traffic.WAYS[kernel]) == arrays, kernel
        signature = re.search(rf"void {kernel}\((.*?)\n\{{", code, re.DOTALL)[1]
        constant = set(re.findall(r"const \w[\w ]* \*__restrict__ (\w+)", signature))
        assert {name for name, ways in traffic.WAYS[kernel].items() if "w" not in ways.lower()} == constant, kernel


def test_traffic_counts_each_way_once() -> None:
    assert traffic.bytes_per_element("neuron", "float32") == 4 + 4 + 1
    assert traffic.bytes_per_element("neuron", "float64") == 8 + 8 + 1
    assert traffic.bytes_per_element("shift", "float32") == 4 + 4
    assert traffic.bytes_per_element("shift_delay_adjoint", "float32") == 4 + 4
    assert traffic.bytes_per_element("adam", "float32") == 4 * (2 + 1 + 2 + 2 + 2)
    assert traffic.picoseconds("neuron", "float32") == pytest.approx(2.6866, rel=1e-4)


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
    (row,) = rows_of(log, "float32", "sm_90")
    assert (row.kernel, row.stack) == ("hoard", 256)
    assert compile_report.kept([row]) == "Of 1, 1 keep in memory what registers do not hold."
