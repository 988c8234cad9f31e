"""`cuslayer convert-ann`: a trained network of numbers becomes a spiking network."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cuslayer import saving
from cuslayer._base import check
from cuslayer._base.files import write_whole
from cuslayer.cli import arguments as shared
from cuslayer.cli.errors import show
from cuslayer.data import load
from cuslayer.data.loader import Loader
from cuslayer.data.time_series import PICTURES
from cuslayer.interchange import Conversion, convert, import_onnx
from cuslayer.interchange.conversion.convert import INPUTS, METHODS, counted
from cuslayer.loss import CrossEntropyLoss
from cuslayer.network.network import Sequential
from cuslayer.optim import Adam, cosine_decay
from cuslayer.training import Trainer

HELP = "convert a trained network of numbers into a spiking network"
DESCRIPTION = """Convert a trained network of numbers into a spiking network, and show the accuracy after each number of
    steps and the error of each layer. With --epochs, the spiking network goes on training. The folder of --out then has
    net.npz, which cuslayer.load reads, and a picture of the accuracy, conversion.png. Recordings of --data are still:
    for a data set of arrays, x in train.npz and test.npz is (recordings, steps, ...), the same at each step."""
EXAMPLES = (
    "cuslayer convert-ann model.onnx --data images --steps 32",
    "cuslayer convert-ann model.onnx --dataset fashion-mnist --data fashion --steps 4 --epochs 2",
    "cuslayer convert-ann quantized.npz --data images --method qcfs",
)
JSON = {
    "steps": "the number of steps",
    "method": "the method",
    "numbers": "the accuracy of the network of numbers",
    "spiking": "the accuracy of the spiking network after each step, a list",
    "trained": "the accuracy after training; null without --epochs",
    "layers": "a list of layers: layer, error, rate and unit",
    "net": "the file of the spiking network",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("model", type=shared.path, metavar="MODEL", help="file: ONNX, or a network of cuslayer.save")
    parser.add_argument("--data", type=shared.path, metavar="DIR", required=True, help="folder of the data set")
    parser.add_argument(
        "--dataset", choices=("arrays", *PICTURES), default="arrays", help="data set, by default arrays: train.npz"
    )
    parser.add_argument("--steps", type=shared.integer, metavar="N", help="steps, by default 32; qcfs sets them itself")
    parser.add_argument("--method", choices=METHODS, default="squares", help="how units are set, by default squares")
    parser.add_argument("--input", choices=INPUTS, default="current", help="coding of the input, by default current")
    parser.add_argument(
        "--recordings", type=shared.integer, metavar="N", default=500, help="recordings that set the units, 500"
    )
    parser.add_argument("--epochs", type=shared.integer, metavar="N", default=0, help="epochs of training afterwards")
    parser.add_argument("--lr", type=shared.number, metavar="X", default=5e-4, help="rate of this training, 0.0005")
    parser.add_argument("--batch", type=shared.integer, metavar="N", default=64, help="its batch, 64")
    parser.add_argument("--out", type=shared.path, metavar="DIR", default="converted", help="folder, converted")
    shared.add_device(parser)
    shared.add_json(parser, JSON)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    epochs = check.integer("--epochs", options.epochs, least=0)
    check.integer("--batch", options.batch, least=1)
    check.positive("--lr", options.lr)
    shared.use_device(options)
    net = _read(options.model)
    train: Any = load(options.dataset, options.data)
    tests: Any = load(options.dataset, options.data, "test")
    conversion = convert(
        net,
        train,
        steps=options.steps,
        method=options.method,
        input=options.input,
        recordings=options.recordings,
    )
    accuracy = conversion.test(tests)
    conversion.accuracy = accuracy
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    figure = conversion.plot()[0].figure
    write_whole(folder / "conversion.png", lambda file: figure.savefig(file, format="png"))
    log = shared.progress_log(options)
    log(str(conversion))
    trained = _train(conversion, train, tests, options, log) if epochs else None
    saved = folder / "net.npz"
    saving.save(conversion.net, saved)
    if options.json:
        layers = [row._asdict() for row in conversion.layers]
        result = {"steps": conversion.steps, "method": conversion.method}
        result |= {"numbers": accuracy.numbers, "spiking": accuracy.spiking.tolist(), "trained": trained}
        return shared.print_json(result | {"layers": layers, "net": str(saved)})
    show(check.visible(str(saved)))


def _train(
    conversion: Conversion, train: Any, tests: Any, options: argparse.Namespace, log: Callable[[str], None]
) -> float:
    """Train the spiking network, and return its accuracy at the last step."""
    optimizer = Adam(conversion.net.parameters(), lr=cosine_decay(options.lr, epochs=options.epochs))
    trainer = Trainer(conversion.net, CrossEntropyLoss("mean"), optimizer, calibrate=None, log=log)
    trainer.fit(conversion.batches(Loader(train, options.batch, shuffle=True)), epochs=options.epochs)
    conversion.net.eval()
    accuracy = float(conversion.test(tests).spiking[-1])
    epochs = counted(options.epochs, "epoch")
    log(f"after {epochs} of training: {accuracy:.2%} after {counted(conversion.steps, 'step')}")
    return accuracy


def _read(path: str) -> Sequential:
    return import_onnx(path) if path.lower().endswith(".onnx") else saving.load(path)
