"""Sweeps: many trainings with configurations that differ in some keys, as trials of an Optuna study."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from math import inf, prod
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any
from urllib.parse import unquote, unquote_plus

import numpy as np

from cuslayer._base import check
from cuslayer._base.extras import optional
from cuslayer._base.files import write_table, write_text
from cuslayer._base.keys import (
    a_path,
    check_keys,
    choice,
    counted,
    flag,
    from_zero,
    key,
    known,
    plain_number,
    put,
    read,
)
from cuslayer._base.threads import part_of_cores, thread_count
from cuslayer.plot import sweep_results
from cuslayer.training.config import Config, load_config, named_configs
from cuslayer.training.figures import save_figure
from cuslayer.training.lock import LOCK, Lock, locked
from cuslayer.training.params import read_yaml
from cuslayer.training.resume import PATHS, changes, goes_on_by
from cuslayer.training.run_folder import CHECKPOINT, METRICS
from cuslayer.training.stats import EpochStats, Stats, checked_row, load_stats

STUDY, TABLE, FIGURE = "study.log", "results.csv", "results.png"
FAILED, DONE, STARTED, WAITING, PRUNED = "failed", "done", "started", "waiting", "pruned"
_STATUS = {"FAIL": FAILED, "COMPLETE": DONE, "RUNNING": STARTED, "WAITING": WAITING, "PRUNED": PRUNED}
_PRUNERS = {"none": "Nop", "median": "Median", "halving": "SuccessiveHalving", "hyperband": "Hyperband"}
# The options of a database's URL whose values are not shown.
_SECRET = re.compile("pass|pwd|secret|token|key", re.IGNORECASE)
# The locations of files do not affect a sweep.
_PLACES = tuple(f"config.{each}" for each in PATHS)
# The configurations of a sweep that are made before its first run.
_MOST_TESTED = 500
# The maximum number of runs; more are a mistake.
_MOST = 100_000
# The fraction of validation recordings, without which the test set would compare the runs.
_VALIDATION = 0.1
# Seconds for which a process waits until another has noted its work in the folder.
_PATIENCE = 60.0
# The first argument has the cores to which the run is bound, none for all.
_PROGRAM = (
    "import os, sys\n"
    "if sys.argv[1]: os.sched_setaffinity(0, map(int, sys.argv[1].split(',')))\n"
    "from cuslayer.cli import main\n"
    "sys.exit(main(['train', *sys.argv[2:]]))"
)


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep; `load_sweep` reads it.

    Attributes:
        keys: for each variable key of the configuration, such as "training.batch" or "layer[1].dim", a list of values,
            or the ends of an interval.
        out: the folder of the sweep.
        base: the configuration without these keys, as a file's document.
        search: "grid", "random" or "tpe".
        runs: the number of runs.
        seed: the seed of "random" and "tpe".
        pruning: the name of the rule that ends bad runs early; "none" for no rule.
    """

    keys: Mapping[str, Any]
    out: Path = field(metadata=key(lambda name, value: Path(a_path(name, value)), needed="always"))
    base: Mapping[str, Any]
    search: str = field(default="grid", metadata=key(choice(("grid", "random", "tpe"))))
    runs: int = field(default=1, metadata=key(counted, needed="random tpe"))
    seed: int = field(default=0, metadata=key(from_zero))
    pruning: str = field(default="none", metadata=key(choice(_PRUNERS)))

    @cached_property
    def points(self) -> tuple[tuple[object, ...], ...]:
        """The values of each run of a grid; other searches choose them one by one."""
        return tuple(itertools.product(*self.keys.values())) if self.search == "grid" else ()

    def document(self, point: tuple[object, ...]) -> dict[str, object]:
        """Return the configuration of a run, as a file's document."""
        document = json.loads(json.dumps(self.base))
        for name, value in zip(self.keys, point, strict=True):
            try:
                put(document, name, value)
            except (AttributeError, IndexError, TypeError, ValueError):
                raise ValueError(f"keys.{name} is no key of the configuration") from None
        return document

    def config(self, point: tuple[object, ...]) -> Config:
        """Return the configuration of a run."""
        return load_config(self.document(point))


