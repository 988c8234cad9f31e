"""Barriers, shuffles and other CUDA functions in the emulator, against CUDA's manual."""

from __future__ import annotations

import numpy as np
import pytest

from tools.emulator.driver import Emulator
from tools.emulator.kernel import SINGLE, N, kernel, numbers, refused, zeros


def test_a_sum_over_a_block() -> None:
    body = """
        __shared__ real part[128];
        const unsigned t = threadIdx.x;
        part[t] = x[blockIdx.x * 128 + t];
        for (unsigned half = 64; half > 0; half /= 2) {
            __syncthreads();
            if (t < half) part[t] += part[t + half];
        }
        if (t == 0) y[blockIdx.x] = part[0];"""
    x, y = numbers(1280), Emulator().empty(10, SINGLE)
    kernel("const real *x, real *y", body)(x, y, grid=10, block=128)
    np.testing.assert_allclose(y, x.reshape(10, 128).sum(1), rtol=1e-5)


def test_a_barrier_that_some_threads_do_not_reach() -> None:
    run = kernel("long long *y, long long n", "if (threadIdx.x < n)\n__syncthreads();\ny[threadIdx.x] = 1;")
    run(zeros(), N)
    with refused(r"block 0 stands still: 63 threads wait at bar.sync 0 in kernels.cu:4, 1 thread has ended"):
        run(zeros(), N - 1)
    with refused(r"block 0 stands still: 1 thread waits at bar.sync 0 in kernels.cu:4, 63 threads have ended"):
        run(zeros(), 1)
    # The fibers of a refused launch begin anew.
    run(zeros(), N)


def test_barriers_of_two_branches() -> None:
    run = kernel(
        "long long *y, long long n", "if (threadIdx.x < n)\n__syncthreads();\nelse\n__syncthreads();\ny[0] = 1;"
    )
    run(zeros(), 1, block=1)
    with refused(
        r"block 0 stands still: 2 threads wait at bar.sync 0 in kernels.cu:4,"
        r" 62 threads wait at bar.sync 0 in kernels.cu:6, 0 threads have ended"
    ):
        run(zeros(), 2)


def shuffled(operation: str, lane: int, operand: int, width: int) -> int:
    """Return the lane that the manual says a shuffle reads."""
    first = lane // width * width
    if operation == "":
        return first + operand % width
    if operation == "_up":
        return lane - operand if lane - operand >= first else lane
    if operation == "_down":
        return lane + operand if lane + operand < first + width else lane
    return lane ^ operand if lane ^ operand < first + width else lane


@pytest.mark.parametrize("operation", ["", "_up", "_down", "_xor"])
def test_shuffles(operation: str) -> None:
    body = f"y[threadIdx.x] = __shfl{operation}_sync(0xffffffff, real(threadIdx.x), operand, width);"
    run = kernel("real *y, long long operand, long long width", body)
    for width in 1, 2, 4, 8, 16, 32:
        for operand in 0, 1, 2, 3, 5, 8, 16, 31:
            y = np.zeros(N, SINGLE)
            run(y, operand, width)
            lanes = [shuffled(operation, lane, operand, width) for lane in range(32)]
            assert y.tolist() == [*lanes, *(32 + lane for lane in lanes)]


def test_a_sum_over_a_warp() -> None:
    body = """
        real sum = x[threadIdx.x];
        for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffff, sum, offset);
        if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = sum;"""
    run = kernel("const real *x, real *y", body)
    x, y = np.arange(N, dtype=SINGLE), np.zeros(2, SINGLE)
    run(x, y)
    assert y.tolist() == [sum(range(32)), sum(range(32, 64))]
    with refused(r"thread 32 of block 0 takes a number of lane 16, which takes no part"):
        run(x, y, block=40)


