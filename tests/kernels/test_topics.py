"""Every topic has the same functions on both devices, and each function has a test of its twins."""

import inspect
from pathlib import Path

import pytest

from cuslayer.kernels import TOPICS, cpu, gpu
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.fused import gpu_conv, gpu_conv_adjoint, gpu_dense, gpu_pool, gpu_pool_adjoint

# Of each topic the functions that both devices have, and what the topic's plain names are called in tests and sources.
NAMES = [(topic, name) for topic in TOPICS for name in getattr(gpu, topic).__all__]
# Kernels of packed spikes, which the CPU does not have, and products, for which it has BLAS.
GPU_ONLY = {"add_parts", "matmul", "pack_bits", "set_bits", "transpose_bits", "unpack_bits"}
# Fused passes are in modules that the functions `..._kernels` return.
FUSED = [gpu_conv, gpu_conv_adjoint, gpu_dense, gpu_pool, gpu_pool_adjoint]
GPU_ONLY |= {name for module in FUSED for name in module.__all__}
PLAIN = {"forward": "", "adjoint": "_adjoint", "input_adjoint": "_input_adjoint", "weight_adjoint": "_weight_adjoint"}
PLAIN |= {"adjoint_exact": "_adjoint_exact", "keep_adjoint": "_keep_adjoint"}
PLAIN |= {"error": "_error", "error_adjoint": "_error_adjoint", "add": "_add", "scale": "_scale"}
# A kernel whose name says more than the function's, beside its topic's.
STORED = {"store_float16": "store"}
# A function whose input has several forms, or that takes several kinds of neurons, has a kernel for each.
FORMS = ("_numbers", "_packed", "_srm", "_leaky", "_adaptive")


def whole_name(topic, name):
    return f"{topic}{PLAIN[name]}" if name in PLAIN else name


def test_every_kernel_has_a_twin_and_a_test():
    found = {whole_name(*names) for names in NAMES} | GPU_ONLY
    for kernel in source.kernel_names():
        kernel = STORED.get(kernel, kernel)
        assert kernel in found or (kernel.endswith(FORMS) and kernel.rpartition("_")[0] in found), kernel
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_twins*.py"))
    assert [name for name in sorted(found) if f"def test_{name}(" not in tests and "_kernels" not in name] == []


@pytest.mark.parametrize(("topic", "name"), NAMES)
def test_twins_take_the_same_arguments(topic, name):
    ours, theirs = (inspect.signature(getattr(getattr(twin, topic), name)).parameters for twin in (gpu, cpu))
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [
        (p.name, p.kind, p.default) for p in theirs.values()
    ]
