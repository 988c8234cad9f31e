"""`cuslayer export-c`: the network of a run as C."""

from __future__ import annotations

import argparse
from pathlib import Path

from cuslayer import training
from cuslayer._base import check
from cuslayer.cli import arguments as shared
from cuslayer.cli.errors import show
from cuslayer.interchange import export_c

HELP = "write the network of a run as C"
DESCRIPTION = """Write the network of a run as one file of C99 and its header, which compute the spikes and potentials
    of Python to the bit, without a library. The first recording of the run's test set is in the file: its function
    NAME_selftest runs it and compares."""
EXAMPLES = ("cuslayer export-c runs/1", "cuslayer export-c runs/1 --out firmware --name digits")
JSON = {
    "source": "the C file",
    "header": "its header",
    "ram": "bytes of the state",
    "flash": "bytes of the constants",
    "additions": "weights that are added in a step",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    shared.add_run(parser)
    shared.add_data(parser)
    parser.add_argument(
        "--out", type=shared.path, metavar="DIR", help="folder of the files, by default that of the run"
    )
    parser.add_argument("--name", default="net", help="name of the files, and how all names in them begin")
    shared.add_json(parser, JSON)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = shared.run_of(options)
    folder = Path(options.out) if options.out else found.folder
    folder.mkdir(parents=True, exist_ok=True)
    recording, _, _ = training.example(found, data=options.data)
    written = export_c(found.net, folder / options.name, options.name, recording=recording)
    values = (str(written.source), str(written.header), written.memory, written.flash, written.additions)
    if options.json:
        return shared.print_json(dict(zip(JSON, values, strict=True)))
    show(f"{check.visible(values[0])}, {check.visible(written.header.name)}")
    show(f"RAM {written.memory:,} bytes, flash {written.flash:,} bytes, {written.additions:,.1f} additions a step")
