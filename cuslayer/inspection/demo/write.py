"""Write the demonstration of a network as one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cuslayer import check
from cuslayer.inspection.demo.contents import Recordings, contents, input_shape
from cuslayer.inspection.page import page_title, write_page
from cuslayer.inspection.structure import check_network, dt_at

_HERE = Path(__file__).parent
_SHARED = _HERE.parent / "report"
_SCRIPTS = (
    *(_SHARED / name for name in ("common.js", "model.js", "pictures.js", "explanation.js", "pointer.js")),
    *(_HERE / name for name in ("simulation.js", "neurons.js", "camera.js", "drawing.js", "decision.js")),
    *(_HERE / name for name in ("tasks.js", "player.js", "rasters.js", "trace.js", "pixels.js", "pad.js", "demo.js")),
)


def demo(
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
    ...     demo(Network("34x34x2-16-10", SRM()), f"{folder}/demo.html").read_text("utf-8")[:15]
    '<!DOCTYPE html>'
    """
    check_network("demo", net)
    title = page_title("demo", net, title)
    duration, frame = check.positive("demo", "duration", duration), check.positive("demo", "frame", frame)
    dt = dt_at(net, 0)
    steps = round(duration / dt)
    if steps < 1:
        raise ValueError(f"demo: duration must be at least one step of {dt:g} ms, got {duration:g}")
    return write_demo("demo", net, path, input_shape(net, shape), steps, title=title, frame=frame)


def write_demo(
    op: str,
    net: Any,
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    steps: int,
    recordings: Recordings | None = None,
    *,
    title: str,
    frame: float,
) -> Path:
    """Write the page for valid arguments of `demo`, with recordings of `steps` steps; op is named in errors."""
    data = {"title": title, "frame": frame} | contents(op, net, shape, steps, recordings)
    return write_page(
        path,
        _HERE / "demo.html",
        title=title,
        styles=[_SHARED / "base.css", _HERE / "demo.css"],
        scripts=_SCRIPTS,
        contents=data,
    )
