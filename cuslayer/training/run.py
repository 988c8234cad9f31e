"""`train`: run a whole training from a configuration, and write its results to a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import backend, check
from cuslayer.backend import Array
from cuslayer.data import Digits, Loader, open_folder, read_events
from cuslayer.data.datasets import Dataset
from cuslayer.files import write_whole
from cuslayer.inspection.forward import run_nodes
from cuslayer.inspection.health.compute import health
from cuslayer.inspection.structure import units
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Node
from cuslayer.network.network import Network
from cuslayer.network.notation import rows_first
from cuslayer.tape import Tensor, no_grad
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.figures import draw_curves, draw_rasters, save_figure
from cuslayer.training.finite import naming_checkpoint
from cuslayer.training.read_config import load_config
from cuslayer.training.stats import EpochStats, Stats, load_stats, save_stats
from cuslayer.training.trainer import Trainer

_RUNS = Path("runs")
CHECKPOINT, METRICS, CONFIG, GRADIENTS = "checkpoint.npz", "metrics.csv", "config.yaml", "gradients.csv"
FIGURES = ("curves.png", "gradients.png", "raster.png")


@dataclass(frozen=True)
class Data:
    """Batches of training and test data, and one recording: title, spikes (T, ...), target of one sample."""

    train: Any
    test: Loader | None
    example: tuple[str, Array, Any]


def train(config: Config, *, resume: bool = False, progress: bool = False, log: Callable[[str], None]) -> Path:
    """Train by a configuration, and write metrics, checkpoint, configuration and figures to a folder.

    Files are written atomically, the first after the first epoch: a run that fails earlier leaves no folder.

    Args:
        config: the configuration of the run.
        resume: continue from the checkpoint in config.out, by default from the last run under runs/. Of a run that has
            all its epochs, only missing figures are drawn.
        progress: whether to show a progress bar on a terminal.
        log: called with each line of progress, as with `print`.

    Returns:
        The folder of results.

    Raises:
        ValueError: data, network, checkpoint or folder do not fit the configuration, or a run to resume has other
            layers.

    Warns:
        UserWarning: the network has more outputs than the recordings have classes.
    """
    backend.device()
    backend.seed(config.seed)
    out = find_run(config.out) if resume else _new_folder(config.out)
    checkpoint = load_checkpoint(out / CHECKPOINT) if resume else None
    if resume:
        _check_layers(config, out)
    done = 0 if checkpoint is None else checkpoint.epoch
    finished = resume and done >= config.epochs
    if finished:
        log(f"{out} stands at epoch {done}, nothing is left to train; to go on, give --epochs N, N above {done}")
        if all((out / name).exists() for name in FIGURES):
            return out
    net = config.network()
    data = load_data(config, net)
    steps = config.epochs * len(data.train)
    loss, optimizer = config.loss(), config.make_optimizer(net.parameters(), steps=steps)
    rate = config.firing_rate if config.initialization == "calibrated" else None
    trainer, stats = Trainer(net, loss, optimizer, progress=progress, calibrate=rate), Stats()
    if checkpoint is not None:
        checkpoint.restore(net, optimizer)
        stats = Stats(load_stats(out / METRICS)[:done])
        if len(stats.epochs) < done:
            raise ValueError(f"train: {out / METRICS} has {len(stats.epochs)} epochs, the checkpoint has {done}")
        trainer.gradients.epochs = [{} for _ in stats.epochs]  # for runs without the file
        if (out / GRADIENTS).exists():
            trainer.gradients.load(out / GRADIENTS, done)
    weights = sum(p.data.size for p in net.parameters())
    if not finished:
        log(f"{net.notation}: {weights:,} weights on {backend.device_name()}; results go to {out}")
        calibration = trainer.prepare(data.train)
        if calibration is not None:
            log(str(calibration))
    with _output_folder(out), naming_checkpoint(out / CHECKPOINT):
        _run_epochs(config, out, trainer, data, stats, log)
    if stats.epochs:
        save_figure(out / "curves.png", lambda figure: draw_curves(figure, stats.epochs), size=(9, 3.5))
        save_figure(out / "gradients.png", lambda figure: trainer.gradients.plot(figure.subplots()), size=(6, 3.5))
    title, spikes, _ = data.example
    trains = [(title, spikes), *_layer_spikes(net, spikes)]
    save_figure(
        out / "raster.png", lambda f: draw_rasters(f, trains, config.neuron.dt), size=(8, 2 + 1.6 * len(trains))
    )
    return out


def _check_layers(config: Config, out: Path) -> None:
    """Raise ValueError unless the layers of a configuration are those of the run in a folder."""
    if not (out / CONFIG).is_file():
        return
    layers = load_config(out / CONFIG).layers
    if config.layers != layers:
        was, given = ("-".join(rows_first(word).text for word in words) for words in (layers, config.layers))
        got = f"{given} with other options of its layers" if was == given else given
        raise ValueError(f"train: the network of a resumed run cannot change: that of {out} is {was}, got {got}")


@contextmanager
def _output_folder(out: Path) -> Iterator[None]:
    """Create a folder and its parents; if the block raises, remove those created here that are empty."""
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise ValueError(f"train: out {out} cannot be written to")
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in created:
                folder.rmdir()
        raise


def _run_epochs(
    config: Config, out: Path, trainer: Trainer, data: Data, stats: Stats, log: Callable[[str], None]
) -> None:
    """Run the remaining epochs, and write the results after each."""
    resolved = config.with_options(out=str(out)).to_yaml().encode()
    warned = False
    for epoch in range(len(stats.epochs), config.epochs):
        trainer.optimizer.epoch = epoch
        if isinstance(data.train, Loader):
            data.train.epoch = epoch
        start = time.perf_counter()
        trained = trainer.train(data.train, title=f"epoch {epoch + 1}/{config.epochs}")
        seconds = time.perf_counter() - start
        tested: tuple[float | None, float | None] = (None, None) if data.test is None else trainer.test(data.test)
        row = EpochStats(epoch + 1, *trained, *tested, seconds)
        stats.epochs.append(row)
        # The checkpoint is written last: if interrupted, the log never has fewer epochs than the checkpoint.
        write_whole(out / CONFIG, lambda file: file.write(resolved))
        save_stats(out / METRICS, stats.epochs)
        trainer.gradients.save(out / GRADIENTS)
        Checkpoint.of(epoch + 1, trainer.net, trainer.optimizer).save(out / CHECKPOINT)
        log(str(row))
        # One warning until the output has spikes again: there may be thousands of epochs.
        warning = None if warned else _silence_warning(trainer)
        warned = trainer.silent_batch is not None and (warned or warning is not None)
        if warning:
            log(warning)


def _silence_warning(trainer: Trainer) -> str | None:
    """Return a warning that names the first silent layer, with advice; None if the output had spikes in the epoch."""
    if trainer.silent_batch is None:
        return None
    found = health(trainer.net, [trainer.silent_batch], loss=trainer.loss)
    first = next((layer for layer in found.layers if layer.silent), None)
    if first is None:
        return None
    advice = "".join(f"; {each.change}" for each in found.advice if each.layer == first.layer)
    return f"warning: {first.name} is silent{advice}"


def find_run(out: str | None) -> Path:
    """Return the folder of the run to resume: `out`, or the last one under runs/.

    Raises:
        ValueError: it has no checkpoint.
    """
    folder = Path(out) if out else _RUNS / str(max(_run_numbers(), default=0))
    if not (folder / CHECKPOINT).is_file():
        raise ValueError(f"train: no checkpoint to resume from in {folder}")
    return folder


def _new_folder(out: str | None) -> Path:
    """Return the folder for a new run: `out` if it holds no results yet, or the next one under runs/."""
    if out is None:
        return _RUNS / str(max(_run_numbers(), default=0) + 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"train: out {folder} is a file, not a folder")
    if (folder / METRICS).exists() or (folder / CHECKPOINT).exists():
        raise ValueError(f"train: out {folder} holds a run already; resume it, or name another folder")
    return folder


def _run_numbers() -> list[int]:
    return [int(p.name) for p in _RUNS.iterdir() if p.name.isdigit()] if _RUNS.is_dir() else []


def load_data(config: Config, net: Network, *, op: str = "train") -> Data:
    """Return the data of a configuration, which must fit a network; `op` begins the messages of errors."""
    if config.error == "SpikeTime":
        return _load_spike_trains(config, net, op)
    if config.data is None:
        train_set: Dataset = Digits("train")
        test_set: Dataset = Digits("test")
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
    train_loader, test_loader = loader(train_set, shuffle=True), loader(test_set)
    events, label = test_set[0]
    try:
        spikes = events.to_spikes(net.input_shape, config.steps, config.neuron.dt)
    except ValueError as problem:
        reason = str(problem).removeprefix("to_spikes: ")
        where = test_set.where(0) if hasattr(test_set, "where") else "recording 0"
        raise ValueError(f"{op}: the network expects input {net.input_shape}, {where} has another: {reason}") from None
    return Data(train_loader, test_loader, (f"input, class {label}", spikes, np.array([label])))


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
    with no_grad():
        shape = net(np.zeros((1, 1, *net.input_shape), bool)).shape[2:]
    if len(shape) != 1:
        raise ValueError(f"{op}: the network must end in a dense layer, its output is {shape}")
    return shape[0]


def _layer_spikes(net: Network, spikes: Array) -> list[tuple[str, Array]]:
    """Return a title and the spikes of each layer of neurons for one recording (T, ...)."""
    found = list[tuple[str, Array]]()
    before = {unit.neurons.number: unit.layer for unit in units(net) if unit.neurons is not None}

    def after(node: Node, y: Tensor, u: Array | None) -> Tensor:
        if node.number in before:
            layer = before[node.number]
            found.append((f"after {'neurons' if layer is None else repr(layer.stage)}", y.numpy()[:, 0]))
        return y

    net.train(False)
    graph = graph_of(net)
    with no_grad():
        run_nodes(graph.nodes, graph.output, Tensor(spikes[:, None]), after)
    return [*found[:-1], *(("output", spikes) for _, spikes in found[-1:])]
