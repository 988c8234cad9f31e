"""ONNX files: equal to the reference program of the package onnx, drawn networks, and files that are refused."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest

import cuslayer as cs

onnx = pytest.importorskip("onnx")
helper = onnx.helper
arrays = onnx.numpy_helper
reference = pytest.importorskip("onnx.reference")

FLOAT = onnx.TensorProto.FLOAT


def normal(name, *shape, scale=0.3, seed=0):
    rng = np.random.default_rng(seed + len(name) + sum(shape))
    return arrays.from_array((scale * rng.standard_normal(shape)).astype(np.float32), name)


def positive(name, size):
    return arrays.from_array(np.random.default_rng(size).uniform(0.5, 2, size).astype(np.float32), name)


def integers(name, *values):
    return arrays.from_array(np.array(values, np.int64), name)


def model(nodes, shape, constants=(), opset=17):
    """Return a model with the input x (N, ...) and the output y."""
    x = helper.make_tensor_value_info("x", FLOAT, ("N", *shape))
    y = helper.make_tensor_value_info("y", FLOAT, None)
    graph = helper.make_graph(list(nodes), "net", [x], [y], list(constants))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets)


def node(operator, inputs, output, **attributes):
    domain = "ai.onnx.ml" if operator in ("Scaler", "LinearClassifier", "LinearRegressor") else ""
    return helper.make_node(
        operator, inputs.split(), output.split(), name=f"the {operator}", domain=domain, **attributes
    )


def read(proto, folder):
    path = folder / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return cs.import_onnx(path)


def check_equal(proto, shape, folder, first=True):
    """Check a network against the reference program of onnx; frames are (C, H, W) in the file if `first`."""
    x = np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)
    wanted = reference.ReferenceEvaluator(proto).run(None, {"x": x})[0]
    net = read(proto, folder)
    ours = x.transpose(0, 2, 3, 1) if first and x.ndim == 4 else x
    y = net(ours[None]).data[0]
    if wanted.ndim == 4:
        wanted = wanted.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(y.reshape(wanted.shape), wanted, atol=1e-5 * abs(wanted).max())
    return net


NORM = [normal("gain", 4, scale=1.0), normal("offset", 4), normal("mean", 4), positive("var", 4)]
FILES = {
    "convolutions": (
        (2, 9, 8),
        [
            node("Conv", "x w b", "a", strides=[2, 1], pads=[1, 1, 1, 1], dilations=[1, 2]),
            node("BatchNormalization", "a gain offset mean var", "c"),
            node("Relu", "c", "d"),
            node("MaxPool", "d", "e", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Conv", "e grouped", "f", group=2, auto_pad="SAME_UPPER"),
            node("Clip", "f zero", "g"),
            node("AveragePool", "g", "h", kernel_shape=[2, 2]),
            node("Flatten", "h", "i"),
            node("Gemm", "i dense bias", "j", transB=1, alpha=0.5, beta=2.0),
            node("Softmax", "j", "y"),
        ],
        [normal("w", 4, 2, 3, 3), normal("b", 4), *NORM, normal("grouped", 6, 2, 3, 3), normal("dense", 5, 6 * 2 * 2)],
    ),
    "a residual network": (
        (4, 6, 6),
        [
            node("BatchNormalization", "x gain offset mean var", "n"),
            node("Conv", "n w", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "b"),
            node("Conv", "b v", "c", pads=[1, 1, 1, 1]),
            node("Add", "c n", "d"),
            node("Relu", "d", "e"),
            node("Conv", "e one", "f", strides=[2, 2]),
            node("Conv", "e two", "g", strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Concat", "f g", "h", axis=1),
            node("GlobalAveragePool", "h", "i"),
            node("Shape", "i", "s"),
            node("Gather", "s first", "n0"),
            node("Unsqueeze", "n0 axis", "n1"),
            node("Concat", "n1 rest", "size", axis=0),
            node("Reshape", "i size", "j"),
            node("MatMul", "j dense", "k"),
            node("Add", "k bias", "y"),
        ],
        [
            *(*NORM, normal("w", 4, 4, 3, 3), normal("v", 4, 4, 3, 3), normal("one", 2, 4, 1, 1)),
            *(normal("two", 3, 4, 3, 3), arrays.from_array(np.array(0), "first"), integers("axis", 0)),
            *(integers("rest", -1), normal("dense", 5, 7), normal("bias", 7)),
        ],
    ),
    "transposed to convolutions and back": (
        (7, 6, 3),
        [
            node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
            node("Mul", "a scale", "m"),
            node("Conv", "m w", "b"),
            node("Relu", "b", "c"),
            node("Transpose", "c", "d", perm=[0, 2, 3, 1]),
            node("Reshape", "d flat", "e"),
            node("MatMul", "e dense", "y"),
        ],
        [
            *(normal("scale", 3, 1, 1, scale=1.0), normal("w", 4, 3, 3, 3), integers("flat", -1, 80)),
            normal("dense", 80, 5),
        ],
    ),
    "features": (
        (6,),
        [
            node("Scaler", "x", "a", offset=[0.5] * 6, scale=[1.0, 2.0, 3.0, 0.5, 1.5, 1.0]),
            node("MatMul", "a w", "b"),
            node("Add", "bias b", "c"),
            node("Dropout", "c", "d"),
            node("Relu", "d", "e"),
            node("Sub", "e bias", "f"),
            node("Gemm", "f v", "y"),
        ],
        [normal("w", 6, 8), normal("bias", 8), normal("v", 8, 3)],
    ),
}
FILES["convolutions"][2].extend([arrays.from_array(np.float32(0), "zero"), normal("bias", 5)])


@pytest.mark.parametrize("name", FILES)
def test_equal_to_the_reference(name, tmp_path):
    shape, nodes, constants = FILES[name]
    proto = model(nodes, shape, constants)
    if name == "convolutions":
        # The softmax at the end is left out.
        proto.graph.node[-1].op_type = "Identity"
    net = check_equal(proto, shape, tmp_path, first="transposed" not in name)
    if name == "convolutions":
        proto.graph.node[-1].op_type = "Softmax"
        assert str(read(proto, tmp_path)) == str(net)
    assert all(p.requires_grad and p.dtype == np.float32 for p in net.parameters())


@pytest.mark.all
@pytest.mark.parametrize("seed", range(12))
def test_drawn_networks(seed, tmp_path):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers([1, 6, 6], [4, 12, 12]).tolist())
    channels, value, nodes, constants = shape[0], "x", [], []

    def add(operator, inputs, **attributes):
        output = f"v{len(nodes)}"
        nodes.append(node(operator, inputs, output, **attributes))
        return output

    def weight(*sizes):
        constants.append(normal(f"w{len(constants)}", *sizes, seed=seed))
        return constants[-1].name

    for _ in range(rng.integers(1, 4)):
        outputs = int(rng.integers(2, 6))
        kernel = int(rng.choice([1, 3]))
        attributes = {"pads": [kernel // 2] * 4, "dilations": [1, 1]}
        value = add("Conv", f"{value} {weight(outputs, channels, kernel, kernel)} {weight(outputs)}", **attributes)
        channels = outputs
        value = add("Relu", value)
        if rng.random() < 0.5:
            inner = add("Conv", f"{value} {weight(channels, channels, 3, 3)}", pads=[1] * 4)
            value = add("Relu", add("Add", f"{value} {inner}"))
        if rng.random() < 0.5:
            value = add(str(rng.choice(["MaxPool", "AveragePool"])), value, kernel_shape=[2, 2])
    value = add("Flatten", add("GlobalAveragePool", value))
    nodes.append(node("Gemm", f"{value} {weight(channels, 3)}", "y"))
    check_equal(model(nodes, shape, constants), shape, tmp_path)


def test_it_stands_before_spiking_layers(tmp_path):
    shape, nodes, constants = FILES["features"]
    net = read(model(nodes, shape, constants), tmp_path)
    cs.seed(0)
    whole = cs.Sequential(net, cs.Dense(3, 4, weight_scale=4.0), cs.LIF())
    for p in net.parameters():
        p.requires_grad = False
    x = np.random.default_rng(0).standard_normal((9, 2, 6)).astype(np.float32)
    whole(x).sum().backward()
    assert whole[1].weight.grad.any()
    assert all(p.grad is None for p in net.parameters())
    conversion = cs.convert(net, x[:1], steps=64)
    mean = conversion.net(conversion.encode(x[0])).data.mean(axis=0)
    wanted = net(x[:1]).data[0]
    assert abs(mean - wanted).max() < 0.1 * abs(wanted).max()


def small():
    nodes = [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Flatten", "b", "c"), node("Gemm", "c d", "y")]
    return model(nodes, (1, 8, 8), [normal("w", 4, 1, 3, 3), normal("d", 144, 5)])


def outside(location, length=144, shape=(4, 1, 3, 3)):
    """Return the small model with a weight in another file."""
    proto = small()
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    proto.graph.initializer[0].CopyFrom(tensor)
    return proto


def of(*nodes, constants=()):
    return model(nodes, (1, 8, 8), [*small().graph.initializer, *constants])


def with_weight(tensor):
    proto = small()
    proto.graph.initializer[0].CopyFrom(tensor)
    return proto


def nested(deep):
    """Return a model of subgraphs within subgraphs, as bytes."""

    def varint(value):
        parts = []
        while value > 127:
            parts.append(value & 127 | 128)
            value >>= 7
        return bytes([*parts, value])

    def field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    graph = b""
    for _ in range(deep):
        attribute = field(1, b"body") + field(6, graph) + varint(20 << 3) + varint(5)
        graph = field(1, field(4, b"Loop") + field(2, b"y") + field(5, attribute))
    return field(7, graph)


HUGE = onnx.TensorProto(name="w", data_type=FLOAT, dims=(10**6, 10**6))
HOSTILE = {
    "a folder above": (lambda: outside("../secret"), "is in the file '../secret', which is not read"),
    "an absolute path": (lambda: outside("/etc/passwd"), "which is not read"),
    "another name": (lambda: outside("other.data"), "which is not read"),
    "a link": (lambda: outside("net.link"), "no plain file"),
    "a pipe": (lambda: outside("net.pipe"), "no plain file"),
    "too short": (lambda: outside("net.data", 4000, (4, 1, 10, 25)), "reaches beyond the 144 bytes"),
    "terabytes outside": (lambda: outside("net.data", 4 * 10**12, (10**6, 10**6)), "reaches beyond"),
    "terabytes": (lambda: with_weight(HUGE), "must have 1000000000000 numbers"),
    "a shape below 0": (
        lambda: with_weight(onnx.TensorProto(name="w", data_type=FLOAT, dims=(-4, 1, 3, 3))),
        "has the shape (-4, 1, 3, 3)",
    ),
    "texts": (
        lambda: with_weight(onnx.TensorProto(name="w", data_type=onnx.TensorProto.STRING, dims=(1,))),
        "must have numbers",
    ),
    "not finite": (
        lambda: with_weight(arrays.from_array(np.full((4, 1, 3, 3), np.nan, np.float32), "w")),
        "must be finite",
    ),
    "a cycle": (lambda: of(node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")), "no node before"),
    "nothing before": (lambda: of(node("Relu", "z", "y")), "takes 'z'"),
    "the same output": (lambda: of(node("Relu", "x", "y"), node("Relu", "y", "y")), "another node has"),
    "a constant of terabytes": (
        lambda: of(
            node("ConstantOfShape", "size", "k"), node("Add", "x k", "y"), constants=[integers("size", 10**6, 10**6)]
        ),
        "too large",
    ),
    "pads of terabytes": (lambda: of(node("Conv", "x w", "y", pads=[10**12] * 4)), "4 pads from 0 to 4,096"),
    "deep": (lambda: nested(10_000), "is damaged"),
    "a subgraph": (lambda: nested(3), "must have one input"),
    "unknown": (lambda: of(node("Tanh", "x", "y")), "node 'the Tanh' (Tanh) is not read"),
    "a rectifier of six": (
        lambda: of(
            node("Clip", "x low high", "y"),
            constants=[arrays.from_array(np.float32(0), "low"), arrays.from_array(np.float32(6), "high")],
        ),
        "node 'the Clip' (Clip) clips from",
    ),
    "another opset": (lambda: model([node("Relu", "x", "y")], (1, 8, 8), opset=999), "must have an opset"),
    "softmax within": (lambda: of(node("Softmax", "x", "a"), node("Relu", "a", "y")), "at the end of a network only"),
    "an attribute of another type": (lambda: of(node("Conv", "x w", "y", strides="many")), "strides"),
    "a moved batch": (lambda: of(node("Transpose", "x", "y", perm=[1, 0, 2, 3])), "moves the batch"),
    "a name that is no text": (
        lambda: small().SerializeToString().replace(b"the Relu", b"the\xffRelu"),
        "a name in it is no text",
    ),
    "empty": (lambda: b"", "has no network"),
    "another file": (lambda: b"\x89PNG\r\n" + bytes(range(256)), "is damaged"),
}


def check_refused(path, said=""):
    with pytest.raises(ValueError, match=r"^import_onnx: ") as caught:
        cs.import_onnx(path)
    text = str(caught.value)
    assert said in text
    assert text.isprintable()
    assert len(text.replace(str(path), "")) < 600


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name, tmp_path):
    make, said = HOSTILE[name]
    (tmp_path / "net.data").write_bytes(bytes(144))
    (tmp_path.parent / "secret").write_bytes(bytes(144))
    if "link" in name or "pipe" in name:
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        (tmp_path / "net.link").symlink_to(tmp_path / "net.data")
        os.mkfifo(tmp_path / "net.pipe")
    content = make()
    path = tmp_path / "net.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    tracemalloc.start()
    try:
        check_refused(path, said)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_weights_beside_the_file(tmp_path):
    (tmp_path / "net.data").write_bytes(arrays.to_array(small().graph.initializer[0]).tobytes())
    inside = read(small(), tmp_path)
    beside = read(outside("net.data"), tmp_path)
    np.testing.assert_array_equal(beside[0].weight.data, inside[0].weight.data)


def test_truncated_files(tmp_path):
    whole = small().SerializeToString()
    path = tmp_path / "net.onnx"
    for part in range(20):
        path.write_bytes(whole[: len(whole) * part // 20])
        check_refused(path)
