"""The folder of a run: its files and their order of writing, lock, figures, and allowed changes.

A run can die at any time, and resume with the bits of an uninterrupted run. So a checkpoint contains the complete
state, each file is written atomically, and only while this process still has the folder's lock.
"""

from __future__ import annotations

import errno
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.files import NotWritten, guarded, not_written, remove_leftovers, write_text, write_whole
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array
from cuslayer.network.notation import Network, rows_first
from cuslayer.network.walk import Walk, ends_in_read_out, eval_mode
from cuslayer.plot import learning_curves, raster
from cuslayer.plot.style import style_of_new_figures
from cuslayer.training.checkpoint import Checkpoint, FileRecord, Place, load_checkpoint, read_summary
from cuslayer.training.config import Config, load_config
from cuslayer.training.score import GradientFlow, Score, Tally
from cuslayer.training.stats import EpochStats, Stats, load_stats, save_stats
from cuslayer.training.trainer import Trainer

CHECKPOINT, BEST, METRICS, CONFIG, GRADIENTS = (
    "checkpoint.npz",
    "best.npz",
    "metrics.csv",
    "config.yaml",
    "gradients.csv",
)
FIGURES = ("curves.png", "gradients.png", "raster.png")
NAMES = (CHECKPOINT, BEST, METRICS, CONFIG, GRADIENTS, *FIGURES)
_RUNS = Path("runs")
LOCK = "lock"

# Keys for the locations of files and the intervals of checkpoints: they do not affect results.
PATHS = ("training.path", "training.checkpoint")
_FREE = ("training.path.out", "training.checkpoint")
# Keys that give the weights, their input and the optimizer's state their meaning.
NETWORK = ("layer", "neuron", "simulation.Ts", "sound")
ALL = ("layer", "neuron", "simulation", "sound", "training")
_FIXED = ("training.optimizer.type", "training.optimizer.amsgrad", "training.optimizer.relative")
# Keys that only matter before the first step.
_BEGUN = (
    "training.seed",
    "training.initialization",
    "training.firingRate",
    "training.validation",
    "training.path.dataset",
)
# Keys that determine the batches of an epoch, and the sums over them.
_OF_AN_EPOCH = ("training.batch", "training.seed", "training.error", "training.parallel", "simulation.tSample")


@check.operation("train")
def find_run(out: str | None) -> Path:
    """Return the folder of the run to resume: `out`, or the last one under runs/.

    Raises:
        ValueError: it has no checkpoint.
    """
    folder = Path(out) if out else _RUNS / str(max(_run_numbers(), default=0))
    if not (folder / CHECKPOINT).is_file():
        begin = f"; without --resume it is begun anew by --out {folder}" if folder.is_dir() else ""
        raise ValueError(f"no checkpoint to resume from in {folder}{begin}")
    return folder


def new_run(out: str | None) -> Path:
    """Return the folder for a new run: `out`, or the next one under runs/.

    A run writes a checkpoint first: without one, a file that a run would replace belongs to the user.
    """
    if out is None:
        return _RUNS / str(max(_run_numbers(), default=0) + 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out {folder} is a file, not a folder")
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"out {folder} holds a run already; resume it, or name another folder")
    for path in (folder / name for name in NAMES):
        if os.path.lexists(path):
            raise ValueError(f"{path} exists, and no run wrote it; move it, or choose another folder")
    return folder


def _run_numbers() -> list[int]:
    names = [path.name for path in _RUNS.iterdir()] if _RUNS.is_dir() else []
    return [int(name) for name in names if re.fullmatch("[1-9][0-9]*", name)]


class Taken(ValueError):
    """Another process has the lock, or its file belongs to something else."""

    operation = "train"  # also if a sweep or a checkpoint raises it


class Lost(ValueError):
    """This process no longer has the lock: another one may use the folder."""

    operation = "train"


