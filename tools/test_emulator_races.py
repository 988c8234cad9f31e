"""Data races that the emulator detects, each next to correct accesses."""

from __future__ import annotations

import numpy as np
import pytest

from tools.emulator.kernel import SINGLE, N, kernel, numbers, refused, zeros

INTEGERS = np.arange(N)

REVERSE = """
    __shared__ long long tile[64];
    const unsigned t = threadIdx.x;
    tile[t] = x[t];
    if (wait) __syncthreads();
    y[t] = tile[apart ? t : 63 - t];"""


def test_a_missing_barrier() -> None:
    run = kernel("const long long *x, long long *y, bool wait, bool apart", REVERSE)
    y = zeros()
    run(INTEGERS, y, np.True_, np.False_)
    assert (y == INTEGERS[::-1]).all()
    run(INTEGERS, y, np.False_, np.True_)
    assert (y == INTEGERS).all()
    with refused("thread 0 of block 0 reads .*tile.*, which nothing wrote"):
        run(INTEGERS, y, np.False_, np.False_)


def test_a_barrier_is_missing_before_memory_is_used_again() -> None:
    body = """
        __shared__ long long held;
        for (int round = 0; round < 3; ++round) {
            if (threadIdx.x == 5) held = round;
            __syncthreads();
            y[threadIdx.x] += held;
            if (wait) __syncthreads();
        }"""
    run = kernel("long long *y, bool wait", body)
    y = zeros()
    run(y, np.True_)
    assert (y == 3).all()
    with refused("thread 5 of block 0 writes .*held.*, which thread 0 read with no barrier between"):
        run(y, np.False_)


def test_shared_memory_is_another_in_every_block() -> None:
    body = """
        __shared__ real held;
        if (blockIdx.x == 0 || all) held = x[0];
        y[blockIdx.x] = held;"""
    run = kernel("const real *x, real *y, bool all", body)
    run(numbers(), numbers(), np.True_, grid=2, block=1)
    with refused("thread 0 of block 1 reads .*held.*, which nothing wrote"):
        run(numbers(), numbers(), np.False_, grid=2, block=1)


def test_bounds_of_shared_memory() -> None:
    """An access past the end of a variable does not reach the next one, and past dynamic shared memory none."""
    body = """
        __shared__ real one[64], other[64];
        extern __shared__ __align__(16) unsigned char shared[];
        one[threadIdx.x] = x[threadIdx.x];
        other[threadIdx.x] = x[threadIdx.x];
        reinterpret_cast<real *>(shared)[threadIdx.x + by] = x[threadIdx.x];
        __syncthreads();
        y[threadIdx.x] = one[(threadIdx.x + 1) % 64 + at] + other[threadIdx.x];"""
    run = kernel("const real *x, real *y, long long at, long long by", body)
    run(numbers(), numbers(), 0, 0, shared_mem=4 * N)
    with refused("thread 62 of block 0 reads .*, of no variable"):
        run(numbers(), numbers(), 1, 0, shared_mem=4 * N)
    for by in 0, 1, -65, -(10**6):
        with refused("thread .* of block 0 writes .*, of no variable"):
            run(numbers(), numbers(), 0, by, shared_mem=4 * N if by else 4 * N - 4)


MOST = 227 << 10


def test_more_shared_memory_than_a_kernel_may_have() -> None:
    body = """
        __shared__ real tile[1000];
        extern __shared__ unsigned char shared[];
        tile[threadIdx.x] = y[threadIdx.x];
        shared[threadIdx.x] = 1;
        __syncthreads();
        y[threadIdx.x] = tile[63 - threadIdx.x] + shared[0];"""
    run = kernel("real *y", body)
    most = (48 << 10) - 4000
    run(numbers(), shared_mem=most)
    said = "a block has 4000 bytes of static and {} of dynamic shared memory, more than the {} that it may have"
    with refused(said.format(most + 4, 48 << 10) + " without a larger max_dynamic_shared_size_bytes"):
        run(numbers(), shared_mem=most + 4)
    run(numbers(), shared_mem=most + 4, most_dynamic=most + 4)
    with refused(said.format(MOST - 3999, MOST)):
        run(numbers(), shared_mem=MOST - 3999, most_dynamic=MOST)
    run(numbers(), shared_mem=MOST - 4000)
    with refused(f"max_dynamic_shared_size_bytes is {MOST + 1}, of {MOST} bytes of shared memory"):
        run(numbers(), most_dynamic=MOST + 1)


