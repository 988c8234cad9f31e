"""Every CUDA source compiles with NVRTC for every architecture; no GPU is needed.

Compiling takes longer than all other tests of kernels. So a test compiles a source for an architecture in one type
only, each in the other type than its neighbours, and `benchmarks/compile_report.py` compiles all: its results must be
of these very sources.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from tools import nvrtc

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import compile_report  # noqa: E402
from compile_report import ARCHITECTURES, DTYPES, compiled, rows_of  # noqa: E402

AGAIN = "run python benchmarks/compile_report.py"
EACH = [
    (topic, DTYPES[(i + j) % 2], arch)
    for i, topic in enumerate(source.topics())
    for j, arch in enumerate(ARCHITECTURES)
]


def held(rows, topic):
    """Check what the compiler says of each kernel of a source."""
    assert sorted(row.kernel for row in rows) == sorted(k for k, home in source.kernel_names().items() if home == topic)
    assert compile_report.kept(rows) == f"None of the {len(rows)} has a stack frame, a spill store or a spill load."
    assert all(0 < row.registers <= 255 for row in rows)


@pytest.mark.parametrize(("topic", "dtype", "arch"), EACH)
def test_compiles_without_warnings_and_keeps_everything_in_registers(topic, dtype, arch):
    code, log = compiled(topic, dtype, arch)
    assert code.startswith(b"\x7fELF")
    assert compile_report.warnings_in(log) == []
    rows = rows_of(topic, dtype, arch)
    held(rows, topic)
    found = compile_report.saved()
    if found["compiler"] == compile_report.compiler():
        assert set(rows) <= set(found["kernels"]), AGAIN


def test_the_page_on_kernels_is_up_to_date():
    page, found = compile_report.PAGE.read_text("utf-8"), compile_report.saved()
    assert compile_report.between(page, "traffic").strip() == compile_report.moved(), AGAIN
    table = compile_report.registers(found["kernels"], found["compiler"])
    assert compile_report.between(page, "registers").strip() == table, AGAIN


def test_a_broken_source_is_refused():
    text = source.text("response", np.dtype(np.float32)).replace("long long steps,", "long lung steps,", 1)
    with pytest.raises(nvrtc.CompileError, match=r"common\.cuh\(\d+\): error"):
        nvrtc.compile(text, "sm_90")
