"""The command line: `cuslayer train` and `cuslayer info`."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from cuslayer import backend


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 for invalid input, 130 if interrupted."""
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
    parser = argparse.ArgumentParser(prog="cuslayer", description="Train spiking neural networks with SLAYER.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser(
        "train",
        help="train a network, by default on the embedded digits",
        description="Train a network on event recordings and write the results to a folder. Without arguments, train "
        "on the embedded digits, recorded by a simulated event camera, and write to a new folder under runs/.",
    )
    train.add_argument("config", nargs="?", metavar="CONFIG", help="YAML file with SLAYER's keys")
    train.add_argument(
        "--data",
        metavar="DIR",
        help="folder of .bs2 files with training and test lists, or of N-MNIST's Train/ and Test/",
    )
    train.add_argument("--epochs", type=int, metavar="N", help="number of passes over the training set")
    train.add_argument("--batch", type=int, metavar="N", help="recordings per optimizer step")
    train.add_argument("--lr", type=float, metavar="X", help="initial learning rate")
    train.add_argument("--device", choices=("auto", "cpu", "cuda"), help="device to compute on")
    train.add_argument("--seed", type=int, metavar="N", help="seed of weights, sample order and dropout")
    train.add_argument("--out", metavar="DIR", help="folder for results, by default a new one under runs/")
    train.add_argument(
        "--resume", action="store_true", help="continue the run in --out, by default the last one under runs/"
    )
    commands.add_parser("info", help="show versions and the device in use")
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
        # The configuration of the run is used unless another is given.
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
