"""CUDA's functions of bits and numbers, vectors, parameter types and shifts in the emulator, against CUDA's manual."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tools.emulator.driver import Emulator
from tools.emulator.kernel import SINGLE, N, kernel, refused, zeros

WORDS = np.random.default_rng(1).integers(0, 2**32, N, dtype=np.uint32)
LONG = np.random.default_rng(2).integers(0, 2**64, N, dtype=np.uint64)


def test_reversed_and_counted_bits() -> None:
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
    kernel(parameters, body)(WORDS, LONG, y, z, n)
    for t, (x, w) in enumerate(zip(WORDS.tolist(), LONG.tolist(), strict=True)):
        assert y[t] == int(f"{x:032b}"[::-1], 2)
        assert z[t] == int(f"{w:064b}"[::-1], 2)
        low, low_long = x >> t % 32 << t % 32, w >> t << t
        assert n[t].tolist() == [
            *(x.bit_count(), w.bit_count(), 32 - (x >> t % 32).bit_length(), 64 - (w >> t).bit_length()),
            *((low & -low).bit_length(), (low_long & -low_long).bit_length()),
        ]


def test_funnel_shifts_and_bytes() -> None:
    body = """
        const unsigned t = threadIdx.x, low = x[t], high = x[63 - t];
        y[5 * t] = __funnelshift_l(low, high, t);
        y[5 * t + 1] = __funnelshift_r(low, high, t);
        y[5 * t + 2] = __funnelshift_lc(low, high, t);
        y[5 * t + 3] = __funnelshift_rc(low, high, t);
        y[5 * t + 4] = __byte_perm(low, high, 0x7 | t % 8 << 4 | 0x100 | 0x4000);"""
    y = np.zeros((N, 5), np.uint32)
    kernel("const unsigned *x, unsigned *y", body)(WORDS, y)
    for t in range(N):
        low, high = int(WORDS[t]), int(WORDS[63 - t])
        both, wraps, clamps = high << 32 | low, t % 32, min(t, 32)
        parts = both.to_bytes(8, "little")
        assert y[t].tolist() == [
            *(both << wraps >> 32 & 0xFFFFFFFF, both >> wraps & 0xFFFFFFFF),
            *(both << clamps >> 32 & 0xFFFFFFFF, both >> clamps & 0xFFFFFFFF),
            int.from_bytes(bytes([parts[7], parts[t % 8], parts[1], parts[4]]), "little"),
        ]


def test_arithmetic_by_name() -> None:
    body = """
        y[0] = __fadd_rn(a, b); y[1] = __fsub_rn(a, b); y[2] = __fmul_rn(a, b); y[3] = __fdiv_rn(a, b);
        y[4] = __fmaf_rn(a, b, -a * b); y[5] = __fsqrt_rn(a); y[6] = __frcp_rn(a);
        z[0] = __dadd_rn(c, d); z[1] = __dsub_rn(c, d); z[2] = __dmul_rn(c, d); z[3] = __ddiv_rn(c, d);
        z[4] = __fma_rn(c, d, -c * d); z[5] = __dsqrt_rn(c); z[6] = __drcp_rn(c);
        y[7] = __expf(a); y[8] = __logf(a); y[9] = __fdividef(a, b); y[10] = __saturatef(a); y[11] = __saturatef(-a);"""
    y, z = np.zeros(12, SINGLE), np.zeros(7)
    a, b, c, d = SINGLE(1.1), SINGLE(0.3), np.float64(1.1), np.float64(0.3)
    kernel("float *y, double *z, float a, float b, double c, double d", body)(y, z, a, b, c, d, block=1)
    residue = float(a) * float(b) - float(a * b)
    assert y[:7].tolist() == [a + b, a - b, a * b, a / b, SINGLE(residue), np.sqrt(a), 1 / a]
    assert y[4] != 0
    exact = np.longdouble(c) * np.longdouble(d) - np.longdouble(c * d)
    assert z.tolist() == [c + d, c - d, c * d, c / d, pytest.approx(float(exact), rel=1e-3), np.sqrt(c), 1 / c]
    np.testing.assert_allclose(y[7:], [np.exp(a), np.log(a), a / b, 1, 0], rtol=1e-6)


def test_bits_of_numbers_and_conversions() -> None:
    body = """
        y[0] = __float_as_uint(x[0]); y[1] = __float_as_int(x[0]); y[2] = __double_as_longlong(-2.0);
        y[3] = __uint_as_float(0x40490fdbu) == x[1]; y[4] = __int_as_float(0x40490fdb) == x[1];
        y[5] = __longlong_as_double(0x4000000000000000ll);
        for (int i = 0; i < 7; ++i) {
            long long *const at = y + 6 + 7 * i;
            at[0] = __float2int_rn(x[i]); at[1] = __float2int_rd(x[i]); at[2] = __float2int_ru(x[i]);
            at[3] = __float2int_rz(x[i]); at[4] = __float2uint_rn(x[i]); at[5] = __float2uint_rz(x[i]);
            at[6] = __float2ll_rn(x[i]);
        }"""
    x = np.array([-2.5, math.pi, 0.5, 1.5, 3e9, -1e20, math.nan], SINGLE)
    y = np.zeros(6 + 7 * 7, np.int64)
    kernel("const float *x, long long *y", body)(x, y, block=1)
    bits = [int(v) for v in (x[:1].view(np.uint32)[0], x[:1].view(np.int32)[0], np.array([-2.0]).view(np.int64)[0])]
    assert y[:6].tolist() == [*bits, 1, 1, 2]
    most, least = 2**31 - 1, -(2**31)
    assert y[6:].reshape(7, 7).tolist() == [
        [-2, -3, -2, -2, 0, 0, -2],
        [3, 3, 4, 3, 3, 3, 3],
        [0, 0, 1, 0, 0, 0, 0],
        [2, 1, 2, 1, 2, 1, 2],
        [*4 * [most], 3 * 10**9, 3 * 10**9, 3 * 10**9],
        [*4 * [least], 0, 0, -(2**63)],
        7 * [0],
    ]


def test_sums_over_a_warp_in_one_call() -> None:
    body = """
        const unsigned t = threadIdx.x;
        y[t] = __reduce_add_sync(0xffffffff, x[t]);
        y[64 + t] = __reduce_or_sync(0xffffffff, 1u << t % 32 & x[t]);
        y[128 + t] = __reduce_and_sync(0xffffffff, x[t]);
        y[192 + t] = __reduce_xor_sync(0xffffffff, x[t]);
        y[256 + t] = __reduce_min_sync(0xffffffff, x[t]);
        y[320 + t] = __reduce_max_sync(0xffffffff, x[t]);
        z[t] = __reduce_add_sync(0xffffffff, int(t) - 40);
        z[64 + t] = __reduce_min_sync(0xffffffff, int(t) - 40);
        z[128 + t] = __reduce_max_sync(0xffffffff, int(t) - 40);"""
    x = WORDS | np.uint32(0x10)
    y, z = np.zeros((6, 2, 32), np.uint32), np.zeros((3, 2, 32), np.int32)
    kernel("const unsigned *x, unsigned *y, int *z", body)(x, y, z)
    bit = x.reshape(2, 32) & np.uint32(1) << np.arange(32, dtype=np.uint32)
    for found, (function, of) in zip(
        y,
        [
            *((np.add, x), (np.bitwise_or, bit), (np.bitwise_and, x)),
            *((np.bitwise_xor, x), (np.minimum, x), (np.maximum, x)),
        ],
        strict=True,
    ):
        assert (found == function.reduce(of.reshape(2, 32), axis=1, keepdims=True, dtype=np.uint32)).all()
    at = np.arange(N, dtype=np.int32).reshape(2, 32) - 40
    assert (z == np.stack([at.sum(1), at.min(1), at.max(1)])[:, :, None]).all()


def test_the_active_lanes() -> None:
    y = np.zeros(40, np.uint32)
    body = "if (threadIdx.x == 3) return;\ny[threadIdx.x] = __activemask();"
    kernel("unsigned *y", body)(y, block=40)
    assert np.delete(y, 3).tolist() == 31 * [0xFFFFFFFF] + 8 * [0xFF]


@pytest.mark.parametrize("kind", ["int", "unsigned", "unsigned long long"])
def test_atomics_of_bits(kind: str) -> None:
    dtype = {"int": np.int32, "unsigned": np.uint32, "unsigned long long": np.uint64}[kind]
    body = f"""
        const {kind} bit = ({kind})1 << threadIdx.x % 31;
        atomicOr(y, bit); atomicAnd(y + 1, ~bit); atomicXor(y + 2, threadIdx.x < 40 ? bit : 0);"""
    y = np.array([0, -1, 0]).astype(dtype)
    kernel(f"{kind} *y", body)(y)
    both = 2**31 - 1
    assert y.tolist() == [both, int(np.array(-1).astype(dtype)) & ~both, both & ~0x1FF]


@pytest.mark.parametrize(
    ("kind", "dtype", "count"),
    [
        ("uint2", np.uint32, 2),
        ("uint4", np.uint32, 4),
        ("int4", np.int32, 4),
        ("float2", np.float32, 2),
        ("float4", np.float32, 4),
        ("double2", np.float64, 2),
        ("ulonglong2", np.uint64, 2),
        ("ushort4", np.uint16, 4),
        ("uchar4", np.uint8, 4),
    ],
)
def test_vectors(kind: str, dtype: Any, count: int) -> None:
    number = {np.uint8: "unsigned char", np.uint16: "unsigned short", np.uint32: "unsigned", np.int32: "int"} | {
        np.uint64: "unsigned long long",
        np.float32: "float",
        np.float64: "double",
    }
    swapped = ("v.y, v.x", "v.w, v.z, v.y, v.x")[count == 4]
    body = f"""
        __shared__ {kind} tile[64];
        {kind} v = reinterpret_cast<const {kind} *>(x + at)[threadIdx.x];
        tile[threadIdx.x] = make_{kind}({swapped});
        const {kind} last = {{tile[threadIdx.x].x}};
        reinterpret_cast<{kind} *>(y)[threadIdx.x] = last.y == 0 ? tile[threadIdx.x] : last;"""
    run = kernel(f"const {number[dtype]} *x, {number[dtype]} *y, long long at", body)
    x = np.arange(1, count * N + 1).astype(dtype)
    y = np.zeros_like(x)
    run(x, y, 0)
    assert (y.reshape(N, count) == x.reshape(N, count)[:, ::-1]).all()
    size = count * np.dtype(dtype).itemsize
    with refused(rf"thread 63 of block 0 reads x\[{count * N}\], outside of its {count * N} elements"):
        run(x, y, count)
    with refused(rf"thread 0 of block 0 reads {size} bytes at an address that is no multiple of {size}"):
        run(x, y, 1)


def test_a_view_is_aligned_as_on_a_gpu() -> None:
    body = "const float4 v = reinterpret_cast<const float4 *>(x)[threadIdx.x];\ny[threadIdx.x] = v.x + v.w;"
    run = kernel("const float *x, float *y", body)
    for first in range(5):
        x, y = np.arange(4 * N + 8, dtype=SINGLE), np.zeros(N, SINGLE)
        if first % 4:
            with refused("thread 0 of block 0 reads 16 bytes at an address that is no multiple of 16"):
                run(x[first:], y)
        else:
            run(x[first:], y)
            assert (y == 2 * x[first::4][:N] + 3).all()


def test_misaligned_numbers() -> None:
    run = kernel("const unsigned char *x, float *y, int at", "y[threadIdx.x] = *(const float *)(x + at);")
    run(np.zeros(8, np.uint8), np.zeros(N, SINGLE), np.int32(4))
    with refused("thread 0 of block 0 reads 4 bytes at an address that is no multiple of 4"):
        run(np.zeros(8, np.uint8), np.zeros(N, SINGLE), np.int32(2))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64, np.float16])
def test_faults_of_every_type(dtype: Any) -> None:
    emulator = Emulator()
    kind = f"unsigned {({2: 'short', 4: 'int', 8: 'long long'})[np.dtype(dtype).itemsize]}"
    body = "if (threadIdx.x < n) y[threadIdx.x] = x[threadIdx.x + at];"
    run = kernel(f"const {kind} *x, {kind} *y, long long n, long long at", body, emulator=emulator)
    run(np.ones(N, dtype), emulator.empty(N, dtype), N, 0)
    with refused(r"no thread writes 1 of the 64 elements of y, the first of them y\[63\]"):
        run(np.ones(N, dtype), emulator.empty(N, dtype), N - 1, 0)
    with refused(r"thread 0 of block 0 reads x\[0\], which nothing wrote"):
        run(emulator.empty(N, dtype), np.ones(N, dtype), N, 0)
    with refused(r"thread 63 of block 0 reads x\[64\], outside of its 64 elements"):
        run(np.ones(N, dtype), np.ones(N, dtype), N, 1)


SHIFTS = "const unsigned t = threadIdx.x;\n"


@pytest.mark.parametrize(
    ("shift", "bits", "allowed", "refused_by"),
    [
        ("x[t] << n", 32, 31, 32),
        ("x[t] >> n", 32, 31, 100),
        ("int(x[t]) >> n", 32, 0, -1),
        ("(unsigned long long)x[t] << n", 64, 63, 64),
        ("(unsigned char)x[t] << n", 32, 31, 32),
    ],
)
def test_shifts(shift: str, bits: int, allowed: int, refused_by: int) -> None:
    run = kernel("const unsigned *x, unsigned long long *y, int n", f"{SHIFTS}y[t] = {shift};")
    run(WORDS, np.zeros(N, np.uint64), np.int32(allowed))
    with refused(rf"thread 0 of block 0 shifts {bits} bits by {refused_by} in line 4 of kernels.cu"):
        run(WORDS, np.zeros(N, np.uint64), np.int32(refused_by))


def test_divisions() -> None:
    run = kernel("long long *y, int n", "y[threadIdx.x] = 7 / n + 7 % n;")
    run(zeros(), np.int32(7))
    with refused("thread 0 of block 0 divides by 0, or the least integer by -1, in line 3 of kernels.cu"):
        run(zeros(), np.int32(0))


@pytest.mark.parametrize("flush", [False, True])
def test_subnormal_numbers(flush: bool) -> None:
    emulator = Emulator(flush=flush)
    body = """
        y[0] = x[0] * a; y[1] = x[1] + a * 0; y[2] = x[1] == 0; y[3] = x[1];
        if (barrier) __syncthreads();
        y[4] = fmaf(x[0], a, 0); y[5] = exp(real(-100)); y[6] = x[0] - x[0] * real(0.75);"""
    run = kernel("const real *x, real *y, real a, bool barrier", body, emulator=emulator)
    least = np.finfo(SINGLE).tiny
    x = np.array([least, least / 2], SINGLE)
    for barrier in np.False_, np.True_:
        y = np.zeros(7, SINGLE)
        run(x, y, SINGLE(0.5), barrier, block=1)
        kept = [least / 2, least / 2, 0, least / 2, least / 2, np.exp(SINGLE(-100)), least / 4]
        assert y.tolist() == ([0, 0, 1, least / 2, 0, 0, least] if flush else kept)
    # Outside of a kernel nothing is flushed, not even after a refused launch.
    with refused("thread 0 of block 0 reads x.*"):
        run(x[:1], y, SINGLE(0.5), barrier, block=1)
    assert SINGLE(least) * SINGLE(0.5) > 0
