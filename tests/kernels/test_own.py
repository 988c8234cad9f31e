"""Kernels of the user's own: read from text or a file, checked as the library's are, on emulated CUDA."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from tools.emulator.driver import emulation

CODE = """
// y[i] = factor x[i] where wanted. A second kernel, and a word in a comment: __global__
extern "C" __global__ void scale(
    const real *__restrict__ x,
    const bool *__restrict__ wanted,
    real *__restrict__ y,
    real factor, bool negative, long long n)
{
    GRID_STRIDE(i, n) y[i] = wanted[i] ? (negative ? -factor : factor) * x[i] : real(0);
}

extern "C" __global__ void count(const bool *x, long long *total, long long n)
{
    long long found = 0;
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        for (long long i = 0; i < n; ++i) found += x[i];
        total[0] = found;
    }
}
""".replace(", and a word in a comment: __global__", "")


def arguments(size=5, dtype=np.float32, **changed):
    x = np.arange(size, dtype=dtype)
    fitting = {"x": x, "wanted": x % 2 == 1, "y": np.zeros(size, dtype), "factor": 0.1, "negative": False, "n": size}
    return fitting | changed


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 5, 300])
def test_a_kernel_of_text(dtype, n):
    scale = cs.kernel(CODE, "scale")
    given = arguments(n, dtype)
    with emulation() as emulator:
        for negative in (False, True):
            scale(n, **given | {"negative": negative})
            expected = np.where(given["wanted"], dtype(-0.1 if negative else 0.1) * given["x"], 0)
            np.testing.assert_array_equal(given["y"], expected)
    assert len(emulator.built) == 1
    assert emulator.launches == ["scale", "scale"] * (n > 0)


def test_a_kernel_of_a_file(tmp_path):
    path = tmp_path / "mine.cu"
    path.write_text(CODE)
    x, total = np.arange(9) % 3 == 0, np.zeros(1, np.int64)
    for where in (path, str(path)):
        with emulation():
            cs.kernel(where, "count")(1, x=x, total=total, n=9)
        assert total[0] == 3


def test_each_number_type_and_each_library_is_compiled_once():
    scale = cs.kernel(CODE, "scale")
    for _ in range(2):
        with emulation() as emulator:
            for dtype in (np.float32, np.float64, np.float32):
                scale(5, **arguments(dtype=dtype))
        assert [text.split(";")[0] for text in emulator.built] == ["typedef float real", "typedef double real"]
    assert repr(scale) == "kernel scale(real *x, bool *wanted, real *y, real factor, bool negative, long long n)"


@pytest.mark.parametrize(
    ("kind", "message", "changed"),
    [
        (TypeError, "arguments lack y; the kernel wants x, wanted, y, factor, negative, n", {"y": None}),
        (TypeError, "wanted is int64, the kernel wants bool", {"wanted": np.zeros(5, np.int64)}),
        (TypeError, "arrays must be float32 or float64, got float16", {"x": np.zeros(5, np.float16)}),
        (TypeError, "negative must be a bool, got int", {"negative": 1}),
        (ValueError, "factor does not fit float32, got 1e+39", {"factor": 1e39}),
        (ValueError, "x must be C-contiguous, got strides (8,)", {"x": np.zeros(10, np.float32)[::2]}),
    ],
)
def test_arguments_that_do_not_fit(kind, message, changed, tmp_path):
    (tmp_path / "mine.cu").write_text(CODE)
    scale = cs.kernel(tmp_path / "mine.cu", "scale")
    given = {name: value for name, value in arguments(**changed).items() if value is not None}
    with emulation(), pytest.raises(kind, match=f"^scale: {re.escape(message)}"):
        scale(5, **given)


@pytest.mark.parametrize(
    ("kind", "message", "text", "name"),
    [
        (ValueError, "kernel: name must be one of scale, count, got 'scale2'; did you mean scale?", CODE, "scale2"),
        (ValueError, "kernel: text_or_path must be a source with a __global__ function or a file", "no/such.cu", "x"),
        (TypeError, "kernel: text_or_path must be text or a path, got int", 3, "x"),
        (ValueError, 'extern "C" is missing', "__global__ void f(long long n) {}", "f"),
        (ValueError, "got '__global__ int f(real x)'", 'extern "C" __global__ int f(real x) {}', "f"),
        (ValueError, "write long long for size_t", 'extern "C" __global__ void f(real x, size_t n) {}', "f"),
        (ValueError, "write real for float", 'extern "C" __global__ void f(float *x) {}', "f"),
        (ValueError, "float16 is a type of arrays only", 'extern "C" __global__ void f(float16 h) {}', "f"),
    ],
)
def test_sources_that_do_not_fit(kind, message, text, name):
    with pytest.raises(kind, match=re.escape(message)):
        cs.kernel(text, name)


def test_a_wrong_name_in_a_file_names_the_file(tmp_path):
    (tmp_path / "mine.cu").write_text(CODE)
    with pytest.raises(ValueError, match=r"^kernel: mine\.cu: name must be one of scale, count, got 'x'$"):
        cs.kernel(tmp_path / "mine.cu", "x")


@pytest.mark.parametrize("place", ["__global__ BOUNDS void f", "__global__ void BOUNDS f", "BOUNDS __global__ void f"])
@pytest.mark.parametrize("bounds", ["__launch_bounds__(256)", "__launch_bounds__ (2 * (64 + 64), 2)"])
def test_launch_bounds_are_no_part_of_the_name(place, bounds):
    code = f'extern "C" {place.replace("BOUNDS", bounds)}(real *y, long long n) {{ GRID_STRIDE(i, n) y[i] = 3; }}'
    f, y = cs.kernel(code, "f"), np.zeros(3, np.float32)
    assert repr(f) == "kernel f(real *y, long long n)"
    if place.startswith("__global__ BOUNDS"):
        with emulation():
            f(3, y=y, n=3)
        assert y.tolist() == [3, 3, 3]


def test_a_source_that_does_not_compile_says_so_in_one_line():
    broken = cs.kernel(CODE.replace("-factor", "-fctor"), "scale")
    with emulation(), pytest.raises(ValueError, match=r"^scale: the source does not compile: .*fctor") as error:
        broken(5, **arguments())
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is not None


def test_without_a_gpu_the_call_says_so(monkeypatch):
    scale = cs.kernel(CODE, "scale")
    monkeypatch.setattr(backend, "_driver_problem", lambda: "no CUDA driver on this machine")
    monkeypatch.setattr(source, "library", source.Library(source.Cuda()))
    with pytest.raises(ValueError) as error:
        scale(5, **arguments())
    assert str(error.value) == (
        "scale: a CUDA kernel needs a GPU: device: cuda is out of reach: no CUDA driver on this machine"
    )
