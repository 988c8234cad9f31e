"""`cuslayer demo`: the HTML page in which the network of a run recognizes drawn digits."""

from __future__ import annotations

import argparse

from cuslayer.cli.arguments import PAGE_JSON, add_page, add_run, page_of, run_of, say_page
from cuslayer.inspection import write_demo

HELP = "write an HTML page in which the network recognizes drawn digits"
DESCRIPTION = """Write one HTML page, which works without a network connection: draw a digit in it, an event camera is
    simulated that sees it, the network of the run runs in the page and decides, and a click on a spike shows why its
    neuron fired. The input of the network must be frames (H, W, 2)."""
EXAMPLES = ("cuslayer demo runs/1", "cuslayer demo runs/1 --best --out digits.html")
JSON = PAGE_JSON


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    add_page(parser, "demo")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = run_of(options)
    page = page_of(options, "demo", found.folder)
    say_page(options, write_demo(found.net, page, duration=found.config.duration))
