"""Memory faults that the emulator detects, each next to a correct kernel or argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuslayer.kernels.cuda import compile as source
from tools.emulator.driver import Emulator
from tools.emulator.kernel import SINGLE, THREAD, N, kernel, numbers, refused, zeros


def test_a_kernel_runs_over_the_whole_grid() -> None:
    x, y = numbers(1000), np.zeros(1000, SINGLE)
    body = THREAD + "if (i < 1000)\n y[i] = a * x[i] * (twice ? 2 : 1);"
    kernel("real *y, const real *x, real a, bool twice", body)(y, x, SINGLE(3), np.True_, grid=16)
    assert (y == 3 * x * 2).all()


def test_grids_and_blocks_of_three_dimensions() -> None:
    at = """
        const unsigned t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        const unsigned b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        y[(b * 24 + t) * 2] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z;
        y[(b * 24 + t) * 2 + 1] = blockIdx.x + 10 * blockIdx.y + 100 * blockIdx.z;"""
    y = Emulator().empty((2, 3, 2, 4, 3, 2, 2), np.int64)
    kernel("long long *y", at)(y, grid=(2, 3, 2), block=(2, 3, 4))
    z, b, a = np.indices((4, 3, 2))
    assert (y.reshape(12, 4, 3, 2, 2)[7, ..., 0] == a + 10 * b + 100 * z).all()
    z, b, a = np.indices((2, 3, 2))
    assert (y.reshape(2, 3, 2, 24, 2)[..., 5, 1] == a + 10 * b + 100 * z).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("access", ["reads", "writes"])
def test_bounds(access: str, dtype: Any) -> None:
    kind = {np.float32: "real", np.int64: "long long", np.bool_: "bool"}[dtype]
    x, y = np.zeros(N, dtype), np.zeros(N, dtype)
    if access == "reads":
        name, run = "x", kernel(f"const {kind} *x, {kind} *y, long long at", "y[threadIdx.x] = x[threadIdx.x + at];")
    else:
        name, run = "y", kernel(f"const {kind} *x, {kind} *y, long long at", "y[threadIdx.x + at] = x[threadIdx.x];")
    run(x, y, 0)
    for at in 1, -1, N, -N, 10**6, -(10**6), 2**28, -(2**28):
        thread = N - 1 if at == 1 else 0
        with refused(rf"thread {thread} of block 0 {access} {name}\[{thread + at}\], outside of its 64 elements"):
            run(x, y, at)
    for at in 2**31, -(2**31), 2**34, 2**40, -(2**40):
        with refused(rf"thread 0 of block 0 {access} .*"):
            run(x, y, at)


def test_bounds_of_wide_access() -> None:
    above = "struct Pair { real a, b; };\n"
    body = "*(Pair *)&y[2 * threadIdx.x] = *(Pair *)&x[2 * threadIdx.x + at];"
    run = kernel("const real *x, real *y, long long at", body, above)
    x, y = numbers(2 * N), np.zeros(2 * N, SINGLE)
    run(x, y, 0)
    assert (x == y).all()
    with refused(r"thread 63 of block 0 reads x\[128\], outside of its 128 elements"):
        run(x, y, 1)


def table(*arrays: Any) -> source.Table:
    found = np.zeros(1, source._TABLE_TYPE).view(source.Table)
    found["size"][0, : len(arrays)], found.arrays = [x.size for x in arrays], arrays
    return found


def test_every_array_of_a_table_is_an_argument() -> None:
    body = """
        for (int a = 0; a < 2; ++a)
            if (threadIdx.x < x.size[a]) y.at[a][threadIdx.x + to] = x.at[a][threadIdx.x + from];"""
    parameters = "Arrays<const real> x, Arrays<real> y, long long from, long long to"
    run = kernel(parameters, body, source._files()["arrays.cuh"])
    x, y = [numbers(8), numbers(5)], [zeros(8).astype(SINGLE) for _ in range(2)]
    run(table(*x), table(*y), 0, 0)
    assert (y[0] == x[0]).all()
    assert (y[1][:5] == x[1]).all()
    with refused(r"thread 4 of block 0 reads x1\[5\], outside of its 5 elements"):
        run(table(*x), table(*y), 1, 0)
    with refused(r"thread 0 of block 0 writes y0\[-1\], outside of its 8 elements"):
        run(table(*x), table(*y), 0, -1)


def test_memory_of_no_argument() -> None:
    run = kernel("real *y, long long address", "y[threadIdx.x] = *(const real *)address;")
    for address in 4, 1 << 40, numbers().ctypes.data:
        with refused("thread 0 of block 0 reads memory of no argument"):
            run(numbers(), address)


@pytest.mark.parametrize(("kind", "dtype"), [("float4", np.float32), ("double2", np.float64), ("uint2", np.uint32)])
def test_alignment(kind: str, dtype: Any) -> None:
    number = {np.float32: "float", np.float64: "double", np.uint32: "unsigned"}[dtype]
    count = int(kind[-1])
    body = f"reinterpret_cast<{kind} *>(y)[threadIdx.x] = reinterpret_cast<const {kind} *>(x + at)[threadIdx.x];"
    run = kernel(f"const {number} *x, {number} *y, long long at", body)
    x = np.arange(count * (N + 1)).astype(dtype)
    y = np.zeros(count * N, dtype)
    run(x, y, 0)
    assert (y == x[:-count]).all()
    run(x[count:], y, 0)
    size = count * x.itemsize
    with refused(f"thread 0 of block 0 reads {size} bytes at an address that is no multiple of {size}"):
        run(x, y, 1)
    with refused(f"thread 0 of block 0 reads {size} bytes at an address that is no multiple of {size}"):
        run(x[1:], y, 0)


def test_const() -> None:
    run = kernel("const real *x, real *y, bool cast", "(cast ? const_cast<real *>(x) : y)[threadIdx.x] = 1;")
    x, y = numbers(), numbers()
    run(x, y, np.False_)
    with refused(r"thread 0 of block 0 writes x\[0\], which is const"):
        run(x, y, np.True_)
    assert (x == numbers()).all()


def test_reads_of_what_nothing_wrote() -> None:
    emulator = Emulator()
    run = kernel("real *y", "y[threadIdx.x] += 1;", emulator=emulator)
    y = numbers()
    run(y)
    assert (y == numbers() + 1).all()
    with refused(r"thread 0 of block 0 reads y\[0\], which nothing wrote"):
        run(emulator.empty(N, SINGLE))


def test_const_arguments_that_nothing_wrote() -> None:
    emulator = Emulator()
    run = kernel("const real *x, real *y", "y[threadIdx.x] = x[threadIdx.x] + x[2];", emulator=emulator)
    x, y = emulator.empty(N, SINGLE), emulator.empty(N, SINGLE)
    x[:2] = 0
    x[3:] = 0
    with refused(r"thread 0 of block 0 reads x\[2\], which nothing wrote"):
        run(x, y)
    x[2] = 0
    run(x, y)
    assert (y == 0).all()
    run(y, x)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_outputs_are_wholly_written(dtype: Any) -> None:
    kind = {np.float32: "real", np.int64: "long long", np.bool_: "bool"}[dtype]
    emulator = Emulator()
    run = kernel(f"{kind} *y, long long n", "if (threadIdx.x < n) y[threadIdx.x] = 1;", emulator=emulator)
    y = emulator.empty(N, dtype)
    run(y, N)
    assert (y == 1).all()
    with refused(r"no thread writes 3 of the 64 elements of y, the first of them y\[61\]"):
        run(emulator.empty(N, dtype), N - 3)
    run(np.zeros(N, dtype), N - 3)


def test_a_bool_is_true_or_false() -> None:
    run = kernel("bool *y, long long value", "*(char *)&y[threadIdx.x] = threadIdx.x == 5 ? value : 0;")
    y = np.ones(N, np.bool_)
    run(y, 1)
    assert np.flatnonzero(y).tolist() == [5]
    with refused(r"y\[5\] is 2, neither True nor False"):
        run(y, 2)
    assert np.flatnonzero(y).tolist() == [5]


def test_a_refused_launch_leaves_its_arguments_alone() -> None:
    run = kernel("real *y, long long at", "y[threadIdx.x + at] = 1;")
    y = numbers()
    with refused(".*outside.*"):
        run(y, 1)
    assert (y == numbers()).all()
    run(y, 0)
    assert (y == 1).all()


def test_aliases() -> None:
    body = "y[threadIdx.x] = x[threadIdx.x] + 1;\nif (at) y[threadIdx.x + at] = 0;"
    run = kernel("const real *x, real *y, long long at", body)
    x = np.zeros(2 * N, SINGLE)
    run(x[:N], x[N:], 0)
    run(x[N:], x[N:], 0)
    assert (x == np.repeat([0, 2], N)).all()
    with refused(r"thread 0 of block 0 writes x=y\[64\], outside of its 64 elements"):
        run(x[N:], x[N:], N)
    with refused("x and y overlap, but are not the same"):
        run(x[:N], x[1 : N + 1], 0)
    with refused(r"thread 0 of block 0 reads x\[0\], outside of its 0 elements"):
        run(x[5:6][:0], x, 0)


def test_constant_memory_does_not_change() -> None:
    """What is declared as __restrict__ and const is read past the caches that a write updates."""
    body = "y[threadIdx.x] = 1;\n__syncthreads();\nz[threadIdx.x] = x[at[threadIdx.x]];"
    parameters = "const real *__restrict__ x, real *__restrict__ y, real *__restrict__ z, const volatile long long *at"
    run = kernel(parameters, body)
    run(numbers(), numbers(), numbers(), zeros())
    y = numbers()
    with refused(r"thread 0 of block 0 reads x=y\[0\] as what never changes, but the kernel wrote it"):
        run(y, y, numbers(), zeros())
