"""`cuslayer test`: the loss and the accuracy of a run on its test set."""

from __future__ import annotations

import argparse

from cuslayer import training
from cuslayer._base import check
from cuslayer.cli.arguments import add_data, add_device, add_json, add_run, print_json, run_of, use_device
from cuslayer.cli.errors import show

HELP = "show the loss and the accuracy of a run on its test set"
EXAMPLES = ("cuslayer test runs/1", "cuslayer test runs/1 --best --json", "cuslayer test runs/1 --data recordings")
JSON = {
    "run": "the run, as it was given",
    "epoch": "epochs that its weights have been trained",
    "batches": "batches beyond these, of a checkpoint within an epoch",
    "recordings": "the number of recordings",
    "loss": "the mean loss of a recording",
    "accuracy": "the share of right classes, 0 to 1; null without classes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    add_data(parser)
    add_device(parser)
    add_json(parser, JSON)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    use_device(options)
    found = run_of(options)
    score, recordings = training.evaluate(found, data=options.data, progress=True)
    if options.json:
        values = (options.run, found.epoch, found.batches, recordings, score.loss, score.accuracy)
        return print_json(dict(zip(JSON, values, strict=True)))
    accuracy = "" if score.accuracy is None else f", accuracy {score.accuracy:.2%}"
    what = f"{recordings} recording{'' if recordings == 1 else 's'}"
    within = f" and {found.batches} batches" if found.batches else ""
    show(f"{check.visible(options.run)} at epoch {found.epoch}{within}: {what}, loss {score.loss:.4g}{accuracy}")
