"""Make the gallery of the site: train small networks, write pages that run them, and photograph the pages.

    python benchmarks/gallery.py --data DATA               # all, in ten minutes; needs a Chromium
    python benchmarks/gallery.py --data DATA digits braille

The pages go to docs/gallery/, their pictures to docs/images/gallery/, the figures to benchmarks/results/gallery.json;
docs/gallery.md and docs/index.md show them. DATA has the folders nmnist-small, qtdb, braille and spoken-digits, in the
forms of docs/data.md. Pages of other recordings need no DATA. With `--runs` a network is trained once.
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np

import cuslayer as cs
from cuslayer.cli import main as cuslayer
from cuslayer.data import Subset
from cuslayer.training.load import example, recordings
from tools.browser import Browser

PAGES = common.DOCS / "gallery"
IMAGES = common.DOCS / "images" / "gallery"
WIDTH, HEIGHT = 1180, 760
# Loihi's neurons, with the constants of the tests of SLAYER-PyTorch.
LOIHI = """
simulation: {Ts: 1.0, tSample: 300.0}
neuron: {type: LOIHI, vThMant: 80, vDecay: 128, iDecay: 1024, refDelay: 1, wgtExp: 0, tauRho: 1.0, scaleRho: 1.0}
layer: [{dim: 34x34x2}, {dim: 32}, {dim: 10}]
training:
  error: {type: NumSpikes, tgtSpikeRegion: {start: 0, stop: 300}, tgtSpikeCount: {true: 60, false: 10}}
  optimizer: {type: Adam, lr: 0.1, relative: true, warmup: 30, schedule: cosine}