# One thread writes y[0]; past a barrier of some kind another one reads or writes it.
RACE = """
    const long long i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i == first) y[0] = 1;
    if (barrier == 1) __syncthreads();
    if (barrier == 2) __syncwarp();
    if (barrier == 3) __shfl_sync(0xffffffff, 0, 0);
    if (i == second) { if (reads) z[0] = y[0]; else y[0] = 1; }"""


@pytest.mark.parametrize("reads", [True, False])
def test_races_in_global_memory(reads: bool) -> None:
    run = kernel("long long *y, long long *z, long long first, long long second, long long barrier, bool reads", RACE)
    none, block, warp, shuffle = range(4)

    def race(first: int, second: int, barrier: int) -> None:
        run(zeros(1), zeros(1), first, second, barrier, np.bool_(reads), grid=2)

    verb = "reads" if reads else "writes"
    race(3, 3, none)
    race(3, 4, block)
    race(3, 63, block)
    race(3, 4, warp)
    for first, second, barrier in (3, 4, none), (3, 63, none), (3, 63, warp), (3, 4, shuffle):
        with refused(rf"thread {second} of block 0 {verb} y\[0\], which thread {first} wrote with no barrier between"):
            race(first, second, barrier)
    with refused(rf"thread 0 of block 1 {verb} y\[0\], which another block wrote"):
        race(3, 64, block)


def test_writes_after_reads_of_several_threads() -> None:
    body = """
        const unsigned t = threadIdx.x;
        if (t == 1 || t == other) z[t] = y[0];
        __syncwarp();
        if (t == 1) y[0] = 1;"""
    run = kernel("long long *y, long long *z, long long other", body)
    run(zeros(), zeros(), 1)
    run(zeros(), zeros(), 2)
    with refused(r"thread 1 of block 0 writes y\[0\], which other threads too read with no barrier between"):
        run(zeros(), zeros(), 40)


def test_what_is_atomic_is_so_for_all() -> None:
    body = """
        unsigned long long *count = (unsigned long long *)y;
        if (threadIdx.x < 3) atomicAdd(count, 1ull);
        if (wait) __syncthreads();
        if (threadIdx.x == 2) z[0] = *count;"""
    run = kernel("long long *y, long long *z, bool wait", body)
    z = zeros(1)
    run(zeros(1), z, np.True_)
    assert z == 3
    with refused(r"thread 2 of block 0 reads y\[0\], which thread 0 wrote with no barrier between"):
        run(zeros(1), z, np.False_)


def test_sums_of_floats_by_atomics_depend_on_the_order() -> None:
    run = kernel("real *y, const real *x", "atomicAdd(y, x[threadIdx.x]);")
    y = np.zeros(1, SINGLE)
    run(y, np.arange(N, dtype=SINGLE))
    assert y == 63 * 32
    with refused(r"y\[0\] is 1.0 with threads ascending, 0.0 with threads descending"):
        run(np.zeros(1, SINGLE), np.array([1e8, -1e8, 1], SINGLE), block=3)


def test_the_last_block_sums_up() -> None:
    body = """
        y[blockIdx.x] = blockIdx.x;
        if ((long long)blockIdx.x < fences) __threadfence();
        if (atomicAdd((unsigned long long *)count, 1ull) == gridDim.x - 1)
            for (int b = 0; b < gridDim.x; ++b) sum[0] += y[b];"""
    run = kernel("long long *y, long long *count, long long *sum, long long fences", body)
    total = zeros(1)
    run(zeros(), zeros(1), total, 5, grid=5, block=1)
    assert total == 10
    for fences in (0, 1, 3):
        with refused(r"thread 0 of block 4 reads y\[\d\], which another block wrote"):
            run(zeros(), zeros(1), total, fences, grid=5, block=1)


def test_lanes_that_wait_without_the_others() -> None:
    """What they order is not kept apart from what the others do, so it is refused."""
    body = """
        if (all || threadIdx.x < 4) __syncwarp(all ? ~0u : 15u);
        __syncthreads();
        y[threadIdx.x] = 1;"""
    run = kernel("long long *y, bool all", body)
    run(zeros(), np.True_)
    with refused(r"block 0 calls __syncwarp\(\) for a part of a warp, which is not known here"):
        run(zeros(), np.False_)
