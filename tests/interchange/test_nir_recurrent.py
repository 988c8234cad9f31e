"""Recurrent populations as NIR: loops, graphs within the graph, and what is refused."""

import contextlib

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import Recurrent
from tests.interchange.test_nir import read_bare
from tests.interchange.test_nir_refused import LOOP, ONES, NIRGraph, lif, linear, refused

pytestmark = pytest.mark.all

nir = pytest.importorskip("nir")
CUBA = cs.CUBA(tau_i=3.0, tau_v=7.0, theta=0.7)
LIF = cs.LIF(tau=7.0, theta=0.3)
FRAMES = {"input_shape": (5, 4, 1)}
DOUBT = r"^export_nir: snntorch reads a Recurrent layer by nirtorch: 2\.0\.2 fails .* 2\.6 gives others$"


def dense(neuron=CUBA, delay=None, bias=None):
    return cs.Sequential(
        cs.Dense(6, 8, bias=bias), Recurrent(cs.Dense(8, 8, weight_scale=9.0), neuron, delay=delay), cs.Dense(8, 4), LIF
    )


def conv(delay):
    population = Recurrent(cs.Conv(4, 4, 3, padding=1, weight_scale=9.0), CUBA, delay=delay)
    return cs.Sequential(cs.Conv(1, 4, 3, padding=1), population, cs.Dense((5, 4, 4), 3), CUBA)


def delayed(shape=(3, 2, 1)):
    """Both layers with delays of synapses, which in evaluation are whole steps."""
    bias = cs.Tensor(0.1 * np.ones(8), requires_grad=True)
    first, back = (cs.Dense(n, 8, bias=b, delays=cs.SynapticDelays(5.0)) for n, b in ((shape, bias), (8, None)))
    first.delays.delay.data *= 0.7  # the longest may not occur
    net = cs.Sequential(first, Recurrent(back, LIF, delay=3.0), cs.Dense(8, 4), LIF)
    net.train(False)
    return net


def spikes(shape, steps=60):
    return np.random.default_rng(1).random((steps, 2, *shape)) < 0.3


def leave_out_metadata(graph):
    for node in graph.nodes.values():
        node.metadata = {}
        if hasattr(node, "nodes"):
            leave_out_metadata(node)
    return graph


@pytest.mark.parametrize(
    ("net", "shape", "options"),
    [
        (lambda: dense(), (6,), {}),
        (lambda: dense(delay=3.0, bias=cs.Tensor(0.1 * np.ones(8), requires_grad=True)), (6,), {}),
        (lambda: dense(LIF), (6,), {"dialect": "snntorch"}),
        (lambda: dense(), (6,), {"dialect": "snntorch"}),
        (lambda: dense(), (6,), {"dialect": "norse"}),
        (lambda: conv(delay=None), (5, 4, 1), FRAMES),
        (lambda: conv(delay=2.0), (5, 4, 1), FRAMES),
        (delayed, (3, 2, 1), {}),
    ],
)
def test_a_population_comes_back(tmp_path, net, shape, options):
    cs.seed(0)
    net, x, path = net(), spikes(shape), tmp_path / "net.nir"
    doubted = options.get("dialect") == "snntorch"
    with pytest.warns(UserWarning, match=DOUBT) if doubted else contextlib.nullcontext():
        cs.export_nir(net, path, **options)
    again = cs.import_nir(path)
    expected = net(x).data
    assert expected.any()
    assert (net(x).data != cs.Sequential(net.layers[0], net.layers[1].neuron, *net.layers[2:])(x).data).any()
    assert repr(again) == repr(net)
    assert (again(x).data == expected).all()
    bare = read_bare(leave_out_metadata(nir.read(path)), dialect=options.get("dialect", "nir"))
    assert repr(bare.layers[1]) == repr(net.layers[1])
    assert (bare(x).data != expected).mean() < 0.005


def test_a_loop_follows_nirs_equations(tmp_path):
    """Steps of forward Euler over the file's own numbers, in float64 and written here."""
    cs.seed(0)
    net, x, path = dense(delay=2.0), spikes((6,)), tmp_path / "net.nir"
    cs.export_nir(net, path)
    nodes = nir.read(path).nodes
    neuron = nodes["layer_1_cubalif"]
    into, back = nodes["layer_0_linear"].weight, nodes["layer_1_cubalif_back_1_linear"].weight
    assert nodes["layer_1_cubalif_back_0_delay"].delay == pytest.approx(1e-3 * np.ones(8))
    h, current, voltage, sent = 1e-3, np.zeros((2, 8)), np.zeros((2, 8)), []
    for t in range(len(x)):
        # The loop itself takes a step, its Delay another.
        came = sent[t - 2] if t >= 2 else np.zeros((2, 8))
        given = x[t] @ into.T.astype(float) + came @ back.T.astype(float)
        current = current + h / neuron.tau_syn * (neuron.w_in * given - current)
        voltage = voltage + h / neuron.tau_mem * (neuron.r * current - voltage)
        sent.append(voltage > neuron.v_threshold)
        voltage = np.where(sent[-1], 0.0, voltage)
    with cs.record(net) as seen:
        net(x)
    assert np.array(sent).any()
    assert (seen[1].spikes == np.array(sent)).all()


