"""Checksums: lookup3 of Bob Jenkins for metadata, Fletcher's for data."""

from __future__ import annotations

import numpy as np

_MASK = 0xFFFFFFFF


def _rotated(x: int, bits: int) -> int:
    return (x << bits | x >> (32 - bits)) & _MASK


def lookup3(raw: bytes) -> int:
    """Return the hash `hashlittle` of lookup3.c with the initial value 0.

    >>> hex(lookup3(b"Four score and seven years ago"))
    '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(raw)) & _MASK
    if not raw:
        return c
    whole = (len(raw) - 1) // 12 * 12
    words = np.frombuffer(raw[:whole], "<u4").tolist()
    for i in range(0, len(words), 3):
        a, b, c = (a + words[i]) & _MASK, (b + words[i + 1]) & _MASK, (c + words[i + 2]) & _MASK
        a = ((a - c) & _MASK) ^ _rotated(c, 4)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotated(a, 6)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotated(b, 8)
        b = (b + a) & _MASK
        a = ((a - c) & _MASK) ^ _rotated(c, 16)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotated(a, 19)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotated(b, 4)
        b = (b + a) & _MASK
    x, y, z = np.frombuffer(raw[whole:].ljust(12, b"\0"), "<u4").tolist()
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - _rotated(b, 14)) & _MASK
    a = ((a ^ c) - _rotated(c, 11)) & _MASK
    b = ((b ^ a) - _rotated(a, 25)) & _MASK
    c = ((c ^ b) - _rotated(b, 16)) & _MASK
    a = ((a ^ c) - _rotated(c, 4)) & _MASK
    b = ((b ^ a) - _rotated(a, 14)) & _MASK
    return ((c ^ b) - _rotated(b, 24)) & _MASK


def fletcher32(raw: bytes) -> int:
    """Return Fletcher's checksum of 16-bit big-endian words, both sums modulo 65535.

    >>> hex(fletcher32(b"abcdef"))
    '0x50562a2d'
    """
    words = np.frombuffer(raw + b"\0" * (len(raw) % 2), ">u2").astype(np.uint64)
    first = int(words.sum() % np.uint64(65535))
    second = 0
    # Blocks in which the sum of weighted words fits in 64 bits.
    for start in range(0, len(words), 1 << 20):
        some = words[start : start + (1 << 20)]
        weights = np.arange(len(words) - start, len(words) - start - len(some), -1, dtype=np.uint64)
        second += int((some * (weights % np.uint64(65535))).sum() % np.uint64(65535))
    return second % 65535 << 16 | first
