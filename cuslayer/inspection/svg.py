"""A curve as SVG that stands in HTML as it is; its text and axis take the page's own colour."""

from __future__ import annotations

from html import escape

import numpy as np

from cuslayer.backend import Array

_WIDTH, _HEIGHT = 230, 96
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 8, 20, 18  # what lies around the curve, pixels
_POINTS = 200


def curve(samples: Array, dt: float, title: str, color: str) -> str:
    """Return samples, one a step of dt ms, as a curve over time its name and its peak above it.

    >>> curve(np.array([0.0, 1.0, 0.5]), 1.0, "a response", "red").startswith("<svg")
    True
    """
    low, high = min(float(samples.min(initial=0.0)), 0.0), max(float(samples.max(initial=0.0)), 0.0)
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    kept = np.unique(np.linspace(0, max(len(samples) - 1, 0), _POINTS).astype(int))[: len(samples)]
    x = _LEFT + across * kept / max(len(samples) - 1, 1)
    y = _TOP + down * (high - samples[kept]) / ((high - low) or 1.0)
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
