"""The trained network of a run: `load_run`, its score on the test set, and the classes of recordings."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import as_tensor, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.data import Arrays, Loader, read_events
from cuslayer.kernels.host.memory import elements_left
from cuslayer.loss import classify, confidence, decision_time
from cuslayer.loss.base import lengths_within, over_time
from cuslayer.network.notation import Network
from cuslayer.network.walk import eval_mode
from cuslayer.training.checkpoint import load_checkpoint, read_summary
from cuslayer.training.config import Config, load_config
from cuslayer.training.data_of_run import load_data
from cuslayer.training.resume import ALL, NETWORK, PATHS, check_config, completed
from cuslayer.training.run_folder import BEST, CHECKPOINT, CONFIG, METRICS
from cuslayer.training.score import Score
from cuslayer.training.stats import Stats
from cuslayer.training.trainer import Trainer


@dataclass(frozen=True)
class Run:
    """A run of `cuslayer train`, from `load_run`.

    Attributes:
        net: the trained network, in evaluation mode.
        config: the configuration of the run; `config.loss()` makes its loss.
        stats: one row of scores for each epoch, and `stats.best`.
        epoch: the number of completed epochs.
        folder: the folder of the run.
        batches: the number of trained batches of the next epoch.
    """

    net: Network
    config: Config
    stats: Stats
    epoch: int
    folder: Path
    batches: int = 0


@check.operation
def load_run(path: str | os.PathLike[str], *, best: bool = False) -> Run:
    """Read a run of `cuslayer train` or `cuslayer.training.train`.

    The network follows the configuration and has the checkpoint's weights, on the device in use. The random generator
    does not change.

    Args:
        path: the folder of the run, such as ``"runs/1"``, or a checkpoint file in it.
        best: whether to take the weights of the best epoch, not the last ones; see `Stats.best`. The run reported their
            score on the test set.

    Raises:
        ValueError: the folder, its checkpoint, its configuration or its metrics are missing, damaged or do not fit each
            other, or path is a file and best is True.

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
        # A run that resumed with other options has another configuration than its best checkpoint.
        of = ALL if file.name == CHECKPOINT else NETWORK
        check_config(summary.record, folder, free=PATHS, of=of)
    # A network with more weights than the checkpoint's bytes cannot belong to it.
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
    net.eval()
    rows = completed(folder, checkpoint.epoch)
    return Run(net, config, Stats(rows), checkpoint.epoch, folder, checkpoint.batches)


@check.operation("test")
def evaluate(run: Run, *, data: str | None = None, progress: bool = False) -> tuple[Score, int]:
    """Return the mean loss and the accuracy of a run on its test set, and the number of recordings.

    A run of spike times has no test set: the loss is for the pair of spike trains that it learned.

    Args:
        run: the run.
        data: a folder of recordings, or a file of sounds, in place of the run's data.
        progress: whether to show a progress bar on a terminal.

    Raises:
        ValueError: the recordings are missing or damaged, or do not fit the network.
    """
    config = run.config.with_options(data=data)
    found = load_data(config, run.net, other=data is not None)
    trainer = Trainer(run.net, config.loss(), config.make_optimizer(run.net.parameters()), progress=progress)
    score = trainer.test(found.train if found.test is None else found.test)
    return score, 1 if found.test is None else len(found.test.dataset)


class Prediction(NamedTuple):
    """The result of a network for a recording.

    Attributes:
        file: the path of the recording, or its name in the test set.
        label: the class with most spikes; None if the output has no spike.
        counts: the number of spikes of each output, fractional after a population vote; for a network trained by the
            cross-entropy, the read-out that decides.
        time: the time of the decision in ms: from then on, the class had most spikes; None if there is no spike.
        confidence: the probability of the class, the softmax of the counts; None if there is no spike.
    """

    file: str
    label: int | None
    counts: list[float]
    time: float | None
    confidence: float | None


@check.operation
def predict(run: Run, files: Iterable[str | os.PathLike[str]], *, batch: int | None = None) -> list[Prediction]:
    """Return the class of each recording, the outputs' spike counts, and the time and the confidence of the decision.

    Args:
        run: the run, as of `load_run`.
        files: event files in a format of `read_events`; WAV files for a run on sounds.
        batch: the number of recordings to compute at a time; by default the training's batch.

    Raises:
        ValueError: the run has no classes, a file is missing or damaged, or a recording does not fit the network.
    """
    _check_classes(run)
    paths, size = list(files), batch or run.config.batch
    found = []
    for first in range(0, len(paths), size):
        some = paths[first : first + size]
        found += _predictions(run, list(map(str, some)), read_batch(run, some))
    return found


