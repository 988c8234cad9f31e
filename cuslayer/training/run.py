"""`train`: run a training from a configuration, and write its results to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
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
from cuslayer.training.callbacks import EarlyStopping, Log
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.data_of_run import Data, described, load_data, read_some
from cuslayer.training.figures import save_figures
from cuslayer.training.finite import NotFiniteError, naming_checkpoint
from cuslayer.training.lock import Lost, locked_folder
from cuslayer.training.resume import PATHS, changes, earlier, goes_on_by
from cuslayer.training.run_folder import BEST, CHECKPOINT, FIGURES, GRADIENTS, find_run, new_run
from cuslayer.training.saver import Saver, Stopped
from cuslayer.training.stats import EpochStats, Stats
from cuslayer.training.steps import agreed
from cuslayer.training.trainer import Callback, Trainer


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
    diagnose: Callable[..., object] | None = None,
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
        hooks = _Hooks(
            log=(lambda line: None) if context.rank else log,
            stop=stop or (lambda: False),
            report=report or (lambda rows: False),
            diagnose=diagnose,
            progress=progress,
        )
        try:
            _train(config, out, resume, context, hooks)
        except Stopped:
            context.barrier()
            raise
        # No process leaves while process 0 writes: its launcher may end the others.
        context.barrier()
    return out


@dataclass(frozen=True)
class _Hooks:
    """The arguments of `train` that are functions, and whether to show a progress bar."""

    log: Callable[[str], None]
    stop: Callable[[], bool]
    report: Callable[[list[EpochStats]], bool]
    diagnose: Callable[..., Any] | None
    progress: bool


class _Silence(Callback):
    """Warns of the first silent layer, with advice, once until the output has spikes again."""

    explains_silence = True

    def __init__(self, diagnose: Callable[..., Any] | None) -> None:
        self._diagnose = diagnose
        self._warned = False

    def after_epoch(self, trainer: Trainer) -> None:
        warning = None
        if trainer.silent_batch is None:
            self._warned = False
        elif not self._warned:
            warning = self._warning(trainer)
        if warning is not None:
            self._warned = True
            trainer.log(warning)

    def _warning(self, trainer: Trainer) -> str | None:
        if self._diagnose is None:
            return "warning: the output has no spike"
        health = self._diagnose(trainer.net, [trainer.silent_batch], loss=trainer.loss)
        first = next((layer for layer in health.layers if layer.silent), None)
        if first is None:
            return None
        advice = "".join(f"; {change.change}" for change in health.advice if change.layer == first.layer)
        return f"warning: {first.name} is silent{advice}" if advice else f"warning: {health.hints[0]}"


class _Report(Callback):
    """Reports the epochs to the caller of `train`, who may end the run."""

    def __init__(self, report: Callable[[list[EpochStats]], bool], saver: Saver) -> None:
        self._report = report
        self._saver = saver

    def after_epoch(self, trainer: Trainer) -> None:
        self._saver.check_stop(self._report(trainer.stats.epochs))


def _train(config: Config, out: Path, resume: bool, context: Context, hooks: _Hooks) -> None:
    """Train in a locked folder."""
    log = hooks.log
    rows = list[EpochStats]()
    changed = list[str]()
    if resume:
        rows, changed = context.from_root(lambda: earlier(config, out))
    stats = Stats(rows)
    option, best = goes_on_by(config, stats), stats.best
    complete = option is not None and best is not None and (config.spike_times or best.test_loss is not None)
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
    optimizer = config.make_optimizer(net.parameters(), steps=steps, stats=stats)
    rate = config.firing_rate if config.initialization == "calibrated" else None
    parallel = None if config.micro is None else DataParallel(context, micro=config.micro, fast=config.fast)
    trainer = Trainer(
        net,
        config.loss(),
        optimizer,
        log=log,
        progress=hooks.progress,
        calibrate=rate,
        parallel=parallel,
        truncate=config.truncate,
        recompute=config.recompute,
        online=config.online,
    )
    trainer.stats = stats
    checkpoint = None
    place = None
    if resume:
        checkpoint = context.from_root(lambda: _loaded(out, trainer, data, recordings))
        place = checkpoint.place
        if place is not None:
            trainer.gradients.load_state(place.gradients)
        checkpoint.restore(net, optimizer)
    stop = agreed(hooks.stop, parallel)
    saver = Saver(out, config, len(data.train), stop, recordings, checkpoint, writes=context.rank == 0)
    trainer.callbacks = [saver, Log(), _Silence(hooks.diagnose), _Report(hooks.report, saver)]
    if config.patience is not None:
        trainer.callbacks.append(EarlyStopping(config.patience))
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
        if place is not None:
            log(f"it goes on in epoch {len(stats.epochs) + 1} after {place.batches} of {place.of} batches")
        calibration = trainer.prepare(data.train)
        if calibration is not None:
            log(str(calibration))
    if not complete:
        saver.check_stop()
        with naming_checkpoint(out / CHECKPOINT):
            try:
                trainer.fit(data.train, data.validation, epochs=config.epochs, place=place)
                if data.test is not None:
                    _test(out, trainer, data.test, saver, context)
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


def _test(out: Path, trainer: Trainer, batches: Loader, saver: Saver, context: Context) -> None:
    """Test with the weights of the best epoch, unless already done, and log the score."""
    stats = trainer.stats
    best = cast(EpochStats, stats.best)
    if best.test_loss is None:
        last = trainer.net.state()
        if best.epoch < len(stats.epochs):
            trainer.net.load_state(context.from_root(lambda: load_checkpoint(out / BEST, trainer.net).network))
        score = trainer.test(batches)
        trainer.net.load_state(last)
        saver.after_test(trainer, score)
    trainer.log(stats.epochs[best.epoch - 1].text("test"))
