"""`load_run`: the trained network of a run, its configuration and its statistics."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cuslayer import backend, check
from cuslayer.kernels.host.available import elements_left
from cuslayer.network.network import Network
from cuslayer.training.checkpoint import load_checkpoint, read_summary
from cuslayer.training.config import Config, load_config
from cuslayer.training.data_of_run import load_data
from cuslayer.training.run_folder import (
    ALL,
    BEST,
    CHECKPOINT,
    CONFIG,
    METRICS,
    NETWORK,
    PATHS,
    check_config,
    completed,
)
from cuslayer.training.score import Score
from cuslayer.training.stats import Stats
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
        batches: the number of batches of the next epoch that the network was trained on.
    """

    net: Network
    config: Config
    stats: Stats
    epoch: int
    folder: Path
    batches: int = 0


@check.operation
def load_run(path: str | os.PathLike[str], *, best: bool = False) -> Run:
    """Read a run that `cuslayer train` or `cuslayer.training.train` wrote.

    The network is made from the configuration and has the weights of the checkpoint, on the device in use. The random
    generator is not changed.

    Args:
        path: the folder of the run, such as ``"runs/1"``, or a checkpoint file in it.
        best: whether to take the weights of the best epoch, not the last ones; see `Stats.best`.

    Raises:
        ValueError: the folder, its checkpoint, its configuration or its metrics are missing or damaged, or do not
            belong together; or path is a file and best is True.

    >>> load_run("no/such/run")
    Traceback (most recent call last):
        ...
    ValueError: load_run: no/such/run does not exist
    """
    given = Path(path)
    if not given.exists():
        raise ValueError(f"{given} does not exist")
    if best and not given.is_dir():
        raise ValueError(f"path must be a folder for the best epoch, got the file {given}")
    folder, file = (given, given / (BEST if best else CHECKPOINT)) if given.is_dir() else (given.parent, given)
    for needed in (file, folder / CONFIG):
        if not needed.is_file():
            raise ValueError(f"{folder} has no {needed.name}")
    summary, config = read_summary(file), load_config(folder / CONFIG)
    if summary.epoch and not (folder / METRICS).is_file():
        raise ValueError(f"{folder} has no {METRICS}")
    if summary.record is not None:
        # A run that was resumed with other options has another configuration than its best checkpoint.
        of = ALL if file.name == CHECKPOINT else NETWORK
        check_config(summary.record, folder, free=PATHS, of=of)
    # A network of more weights than the checkpoint has bytes cannot be its own.
    try:
        with backend.preserved_generator(), elements_left.set([file.stat().st_size]):
            net = config.network()
    except ValueError as problem:
        raise ValueError(f"{folder / CONFIG}: {problem}") from None
    try:
        checkpoint = load_checkpoint(file, net)
    except ValueError as problem:
        reason = str(problem).removeprefix(f"load_checkpoint: {file}: ")
        if reason == str(problem):
            raise
        raise ValueError(f"{file} does not fit {folder / CONFIG}: {reason}") from None
    net.load_state(checkpoint.network)
    net.train(False)
    rows = completed(folder, checkpoint.epoch)
    return Run(net, config, Stats(rows), checkpoint.epoch, folder, checkpoint.batches)


@check.operation("test")
def evaluate(run: Run, *, data: str | None = None, progress: bool = False) -> tuple[Score, int]:
    """Return the mean loss and the accuracy of a run on its test set, and the number of recordings.

    A run of spike times has no test set: its loss is that of the pair of spike trains that it learned.

    Args:
        run: the run.
        data: a folder of recordings, or a file of sounds, in place of the run's.
        progress: whether to show a progress bar on a terminal.

    Raises:
        ValueError: the recordings are missing or damaged, or do not fit the network.
    """
    config = run.config.with_options(data=data)
    found = load_data(config, run.net, other=data is not None)
    trainer = Trainer(run.net, config.loss(), config.make_optimizer(run.net.parameters()), progress=progress)
    score = trainer.test(found.train if found.test is None else found.test)
    return score, 1 if found.test is None else len(found.test.dataset)
