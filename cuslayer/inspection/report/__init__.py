"""Write the page of a network as one self-contained HTML file: a report of samples, or a page that runs it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.files import write_whole
from cuslayer._tape import Tensor
from cuslayer.inspection.report.contents import contents, held_steps
from cuslayer.inspection.report.live import live_contents
from cuslayer.inspection.structure import check_loss
from cuslayer.network.graph import whole_input
from cuslayer.network.walk import check_network

if TYPE_CHECKING:
    from cuslayer.network.network import Container

_HERE = Path(__file__).parent
_SCRIPTS = ("model.js", "parts.js", "plots.js", "page.js")
_LIVE_SCRIPTS = ("model.js", "parts.js", "plots.js", "run.js", "learn.js", "live.js", "page.js")


@check.operation
def write_report(
    net: Container,
    samples: TensorLike,
    path: str | os.PathLike[str],
    *,
    target: object = None,
    loss: Callable[..., Tensor] | None = None,
    title: str | None = None,
    frame: float = 10.0,
) -> Path:
    """Write the report of a network and some samples as one HTML page that loads nothing else.

    It shows the spikes of every layer. A click on a spike shows the potential of its neuron, the parts of the potential
    at that time, and with a target the errors: the same numbers as `explain` and `reassign`. The page has the
    weights and spikes, and computes the rest for any neuron. Dropout is off. A click, like the label beside the
    pointer, means the nearest spike at most 7 pixels away; without one, the neuron and the time under the pointer.

    Args:
        net: a `Network` or `Sequential`.
        samples: (T, N, ...), its input; a few samples.
        path: the file to write or replace.
        target: the second argument of the loss; without it the page shows no errors.
        loss: a function of the network's output and target to a scalar tensor; by default as in `reassign`.
        title: the title of the page; by default the network's notation.
        frame: for images, the duration in ms of the event frame at the cursor.

    Returns:
        The path of the page.

    Raises:
        TypeError: net is not a network, loss is not a function, or title is not a string.
        ValueError: samples are not (T, N, ...), not finite or empty, the network has no neurons, a loss is given
            without a target, or frame is not positive.
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
    data = whole_input("samples", samples).data
    check.time_first("samples", data)
    if 0 in data.shape:
        raise ValueError(f"samples must not be empty, got shape {tuple(data.shape)}")
    check_loss(loss)
    if loss is not None and target is None:
        raise ValueError("target is needed where a loss is given")
    title, frame = _title(net, title), check.positive("frame", frame)
    return _write(path, _SCRIPTS, {"title": title, "frame": frame} | contents(net, data, target, loss))


@check.operation
def write_demo(
    net: Container,
    path: str | os.PathLike[str],
    *,
    recordings: object = None,
    names: Sequence[str] | None = None,
    shape: tuple[int, ...] | None = None,
    duration: float | None = None,
    over: str = "sum",
    window: tuple[float, float] | None = None,
    drawing: str | None = None,
    rate: float | None = None,
    title: str | None = None,
    frame: float = 10.0,
) -> Path:
    """Write one HTML page in which a network runs on what its reader draws, or on recordings.

    The page loads nothing else and works offline. It has the weights of the network, and does what Python does, in
    float32, with Python's spikes to the bit. The spikes run through the rasters of all layers, and a click on a spike
    shows why its neuron fired, as in `write_report`. A network of frames is asked to recognize a drawing: an event
    camera is simulated that sees it in three saccades, or each pixel fires at random. Any other network chooses
    recordings.

    Where all neurons are SRM and the last ones answer, a reader can say what a drawing is, and the network learns it in
    the page, by SLAYER's gradient. Few weights change, and those of inputs that fire in most recordings change less.
    The page shows the changes, and forgets them again.

    Args:
        net: a `Network` or `Sequential`, a chain of layers; its output one neuron or group of neurons for each class,
            or a read-out. Its neurons are SRM, Loihi or written as a step, and may be recurrent.
        path: the file to write or replace.
        recordings: a data set, or a batch (x, labels) as of a `Loader`; the page carries some of them, up to 4 MB. Of
            `Digits`, it carries the pictures, and drawings become pictures like these. Labels are classes, or one at
            each step; other targets are not shown. Recordings of numbers come with the weighted input of the first
            neurons.
        names: the names of the classes; by default those of the data set, or numbers.
        shape: the input, for a network that does not have it itself: a `Network` has it, and a `Sequential` whose first
            layer is a `Dense` of frames.
        duration: the simulated time in ms; by default that of the recordings, or 300.
        over: what a read-out decides by, as in `classify`; "every" for an answer at each step.
        window: start and stop of the time that counts for a read-out, ms; by default all of it.
        drawing: "camera", for frames (H, W, 2), "poisson" or "none"; by default the first that the network takes.
        rate: of a drawn pixel that fires at random, Hz; by default that of bright pixels in the recordings, or 100.
        title: the title of the page; by default the network's notation.
        frame: the duration in ms of the shown frame of events.

    Returns:
        The path of the page.

    Raises:
        TypeError: net is not a network, recordings are none, title is not a string, or a number is not one.
        ValueError: nothing can be drawn and there are no recordings, they do not fit the network, the output is not
            classes, a layer, its weights or its neurons are of a kind that the page cannot compute to the bit, or a
            number is out of range.
        OSError: the file cannot be written.

    >>> import tempfile
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_demo(Network("12x12x1-16-4", SRM()), f"{folder}/demo.html").read_text("utf-8")[:15]
    '<!DOCTYPE html>'
    """
    check_network(net)
    title, frame = _title(net, title), check.positive("frame", frame)
    found, steps = live_contents(net, recordings, names, shape, duration, over, window, drawing, rate)
    return _write(path, _LIVE_SCRIPTS, {"title": title, "frame": frame} | found, steps)


def _title(net: Container, title: object) -> str:
    """Return the title of a page, given or the network's notation; raise TypeError unless it is a string."""
    if title is None:
        return str(getattr(net, "notation", type(net).__name__))
    if not isinstance(title, str):
        raise TypeError(f"title must be text, got {type(title).__name__}")
    return title


def _write(path: str | os.PathLike[str], scripts: tuple[str, ...], data: dict[str, Any], more: str = "") -> Path:
    """Write a page with its data and one more script, and return its path."""
    more = f"{held_steps(data)}\n{more}"
    parts = {
        "title": escape(data["title"]),
        "style": _read("page.css"),
        "scripts": "\n".join((_read(scripts[0]), more, *map(_read, scripts[1:]))),
        # Escaped so that no text in it can end the enclosing script element.
        "contents": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    }
    # One substitution for all parts, so that text inside a part is never taken for a placeholder.
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read("page.html"))
    where = check.path("path", path)
    write_whole(where, lambda file: file.write(page.encode("utf-8", "backslashreplace")))
    return where


def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")
