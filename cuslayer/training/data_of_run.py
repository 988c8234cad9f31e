"""The data of a run: batches of its recordings, which must fit its network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.data import Digits, Loader, load, open_folder, read_events
from cuslayer.data.datasets import Dataset
from cuslayer.inspection.structure import eval_mode
from cuslayer.network.network import Network
from cuslayer.tape import no_grad
from cuslayer.training.config import Config


@dataclass(frozen=True)
class Data:
    """Batches of training and test data, and one recording: title, spikes (T, ...), target of one sample."""

    train: Any
    test: Loader | None
    example: tuple[str, Array, Any]


def load_data(config: Config, net: Network, *, op: str = "train", other: bool = False) -> Data:
    """Return the data of a configuration, which must fit a network.

    Args:
        config: the configuration.
        net: the network.
        op: the beginning of every error.
        other: whether the data are others than those of the training: of a file of sounds, all are then the test set.
    """
    train_set: Dataset
    test_set: Dataset
    if config.error == "SpikeTime":
        return _load_spike_trains(config, net, op)
    if config.dataset is not None:
        train_set, test_set = _known_sets(config, op)
    elif config.sound is not None:
        train_set, test_set = _sounds(config, op, other)
    elif config.data is None:
        train_set, test_set = Digits("train"), Digits("test")
    else:
        lists = (_label_list(Path(config.data), name) for name in (config.train_list, config.test_list))
        train_set, test_set = open_folder(config.data, *lists, shape=net.input_shape)
    if net.input_shape != tuple(train_set.shape):
        raise ValueError(f"{op}: the network expects input {net.input_shape}, the recordings are {train_set.shape}")
    outputs = _output_size(net, op)
    if outputs < train_set.classes:
        raise ValueError(f"{op}: the network has {outputs} outputs, the recordings have {train_set.classes} classes")
    if outputs > train_set.classes and op == "train":
        check.warn(
            f"{op}: the network has {outputs} outputs, the recordings have {train_set.classes} classes: the last "
            f"{outputs - train_set.classes} stand for no class"
        )
    if round(config.region[1] / config.neuron.dt) > config.steps:
        raise ValueError(f"{op}: tgtSpikeRegion reaches to {config.region[1]:g} ms, tSample is {config.duration:g} ms")
    loader = partial(Loader, batch=config.batch, steps=config.steps, dt=config.neuron.dt, seed=config.seed)
    changed = None if config.sound is None else config.sound.transform()
    train_loader, test_loader = loader(train_set, shuffle=True, transform=changed), loader(test_set)
    events, label = test_set[0]
    if isinstance(events, np.ndarray):
        return Data(train_loader, test_loader, (f"input, class {label}", events, np.array([label])))
    try:
        spikes = events.to_spikes(net.input_shape, config.steps, config.neuron.dt)
    except ValueError as problem:
        reason = str(problem).removeprefix("to_spikes: ")
        where = test_set.where(0) if hasattr(test_set, "where") else "recording 0"
        raise ValueError(f"{op}: the network expects input {net.input_shape}, {where} has another: {reason}") from None
    return Data(train_loader, test_loader, (f"input, class {label}", spikes, np.array([label])))


def _known_sets(config: Config, op: str) -> tuple[Dataset, Dataset]:
    """Return the training and the test set of a data set that is known by name."""
    if config.data is None:
        raise ValueError(f"{op}: {config.dataset} needs --data ROOT, the folder in which tonic keeps its data sets")
    of_run = partial(load, cast(str, config.dataset), config.data, dt=config.neuron.dt, duration=config.duration)
    return of_run("train"), of_run("test")


def _sounds(config: Config, op: str, all_are_test: bool) -> tuple[Dataset, Dataset]:
    """Return the training and the test set of a file of sounds."""
    if config.data is None or config.sound is None:
        raise ValueError(f"{op}: the configuration hears sounds, it needs --data FILE, an npz file of them")
    return config.sound.sets(config.data, config.neuron.dt, config.duration, all_are_test=all_are_test)


def _label_list(folder: Path, name: str | None) -> Path | None:
    """Return the path of a label list: relative to the folder, or, as in SLAYER, to the working directory."""
    if name is None or (folder / name).is_file() or not Path(name).is_file():
        return None if name is None else Path(name)
    return Path(name).absolute()


def _load_spike_trains(config: Config, net: Network, op: str) -> Data:
    """Return the input spike train input.bs1 and the target spike train output.bs1 of a folder as one batch."""
    if config.data is None:
        raise ValueError(f"{op}: SpikeTime needs a folder with input.bs1 and output.bs1, and no data is named")
    trains = []
    for name, neurons in (("input.bs1", net.input_shape[0]), ("output.bs1", _output_size(net, op))):
        if len(net.input_shape) != 1:
            raise ValueError(f"{op}: SpikeTime expects a network of (N,) inputs, got {net.input_shape}")
        events = read_events(Path(config.data) / name)
        trains.append(events.to_spikes((neurons,), config.steps, config.neuron.dt, rounding="nearest")[:, None])
    return Data([tuple(trains)], None, ("input", trains[0][:, 0], trains[1]))


def _output_size(net: Network, op: str) -> int:
    with eval_mode(net), no_grad():
        shape = net(np.zeros((1, 1, *net.input_shape), bool)).shape[2:]
    if len(shape) != 1:
        raise ValueError(f"{op}: the network must end in a dense layer, its output is {shape}")
    return shape[0]
