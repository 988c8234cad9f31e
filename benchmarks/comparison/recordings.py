"""A folder of `.bs2` recordings, and batches from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from comparison.works import Work
from cuslayer.data import Digits, EventFolder, Loader, open_folder, write_events

# How far gradients may be from the plain matrix path's, relative to their norm.
GRADIENT_TOLERANCE = 1e-5
_DIGITS = {"train": 320, "test": 10}


def folder_of(data: str | None, scratch: Path) -> str:
    """Return the folder of recordings; without one, a new folder in scratch with some of the embedded digits."""
    if data:
        return str(Path(data).resolve())
    number = 0
    for split, count in _DIGITS.items():
        digits, lines = Digits(split), []
        for sample in range(count):
            number += 1
            events, label = digits[sample]
            write_events(scratch / f"{number}.bs2", events)
            lines.append(f"{number}\t{label}\n")
        (scratch / f"{split}.txt").write_text("".join(lines))
    return str(scratch)


def training_set(folder: str) -> EventFolder:
    return open_folder(folder)[0]


def save_batch(path: Path, folder: str, work: Work, steps: int) -> None:
    """Write a batch of spikes (T, N, H, W, C) and labels (N,) to a file that every worker can read.

    For a work with an activity they are random: each pixel and polarity fires in that share of the steps.
    """
    if work.activity is None:
        dataset = training_set(folder)
        spikes, labels = next(iter(Loader(dataset, min(work.batch, len(dataset)), steps=steps, shuffle=True, seed=0)))
    else:
        generator = np.random.default_rng(0)
        spikes = generator.random((steps, work.batch, *work.sensor), np.float32) < work.activity
        labels = np.arange(work.batch) % 10
    np.savez(path, spikes=spikes, labels=labels)