@check.operation("predict")
def predict_test(run: Run, number: int) -> Prediction:
    """Return the network's result for a recording of the run's test set, with its name in the data set.

    Args:
        run: the run, as of `load_run`.
        number: the number of the recording, from 0.

    Raises:
        TypeError: number is not an integer.
        ValueError: the run has no classes, the test set has no such recording, or it is missing or damaged.
    """
    _check_classes(run)
    test = load_data(run.config, run.net).test
    recordings = test.dataset  # type: ignore[union-attr]
    if check.integer("test", number, least=0) >= len(recordings):
        raise ValueError(f"test must be from 0 to {len(recordings) - 1} in this test set, got {number}")
    name = recordings.where(number) if hasattr(recordings, "where") else f"test recording {number}"
    lengths = getattr(recordings, "lengths", None) is not None
    x, _ = Loader(recordings, 1, steps=run.config.steps, dt=run.config.neuron.dt, lengths=lengths)[number]
    return _predictions(run, [name], x)[0]


def _check_classes(run: Run) -> None:
    if run.config.spike_times:
        raise ValueError(f"{run.folder} learned spike times, it has no classes")


def _predictions(run: Run, names: list[str], x: TensorLike) -> list[Prediction]:
    """Return the network's results for recordings by their names and their spikes (T, N, ...)."""
    with eval_mode(run.net), no_grad():
        out = run.net(x)
    config = run.config
    over, window = config.decision
    first_step, stop = (0, config.steps) if window is None else window.steps(config.neuron.dt)
    out, lengths = as_tensor(out)[first_step:stop], as_tensor(out).lengths
    out.lengths = lengths_within(lengths, first_step, stop)
    labels, totals, sure = (
        classify(out, over=over),
        to_numpy(over_time(out.data, over, out.lengths)),
        confidence(out, over=over),
    )
    times = decision_time(out, labels, dt=config.neuron.dt, over=over) + first_step * config.neuron.dt
    found = []
    lists = (each.tolist() for each in (labels, totals, times, sure))
    for name, label, counts, *of_label in zip(names, *lists, strict=True):
        silent = not any(counts)
        time, chance = [None, None] if silent else of_label
        found.append(Prediction(name, None if silent else label, counts, time, chance))
    return found


def read_spikes(run: Run, path: str | os.PathLike[str]) -> Array:
    """Return the spikes or numbers (T, ...) of a recording, as input for a run's network.

    Raises:
        ValueError: the file is missing or damaged, or the recording does not fit the network.
    """
    sound, dt = run.config.sound, run.config.neuron.dt
    if sound is not None:
        return sound.of_file(path, dt, run.config.duration)
    events = read_events(path)
    try:
        return events.to_spikes(run.net.input_shape, run.config.steps, dt)
    except ValueError as problem:
        raise ValueError(f"{path}: {str(problem).removeprefix('to_spikes: ')}") from None


def read_batch(run: Run, paths: Sequence[str | os.PathLike[str]]) -> Any:
    """Return recordings, from `read_spikes`, as one batch (T, N, ...), with lengths if they differ."""
    recordings = [read_spikes(run, path) for path in paths]
    return Loader(Arrays(recordings, [0] * len(recordings)), len(recordings))[0].x


@check.operation("report")
def example(run: Run, *, data: str | None = None) -> tuple[Array, object, str]:
    """Return the first recording of a run's test set as a batch (T, 1, ...), its target, and a title.

    Args:
        run: the run.
        data: a folder of recordings in place of the run's data.

    Raises:
        ValueError: the recordings are missing or damaged, or do not fit the network.
    """
    found = load_data(run.config.with_options(data=data), run.net, other=data is not None)
    title, spikes, target = found.example
    return spikes[:, None], target, title


@check.operation("demo")
def recordings(run: Run, *, data: str | None = None) -> Any:
    """Return the data set of a run's test, or where its maker has none, of its validation or training.

    Args:
        run: the run.
        data: a folder of recordings, or a file of sounds, in place of the run's.

    Raises:
        ValueError: the run has no classes, or the recordings are missing or damaged, or do not fit the network.
    """
    _check_classes(run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no test
        found = load_data(run.config.with_options(data=data), run.net, other=data is not None, train=True)
    return (found.test or found.validation or found.train).dataset
