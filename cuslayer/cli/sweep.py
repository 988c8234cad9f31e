"""`cuslayer sweep`: train many configurations, and write a table and a plot."""

from __future__ import annotations

import argparse

from cuslayer.cli.arguments import add_json, integer, path, print_json, progress_log
from cuslayer.cli.errors import INVALID
from cuslayer.training.sweep import FAILED, Result, load_sweep, sweep, table

HELP = "train many configurations: a grid, random ones, or ones that Optuna chooses; several processes may share them"
INTERRUPTED = "; the same command goes on"
EXAMPLES = ("cuslayer sweep rates.yaml --jobs 4", "cuslayer sweep rates.yaml --study sqlite:///rates.db")
JSON = {
    "run": "the number of the run, whose folder has its name",
    "values": "the values of the keys, by key",
    "status": '"done", "pruned", "failed", "started" or "waiting"',
    "accuracy": "of the best epoch; null before it or without classes",
    "loss": "of the best epoch; null before it",
    "epoch": "the best epoch; null before it",
    "error": "what a failed run said; otherwise empty",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "sweep", type=path, metavar="SWEEP", help="YAML file with config, out, search and keys; see docs/scale.md"
    )
    parser.add_argument("--jobs", type=integer, default=1, metavar="N", help="runs that share the cores, by default 1")
    parser.add_argument(
        "--study",
        type=path,
        metavar="URL",
        help="database of the study, such as sqlite:///sweep.db; by default a file in the folder of the sweep",
    )
    add_json(parser, JSON, many=True)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code: 0, or 2 if a run has failed."""
    given = load_sweep(options.sweep)
    found = sweep(given, jobs=options.jobs, study=options.study, log=progress_log(options))
    if options.json:
        print_json([_row(tuple(given.keys), result) for result in found])
    else:
        print(table(tuple(given.keys), found))
    return INVALID if any(result.status == FAILED for result in found) else 0


def _row(keys: tuple[str, ...], result: Result) -> dict[str, object]:
    """Return the values of `JSON` for a run."""
    values = dict(zip(keys, result.point, strict=True))
    rest = {name: getattr(result, name) for name in ("status", "accuracy", "loss", "epoch", "error")}
    return {"run": result.number, "values": values, **rest}
