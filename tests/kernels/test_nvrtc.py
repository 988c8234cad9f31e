"""Every CUDA source compiles with NVRTC for every architecture; no GPU is needed.

Compiling takes longer than all other tests of kernels. So a test compiles a source for an architecture in one type
only, each in the other type than its neighbours, and `benchmarks/compile_report.py` compiles all: its results must be
of these very sources.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from tools import nvrtc

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import compile_report  # noqa: E402
import traffic  # noqa: E402
from compile_report import ARCHITECTURES, DTYPES, Row, compiled, rows_in, rows_of  # noqa: E402

AGAIN = "run python benchmarks/compile_report.py"
EACH = [
    (topic, DTYPES[(i + j) % 2], arch)
    for i, topic in enumerate(source.topics())
    for j, arch in enumerate(ARCHITECTURES)
]


def held(rows: list[Row], topic: str) -> None:
    """Check what the compiler says of each kernel of a source."""
    assert sorted(row.kernel for row in rows) == sorted(k for k, home in source.kernel_names().items() if home == topic)
    assert compile_report.kept(rows) == f"None of the {len(rows)} has a stack frame, a spill store or a spill load."
    assert all(0 < row.registers <= 255 for row in rows)


@pytest.mark.parametrize(("topic", "dtype", "arch"), EACH)
def test_compiles_without_warnings_and_keeps_everything_in_registers(topic: str, dtype: str, arch: str) -> None:
    code, log = compiled(topic, dtype, arch)
    assert code.startswith(b"\x7fELF")
    assert compile_report.warnings_in(log) == []
    rows = rows_of(topic, dtype, arch)
    held(rows, topic)
    found = compile_report.saved()
    if found["compiler"] == compile_report.compiler():
        assert set(rows) <= set(found["kernels"]), AGAIN


def test_the_saved_report_is_of_these_sources() -> None:
    """Of every source in both types, compiled for every architecture."""
    found = compile_report.saved()
    each = [(topic, dtype) for topic in source.topics() for dtype in DTYPES]
    assert found["digests"] == {" ".join(one): compile_report.digest(*one) for one in each}, AGAIN
    assert found["warnings"] == []
    homes = source.kernel_names()
    for topic, dtype in each:
        for arch in ARCHITECTURES:
            kind = topic, dtype, arch
            held([row for row in found["kernels"] if (homes[row.kernel], row.dtype, row.arch) == kind], topic)
    assert len(set(found["kernels"])) == len(homes) * len(DTYPES) * len(ARCHITECTURES)


def test_a_report_is_saved_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compile_report.saved()
    monkeypatch.setattr(compile_report, "RESULTS", tmp_path / "compile.json")
    compile_report.save(found)
    assert compile_report.saved() == found


def test_a_digest_has_the_source_and_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    known = compile_report.digest("dropout", "float32")
    assert known != compile_report.digest("dropout", "float64")
    monkeypatch.setattr(source, "OPTIONS", ("-fmad=true",))
    assert known != compile_report.digest("dropout", "float32")


def test_the_script_compiles_all_and_fills_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one source here."""
    monkeypatch.setattr(source, "topics", lambda: ["dropout"])
    kernels = {name: home for name, home in source.kernel_names().items() if home == "dropout"}
    monkeypatch.setattr(source, "kernel_names", lambda: kernels)
    (tmp_path / "page.md").write_text("<!-- registers -->\n<!-- /registers -->\n<!-- traffic -->\n<!-- /traffic -->\n")
    for name, path in (("ROOT", tmp_path), ("PAGE", tmp_path / "page.md"), ("RESULTS", tmp_path / "compile.json")):
        monkeypatch.setattr(compile_report, name, path)
    compile_report.main()
    found = compile_report.saved()
    assert set(found["digests"]) == {"dropout float32", "dropout float64"}
    assert len(found["kernels"]) == len(kernels) * 10
    page = (tmp_path / "page.md").read_text("utf-8")
    assert compile_report.registers(found["kernels"], found["compiler"]) in page
    assert compile_report.moved() in page


def test_the_page_on_kernels_is_up_to_date() -> None:
    page, found = compile_report.PAGE.read_text("utf-8"), compile_report.saved()
    assert compile_report.between(page, "traffic").strip() == compile_report.moved(), AGAIN
    table = compile_report.registers(found["kernels"], found["compiler"])
    assert compile_report.between(page, "registers").strip() == table, AGAIN


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


def test_a_warning_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    text = source.text
    unused = "__global__ void unused() { int x; }\n"
    monkeypatch.setattr(source, "text", lambda topic, dtype: text(topic, dtype) + unused)
    monkeypatch.setattr(source, "topics", lambda: ["clip"])
    compiled.cache_clear()
    try:
        found = compile_report.report()["warnings"]
    finally:
        compiled.cache_clear()
    said = {line.partition(":")[0] for line in found if "declared but never referenced" in line}
    assert said == {f"clip {dtype} {arch}" for dtype in DTYPES for arch in ARCHITECTURES}


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
    (row,) = rows_in(log, "float32", "sm_90")
    assert (row.kernel, row.stack) == ("hoard", 256)
    assert compile_report.kept([row]) == "Of 1, 1 keep in memory what registers do not hold."
