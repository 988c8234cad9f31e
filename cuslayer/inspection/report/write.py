"""Write the report of a network and some samples as one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cuslayer import check
from cuslayer.backend import to_numpy
from cuslayer.extras import optional
from cuslayer.inspection.forward import check_loss
from cuslayer.inspection.page import page_title, write_page
from cuslayer.inspection.report.contents import contents
from cuslayer.inspection.structure import check_network
from cuslayer.network.input import finite_input

_HERE = Path(__file__).parent
_SCRIPTS = ("common.js", "model.js", "pictures.js", "explanation.js", "pointer.js", "rasters.js", "page.js")


def report(
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
        ImportError: plotly is not installed. A live page does not need it.
        ValueError: samples are not (T, N, ...), not finite or empty, the network has no neurons, a loss is given
            without a target or for a live page, or frame is not positive; for a live page also the errors of `demo`.
        OSError: the file cannot be written.

    >>> import numpy as np, tempfile
    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> net = Network("4-3-2", SRM())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = report(net, np.ones((50, 1, 4), bool), f"{folder}/report.html", target=[1])
    ...     page.read_text("utf-8")[:15]
    '<!DOCTYPE html>'
    """
    check_network("report", net)
    data = finite_input("report", "samples", samples).data
    check.time_first("report", "samples", data)
    if 0 in data.shape:
        raise ValueError(f"report: samples must not be empty, got shape {tuple(data.shape)}")
    check_loss("report", loss)
    if loss is not None and target is None:
        raise ValueError("report: target is needed where a loss is given")
    title = page_title("report", net, title)
    frame_ms = check.positive("report", "frame", frame)
    if live:
        from cuslayer.inspection.demo.contents import Recordings
        from cuslayer.inspection.demo.write import write_demo

        if loss is not None:
            raise ValueError("report: loss must not be given for a live page, which shows no errors")
        recordings = Recordings.of("report", to_numpy(data), target)
        return write_demo("report", net, path, data.shape[2:], len(data), recordings, title=title, frame=frame_ms)
    plotly = optional("report", "plotly.offline", "report").get_plotlyjs()
    return write_page(
        path,
        _HERE / "page.html",
        title=title,
        styles=[_HERE / name for name in ("base.css", "page.css")],
        scripts=[_HERE / name for name in _SCRIPTS],
        contents={"title": title, "frame": frame_ms} | contents(net, data, target, loss),
        plotly=plotly,
    )
