"""What NIR cannot say, or is no graph that can be read, is refused in one line."""

from __future__ import annotations

import io
import itertools
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import Recurrent, Shift

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")
LIF = cs.LIF(tau=7.0)
ONES = np.ones(4)


def refused(message, action):
    with pytest.raises(ValueError, match=re.escape(message)) as found:
        action()
    assert "\n" not in str(found.value)


def test_what_nir_cannot_say(tmp_path):
    def write(*layers, **options):
        return lambda: cs.export_nir(cs.Sequential(*layers), tmp_path / "a.nir", **options)

    dense = cs.Dense(4, 3)
    for message, action in (
        ("without an alpha response and a refractory response; approximate=", write(dense, cs.SRM())),
        ("NIR's neurons are LIF and CubaLIF", write(dense, cs.AdaptiveLIF())),
        ("NIR's neurons are LIF and CubaLIF", write(dense, cs.Loihi())),
        ("not graded", write(dense, cs.LIF(graded=True))),
        ("have reset='zero', not 'subtract'", write(dense, cs.LIF(reset="subtract"))),
        ("have reset='zero', not 'none'", write(dense, cs.CUBA(reset=None))),
        ("have reset='subtract', not 'zero'", write(dense, LIF, dialect="sinabs")),
        ("no neurons with a current", write(dense, cs.CUBA(reset="subtract"), dialect="sinabs")),
        ("must have a square kernel", write(cs.Conv(1, 2, (3, 2)), LIF, input_shape=(5, 5, 1))),
        ("must divide its input of 5", write(cs.Pool(2, gain=1.0), LIF, input_shape=(5, 6, 1))),
        ("neither hooks nor dilation", write(cs.Pool(2, gain=1.0, dilation=2), LIF, input_shape=(6, 6, 1))),
        ("must be neurons: NIR has no gain", write(cs.Pool(2, gain=2.0), cs.Conv(1, 1, 1), LIF, input_shape=(6, 6, 1))),
        (
            "the last pooling layer must have neurons",
            write(cs.Conv(1, 1, 1), LIF, cs.Pool(2, gain=2.0), input_shape=(6, 6, 1)),
        ),
        ("must not advance", write(dense, LIF, Shift(-1.0))),
        ("has no form in NIR", write(dense, LIF, cs.Delay(3, dt=1.0, mode="linear"))),
        ("has no form in NIR", write(dense, LIF, cs.Average(3))),
        (
            "fails at neurons of frames",
            write(cs.Conv(1, 1, 1), cs.LIF(reset="subtract"), input_shape=(4, 4, 1), dialect="sinabs"),
        ),
        ("must divide its input of 1", write(cs.Pool(3, stride=2, gain=1.0), LIF, input_shape=(1, 5, 1))),
        ("neurons must have one dt", write(dense)),
        ("input_shape is needed", write(cs.Conv(1, 1, 1), LIF)),
        ("joins branches", write(cs.Parallel(dense, cs.Dense(4, 3)), LIF, input_shape=4)),
        ("dialect must be", write(dense, LIF, dialect="spyx")),
        ("step must be positive", write(dense, LIF, step=0)),
        ("approximate must be", write(dense, cs.SRM(), approximate=np.zeros(3))),
    ):
        refused(message, action)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="export_nir: net must be a network, got Dense"):
        cs.export_nir(dense, tmp_path / "a.nir")


@pytest.mark.parametrize("dialect", ["snntorch", "norse", "sinabs"])
def test_what_a_reader_does_not_read(tmp_path, dialect):
    """A node that a reader leaves out, or fails at, is not written for it; the cure that the error names works."""
    reset = {"reset": "subtract" if dialect == "sinabs" else "zero"}
    dense, leaky, path = cs.Dense(4, 3), cs.LIF(tau=7.0, **reset), tmp_path / "a.nir"
    delay = cs.Delay(3, dt=1.0)
    for kind, layers in (
        ("Threshold", (dense, cs.LIF(tau=0.01, **reset))),
        ("Threshold", (dense, leaky, cs.Dense(3, 2), cs.LIF(tau=np.array([0.01, 0.002]), **reset))),
        ("Delay", (dense, leaky, Shift(2.0))),
        ("Delay", (dense, leaky, delay, cs.Dense(3, 2), leaky)),
    ):
        refused(
            f"cannot be written: the reader of {dialect} has no {kind}, which it is in NIR; dialect='nir' writes it",
            lambda layers=layers: cs.export_nir(cs.Sequential(*layers), path, dialect=dialect),
        )
    refused("; a time constant of 0.02 ms is LIF there", lambda: cs.export_nir(
        cs.Sequential(dense, cs.LIF(tau=0.01, **reset)), path, dialect=dialect))  # fmt: skip
    if dialect == "norse":
        late = cs.Sequential(cs.Dense(4, 3), Recurrent(cs.Dense(3, 3), LIF, delay=3.0))
        refused("the reader of norse has no Delay", lambda: cs.export_nir(late, path, dialect=dialect))
    if dialect != "snntorch":
        pooled = cs.Sequential(cs.Pool(2, padding=1, gain=1.0), cs.Dense((3, 3, 1), 2), leaky)
        padding = f"must have no padding: the reader of {dialect} leaves it out"
        refused(padding, lambda: cs.export_nir(pooled, path, dialect=dialect, input_shape=(4, 4, 1)))
    assert not list(tmp_path.iterdir())
    cs.export_nir(cs.Sequential(dense, cs.LIF(tau=0.02, **reset)), path, dialect=dialect)
    assert type(nir.read(path).nodes["layer_1_lif"]).__name__ == "LIF"


