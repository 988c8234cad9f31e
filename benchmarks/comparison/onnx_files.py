"""ONNX files of torch, Keras and scikit-learn, and what onnxruntime makes of them, in the peers' environment.

python -m comparison.onnx_files torch FOLDER      # or keras, sklearn, drawn

Writes for each network NAME.onnx, and NAME.npz with the input, the output of onnxruntime, how the input's axes are
ordered, and what the file computes last.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES = 3
DRAWN = 30


def judge(folder: Path, name: str, x: np.ndarray, axes: str, end: str = "logits", output: int = 0) -> None:
    """Run a file by onnxruntime, and write input and output beside it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    fixed = given.shape[0] == 1
    batches = [x[sample : sample + 1] for sample in range(len(x))] if fixed else [x]
    y = np.concatenate([np.asarray(session.run(None, {given.name: batch})[output]) for batch in batches])
    np.savez(folder / f"{name}.npz", x=x, y=y, axes=axes, end=end)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype(np.float32)


def torch_networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return torch's networks by name, with the shape of their input."""
    import torch
    import torchvision
    from torch import nn

    class Viewed(nn.Module):
        """A network that flattens as people do."""

        def __init__(self, how: str) -> None:
            super().__init__()
            self.how = how
            self.conv = nn.Conv2d(1, 4, 5)
            self.pool = nn.MaxPool2d(2)
            self.one = nn.Linear(4 * 12 * 12, 20)
            self.two = nn.Linear(20, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.pool(torch.relu(self.conv(x)))
            if self.how == "view":
                x = x.view(x.size(0), -1)
            elif self.how == "reshape":
                x = x.reshape(-1, 4 * 12 * 12)
            else:
                x = torch.flatten(x, 1)
            return nn.functional.log_softmax(self.two(torch.relu(self.one(x))), dim=1)

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.norm_one = nn.BatchNorm2d(outputs)
            self.two = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.norm_two = nn.BatchNorm2d(outputs)
            changed = stride != 1 or inputs != outputs
            self.beside = nn.Conv2d(inputs, outputs, 1, stride) if changed else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.norm_one(self.one(x)))
            return torch.relu(self.norm_two(self.two(y)) + self.beside(x))

    class Before(nn.Module):
        """Normalization and activation before each convolution, and branches that are concatenated."""

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.left = nn.Conv2d(8, 4, 3, padding=1)
            self.right = nn.Sequential(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1, groups=2))
            self.last = nn.Linear(10, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.norm(self.first((x - 0.5) / 0.25)))
            x = torch.cat([self.left(x), self.right(x)], dim=1)
            return self.last(x.clamp(min=0).mean(dim=(2, 3)))

    def mlp() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 5))

    def cnn() -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Dropout(0.2), nn.MaxPool2d(3, 2, 1)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5), nn.Softmax(dim=1)),
        )

    def signal() -> nn.Module:
        return nn.Sequential(
            *(nn.Conv1d(2, 6, 5, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2)),
            *(nn.Conv1d(6, 8, 3, dilation=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)),
        )

    def residual() -> nn.Module:
        blocks = (Block(3, 8, 1), Block(8, 8, 1), Block(8, 16, 2))
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))

    def depthwise() -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8)),
            *(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()),
            *(nn.BatchNorm1d(64), nn.Linear(64, 5), nn.Sigmoid()),
        )

    def ceiled() -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
            *(nn.ZeroPad2d((1, 0, 0, 1)), nn.Conv2d(4, 6, (3, 2), padding=(0, 1)), nn.ReLU()),
            *(nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(6 * 5 * 5, 4)),
        )

    torch.manual_seed(0)
    return {
        "mlp": (mlp(), (3, 4, 4)),
        "cnn": (cnn(), (3, 16, 16)),
        "viewed": (Viewed("view"), (1, 28, 28)),
        "reshaped": (Viewed("reshape"), (1, 28, 28)),
        "flattened": (Viewed("flatten"), (1, 28, 28)),
        "residual": (residual(), (3, 16, 16)),
        "preactivated": (Before(), (3, 10, 12)),
        "signal": (signal(), (2, 40)),
        "depthwise": (depthwise(), (3, 16, 16)),
        "ceiled": (ceiled(), (1, 20, 20)),
        "resnet18": (torchvision.models.resnet18(weights=None), (3, 64, 64)),
        "squeezenet": (torchvision.models.squeezenet1_1(weights=None), (3, 64, 64)),
        "densenet121": (torchvision.models.densenet121(weights=None), (3, 64, 64)),
        "googlenet": (torchvision.models.googlenet(weights=None, init_weights=False), (3, 64, 64)),
        "resnext50": (torchvision.models.resnext50_32x4d(weights=None), (3, 64, 64)),
        "mnasnet": (torchvision.models.mnasnet0_5(weights=None), (3, 64, 64)),
        "inception": (torchvision.models.inception_v3(weights=None, init_weights=False), (3, 128, 128)),
    }


