"""`cuslayer demo`: the HTML page in which the network of a run answers drawings and recordings."""

from __future__ import annotations

import argparse

from cuslayer.cli.arguments import PAGE_JSON, add_data, add_page, add_run, page_of, run_of, say_page
from cuslayer.inspection import write_demo
from cuslayer.training.load import recordings

HELP = "write an HTML page in which the network answers drawings and recordings"
DESCRIPTION = """Write one HTML page, which works without a network connection: draw in it, or choose one of the
    recordings of the run's test set that it carries. The network of the run runs in the page and decides, and a click
    on a spike shows why its neuron fired. Drawings are for networks that take frames."""
EXAMPLES = ("cuslayer demo runs/1", "cuslayer demo runs/1 --best --out digits.html")
JSON = PAGE_JSON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    add_data(parser)
    add_page(parser, "demo")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = run_of(options)
    page = page_of(options, "demo", found.folder)
    over, window = found.config.decision
    chosen = recordings(found, data=options.data)
    made = write_demo(found.net, page, recordings=chosen, duration=found.config.duration, over=over, window=window)
    say_page(options, made)
