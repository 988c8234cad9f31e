"""What NIR cannot say, or is no graph that can be read, is refused in one line."""

import io
import itertools
import re
import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.interchange.nir.neurons import DIALECTS
from cuslayer.layers import Recurrent, Shift
from tests.support.refused import refuses

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
        ("not graded", write(dense, cs.LIF(graded=True))),
        ("have reset='zero', not 'subtract'", write(dense, cs.LIF(reset="subtract"))),
        ("have reset='subtract', not 'zero'", write(dense, LIF, dialect="sinabs")),
        ("no neurons with a current", write(dense, cs.CUBA(reset="subtract"), dialect="sinabs")),
        ("must have a square kernel", write(cs.Conv(1, 2, (3, 2)), LIF, input_shape=(5, 5, 1))),
        ("must divide its input of 5", write(cs.SumPool(2, gain=1.0), LIF, input_shape=(5, 6, 1))),
        ("neither hooks nor dilation", write(cs.SumPool(2, gain=1.0, dilation=2), LIF, input_shape=(6, 6, 1))),
        (
            "must be neurons: NIR has no gain",
            write(cs.SumPool(2, gain=2.0), cs.Conv(1, 1, 1), LIF, input_shape=(6, 6, 1)),
        ),
        (
            "the last pooling layer must have",
            write(cs.Conv(1, 1, 1), LIF, cs.SumPool(2, gain=2.0), input_shape=(6, 6, 1)),
        ),
        ("no dense layer that maps each place of (4, 4, 1)", write(cs.Dense(1, 3), LIF, input_shape=(4, 4, 1))),
        ("must not advance", write(dense, LIF, Shift(-1.0))),
        ("has no form in NIR", write(dense, LIF, cs.Delay(3, dt=1.0, mode="linear"))),
        (
            "fails at neurons of frames",
            write(cs.Conv(1, 1, 1), cs.LIF(reset="subtract"), input_shape=(4, 4, 1), dialect="sinabs"),
        ),
        ("must have no dilation: NIR's mean has none", write(cs.AvgPool(2, dilation=2), LIF, input_shape=(6, 6, 1))),
        ("MaxPool((2, 2)), has no form in NIR", write(cs.MaxPool(2), LIF, input_shape=(6, 6, 1))),
        ("must divide its input of 1", write(cs.SumPool(3, stride=2, gain=1.0), LIF, input_shape=(1, 5, 1))),
        ("neurons must have one dt", write(dense)),
        ("input_shape is needed", write(cs.Conv(1, 1, 1), LIF)),
        ("joins branches", write(cs.Parallel(dense, cs.Dense(4, 3)), LIF, input_shape=4)),
        ("dialect must be", write(dense, LIF, dialect="spyx")),
        ("step must be positive", write(dense, LIF, step=0)),
        ("approximate must be", write(dense, cs.SRM(), approximate=np.zeros(3))),
    ):
        refused(message, action)
    assert not list(tmp_path.iterdir())
    with refuses("export_nir: net must be a network"):
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
        mean = cs.Sequential(cs.AvgPool(2), leaky)
        absent = f"the reader of {dialect} has no AvgPool2d, which it is in NIR; dialect='nir' writes it"
        refused(absent, lambda: cs.export_nir(mean, path, dialect=dialect, input_shape=(4, 4, 1)))
        pooled = cs.Sequential(cs.SumPool(2, padding=1, gain=1.0), cs.Dense((3, 3, 1), 2), leaky)
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


def test_every_node_that_is_written_is_read():
    """What a dialect may write, its reader has."""
    for name, read in READ.items():
        assert set(DIALECTS[name].reads) <= read
        assert {"Affine", "Conv2d", "LIF"} <= set(DIALECTS[name].reads)


class NIRGraph:
    """A graph as nir has it, of nodes in a chain, or with edges of its own; nir checks none of its shapes."""

    def __init__(self, *nodes, edges=None, shape=(4,), **more):
        self.nodes = {"input": nir.Input(np.array(shape))}
        self.nodes |= {str(number): node for number, node in enumerate(nodes)} | more
        self.edges = [*itertools.pairwise(self.nodes)] if edges is None else edges


def lif(**changed):
    fields = {"tau": 5e-3 * ONES, "r": 5 * ONES, "v_leak": 0 * ONES, "v_threshold": ONES}
    return nir.LIF(**{**fields, **changed})


def linear(weight, bias=None):
    return nir.Linear(weight) if bias is None else nir.Affine(weight, np.asarray(bias))


