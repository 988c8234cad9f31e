"""`cuslayer quantize`: what a run loses with integers of some widths."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuslayer import plot, training
from cuslayer._base import check
from cuslayer.cli import arguments as shared
from cuslayer.cli.errors import show
from cuslayer.interchange import compare_twin, export_c, quantize
from cuslayer.training.data_of_run import load_data

HELP = "show what the network of a run loses with integer weights"
DESCRIPTION = """Make the integer twin of a run's network for each width. Show its accuracy on the test set, the spikes
    of each layer that moved on the first recording, the first of them and why, and what it needs in C. The first batch
    sets the range of its states and inputs. A picture in the folder of the run has the accuracies and the moved
    spikes."""
EXAMPLES = ("cuslayer quantize runs/1", "cuslayer quantize runs/1 --bits 8 4 3 --states 32")
JSON = {
    "bits": "bits of a weight; null for the network in float",
    "accuracy": "the share of right classes on the test set; null without classes",
    "loss": "the mean loss of a recording",
    "moved": "by layer the share of its spikes that moved on the first recording",
    "first": "the first spike that differs, a text; null for none",
    "ram": "bytes of the state in C",
    "flash": "bytes of the constants in C",
    "additions": "weights that are added in a step",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    shared.add_run(parser)
    shared.add_data(parser)
    parser.add_argument(
        "--bits", type=shared.integer, nargs="+", default=[8, 4, 3], metavar="N", help="bits of a weight, 8 4 3"
    )
    add_states(parser)
    parser.add_argument(
        "--out", type=shared.path, metavar="PICTURE", help="picture, by default quantize.png of the run"
    )
    shared.add_json(parser, JSON, many=True)


def add_states(parser: argparse.ArgumentParser) -> None:
    """Add the option for the bits of a state."""
    parser.add_argument("--states", type=shared.integer, default=16, metavar="N", help="bits of a state, 16 or 32")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = shared.run_of(options)
    recording, _, _ = training.example(found, data=options.data)
    batch = batch_of(found, options)
    rows = [_row(found, options, None, recording, batch)]
    rows += [_row(found, options, bits, recording, batch) for bits in options.bits]
    picture = Path(options.out) if options.out else found.folder / "quantize.png"
    plot.integer_widths(rows).figure.savefig(picture)
    if options.json:
        return shared.print_json(rows)
    for row in rows:
        what = "float" if row["bits"] is None else f"{row['bits']} bits"
        accuracy = "" if row["accuracy"] is None else f", accuracy {row['accuracy']:.2%}"
        needs = f"RAM {row['ram']:,}, flash {row['flash']:,} bytes, {row['additions']:,.1f} additions a step"
        show(f"{what}: loss {row['loss']:.4g}{accuracy}; {needs}")
        for layer, share in row["moved"].items():
            show(f"  layer {layer}: {share:.2%} of spikes moved")
        if row["first"]:
            show(f"  first {row['first']}")
    show(check.visible(str(picture)))


def batch_of(found: training.Run, options: argparse.Namespace) -> Any:
    """Return a batch of inputs, by which the points of states are set."""
    data = load_data(found.config.with_options(data=options.data), found.net, other=options.data is not None)
    x, *_ = next(iter(data.train if data.test is None else data.test))
    return x


def _row(
    found: training.Run, options: argparse.Namespace, bits: int | None, recording: Any, batch: Any
) -> dict[str, Any]:
    """Return a row of the result: of the network in float, or of its twin."""
    net: Any = found.net
    moved: dict[str, float] = {}
    first = None
    if bits is not None:
        net = quantize(found.net, batch, weights=bits, states=options.states)
        comparison = compare_twin(found.net, net, recording)
        moved = {each.layer: each.share for each in comparison.moved}
        first = None if comparison.first is None else str(comparison.first)
    score, _ = training.evaluate(replace(found, net=net), data=options.data)
    with tempfile.TemporaryDirectory() as folder:
        written = export_c(net, f"{folder}/net", recording=recording)
    values = (bits, score.accuracy, score.loss, moved, first, written.memory, written.flash, written.additions)
    return dict(zip(JSON, values, strict=True))
