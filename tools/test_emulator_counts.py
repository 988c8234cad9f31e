"""What the emulator counts of a warp's accesses, against NVIDIA's description of sectors, banks and divergence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tools.emulator.counts import ArrayCounts, LaunchCounts
from tools.emulator.driver import Emulator
from tools.emulator.kernel import SINGLE, N, kernel, refused

X = "const real *x, real *y, long long n"


def counted(parameters: str, body: str, *arguments: Any, above: str = "", **sizes: Any) -> LaunchCounts:
    emulator = Emulator(counting=True)
    kernel(parameters, body, above, emulator)(*arguments, **sizes)
    (counts,) = emulator.counts
    return counts


def ones(size: int, dtype: Any = SINGLE) -> np.ndarray[Any, Any]:
    return np.ones(size, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_neighbours(dtype: Any) -> None:
    size = np.dtype(dtype).itemsize
    kind = {1: "unsigned char", 2: "unsigned short", 4: "float", 8: "double"}[size]
    body = "y[blockIdx.x * 64 + threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];"
    counts = counted(f"const {kind} *x, {kind} *y", body, ones(3 * N, dtype), ones(3 * N, dtype), grid=3)
    assert (counts.kernel, counts.grid, counts.block, counts.shared_bytes) == ("k", (3, 1, 1), (64, 1, 1), 0)
    assert counts.sectors["x"] == ArrayCounts(6, 6 * size, 6 * size, 6 * size)
    assert counts.sectors["y"] == ArrayCounts(0, 0, 0, 0, 6, 6 * size, 6 * size, 6 * size)
    assert (counts.accesses, counts.partial, counts.lanes, counts.divergence) == (12, 0, 12 * 32, 0)
    assert (counts.shared_accesses, counts.conflicts) == (0, 0)


@pytest.mark.parametrize(("stride", "sectors"), [(0, 1), (1, 4), (2, 8), (3, 12), (8, 32), (100, 32)])
def test_strides(stride: int, sectors: int) -> None:
    counts = counted(X, "y[threadIdx.x] = x[threadIdx.x * n];", ones(3200), ones(32), stride, block=32)
    assert counts.sectors["x"][:3] == (1, sectors, 4 if stride else 1)
    assert counts.sectors["y"][4:7] == (1, 4, 4)


@pytest.mark.parametrize("lanes", [1, 7, 32])
def test_vectors_are_one_access(lanes: int) -> None:
    body = "reinterpret_cast<float4 *>(y)[threadIdx.x] = reinterpret_cast<const float4 *>(x)[threadIdx.x];"
    counts = counted(X, body, ones(128), ones(128), 0, block=lanes)
    wanted = -(-lanes // 2)
    assert counts.sectors["x"][:3] == (1, wanted, wanted)
    assert counts.sectors["y"][4:7] == (1, wanted, wanted)


def test_atomics_are_neither_reads_nor_writes() -> None:
    counts = counted("unsigned *y", "atomicOr(y + threadIdx.x % 16, 1u);", ones(16, np.uint32), block=32)
    assert counts.sectors["y"] == ArrayCounts(atomics=1, changed=2, ideal_changed=2, distinct_changed=2)


BANKS = """
    extern __shared__ __align__(16) unsigned char shared[];
    {kind} *const tile = reinterpret_cast<{kind} *>(shared);
    tile[threadIdx.x * n] = {{}};
    __syncwarp();
    y[threadIdx.x] = 1;"""


@pytest.mark.parametrize(
    ("kind", "stride", "conflicts"),
    [
        ("float", 1, 0),
        ("float", 2, 1),
        ("float", 3, 0),
        ("float", 16, 15),
        ("float", 32, 31),
        ("float", 33, 0),
        # Neighbours share a word.
        ("unsigned char", 1, 0),
        ("unsigned short", 2, 0),
        # Each half of the warp takes 32 words, each quarter of it.
        ("double", 1, 0),
        ("double", 2, 2),
        ("double", 16, 2 * 15),
        ("float4", 1, 0),
        ("float4", 2, 4),
        ("float4", 8, 4 * 7),
    ],
)
def test_bank_conflicts(kind: str, stride: int, conflicts: int) -> None:
    counts = counted(X, BANKS.format(kind=kind), ones(1), ones(32), stride, block=32, shared_mem=1 << 15)
    assert counts.shared_bytes == 1 << 15
    assert (counts.shared_accesses, counts.conflicts) == (1, conflicts)


def test_a_word_for_all_lanes_is_no_conflict() -> None:
    body = """
        __shared__ real tile[64];
        tile[threadIdx.x] = 1;
        __syncthreads();
        y[threadIdx.x] = tile[32 * (threadIdx.x % n)];
        for (int k = 0; k < 32; ++k) y[threadIdx.x] += tile[k];"""
    assert counted(X, body, ones(1), ones(64), 1).conflicts == 0
    assert counted(X, body, ones(1), ones(64), 2).conflicts == 2


def test_lanes_without_work() -> None:
    body = "if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x];\nx += 0;"
    counts = counted(X, body, ones(64), ones(64), 40)
    assert (counts.accesses, counts.partial, counts.lanes) == (4, 2, 80)
    assert counts.divergence == 0.5
    # Lanes that never were are not missed.
    assert counted(X, body, ones(64), ones(64), 40, block=40).divergence == 0


LOOPS = """
    const long long rows = outer[threadIdx.x], columns = inner[threadIdx.x];
    real sum = 0;
    for (int i = 0; i < rows; ++i) {
        const int used = (columns + 5 * i * threadIdx.x) % 7;
        for (int k = 0; k < used; ++k) sum += x[k];
        y[32 * i + threadIdx.x] = sum;
    }"""


def test_nested_loops_of_different_lengths() -> None:
    """Each iteration of the inner loop is one access of the lanes that are in it, and so is what follows it."""
    rng = np.random.default_rng(3)
    outer, inner = rng.integers(0, 4, 32), rng.integers(0, 7, 32)
    parameters = "const long long *outer, const long long *inner, const real *x, real *y"
    counts = counted(parameters, LOOPS, outer, inner, ones(6), ones(128), block=32)
    rows = np.arange(outer.max())[:, None]
    used = np.where(outer > rows, (inner + 5 * rows * np.arange(32)) % 7, 0)
    assert counts.sectors["x"].reads == used.max(1).sum()
    assert counts.sectors["y"].writes == outer.max()
    assert counts.lanes == 2 * 32 + outer.sum() + used.sum()
    partial = sum((row > k).sum() < 32 for row in used for k in range(row.max()))
    assert counts.partial == partial + sum((outer > i).sum() < 32 for i in range(outer.max()))


def test_branches_meet_again() -> None:
    body = """
        for (int k = 0; k < 8; ++k) {
            if ((threadIdx.x + k) % 2) y[threadIdx.x] += x[k];
            else y[threadIdx.x] -= x[k + 8];
            y[32 + threadIdx.x] += k;
        }"""
    counts = counted(X, body, ones(16), ones(64), 0, block=32)
    assert counts.sectors["x"].reads == 16
    assert counts.sectors["y"].writes == 8 * 3
    assert counts.partial == counts.accesses - 2 * 8


def test_barriers_part_no_warp() -> None:
    body = """
        __shared__ real tile[64];
        for (int k = 0; k < 5; ++k) {
            tile[threadIdx.x] = x[k * 64 + threadIdx.x];
            __syncthreads();
            y[threadIdx.x] += tile[63 - threadIdx.x] + __shfl_xor_sync(0xffffffff, tile[threadIdx.x], 1);
            __syncthreads();
        }"""
    counts = counted(X, body, ones(320), ones(64), 0)
    assert counts.sectors["x"][:3] == (10, 40, 40)
    assert counts.sectors["y"][4:7] == (10, 40, 40)
    assert (counts.shared_accesses, counts.conflicts, counts.partial) == (30, 0, 0)


def test_only_what_ends_is_counted_and_only_on_request() -> None:
    emulator = Emulator(counting=True)
    run = kernel(X, "y[threadIdx.x + n] = 1;", emulator=emulator)
    with refused(".*outside.*"):
        run(ones(1), ones(64), 1)
    assert emulator.counts == []
    run(ones(1), ones(64), 0)
    assert len(emulator.counts) == 1
    emulator = Emulator()
    kernel(X, "y[threadIdx.x] = 1;", emulator=emulator)(ones(1), ones(64), 0)
    assert emulator.counts == []
