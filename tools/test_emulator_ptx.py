"""Instructions of PTX as the emulator executes them, against the manuals of CUDA and PTX, and what it refuses."""

from __future__ import annotations

import re
import uuid
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step.print_cuda import header
from cuslayer.surrogates import EXPONENTIAL
from tools import nvrtc
from tools.emulator import ptx
from tools.emulator.build import ARCHITECTURE
from tools.emulator.counts import ArrayCounts, LaunchCounts
from tools.emulator.driver import Emulator
from tools.emulator.kernel import SINGLE, N, kernel, refused, zeros

WORDS = np.random.default_rng(1).integers(0, 2**32, N, dtype=np.uint32)
LONG = np.random.default_rng(2).integers(0, 2**64, N, dtype=np.uint64)


@pytest.fixture(params=nvrtc.releases())
def emulator(request: Any) -> Emulator:
    return Emulator(release=request.param)


@pytest.mark.parametrize("topic", source.topics())
def test_every_release_makes_the_same_ptx(topic: str) -> None:
    """What the emulator executes of one release, it executes of all."""
    kind = header(cs.SRM().spiking.kind, EXPONENTIAL.shape.curve)
    text, options = source.text(topic, np.dtype(SINGLE), kind), (*source.OPTIONS, "-ftz=true", "-lineinfo")
    made = [nvrtc.compile(text, ARCHITECTURE, options, release)[0].decode() for release in nvrtc.releases()]
    # But for comments, the version of PTX and where a cached one was compiled.
    instructions = [re.sub(r"//.*|\.(version|file).*", "", each) for each in made]
    assert instructions[0] == instructions[-1]


def test_code_for_a_debugger_changes_no_later_code() -> None:
    """NVRTC goes on without optimization within a process that has compiled with -G."""

    def made(*options: str) -> str:
        # No earlier run has kept the code of this text.
        kind = header(cs.SRM().spiking.kind, EXPONENTIAL.shape.curve)
        text = source.text("scan", np.dtype(SINGLE), kind) + f"// {uuid.uuid4()}"
        return nvrtc.compile(text, ARCHITECTURE, (*source.OPTIONS, *options))[0].decode()

    before = made()
    assert ".debug" in made("-G")
    assert made() == before


def test_bits(emulator: Emulator) -> None:
    body = """
        const unsigned t = threadIdx.x;
        y[t] = __brev(x[t]);
        z[t] = __brevll(w[t]);
        n[6 * t] = __popc(x[t]);
        n[6 * t + 1] = __popcll(w[t]);
        n[6 * t + 2] = __clz(x[t] >> t % 32);
        n[6 * t + 3] = __clzll(w[t] >> t);
        n[6 * t + 4] = __ffs(x[t] & ~0u << t % 32);
        n[6 * t + 5] = __ffsll(w[t] & ~0ull << t);"""
    parameters = "const unsigned *x, const unsigned long long *w, unsigned *y, unsigned long long *z, int *n"
    y, z, n = np.zeros_like(WORDS), np.zeros_like(LONG), np.zeros((N, 6), np.int32)
    kernel(parameters, body, emulator=emulator)(WORDS, LONG, y, z, n)
    for t, (x, w) in enumerate(zip(WORDS.tolist(), LONG.tolist(), strict=True)):
        assert y[t] == int(f"{x:032b}"[::-1], 2)
        assert z[t] == int(f"{w:064b}"[::-1], 2)
        low, low_long = x >> t % 32 << t % 32, w >> t << t
        assert n[t].tolist() == [
            *(x.bit_count(), w.bit_count(), 32 - (x >> t % 32).bit_length(), 64 - (w >> t).bit_length()),
            *((low & -low).bit_length(), (low_long & -low_long).bit_length()),
        ]


