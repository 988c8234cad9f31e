"""`cuslayer report`: the HTML page of recordings in the network of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from cuslayer import training
from cuslayer.cli import arguments as shared
from cuslayer.inspection import write_report

HELP = "write the HTML page of a run"
DESCRIPTION = """Write one HTML page with the spikes and potentials of all layers and the explanation of each spike, for
    the given recordings, or for the first one of the run's test set, whose class is known, so that the page has the
    errors too."""
EXAMPLES = ("cuslayer report runs/1", "cuslayer report runs/1 recordings/1.bs2 --out page.html")
JSON = shared.PAGE_JSON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    shared.add_run(parser)
    parser.add_argument(
        "files", type=shared.path, nargs="*", metavar="FILE", help="recording, such as 1.bs2 or a WAV file"
    )
    shared.add_data(parser)
    shared.add_page(parser, "report")
    shared.add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    shared.use_device(options)
    found = shared.run_of(options)
    if options.files and options.data:
        raise ValueError("--data must not be given with files")
    if options.files:
        samples = training.read_batch(found, options.files)
        target = loss = None
        what = ", ".join(Path(file).name for file in options.files)
    else:
        samples, target, what = training.example(found, data=options.data)
        loss = found.config.loss()
    page = shared.page_of(options, "report", found.folder)
    title = f"{found.net.notation}: {what}"
    shared.say_page(options, write_report(found.net, samples, page, target=target, loss=loss, title=title))
