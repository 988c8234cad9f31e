"""Draw the pictures of README and of the pages in docs/, into docs/images/.

    python benchmarks/pictures.py               # all, in a minute; the first two need a Chromium
    python benchmarks/pictures.py data health   # these

Pictures of pages are of a headless Chromium in light colours; the others are cuslayer's own plots, on white.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import cuslayer as cs
from cuslayer.data import Digits, Loader
from cuslayer.training import Trainer
from tests.support.browser import Browser

matplotlib.use("Agg")

IMAGES = common.DOCS / "images"
BLUE = "#0072B2"
# Of the report, the raster and the parts of one potential.
ONLY_RASTER_AND_PARTS = (
    "#pictures, #traces, #pictures + h2, #no-errors, .choice, .hint, #controls, header { display: none !important }"
    "main { grid-template-columns: 1fr 1fr !important; padding-top: 8px }"
)
# The events of a drawn 3 on the pad, as shares of its width and height.
THREE = [(0.28, 0.2), (0.55, 0.12), (0.7, 0.28), (0.45, 0.48), (0.72, 0.66), (0.55, 0.88), (0.27, 0.8)]


@functools.cache
def trained() -> tuple[Any, Any, Any]:
    """Return README's network after two epochs, and the test digits (T, N, 34, 34, 2) with their labels."""
    cs.use("cpu")
    cs.seed(0)
    neuron = cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=1.0)
    net = cs.Network("34x34x2-256-10", neuron)
    batches = Loader(Digits("train"), batch=16, steps=300, shuffle=True, seed=0)
    cs.calibrate(net, batches)
    loss = cs.SpikeCountLoss(neuron, true=60, false=10, window=(0, 300))
    optimizer = cs.Adam(net.parameters(), lr=0.1, relative=True, warmup=30, amsgrad=True)
    for _ in range(2):
        Trainer(net, loss, optimizer, calibrate=None).train(batches)
    return net, *next(iter(Loader(Digits("test"), batch=360, steps=300)))


def save(figure: Any, name: str) -> None:
    """Write a figure as a PNG without a date, so that the same figure is the same file."""
    figure.savefig(IMAGES / f"{name}.png", dpi=110, facecolor="white", metadata={"Software": None})
    plt.close(figure)


