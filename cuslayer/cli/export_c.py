"""`cuslayer export-c`: the network of a run as C."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cuslayer import training
from cuslayer._base import check
from cuslayer.cli import arguments as shared
from cuslayer.cli.errors import show
from cuslayer.cli.quantize import add_states, batch_of
from cuslayer.interchange import export_c, quantize

HELP = "write the network of a run as C"
DESCRIPTION = """Write the network of a run as one file of C99 and its header, which compute the spikes and potentials
    of Python to the bit, without a library; with --bits, of its integer twin. The first recording of the run's test set
    is in the file: its function NAME_selftest runs it and compares."""
EXAMPLES = (
    "cuslayer export-c runs/1",
    "cuslayer export-c runs/1 --out firmware --name digits",
    "cuslayer export-c runs/1 --bits 8",
    "cuslayer export-c runs/1 --learns",
)
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
    parser.add_argument("--bits", type=shared.integer, metavar="N", help="integer weights of so many bits, 2 to 8")
    parser.add_argument("--learns", action="store_true", help="write NAME_learn, too: the network learns in C")
    add_states(parser)
    shared.add_json(parser, JSON)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = shared.run_of(options)
    folder = Path(options.out) if options.out else found.folder
    folder.mkdir(parents=True, exist_ok=True)
    recording, _, _ = training.example(found, data=options.data)
    net: Any = found.net
    if options.bits is not None:
        net = quantize(net, batch_of(found, options), weights=options.bits, states=options.states)
    written = export_c(net, folder / options.name, options.name, recording=recording, learns=options.learns)
    values = (str(written.source), str(written.header), written.memory, written.flash, written.additions)
    if options.json:
        return shared.print_json(dict(zip(JSON, values, strict=True)))
    show(f"{check.visible(values[0])}, {check.visible(written.header.name)}")
    show(f"RAM {written.memory:,} bytes, flash {written.flash:,} bytes, {written.additions:,.1f} additions a step")
