"""`cuslayer train`: train a network and write the results to a folder."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuslayer import data, training
from cuslayer._base import check
from cuslayer._base.keys import key_of, keys
from cuslayer.backend import deferred
from cuslayer.cli import errors
from cuslayer.cli.arguments import add_device, add_json, integer, number, path, print_json, progress_log, use_device
from cuslayer.data.time_series import READERS
from cuslayer.distributed import Context, world
from cuslayer.distributed.context import is_on_all
from cuslayer.inspection import diagnose
from cuslayer.network.notation import rows_first
from cuslayer.network.online.rule import RULES
from cuslayer.optim import Optimizer
from cuslayer.training.config import Config, named_configs
from cuslayer.training.named import kinds_of
from cuslayer.training.run_folder import METRICS
from cuslayer.training.sweep import reporter

HELP = "train a network, by default on the embedded digits"
DESCRIPTION = """Train a network on event recordings and write the results to a folder. Without arguments, train on the
    embedded digits, recorded by a simulated event camera, and write to a new folder under runs/."""
INTERRUPTED = "; --resume goes on from the last checkpoint"
EXAMPLES = (
    "cuslayer train",
    "cuslayer train --epochs 2 --out runs/short",
    "cuslayer train --validation 0.1 --patience 5",
    "cuslayer train net.yaml --data recordings --network 34x34x2-16c5-2a-32c3-2a-64c3-10",
    "cuslayer train shd --data datasets --download",
    "cuslayer train smnist --data mnist --permuted",
    "cuslayer train --resume --out runs/1",
    "mpiexec -n 8 cuslayer train --batch 64",
)
JSON = {
    "run": "the folder of the run",
    "network": "the network in the paper's notation",
    "epoch": "epochs that it has been trained",
    "train_loss": "loss of a sample of the training set in the last epoch",
    "train_accuracy": "accuracy on it; null without classes",
    "validation_loss": "loss of a sample of the validation set after the best epoch; null without one",
    "validation_accuracy": "accuracy on it; null without one, or without classes",
    "test_loss": "loss of a sample of the test set with the weights of the best epoch; null without one",
    "test_accuracy": "accuracy on it; null without one, or without classes",
    "best_epoch": "the epoch of best.npz: the best by validation, without it the last one",
}
_LARGEST = 2**63
# The help of the options for fields of a configuration or its optimizer; their keys have types and ranges.
_FIELDS = {
    "epochs": "number of passes over the training set",
    "batch": "recordings per optimizer step",
    "truncate": "steps of a chunk of time, at whose edge gradients stop, for long recordings",
    "recompute": "steps of a chunk of time that backward runs again, for whole gradients of long recordings in little "
    "memory",
    "lr": "initial learning rate; its schedule stays",
    "clip_norm": "scale the gradients if their common norm is larger than this",
    "clip_value": "clip each element of the gradients to +-this",
    "seed": "seed of weights, sample order, dropout and the choice of validation recordings",
    "validation": "share of the training recordings, such as 0.1, by which the best epoch is chosen and which are not "
    "trained on; or, for a folder of recordings, their list",
    "patience": "end after so many epochs without a better validation score; needs validation",
    "checkpoint_minutes": "write a checkpoint after so many minutes, also within an epoch, by default 5",
    "checkpoint_steps": "write a checkpoint after so many steps, too",
    "micro": "recordings of a micro-batch, the parts of a batch that mpiexec's processes divide, by default 16, or a "
    "quarter of a batch that has fewer than 64",
}
_KEYS = {each.name: (each, key) for each, key, _ in keys(Config)}
_RULES = dict.fromkeys(("lr", "clip_norm", "clip_value"), check.positive)
_RULES |= {name: key.rule for name, (_, key) in _KEYS.items()}


def _configs(prefix: str, **more: object) -> list[str]:
    """Return the completions of CONFIG: the names of configurations, and files."""
    from argcomplete.completers import FilesCompleter

    return [*named_configs(), *FilesCompleter()(prefix)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    config: Any = parser.add_argument(
        "config",
        type=path,
        nargs="?",
        metavar="CONFIG",
        help=f"YAML file with SLAYER's keys, or the name of a configuration: {', '.join(named_configs())}",
    )
    config.completer = _configs
    add = parser.add_argument
    add(
        "--network",
        metavar="NOTATION",
        help="network in place of the configuration's, such as 34x34x2-16c5-2a-32c3-2a-64c3-10: the input, rows x "
        "columns x channels, then NcK convolutions, Ka poolings and N dense layers",
    )
    add(
        "--data",
        type=path,
        metavar="PATH",
        help="folder of numbered recordings in any event format, such as 1.bs2 or 1.h5, with the lists train.txt and "
        "test.txt of lines 'number class', for which the network's input is the sensor; or of N-MNIST's Train/ and "
        "Test/; for a configuration of a known data set, the folder of its files, such as MNIST's, or in which "
        "tonic keeps its data sets; for one of sounds, their npz file",
    )
    add("--download", action="store_true", help="let tonic download the configuration's known data set to --data")
    add("--permuted", action="store_true", help="the pixels of smnist in a fixed random order, psmnist")
    for name, text in _FIELDS.items():
        kind, metavar = (integer, "N") if name in _KEYS and "float" not in _KEYS[name][0].type else (number, "X")
        add(_flag(name), type=_number_or_text if name == "validation" else kind, metavar=metavar, help=text)
    add(
        "--online",
        choices=RULES,
        help="learn forward in time by this rule, in memory that does not grow with the number of steps",
    )
    add(
        "--timeout",
        type=number,
        metavar="X",
        help="seconds for which mpiexec's processes wait for one that does not answer before they end, by default 600",
    )
    add(
        "--optimizer",
        type=lambda text: {name.lower(): name for name in kinds_of(Optimizer)}.get(text.lower(), text),
        choices=list(kinds_of(Optimizer)),
        help="kind of optimizer; learning rate and schedule stay",
    )
    add_device(parser)
    add("--out", type=path, metavar="DIR", help="folder for results, by default a new one under runs/")
    add("--resume", action="store_true", help="continue the run in --out, by default the last one under runs/")
    add(
        "--fast",
        action="store_const",
        const=True,
        help="add the gradients of micro-batches in any order: the bits depend on the number of processes",
    )
    add("--trial", help=argparse.SUPPRESS)  # of `sweep`
    add_json(parser, JSON)


def _number_or_text(text: str) -> float | str:
    try:
        return number(text)
    except ValueError:
        return text


@contextmanager
def _reported(context: Context) -> Iterator[None]:
    """Let process 0 warn, and report errors of all processes; an error of one ends all, with its rank."""
    if context.size == 1:
        yield
        return
    try:
        with warnings.catch_warnings():
            if context.rank:
                warnings.simplefilter("ignore")
            yield
    except Exception as problem:
        if not is_on_all(problem):
            if os.environ.get(errors.TRACEBACK):
                raise  # to the hook of the context, which ends all
            context.fail(*errors.describe(problem))
        if context.rank == 0:
            raise


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code: 0, or 130 and 143 if SIGINT or SIGTERM has stopped it."""
    use_device(options)
    context = world()
    with _reported(context):
        return _run(options, context)
    # All processes have the same error, which process 0 reports.
    return errors.INVALID


