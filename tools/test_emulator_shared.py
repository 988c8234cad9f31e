"""Dynamic shared memory in the emulator: its size, its limits, and the faults that static shared memory has too."""

from __future__ import annotations

import numpy as np
import pytest

from tools.emulator.driver import EmulationError
from tools.emulator.kernel import SINGLE, N, kernel, numbers, refused

SHARED = "extern __shared__ __align__(16) unsigned char shared[];\n"
MOST = 227 << 10


@pytest.mark.parametrize("above", [True, False])
def test_two_arrays_in_dynamic_shared_memory(above: bool) -> None:
    body = """
        real *const tile = reinterpret_cast<real *>(shared);
        long long *const count = reinterpret_cast<long long *>(shared + blockDim.x * sizeof(real));
        const unsigned t = threadIdx.x;
        tile[t] = x[blockIdx.x * blockDim.x + t];
        count[t] = t;
        __syncthreads();
        y[blockIdx.x * blockDim.x + t] = tile[blockDim.x - 1 - t] + count[(t + 1) % blockDim.x];"""
    run = kernel("const real *x, real *y", (not above) * SHARED + body, above * SHARED)
    x, y = numbers(3 * N), np.zeros(3 * N, SINGLE)
    run(x, y, grid=3, shared_mem=12 * N)
    expected = x.reshape(3, N)[:, ::-1] + np.roll(np.arange(N, dtype=SINGLE), -1)
    assert (y.reshape(3, N) == expected).all()
    with refused(rf"thread 63 of block 0 writes byte {12 * N - 8} of dynamic shared memory, outside of its 764 bytes"):
        run(x, y, grid=3, shared_mem=12 * N - 4)
    with refused("thread 0 of block 0 writes byte 0 of dynamic shared memory, outside of its 0 bytes"):
        run(x, y, grid=3)


def test_bounds() -> None:
    run = kernel("real *y, long long at", SHARED + "shared[threadIdx.x + at] = 1;\ny[threadIdx.x] = 1;")
    run(numbers(), 0, shared_mem=N)
    for at in 1, 64, 10**6:
        thread = N - 1 if at == 1 else 0
        with refused(
            rf"thread {thread} of block 0 writes byte {thread + at} of dynamic shared memory, outside of its 64 bytes"
        ):
            run(numbers(), at, shared_mem=N)
    for at in -1, -(10**6), 2 << 20:
        with refused("thread 0 of block 0 writes memory of no argument"):
            run(numbers(), at, shared_mem=N)


def test_no_block_reads_what_another_wrote() -> None:
    body = SHARED + "if (blockIdx.x == 0 || all) shared[0] = 1;\ny[blockIdx.x] = shared[0];"
    run = kernel("real *y, bool all", body)
    run(numbers(), np.True_, grid=2, block=1, shared_mem=1)
    with refused("thread 0 of block 1 reads shared memory, which nothing wrote"):
        run(numbers(), np.False_, grid=2, block=1, shared_mem=1)


def test_a_missing_barrier() -> None:
    body = SHARED + "shared[threadIdx.x] = 1;\nif (wait) __syncthreads();\ny[threadIdx.x] = shared[63 - threadIdx.x];"
    run = kernel("real *y, bool wait", body)
    run(numbers(), np.True_, shared_mem=N)
    with refused("thread 0 of block 0 reads shared memory, which nothing wrote"):
        run(numbers(), np.False_, shared_mem=N)


def test_more_than_a_kernel_may_have_without_asking() -> None:
    body = "__shared__ real tile[1000], unused[64];\n" + SHARED
    body += "tile[threadIdx.x] = 1;\ny[threadIdx.x] = tile[threadIdx.x];\nif (all) y[0] = unused[0];"
    run = kernel("real *y, bool all", body)
    most = (48 << 10) - 4000
    run(numbers(), np.False_, shared_mem=most)
    with refused(
        rf"a block has 4000 bytes of static and {most + 4} of dynamic shared memory, more than the 49152 that it may"
        " have without a larger max_dynamic_shared_size_bytes"
    ):
        run(numbers(), np.False_, shared_mem=most + 4)
    run(numbers(), np.False_, shared_mem=most + 4, most_dynamic=most + 4)
    with refused(
        rf"a block has 4000 bytes of static and {MOST - 3999} of dynamic shared memory, more than the {MOST} that"
        " it may have"
    ):
        run(numbers(), np.False_, shared_mem=MOST - 3999, most_dynamic=MOST)
    run(numbers(), np.False_, shared_mem=MOST - 4000)
    with refused(r"a block has 0 bytes of static and 8 of dynamic .* more than the 4 .*"):
        run(numbers(), np.False_, shared_mem=8, most_dynamic=4)


def test_more_than_a_gpu_has() -> None:
    run = kernel("real *y", SHARED + "y[threadIdx.x] = 1;")
    with pytest.raises(
        EmulationError, match=rf"^k: max_dynamic_shared_size_bytes is {MOST + 1}, of {MOST} bytes of shared memory$"
    ):
        run(numbers(), most_dynamic=MOST + 1)
    run(numbers(), shared_mem=MOST, most_dynamic=MOST)
    with refused(rf"a block has 0 bytes of static and {MOST + 4} of dynamic shared memory, more than the {MOST} .*"):
        run(numbers(), shared_mem=MOST + 4)