# The nodes that the reader of each library has, from its source: snntorch 1.0.0, norse 1.1.0, sinabs 3.1.3.
READ = {
    "snntorch": {"Affine", "AvgPool2d", "Conv2d", "CubaLIF", "Flatten", "IF", "LIF", "Linear"},
    "norse": {"Affine", "Conv2d", "CubaLIF", "Flatten", "IF", "LIF", "Linear", "SumPool2d"},
    "sinabs": {"Affine", "Conv1d", "Conv2d", "Flatten", "IF", "LI", "LIF", "SumPool2d"},
}


@pytest.mark.parametrize("dialect", sorted(READ))
def test_every_node_that_is_written_is_read(tmp_path, dialect):
    """All layers that have a form in NIR, one by one: what is not refused is in the reader's list."""
    neurons = {"reset": "subtract" if dialect == "sinabs" else "zero"}
    written = set()
    for layer in (
        *(cs.Dense((4, 4, 2), 3), cs.Dense((4, 4, 2), 3, bias=True), cs.Dropout(0.5), cs.Delay((4, 4, 2), dt=1.0)),
        *(cs.Conv(2, 4, 3, groups=2, dilation=2, padding=2), cs.Pool(2, gain=1.0), cs.Pool(2, padding=1, gain=1.0)),
        *(Shift(1.0), Recurrent(cs.Conv(2, 2, 1), cs.LIF(tau=5.0, **neurons))),
    ):
        for neuron in (cs.LIF(tau=5.0, **neurons), cs.CUBA(5.0, 5.0, **neurons), cs.LIF(tau=0.01, **neurons)):
            after = layer.output_shape((4, 4, 2)) or (4, 4, 2)
            net = cs.Sequential(layer, cs.Dense(after, 2), neuron)
            try:
                cs.export_nir(net, tmp_path / "a.nir", dialect=dialect, input_shape=(4, 4, 2))
            except ValueError:
                continue
            written |= {type(node).__name__ for node in nir.read(tmp_path / "a.nir").nodes.values()}
    assert {"Affine", "Conv2d", "LIF"} <= written
    assert written - {"Input", "Output"} <= READ[dialect]


def lif(**changed):
    return {"type": "LIF", "tau": 5e-3 * ONES, "r": 5 * ONES, "v_leak": 0 * ONES, "v_threshold": ONES} | changed


class Graph:
    """A graph of nodes in a chain, or with edges of its own."""

    def __init__(self, *nodes, edges=None, shape=(4,), **more):
        self.nodes = {"input": {"type": "Input", "shape": np.array(shape)}}
        self.nodes |= {str(number): node for number, node in enumerate(nodes)} | more
        names = list(self.nodes)
        self.edges = [*itertools.pairwise(names)] if edges is None else edges

    def to_dict(self):
        return {"type": "NIRGraph", "nodes": self.nodes, "edges": self.edges}


