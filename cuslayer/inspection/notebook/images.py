"""Images in HTML, for light and dark pages: rasters as transparent PNG, curves as SVG in the color of the page."""

from __future__ import annotations

import base64
import struct
import zlib
from html import escape

import numpy as np

from cuslayer.backend import Array

# Both colors and their mixtures are visible on white and on black.
OFF, ON = (61, 143, 209), (224, 102, 42)


def image(pixels: Array, alt: str, *, width: int, height: int) -> str:
    """Return pixels (rows, columns, 4) in uint8 as self-contained HTML, with a width and a height in CSS pixels."""
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

    # Each row starts with the number of its PNG filter, 0 for none.
    raw = np.concatenate([np.zeros((rows, 1), np.uint8), pixels.reshape(rows, columns * 4)], axis=1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw.tobytes(), 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def thinned(time: Array, neuron: Array, steps: int, count: int, *, most: tuple[int, int]) -> Array:
    """Return spikes as a boolean raster (neurons, time) of at most `most` rows and columns, neuron 0 in the last row.

    If there are more of `count` neurons or of `steps`, a cell has several.
    """
    rows, columns = min(max(count, 1), most[0]), min(max(steps, 1), most[1])
    cells = np.zeros((rows, columns), bool)
    # In floats: the product of two indices may exceed the range of an integer.
    row = np.minimum((neuron * (rows / max(count, 1))).astype(np.int64), rows - 1)
    column = np.minimum((time * (columns / max(steps, 1))).astype(np.int64), columns - 1)
    cells[rows - 1 - row, column] = True
    return cells


def inked(cells: Array) -> Array:
    """Return a boolean raster as pixels: the OFF color where True, transparent elsewhere."""
    pixels = np.zeros((*cells.shape, 4), np.uint8)
    pixels[cells] = (*OFF, 255)
    return pixels


def mixed(off: Array, on: Array) -> Array:
    """Return counts of OFF and ON events (rows, columns) as pixels: color by polarity, opacity by count."""
    both = off + on
    full = max(float(np.quantile(both[both > 0], 0.98, method="higher")) if both.any() else 1.0, 1.0)
    part = (on / np.maximum(both, 1))[..., None]
    pixels = np.zeros((*both.shape, 4), np.uint8)
    pixels[..., :3] = np.rint(part * np.array(ON) + (1 - part) * np.array(OFF))
    pixels[..., 3] = np.where(both > 0, np.rint(255 * (0.35 + 0.65 * np.minimum(both / full, 1.0))), 0)
    return pixels


_WIDTH, _HEIGHT = 230, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 8, 20, 18  # margins of the curve, pixels
_POINTS = 200


def curve(samples: Array, dt: float, title: str, color: str) -> str:
    """Return samples at steps of dt ms as an SVG curve, with its title and peak above it.

    >>> curve(np.array([0.0, 1.0, 0.5]), 1.0, "a response", "red").startswith("<svg")
    True
    """
    low, high = min(float(samples.min(initial=0.0)), 0.0), max(float(samples.max(initial=0.0)), 0.0)
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    drawn = np.unique(np.linspace(0, max(len(samples) - 1, 0), _POINTS).astype(int))[: len(samples)]
    x = _LEFT + across * drawn / max(len(samples) - 1, 1)
    y = _TOP + down * (high - samples[drawn]) / ((high - low) or 1.0)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    zero = _TOP + down * high / ((high - low) or 1.0)
    end = f"{max(len(samples) - 1, 0) * dt:.4g} ms"
    peak = f"{samples[np.abs(samples).argmax()] + 0.0 if len(samples) else 0.0:.4g}"  # + 0.0: never -0
    text = 'font-size="11" fill="currentColor" font-family="sans-serif"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" style="margin:0.3em 1em 0 0">'
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="currentColor"'
        ' stroke-opacity="0.5"/>'
        f'<polyline points="{points}" fill="none" stroke="{escape(color)}" stroke-width="1.8"/>'
        f'<text x="{_LEFT}" y="12" {text}>{escape(title)}, peak {peak}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}" {text} fill-opacity="0.65">0</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end" {text} fill-opacity="0.65">{end}</text>'
        "</svg>"
    )
