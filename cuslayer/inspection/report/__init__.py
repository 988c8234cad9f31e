"""Write the page of a network as one self-contained HTML file: a report of samples, or a page that runs it."""

from __future__ import annotations

import json
import os
import re
from html import escape
from pathlib import Path
from typing import Any

from cuslayer._base import check
from cuslayer._base.files import write_whole
from cuslayer.backend import to_numpy
from cuslayer.inspection.report.contents import contents, input_shape, live_contents
from cuslayer.inspection.structure import check_loss, dt_at
from cuslayer.network.graph import finite_input
from cuslayer.network.walk import check_network

_HERE = Path(__file__).parent
_SCRIPTS = ("model.js", "plots.js", "page.js")
_LIVE_SCRIPTS = ("model.js", "plots.js", "run.js", "live.js", "page.js")


@check.operation
def write_report(
    net: Any,
    samples: Any,
    path: str | os.PathLike[str],
    *,
    target: Any = None,
    loss: Any = None,
    title: str | None = None,
    frame: float = 10.0,
    live: bool = False,
) -> Path:
    """Write the report of a network and some samples as one HTML page that loads nothing else.

    It shows the spikes of every layer. A click on a spike shows the potential of its neuron, the parts of the potential
    at that time, and with a target the errors: the same numbers as `explain` and `reassignment`. The page has the
    weights and spikes, and computes the rest for any neuron. Dropout is off. A click, like the label beside the
    pointer, means the nearest spike at most 7 pixels away; without one, the neuron and the time under the pointer.

    Args:
        net: a `Network` or `Sequential`.
        samples: (T, N, ...), its input; a few samples.
        path: the file to write or replace.
        target: the second argument of the loss; without it the page shows no errors.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassignment`.
        title: the title of the page; by default the network's notation.
        frame: for images, the duration in ms of the event frame at the cursor.
        live: write the page of `demo` instead: a digit can be drawn there, and the network runs in the page. The
            samples are recordings that it can run on, and an integer target (N,) their classes.

    Returns:
        The path of the page.

    Raises:
        TypeError: net is not a network, loss is not a function, or title is not a string.
        ValueError: samples are not (T, N, ...), not finite or empty, the network has no neurons, a loss is given
            without a target or for a live page, or frame is not positive; for a live page also the errors of `demo`.
        OSError: the file cannot be written.

    >>> import numpy as np, tempfile
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(net, np.ones((50, 1, 4), bool), f"{folder}/report.html", target=[1])
    ...     page.read_text("utf-8")[:15]
    '<!DOCTYPE html>'
    """
    check_network(net)
    data = finite_input("samples", samples).data
    check.time_first("samples", data)
    if 0 in data.shape:
        raise ValueError(f"samples must not be empty, got shape {tuple(data.shape)}")
    check_loss(loss)
    if loss is not None and target is None:
        raise ValueError("target is needed where a loss is given")
    title, frame = _title(net, title), check.positive("frame", frame)
    if not live:
        return _write(path, _SCRIPTS, {"title": title, "frame": frame} | contents(net, data, target, loss))
    if loss is not None:
        raise ValueError("loss must not be given for a live page, which shows no errors")
    found = live_contents(net, data.shape[2:], len(data), to_numpy(data), target)
    return _write(path, _LIVE_SCRIPTS, {"title": title, "frame": frame} | found)


@check.operation
def write_demo(
    net: Any,
    path: str | os.PathLike[str],
    *,
    shape: tuple[int, int, int] | None = None,
    duration: float = 300.0,
    title: str | None = None,
    frame: float = 10.0,
) -> Path:
    """Write one HTML page in which a network recognizes the digits that its reader draws.

    The page loads nothing else and works offline. It has the weights of the network, and does what Python does: an
    event camera is simulated that sees the drawing in three saccades, as for `data.Digits`, and the network runs on its
    events, in float32, with Python's spikes to the bit. The output's counts are the answer. The spikes run through the
    rasters of all layers, and a click on a spike shows why its neuron fired, as in `report`. The digits of the test set
    are there to be tried.

    Args:
        net: a `Network` or `Sequential` of SRM or Loihi neurons, its input frames (H, W, 2), its output one neuron or
            group of neurons for each class.
        path: the file to write or replace.
        shape: the input (H, W, 2), for a network that does not have it itself: a `Network` has it, and a `Sequential`
            whose first layer is a `Dense` of frames.
        duration: the simulated time in ms. A recording of the camera takes 300 ms.
        title: the title of the page; by default the network's notation.
        frame: the duration in ms of the shown frame of events.

    Returns:
        The path of the page.

    Raises:
        TypeError: net is not a network, title is not a string, or a number is not one.
        ValueError: the input is not frames (H, W, 2), the output is not classes, a layer, its weights or its neurons
            are of a kind that the page cannot compute to the bit, or duration or frame is not positive.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_demo(Network("34x34x2-16-10", SRM()), f"{folder}/demo.html").read_text("utf-8")[:15]
    '<!DOCTYPE html>'
    """
    check_network(net)
    title = _title(net, title)
    duration, frame = check.positive("duration", duration), check.positive("frame", frame)
    dt = dt_at(net, 0)
    steps = round(duration / dt)
    if steps < 1:
        raise ValueError(f"duration must be at least one step of {dt:g} ms, got {duration:g}")
    found = live_contents(net, input_shape(net, shape), steps, None, None)
    return _write(path, _LIVE_SCRIPTS, {"title": title, "frame": frame} | found)


def _title(net: Any, title: Any) -> str:
    """Return the title of a page, given or the network's notation; raise TypeError unless it is a string."""
    if title is None:
        return str(getattr(net, "notation", type(net).__name__))
    if not isinstance(title, str):
        raise TypeError(f"title must be text, got {type(title).__name__}")
    return title


def _write(path: str | os.PathLike[str], scripts: tuple[str, ...], data: dict[str, Any]) -> Path:
    """Write a page with its data, and return its path."""
    parts = {
        "title": escape(data["title"]),
        "style": _read("page.css"),
        "scripts": "\n".join(map(_read, scripts)),
        # Escaped so that no text in it can end the enclosing script element.
        "contents": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    # One substitution for all parts, so that text inside a part is never taken for a placeholder.
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))
    where = Path(path)
    write_whole(where, lambda file: file.write(page.encode("utf-8", "backslashreplace")))
    return where


def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")