def shuffle_statistics(net: Any) -> None:
    """Give normalizations constants that are not 0 and 1."""
    import torch

    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
            torch.nn.init.uniform_(module.weight, 0.8, 1.2)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)


def write_torch(folder: Path) -> None:
    """Write torch's networks by both exporters, with a batch of any size and of one sample."""
    import torch

    # The last layer of these networks, and of those that are not named none.
    ends = {"cnn": "softmax", "depthwise": "sigmoid"} | dict.fromkeys(
        ("viewed", "reshaped", "flattened"), "log_softmax"
    )
    for name, (net, shape) in torch_networks().items():
        net.eval()
        shuffle_statistics(net)
        x = random(*shape)
        given = torch.from_numpy(x[:1])
        axes = "first" if len(shape) == 3 else "signal"
        size = "huge" if sum(p.numel() for p in net.parameters()) > 2**20 else "small"
        for exporter in ("script", "script any batch", "dynamo", "dynamo any batch"):
            if size == "huge" and "any" in exporter:
                continue
            file = f"torch {name}, {exporter}"
            options: dict[str, Any] = {"dynamo": "dynamo" in exporter}
            if exporter == "script any batch":
                options |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
            if exporter == "dynamo any batch":
                options |= {"dynamic_shapes": ({0: torch.export.Dim.DYNAMIC},)}
                given = torch.from_numpy(x[:2])
            try:
                torch.onnx.export(net, (given,), str(folder / f"{file}.onnx"), **options)
            except Exception as problem:
                print(f"{file}: torch cannot write it: {type(problem).__name__}", file=sys.stderr)
                continue
            judge(folder, file, x, axes, ends.get(name, "logits"))


def keras_networks() -> dict[str, tuple[Any, str]]:
    """Return networks of Keras by name, with what they compute last."""
    import keras
    from keras import layers

    def residual() -> Any:
        x = keras.Input((16, 16, 3))
        y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        z = layers.Conv2D(8, 3, padding="same", activation="relu")(y)
        z = layers.Conv2D(8, 3, padding="same")(z)
        y = layers.Activation("relu")(layers.Add()([z, y]))
        y = layers.Concatenate()([layers.MaxPooling2D(2)(y), layers.AveragePooling2D(2)(y)])
        y = layers.GlobalAveragePooling2D()(y)
        return keras.Model(x, layers.Dense(5)(y))

    keras.utils.set_random_seed(0)
    found = {
        "mlp": (
            keras.Sequential([keras.Input((12,)), layers.Dense(20, "relu"), layers.Dense(5, "softmax")]),
            "softmax",
        ),
        "images": (
            keras.Sequential(
                [
                    *(keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(20, "relu"), layers.Dropout(0.5)),
                    *(layers.BatchNormalization(), layers.Dense(5)),
                ]
            ),
            "logits",
        ),
        "cnn": (
            keras.Sequential(
                [
                    *(keras.Input((28, 28, 1)), layers.Rescaling(1 / 2, 0.1), layers.Conv2D(8, 3, activation="relu")),
                    *(layers.MaxPooling2D(2), layers.BatchNormalization(), layers.Conv2D(12, 3, activation="relu")),
                    *(layers.AveragePooling2D(2), layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, "softmax")),
                ]
            ),
            "softmax",
        ),
        "padded": (
            keras.Sequential(
                [
                    *(keras.Input((17, 18, 3)), layers.ZeroPadding2D(((0, 1), (1, 2))), layers.Conv2D(8, 3, 2)),
                    *(layers.ReLU(), layers.MaxPooling2D(3, 2, "same"), layers.DepthwiseConv2D(3, padding="same")),
                    *(layers.ReLU(), layers.Conv2D(6, 3, 2, "same"), layers.Flatten(), layers.Dense(4, "sigmoid")),
                ]
            ),
            "sigmoid",
        ),
        "signal": (
            keras.Sequential(
                [
                    *(keras.Input((40, 2)), layers.Conv1D(6, 5, padding="same", activation="relu")),
                    *(layers.MaxPooling1D(2), layers.Conv1D(8, 3, 2, "same", activation="relu")),
                    *(layers.GlobalAveragePooling1D(), layers.Dense(3)),
                ]
            ),
            "logits",
        ),
        "residual": (residual(), "logits"),
        "resnet50v2": (keras.applications.ResNet50V2(weights=None, input_shape=(64, 64, 3), classes=10), "softmax"),
    }
    for net, _ in found.values():
        generator = np.random.default_rng(0)
        for layer in net.layers:
            if isinstance(layer, layers.BatchNormalization):
                gain, offset, mean, variance = layer.get_weights()
                layer.set_weights(
                    [generator.uniform(0.8, 1.2, gain.shape)]
                    + [generator.normal(0, 0.1, each.shape) for each in (offset, mean)]
                    + [generator.uniform(0.8, 1.2, variance.shape)]
                )
    return found


