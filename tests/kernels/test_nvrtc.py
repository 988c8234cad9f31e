"""Every CUDA source compiles with NVRTC for every architecture; no GPU is needed.

Compiling takes longer than all other tests of kernels. So a test compiles a source for an architecture in one type
only, each in the other type than its neighbours, and `benchmarks/compile_report.py` compiles all: its results must be
of these very sources.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from tools import nvrtc

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import compile_report  # noqa: E402
from compile_report import ARCHITECTURES, DTYPES, Row, compiled, rows_of  # noqa: E402

AGAIN = "run python benchmarks/compile_report.py"
EACH = [
    (topic, DTYPES[(i + j) % 2], arch)
    for i, topic in enumerate(source.topics())
    for j, arch in enumerate(ARCHITECTURES)
]


def held(rows: list[Row], topic: str) -> None:
    """Check what the compiler says of each kernel of a source."""
    assert sorted(row.kernel for row in rows) == sorted(k for k, home in source.kernel_names().items() if home == topic)
    assert compile_report.spilled(rows) == []
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


def test_a_broken_source_is_refused() -> None:
    text = source.text("response", np.dtype(np.float32)).replace("long long steps,", "long lung steps,", 1)
    with pytest.raises(nvrtc.CompileError, match=r"common\.cuh\(\d+\): error"):
        nvrtc.compile(text, "sm_90")