def test_shifts_and_bytes(emulator: Emulator) -> None:
    """A shift by all bits or more is not that of the CPU."""
    body = """
        const unsigned t = threadIdx.x, low = x[t], high = x[63 - t];
        y[8 * t] = __funnelshift_l(low, high, t);
        y[8 * t + 1] = __funnelshift_r(low, high, t);
        y[8 * t + 2] = __byte_perm(low, high, 0x7 | t % 8 << 4 | 0x100 | 0x4000);
        y[8 * t + 3] = (low & ~(15u << 5)) | (high & 15) << 5;
        y[8 * t + 4] = low << t;
        y[8 * t + 5] = int(low) >> t;
        y[8 * t + 6] = __umulhi(low, high);
        y[8 * t + 7] = __mulhi(int(low), int(high));"""
    y = np.zeros((N, 8), np.uint32)
    kernel("const unsigned *x, unsigned *y", body, emulator=emulator)(WORDS, y)
    for t in range(N):
        low, high = int(WORDS[t]), int(WORDS[63 - t])
        signed, signed_high = int(np.int32(WORDS[t])), int(np.int32(WORDS[63 - t]))
        both, wraps = high << 32 | low, t % 32
        parts = both.to_bytes(8, "little")
        expected = [
            *(both << wraps >> 32, both >> wraps),
            int.from_bytes(bytes([parts[7], parts[t % 8], parts[1], parts[4]]), "little"),
            (low & ~(15 << 5)) | (high & 15) << 5,
            *(low << t, signed >> t, low * high >> 32, signed * signed_high >> 32),
        ]
        assert y[t].tolist() == [n & 0xFFFFFFFF for n in expected]


def test_integers(emulator: Emulator) -> None:
    body = """
        const unsigned t = threadIdx.x;
        const long long a = x[t], b = x[63 - t] | 1;
        y[0 * 64 + t] = a / b; y[1 * 64 + t] = a % b; y[2 * 64 + t] = int(a) / int(b); y[3 * 64 + t] = int(a) % int(b);
        y[4 * 64 + t] = (unsigned long long)a / (unsigned long long)b; y[5 * 64 + t] = min(a, b);
        y[6 * 64 + t] = max(int(a), int(b)); y[7 * 64 + t] = a * b + t; y[8 * 64 + t] = llabs(a);
        y[9 * 64 + t] = (signed char)a; y[10 * 64 + t] = (unsigned short)a;
        y[11 * 64 + t] = (long long)int(a) * int(b);"""
    x = LONG.view(np.int64)
    y = np.zeros((12, N), np.int64)
    kernel("const long long *x, long long *y", body, emulator=emulator)(x, y)

    def quotient(a: int, b: int) -> int:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)

    def wrapped(n: int, bits: int) -> int:
        return (n + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)

    for t in range(N):
        a, b = int(x[t]), int(x[63 - t]) | 1
        c, d = wrapped(a, 32), wrapped(b, 32)
        whole, half = quotient(a, b), quotient(c, d)
        large = (a % 2**64) // (b % 2**64)
        assert y[:, t].tolist() == [
            *(whole, a - whole * b, half, c - half * d, wrapped(large, 64), min(a, b), max(c, d)),
            *(wrapped(a * b + t, 64), abs(a), wrapped(a, 8), a % 2**16, c * d),
        ]


def test_divisions_by_zero() -> None:
    run = kernel("long long *y, int n", "y[threadIdx.x] = 7 / n;")
    run(zeros(), np.int32(7))
    with refused("thread 0 of block 0 divides by 0"):
        run(zeros(), np.int32(0))


def test_rounding(emulator: Emulator) -> None:
    body = """
        y[0] = a + b; y[1] = a - b; y[2] = a * b; y[3] = a / b;
        y[4] = fmaf(a, b, -(a * b)); y[5] = sqrtf(a);
        y[6] = 1 / a;
        z[0] = c + d; z[1] = c - d; z[2] = c * d; z[3] = c / d;
        z[4] = fma(c, d, -(c * d)); z[5] = sqrt(c);
        z[6] = 1 / c; y[7] = float(c); y[8] = float(i); y[9] = fminf(a, nan);
        y[10] = fmaxf(nan, b); y[11] = fmaxf(-0.0f * a, 0 * a);
        z[7] = a; z[8] = double(i); z[9] = floor(-c); z[10] = rint(d); z[11] = fabs(-d);"""
    y, z = np.zeros(12, SINGLE), np.zeros(12)
    a, b, c, d, i = SINGLE(1.1), SINGLE(0.3), np.float64(1.1), np.float64(0.3), np.int64(2**60 + 2**36 + 1)
    parameters = "float *y, double *z, float a, float b, double c, double d, long long i, float nan"
    kernel(parameters, body, emulator=emulator)(y, z, a, b, c, d, i, SINGLE(np.nan), block=1)
    residue = SINGLE(float(a) * float(b) - float(a * b))
    expected = [a + b, a - b, a * b, a / b, residue, np.sqrt(a), 1 / a, SINGLE(c), SINGLE(i), a, b, 0]
    assert y.tolist() == expected
    assert not np.signbit(y[11])
    exact = np.longdouble(c) * np.longdouble(d) - np.longdouble(c * d)
    assert z[4] == pytest.approx(float(exact), rel=1e-3)
    z[4] = 0
    assert z.tolist() == [c + d, c - d, c * d, c / d, 0, np.sqrt(c), 1 / c, float(a), float(i), -2, 0, d]


