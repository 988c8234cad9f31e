"""`cuslayer demo`: the HTML page in which the network of a run recognizes drawn digits."""

from __future__ import annotations

import argparse

from cuslayer.cli.arguments import add_page, add_run, page_of, run_of

HELP = "write an HTML page in which the network recognizes drawn digits"
DESCRIPTION = """Write one HTML page, which works without a network connection: draw a digit in it, an event camera is
    simulated that sees it, the network of the run runs in the page and decides, and a click on a spike shows why its
    neuron fired. The input of the network must be frames (H, W, 2)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    add_page(parser, "demo")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from cuslayer.inspection import demo

    found = run_of(options)
    print(demo(found.net, page_of(options, "demo", found.folder), duration=found.config.duration))