def screenshot(page: Path, name: str, prepare: Callable[[Any], None]) -> None:
    """Write a picture of the main part of a page after a preparation of the page."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as there:
        there.call("Emulation.setDeviceMetricsOverride", width=1200, height=1000, deviceScaleFactor=1, mobile=False)
        there.open(page)
        prepare(there)
        left, top, wide, high = box(there, "document.querySelector('main')")
        clip = {"x": left - 16, "y": top - 4, "width": wide + 32, "height": high + 16, "scale": 1}
        shot = there.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        (IMAGES / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def box(there: Browser, element: str) -> list[float]:
    """Return left, top, width and height of an element on the page."""
    return there.run(
        f"(() => {{ const b = {element}.getBoundingClientRect();"
        "return [b.left + scrollX, b.top + scrollY, b.width, b.height]; })()"
    )


def explanation() -> None:
    """The report of a digit: its raster, beside the parts of the first potential that reached the threshold."""
    net, spikes, labels = trained()
    with cs.no_grad():
        out = net(spikes).numpy()
    number = int(np.flatnonzero((labels == 3) & (cs.classify(out) == 3))[0])
    x = np.ascontiguousarray(spikes[:, number : number + 1])
    fired = int(np.flatnonzero(out[:, number, 3])[2])

    def prepare(there: Any) -> None:
        there.run(f"choose(2, 3, {fired})")  # of the layers of neurons, the second
        there.run(
            "(() => { const style = document.createElement('style');"
            f"style.textContent = {json.dumps(ONLY_RASTER_AND_PARTS)}; document.head.append(style);"
            "dispatchEvent(new Event('resize')); })()"
        )
        there.run("new Promise(done => setTimeout(done, 800))")

    with tempfile.TemporaryDirectory() as folder:
        screenshot(cs.write_report(net, x, Path(folder) / "report.html"), "explanation", prepare)


def demo() -> None:
    """The page of `cuslayer demo`, with a drawn 3."""
    net, *_ = trained()

    def prepare(there: Any) -> None:
        left, top, wide, high = box(there, "$('pad')")
        points = [(left + x * wide, top + y * high) for x, y in THREE]
        for at, (x, y) in enumerate([*points, points[-1]]):
            kind = "mousePressed" if at == 0 else "mouseMoved" if at < len(points) else "mouseReleased"
            there.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, x=x, y=y)
        there.wait("performance.getEntriesByName('answer').length > 0")
        there.run("new Promise(done => setTimeout(done, 1500))")

    with tempfile.TemporaryDirectory() as folder:
        screenshot(cs.write_demo(net, Path(folder) / "demo.html", title="Draw a digit"), "demo", prepare)


def data() -> None:
    """A recording as frames, and the spikes of a batch of it as a raster."""
    events, label = Digits("test")[4]
    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), height_ratios=(2, 3), layout="constrained")
    cs.plot.frames(events, above, duration=50.0, columns=6)
    above.set_title(f"a {label} as an event camera sees it, 50 ms in each frame", loc="left", fontsize="medium")
    cs.plot.raster(events.to_spikes((34, 34, 2), steps=300)[:, None], below)
    below.set(ylabel="pixel and polarity", title="")
    save(figure, "data")


def after_training() -> None:
    """Which digits are taken for which, and how early."""
    net, spikes, labels = trained()
    with cs.no_grad():
        out = net(spikes).numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    cs.plot.confusion(labels, cs.classify(out), left)
    right.plot((cs.loss.running_decision(out) == labels).mean(axis=1), color=BLUE)
    right.set(xlabel="time (ms)", ylabel="share that is right at this time", ylim=(0, 1), xlim=(0, 300))
    save(figure, "after-training")


def neurons() -> None:
    """The potential of one neuron of each kind, for the same input."""
    x = np.zeros((150, 1, 1), np.float32)
    x[[10, 14, 18, 60, 63, 66, 69, 110]] = 1.0
    kinds = {
        "SRM": (cs.SRM(theta=10, tau_sr=10, tau_ref=4), 8.0),
        "LIF": (cs.LIF(tau=15.0), 0.55),
        "CUBA": (cs.CUBA(tau_i=5.0, tau_v=15.0), 0.12),
        "ResonateAndFire": (cs.ResonateAndFire(tau=30.0, frequency=50.0), 0.6),
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 4.4), sharex=True, layout="constrained")
    for axis, (name, (neuron, weight)) in zip(axes.flat, kinds.items(), strict=True):
        net = cs.Sequential(neuron)
        with cs.record(net) as seen:
            net(weight * x)
        cs.plot.potential(seen[0].potential, axis, neuron=neuron)
        axis.set_title(name, loc="left", fontsize="medium")
        if (legend := axis.get_legend()) is not None:
            legend.remove()
    save(figure, "neurons")


def health() -> None:
    """What `cs.diagnose` shows: rates, potentials and gradients of each layer."""
    net, *_ = trained()
    batches = Loader(Digits("test"), batch=16, steps=300)
    found = cs.diagnose(net, batches, loss=cs.SpikeCountLoss(net[1], true=60, false=10), batches=2)
    figure = plt.figure(figsize=(10, 3.2), layout="constrained")
    found.plot(figure.subplots(1, 3))
    save(figure, "health")


def recurrent() -> None:
    """The task of docs/recurrent.md, and the population that learned it."""
    space: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", (common.DOCS / "recurrent.md").read_text("utf-8"), re.DOTALL):
        exec(compile(block, "recurrent.md", "exec"), space)
    spikes = space["population"](space["net"][0](space["x"])).numpy()
    figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True, layout="constrained")
    for column, sample in enumerate((0, 1)):
        cs.plot.raster(space["x"], axes[0, column], sample=sample)
        title = "first group first" if sample == 0 else "second group first"
        axes[0, column].set(title=title, ylabel="input", xlabel="")
        cs.plot.raster(spikes, axes[1, column], sample=sample)
        axes[1, column].set(ylabel="recurrent neuron", title="")
    save(figure, "recurrent")


def migrating() -> None:
    """The two responses of SLAYER's usual constants."""
    figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
    cs.plot.filters(cs.SRM(theta=10, tau_sr=10, tau_ref=1), axis)
    save(figure, "migrating")


def design() -> None:
    """How the error of two spikes that came too early is reassigned in time."""
    net = cs.Sequential(cs.Dense(1, 1), cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=4.0, tau_rho=0.5))
    net[0].weight.data[...] = 5.0
    x, target = np.zeros((2, 100, 1, 1), bool)
    x[[10, 14, 18, 50, 55, 60]] = target[[32, 70]] = True
    figure, axes = plt.subplots(
        6, 1, figsize=(9, 6.4), sharex=True, height_ratios=(1, 3, 1.5, 2, 2, 2), layout="constrained"
    )
    cs.reassign(net, x, target, layer=1, index=0).plot(axes)
    axes[0].vlines(np.flatnonzero(target), 0, 1, color=BLUE, linestyle=":")
    axes[0].set_title("spikes, and dotted where they should be", loc="left", fontsize="medium")
    save(figure, "design")


def surrogates() -> None:
    """Every surrogate and its primitive."""
    cs.plot.surrogates()[0].figure.savefig(IMAGES / "surrogates.png", dpi=110)


ALL = (explanation, demo, health, after_training, data, neurons, recurrent, migrating, design, surrogates)
DRAWN = {draw.__name__.replace("_", "-"): draw for draw in ALL}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures of these names, by default all."""
    for name in (sys.argv[1:] if arguments is None else arguments) or DRAWN:
        DRAWN[name]()
        print(f"docs/images/{name}.png: {(IMAGES / f'{name}.png').stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
