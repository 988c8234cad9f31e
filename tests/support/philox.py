"""Philox4x32-10 in NumPy, written from Salmon et al. 2011, and the factors of dropout that a GPU draws with it.

NumPy's own Philox has words of 64 bits.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def philox(counters: Array, key: tuple[int, int]) -> Array:
    """Return the random words of counters (n, 4), of 32 bits each."""
    c0, c1, c2, c3 = counters.astype(np.uint64).T
    for step in range(10):
        k0, k1 = (np.uint64((word + step * weyl) % 2**32) for word, weyl in zip(key, _WEYL, strict=True))
        left, right = np.uint64(_MULTIPLIERS[0]) * c0, np.uint64(_MULTIPLIERS[1]) * c2
        c0, c1 = right >> np.uint64(32) ^ c1 ^ k0, right & _LOW
        c2, c3 = left >> np.uint64(32) ^ c3 ^ k1, left & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def dropout_scale(key: int, draw: int, columns: int, p: float, dtype: Any) -> Array:
    """Return the factors (columns,) of a draw, as `dropout.cu` describes them."""
    warps = -(-columns // 128)
    groups = np.arange(32 * warps)
    counters = np.zeros((groups.size, 4), np.uint32)
    counters[:, 0], counters[:, 2:] = groups, (draw % 2**32, draw >> 32)
    words = philox(counters, (key % 2**32, key >> 32)).reshape(warps, 32, 4).transpose(0, 2, 1).ravel()[:columns]
    return np.where(words < int(p * 2.0**32), 0.0, 1 / (1 - p)).astype(dtype)