def test_branches_of_delays_follow_nirs_equations(tmp_path):
    net, x, path = delayed(shape=(6,)), spikes((6,)), tmp_path / "net.nir"
    cs.export_nir(net, path)
    nodes, z = nir.read(path).nodes, 0.0
    for name in [name for name in nodes if name.startswith("layer_0") and "delay" not in name]:
        late = nodes[name.replace("linear", "delay").replace("affine", "delay")].delay
        steps = round(1e3 * float(late[0]))
        shifted = np.concatenate([np.zeros((steps, 2, 6)), x])[: len(x)]
        z = z + shifted @ nodes[name].weight.T + getattr(nodes[name], "bias", 0.0)
    np.testing.assert_allclose(net[0](x).data, z, atol=1e-5)


def test_branches_of_others():
    """Delays of branches may differ by input; each weight is in one branch."""
    first, second = np.eye(4), 1 - np.eye(4)
    edges = [("input", "0"), ("0", "1"), ("1", "3"), ("input", "2"), ("2", "3"), ("3", "4")]

    def graph(late, second=second):
        delay = nir.Delay(delay=1e-3 * np.array(late))
        return NIRGraph(delay, linear(first), linear(second, ONES), lif(), nir.Output(np.array([4])), edges=edges)

    layer = cs.import_nir(graph([1, 2, 3, 0])).layers[0]
    assert (layer.delays.whole_lags() == np.diag([1, 2, 3, 0])).all()
    assert layer.weight.data.all()
    assert layer.bias.data.tolist() == [1, 1, 1, 1]
    before = layer.delays.delay.data.copy()
    layer(np.ones((5, 1, 4), bool)).sum().backward()
    assert not layer.delays.delay.grad.any()
    assert (layer.delays.delay.data == before).all()
    refused(
        "delay in steps of 0.001 must be whole numbers from 0 to 65,535, got 0.5",
        lambda: cs.import_nir(graph([1, 2, 3, 0.5])),
    )
    refused("and each weight in one branch only", lambda: cs.import_nir(graph(np.ones(4), np.ones((4, 4)))))


def test_gains_and_biases_of_others():
    """The bias of the weights back is in the layer before, and a neuron's gain in both weights."""
    r = np.random.default_rng(0)
    into, back, out = r.normal(size=(4, 4)), r.normal(size=(4, 4)), nir.Output(np.array([4]))
    gains = np.array([5.0, 10.0, 5.0, 10.0])
    graph = NIRGraph(linear(into, np.ones(4)), lif(r=gains), linear(back, 2 * np.ones(4)), out, edges=LOOP)
    first, population = cs.import_nir(graph).layers
    ratio = gains / gains[0] if population.theta == pytest.approx(1.0) else gains / 5.0 / population.theta
    assert first.weight.data == pytest.approx(into.T * ratio, rel=1e-5)
    assert population.layer.weight.data == pytest.approx(back.T * ratio, rel=1e-5)
    assert first.bias.data == pytest.approx(3.0 * ratio, rel=1e-5)
    assert population.layer.bias is None
    without = NIRGraph(linear(into), lif(), linear(back, np.ones(4)), out, edges=LOOP)
    assert cs.import_nir(without).layers[0].bias.data == pytest.approx(np.ones(4))


def test_a_graph_within_a_graph_is_in_its_place():
    eye, out = linear(np.eye(4)), nir.Output(np.array([4]))
    inner = NIRGraph(lif(), eye, out, edges=[("input", "0"), ("0", "1"), ("1", "0"), ("0", "2")])
    found = cs.import_nir(NIRGraph(eye, NIRGraph(inner, out), eye))
    assert [type(layer).__name__ for layer in found.layers] == ["Dense", "Recurrent", "Dense"]


def test_what_cannot_be_written(tmp_path):
    for message, net, options in (
        ("a delay of one step only", dense(delay=2.0), {"dialect": "snntorch"}),
        ("the reader of norse has no Delay", delayed(), {"dialect": "norse", "input_shape": (3, 2, 1)}),
        ("must follow neurons", cs.Sequential(delayed()[0], delayed((8,))[0], LIF), {}),
        (
            "for which the file has no place",
            cs.Sequential(cs.Conv(1, 1, 1, delays=cs.SynapticDelays(2.0)), LIF),
            FRAMES,
        ),
        ("has dense recurrence", conv(None), {"dialect": "snntorch", **FRAMES}),
        ("the reader of sinabs has no recurrence", dense(cs.LIF(reset="subtract")), {"dialect": "sinabs"}),
        ("NIR's neurons are LIF and CubaLIF", dense(cs.SRM()), {}),
        ("have reset='zero', not 'subtract'", dense(cs.LIF(reset="subtract")), {}),
        (
            "cannot have pooling before it",
            cs.Sequential(cs.SumPool(2, gain=2.0), Recurrent(cs.Conv(1, 1, 1), LIF)),
            {"input_shape": (4, 4, 1)},
        ),
        (
            "has no frames of neurons",
            cs.Sequential(cs.Conv(1, 1, 1), Recurrent(cs.Dense((2, 2, 1), 4), LIF)),
            {"input_shape": (2, 2, 1)},
        ),
    ):
        refused(message, lambda net=net, options=options: cs.export_nir(net, tmp_path / "a.nir", **options))
    assert not list(tmp_path.iterdir())
