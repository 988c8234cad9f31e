"""`cuslayer demo`: the HTML page in which the network of a run recognizes drawn digits."""

from __future__ import annotations

import argparse
from pathlib import Path

from cuslayer.cli.arguments import add_run

HELP = "write an HTML page in which the network recognizes drawn digits"
DESCRIPTION = """Write one HTML page, which works without a network connection: draw a digit in it, an event camera is
    simulated that sees it, the network of the run runs in the page and decides, and a click on a spike shows why its
    neuron fired. The input of the network must be frames (H, W, 2)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_run(parser)
    parser.add_argument("--out", metavar="PAGE", help="file to write, by default demo.html in the folder of the run")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from cuslayer import training
    from cuslayer.inspection import demo

    found = training.load_run(options.run)
    page = Path(options.out) if options.out else found.folder / "demo.html"
    if not page.parent.is_dir():
        raise ValueError(f"demo: folder {page.parent} does not exist")
    print(demo(found.net, page, duration=found.config.duration))