class Lock:
    """A lock on a file; it ends with the process, however that dies.

    Anyone may remove the file, or remove, move or replace its folder. `held` says whether both are still the same.
    """

    def __init__(self, path: Path, busy: Path, wait: float = 0.0) -> None:
        from filelock import FileLock, Timeout  # imports asyncio

        self._path = path
        with suppress(OSError):
            # From an earlier version, from filelock's soft lock, or empty.
            if path.is_file() and not path.is_symlink() and not re.match(rb"\{|[0-9]+\s|$", path.read_bytes()[:20]):
                raise Taken(f"train: {path} is not the lock of a run; remove it, or name another folder")
        self._lock = FileLock(path, timeout=wait)
        try:
            self._lock.acquire()
            self._own = path.lstat(), path.parent.stat()
        except Timeout:
            raise Taken(f"train: {busy} is in use by another process") from None
        except (OSError, NotImplementedError) as problem:
            self._lock.release()
            # If the file system has no locks, the lowest version of filelock raises the other error.
            no_locks = OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
            raise not_written(f"{path}", problem if isinstance(problem, OSError) else no_locks) from None

    def held(self) -> bool:
        """Return whether the file and the folder at their paths are still the locked ones."""
        file, folder = self._own
        return is_same(self._path.parent, folder) and is_same(self._path, file)

    def release(self) -> None:
        """End the lock; a file that now belongs to another process stays."""
        # If the system cannot remove open files, filelock removes it.
        with suppress(OSError):
            if sys.platform != "win32" and self.held():
                self._path.unlink()
        self._lock.release()


def is_same(path: Path, before: os.stat_result) -> bool:
    """Return whether a file or a folder, which may be a link's target, is still the same."""
    try:
        return os.path.samestat(path.stat() if path.is_dir() else path.lstat(), before)
    except OSError:
        return False


@contextmanager
def locked(folder: Path, same: os.stat_result | None = None, *, wait: float = 0.0) -> Iterator[None]:
    """Lock a folder for the block; before each write, `write_whole` checks that the lock still holds."""

    def check_held(held: bool) -> None:
        if not held:
            what = "the folder or its lock was removed, moved or replaced"
            raise Lost(f"train: {folder} is no longer in use by this process: {what}; nothing more is written there")

    check_held(same is None or is_same(folder, same))
    lock = Lock(folder / LOCK, folder, wait)
    try:
        with guarded(folder, lambda: check_held(lock.held())):
            yield
    finally:
        lock.release()


@contextmanager
def locked_folder(out: Path, *, numbered: bool = False) -> Iterator[Path]:
    """Create the folder of a run with its parents, lock it for the block, and remove old temporary files.

    If the block raises an error, empty folders created here are removed.
    """
    out, created = _made(out, numbered)
    try:
        with locked(out):
            remove_leftovers(out, NAMES)
            yield out
    except Lost:
        raise
    except BaseException:
        with suppress(OSError):
            for folder in created:
                folder.rmdir()
        raise


def _made(out: Path, numbered: bool) -> tuple[Path, list[Path]]:
    """Create a folder with its parents; return it, and all created folders, the innermost first."""
    while True:
        created = [folder for folder in (out, *out.parents) if not folder.exists()]
        try:
            out.mkdir(parents=True, exist_ok=not numbered)
        except FileExistsError as problem:
            if not numbered:
                raise not_written(f"out {out}", problem) from None
            out = out.with_name(str(int(out.name) + 1))
        except OSError as problem:
            raise not_written(f"out {out}", problem) from None
        else:
            return out, created


class Change(NamedTuple):
    """A key of a configuration with two values, as text."""

    key: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.key} is {self.now}, was {self.was}"

    def among(self, keys: tuple[str, ...]) -> bool:
        """Return whether the key is one of some keys, or within one."""
        return any(self.key == key or self.key.startswith((f"{key}.", f"{key}[")) for key in keys)


def changes(before: Any, now: Any) -> list[Change]:
    """Return the keys whose values differ between two documents."""
    was, given, none = dict(_items(before)), dict(_items(now)), object()
    return [
        Change(key, *(check.one_line(values[key]) if key in values else "missing" for values in (was, given)))
        for key in {**was, **given}
        if was.get(key, none) != given.get(key, none)
    ]


