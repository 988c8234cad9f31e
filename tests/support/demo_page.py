"""A demonstration in a browser: run its network on an image or a recording, and read spikes and events."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

import cuslayer as cs
from cuslayer.inspection.report.contents import ForwardPass
from cuslayer.neurons.base import is_neuron
from tests.support.browser import Browser


def open_page(there: Browser, path: Path) -> None:
    there.said.clear()
    there.asked.clear()
    there.open(path)


def events_of(there: Browser, image: np.ndarray) -> np.ndarray:
    """Return the page's events (events, 4) of an image: time in us, x, y, p."""
    given = json.dumps(np.ravel(image).tolist())
    found = there.run(
        f"(() => {{ const work = camera.record({given}); let step; while (!(step = work.next()).done);"
        "return step.value; })()"
    )
    return np.array(found, np.int64).reshape(-1, 4)


def run(there: Browser, start: str) -> None:
    """Run a script that starts the network of the page, and wait for its answer."""
    there.run(f"performance.clearMarks('answer'); {start}; 0")
    assert there.wait("performance.getEntriesByName('answer').length === 1")


def run_on(there: Browser, image: np.ndarray) -> None:
    """Run the network on an image, as a click on an example does."""
    run(there, f"take({json.dumps(np.ravel(image).tolist())}, null)")


def spikes_of(there: Browser, layer: int) -> list[list[int]]:
    """Return the spike times of each neuron of a layer of the page."""
    starts, times = there.run(f"[model.spikes({layer}).starts, model.spikes({layer}).times].map((x) => Array.from(x))")
    return [times[a:b] for a, b in itertools.pairwise(starts)]


def times_of(spikes: np.ndarray) -> list[list[int]]:
    """Return the spike times of each neuron of spikes (T, 1, ...)."""
    return [np.flatnonzero(train).tolist() for train in spikes.reshape(len(spikes), -1).T]


def check_spikes(there: Browser, net: cs.Sequential, x: np.ndarray) -> int:
    """Compare the spikes of all layers with Python's for the input x (T, 1, H, W, 2); return those of the output."""
    assert spikes_of(there, 0) == times_of(x)
    forward = ForwardPass(net, x)
    nodes = forward.graph.nodes
    positions = [node.number for node in nodes if is_neuron(node.stage)]
    for layer, at in enumerate(positions, 1):
        assert spikes_of(there, layer) == times_of(forward.spikes[at]), f"layer {at}"
    if positions[-1] == forward.graph.output:  # the whole network at once, with its fused passes, has the same output
        net.train(False)
        with cs.no_grad():
            assert (net(x).data == forward.spikes[positions[-1]]).all()
    return int(forward.spikes[positions[-1]].sum())