def test_what_is_no_chain_of_known_nodes():
    eye, frames = linear(np.ones((4, 4))), (1, 5, 6)

    def conv(weight=(2, 1, 3, 3), padding=0, stride=1, groups=1):
        return nir.Conv2d(None, np.ones(weight), stride, padding, 1, groups, np.zeros(2))

    def pool(*sides):
        return nir.SumPool2d(np.array(sides), np.array([2, 2]), np.array(0))

    flatten = nir.Flatten(input_type=np.array(frames), start_dim=0, end_dim=-1)
    cuba = nir.CubaLIF(tau_mem=1e-2 * ONES, tau_syn=5e-5 * ONES, r=ONES, v_leak=0 * ONES, v_threshold=ONES)
    cycle = [("input", "0"), ("0", "1"), ("1", "0")]
    short = "tau must be above the step of the dialect nir, 0.001, got 0.0005; dialect='snntorch' has a shorter step"
    for message, graph in (
        ("must be a chain, but for neurons", NIRGraph(eye, lif(), edges=cycle)),
        ("must be a chain, but for neurons", NIRGraph(eye, lif(), edges=[("input", "0"), ("input", "1")])),
        ("got 2 beginnings", NIRGraph(eye, lif(), edges=[("input", "0")])),
        ("but 2 of its nodes are not on it", NIRGraph(eye, eye, edges=[("0", "1"), ("1", "0")])),
        ("has no nodes", NIRGraph(eye, edges=[("input", "x")])),
        ("the type of node '0' must be", NIRGraph(nir.Scale(ONES))),
        ("weight must be (outputs, inputs)", NIRGraph(linear(np.ones((4, 4, 1))))),
        *(
            (f"node '0': {name} must be {rule}", NIRGraph(node))
            for value, rule in ((np.nan, "finite"), (np.inf, "finite"), (1e300, "at most 3.4e+38"))
            for name, node in (
                ("weight", linear(np.full((4, 4), value))),
                ("bias", linear(np.ones((4, 4)), np.full(4, value))),
                ("weight", nir.Conv2d(None, np.full((2, 1, 3, 3), value), 1, 0, 1, 1, np.zeros(2))),
                ("delay", nir.Delay(np.full(4, value))),
                ("r", lif(r=np.full(4, value))),
                ("v_threshold", lif(v_threshold=np.full(4, value))),
            )
        ),
        *(
            (
                f"delay in steps of 0.001 must be whole numbers from 0 to 65,535, got {steps:g}",
                NIRGraph(nir.Delay(1e-3 * steps * ONES)),
            )
            for steps in (-3, 1.5, 1e30, 65536)
        ),
        ("node '0': groups must be whole numbers from 1", NIRGraph(conv(groups=1.5), shape=frames)),
        ("node 'input': shape must be whole numbers from 1", NIRGraph(eye, shape=(2.5,))),
        (
            "node '1': weight times r and w_in must be finite",
            NIRGraph(linear(np.full((4, 4), 1e30)), lif(r=1e30 * np.arange(1, 5))),
        ),
        ("weight is for 3 inputs, got 4", NIRGraph(linear(np.ones((4, 3))))),
        ("bias must have shape (4,)", NIRGraph(linear(np.ones((4, 4)), np.ones(3)))),
        ("must have a Flatten before it", NIRGraph(eye, shape=frames)),
        ("behind Flatten, where Linear", NIRGraph(flatten, lif(), shape=frames)),
        ("must be (outputs, inputs, rows, columns)", NIRGraph(conv((2, 2)), shape=frames)),
        ("needs a stride of 1 and odd", NIRGraph(conv(padding="same", stride=2), shape=frames)),
        ("needs a stride of 1 and odd", NIRGraph(conv((2, 1, 3, 2), padding="same"), shape=frames)),
        ("node '0' is wrong", NIRGraph(conv(groups=3), shape=frames)),
        ("must divide its input of 5", NIRGraph(pool(2, 2), shape=frames)),
        ("must divide its input of 1", NIRGraph(pool(3, 3), shape=(1, 1, 5))),
        ("the shape (C, H, W) of its input", NIRGraph(pool(2, 2))),
        (short, NIRGraph(eye, lif(tau=np.array([5e-3, 5e-4, 6e-4, 1.0])))),
        ("0.001, got 0.001; dialect='snntorch' has", NIRGraph(eye, lif(tau=1e-3 * ONES))),
        ("tau_syn must be above the step of the dialect nir, 0.001, got 5e-05", NIRGraph(eye, cuba)),
        ("v_reset must be v_leak", NIRGraph(eye, lif(v_reset=0.5 * ONES))),
        ("thresholds must be above the leak", NIRGraph(eye, lif(v_threshold=-ONES))),
        ("r and w_in must be positive", NIRGraph(eye, lif(r=-ONES))),
        ("one for all, or for each channel", NIRGraph(lif(r=np.array([1.0, 2.0, 3.0, 4.0])))),
    ):
        refused(message, lambda graph=graph: cs.import_nir(graph))
    refused("step must be positive", lambda: cs.import_nir(NIRGraph(eye), step=-1.0))
    refused("dialect must be", lambda: cs.import_nir(NIRGraph(eye), dialect="lava"))


LOOP = [("input", "0"), ("0", "1"), ("1", "2"), ("2", "1"), ("1", "3")]