def test_what_is_no_chain_of_known_nodes():
    linear = {"type": "Linear", "weight": np.ones((4, 4))}
    conv = {"type": "Conv2d", "weight": np.ones((2, 1, 3, 3)), "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    conv |= {"bias": np.zeros(2)}
    pool = {"type": "SumPool2d", "kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": 0}
    flatten = {"type": "Flatten", "start_dim": 0, "end_dim": -1}
    frames = (1, 5, 6)
    cycle = [("input", "0"), ("0", "1"), ("1", "0")]
    for message, graph in (
        ("must be a chain, but for neurons", Graph(linear, lif(), edges=cycle)),
        ("must be a chain, but for neurons", Graph(linear, lif(), edges=[("input", "0"), ("input", "1")])),
        ("got 2 beginnings", Graph(linear, lif(), edges=[("input", "0")])),
        ("but 2 of its nodes are not on it", Graph(linear, linear, edges=[("0", "1"), ("1", "0")])),
        ("has no nodes", Graph(linear, edges=[("input", "x")])),
        ("edges must be pairs", Graph(linear, edges=[("input", "0", "1")])),
        ("node '0' has no graph of NIR", Graph({"type": "NIRGraph"})),
        ("the type of node '0' must be", Graph({"type": "Conv1d"})),
        ("the type of node '0' must be", Graph({"weight": np.ones((4, 4))})),
        ("node '0' has no weight", Graph({"type": "Linear"})),
        ("weight must be (outputs, inputs)", Graph({"type": "Linear", "weight": np.ones(4)})),
        ("weight must be finite numbers", Graph({"type": "Linear", "weight": np.full((4, 4), np.nan)})),
        ("weight is for 3 inputs, got 4", Graph({"type": "Linear", "weight": np.ones((4, 3))})),
        ("bias must have shape (4,)", Graph({"type": "Affine", "weight": np.ones((4, 4)), "bias": np.ones(3)})),
        ("must have a Flatten before it", Graph(linear, shape=frames)),
        ("behind Flatten, where Linear", Graph(flatten, lif(), shape=frames)),
        ("must be (outputs, inputs, rows, columns)", Graph(conv | {"weight": np.ones((2, 2))}, shape=frames)),
        ("needs a stride of 1 and odd", Graph(conv | {"padding": "same", "stride": 2}, shape=frames)),
        ("node 0 is wrong", Graph(conv | {"groups": 3}, shape=frames)),
        ("must divide its input of 5", Graph(pool, shape=frames)),
        ("the shape (C, H, W) of its input", Graph(pool)),
        ("delay must not be negative", Graph({"type": "Delay", "delay": -ONES})),
        ("has no v_threshold", Graph(linear, {"type": "LIF", "tau": ONES})),
        ("tau must be finite", Graph(linear, lif(tau=np.inf * ONES))),
        (
            "tau must be above the step of the dialect nir, 0.001, got 0.0005; dialect='snntorch' has a shorter step",
            Graph(linear, lif(tau=np.array([5e-3, 5e-4, 6e-4, 1.0]))),
        ),
        (
            "tau must be above the step of the dialect nir, 0.001, got 0.001; dialect='snntorch' has a shorter step",
            Graph(linear, lif(tau=1e-3 * ONES)),
        ),
        (
            "tau_syn must be above the step of the dialect nir, 0.001, got 5e-05",
            Graph(linear, lif(type="CubaLIF", tau_mem=1e-2 * ONES, tau_syn=5e-5 * ONES)),
        ),
        ("must divide its input of 1", Graph(pool | {"kernel_size": np.array([3, 3])}, shape=(1, 1, 5))),
        ("v_reset must be v_leak", Graph(linear, lif(v_reset=0.5 * ONES))),
        ("thresholds must be above the leak", Graph(linear, lif(v_threshold=-ONES))),
        ("r and w_in must be positive", Graph(linear, lif(r=-ONES))),
        ("one for all, or for each channel", Graph(lif(r=np.array([1.0, 2.0, 3.0, 4.0])))),
    ):
        refused(message, lambda graph=graph: cs.import_nir(graph))
    refused("step must be positive", lambda: cs.import_nir(Graph(linear), step=-1.0))
    refused("dialect must be", lambda: cs.import_nir(Graph(linear), dialect="lava"))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "a.nir"
    refused("is no file", lambda: cs.import_nir(path))
    path.write_bytes(b"nothing")
    refused("is damaged or no HDF5", lambda: cs.import_nir(path))
    with h5py.File(path, "w") as file:
        file["version"] = "1"
    refused("it has no graph of NIR", lambda: cs.import_nir(path))
    cs.export_nir(cs.Sequential(cs.Dense(64, 64), LIF), path)
    refused("max_bytes= reads them", lambda: cs.import_nir(path, max_bytes=1000))
    with pytest.raises(TypeError, match="import_nir"):
        cs.import_nir(3)


def test_a_long_chain_is_read(tmp_path):
    """The names of nodes sort in their order, and its edges are within what a file's structure may take to be read."""
    layers = [layer for _ in range(120) for layer in (cs.Dense(2, 2), LIF)]
    cs.export_nir(cs.Sequential(*layers), tmp_path / "a.nir")
    assert len(cs.import_nir(tmp_path / "a.nir").layers) == 240
    names = list(nir.read(tmp_path / "a.nir").nodes)
    assert names == sorted(names)


def test_nir_is_an_extra(tmp_path, monkeypatch):
    import sys

    net = cs.Sequential(cs.Dense(3, 2), LIF)
    cs.export_nir(net, tmp_path / "a.nir")
    graph = nir.read(tmp_path / "a.nir")
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r"export_nir: nir is not installed; pip install 'cuslayer\[nir\]'"):
        cs.export_nir(net, io.BytesIO())
    assert len(cs.import_nir(tmp_path / "a.nir").layers) == len(cs.import_nir(graph).layers) == 2
