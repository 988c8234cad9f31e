"""HTML views of networks, neurons, tensors and events in notebooks, for light and dark themes.

The package gives each class a `_repr_html_` that calls `html`, so the classes do not depend on this module. The HTML is
self-contained, its text has the color of the page, and it needs no matplotlib.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

import numpy as np

from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_numpy
from cuslayer.data.events import Events
from cuslayer.inspection.structure import output_shapes, rates_of
from cuslayer.network.graph import INPUT
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import Neuron

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

    If there are more neurons (`count`) or `steps`, a cell has several.
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


_MOST = (160, 600)  # maximum rows and columns of an image
_PARTS = 6  # equal parts of a recording; the one with most events is drawn, as all of them would overlap
_FAINT = "opacity:0.65"


def network_html(net: Sequential) -> str:
    """Return a table of the stages of a network: output shapes, parameters, and the rates noted last.

    Rates come from the last `record` or `diagnose`; a plain forward pass notes none.
    """
    rates, shapes = rates_of(net), output_shapes(net)
    rows, counted = [], dict[int, int]()
    graph = net.graph
    for node, shape in zip(graph.nodes, shapes, strict=True):
        parameters = node.stage.parameters() if hasattr(node.stage, "parameters") else []
        sizes = " + ".join(" x ".join(map(str, p.shape)) or "1" for p in parameters)
        counted.update({id(p): p.data.size for p in parameters})
        rate = f"{rates[node.address]:.3g} Hz" if node.address in rates else ""
        stage = _short(node.stage)
        if node.inputs != (node.number - 1,):  # the input is not the output of the row above
            stage += f" on {', '.join('input' if n == INPUT else str(graph.nodes[n]) for n in node.inputs)}"
        rows.append((str(node), stage, _shape(shape), sizes, rate))
    total = sum(counted.values())
    head = ("", "stage", "output", "parameters", "rate")
    title = f"{type(net).__name__} {getattr(net, 'notation', '')}".strip()
    shape_of_input = f" on {_shape(net.input_shape)}" if hasattr(net, "input_shape") else ""
    note = "" if rates else "; rates appear once a network has been recorded"
    return _block(title, f"{total:,} parameters{shape_of_input}{note}", _table(head, rows))


def neuron_html(neuron: Neuron) -> str:
    """Return plots of a neuron's filters with its constants."""
    pictures = [curve(neuron.response, neuron.dt, "spike response", "rgb(61,143,209)")]
    if len(neuron.refractory) > 1:
        pictures.append(curve(neuron.refractory, neuron.dt, "refractory response", "rgb(224,102,42)"))
    names = [f.name for f in fields(neuron)] if is_dataclass(neuron) else [n for n in vars(neuron) if n[0] != "_"]
    constants = ", ".join(f"{name}={_value(getattr(neuron, name))}" for name in names)
    return _block(type(neuron).__name__, constants, "".join(pictures))


def tensor_html(tensor: Tensor) -> str:
    """Return a raster of the first sample for spikes, or a summary of values for numbers."""
    data = to_numpy(tensor.data)
    about = [_shape(data.shape), str(data.dtype)]
    about += ["requires_grad"] if tensor.requires_grad else []
    about += ["has a gradient"] if tensor.grad is not None else []
    if data.dtype == bool and data.ndim >= 2 and data.size:
        steps, samples = data.shape[:2]
        train = data[:, 0].reshape(steps, -1)
        time, neuron = np.nonzero(train)
        of = "" if samples == 1 else f"sample 0 of {samples}: "
        counted = f"{of}{len(time):,} spikes of {train.shape[1]:,} neurons in {steps:,} steps, time to the right"
        return _block("Tensor", ", ".join(about), _raster(time, neuron, steps, train.shape[1], counted))
    if data.size and data.dtype != bool:
        with np.errstate(all="ignore"):
            numbers = (("least", data.min()), ("mean", data.mean()), ("most", data.max()))
        about += [f"{name} {float(value):.4g}" for name, value in numbers]
    body = np.array2string(data, precision=4, threshold=20, edgeitems=3 if data.ndim < 3 else 1)
    return _block("Tensor", ", ".join(about), f'<pre style="margin:0.3em 0">{escape(body)}</pre>')


