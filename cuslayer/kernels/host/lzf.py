"""The size of what a chunk of HDF5 unfolds to that lzf has compressed."""

from __future__ import annotations

from typing import Any

from cuslayer.jit import compiled


@compiled
def unfolded_bytes(raw: Any) -> int:
    """Return the number of bytes that lzf unfolds to, -1 if the last of its parts is cut off."""
    at = count = 0
    while at < raw.size:
        first = int(raw[at])
        if first < 32:
            at += first + 2
            count += first + 1
        else:
            long = first >= 224
            count += (first >> 5) + 2 + (int(raw[at + 1]) if long and at + 1 < raw.size else 0)
            at += 3 if long else 2
    return count if at == raw.size else -1
