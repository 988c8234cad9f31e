"""A whole training run: data, network, epochs, and the folder of results."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import backend
from cuslayer.backend import Array
from cuslayer.data import Digits, Loader, open_folder, read_events
from cuslayer.data.datasets import Dataset
from cuslayer.files import write_whole
from cuslayer.inspection.health.compute import health
from cuslayer.network.network import Network
from cuslayer.neurons.base import is_neuron
from cuslayer.tape import no_grad
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.figures import draw_curves, draw_rasters, save_figure
from cuslayer.training.stats import EpochStats, Stats, load_stats, save_stats
from cuslayer.training.trainer import Trainer

_RUNS = Path("runs")
CHECKPOINT, METRICS, CONFIG, GRADIENTS = "checkpoint.npz", "metrics.csv", "config.yaml", "gradients.csv"


@dataclass(frozen=True)
class _Data:
    """What a run learns from and is tested on: batches for any epoch, and one recording to draw."""

    train: Any
    test: Iterable[Any] | None
    example: tuple[str, Array]


def train(config: Config, *, resume: bool = False, progress: bool = False, say: Callable[[str], None]) -> Path:
    """Train as a configuration says, and write metrics, checkpoint, configuration and plots to its folder.

    Each file appears whole, and the first one after the first epoch: a run that fails before leaves no folder.

    Args:
        config: the run.
        resume: go on from the checkpoint in config.out.
        progress: whether a terminal shows a bar.
        say: takes each line that is for a person.

    Returns:
        The folder of the results.

    Raises:
        ValueError: the data, the network or the folder does not fit.
    """
    backend.device()
    backend.seed(config.seed)
    out = find_run(config.out) if resume else _new_folder(config.out)
    net = config.network()
    data = _recordings(config, net)
    loss, optimizer = config.loss(), config.make_optimizer(net.parameters())
    trainer, stats = Trainer(net, loss, optimizer, progress=progress), Stats()
    if resume:
        checkpoint = load_checkpoint(out / CHECKPOINT)
        checkpoint.restore(net, optimizer)
        stats = Stats(load_stats(out / METRICS)[: checkpoint.epoch])
        done = len(stats.epochs)
        if done < checkpoint.epoch:
            raise ValueError(f"train: {out / METRICS} has {done} epochs, the checkpoint has {checkpoint.epoch}")
        trainer.gradients.epochs = [{} for _ in stats.epochs]  # what a run without this file has
        if (out / GRADIENTS).exists():
            trainer.gradients.load(out / GRADIENTS, done)
    weights = sum(p.data.size for p in net.parameters())
    say(f"{net.notation}: {weights:,} weights on {backend.device_name()}; results go to {out}")
    with _made(out):
        _epochs(config, out, trainer, data, stats, say)
    if stats.epochs:
        save_figure(out / "curves.png", lambda figure: draw_curves(figure, stats.epochs), size=(9, 3.5))
        save_figure(out / "gradients.png", lambda figure: trainer.gradients.plot(figure.subplots()), size=(6, 3.5))
    title, spikes = data.example
    trains = [(title, spikes), *_spikes_of_layers(net, spikes)]
    save_figure(
        out / "raster.png", lambda f: draw_rasters(f, trains, config.neuron.dt), size=(8, 2 + 1.6 * len(trains))
    )
    return out


@contextmanager
def _made(out: Path) -> Iterator[None]:
    """Make a folder, and where this block fails and the folder is empty, unmake it and those made for it."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise ValueError(f"train: out {out} cannot be written to")
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def _epochs(config: Config, out: Path, trainer: Trainer, data: _Data, stats: Stats, say: Callable[[str], None]) -> None:
    """Run the epochs that are not done yet, and write the results after each."""
    used = config.with_options(out=str(out)).to_yaml().encode()
    warned = False
    for epoch in range(len(stats.epochs), config.epochs):
        trainer.optimizer.epoch = epoch
        if isinstance(data.train, Loader):
            data.train.epoch = epoch
        start = time.perf_counter()
        trained = trainer.train(data.train, title=f"epoch {epoch + 1}/{config.epochs}")
        seconds = time.perf_counter() - start
        tested = trainer.test(data.test) if data.test is not None else None
        test_loss, test_accuracy = (None, None) if tested is None else tested
        row = EpochStats(epoch + 1, trained.loss, trained.accuracy, test_loss, test_accuracy, seconds)
        stats.epochs.append(row)
        # The checkpoint last: it never knows of an epoch that the log lacks, nor stands without its configuration.
        write_whole(out / CONFIG, lambda file: file.write(used))
        save_stats(out / METRICS, stats.epochs)
        trainer.gradients.save(out / GRADIENTS)
        Checkpoint.of(epoch + 1, trainer.net, trainer.optimizer).save(out / CHECKPOINT)
        say(str(row))
        # Not again before it has fired: there may be thousands of epochs.
        warning = None if warned else _silence(trainer)
        warned = trainer.quiet is not None and (warned or warning is not None)
        if warning:
            say(warning)