def events_html(events: Events) -> str:
    """Return the event counts of a recording and a frame of its busiest sixth, OFF blue and ON orange."""
    if not len(events):
        return _block("Events", "no events", "")
    low, high = float(events.t.min()), float(events.t.max())
    about = [f"{len(events):,} events", f"{low:.5g} to {high:.5g} ms"]
    if high > low:
        about.append(f"{len(events) / (high - low):.3g} a ms")
    about += [f"{int(n):,} {_polarity(p)}" for p, n in zip(*np.unique(events.p, return_counts=True), strict=True)]
    across = int(events.x.max()) + 1
    if events.y is None:
        span = (high - low) or 1.0
        time = (events.t - low) * ((_MOST[1] - 1) / span)
        body = _raster(time, events.x, _MOST[1], across, f"{across:,} neurons, time to the right")
        return _block("Events", ", ".join(about), body)
    down = int(events.y.max()) + 1
    cell = math.ceil(max(down, across) / _MOST[0])
    counts = np.zeros((2, -(-down // cell), -(-across // cell)))
    part = np.minimum(((events.t - low) * (_PARTS / ((high - low) or 1.0))).astype(np.int64), _PARTS - 1)
    busiest = int(np.bincount(part).argmax())
    now = part == busiest
    np.add.at(counts, (np.minimum(events.p[now], 1), events.y[now] // cell, events.x[now] // cell), 1.0)
    zoom = max(1, min(240 // max(counts.shape[1:]), 6))
    about.append(f"{down} x {across} pixels")
    start, stop = (low + (high - low) * edge / _PARTS for edge in (busiest, busiest + 1))
    what = f"{start:.4g} to {stop:.4g} ms, OFF blue, ON orange"
    picture = image(mixed(*counts), what, width=zoom * counts.shape[2], height=zoom * counts.shape[1])
    return _block("Events", ", ".join(about), f"{picture}{_caption(what)}")


_VIEWS: dict[Any, Callable[[Any], str]] = {
    Sequential: network_html,
    Neuron: neuron_html,
    Tensor: tensor_html,
    Events: events_html,
}


def html(shown: object) -> str:
    """Return the view of a network, neurons, a tensor or events.

    >>> from cuslayer.neurons import SRM
    >>> html(SRM()).startswith("<div")
    True
    """
    return next(view for kind, view in _VIEWS.items() if isinstance(shown, kind))(shown)


def _raster(time: Array, neuron: Array, steps: int, count: int, what: str) -> str:
    cells = thinned(time, neuron, steps, count, most=_MOST)
    rows, columns = cells.shape
    across, down = min(max(_MOST[1] // columns, 1), 8), min(max(96 // rows, 1), 10)
    picture = image(inked(cells), what, width=across * columns, height=down * rows)
    return f"{picture}{_caption(what)}"


def _caption(text: str) -> str:
    return f'<div style="{_FAINT}">{escape(text)}</div>'


def _block(title: str, about: str, body: str) -> str:
    head = f'<b>{escape(title)}</b> <span style="{_FAINT}">{escape(about)}</span>'
    style = "font-family:sans-serif;font-size:13px;line-height:1.5;max-width:60em"
    return f'<div style="{style}">{head}<div>{body}</div></div>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cell = 'style="text-align:left;padding:1px 12px 1px 0;background:transparent"'
    lines = [f"<tr>{''.join(f'<th {cell}>{escape(name)}</th>' for name in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td {cell}>{escape(text)}</td>' for text in row)}</tr>" for row in rows]
    return f'<table style="border-collapse:collapse;margin:0.3em 0">{"".join(lines)}</table>'


def _short(stage: object) -> str:
    """Return the repr of a stage in one line; for a neuron with the constants that differ from the defaults."""
    if is_dataclass(stage) and not isinstance(stage, type):
        changed = [f for f in fields(stage) if not np.array_equal(f.default, getattr(stage, f.name))]  # type: ignore[arg-type]
        return f"{type(stage).__name__}({', '.join(f'{f.name}={_value(getattr(stage, f.name))}' for f in changed)})"
    text = repr(stage)
    return text if len(text) <= 100 else f"{text[:99]}\N{HORIZONTAL ELLIPSIS}"


def _value(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"array {_shape(value.shape)}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "?" if shape is None else f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _polarity(p: int) -> str:
    return ("OFF", "ON")[p] if p < 2 else f"of polarity {p}"
