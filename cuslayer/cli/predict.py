"""`cuslayer predict`: the classes of recordings, in files or of the test set, as a table or as JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cuslayer import training
from cuslayer._base import check
from cuslayer.cli.arguments import add_device, add_json, add_run, integer, path, print_json, run_of, use_device
from cuslayer.cli.errors import BOLD, painted

HELP = "show the classes of recordings"
DESCRIPTION = """Show the class of each recording, its probability, the number of spikes of each output (or its
    read-out), and the time of the decision in ms: from then on, the class had most spikes. A recording without a spike
    of the output has no class."""
EXAMPLES = ("cuslayer predict runs/1 --test 0", "cuslayer predict runs/1 recordings/*.bs2 --best --json")
JSON = {
    "file": "the recording, as it was given, or its name in the test set",
    "class": "the class of most spikes, from 0; null without a spike",
    "counts": "the number of spikes of each output, or its read-out",
    "time_ms": "from when on the class had most spikes, in ms; null without a spike",
    "confidence": "the probability of the class, 0 to 1; null without a spike",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    parser.add_argument("files", type=path, nargs="*", metavar="FILE", help="recording, such as 1.bs2 or a WAV file")
    help_of_test = "recording N of the run's test set, from 0, and no FILE"
    parser.add_argument("--test", type=integer, metavar="N", help=help_of_test)
    add_json(parser, JSON, many=True)
    add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    use_device(options)
    if bool(options.files) == (options.test is not None):
        raise ValueError("either FILE or --test N must be given, got " + ("both" if options.files else "none"))
    of_run = run_of(options)
    if options.files:
        found = training.predict(of_run, options.files)
    else:
        found = [training.predict_test(of_run, options.test)]
    if options.json:
        print_json([dict(zip(JSON, (p.file, p.label, p.counts, p.time, p.confidence), strict=True)) for p in found])
    else:
        head, *rows = _table(found)
        print(painted(head, BOLD, sys.stdout), *rows, sep="\n")


def _table(found: Sequence[training.Prediction]) -> list[str]:
    """Return the lines of a table."""
    counts = [[f"{count:g}" for count in p.counts] for p in found]
    widths = [max(map(len, column)) for column in zip(*counts, strict=True)]
    joined = [" ".join(c.rjust(width) for c, width in zip(row, widths, strict=True)) for row in counts]
    heads = ("file", "class", "confidence", "time (ms)", "counts")
    rows = [
        (p.file, _text(p.label), "-" if p.confidence is None else f"{p.confidence:.1%}", _text(p.time), row)
        for p, row in zip(found, joined, strict=True)
    ]
    return check.columns((heads, *rows), left=True)


def _text(value: object) -> str:
    return "-" if value is None else f"{value:g}"
