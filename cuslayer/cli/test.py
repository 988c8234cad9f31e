"""`cuslayer test`: the loss and the accuracy of a run on its test set."""

from __future__ import annotations

import argparse

from cuslayer.cli.arguments import add_data, add_device, add_run, run_of, use_device

HELP = "show the loss and the accuracy of a run on its test set"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    add_data(parser)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from cuslayer import training

    use_device(options)
    found = run_of(options)
    score, recordings = training.evaluate(found, data=options.data, progress=True)
    accuracy = "" if score.accuracy is None else f", accuracy {score.accuracy:.2%}"
    what = f"{recordings} recording{'' if recordings == 1 else 's'}"
    within = f" and {found.batches} batches" if found.batches else ""
    print(f"{options.run} at epoch {found.epoch}{within}: {what}, loss {score.loss:.4g}{accuracy}")