def _items(x: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each item in a document that is neither a mapping nor a list."""
    if isinstance(x, dict):
        for key, value in x.items():
            yield from _items(value, f"{path}.{key}" if path else str(key))
    elif isinstance(x, list):
        for number, value in enumerate(x):
            yield from _items(value, f"{path}[{number}]")
    else:
        yield path, x


def check_config(record: FileRecord, folder: Path, *, free: tuple[str, ...] = _FREE, of: tuple[str, ...] = ALL) -> None:
    """Raise ValueError if the configuration file of a run has changed since a checkpoint."""
    path = folder / CONFIG
    if path.is_file() and sha256(path.read_bytes()).hexdigest() not in record.digests:
        found = changes(record.config, load_config(path).document())
        wrong = [each for each in found if each.among(of) and not each.among(free)]
        if wrong:
            listed = ", ".join(map(str, wrong[:3])) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            advice = "write it back, or change it by options or another file"
            raise ValueError(f"{path} was changed since the checkpoint: {listed}; {advice}")


def check_resumed(record: FileRecord, config: Config, out: Path, *, within_epoch: bool) -> list[str]:
    """Return a line for each key that differs in a resumed run; raise ValueError if it must not change."""
    before = record.settings()
    if before.layers != config.layers:
        was, given = ("-".join(rows_first(word).text for word in c.layers) for c in (before, config))
        got = f"{given} with other options of its layers" if was == given else given
        raise ValueError(f"the network of a resumed run cannot change: {out} has {was}, got {got}")
    found = [each for each in changes(record.config, config.document()) if not each.among(_FREE)]
    for each in found:
        got = f"{out} has {each.was}, got {each.now}"
        if within_epoch and each.among(_OF_AN_EPOCH):
            raise ValueError(f"{each.key} cannot change in the middle of an epoch, {got}")
        if each.among((*NETWORK, *_FIXED, *_BEGUN)):
            raise ValueError(f"{each.key} of a resumed run cannot change, {got}")
    return [f"warning: {each}" for each in found]


def earlier(config: Config, out: Path) -> tuple[list[EpochStats], list[str]]:
    """Compare a run to resume with its files and a configuration; write its best checkpoint if it is missing."""
    summary = read_summary(out / CHECKPOINT)
    record, rows = summary.record, completed(out, summary.epoch)
    if record is None:
        record = FileRecord.of(load_config(out / CONFIG), rows)
    else:
        check_config(record, out)
        rows = list(record.rows)
    lines, stats = check_resumed(record, config, out, within_epoch=summary.batches > 0), Stats(rows)
    if summary.batches and (option := goes_on_by(config, stats)):
        raise ValueError(f"{out} stands in the middle of epoch {summary.epoch + 1}; to go on, give {option}")
    _repair_best(out, summary, stats)
    return rows, lines


def goes_on_by(config: Config, stats: Stats) -> str | None:
    """Return the option that would continue a run without remaining epochs; None if epochs remain."""
    if len(stats.epochs) >= config.epochs:
        return f"--epochs N, N above {len(stats.epochs)}"
    if config.patience is not None and stats.waited >= config.patience:
        return f"--patience N, N above {stats.waited}"
    return None


def config_of_run(folder: Path) -> Config:
    """Return the configuration of a run to resume, from its checkpoint.

    The file may have the options from before the last resumption, if the run died then.
    """
    record = read_summary(folder / CHECKPOINT).record
    return load_config(folder / CONFIG) if record is None else record.settings()


def completed(folder: Path, epochs: int) -> list[EpochStats]:
    """Return the rows of a run's completed epochs in its metrics.csv, which may have one more."""
    path = folder / METRICS
    if epochs and not path.is_file():
        raise ValueError(f"{path} is missing, the checkpoint has {epochs} epochs")
    rows = load_stats(path)[:epochs] if epochs else []
    if len(rows) < epochs:
        raise ValueError(f"{path} has {len(rows)} epochs, the checkpoint has {epochs}")
    return rows


class Stopped(Exception):
    """A run has stopped on request.

    Attributes:
        folder: the folder of the run.
        epoch: the number of completed epochs in its checkpoint.
        batches: the number of batches after them in its checkpoint.
        saved: whether there is a checkpoint.
    """

    def __init__(self, folder: Path, checkpoint: tuple[int, int] | None) -> None:
        self.folder, self.saved = folder, checkpoint is not None
        self.epoch, self.batches = checkpoint or (0, 0)
        super().__init__(f"train: {folder} is stopped, {_described(checkpoint)}")


class Saver:
    """Writes the files of a run, so that it can resume after a death at any time.

    The first file of a run is a checkpoint: without it, files with these names belong to the user. After an epoch,
    `metrics.csv` is written before the checkpoint, and has at least its epochs; the best checkpoint is written after
    it, and again by a resumed run. The test score, from the end of the run, is in the row of its epoch. The
    configuration is written after the checkpoint, which has digests of it and of the one before. `place` is the place
    of the resumption within an epoch; None after this epoch.
    """

    def __init__(
        self,
        out: Path,
        config: Config,
        trainer: Trainer,
        stats: Stats,
        batches: int,
        stop: Callable[[], bool],
        recordings: Mapping[str, str],
        resumed: Checkpoint | None,
        *,
        writes: bool = True,
    ) -> None:
        self._out, self._config, self._trainer, self._stats, self._stop = out, config, trainer, stats, stop
        self._batches, self._writes = batches, writes
        self._record = FileRecord.of(config, [], recordings)
        self._saved = None if resumed is None else (resumed.epoch, resumed.batches)
        # Digests of valid configuration files until this run has written its own.
        self._digests = () if resumed is None or resumed.record is None else resumed.record.digests
        self._written = False
        self.place = None if resumed is None else resumed.place
        # The training part of an epoch, when it is complete.
        self._trained = self.place
        self._steps, self._time = 0, time.monotonic()
        self._before = self._time

    def check_stop(self, enough: bool = False) -> None:
        """Raise Stopped if the run should stop, without saving it."""
        if enough or self._stop():
            raise Stopped(self._out, self._saved)

    def after_training_step(self, score: Tally) -> None:
        """Save the run if it is time to, or if it is to stop."""
        self._steps += 1
        last = score.batches == self._batches
        stop = self._stop()
        if last or stop or self._is_due():
            self._trainer.check_finite()
            self._trained = Place(self._batches, score.state(), self._trainer.gradients.state())
            # After the last step the epoch itself is saved soon.
            if stop or not last:
                self._save(self._trained)
        if stop:
            raise Stopped(self._out, self._saved)

    def after_validation_step(self, score: Tally) -> None:
        """Save the run if it is time to, or if it is to stop."""
        stop = self._stop()
        if self._trained is not None and (stop or self._is_due()):
            trained = self._trained
            self._save(Place(trained.of, trained.trained, trained.gradients, score.state()))
        if stop:
            raise Stopped(self._out, self._saved)

    def after_epoch(self) -> None:
        """Save a complete epoch, the last row of the statistics."""
        whole, self.place, self._trained = self._trained, None, None
        if self._writes and whole is not None and self._saved is None:
            # The first checkpoint of the run, before metrics.csv.
            self._write_checkpoint(self._checkpoint(whole, self._stats.epochs[:-1]))
        self._save(None)
        if self._writes and self._stats.best is self._stats.epochs[-1]:
            self._write(BEST, self._checkpoint(None, self._stats.epochs).save)

    def after_test(self, score: Score) -> None:
        """Save the score of the best epoch on the test set."""
        best = cast(EpochStats, self._stats.best)
        row = replace(best, test_loss=score.loss, test_accuracy=score.accuracy)
        self._stats.epochs[best.epoch - 1] = row
        self._save(None)

    def forget_recordings(self) -> None:
        """Let the checkpoint continue with other recordings than before."""
        if not self._writes or self._saved is None:
            return
        # The run's own error matters, not this one.
        with suppress(ValueError):
            checkpoint = load_checkpoint(self._out / CHECKPOINT)
            if checkpoint.record is not None:
                record = replace(checkpoint.record, recordings=None)
                self._write(CHECKPOINT, replace(checkpoint, record=record).save)

    def _is_due(self) -> bool:
        """Return whether to write a checkpoint: another step like this one would exceed the interval."""
        if not self._writes:
            return False
        minutes, steps = self._config.checkpoint_minutes, self._config.checkpoint_steps
        now = time.monotonic()
        step, self._before = now - self._before, now
        return now + step - self._time > 60 * minutes or (steps is not None and self._steps >= steps)

    def _checkpoint(self, place: Place | None, epochs: list[EpochStats]) -> Checkpoint:
        trainer = self._trainer
        record = self._record.with_rows(epochs, self._digests)
        return Checkpoint.of(len(epochs), trainer.net, trainer.optimizer, place=place, record=record)

    def _save(self, place: Place | None) -> None:
        """Write a checkpoint, after the files that it needs."""
        if not self._writes:
            self._saved = len(self._stats.epochs), 0 if place is None else place.batches
            return
        checkpoint = self._checkpoint(place, self._stats.epochs)
        if place is None:
            self._write(METRICS, lambda path: save_stats(path, self._stats.epochs, durable=True))
            self._write(GRADIENTS, lambda path: self._trainer.gradients.save(path, durable=True))
        self._write_checkpoint(checkpoint)
        self._steps, self._time = 0, time.monotonic()
        self._before = self._time

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and, after the first one, the configuration."""
        self._write(CHECKPOINT, checkpoint.save)
        self._saved = checkpoint.epoch, checkpoint.batches
        if not self._written:
            self._write(CONFIG, lambda path: write_text(path, self._config.to_yaml(), durable=True))
            self._written, self._digests = True, ()

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        try:
            write(self._out / name)
        except NotWritten as problem:
            raise NotWritten(f"{check.reason(problem)}; {_described(self._saved)}", problem) from None


def _repair_best(out: Path, summary: Checkpoint, stats: Stats) -> None:
    """Write the missing best checkpoint of a run that died: the last checkpoint, if it is the best."""
    best = stats.best
    if best is None or summary.batches or best.epoch != summary.epoch:
        return
    with suppress(ValueError):
        if read_summary(out / BEST).epoch == summary.epoch:
            return
    content = (out / CHECKPOINT).read_bytes()
    write_whole(out / BEST, lambda file: file.write(content), durable=True)


def _described(checkpoint: tuple[int, int] | None) -> str:
    """Return the place of a run's checkpoint in words."""
    if checkpoint is None:
        return "it has no checkpoint yet"
    epoch, batches = checkpoint
    within = f" and {batches} batch{'' if batches == 1 else 'es'} of the next" if batches else ""
    return f"its checkpoint has {epoch} epoch{'' if epoch == 1 else 's'}{within}, --resume goes on from there"


def save_figure(path: str | Path, draw: Callable[[Any], None], *, size: tuple[float, float]) -> None:
    """Draw a figure by `draw(figure)` and write it as PNG; `size` is (width, height) in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style_of_new_figures():
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        write_whole(Path(path), lambda file: figure.savefig(file, format="png", dpi=120))


def draw_curves(figure: Any, rows: Sequence[EpochStats]) -> None:
    """Draw the loss and, for classification, the accuracy over the epochs."""
    with_accuracy = any(row.train_accuracy is not None for row in rows)
    axes = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
    for axis, value in zip(axes, ("loss", "accuracy"), strict=False):
        learning_curves(rows, axis, value=value)


def draw_rasters(figure: Any, trains: Sequence[tuple[str, Array]], dt: float) -> None:
    """Draw raster plots for pairs of a title and spikes (T, ...), one above the other, the input at the bottom."""
    axes = figure.subplots(len(trains), 1, squeeze=False, sharex=True)[::-1, 0]
    for axis, (title, spikes) in zip(axes, trains, strict=True):
        raster(spikes, axis, sample=None, dt=dt)
        neurons, count = math.prod(spikes.shape[1:]), np.count_nonzero(spikes)
        axis.set_title(f"{title}: {neurons} neurons, {count} spikes", loc="left", fontsize="medium")
        axis.set_xlabel("time (ms)" if axis is axes[0] else "")


def save_figures(
    out: Path, net: Network, dt: float, stats: Stats, gradients: GradientFlow, example: tuple[str, Array, Any]
) -> None:
    """Draw the figures of a run and write them to its folder; an example is its title, spikes (T, ...) and target."""
    curves, flow, rasters = (out / name for name in FIGURES)
    if stats.epochs:
        save_figure(curves, lambda figure: draw_curves(figure, stats.epochs), size=(9, 3.5))
        save_figure(flow, lambda figure: gradients.plot(figure.subplots()), size=(6, 3.5))
    title, spikes, _ = example
    # Signals of numbers have no raster.
    given = [(title, spikes)] if spikes.dtype.kind != "f" else []
    trains = [*given, *_layer_spikes(net, spikes)]
    save_figure(rasters, lambda f: draw_rasters(f, trains, dt), size=(8, 2 + 1.6 * len(trains)))


def _layer_spikes(net: Network, spikes: Array) -> list[tuple[str, Array]]:
    """Return a title and the spikes of each layer of neurons for one recording (T, ...)."""
    found = list[tuple[str, Array]]()
    with eval_mode(net), no_grad():
        for at in Walk(net, Tensor(spikes[:, None])):
            if at.neurons is not None:
                layer = at.unit.layer
                found.append((f"after {'neurons' if layer is None else repr(layer.stage)}", at.output.numpy()[:, 0]))
    if ends_in_read_out(net):
        return found
    return [*found[:-1], *(("output", spikes) for _, spikes in found[-1:])]
