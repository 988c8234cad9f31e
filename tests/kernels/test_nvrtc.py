"""Every CUDA source compiles with NVRTC; no GPU is needed.

Compiling takes longer than all other tests of kernels. So the tests compile a source in each type for one architecture,
another than its neighbours', and `benchmarks/compile_report.py` compiles all for all: its results must be of these very
sources.
"""

import inspect
import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from cuslayer.kernels import TOPICS, cpu, gpu
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.fused import gpu_conv, gpu_dense, gpu_norm, gpu_pool
from tools import nvrtc

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import compile_report  # noqa: E402
from compile_report import ARCHITECTURES, DTYPES, compiled, is_of_kind, rows_of  # noqa: E402

AGAIN = "run python benchmarks/compile_report.py"
PLAIN_SOURCES = [name for name in compile_report.sources() if not is_of_kind(name)]
EACH = [
    (name, dtype, ARCHITECTURES[(i + 2 * j) % len(ARCHITECTURES)])
    for i, name in enumerate(PLAIN_SOURCES)
    for j, dtype in enumerate(DTYPES)
]
# One source of each kind of neuron, another than its neighbours'.
OF_KINDS = [case for case in compile_report.cases() if is_of_kind(case[0])]
KINDS = sorted({name.partition(" of ")[2] for name, _, _ in OF_KINDS})
for place, kind in enumerate(KINDS):
    of_kind = [case for case in OF_KINDS if case[0].endswith(f" of {kind}")]
    EACH.append(of_kind[place % len(of_kind)])


def held(rows, name):
    """Check what the compiler says of each kernel of a source."""
    kernels = source.signatures(compile_report.text_of(name, "float32"))
    assert sorted(row.kernel.partition(" of ")[0] for row in rows) == sorted(kernels)
    assert compile_report.spilled(rows) == []
    assert all(0 < row.registers <= 255 for row in rows)


@pytest.mark.parametrize(("name", "dtype", "arch"), EACH)
def test_compiles_without_warnings_and_keeps_everything_in_registers(name, dtype, arch):
    code, log = compiled(name, dtype, arch)
    assert code.startswith(b"\x7fELF")
    assert compile_report.warnings_in(log) == []
    rows = rows_of(name, dtype, arch)
    held(rows, name)
    found = compile_report.saved()
    if found["compiler"] == compile_report.compiler():
        assert set(rows) <= set(found["kernels"]), AGAIN


def test_the_saved_report_is_of_these_sources():
    """Of every source in both types, compiled for every architecture, and once with neurons of each kind."""
    found = compile_report.saved()
    cases = compile_report.cases()
    digests = {f"{name} {dtype}": compile_report.digest(name, dtype) for name, dtype, _ in cases}
    assert found["digests"] == digests, AGAIN
    assert found["warnings"] == []
    rows = defaultdict(list)
    for row in found["kernels"]:
        rows[compile_report.source_of(row), row.dtype, row.arch].append(row)
    assert rows.keys() == {*cases}
    for case, of_case in rows.items():
        held(of_case, case[0])


def test_a_broken_source_is_refused():
    text = source.text("delay", np.dtype(np.float32)).replace("long long steps,", "long lung steps,", 1)
    with pytest.raises(nvrtc.CompileError, match=r"common\.cuh\(\d+\): error"):
        nvrtc.compile(text, "sm_90")


# Every topic has the same functions on both devices, and each function has a test of its twins


# Of each topic the functions that both devices have, and what the topic's plain names are called in tests and sources.
# A step of an optimizer has the same numbers on both devices, in another order; its tests have them.
STEPS = {"adam_all", "sgd_all"}
NAMES = [(topic, name) for topic in TOPICS for name in getattr(gpu, topic).__all__ if name not in STEPS]
# Kernels of packed spikes, which the CPU does not have, and products, for which it has BLAS.
GPU_ONLY = {"add_parts", "matmul", "pack_bits", "set_bits", "transpose_bits", "unpack_bits"}
GPU_ONLY |= STEPS
# Fused passes are in modules that the functions `..._kernels` return.
FUSED = [gpu_conv, gpu_dense, gpu_norm, gpu_pool]
GPU_ONLY |= {name for module in FUSED for name in module.__all__}
PLAIN = {"forward": "", "adjoint": "_adjoint", "input_adjoint": "_input_adjoint", "weight_adjoint": "_weight_adjoint"}
PLAIN |= {"adjoint_exact": "_adjoint_exact", "keep_adjoint": "_keep_adjoint"}
PLAIN |= {"error": "_error", "error_adjoint": "_error_adjoint", "score": "_score", "statistics": "_statistics"}
# Topics whose kernels have a name that says more.
WHAT = {"loss": "spike_count", "norm": "batch_norm", "scan": "neuron"}
# A kernel whose name says more than the function's, beside its topic's.
STORED = {"store_float16": "store"}
# A function that takes several kinds of neurons or input, or that sums first, has a kernel for each; so has the exact
# gradient.
FORMS = ("", "_exact", "_of_kind", "_numbers", "_sums")


def whole_name(topic, name):
    return f"{WHAT.get(topic, topic)}{PLAIN[name]}" if name in PLAIN else name


def test_every_kernel_has_a_twin_and_a_test():
    found = {whole_name(*names): r"\.".join(names) for names in NAMES} | {name: name for name in GPU_ONLY}
    for kernel in source.kernel_names():
        kernel = STORED.get(kernel, kernel)
        assert any(kernel.removesuffix(form) in found for form in FORMS), kernel
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_twins*.py"))
    for kernel, name in found.items():
        assert "_kernels" in kernel or re.search(rf"\b(test_{kernel}|{kernel}|{name})\b", tests), kernel


@pytest.mark.parametrize(("topic", "name"), NAMES)
def test_twins_take_the_same_arguments(topic, name):
    ours, theirs = (inspect.signature(getattr(getattr(twin, topic), name)).parameters for twin in (gpu, cpu))
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]
