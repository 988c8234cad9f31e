"""`cuslayer sweep`: train many configurations, and write a table and a plot."""

from __future__ import annotations

import argparse

HELP = "train many configurations: a grid or a random search over keys, which goes on where it was interrupted"
INTERRUPTED = "; the same command goes on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("sweep", metavar="SWEEP", help="YAML file with config, out, search and keys; see docs/scale.md")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time, which divide the cores, by default 1"
    )
    parser.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster, whose workers train")


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit code: 0, or 2 if a run has failed."""
    from cuslayer.training.sweep import load_sweep, sweep
    from cuslayer.training.sweep.table import DONE, table

    given = load_sweep(options.sweep)
    found = sweep(given, jobs=options.jobs, dask=options.dask, log=lambda line: print(line, flush=True))
    print(table(given.keys, found))
    return 0 if all(result.status == DONE for result in found) else 2