@check.operation("train")
def _run(options: argparse.Namespace, context: Context) -> int:
    # A resumed run may be in a folder that only process 0 can read.
    read = context.from_root if options.resume else context.on_each
    config = read(lambda: _config(options))
    if options.timeout is not None:
        context.timeout = options.timeout
    if options.download:
        # tonic prints its downloads on standard output.
        with redirect_stdout(sys.stderr) if options.json else nullcontext():
            context.from_root(lambda: _download(config), patient=True)
    report = None
    if options.trial:
        report = reporter(options.trial, config.epochs)
    with deferred() as stop:
        try:
            log = progress_log(options)
            given: dict[str, Any] = {"resume": options.resume, "stop": stop, "context": context, "report": report}
            out = training.train(config, progress=True, log=log, diagnose=diagnose, **given)
        except training.Stopped as stopped:
            if context.rank == 0:
                errors.say(f"interrupted{_how_to_go_on(options, stopped)}")
        else:
            if stop() and context.rank == 0:
                errors.say(f"interrupted; the run in {out} is complete")
            if options.json and context.rank == 0:
                print_json(_result(out, config))
    return stop.exit_code


def _result(out: Path, config: Config) -> dict[str, object]:
    """Return the values of `JSON` for a complete run."""
    rows = training.load_stats(out / METRICS)
    last, best = rows[-1], training.Stats(rows).best or rows[-1]
    parts = {"train": last, "validation": best, "test": best}
    metrics = {f"{part}_{x}": getattr(row, f"{part}_{x}") for part, row in parts.items() for x in ("loss", "accuracy")}
    named = {"run": str(out), "network": "-".join(rows_first(word).text for word in config.layers), "epoch": last.epoch}
    return {**named, **metrics, "best_epoch": best.epoch}