@dataclass(frozen=True)
class Result:
    """A run of a sweep.

    Attributes:
        number: the number of the run, from 1; its folder is the number with at least three digits.
        point: the values of the keys.
        status: "done", "pruned", "failed", "started" or "waiting".
        best: the best epoch; see `Stats.best`; None before the end of the run.
        error: the last line of a failed run's output.
    """

    number: int
    point: tuple[Any, ...]
    status: str
    best: EpochStats | None = None
    error: str = ""

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the best epoch: of validation, or of training without classes."""
        return None if self.best is None else self.best.scores[0]

    @property
    def loss(self) -> float | None:
        """The loss of the best epoch."""
        return None if self.best is None else self.best.scores[1]

    @property
    def epoch(self) -> int | None:
        """The number of the best epoch."""
        return None if self.best is None else self.best.epoch


@check.operation
def load_sweep(source: str | Path) -> Sweep:
    """Read a sweep from YAML.

    ``config`` is the file of a configuration, relative to the sweep's file, or a configuration itself; by default the
    usual one. ``out`` is the folder of the sweep. ``search`` is "grid" for all combinations, "random" for ``runs``
    points that a generator draws from ``seed``, or "tpe" for points that Optuna's sampler chooses by the results so
    far. ``keys`` has a list of values for each key or, except for "grid", the ends ``low`` and ``high`` of an interval.
    With ``log: true`` it is logarithmic; numbers are whole if both ends are. ``pruning`` ends runs early that are worse
    than others at the same epoch, by Optuna's "median", "halving" or "hyperband"; by default "none". Validation
    recordings compare runs, a tenth of the training recordings unless ``training.validation`` has another value::

        config: net.yaml
        out: sweeps/rates
        search: tpe
        pruning: median
        runs: 20
        keys:
          training.optimizer.lr: {low: 1.0e-3, high: 1.0, log: true}
          training.batch: [16, 32, 64]
          layer[1].dim: {low: 64, high: 512}

    Raises:
        ValueError: the file is missing or not a sweep, a key does not belong to a configuration, or the configuration
            of a run is wrong.
        TypeError: a value has the wrong type.
    """
    document = read_yaml(source)
    with check.about(source):
        return _read(document, Path(source).parent)


def _read(document: object, folder: Path) -> Sweep:
    given = check_keys(document, {"config": {}, "keys": {}} | known(Sweep))
    base, keys, missing = given.get("config"), given.get("keys"), list[str]()
    if isinstance(base, str) and base in named_configs() and not (folder / base).exists():
        base = named_configs()[base]
    elif base is not None and not isinstance(base, dict):
        base = folder / a_path("config", base)
    config = Config() if base is None else load_config(base)
    if config.validation is None and not config.spike_times:
        config = config.with_options(validation=_VALIDATION)
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys):
        raise TypeError(f"keys must be a mapping of keys of the configuration, got {type(keys).__name__}")
    search = given.get("search", Sweep.search)
    options = read(Sweep, given, "", missing, search if isinstance(search, str) else "")
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    for name, values in keys.items():
        keys[name] = _interval(name, values) if isinstance(values, dict) and search != "grid" else values
        if keys[name] is values and (not isinstance(values, list) or not values):
            raise TypeError(f"keys.{name} must be a list of values, got {check.one_line(values)}")
    if search == "grid":
        options["runs"] = prod(map(len, keys.values()))
    found = Sweep(keys, base=config.document(), **options)
    if found.runs > _MOST:
        raise ValueError(f"a sweep must have at most {_MOST} runs, got {found.runs}")
    for number, point in enumerate(_tested_points(found), start=1):
        try:
            found.config(point)
        except (ValueError, TypeError) as problem:
            where = ", ".join(f"{key} {value}" for key, value in zip(keys, point, strict=True))
            raise type(problem)(f"run {number} ({where}): {problem}") from None
    return found


def _tested_points(given: Sweep) -> list[tuple[object, ...]]:
    """Return the points whose configurations are made before the first run: all of a small grid.

    A sampler chooses other points later: both ends of each key must be right. Of a large grid, up
    to 500 values are tested, each with the first values of the other keys.
    """
    if given.points and len(given.points) <= _MOST_TESTED:
        return [*given.points]
    values = [value if isinstance(value, list) else [value["low"], value["high"]] for value in given.keys.values()]
    corners = [tuple(each[0] for each in values), tuple(each[-1] for each in values)]
    if not given.points:
        return corners
    varied = ((*corners[0][:at], value, *corners[0][at + 1 :]) for at, each in enumerate(values) for value in each)
    return [*corners, *itertools.islice(varied, _MOST_TESTED)]


def _interval(key: str, given: Any) -> dict[str, object]:
    """Return the ends of an interval, and whether it is logarithmic."""
    check_keys(given, {"low": {}, "high": {}, "log": {}}, at=f"keys.{key}")
    low, high = (plain_number(given.get(name)) for name in ("low", "high"))
    for name, end in (("low", low), ("high", high)):
        check.number(f"keys.{key}.{name}", end)
    log = flag(f"keys.{key}.log", given.get("log", False))
    if low >= high:
        raise ValueError(f"keys.{key}.low must be under high, {high:g}, got {low:g}")
    if log:
        check.positive(f"keys.{key}.low", low)
    return {"low": low, "high": high, "log": log}


@check.operation
def sweep(given: Sweep, *, jobs: int = 1, study: str | None = None, log: Callable[[str], None]) -> list[Result]:
    """Train all incomplete runs of a sweep, and write a table and a plot of all runs to its folder.

    A run is a process with its own folder: its failure does not end the others. The same call continues an interrupted
    sweep: complete runs stay, others resume from their checkpoints, failed ones run again. Several processes, also on
    several machines that share the folder, may call it at once and divide the runs.

    Args:
        given: the sweep.
        jobs: the number of this process's simultaneous runs, which divide the cores of this machine.
        study: the database of Optuna's study, such as "sqlite:///sweep.db"; by default a file in the folder.
        log: a function of a line for each run that ends.

    Returns:
        The results by number.

    Raises:
        ValueError: jobs is below 1, the folder has another sweep or another file, or the database cannot be opened.
        ImportError: Optuna is not installed.
    """
    jobs = check.integer("jobs", jobs, least=1)
    given.out.mkdir(parents=True, exist_ok=True)
    with _of_study(study or ""):
        return _train_all(given, jobs, study, log)


def _train_all(given: Sweep, jobs: int, study: str | None, log: Callable[[str], None]) -> list[Result]:
    shared, ended = _Study(given, study), Event()
    share = given.base["training"].get("validation")
    if share is not None:
        log(f"runs are compared by their validation recordings, training.validation {shown(share)}")

    def work(place: int) -> None:
        share = _share(place, jobs)
        while not ended.is_set() and (claimed := shared.next()) is not None:
            trial, number, lock, arguments = claimed
            try:
                log(shared.end(trial, number, lock, train_run(arguments, share)))
            except BaseException:
                ended.set()
                lock.release()
                raise

    with ThreadPoolExecutor(jobs, thread_name_prefix="cuslayer-sweep") as pool:
        try:
            list(pool.map(work, range(jobs)))
        finally:  # wait for current runs, start no others
            ended.set()
    with shared.locked():
        return shared.write()


@dataclass(frozen=True)
class _Share:
    """What one of several runs may use: the cores to which it is bound, none for all, and a number of threads."""

    cores: list[int]
    threads: int


def _share(place: int, jobs: int) -> _Share:
    """Return the share of one of several runs in the cores and the threads of this process."""
    bound = jobs > 1 and hasattr(os, "sched_getaffinity")
    cores = part_of_cores(sorted(os.sched_getaffinity(0)), place, jobs) if bound else []
    return _Share(cores, len(part_of_cores(list(range(thread_count())), place, jobs)))


def train_run(arguments: list[str], share: _Share) -> str | None:
    """Run `cuslayer train` in a process; return the last line of its errors if it fails, else None."""
    # Under mpiexec a run is no process of the launcher.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI_", "MPI_"))}
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM, ",".join(map(str, share.cores)), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | {"OMP_NUM_THREADS": str(share.threads)},
    )
    if found.returncode == 0:
        return None
    lines = found.stderr[-2000:].strip().splitlines() or ["it said nothing"]
    died = f" (signal {-found.returncode})" if found.returncode < 0 else ""
    return f"{lines[-1].removeprefix('cuslayer: ')}{died}"


def _optuna() -> ModuleType:
    optuna = optional("optuna", "sweep")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _storage(optuna: ModuleType, where: str) -> tuple[object, list[str]]:
    """Return the storage of studies, a database or a file, and their names."""
    file = None if "://" in where else Path(where)
    if file is not None and (file.is_symlink() or (file.exists() and not file.is_file())):
        raise ValueError(f"the study {file} must be a file, not a link, a folder or a device")
    try:
        if file is None:
            storage = optuna.storages.get_storage(where)
        else:
            storage = optuna.storages.JournalStorage(import_module("optuna.storages.journal").JournalFileBackend(where))
        return storage, optuna.get_all_study_names(storage)
    except Exception as problem:  # databases and JSON raise many types
        reason = check.one_line(without_password(str(problem), where))
        raise ValueError(f"the study {without_password(where, where)} cannot be opened: {reason}") from None


def without_password(text: str, url: str) -> str:
    """Return a text with *** in place of each password that a database's URL has.

    >>> url = "postgresql://ann:a%2Fb@host/runs?sslpassword=c1"
    >>> without_password(f"no {url}: a/b is wrong", url)
    'no postgresql://ann:***@host/runs?sslpassword=***: *** is wrong'
    """
    _, _, rest = url.partition("://")
    of_user = rest.rpartition("@")[0].partition(":")[2]
    of_options = (value for name, value in re.findall(r"[?&]([^=&]*)=([^&]*)", rest) if _SECRET.search(name))
    secrets = {form for secret in (of_user, *of_options) for form in (secret, unquote(secret), unquote_plus(secret))}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


@contextmanager
def _of_study(where: str) -> Iterator[None]:
    """Raise errors of Optuna and of databases within the block as ValueError; no error has a password of the URL."""
    try:
        yield
    except Exception as problem:
        text = without_password(str(problem), where)
        if type(problem).__module__.partition(".")[0] not in ("builtins", "cuslayer"):
            study = without_password(where, where)
            raise ValueError(f"the study {study} failed ({type(problem).__name__}): {check.one_line(text)}") from None
        if text != str(problem):
            raise ValueError(text) from None
        raise


def reporter(text: str, epochs: int) -> Callable[[list[EpochStats]], bool]:
    """Return a function that reports a run's epochs to a study, and returns whether the run should end early."""
    optuna, about = _optuna(), json.loads(text)
    options: Any = {"max_resource": epochs} if about["pruning"] == "hyperband" else {}
    pruner = getattr(optuna.pruners, f"{_PRUNERS[about['pruning']]}Pruner")(**options)
    with _of_study(about["study"]):
        study = optuna.load_study(study_name=about["name"], storage=_storage(optuna, about["study"])[0], pruner=pruner)
    trial, told = optuna.trial.Trial(study, about["trial"]), 0

    def report(rows: list[EpochStats]) -> bool:
        with _of_study(about["study"]):
            return told_to_end(rows)

    def told_to_end(rows: list[EpochStats]) -> bool:
        nonlocal told
        for row in rows[told:]:
            trial.report(_value(study, row), row.epoch)
        told = len(rows)
        if told >= epochs or not trial.should_prune():
            return False
        trial.set_user_attr("pruned", True)
        return True

    return report


