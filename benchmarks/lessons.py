"""Measure the lessons of the page of `write_demo`: drawings that it gets wrong, learned by one lesson after another.

    python benchmarks/lessons.py          # 20 drawings, in minutes; needs a Chromium

The drawings are the test digits that the network gets wrong, and test digits turned by 25 degrees and moved by a pixel
that it gets wrong. Each is taught to the network as it was trained. The accuracy is that of all test digits but the one
that was drawn.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pictures import trained
from scipy import ndimage

import cuslayer as cs
from cuslayer.data.digits import BRIGHTEST, labelled_images, numbers
from tests.support.pages import Page, seen
from tools.browser import Browser

LESSONS = 3
# The weights that lessons have changed in a node, as numbers and values.
CHANGED = """model.nodes.filter(({ before }) => before).map(({ weight, before }) =>
  [...numbers(weight).entries()].filter(([i, w]) => w !== before[i]))"""


def wrong(net: Any, images: np.ndarray, labels: np.ndarray, count: int, seed: int) -> list[tuple[np.ndarray, int]]:
    """Return images that the network gets wrong, with the numbers of their test digits."""

    def says(image: np.ndarray) -> int:
        with cs.no_grad():
            return int(cs.classify(net(seen(image, (34, 34, 2), 300)))[0])

    drawings = [(image, number) for number, image in enumerate(images) if says(image) != labels[number]]
    draw = np.random.default_rng(seed)
    while len(drawings) < count:
        number = int(draw.integers(len(images)))
        turned = ndimage.rotate(images[number].astype(float), draw.choice([-25, 25]), reshape=False, order=1)
        moved = ndimage.shift(turned, draw.integers(-1, 2, 2), order=0)
        image = np.rint(moved).clip(0, BRIGHTEST).astype(np.uint8)
        if says(image) != labels[number]:
            drawings.append((image, number))
    return drawings[:count]


def learned(page: Page, image: np.ndarray, label: int) -> list[dict[str, Any]]:
    """Teach a page a drawing; return for each lesson whether it is right, and the weights that have changed."""
    lessons = []
    page.run("forget(model)")
    page.take(image)
    for _ in range(LESSONS):
        page.run(f"$('truth').value = {label}; performance.clearMarks('lesson'); void live.teach()")
        assert page.wait("performance.getEntriesByName('lesson').length === 1")
        right = page.run("live.outcome.winner") == label
        lessons.append({"right": right, "changed": page.run(CHANGED)})
        if right:
            break
    return lessons


def main(arguments: Any = None) -> None:
    """Print one line for each drawing, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the drawings that are turned and moved")
    options = parser.parse_args(arguments)
    net, x, labels = trained()
    labels = np.asarray(labels)
    images = labelled_images()[0][numbers("test")]
    weights = [layer.weight for layer in (net[0], net[2])]
    before = [weight.data.copy() for weight in weights]

    def right() -> np.ndarray:
        with cs.no_grad():
            return np.asarray(cs.classify(net(x))) == labels

    known = right()
    falls = []
    taught = []
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as there:
        page = Page(there)
        page.open(cs.write_demo(net, Path(folder) / "demo.html", recordings=cs.Digits("test")))
        for image, number in wrong(net, images, labels, options.drawings, options.seed):
            lessons = learned(page, image, int(labels[number]))
            for weight, old, changed in zip(weights, before, lessons[-1]["changed"], strict=True):
                new = old.copy()
                for at, value in changed:
                    new.flat[at] = value
                weight.data = new
            others = np.arange(len(labels)) != number
            falls.append(100 * (known[others].mean() - right()[others].mean()))
            taught.append(lessons[-1]["right"])
            sizes = [len(changed) for changed in lessons[-1]["changed"]]
            about = {"digit": int(labels[number]), "lessons": len(lessons), "right": taught[-1], "changed": sizes}
            print(json.dumps(about | {"fall": round(falls[-1], 2)}), flush=True)
    print(
        f"{sum(taught)} of {len(taught)} drawings right after at most {LESSONS} lessons; accuracy on the other test "
        f"digits, before {100 * known.mean():.2f} %, falls by {np.mean(falls):.2f} points in the mean, at most "
        f"{max(falls):.2f}"
    )


if __name__ == "__main__":
    main()