"""
DIGITS = "Digits of scikit-learn and UCI (CC BY 4.0)"
QTDB = "QT Database, PhysioNet (ODC-BY), prepared by B. Yin and others"
BRAILLE = "Müller-Cleve and others 2022 (CC BY 4.0)"
NMNIST = "N-MNIST, Orchard and others 2015 (CC BY-SA 4.0)"
FSDD = "Free Spoken Digit Dataset (CC BY-SA 4.0)"


class Entry(NamedTuple):
    """A page of the gallery."""

    title: str
    what: str  # what one sees and does there
    source: str  # of the recordings, with the licence
    train: tuple[str, ...]  # arguments of `cuslayer train`
    data: str = ""  # within DATA
    carried: int = 20  # recordings that the page carries, at most
    report: bool = False


ENTRIES = {
    "digits": Entry(
        "Draw a digit",
        "Draw with the mouse or a finger. An event camera sees the drawing, and the network answers while you draw.",
        DIGITS,
        ("--network", "34x34x2-64-10", "--epochs", "8"),
    ),
    "convolutions": Entry(
        "Maps of a convolution",
        "The same with two convolutions: click a spike of a map to see the window that made the neuron fire.",
        DIGITS,
        ("--network", "34x34x2-8c5-2a-16c3-2a-10", "--epochs", "4"),
    ),
    "lesson": Entry(
        "Teach it a digit",
        "A network after one epoch: where its answer is wrong, say what it is. It learns in the page, and can forget.",
        DIGITS,
        ("--network", "34x34x2-32-10", "--epochs", "1"),
    ),
    "event-camera": Entry(
        "A real event camera",
        "Digits that a camera has seen in three saccades, as some 4,000 events each.",
        NMNIST,
        ("--network", "34x34x2-32-10", "--epochs", "10"),
        "nmnist-small",
        10,
    ),
    "heartbeats": Entry(
        "Heartbeats",
        "An adaptive recurrent network names the wave of an electrocardiogram at each step.",
        QTDB,
        ("qtdb", "--epochs", "40"),
        "qtdb",
        3,
    ),
    "braille": Entry(
        "Braille",
        "A robot's finger slides over a letter: the pressure on twelve taxels, and the letter.",
        BRAILLE,
        ("braille",),
        "braille",
        9,
    ),
    "spoken-digits": Entry(
        "Spoken digits",
        "A spoken digit as the levels of 32 bands, and when the network decides.",
        FSDD,
        ("spoken-digits", "--epochs", "48"),
        "spoken-digits/recordings.npz",
        4,
    ),
    "loihi": Entry(
        "Loihi's integers",
        "The neurons of Intel's chip, in integers: draw a digit, and read their potentials.",
        DIGITS,
        ("loihi.yaml", "--epochs", "6"),
    ),
    "yin-yang": Entry(
        "Yin and yang",
        "Points of a figure as times of four spikes: one spike of each decides.",
        "Yin-Yang, Kriener and others 2022, drawn by cuslayer",
        ("yin-yang", "--epochs", "20"),
    ),
    "why": Entry(
        "Why did it fire?",
        "Click a spike: the parts of the potential by input, which add up, and the way back of the error.",
        DIGITS,
        ("--network", "34x34x2-32-10", "--epochs", "8"),
        report=True,
    ),
}


def some(data: Any, most: int) -> Subset:
    """Return some recordings of a data set, from its first to its last."""
    return Subset(data, np.linspace(0, len(data) - 1, min(most, len(data))).astype(int))


def trained(name: str, data: Path | None, runs: Path) -> Path | None:
    """Return the run of an entry, trained unless it exists; None without its data."""
    entry = ENTRIES[name]
    run = runs / name
    if run.exists():
        return run
    arguments = [*entry.train, "--out", str(run)]
    if entry.data:
        if data is None or not (data / entry.data).exists():
            print(f"{name}: no {entry.data} in --data, skipped")
            return None
        arguments += ["--data", str(data / entry.data)]
    settings = runs / "loihi.yaml"
    settings.write_text(LOIHI)
    code = cuslayer(["train", *(str(settings) if word == settings.name else word for word in arguments)])
    if code:
        raise SystemExit(code)
    return run


def write_page(name: str, folder: Path) -> dict[str, Any]:
    """Write the page of a run, and return its figures."""
    entry = ENTRIES[name]
    run = cs.load_run(folder)
    page = PAGES / f"{name}.html"
    if entry.report:
        spikes, target, _ = example(run)
        cs.write_report(run.net, spikes, page, target=target, loss=run.config.loss(), title=entry.title)
    else:
        over, window = run.config.decision
        carried = recordings(run)
        data = carried if run.config.dataset is None and not entry.data else some(carried, entry.carried)
        cs.write_demo(
            run.net,
            page,
            recordings=data,
            duration=run.config.duration,
            over=over,
            window=window,
            title=entry.title,
        )
    last = run.stats.epochs[-1]
    split = "validation" if last.test_accuracy is None else "test"
    accuracy = last.validation_accuracy if last.test_accuracy is None else last.test_accuracy
    return {"accuracy": accuracy, "split": split, "kB": round(page.stat().st_size / 1000)}


def photograph(name: str, there: Browser) -> None:
    """Save a picture of a page in which a recording runs."""
    from PIL import Image

    there.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
    there.open(PAGES / f"{name}.html")
    if not ENTRIES[name].report:
        there.wait("performance.getEntriesByName('answer').length > 0")
        # Each page shows another recording.
        number = list(ENTRIES).index(name)
        there.run(f"$('examples').children[{number} % $('examples').children.length].click()")
        there.wait("performance.getEntriesByName('answer').length > 1")
        there.wait("live.player.step > 0.6 * model.steps")
    there.frames()
    shot = there.call("Page.captureScreenshot")
    picture = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    picture.resize((WIDTH * 2 // 3, HEIGHT * 2 // 3)).save(IMAGES / f"{name}.webp", quality=80)
    if there.said:
        raise SystemExit(f"{name}: {there.said}")


def lines(figures: dict[str, Any], details: bool) -> list[str]:
    """Return the grid of pictures, with what each page shows if `details`."""
    grid = ['<div class="gallery" markdown>', ""]
    for name, entry in ENTRIES.items():
        if name not in figures:
            continue
        picture = f"[![{entry.title}: the page, running](images/gallery/{name}.webp)](gallery/{name}.html)"
        grid += ['<figure markdown="span">', picture]
        if details:
            figure = figures[name]
            shown = f"{figure['accuracy']:.1%} of the {figure['split']} recordings are right. "
            caption = f"**{entry.title}.** {entry.what} {shown}{figure['kB']:,} kB. Recordings: {entry.source}."
        else:
            caption = entry.title
        grid += [f"<figcaption markdown>{caption}</figcaption>", "</figure>", ""]
    return [*grid, "</div>"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pages of these names, by default all."""
    parser = common.parser(__doc__)
    parser.add_argument("names", nargs="*", help="pages; by default all")
    parser.add_argument("--data", type=Path, metavar="DATA", help="folder of recordings")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of the runs, kept; by default a temporary one")
    options = parser.parse_args(arguments)
    PAGES.mkdir(exist_ok=True)
    IMAGES.mkdir(exist_ok=True)
    figures = common.load("gallery", options.out)
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or Path(folder)
        runs.mkdir(exist_ok=True)
        for name in options.names or ENTRIES:
            run = trained(name, options.data, runs)
            if run is None:
                continue
            figures[name] = write_page(name, run)
            with Browser(Path(folder) / f"profile-{name}") as there:
                photograph(name, there)
            print(name, figures[name], flush=True)
    common.save("gallery", figures, options.out)
    for page, details in (("gallery", True), ("index", False)):
        common.fill(common.DOCS / f"{page}.md", "gallery", lines(figures, details))


if __name__ == "__main__":
    main()