def _value(study: Any, row: EpochStats) -> float:
    """Return the value that a study compares: the accuracy or, without classes, the loss."""
    accuracy, loss = row.scores
    return loss if accuracy is None or study.direction.name == "MINIMIZE" else accuracy


class _Study:
    """The study of a sweep, which several processes share. A process locks each run that it trains."""

    def __init__(self, given: Sweep, where: str | None) -> None:
        self._given, self._optuna = given, _optuna()
        self._where, self._name = where or str((given.out / STUDY).absolute()), "sweep"
        if where is not None:  # a database may have several studies
            self._name = f"cuslayer {given.out.as_posix()}"
        self._stat = given.out.stat()
        with self.locked():
            storage, names = _storage(self._optuna, self._where)
            if self._name not in names:
                self._refuse(given.out / STUDY, given.out / TABLE, given.out / FIGURE)
                self._refuse(*(path for number in range(1, given.runs + 1) for path in self._of_run(number)))
                losses = (
                    "training.error.type" in given.keys or given.base["training"]["error"]["type"] == "SpikeTimeLoss"
                )
                direction = "minimize" if losses else "maximize"
                self._optuna.create_study(storage=storage, study_name=self._name, direction=direction)
            self._study = self._optuna.load_study(storage=storage, study_name=self._name)
            self._begin()

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder for the block, which may then change the study and files of the folder."""
        return locked(self._given.out, self._stat, wait=_PATIENCE)

    def _folder(self, number: int) -> Path:
        return self._given.out / f"{number:03d}"

    def _of_run(self, number: int) -> tuple[Path, Path]:
        """Return the files that a new run would replace or go on from."""
        return self._given.out / f"{number:03d}.yaml", self._folder(number) / CHECKPOINT

    def _refuse(self, *paths: Path) -> None:
        """Raise ValueError for a file that is not the sweep's."""
        for path in paths:
            if os.path.lexists(path) and (path.name != STUDY or path.stat().st_size):  # created on opening
                raise ValueError(f"{path} is of no sweep, this one would replace it; move it, or name another folder")

    def _begin(self) -> None:
        """Compare the study with the sweep; mark failed runs, and runs of dead processes, as waiting."""
        given, runs = self._given, self._runs()
        about: Any = {"names": [*given.keys], "search": given.search, "seed": given.seed, "config": given.base}
        about = json.loads(json.dumps(about | {"keys": given.keys}))
        earlier = dict(self._study.user_attrs.get("sweep", about))
        earlier["config"] = load_config(earlier["config"]).document()  # of a version with other keys
        other = changes(earlier, about)
        points = [tuple(runs[number].user_attrs["point"]) for number in sorted(runs)]
        if given.points:  # users may add values to a grid
            same = points == [*given.points[: len(points)]]
            other = [each for each in other if not (same and each.key.startswith("keys"))]
        if len(points) > given.runs or not all(each.among(_PLACES) for each in other):
            raise ValueError(f"{given.out} holds another sweep; name another folder")
        self._study.set_user_attr("sweep", about)
        for number, trial in runs.items():
            if trial.state.name == "RUNNING" and self._is_free(number):
                self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
            elif trial.state.name != "FAIL":
                continue
            self._study.enqueue_trial(trial.params, user_attrs={"run": number, "point": trial.user_attrs["point"]})

    def _is_free(self, number: int) -> bool:
        """Return whether no process trains a run; a run's process may survive its sweep's process."""
        folder = self._folder(number)
        try:
            self._lock(number).release()
            if folder.is_dir():
                Lock(folder / LOCK, folder).release()
        except ValueError:
            return False
        return True

    def _lock(self, number: int) -> Lock:
        folder = self._folder(number)
        if folder.is_symlink():
            raise ValueError(f"{folder} is a link, through which a run would write elsewhere; remove it")
        return Lock(self._given.out / f"{number:03d}.lock", self._folder(number))

    def _runs(self) -> dict[int, Any]:
        """Return the last trial of each run."""
        runs = dict[int, Any]()
        for trial in self._study.get_trials(deepcopy=False):
            if "point" in trial.user_attrs:
                self._check_trial(trial.user_attrs)
                runs[trial.user_attrs["run"]] = trial
        return runs

    def _check_trial(self, noted: Mapping[str, Any]) -> None:
        """Raise ValueError unless a trial's notes, which a file of unknown origin may have, are those of a run."""
        run, point, best = noted.get("run"), noted["point"], noted.get("best")
        right = type(run) is int and 1 <= run <= _MOST and isinstance(point, (list, tuple))
        if not right or len(point) != len(self._given.keys) or not isinstance(noted.get("error", ""), str):
            raise ValueError(f"{self._given.out} has a damaged study: {check.one_line(dict(noted))} is no run of it")
        if best is not None:
            with check.about(f"{self._given.out} has a damaged study"):
                checked_row(EpochStats(*best))

    def next(self) -> tuple[object, int, Lock, list[str]] | None:
        """Return a trial, the number of its run, its lock, and the arguments of `cuslayer train`; None at the end."""
        given = self._given
        with self.locked():
            runs = self._runs()
            if not any(trial.state.name == "WAITING" for trial in runs.values()):
                if len(runs) >= given.runs:
                    return None
                self._refuse(*self._of_run(len(runs) + 1))
                if given.points:
                    self._study.enqueue_trial({}, user_attrs={"run": len(runs) + 1, "point": given.points[len(runs)]})
            seed = int(np.random.default_rng((given.seed, len(runs))).integers(2**31))
            samplers = self._optuna.samplers
            self._study.sampler = (samplers.TPESampler if given.search == "tpe" else samplers.RandomSampler)(seed=seed)
            trial = self._study.ask()
            point = tuple(
                trial.user_attrs["point"] if given.points else (_suggested(trial, *item) for item in given.keys.items())
            )
            number = trial.user_attrs.get("run", len(runs) + 1)
            trial.set_user_attr("run", number)
            trial.set_user_attr("point", point)
            lock = self._lock(number)
            folder = self._folder(number).absolute()
            about = {"study": self._where, "name": self._name, "trial": trial._trial_id, "pruning": given.pruning}
            arguments = ["--trial", json.dumps(about), "--out", str(folder)]
            source = folder.with_name(f"{folder.name}.yaml")
            try:
                text = given.config(point).to_yaml()
            except (ValueError, TypeError):  # the run fails with the same error, and stops no other
                text = json.dumps(given.document(point))
            if (folder / CHECKPOINT).is_file():
                return trial, number, lock, ["--resume", *arguments]
            write_text(given.out / source.name, text)
            return trial, number, lock, [str(source), *arguments]

    def end(self, trial: Any, number: int, lock: Lock, problem: str | None) -> str:
        """Note the end of a run, and return a line about it."""
        with self.locked():
            metrics = self._folder(number) / METRICS
            # The score on the test set stays in the run's folder.
            found = load_stats(metrics) if metrics.is_file() else []
            rows = [replace(row, test_loss=None, test_accuracy=None) for row in found]
            state, best = self._optuna.trial.TrialState, Stats(rows).best
            attributes = self._study.get_trials(deepcopy=False)[trial.number].user_attrs
            point = tuple(attributes["point"])
            if best is not None:
                trial.set_user_attr("best", astuple(best))
            if problem is None and attributes.get("pruned"):
                self._study.tell(trial, state=state.PRUNED)
            elif problem is None and best is not None and goes_on_by(self._given.config(point), Stats(rows)):
                self._study.tell(trial, _value(self._study, best))
            else:
                problem = problem or "the run ended before its last epoch"
                trial.set_user_attr("error", problem)
                self._study.tell(trial, state=state.FAIL)
            lock.release()
            self.write()
        values = ", ".join(
            f"{key} {check.visible(shown(value))}" for key, value in zip(self._given.keys, point, strict=True)
        )
        said = f" failed: {problem}" if problem else f"{' was pruned' if attributes.get('pruned') else ''}: {best}"
        return f"run {number} ({values}){said}"

    def write(self) -> list[Result]:
        """Write the table and the plot of all runs, and return their results; the folder must be locked."""
        results = []
        for number, trial in sorted(self._runs().items()):
            given = trial.user_attrs
            best = EpochStats(*given["best"]) if "best" in given else None
            status = _STATUS[trial.state.name]
            results.append(Result(number, tuple(given["point"]), status, best, given.get("error", "")))
        keys = tuple(self._given.keys)
        head = ["run", *keys, "status", "accuracy", "loss", "epoch", "error"]
        lines = []
        for r in results:
            values = (str(value) if isinstance(value, float) else value for value in r.point)  # all digits
            lines.append([r.number, *values, r.status, r.accuracy, r.loss, r.epoch, r.error])
        write_table(self._given.out / TABLE, head, lines)
        value = "accuracy" if any(r.accuracy is not None for r in results) else "loss"
        rows = [(r.point, float(x)) for r in results if (x := getattr(r, value)) is not None]
        if rows:
            draw, size = partial(sweep_results, keys, rows, value), (3.2 * max(len(keys), 1), 3.0)
            save_figure(self._given.out / FIGURE, lambda figure: draw(figure=figure), size=size)
        return results


def _plain(value: object) -> object:
    """Return a value in a form for studies: lists and mappings as text."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else json.dumps(value)


def _suggested(trial: Any, key: str, values: Any) -> object:
    """Return the value of a key that a sampler chooses."""
    if isinstance(values, list):
        return {_plain(value): value for value in values}[trial.suggest_categorical(key, [*map(_plain, values)])]
    whole = isinstance(values["low"], int) and isinstance(values["high"], int)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(key, values["low"], values["high"], log=values["log"])


def table(keys: tuple[str, ...], results: list[Result]) -> str:
    """Return the results as a table, the best run first."""

    def rank(result: Result) -> tuple[float, float, int]:
        accuracy, loss = result.accuracy, result.loss
        return inf if accuracy is None else -accuracy, inf if loss is None else loss, result.number

    rows = [["run", *keys, "accuracy", "loss", "epoch", ""]]
    for r in sorted(results, key=rank):
        said = "" if r.status == DONE else f"{r.status}{r.error and ': ' + r.error}"
        rows.append([*map(shown, (r.number, *r.point)), *map(shown, (r.accuracy, r.loss, r.epoch)), said])
    return "\n".join(check.columns(rows))


def shown(value: object) -> str:
    """Return a value for display; "" for None."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