def test_loops_that_cannot_be_read():
    eye, out = linear(np.eye(4)), nir.Output(np.array([4]))
    late = nir.Delay(1e-3 * np.arange(4))
    no_end, no_begin = NIRGraph(lif()), NIRGraph(lif(), out, edges=[("0", "1")])
    chain = [("input", "0"), ("0", "1"), ("1", "2"), ("2", "3")]
    for message, graph in (
        ("the delay of spikes that come back must be one for all", NIRGraph(eye, lif(), eye, out, late=late,
            edges=[*LOOP[:3], ("2", "late"), ("late", "1"), ("1", "3")])),
        ("the bias of spikes that come back needs a layer", NIRGraph(lif(), linear(np.eye(4), np.ones(4)),
            edges=[("input", "0"), ("0", "1"), ("1", "0")])),
        ("but for neurons that feed themselves", NIRGraph(eye, lif(), edges=[*chain[:2], ("1", "1")])),
        ("but for neurons that feed themselves", NIRGraph(eye, lif(), eye, lif(), edges=[*chain, ("3", "0")])),
        ("but for neurons that feed themselves", NIRGraph(eye, lif(), eye, eye, edges=[*chain, ("3", "1")])),
        ("layer must go from a population to itself", NIRGraph(eye, lif(), linear(np.ones((3, 4))), out, edges=LOOP)),
        ("must have one Output, got 0", NIRGraph(no_end, out)),
        ("must have one node before it, got 0", NIRGraph(eye, c=no_begin, edges=[("input", "0"), ("c", "0")])),
    ):  # fmt: skip
        refused(message, lambda graph=graph: cs.import_nir(graph))


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
    with refuses("import_nir: path must be a path"):
        cs.import_nir(3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("node/type", "str2NIRNode", "nir cannot read it: "),
        ("node/nodes/layer_1_cubalif/type", "NIRNode", "nir cannot read it: "),
        ("node/nodes/layer_1_cubalif/code", "import os", "nir cannot read it: TypeError: "),
        ("node/nodes/layer_1_cubalif/w_in", np.ones((1 << 12, 1)), "w_in must have the shape of v_threshold"),
        ("node/nodes/layer_0_linear/weight", h5py.ExternalLink("other.h5", "x"), "is a link to another place or file"),
        ("node/nodes/layer_1_cubalif/metadata/cuslayer", h5py.SoftLink("/version"), "is a link to another place"),
        ("node/edges", np.array([["input", "output"]] * 2001, "O"), "it must have at most 2000 edges"),
        ("node/edges", np.ones((2, 2)), "nir cannot read it: TypeError: "),
    ],
)
def test_files_of_others(tmp_path, name, value, message):
    """Nothing of a file is called by name, no other file is opened, and nir has no more to do than the file has."""
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.ones((4, 4))
    cs.export_nir(cs.Sequential(cs.Dense(4, 4), cs.CUBA()), tmp_path / "a.nir")
    with h5py.File(tmp_path / "a.nir", "a") as file:
        if name in file:
            del file[name]
        file[name] = value
    refused(message, lambda: cs.import_nir(tmp_path / "a.nir"))


@pytest.mark.all
def test_a_long_chain_is_read(tmp_path):
    """The names of nodes sort in their order."""
    layers = [layer for _ in range(60) for layer in (cs.Dense(2, 2), LIF)]
    cs.export_nir(cs.Sequential(*layers), tmp_path / "a.nir")
    assert len(cs.import_nir(tmp_path / "a.nir").layers) == 120
    names = list(nir.read(tmp_path / "a.nir").nodes)
    assert names == sorted(names)


def test_nir_is_an_extra(tmp_path, monkeypatch):
    net = cs.Sequential(cs.Dense(3, 2), LIF)
    cs.export_nir(net, tmp_path / "a.nir")
    monkeypatch.setitem(sys.modules, "nir", None)
    for use in (lambda: cs.export_nir(net, io.BytesIO()), lambda: cs.import_nir(tmp_path / "a.nir")):
        with pytest.raises(ImportError, match=r"port_nir: nir is not installed; pip install 'cuslayer\[nir\]'"):
            use()


class Below(cs.LIF):
    start = {"v": -5.0}  # noqa: RUF012


def test_states_that_begin_elsewhere_have_no_place_in_files(tmp_path):
    net = cs.Sequential(cs.Dense(4, 3, weight_scale=20.0), Below())
    with refuses("export_nir: layer 1, Below(tau=20, theta=1), cannot be written: states in NIR begin with"):
        cs.export_nir(net, tmp_path / "a.nir")
    with refuses("export_hdf5: layer 1, Below(tau=20, theta=1), has states that do not begin with 0, for"):
        cs.interchange.export_hdf5(net, tmp_path / "a.net")
    # The rest of the potential is what the start leaves of itself.
    why = cs.explain(net, np.ones((9, 1, 4), bool), layer=1, index=0, time=3)
    assert not why.exact
