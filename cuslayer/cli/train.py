"""`cuslayer train`: train a network and write the results to a folder."""

from __future__ import annotations

import argparse

from cuslayer.cli.arguments import add_device, use_device

HELP = "train a network, by default on the embedded digits"
DESCRIPTION = """Train a network on event recordings and write the results to a folder. Without arguments, train on the
    embedded digits, recorded by a simulated event camera, and write to a new folder under runs/."""
INTERRUPTED = "; --resume goes on from the last whole epoch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="YAML file with SLAYER's keys")
    parser.add_argument(
        "--network",
        metavar="NOTATION",
        help="network in place of the configuration's, such as 34x34x2-16c5-2a-32c3-2a-64c3-10: the input, rows x "
        "columns x channels, then NcK convolutions, Ka poolings and N dense layers",
    )
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of numbered recordings in any event format, such as 1.bs2 or 1.h5, with the lists train.txt and "
        "test.txt of lines 'number class', for which the network's input is the sensor; or of N-MNIST's Train/ and "
        "Test/",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="number of passes over the training set")
    parser.add_argument("--batch", type=int, metavar="N", help="recordings per optimizer step")
    parser.add_argument("--lr", type=float, metavar="X", help="initial learning rate")
    parser.add_argument(
        "--clip-norm", type=float, metavar="X", help="scale the gradients if their common norm is larger than this"
    )
    parser.add_argument("--clip-value", type=float, metavar="X", help="clip each element of the gradients to +-this")
    add_device(parser)
    parser.add_argument("--seed", type=int, metavar="N", help="seed of weights, sample order and dropout")
    parser.add_argument("--out", metavar="DIR", help="folder for results, by default a new one under runs/")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in --out, by default the last one under runs/"
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    from cuslayer import check, training

    use_device(options)
    for name in ("epochs", "batch"):
        if getattr(options, name) is not None:
            check.integer("train", f"--{name}", getattr(options, name), least=1)
    for name in ("lr", "clip_norm", "clip_value"):
        if getattr(options, name) is not None:
            check.positive("train", f"--{name.replace('_', '-')}", getattr(options, name))
    if options.seed is not None:
        check.integer("train", "--seed", options.seed, least=0)
    path = options.config
    if options.resume:
        folder = training.find_run(options.out)
        options.out = str(folder)
        # The configuration of the run is used unless another is given.
        path = path or folder / training.CONFIG
    config = training.load_config(path) if path else training.Config()
    names = ("network", "data", "epochs", "batch", "lr", "clip_norm", "clip_value", "seed", "out")
    config = config.with_options(**{name: getattr(options, name) for name in names})
    training.train(config, resume=options.resume, progress=True, log=lambda line: print(line, flush=True))
