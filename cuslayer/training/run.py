"""`train`: run a training from a configuration, and write its results to a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.files import NotWritten
from cuslayer._base.version import __version__
from cuslayer.data import Loader
from cuslayer.distributed.context import Context, on_all
from cuslayer.distributed.parallel import DataParallel, usual_micro
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.data_of_run import Data, described, load_data, read_some
from cuslayer.training.finite import NotFiniteError, naming_checkpoint
from cuslayer.training.run_folder import (
    BEST,
    CHECKPOINT,
    FIGURES,
    GRADIENTS,
    PATHS,
    Lost,
    Saver,
    Stopped,
    changes,
    earlier,
    find_run,
    goes_on_by,
    locked_folder,
    new_run,
    save_figures,
)
from cuslayer.training.stats import EpochStats, Stats
from cuslayer.training.steps import agreed
from cuslayer.training.trainer import Trainer


@check.operation
def train(
    config: Config,
    *,
    resume: bool = False,
    progress: bool = False,
    log: Callable[[str], None],
    checkpoint_minutes: float | None = None,
    checkpoint_steps: int | None = None,
    stop: Callable[[], bool] | None = None,
    context: Context | None = None,
    report: Callable[[list[EpochStats]], bool] | None = None,
    diagnose: Callable[..., Any] | None = None,
) -> Path:
    """Train by a configuration, and write metrics, checkpoints, configuration and figures to a folder.

    It writes a checkpoint after each epoch, and within an epoch after some minutes or steps. A run that dies at any
    time can resume from it, with the same results as an uninterrupted run. ``checkpoint.npz`` is the last checkpoint,
    ``best.npz`` the checkpoint of the best epoch; see `Stats.best`. The run tests once, at its end, with the weights of
    the best epoch; `metrics.csv` has the score in the row of this epoch. Files are replaced atomically. A run that
    fails before its first file leaves no folder; if it dies, a new run can start in its folder. A lock protects the
    folder during the run.

    Several processes make the same call, and divide the work: see `DataParallel`. Process 0 reads and writes the
    folder.

    Args:
        config: the configuration of the run.
        resume: continue from the checkpoint in config.out, by default in the last run under runs/. A run with all its
            epochs tests and draws figures if these are missing.
        progress: whether to show a progress bar on a terminal.
        log: a function of each line of progress, such as `print`.
        checkpoint_minutes: minutes between checkpoints; None for the configuration's value.
        checkpoint_steps: steps between additional checkpoints; None for the configuration's value.
        stop: a function, called after each step; if it returns True, the run is saved and raises `Stopped`.
        context: the processes; None for one process.
        report: a function of the statistics, called after each epoch; if it returns True, the run raises `Stopped`.
        diagnose: `cs.diagnose`, for advice in the log once the output has no spike in an epoch; without it, the log
            only says so.

    Returns:
        The folder of results.

    Raises:
        ValueError: data, network, checkpoint or folder do not fit the configuration; the configuration or the
            recordings of a run to resume have changed. Another process uses the folder, or it has a file from
            elsewhere; or the processes differ in versions, configurations or data.
        Lost: the folder or its lock was removed, moved or replaced; nothing more is written.
        NotWritten: a file cannot be written; the last checkpoint stays.
        Stopped: `stop` or `report` has ended the run.

    Warns:
        UserWarning: the network has more outputs than the recordings have classes.
    """
    backend.device()
    context = context or Context()
    config = config.with_options(checkpoint_minutes=checkpoint_minutes, checkpoint_steps=checkpoint_steps)
    if context.size > 1 and config.micro is None:
        config = config.with_options(micro=usual_micro(config.batch))
    _agree(context, config)
    backend.seed(config.seed)
    with ExitStack() as until_end:

        def begin() -> Path:
            out = find_run(config.out) if resume else new_run(config.out)
            out = until_end.enter_context(locked_folder(out, numbered=config.out is None and not resume))
            # Another process may have used the folder since.
            return out if resume else new_run(str(out))

        out = context.from_root(begin)
        config = config.with_options(out=str(out))
        try:
            said = (lambda line: None) if context.rank else log
            _train(config, out, resume, progress, said, stop or (lambda: False), context, report, diagnose)
        except Stopped:
            context.barrier()
            raise
        # No process leaves while process 0 writes: its launcher may end the others.
        context.barrier()
    return out


def _train(
    config: Config,
    out: Path,
    resume: bool,
    progress: bool,
    log: Callable[[str], None],
    stop: Callable[[], bool],
    context: Context,
    report: Callable[[list[EpochStats]], bool] | None,
    diagnose: Callable[..., Any] | None,
) -> None:
    """Train in a locked folder."""
    rows, changed = list[EpochStats](), list[str]()
    if resume:
        rows, changed = context.from_root(lambda: earlier(config, out))
    stats = Stats(rows)
    option, best = goes_on_by(config, stats), stats.best
    complete = option is not None and best is not None and (config.error == "SpikeTime" or best.test_loss is not None)
    if resume and option is not None:
        log(f"{check.visible(str(out))} stands at epoch {len(rows)}, nothing is left to train; to go on, give {option}")
        if best is not None:
            log(best.text("train", "validation", "test"))
        for line in changed:
            if "training.epochs" not in line:  # the line above has what it takes
                log(line)
        if complete and context.from_root(lambda: all((out / name).exists() for name in FIGURES)):
            return
    net = context.on_each(config.network)
    data = context.on_each(lambda: load_data(config, net, train=True))
    recordings = _described(data, config)
    if context.size > 1:
        context.agree(**{f"{name} data": text for name, text in recordings.items()})
    steps = config.epochs * len(data.train)
    loss, optimizer = config.loss(), config.make_optimizer(net.parameters(), steps=steps, stats=stats)
    rate = config.firing_rate if config.initialization == "calibrated" else None
    parallel = None if config.micro is None else DataParallel(context, micro=config.micro, fast=config.fast)
    options: dict[str, Any] = {"truncate": config.truncate, "recompute": config.recompute, "parallel": parallel}
    trainer = Trainer(net, loss, optimizer, progress=progress, calibrate=rate, **options)
    checkpoint = None
    if resume:
        checkpoint = context.from_root(lambda: _loaded(out, trainer, data, recordings))
        if checkpoint.place is not None:
            trainer.gradients.load_state(checkpoint.place.gradients)
        checkpoint.restore(net, optimizer)
    stop = agreed(stop, parallel)
    saver = Saver(out, config, trainer, stats, len(data.train), stop, recordings, checkpoint, writes=context.rank == 0)
    if option is None:
        weights = sum(p.data.size for p in net.parameters() if p.requires_grad)
        devices = backend.device_name() + (f" each of {context.size} processes" if context.size > 1 else "")
        log(f"{net.notation}: {weights:,} weights on {devices}; results go to {check.visible(str(out))}")
        if context.size > 1:
            log(context.describe())
            _note_idle(config, context, log)
        for line in changed:
            log(line)
        read = [row.epoch for row in rows if row.test_loss is not None]
        if read:
            again = "it is read again if another epoch is the best at the end"
            log(f"the test set was read with the weights of epoch {read[-1]}; {again}")
        if saver.place is not None:
            log(f"it goes on in epoch {len(stats.epochs) + 1} after {saver.place.batches} of {saver.place.of} batches")
        calibration = trainer.prepare(data.train)
        if calibration is not None:
            log(str(calibration))
    if not complete:
        saver.check_stop()
        with naming_checkpoint(out / CHECKPOINT):
            try:
                _run_epochs(config, trainer, data, stats, saver, log, report, diagnose)
                if data.test is not None:
                    _test(out, trainer, data.test, stats, saver, context, log)
            except (NotFiniteError, NotWritten, Lost):
                raise
            except ValueError:
                if recordings == _described(data, config):
                    # A file may have been damaged all along; the run repairs it before it continues.
                    saver.forget_recordings()
                raise
    if context.rank == 0:
        save_figures(out, net, config.neuron.dt, stats, trainer.gradients, data.example)


def _agree(context: Context, config: Config) -> None:
    """Raise ValueError, on all processes, unless they have one version, configuration and kind of device."""
    if context.size == 1:
        return
    context.agree(**{"version of cuslayer": __version__, "version of NumPy": np.__version__})
    context.agree(device=backend.device())
    first, *others = context.gather(config.document())
    for rank, theirs in enumerate(others, start=1):
        for each in changes(first, theirs):
            if not each.among(PATHS):
                rule = f"all processes must have the same configuration: {each.key} is {each.was} in process 0"
                raise on_all(ValueError(f"{rule}, {each.now} in process {rank}"))


def _described(data: Data, config: Config) -> dict[str, str]:
    parts = {"training": data.train, "validation": data.validation, "test": data.test}
    return {name: described(part, config) for name, part in parts.items() if name != "validation" or part is not None}


def _note_idle(config: Config, context: Context, log: Callable[[str], None]) -> None:
    """Log a warning if some processes have no part of a batch."""
    micro = config.micro or usual_micro(config.batch)
    parts = -(-config.batch // micro)
    rest = context.size - parts
    if rest > 0:
        has = f"a batch of {config.batch} recordings has {parts} micro-batch{'es' if parts > 1 else ''} of {micro}"
        idle = f"{rest} of {context.size} processes ha{'s' if rest == 1 else 've'} nothing to do"
        log(f"warning: {has}: {idle}; a larger batch or a smaller --micro gives them work")


def _loaded(out: Path, trainer: Trainer, data: Data, recordings: Mapping[str, str]) -> Checkpoint:
    """Return the checkpoint of a run after checks, and load the gradients of its epochs into the trainer."""
    checkpoint = load_checkpoint(out / CHECKPOINT, trainer.net, trainer.optimizer)
    trainer.gradients.epochs = [{} for _ in range(checkpoint.epoch)]  # for runs without the file
    if (out / GRADIENTS).exists():
        trainer.gradients.load(out / GRADIENTS, checkpoint.epoch)
    if checkpoint.place is not None and checkpoint.place.of != len(data.train):
        raise ValueError(
            f"the checkpoint of {out} is within an epoch of {checkpoint.place.of} batches, the recordings "
            f"make {len(data.train)}"
        )
    if checkpoint.record is not None and checkpoint.record.recordings not in (None, recordings):
        read_some(data)
        for name, was in (checkpoint.record.recordings or {}).items():
            # A test set may come later than the run.
            if recordings[name] != was and not was.startswith("0 "):
                raise ValueError(
                    f"the recordings of a resumed run cannot change, {out} has for {name} {was}, got "
                    f"{recordings[name]}; give it its own by --data, or begin a new run"
                )
    return checkpoint


def _run_epochs(
    config: Config,
    trainer: Trainer,
    data: Data,
    stats: Stats,
    saver: Saver,
    log: Callable[[str], None],
    report: Callable[[list[EpochStats]], bool] | None,
    diagnose: Callable[..., Any] | None,
) -> None:
    """Run the remaining epochs, and write the results after each."""
    warned = False
    while goes_on_by(config, stats) is None:
        epoch = len(stats.epochs)
        trainer.optimizer.epoch = epoch
        if isinstance(data.train, Loader):
            data.train.epoch = epoch
        place, start = saver.place, time.perf_counter()
        state = None if place is None else place.trained
        trained = trainer.train(
            data.train, title=f"epoch {epoch + 1}/{config.epochs}", state=state, after_step=saver.after_training_step
        )
        seconds = time.perf_counter() - start + (0.0 if state is None else state["seconds"])
        validated: tuple[float | None, float | None] = (None, None)
        if data.validation is not None:
            state = None if place is None else place.tested
            validated = trainer.test(
                data.validation, title="validation", state=state, after_step=saver.after_validation_step
            )
        row = EpochStats(epoch + 1, *trained, None, None, seconds, *validated)
        stats.epochs.append(row)
        saver.after_epoch()
        log(str(row))
        # Only one warning until the output has spikes again: there may be thousands of epochs.
        warning = None if warned else _silence_warning(trainer, diagnose)
        warned = trainer.silent_batch is not None and (warned or warning is not None)
        if warning:
            log(warning)
        saver.check_stop(report is not None and report(stats.epochs))
    if len(stats.epochs) < config.epochs:
        best = len(stats.epochs) - stats.waited
        log(f"the run ends, as {stats.waited} epochs had no better validation score than epoch {best}")


def _test(
    out: Path,
    trainer: Trainer,
    batches: Loader,
    stats: Stats,
    saver: Saver,
    context: Context,
    log: Callable[[str], None],
) -> None:
    """Test with the weights of the best epoch, unless already done, and log the score."""
    best = cast(EpochStats, stats.best)
    if best.test_loss is None:
        last = trainer.net.state()
        if best.epoch < len(stats.epochs):
            trainer.net.load_state(context.from_root(lambda: load_checkpoint(out / BEST, trainer.net).network))
        score = trainer.test(batches, after_step=lambda tally: saver.check_stop())
        trainer.net.load_state(last)
        saver.after_test(score)
    log(stats.epochs[best.epoch - 1].text("test"))


def _silence_warning(trainer: Trainer, diagnose: Callable[..., Any] | None) -> str | None:
    """Return a warning that names the first silent layer, with advice; None if the output had spikes in the epoch."""
    if trainer.silent_batch is None:
        return None
    if diagnose is None:
        return "warning: the output has no spike"
    found = diagnose(trainer.net, [trainer.silent_batch], loss=trainer.loss)
    first = next((layer for layer in found.layers if layer.silent), None)
    if first is None:
        return None
    advice = "".join(f"; {each.change}" for each in found.advice if each.layer == first.layer)
    return f"warning: {first.name} is silent{advice}" if advice else f"warning: {found.hints[0]}"