def test_numbers_become_integers(emulator: Emulator) -> None:
    body = """
        long long *const to = y + 5 * threadIdx.x;
        const float a = x[threadIdx.x];
        to[0] = __float2int_rn(a); to[1] = __float2int_rd(a); to[2] = int(a); to[3] = unsigned(a);
        to[4] = (long long)a;"""
    x = np.array([-2.5, 3.7, 0.5, 1.5, 3e9, -1e20, np.nan], SINGLE)
    y = np.zeros((7, 5), np.int64)
    kernel("const float *x, long long *y", body, emulator=emulator)(x, y, block=7)
    most, least = 2**31 - 1, -(2**31)
    assert y.tolist() == [
        [-2, -3, -2, 0, -2],
        [4, 3, 3, 3, 3],
        [0, 0, 0, 0, 0],
        [2, 1, 1, 1, 1],
        [most, most, most, 3 * 10**9, 3 * 10**9],
        [least, least, least, 0, -(2**63)],
        [0, 0, 0, 0, -(2**63)],
    ]


@pytest.mark.parametrize("flush", [False, True])
def test_subnormal_numbers(flush: bool) -> None:
    body = """
        y[0] = x[0] * a; y[1] = x[1] + a * 0; y[2] = x[1] == 0; y[3] = x[1]; y[4] = fmaf(x[0], a, 0);
        y[5] = x[0] - x[0] * real(0.75); z[0] = w[0] * 0.5;"""
    run = kernel("const real *x, real *y, real a, const double *w, double *z", body, emulator=Emulator(flush=flush))
    least = np.finfo(SINGLE).tiny
    x, y, z = np.array([least, least / 2], SINGLE), np.zeros(6, SINGLE), np.zeros(1)
    run(x, y, SINGLE(0.5), np.array([np.finfo(float).tiny]), z, block=1)
    kept = [least / 2, least / 2, 0, least / 2, least / 2, least / 4]
    assert y.tolist() == ([0, 0, 1, least / 2, 0, least] if flush else kept)
    # Not of double.
    assert z[0] > 0


def test_approximate_instructions_are_perturbed() -> None:
    x = np.linspace(-5, 5, N, dtype=SINGLE)
    found = []
    for perturbed in False, True:
        y = np.zeros(N, SINGLE)
        body = "y[threadIdx.x] = exp2f(x[threadIdx.x]);"
        kernel("const float *x, float *y", body, emulator=Emulator(perturbed=perturbed))(x, y)
        found.append(y.view(np.int32).astype(int))
    exact = np.exp2(x.astype(float)).astype(SINGLE).view(np.int32)
    assert (found[0] == exact).all()
    assert set(found[1] - found[0]) == {-2, -1, 0, 1, 2}


def test_contraction_is_seen() -> None:
    """A product and a sum that the compiler joins round once; those that the assembler may join are refused."""
    a = np.random.default_rng(0).standard_normal((3, N)).astype(SINGLE)
    y, z = np.zeros(N, SINGLE), np.zeros(N, SINGLE)
    body = "const unsigned t = threadIdx.x;\ny[t] = {}(a[t] * a[64 + t] + a[128 + t]);"
    kernel("const real *a, real *y", body.format(""))(a, y)
    assert (y == a[0] * a[1] + a[2]).all()
    joined = Emulator(options=("-std=c++17", "-fmad=true"))
    kernel("const real *a, real *y", body.format(""), emulator=joined)(a, z)
    assert (y != z).any()
    with pytest.raises(ptx.PtxError, match=r"^k: the instruction 'mul.ftz.f32 .*' is not supported$"):
        kernel("const real *a, real *y", "y[threadIdx.x] = a[threadIdx.x] * a[0];", emulator=joined)(a, z)


