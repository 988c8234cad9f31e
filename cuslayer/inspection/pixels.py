"""Small pictures inside HTML: PNG written by hand, transparent where there is nothing, for light pages and dark."""

from __future__ import annotations

import base64
import struct
import zlib
from html import escape

import numpy as np

from cuslayer.backend import Array

# Between the two, both are told from white and from black.
OFF, ON = (61, 143, 209), (224, 102, 42)


def image(pixels: Array, alt: str, *, width: int, height: int) -> str:
    """Return an image as HTML in one piece.

    Args:
        pixels: (rows, columns, 4), uint8: red, green, blue and opacity.
        alt: what it shows, for those who do not see it.
        width: on the page, CSS pixels; less where the page is narrower.
        height: on the page, CSS pixels.
    """
    source = base64.b64encode(png(pixels)).decode("ascii")
    style = (
        f"display:block;width:{width}px;max-width:100%;height:{height}px;image-rendering:pixelated;"
        "border:1px solid rgba(128,128,128,0.6)"
    )
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{source}" style="{style}"/>'


def png(pixels: Array) -> bytes:
    """Return pixels (rows, columns, 4) in uint8 as a PNG file.

    >>> png(np.zeros((1, 1, 4), np.uint8))[1:4]
    b'PNG'
    """
    rows, columns, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # Each row begins with the number of its filter, 0: none.
    raw = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, columns * 4)], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(raw.tobytes(), 9)),
            chunk(b"IEND", b""),
        ]
    )


def thinned(time: Array, neuron: Array, steps: int, count: int, *, most: tuple[int, int]) -> Array:
    """Return spikes as a small boolean raster (neurons, time), neuron 0 in the last row.

    Args:
        time: the step of each spike.
        neuron: the neuron of each spike.
        steps: how many steps there are.
        count: how many neurons there are.
        most: neurons and steps of the raster at most; several share a cell where there are more.
    """
    rows, columns = min(max(count, 1), most[0]), min(max(steps, 1), most[1])
    cells = np.zeros((rows, columns), bool)
    # In floats: a neuron's number times a row's may pass an integer's range.
    row = np.minimum((neuron * (rows / max(count, 1))).astype(np.int64), rows - 1)
    column = np.minimum((time * (columns / max(steps, 1))).astype(np.int64), columns - 1)
    cells[rows - 1 - row, column] = True
    return cells


def inked(cells: Array) -> Array:
    """Return a boolean raster as pixels: OFF's colour where True, nothing elsewhere."""
    pixels = np.zeros((*cells.shape, 4), np.uint8)
    pixels[cells] = (*OFF, 255)
    return pixels


def mixed(off: Array, on: Array) -> Array:
    """Return counts of OFF and ON events (rows, columns) as pixels: the colour says which, the opacity how many."""
    both = off + on
    full = max(float(np.quantile(both[both > 0], 0.98, method="higher")) if both.any() else 1.0, 1.0)
    part = (on / np.maximum(both, 1))[..., None]
    pixels = np.zeros((*both.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(part * np.array(ON) + (1 - part) * np.array(OFF))
    pixels[..., 3] = np.where(both > 0, np.rint(255 * (0.35 + 0.65 * np.minimum(both / full, 1.0))), 0)
    return pixels
