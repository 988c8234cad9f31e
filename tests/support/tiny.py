"""Helpers for short runs: recordings of a few events, and the content of result folders."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cuslayer.data import Events, write_events
from cuslayer.training import Named, figures, load_checkpoint, train

# Losses of configurations.
COUNTS = Named("SpikeCountLoss", {"true": 6.0, "false": 1.0})
TIMES = Named("SpikeTimeLoss")
HEADER = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,test_loss,test_accuracy,lr,seconds"
FILES = [
    "best.npz",
    "checkpoint.npz",
    "config.yaml",
    "curves.png",
    "gradients.csv",
    "gradients.png",
    "metrics.csv",
    "raster.png",
]


def recording(label, rng, events=60, duration=30.0):
    """Return a recording whose class is the band of rows of its events."""
    rows = 3 * label + rng.integers(3, size=events)
    return Events(rng.uniform(0, duration, events), rng.integers(34, size=events), rows, rng.integers(2, size=events))


def write_folder(folder, train=(0, 1, 2, 0, 1, 2), test=(0, 1, 2), events=60, duration=30.0):
    """Write recordings with given classes, numbered from 1, and their two lists."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for name, labels in (("train.txt", train), ("test.txt", test)):
        lines = []
        for label in labels:
            number += 1
            write_events(folder / f"{number}.bs2", recording(max(label, 0), rng, events, duration))
            lines.append(f"{number}\t{label}\n")
        (folder / name).write_text("#sample\tclass\n" + "".join(lines))
    return folder


def write_pair(folder, neurons=5, steps=30, rate=8):
    """Write input.bs1 and output.bs1 of random spikes."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("input.bs1", "output.bs1"):
        n = rate * neurons
        write_events(folder / name, Events(rng.uniform(0, steps - 1, n), rng.integers(neurons, size=n), None, [0] * n))
    return folder


def no_figures(monkeypatch):
    """Do not draw the figures of a run, which takes longer than the training of the tests; make empty files."""
    monkeypatch.setattr(figures, "save_figure", lambda path, draw, *, size: path.touch())


def silent(line):
    pass


def rows_without_seconds(out):
    return [line.rsplit(",", 1)[0] for line in (out / "metrics.csv").read_text().splitlines()]


def rows_of_training(out):
    """The rows without the test, which a run that is trained on has in several."""
    return [line.rsplit(",", 4)[0] for line in (out / "metrics.csv").read_text().splitlines()]


def weights(out):
    return {name: a.tobytes() for name, a in load_checkpoint(out / "checkpoint.npz").network.items()}


def memory(out):
    return {name: a.tobytes() for name, a in load_checkpoint(out / "checkpoint.npz").optimizer.items()}


def fails(config, message, kind=ValueError, **options):
    """Check that a run raises and leaves its folder and the parent folder unchanged."""
    above = os.path.dirname(config.out)
    before = sorted((r, d, f) for r, d, f in os.walk(above))
    with pytest.raises(kind, match=message):
        train(config.with_options(**options), log=silent)
    assert sorted((r, d, f) for r, d, f in os.walk(above)) == before