def write_keras(folder: Path) -> None:
    """Write networks of Keras by Keras itself, and by tf2onnx."""
    import keras
    import tensorflow
    import tf2onnx

    for name, (net, end) in keras_networks().items():
        shape = net.input_shape[1:]
        # Keras writes only a network that has run.
        net(random(*shape))
        axes = {1: "features", 2: "signal last", 3: "last"}[len(shape)]
        for writer in ("keras", "tf2onnx"):
            file = f"{writer} {name}"
            try:
                if writer == "keras":
                    net.export(str(folder / f"{file}.onnx"), format="onnx", verbose=False)
                else:
                    signature = [tensorflow.TensorSpec((None, *shape), tensorflow.float32, name="x")]
                    function = tensorflow.function(lambda x, net=net: net(x, training=False), input_signature=signature)
                    tf2onnx.convert.from_function(
                        function, input_signature=signature, output_path=str(folder / f"{file}.onnx")
                    )
            except Exception as problem:
                print(f"{file}: not written: {type(problem).__name__}: {str(problem)[:200]}", file=sys.stderr)
                continue
            judge(folder, file, random(*shape), axes, end)
    print(f"keras {keras.__version__} on {keras.backend.backend()}", file=sys.stderr)


def write_sklearn(folder: Path) -> None:
    """Write models of scikit-learn by skl2onnx."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    generator = np.random.default_rng(0)
    features = generator.normal(2.0, 3.0, (200, 6)).astype(np.float32)
    three = (features[:, 0] > 2).astype(int) + (features[:, 1] > 2)
    two = (features[:, 0] > features[:, 1]).astype(int)
    number = (features @ generator.normal(size=(6, 2))).astype(np.float32)
    scaled = make_pipeline(StandardScaler(), MLPClassifier((9,), max_iter=30))
    models = {
        "MLPClassifier": (MLPClassifier((12, 8), max_iter=30), three, "softmax", 1),
        "MLPClassifier of two": (MLPClassifier((12,), max_iter=30), two, "pair", 1),
        "MLPRegressor": (MLPRegressor(hidden_layer_sizes=(12, 8), max_iter=30), number, "logits", 0),
        "scaled MLPClassifier": (
            scaled,
            three,
            "softmax",
            1,
        ),
        "scaled MLPRegressor": (
            make_pipeline(MinMaxScaler(), MLPRegressor(hidden_layer_sizes=(9,), max_iter=30)),
            number,
            "logits",
            0,
        ),
        "LogisticRegression": (LogisticRegression(), three, "softmax", 1),
        "LogisticRegression of two": (make_pipeline(StandardScaler(), LogisticRegression()), two, "pair", 1),
        "LinearRegression": (LinearRegression(), number, "logits", 0),
    }
    x = generator.normal(2.0, 3.0, (5, 6)).astype(np.float32)
    for name, (model, labels, end, output) in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(features, labels)
        for zipmap in (True, False) if output else (True,):
            options = {id(model): {"zipmap": zipmap}} if output else None
            file = f"skl2onnx {name}{'' if zipmap else ', arrays'}"
            (folder / f"{file}.onnx").write_bytes(to_onnx(model, x[:1], options=options).SerializeToString())
            plain = file
            if output and zipmap:
                # onnxruntime gives dictionaries for it: the probabilities are those without ZipMap.
                plain = f"{file}, for its output"
                content = to_onnx(model, x[:1], options={id(model): {"zipmap": False}}).SerializeToString()
                (folder / f"{plain}.onnx").write_bytes(content)
            judge(folder, plain, x, "features", end, output)
            if plain != file:
                (folder / f"{plain}.npz").rename(folder / f"{file}.npz")
                (folder / f"{plain}.onnx").unlink()


def write_drawn(folder: Path) -> None:
    """Write networks of torch whose layers are drawn at random."""
    import torch

    for seed in range(DRAWN):
        torch.manual_seed(seed)
        net, shape = drawn(np.random.default_rng(seed))
        net.eval()
        shuffle_statistics(net)
        x = np.random.default_rng(seed).normal(size=(SAMPLES, *shape)).astype(np.float32)
        file = f"drawn {seed:02d}"
        dynamo = seed % 2 == 1
        torch.onnx.export(net, (torch.from_numpy(x[:1]),), str(folder / f"{file}.onnx"), dynamo=dynamo)
        judge(folder, file, x, "first")


def drawn(r: np.random.Generator) -> tuple[Any, tuple[int, int, int]]:
    """Return a network of drawn layers, and the shape of its input."""
    import torch
    from torch import nn

    class Branches(nn.Module):
        def __init__(self, join: str, *branches: nn.Module) -> None:
            super().__init__()
            self.join = join
            self.branches = nn.ModuleList(branches)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs = [branch(x) for branch in self.branches]
            return torch.cat(outputs, 1) if self.join == "concatenate" else sum(outputs[1:], outputs[0])

    def some(inputs: int, deep: int) -> tuple[list[nn.Module], int]:
        layers: list[nn.Module] = []
        channels = inputs
        for _ in range(int(r.integers(1, 4))):
            kind = r.choice(["conv", "conv", "norm", "relu", "pool", "branches", "dropout"])
            if kind == "conv":
                groups = int(r.choice([1, 1, 2])) if channels % 2 == 0 else 1
                outputs = 2 * int(r.integers(1, 6))
                size = int(r.choice([1, 3, 5]))
                gap = int(r.choice([1, 1, 2]))
                padding = gap * (size // 2)
                bias = bool(r.random() < 0.5)
                layers.append(nn.Conv2d(channels, outputs, size, 1, padding, gap, groups, bias))
                channels = outputs
            elif kind == "norm":
                layers.append(nn.BatchNorm2d(channels))
            elif kind == "relu":
                layers.append(nn.ReLU())
            elif kind == "dropout":
                layers.append(nn.Dropout(0.3))
            elif kind == "pool":
                size = int(r.choice([2, 3]))
                make = nn.MaxPool2d if r.random() < 0.5 else nn.AvgPool2d
                layers.append(make(size, 1, size // 2) if size == 3 else nn.ReLU())
            elif deep < 2:
                join = str(r.choice(["add", "concatenate"]))
                parts = [some(channels, deep + 1) for _ in range(int(r.integers(2, 4)))]
                ends = [nn.Conv2d(outputs, 4, 1) for _, outputs in parts]
                branches = [nn.Sequential(*inner, end) for (inner, _), end in zip(parts, ends, strict=True)]
                layers.append(Branches(join, *branches))
                channels = 4 if join == "add" else 4 * len(parts)
        return layers, channels

    shape = (int(r.integers(1, 4)), int(r.integers(8, 14)), int(r.integers(8, 14)))
    layers: list[nn.Module] = []
    channels = shape[0]
    for _ in range(int(r.integers(1, 4))):
        inner, channels = some(channels, 0)
        layers += inner
    layers.append(nn.Conv2d(channels, 8, 3, int(r.integers(1, 3)), int(r.integers(0, 2))))
    layers.append(nn.ReLU())
    if r.random() < 0.5:
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6)]
    else:
        size = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).numel()
        layers += [nn.Flatten(), nn.Linear(size, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 6)]
    return nn.Sequential(*layers), shape


def main(kind: str, folder: str) -> None:
    writers: dict[str, Callable[[Path], None]] = {
        "torch": write_torch,
        "keras": write_keras,
        "sklearn": write_sklearn,
        "drawn": write_drawn,
    }
    writers[kind](Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