@pytest.mark.parametrize(
    "instruction",
    [
        "mov.u32 x, %clock;",
        "add.sat.s32 x, n, n;",
        "vadd.s32.s32.s32 x, n, n;",
        "ld.global.cv.u32 x, [n];",
        "bar.sync 1;",
        "bar.arrive 0, 64;",
        "prefetch.global.L1 [n];",
    ],
)
def test_unknown_instructions_are_refused(instruction: str) -> None:
    inside = instruction.replace("x", "%0").replace("[n]", "[%2]").replace("n,", "%1,").replace("n;", "%1;")
    inside = inside.replace("%cl", "%%cl")
    body = f'int x = 0;\nasm volatile("{inside}" : "+r"(x) : "r"(n), "l"(y));\ny[threadIdx.x] = x;'
    with pytest.raises(ptx.PtxError, match=r"^k: the instruction '.*' is not supported$"):
        kernel("int *y, int n", body)(np.zeros(N, np.int32), np.int32(1))


# What accesses cost


def counted(parameters: str, body: str, *arguments: Any, **sizes: Any) -> LaunchCounts:
    emulator = Emulator(counting=True)
    kernel(parameters, body, emulator=emulator)(*arguments, **sizes)
    (counts,) = emulator.counts
    return counts


def ones(size: int, dtype: Any = SINGLE) -> np.ndarray[Any, Any]:
    return np.ones(size, dtype)


@pytest.mark.parametrize(("stride", "sectors"), [(0, 1), (1, 4), (2, 8), (3, 12), (8, 32), (100, 32)])
def test_sectors(stride: int, sectors: int) -> None:
    parameters, body = "const real *x, real *y, long long n", "y[threadIdx.x] = x[threadIdx.x * n];"
    counts = counted(parameters, body, ones(3200), ones(32), stride, block=32)
    assert (counts.kernel, counts.grid, counts.block, counts.shared_bytes) == ("k", (1, 1, 1), (32, 1, 1), 0)
    assert counts.sectors["x"] == ArrayCounts(1, sectors, 4 if stride else 1)
    assert counts.sectors["y"] == ArrayCounts(0, 0, 0, 1, 4, 4)


def test_vectors_and_atomics_are_one_access() -> None:
    body = "reinterpret_cast<float4 *>(y)[threadIdx.x] = reinterpret_cast<const float4 *>(x)[threadIdx.x];"
    counts = counted("const real *x, real *y", body, ones(128), ones(128), block=7)
    assert counts.sectors["x"][:3] == counts.sectors["y"][3:6] == (1, 4, 4)
    counts = counted("unsigned *y", "atomicOr(y + threadIdx.x % 16, 1u);", ones(16, np.uint32), block=32)
    assert counts.sectors["y"] == ArrayCounts(atomics=1, changed=2, ideal_changed=2)


def test_a_loop_and_lanes_without_work() -> None:
    body = "for (int i = 0; i < 3; ++i) if (threadIdx.x < n) y[i * 64 + threadIdx.x] = x[threadIdx.x];"
    counts = counted("const real *x, real *y, long long n", body, ones(64), ones(192), 40)
    assert counts.sectors["y"][3:6] == (6, 3 * 5, 3 * 5)


@pytest.mark.parametrize(
    ("kind", "stride", "conflicts"),
    [
        *(("float", 1, 0), ("float", 2, 1), ("float", 32, 31), ("float", 33, 0), ("unsigned char", 1, 0)),
        *(("double", 1, 0), ("double", 2, 2), ("double", 16, 2 * 15), ("float4", 1, 0), ("float4", 8, 4 * 7)),
    ],
)
def test_bank_conflicts(kind: str, stride: int, conflicts: int) -> None:
    body = f"""
        extern __shared__ __align__(16) unsigned char shared[];
        {kind} *const tile = reinterpret_cast<{kind} *>(shared);
        tile[threadIdx.x * n] = {{}};
        __syncthreads();
        y[threadIdx.x] = reinterpret_cast<const char *>(tile)[0];"""
    counts = counted("real *y, long long n", body, ones(32), stride, block=32, shared_mem=1 << 15)
    assert counts.shared_bytes == 1 << 15
    assert counts.conflicts == conflicts