def _silence(trainer: Trainer) -> str | None:
    """Return a line on a layer that was silent in an epoch, where there is one, and what would make it fire."""
    if trainer.quiet is None:
        return None
    found = health(trainer.net, [trainer.quiet], loss=trainer.loss)
    first = next((layer for layer in found.layers if layer.silent), None)
    if first is None:
        return None
    advice = "".join(f"; {each.change}" for each in found.advice if each.layer == first.layer)
    return f"warning: {first.name} is silent{advice}"


def find_run(out: str | None) -> Path:
    """Return the folder of the run to go on with: the one named, or the last under runs/.

    Raises:
        ValueError: there is no checkpoint in it.
    """
    folder = Path(out) if out else _RUNS / str(max(_numbers(), default=0))
    if not (folder / CHECKPOINT).is_file():
        raise ValueError(f"train: no checkpoint to resume from in {folder}")
    return folder


def _new_folder(out: str | None) -> Path:
    """Return the folder for the results of a new run: the one named if it holds none, or the next under runs/."""
    if out is None:
        return _RUNS / str(max(_numbers(), default=0) + 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"train: out {folder} is a file, not a folder")
    if (folder / METRICS).exists() or (folder / CHECKPOINT).exists():
        raise ValueError(f"train: out {folder} holds a run already; resume it, or name another folder")
    return folder


def _numbers() -> list[int]:
    return [int(p.name) for p in _RUNS.iterdir() if p.name.isdigit()] if _RUNS.is_dir() else []


def _recordings(config: Config, net: Network) -> _Data:
    if config.error == "SpikeTime":
        return _pair(config, net)
    if config.data is None:
        train_set: Dataset = Digits("train")
        test_set: Dataset = Digits("test")
    else:
        lists = (_list(Path(config.data), name) for name in (config.train_list, config.test_list))
        train_set, test_set = open_folder(config.data, *lists)
    if net.input_shape != tuple(train_set.shape):
        raise ValueError(f"train: the network expects input {net.input_shape}, the recordings are {train_set.shape}")
    outputs = _outputs(net)
    if outputs < train_set.classes:
        raise ValueError(f"train: the network has {outputs} outputs, the recordings have {train_set.classes} classes")
    if round(config.region[1] / config.neuron.dt) > config.steps:
        raise ValueError(f"train: tgtSpikeRegion reaches to {config.region[1]:g} ms, tSample is {config.duration:g} ms")
    loader = partial(Loader, batch=config.batch, steps=config.steps, dt=config.neuron.dt, seed=config.seed)
    train_loader, test_loader = loader(train_set, shuffle=True), loader(test_set)
    events, label = test_set[0]
    spikes = events.to_spikes(tuple(test_set.shape), config.steps, config.neuron.dt)
    return _Data(train_loader, test_loader, (f"input, class {label}", spikes))


def _list(folder: Path, name: str | None) -> Path | None:
    """Return where a label list is: in the folder, or where SLAYER looks for it, from the working folder."""
    if name is None or (folder / name).is_file() or not Path(name).is_file():
        return None if name is None else Path(name)
    return Path(name).absolute()


def _pair(config: Config, net: Network) -> _Data:
    """Return the one recording of a folder that holds input.bs1 and its target output.bs1."""
    if config.data is None:
        raise ValueError("train: SpikeTime needs a folder with input.bs1 and output.bs1, and no data is named")
    trains = []
    for name, neurons in (("input.bs1", net.input_shape[0]), ("output.bs1", _outputs(net))):
        if len(net.input_shape) != 1:
            raise ValueError(f"train: SpikeTime expects a network of (N,) inputs, got {net.input_shape}")
        events = read_events(Path(config.data) / name)
        trains.append(events.to_spikes((neurons,), config.steps, config.neuron.dt, rounding="nearest")[:, None])
    return _Data([tuple(trains)], None, ("input", trains[0][:, 0]))


def _outputs(net: Network) -> int:
    with no_grad():
        shape = net(np.zeros((1, 1, *net.input_shape), bool)).shape[2:]
    if len(shape) != 1:
        raise ValueError(f"train: the network must end in a dense layer, its output is {shape}")
    return shape[0]


def _spikes_of_layers(net: Network, spikes: Array) -> list[tuple[str, Array]]:
    """Return the spikes of each layer's neurons for one recording (T, ...)."""
    found = []
    net.train(False)
    with no_grad():
        x: Any = backend.to_device(spikes[:, None])
        for position, layer in enumerate(net.layers):
            x = layer(x)
            if is_neuron(layer):
                found.append((f"after {net.layers[position - 1]!r}", x.numpy()[:, 0]))
    return [*found[:-1], *(("output", spikes) for _, spikes in found[-1:])]