def _config(options: argparse.Namespace) -> Config:
    """Return the configuration of the arguments."""
    given = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    for name, value in given.items():
        if isinstance(_RULES[name](_flag(name), value), int) and value >= _LARGEST:
            raise ValueError(f"{_flag(name)} must be under 2**63, got {check.one_line(value, 40)}")
    if options.online is not None:
        given["online"] = options.online
    if options.timeout is not None:
        check.positive("--timeout", options.timeout)
    name = "psmnist" if options.permuted and options.config == "smnist" else options.config
    config = training.load_config(name) if name else training.Config()
    if options.resume:
        options.out = str(training.find_run(options.out or config.out))
        # The configuration of the run is used unless another is given.
        if not options.config:
            config = training.config_of_run(Path(options.out))
    if options.optimizer and options.optimizer != config.optimizer.type:
        optimizer, lost = config.optimizer.changed(type=options.optimizer), config.optimizer.lost(options.optimizer)
        if lost and not options.resume:
            names = ", ".join(map(key_of, lost))
            check.warn(f"{options.optimizer} has no {names}, which the configuration sets; dropped")
        config = config.with_options(optimizer=optimizer)
    if options.permuted:
        if config.dataset not in ("smnist", "psmnist"):
            raise ValueError(f"--permuted is for the configuration smnist, got the data set {config.dataset}")
        config = replace(config, dataset="psmnist")
    if {"truncate", "recompute", "online"} & given.keys():  # one replaces the configuration's other
        config = replace(config, truncate=None, recompute=None, online=None)
    more = {name: getattr(options, name) for name in ("network", "data", "out", "fast")}
    return config.with_options(**given, **more)


def _download(config: Config) -> None:
    """Download the data set of a configuration if it is missing."""
    if config.dataset is None or config.data is None:
        got = "none" if config.dataset is None else f"{config.dataset} without --data"
        raise ValueError(f"--download needs the configuration of a known data set and --data ROOT, got {got}")
    if config.dataset in READERS:
        raise ValueError(f"--download is for data sets of tonic; {config.dataset} has its own files, see `data.load`")
    for split in ("train", "test"):
        data.load(config.dataset, config.data, split, download=True)


def _flag(name: str) -> str:
    """Return an option as written."""
    return f"--{name.replace('_', '-')}"


def _how_to_go_on(options: argparse.Namespace, stopped: training.Stopped) -> str:
    """Return the progress of a stopped run, and the command that resumes it."""
    if not stopped.saved:
        return " before the first checkpoint; the same command begins anew"
    device = ["--device", options.device] if options.device else []
    command = shlex.join(["cuslayer", "train", "--resume", "--out", str(stopped.folder), *device])
    within = f", batch {stopped.batches} of epoch {stopped.epoch + 1}" if stopped.batches else ""
    return f" after epoch {stopped.epoch}{within}; to go on: {command}"
