"""Draw the pictures of README and of the pages in docs/, into docs/images/.

    python benchmarks/pictures.py               # all, in a minute; the first needs a Chromium
    python benchmarks/pictures.py data health   # these

Pictures of pages are of a headless Chromium in light colours; the others are cuslayer's own plots, on white.
"""

from __future__ import annotations

import base64
import functools
import io
import re
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import cuslayer as cs
from cuslayer.data import Digits, Loader
from cuslayer.network import Online
from cuslayer.network.network import graph_in_chunks
from cuslayer.network.online.learner import OnlineLearner
from cuslayer.training import Trainer
from tools.browser import Browser

matplotlib.use("Agg")

IMAGES = common.DOCS / "images"
BLUE = "#0072B2"
# Of the page that runs its network, what an animation has room for, and an arrow in place of the pointer.
ONLY = """
header, #controls, #teach, .hint, #examples-part, #views figcaption, #clear, #why .choice, #traces, #pictures,
h2:not(#draw-heading), #parts tr:nth-child(n+6):not(.total) { display: none !important }
body.live { padding: 0 14px }  #views { max-width: 180px }  #views figure { margin: 0 }  #why { visibility: hidden }
.live main { gap: 0 24px; grid-template: "draw spikes" auto "answer why" 1fr / 232px 1fr !important }
#winner { width: 56px; height: 56px; font-size: 38px }  #answer { min-height: 66px; gap: 12px }
#classes { grid-template-columns: 1fr 1fr; gap: 2px 12px }  #classes > div { grid-template-columns: 1em 1fr 1.4em }
#why, #spikes { margin-top: 8px }  #arrow { position: fixed; z-index: 9; width: 26px; height: 26px;
pointer-events: none; background: #d55e00;
clip-path: polygon(0 0, 0 78%, 21% 60%, 36% 98%, 52% 91%, 36% 54%, 62% 52%) }
"""
# A drawn 3 on the pad: places of a pen, as shares of its width and height.
THREE = np.array([(28, 22), (44, 10), (66, 14), (70, 34), (44, 47), (70, 52), (76, 74), (56, 90), (26, 80)]) / 100
WIDTH, HEIGHT = 860, 664


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


def box(there: Browser, element: str) -> list[float]:
    """Return left, top, width and height of an element on the page."""
    return there.run(
        f"(() => {{ const b = {element}.getBoundingClientRect();"
        "return [b.left + scrollX, b.top + scrollY, b.width, b.height]; })()"
    )


