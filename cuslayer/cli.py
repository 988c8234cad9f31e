"""The command line: `cuslayer train` and `cuslayer info`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from cuslayer import backend


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 2 for bad input, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "info":
            _info()
        else:
            _train(options)
    except (ValueError, TypeError, OSError, ImportError) as problem:
        print(f"cuslayer: {' '.join(str(problem).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cuslayer: interrupted; --resume goes on from the last whole epoch", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cuslayer", description="Train spiking neural networks by SLAYER.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser(
        "train",
        help="train a network; with no argument, on the embedded digits",
        description="Train a network on spikes. With no argument it learns the embedded digits, as an event camera "
        "sees them, and writes its results to a new folder under runs/.",
    )
    train.add_argument("config", nargs="?", metavar="CONFIG", help="a YAML file with SLAYER's keys")
    train.add_argument(
        "--data", metavar="DIR", help=".bs2 files with a training and a test list, or N-MNIST's Train/ and Test/"
    )
    train.add_argument("--epochs", type=int, metavar="N", help="how often the training set is seen")
    train.add_argument("--batch", type=int, metavar="N", help="recordings a step")
    train.add_argument("--lr", type=float, metavar="X", help="the learning rate")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where to compute")
    train.add_argument("--seed", type=int, metavar="N", help="of weights, order and dropout")
    train.add_argument("--out", metavar="DIR", help="the folder for results")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    commands.add_parser("info", help="say what this installation is and where it computes")
    return parser


def _train(options: argparse.Namespace) -> None:
    from cuslayer import check, training

    if options.device:
        backend.use(options.device)
    for name in ("epochs", "batch"):
        if getattr(options, name) is not None:
            check.integer("train", f"--{name}", getattr(options, name), least=1)
    if options.lr is not None:
        check.positive("train", "--lr", options.lr)
    if options.seed is not None:
        check.integer("train", "--seed", options.seed, least=0)
    path = options.config
    if options.resume:
        folder = training.find_run(options.out)
        options.out = str(folder)
        # A run goes on as it was begun.
        path = path or folder / training.CONFIG
    config = training.load_config(path) if path else training.Config()
    names = ("data", "epochs", "batch", "lr", "seed", "out")
    config = config.with_options(**{name: getattr(options, name) for name in names})
    training.train(config, resume=options.resume, progress=True, log=lambda line: print(line, flush=True))


def _info() -> None:
    rows = [("cuslayer", _version("cuslayer")), ("python", platform.python_version()), ("system", platform.platform())]
    rows += [(name, _version(name)) for name in ("numpy", "numba")]
    problem = backend._driver_problem()
    rows += [("cupy", problem or backend.cupy().__version__), ("device", backend.device_name())]
    for name, value in rows:
        print(f"{name:<10}{value}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
