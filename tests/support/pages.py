"""A page of `report` or `demo` in a browser: places on its plots, clicks, labels, and the spikes of its network."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np

import cuslayer as cs
from cuslayer.data import Events, digits, saccades, simulated_camera
from cuslayer.inspection.report.contents import Contents
from tools.browser import Browser

IMAGES, LABELS = (each[digits.numbers("test")] for each in digits.labelled_images())

# The label and the choice at each of many points, by events of the pointer.
_FOUND = """(points) => points.map(([clientX, clientY]) => {
  const node = document.elementFromPoint(clientX, clientY), where = { clientX, clientY, bubbles: true, pointerId: 1 };
  const plot = [...rasters, ...traces].find((each) => each.node === node), before = plot?.pick;
  let picked = null;
  if (before) plot.pick = (...choice) => (picked = choice);
  node.dispatchEvent(new PointerEvent("pointermove", where));
  const label = tip.hidden ? "" : tip.textContent;
  node.dispatchEvent(new PointerEvent("pointerdown", where));
  node.dispatchEvent(new PointerEvent("pointerup", where));
  node.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  if (before) plot.pick = before;
  return [label, picked];
})"""


def lively(*stages: Any) -> cs.Sequential:
    """Return a network whose dense layers have many positive weights, so that all neurons fire, and no number is 0."""
    net, draw = cs.Sequential(*stages), np.random.default_rng(6)
    for stage in (node.stage for node in net.graph.nodes):
        for given in (getattr(stage, name, None) for name in ("bias", "mean", "var", "gain", "offset")):
            if isinstance(given, cs.Tensor):
                given.data[:] += draw.uniform(0.1, 0.5, given.shape)
        if isinstance(stage, cs.Dense):
            stage.weight.data[:] = (np.abs(stage.weight.data) - np.abs(stage.weight.data).mean() / 2) * 8
    return net


def seen(image: np.ndarray, shape: tuple[int, ...], steps: int, dt: float = 1.0) -> np.ndarray:
    """Return the spikes (T, 1, H, W, 2) of Python's camera for an image of values from 0 to 16."""
    camera = saccades.saccades(*shape[:2], 8, seed=0)
    (canvas,) = camera.draw(image[None] / digits.BRIGHTEST)
    time, x, y, p = simulated_camera.record(canvas, camera.path, camera.thresholds).T
    return Events(time / 1000.0, x, y, p).to_spikes(shape, steps, dt)[:, None]