def test_shuffles_from_lanes_that_have_ended() -> None:
    body = """
        if (threadIdx.x >= n) return;
        y[threadIdx.x] = __shfl_sync(0xffffffff, threadIdx.x, from);"""
    run = kernel("long long *y, long long n, long long from", body)
    y = zeros()
    run(y, 8, 7)
    assert y.tolist() == 8 * [7] + 56 * [0]
    with refused("thread 0 of block 0 takes a number of lane 8, which takes no part"):
        run(y, 8, 8)


def test_masks() -> None:
    body = """
        const unsigned lane = threadIdx.x % 32;
        if (lane < 16) y[threadIdx.x] = __shfl_sync(0x0000ffff, lane, from);
        else y[threadIdx.x] = __shfl_xor_sync(mask, lane, 1);
        __syncthreads();"""
    run = kernel("long long *y, long long from, long long mask", body)
    y = zeros()
    run(y, 9, 0xFFFF0000)
    assert y.tolist() == 2 * (16 * [9] + [lane ^ 1 for lane in range(16, 32)])
    with refused("thread 0 of block 0 takes a number of lane 16, which takes no part"):
        run(y, 16, 0xFFFF0000)
    with refused(r"thread 31 of block 0 names lanes without its own, 0x7fff0000"):
        run(y, 9, 0x7FFF0000)
    with refused(r"block 0 stands still: 32 threads wait at bar.sync 0 in .*, 32 threads wait at shfl.sync.bfly.*"):
        run(y, 9, 0xFFFFFFFF)


def test_votes() -> None:
    body = """
        const unsigned t = threadIdx.x;
        if (t == 40) return;
        const unsigned ballot = __ballot_sync(0xffffffff, t % divisor == 0);
        const int any = __any_sync(0xffffffff, t % divisor == 0);
        const int all = __all_sync(0xffffffff, t % divisor == 0);
        y[t] = ballot; y[64 + t] = any; y[128 + t] = all;"""
    run = kernel("long long *y, long long divisor", body)
    for divisor in 1, 2, 5, 33, 40:
        y = np.full(3 * N, -1)
        run(y, divisor)
        for first in 0, 32:
            lanes = [t for t in range(first, first + 32) if t != 40]
            holds = [t for t in lanes if t % divisor == 0]
            assert set(y[lanes]) == {sum(1 << t - first for t in holds)}
            assert set(y[N:][lanes]) == {bool(holds)}
            assert set(y[2 * N :][lanes]) == {holds == lanes}
        assert y[[40, N + 40, 2 * N + 40]].tolist() == 3 * [-1]


def test_barriers_that_count() -> None:
    body = """
        const unsigned t = threadIdx.x;
        y[t] = __syncthreads_count(t < n ? 4 : 0);
        y[64 + t] = __syncthreads_and(t < n);
        y[128 + t] = __syncthreads_or(t < n);"""
    run = kernel("long long *y, long long n", body)
    for n in 0, 1, 63, 64:
        y = zeros(3 * N)
        run(y, n)
        assert (y.reshape(3, N) == np.array([[n], [n == 64], [n > 0]])).all()


@pytest.mark.parametrize("kind", ["int", "unsigned", "unsigned long long"])
def test_atomics(kind: str) -> None:
    body = f"""
        __shared__ {kind} sum, least, most, last, met, missed;
        const {kind} i = threadIdx.x;
        if (i == 0) {{ sum = 7; least = 1000; most = 2; last = 5; met = missed = 9; }}
        __syncthreads();
        atomicAdd(&sum, 2);
        atomicMin(&least, 100 - i);
        atomicMax(&most, i);
        if (i == 3) y[0] = atomicExch(&last, i);
        if (i == 4) y[1] = atomicCAS(&met, 9, i);
        if (i == 5) y[2] = atomicCAS(&missed, 8, i);
        __syncthreads();
        if (i == 0) {{ z[0] = sum; z[1] = least; z[2] = most; z[3] = last; z[4] = met; z[5] = missed; }}"""
    y, z = zeros(3), zeros(6)
    kernel("long long *y, long long *z", body)(y, z)
    assert y.tolist() == [5, 9, 9]
    assert z.tolist() == [7 + 2 * N, 37, 63, 3, 4, 9]
