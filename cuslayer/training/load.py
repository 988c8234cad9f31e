"""`load_run`: the trained network of a run, its configuration and its statistics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cuslayer import backend
from cuslayer.network.network import Network
from cuslayer.training.checkpoint import load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.read_config import load_config
from cuslayer.training.run import CHECKPOINT, CONFIG, METRICS, load_data
from cuslayer.training.score import Score
from cuslayer.training.stats import Stats, load_stats
from cuslayer.training.trainer import Trainer


@dataclass(frozen=True)
class Run:
    """A run that `cuslayer train` wrote, as `load_run` reads it.

    Attributes:
        net: the trained network, in evaluation mode.
        config: the configuration of the run, from which `config.loss()` makes its loss.
        stats: one row of scores for each epoch, and `stats.best`.
        epoch: the number of completed epochs.
        folder: the folder of the run.
    """

    net: Network
    config: Config
    stats: Stats
    epoch: int
    folder: Path


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a run that `cuslayer train` or `cuslayer.training.train` wrote.

    The network is made from the configuration and has the weights of the checkpoint, on the device in use. The random
    generator is not changed.

    Args:
        path: the folder of the run, such as ``"runs/1"``, or a checkpoint file in it.

    Raises:
        ValueError: the folder, its checkpoint, its configuration or its metrics are missing or damaged, or do not
            belong together.

    >>> load_run("no/such/run")
    Traceback (most recent call last):
        ...
    ValueError: load_run: no/such/run does not exist
    """
    given = Path(path)
    if not given.exists():
        raise ValueError(f"load_run: {given} does not exist")
    folder, file = (given, given / CHECKPOINT) if given.is_dir() else (given.parent, given)
    for needed in (file, folder / CONFIG, folder / METRICS):
        if not needed.is_file():
            raise ValueError(f"load_run: {folder} has no {needed.name}")
    checkpoint, config = load_checkpoint(file), load_config(folder / CONFIG)
    with backend.preserved_generator():
        net = config.network()
    try:
        net.load_state(checkpoint.network)
    except ValueError as problem:
        reason = str(problem).removeprefix("load_state: ")
        raise ValueError(f"load_run: {file} does not fit {folder / CONFIG}: {reason}") from None
    net.train(False)
    rows = load_stats(folder / METRICS)[: checkpoint.epoch]
    if len(rows) < checkpoint.epoch:
        raise ValueError(f"load_run: {folder / METRICS} has {len(rows)} epochs, the checkpoint has {checkpoint.epoch}")
    return Run(net, config, Stats(rows), checkpoint.epoch, folder)


def evaluate(run: Run, *, data: str | None = None, progress: bool = False) -> tuple[Score, int]:
    """Return the mean loss and the accuracy of a run on its test set, and the number of recordings.

    A run of spike times has no test set: its loss is that of the pair of spike trains that it learned.

    Args:
        run: the run.
        data: a folder of recordings in place of the run's.
        progress: whether to show a progress bar on a terminal.

    Raises:
        ValueError: the recordings are missing or damaged, or do not fit the network.
    """
    config = run.config.with_options(data=data)
    found = load_data(config, run.net, op="test")
    trainer = Trainer(run.net, config.loss(), config.make_optimizer(run.net.parameters()), progress=progress)
    score = trainer.test(found.train if found.test is None else found.test)
    return score, 1 if found.test is None else len(found.test.dataset)
