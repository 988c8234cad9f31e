"""Decompression of packets of AEDAT 4 in steps, which ends as soon as the content is too long."""

from __future__ import annotations

from typing import Any

from cuslayer.data.formats import base
from cuslayer.extras import optional

_NONE, _LZ4, _LZ4_HIGH, _ZSTD, _ZSTD_HIGH = range(5)
# Bytes that are decompressed at a time.
_STEP = 1 << 18
# The least memory for the window of a zstandard frame that every reader should have.
_WINDOW = 1 << 23


def decompress(raw: bytes, compression: int, most: int) -> bytes | bytearray | None:
    """Return the content of a packet, or None if it has more than `most` bytes.

    Args:
        raw: the packet: itself for no compression, or one frame of lz4 or zstandard.
        compression: the number of the compression in the file's header.
        most: the largest number of bytes.

    Raises:
        Unreadable: the compression is unknown, or the packet is damaged.
        ImportError: the library is not installed.
    """
    if compression == _NONE:
        return raw if len(raw) <= most else None
    if compression in (_LZ4, _LZ4_HIGH):
        return _lz4(optional("read_events", "lz4.frame", "aedat"), raw, most)
    if compression in (_ZSTD, _ZSTD_HIGH):
        return _zstandard(optional("read_events", "zstandard", "aedat"), raw, most)
    raise base.Unreadable(f"has a compression of an unknown kind, {compression}")


def _lz4(library: Any, raw: bytes, most: int) -> bytearray | None:
    content = bytearray()
    try:
        decompressor = library.LZ4FrameDecompressor()
        given = raw
        while not decompressor.eof and (given or not decompressor.needs_input):
            content += decompressor.decompress(given, max_length=_STEP)
            given = b""
            if len(content) > most:
                return None
        complete = decompressor.eof and not decompressor.unused_data
    except (RuntimeError, MemoryError, EOFError):
        complete = False
    if not complete:
        raise base.Unreadable("has a packet that cannot be unpacked")
    return content


def _zstandard(library: Any, raw: bytes, most: int) -> bytearray | None:
    content = bytearray()
    try:
        # A truncated frame is shorter than the length in its content, which the caller checks.
        decompressor = library.ZstdDecompressor(max_window_size=max(_WINDOW, most))
        reader = decompressor.stream_reader(raw, read_across_frames=False)
        while part := reader.read(_STEP):
            content += part
            if len(content) > most:
                return None
    except (library.ZstdError, MemoryError):
        raise base.Unreadable("has a packet that cannot be unpacked") from None
    return content