def demo() -> None:
    """The page of `cuslayer demo` as it moves: a drawn 3, its spikes, a click on one of them, and why it was fired."""
    from PIL import Image

    frames, times, place = list[Any](), list[int](), np.zeros(2)
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder) / "profile") as there:

        def photograph(ms: int) -> None:
            there.frames()
            shot = there.call("Page.captureScreenshot")
            frames.append(Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB"))
            times.append(ms)

        def mouse(kind: str, to: Any, ms: int = 0) -> None:
            x, y = map(float, to)
            place[:] = to
            there.run(f"Object.assign($('arrow').style, {{ left: '{x}px', top: '{y}px' }}); 0")
            there.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, x=x, y=y)
            if ms:
                photograph(ms)

        there.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        there.open(cs.write_demo(trained()[0], Path(folder) / "demo.html", recordings=Digits("test")))
        there.run(
            f"document.body.append(element('div', {{ id: 'arrow' }}), element('style', {{ textContent: {ONLY!r} }}));"
            f"rasters.forEach((plot, at) => {{ plot.high = [86, 86, 58][at]; plot.last = at === 2; }}); view.draw()"
        )
        there.wait("performance.getEntriesByName('answer').length > 0")
        there.run("$('clear').click(); performance.clearMarks('answer'); 0")
        left, top, wide, high = box(there, "$('pad')")
        stroke = np.array([left, top]) + THREE * (wide, high)
        for _ in range(2):  # corners cut off, so that it is round
            cut = [0.75 * stroke[:-1] + 0.25 * stroke[1:], 0.25 * stroke[:-1] + 0.75 * stroke[1:]]
            stroke = np.concatenate([stroke[:1], np.stack(cut, axis=1).reshape(-1, 2), stroke[-1:]])
        mouse("mousePressed", stroke[0], 500)
        for at, to in enumerate(stroke):
            mouse("mouseMoved", to, 70 * (at % 2))
        mouse("mouseReleased", stroke[-1])
        there.wait("performance.getEntriesByName('answer').length > 0")
        for step in (*range(0, 300, 12), 299):
            there.run(f"live.player.play(false); live.player.move({step}); 0")
            photograph(80 if step < 299 else 700)
        winner, (x, across, y, down) = there.run("[live.outcome.winner, Object.values(rasters[2].scale)]")
        left, top, *_ = box(there, "rasters[2].node")
        fired = there.run(f"[...model.times(2, {winner})][3]")
        start, spike = place.copy(), np.array([left + x + across * fired, top + y + down * winner])
        for share in (0.3, 0.6, 0.85, 1.0):
            there.run("hideTip()")
            mouse("mouseMoved", start + share * (spike - start))
            photograph(90 if share < 1 else 900)
        mouse("mousePressed", spike)
        mouse("mouseReleased", spike)
        there.run("$('why').style.visibility = 'visible'; 0")
        photograph(4500)
    both = np.concatenate([np.asarray(frames[at]) for at in (len(frames) // 2, -1)])  # have the colors of all
    table = Image.fromarray(both).quantize(128)
    first, *others = (frame.quantize(palette=table, dither=Image.Dither.NONE) for frame in frames)
    first.save(IMAGES / "demo.gif", save_all=True, append_images=others, duration=times, loop=0, optimize=True)


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
        "ResonateAndFire": (cs.neurons.ResonateAndFire(tau=30.0, frequency=50.0), 0.6),
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


def plasticity() -> None:
    """The change of a weight by a pair of spikes, and what neurons learn from digits without labels."""
    example = runpy.run_path(str(common.DOCS.parent / "examples" / "stdp_digits.py"))
    rule = cs.plasticity.STDP(a_plus=0.01, a_minus=0.012, bounds=(-1.0, 1.0))
    apart = np.arange(-60, 61)
    measured = []
    for ms in apart:
        spikes = np.zeros((2, 200, 1, 1), bool)
        spikes[0, 100] = spikes[1, 100 + ms] = True
        measured.append(rule(*spikes, np.zeros((1, 1))).item())
    figure, (curve, weights) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    formula = np.where(apart >= 0, 0.01 * np.exp(-apart / 20), -0.012 * np.exp(apart / 20))
    curve.plot(apart, formula, color="black", linewidth=1, label="formula")
    curve.plot(apart[::4], measured[::4], ".", color=BLUE, label="a pair of spikes")
    curve.set(xlabel="output spike after input spike (ms)", ylabel="change of the weight")
    curve.legend(frameon=False)
    weights.imshow(example["pictures"](example["main"]([])), cmap="gray_r")
    weights.set_axis_off()
    save(figure, "plasticity")


def learning_rules() -> None:
    """The traces of one synapse: what its weight has changed so far, and how errors turn it into a gradient."""
    cs.seed(1)
    rng = np.random.default_rng(4)
    steps = 120
    x = rng.random((steps, 1, 12)) < 0.12
    net = cs.Sequential(cs.Dense(12, 8, weight_scale=6.0), cs.CUBA(), cs.ReadOut(8, 2, tau=15.0))
    errors = np.zeros((steps, 1, 2), np.float32)
    errors[60:, 0] = (0.2, -0.2)
    net[0].weight.data[0] = abs(net[0].weight.data[0])
    with cs.record(net) as seen:
        net(x)
    neuron = int(seen[1].spikes[:, 0].sum(axis=0).argmax())
    output = net(x)
    output.backward(errors)
    wanted = net[0].weight.grad[0, neuron]
    learner = OnlineLearner(graph_in_chunks(net), Online("exact"))
    sums = np.zeros(steps)
    for t in range(steps):
        net[0].weight.grad = None
        learner.run(cs.Tensor(x[t : t + 1]))
        learner.learn(errors[t : t + 1])
        sums[t] = net[0].weight.grad[0, neuron]
    total = np.cumsum(sums)
    figure, axes = plt.subplots(4, 1, figsize=(8, 6), sharex=True, layout="constrained", height_ratios=(1, 3, 2, 3))
    axes[0].eventplot([np.flatnonzero(x[:, 0, 0])], color=BLUE)
    axes[0].set(ylabel="input", yticks=[])
    axes[1].plot(seen[1].potential[:, 0, neuron], color="black")
    axes[1].axhline(1.0, color="gray", linewidth=0.8)
    axes[1].set(ylabel="potential")
    axes[2].plot(errors[:, 0, 0], color="black", drawstyle="steps-post")
    axes[2].set(ylabel="error of\nan output")
    axes[3].plot(total, color=BLUE, label="sum so far, forward in time")
    axes[3].axhline(wanted, color="black", linestyle="--", linewidth=1, label="gradient of backward")
    axes[3].set(ylabel="gradient of\nthe weight", xlabel="time (ms)")
    axes[3].legend(frameon=False)
    save(figure, "learning-rules")


ALL = (
    demo,
    health,
    after_training,
    data,
    neurons,
    recurrent,
    migrating,
    design,
    surrogates,
    learning_rules,
    plasticity,
)
DRAWN = {draw.__name__.replace("_", "-"): draw for draw in ALL}


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures of these names, by default all."""
    for name in (sys.argv[1:] if arguments is None else arguments) or DRAWN:
        DRAWN[name]()
        (picture,) = IMAGES.glob(f"{name}.[gp][in][fg]")
        print(f"docs/images/{picture.name}: {picture.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
