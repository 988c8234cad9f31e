"""Classes of recordings in files, or in the test set, by the network of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.data import Loader, read_events
from cuslayer.loss import classify, confidence, decision_time
from cuslayer.loss.base import over_time
from cuslayer.network.walk import eval_mode
from cuslayer.tape import as_tensor, no_grad
from cuslayer.training.data_of_run import load_data
from cuslayer.training.load import Run


class Prediction(NamedTuple):
    """What a network says of a recording.

    Attributes:
        file: the path of the recording, or its name in the test set.
        label: the class with most spikes; None if the output has no spike.
        counts: the number of spikes of each output; numbers that are not whole after a population vote; of a network
            that learned by the cross-entropy, the read-out that decides.
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
    """Return the class of each recording, the spike counts of the outputs, the time and the confidence of the decision.

    Args:
        run: the run, as of `load_run`.
        files: event files of any format that `read_events` reads; of a run that hears sounds, WAV files.
        batch: the number of recordings to compute at a time; by default that of the training.

    Raises:
        ValueError: the run has no classes, a file is missing or damaged, or a recording does not fit the network.
    """
    _check_classes(run)
    paths, size = list(files), batch or run.config.batch
    found = []
    for first in range(0, len(paths), size):
        some = paths[first : first + size]
        x = np.stack([read_spikes(run, path) for path in some], axis=1)
        found += _predictions(run, list(map(str, some)), x)
    return found


@check.operation("predict")
def predict_test(run: Run, number: int) -> Prediction:
    """Return what the network says of a recording of the run's test set, which has the name that its data set gives it.

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
    x, _ = Loader(recordings, 1, steps=run.config.steps, dt=run.config.neuron.dt)[number]
    return _predictions(run, [name], x)[0]


def _check_classes(run: Run) -> None:
    if run.config.error == "SpikeTime":
        raise ValueError(f"{run.folder} learned spike times, it has no classes")


def _predictions(run: Run, names: list[str], x: Any) -> list[Prediction]:
    """Return what the network says of recordings by their names and their spikes (T, N, ...)."""
    with eval_mode(run.net), no_grad():
        out = run.net(x)
    over, first_step, stop = _deciding(run)
    out = as_tensor(out)[first_step:stop]
    labels, totals, sure = classify(out, over=over), to_numpy(over_time(out.data, over)), confidence(out, over=over)
    times = decision_time(out, labels, dt=run.config.neuron.dt, over=over) + first_step * run.config.neuron.dt
    found = []
    lists = (each.tolist() for each in (labels, totals, times, sure))
    for name, label, counts, *of_label in zip(names, *lists, strict=True):
        silent = not any(counts)
        time, chance = [None, None] if silent else of_label
        found.append(Prediction(name, None if silent else label, counts, time, chance))
    return found


def _deciding(run: Run) -> tuple[str, int, int]:
    """Return what the decision takes from the output over time, and the steps that count, first and last plus one."""
    config = run.config
    if config.error != "CrossEntropy":
        return "sum", 0, config.steps
    first, stop = (round(edge / config.neuron.dt) for edge in config.region)
    return config.over, first, stop


def read_spikes(run: Run, path: str | os.PathLike[str]) -> Array:
    """Return the spikes (T, ...) of a recording, as the network of a run takes them.

    Raises:
        ValueError: the file is missing or damaged, or the recording does not fit the network.
    """
    sound, dt = run.config.sound, run.config.neuron.dt
    if sound is not None:
        return sound.spikes_of_file(path, dt, run.config.duration)
    events = read_events(path)
    try:
        return events.to_spikes(run.net.input_shape, run.config.steps, dt)
    except ValueError as problem:
        raise ValueError(f"{path}: {str(problem).removeprefix('to_spikes: ')}") from None


@check.operation("report")
def example(run: Run, *, data: str | None = None) -> tuple[Array, Any, str]:
    """Return the first recording of a run's test set as a batch (T, 1, ...), its target, and a title.

    Args:
        run: the run.
        data: a folder of recordings in place of the run's.

    Raises:
        ValueError: the recordings are missing or damaged, or do not fit the network.
    """
    found = load_data(run.config.with_options(data=data), run.net, other=data is not None)
    title, spikes, target = found.example
    return spikes[:, None], target, title