def drawn_at_random(image: np.ndarray, shape: tuple[int, ...], steps: int, rate: float) -> np.ndarray:
    """Return the spikes (T, 1, H, W, C) of the page for an image of values from 0 to 16, (rows, columns, C)."""
    scale, u = max(1, -(-max(shape[:2]) // 32)), np.uint32
    pixels = image.repeat(scale, 0).repeat(scale, 1)[: shape[0], : shape[1]].ravel()
    n, t = np.arange(pixels.size, dtype=u), np.arange(steps, dtype=u)[:, None]
    found = (n + u(1)) * u(0x9E3779B1) ^ (t + u(1)) * u(0x85EBCA77)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        found = (found ^ found >> u(shift)) * u(factor)
    chance = np.floor(-np.expm1(-pixels / digits.BRIGHTEST * rate / 1000) * 2.0**32)
    return ((found ^ found >> u(15)) < chance).reshape(steps, 1, *shape)


def times_of(spikes: np.ndarray) -> list[list[int]]:
    """Return the spike times of each neuron of spikes (T, 1, ...)."""
    return [np.flatnonzero(train).tolist() for train in spikes.reshape(len(spikes), -1).T]


class Page:
    """A page in a browser."""

    def __init__(self, there: Browser) -> None:
        self.there, self.run, self.wait = there, there.run, there.wait

    def open(self, path: Path) -> None:
        self.there.said.clear()
        self.there.asked.clear()
        self.there.open(path)
        if self.run("typeof live === 'object' && Boolean(live?.samples.length)"):  # its first recording runs
            assert self.wait("performance.getEntriesByName('answer').length > 0")

    def text(self, element: str) -> str:
        return self.run(f"$({json.dumps(element)}).textContent")

    def shown(self, element: str) -> bool:
        return self.run(f"$({json.dumps(element)}).checkVisibility()")

    def chosen(self) -> list[int]:
        return self.run("[chosen.layer, chosen.neuron, chosen.time]")

    def resize(self, width: int, height: int = 900, *, mobile: bool = False) -> None:
        """Give the window a size, in CSS pixels, and wait until the page has drawn."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.there.call("Emulation.setDeviceMetricsOverride", **size)
        assert self.wait(f"innerWidth === {width}")
        self.there.frames()

    def box(self, query: str) -> list[float]:
        """Scroll to an element; return its left, top, width and height in the window."""
        return self.run(
            f"(() => {{ const node = {query}; node.scrollIntoView({{ block: 'center' }});"
            "const box = node.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()"
        )

    def press_button(self, query: str) -> None:
        left, top, wide, high = self.box(query)
        self.there.click(left + wide / 2, top + high / 2)

    def scale(self, plot: str) -> list[float]:
        """Scroll to a plot; return [x of step 0, pixels of a step, y of value 0, pixels of a value] in the window."""
        left, top, _, _ = self.box(f"{plot}.node")
        x, across, y, down = self.run(f"Object.values({plot}.scale)")
        return [left + x, across, top + y, down]

    def places(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scroll to the raster of a layer; return neurons, steps, and centres (spikes, 2) of its spikes."""
        left, across, top, down = self.scale(f"rasters[{layer}]")
        trains = self.spikes(layer)
        neurons = np.repeat(np.arange(len(trains)), [len(train) for train in trains])
        steps = np.array(list(itertools.chain(*trains)), np.int64)
        return neurons, steps, np.stack([left + across * steps, top + down * neurons], axis=1)

    def label(self, layer: int, neuron: int, step: int) -> str:
        """Return the label of a spike."""
        shape, dt = self.run(f"[model.layers[{layer}].shape, model.dt]")
        place = tuple(map(int, np.unravel_index(neuron, shape)))
        return f"{step * dt:g} ms, neuron {neuron}" + (f" at {place}" if len(shape) > 1 else "")

    def hover(self, x: float, y: float) -> str:
        """Return the label after a move of the mouse, "" without one."""
        self.there.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return self.run("tip.hidden ? '' : tip.textContent")

    def click(self, x: float, y: float) -> list[int]:
        """Return what a click chooses: layer, neuron, step."""
        self.there.click(x, y)
        return self.chosen()

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse from a point of the window to another one."""
        moves = ("mouseMoved", start), ("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)
        for kind, (x, y) in moves:
            held = {"button": "left", "buttons": 1, "clickCount": 1} if kind != "mouseMoved" or (x, y) == end else {}
            self.there.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def found(self, points: Any) -> list[Any]:
        """Return the label and the choice [layer, neuron, step] at each of many points, by events of the pointer."""
        return self.run(f"({_FOUND})({json.dumps(np.asarray(points).tolist())})")

    def spikes(self, layer: int) -> list[list[int]]:
        """Return the spike times of each neuron of a layer."""
        starts, times = self.run(f"(({{ starts, times }}) => [[...starts], [...times]])(model.spikes({layer}))")
        return [times[a:b] for a, b in itertools.pairwise(starts)]

    def answer(self, script: str) -> None:
        """Run a script that starts the network of the page, and wait for its answer."""
        self.run(f"performance.clearMarks('answer'); {script}; 0")
        assert self.wait("performance.getEntriesByName('answer').length === 1")

    def take(self, image: np.ndarray) -> None:
        """Run the network on an image, as a click on an example does."""
        self.answer(f"live.take({{ image: {json.dumps(np.ravel(image).tolist())} }})")

    def check_spikes(self, net: cs.Sequential, x: np.ndarray) -> np.ndarray:
        """Compare the spikes of all layers, their potentials if the page keeps them, and a read-out with Python's.

        Args:
            net: the network.
            x: its input (T, 1, ...).

        Returns:
            The output (T, 1, ...).
        """
        assert self.spikes(0) == times_of(x)
        here = Contents(net, x)
        for layer, unit in enumerate(here.units, 1):
            assert self.spikes(layer) == times_of(here.spikes[unit.last.number]), f"layer {layer}"
            kept = self.run(f"[...(model.layers[{layer}].potentials?.[0].array ?? [])]")
            if kept:
                expected = here.potentials[unit.last.number].reshape(len(x), -1).T
                np.testing.assert_array_equal(np.reshape(kept, expected.shape), expected)
        net.train(False)
        with cs.no_grad():  # by the fused passes of the network
            out: np.ndarray = net(x).data
        if here.units[-1].last.number == here.graph.output:
            assert (out == here.spikes[here.units[-1].last.number]).all()
        read = self.run("model.readout && [...model.readout]")
        if read:
            np.testing.assert_array_equal(np.reshape(read, (out.shape[2], len(x))), out[:, 0].T)
        return out


_PROBLEMS = (Path(__file__).parents[2] / "tools" / "page_audit.js").read_text("utf-8")
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


def show(there: Browser, *, dark: bool = False, phone: bool = False) -> None:
    """Show the page in light or dark colours, and on a phone with a finger in place of a mouse."""
    there.call("Emulation.setTouchEmulationEnabled", enabled=phone)
    if phone:
        there.call("Emulation.setDeviceMetricsOverride", **PHONE)
    else:
        there.call("Emulation.clearDeviceMetricsOverride")
    there.color_scheme("dark" if dark else "light")


def reset(there: Browser) -> None:
    """Show the page as at first."""
    show(there)
    there.call("Emulation.setEmulatedMedia", features=[])


def problems(there: Browser) -> list[str]:
    """Return what is wrong with the page for readers with a keyboard, a phone or a program that reads aloud."""
    found: list[str] = there.run(_PROBLEMS)
    return found


def key(there: Browser, name: str, code: int, text: str = "", **more: Any) -> None:
    """Press and release a key that acts on the focused element, such as Tab, 9, or Enter, 13."""
    kind = "keyDown" if text else "rawKeyDown"
    for each in (kind, "keyUp"):
        sent = {"text": text} if text and each == kind else {}
        there.call("Input.dispatchKeyEvent", type=each, key=name, code=name, windowsVirtualKeyCode=code, **sent, **more)


def tab_stops(there: Browser, most: int = 200) -> list[str]:
    """Press Tab from the top of the page to its end; return the id or text of each element, after "!" if unmarked."""
    there.run("document.activeElement.blur(); scrollTo(0, 0); window.seen = new Set(); 0")
    found: list[str] = []
    for _ in range(most):
        key(there, "Tab", 9)
        stop = there.run(
            "(() => { const node = document.activeElement;"
            "if (node === document.body || window.seen.has(node)) return null;"
            "window.seen.add(node); const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(node);"
            "const shown = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';"
            "return (shown ? '' : '!') + (node.id || node.getAttribute('aria-label') || node.textContent.trim()); })()"
        )
        if stop is None:
            break
        found.append(stop)
    return found
