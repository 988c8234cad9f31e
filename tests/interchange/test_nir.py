"""Networks as NIR: the same output after a round trip, NIR's own equations, and what is refused."""

import contextlib
import json
import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.interchange.nir.neurons import DIALECTS
from cuslayer.interchange.nir.write import share_moved
from cuslayer.layers import Shift
from tests.interchange.test_nir_refused import lif
from tests.support import reference

nir = pytest.importorskip("nir")
CUBA, LIF = cs.CUBA(tau_i=3.0, tau_v=7.0, theta=0.7), cs.LIF(tau=7.0, theta=0.3)


def spikes(shape, steps=50, rate=0.3, seed=1):
    return np.random.default_rng(seed).random((steps, 2, *shape)) < rate


def without_notes(path):
    """Return the graph of a file as another program would have written it: without metadata."""
    graph = nir.read(path)
    for node in graph.nodes.values():
        node.metadata = {}
    return graph


def read_bare(graph, **options):
    """Import a graph without metadata, of which a warning may say what its library does not write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="import_nir: graph: a file of [a-z]+ does not say ")
        return cs.import_nir(graph, **options)


def round_trip(net, tmp_path, shape, **options):
    """Export and import a network; its output comes back to the bit, and without the metadata too."""
    path = tmp_path / "net.nir"
    assert cs.export_nir(net, path, **options) == []
    again = cs.import_nir(path)
    x = spikes(shape)
    net.train(False)
    expected = net(x).data
    assert expected.any()
    assert (again(x).data == expected).all()
    dialect = options.get("dialect", "nir")
    bare = read_bare(without_notes(path), dialect=dialect, dt=next(n.dt for n in net.layers if hasattr(n, "dt")))
    assert share_moved(bare(x).data, expected) < 0.005
    assert [p.name for p in tmp_path.iterdir()] == ["net.nir"]
    return again


def stepwise(path, x):
    """Run a file by NIR's equations and forward Euler with steps of 1 ms, in float64, on (T, N, C, H, W) or (T, N, C).

    Independent of the library: convolutions and pooling by loops over taps.
    """
    graph = nir.read(path)
    after = dict(graph.edges)
    name, y = "input", x.astype(np.float64)
    while (name := after[name]) != "output":
        node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
        if kind == "Linear":
            y = y @ node.weight.astype(np.float64).T
        elif kind == "Flatten":
            y = y.reshape(*y.shape[:2], -1)
        elif kind == "Delay":
            steps = np.rint(node.delay / 1e-3).astype(int)
            moved = np.zeros_like(y)
            for index, n in np.ndenumerate(steps):
                moved[(slice(n, None), slice(None), *index)] = y[(slice(0, len(y) - n), slice(None), *index)]
            y = moved
        elif kind in ("Conv2d", "SumPool2d"):
            pairs = [tuple(map(int, np.broadcast_to(each, 2))) for each in (node.stride, node.padding)]
            images = y.transpose(0, 1, 3, 4, 2).reshape(-1, *y.shape[3:], y.shape[2])
            if kind == "Conv2d":
                gaps = tuple(map(int, np.broadcast_to(node.dilation, 2)))
                maps = reference.conv(images, node.weight.transpose(2, 3, 1, 0), *pairs, gaps, node.groups)
            else:
                maps = reference.pool(images, tuple(map(int, node.kernel_size)), *pairs, (1, 1), 1.0)
            y = maps.reshape(*y.shape[:2], *maps.shape[1:]).transpose(0, 1, 4, 2, 3)
        elif kind == "Threshold":
            y = (y > node.threshold).astype(np.float64)
        else:
            v, i, out = np.zeros(y.shape[1:]), np.zeros(y.shape[1:]), np.zeros_like(y)
            for t, given in enumerate(y):
                if kind == "CubaLIF":
                    i += 1e-3 / node.tau_syn * (node.w_in * given - i)
                    given = i
                v += 1e-3 / (node.tau if kind == "LIF" else node.tau_mem) * (node.v_leak - v + node.r * given)
                out[t] = v > node.v_threshold
                v = np.where(out[t] > 0, node.v_reset, v)
            y = out
    return y > 0


def every_layer(neuron):
    delay = cs.Delay(12, dt=1.0, max_delay=9.0)
    delay.delay.data[:] = np.random.default_rng(6).uniform(0, 9, 12)
    return cs.Sequential(
        *(cs.Conv(2, 4, 3, stride=(2, 1), padding=(1, 0), dilation=(2, 1), weight_scale=4), neuron),
        *(cs.SumPool((2, 3), padding=(0, 0), gain=0.4), neuron, Shift(2.0), cs.Dropout(0.3)),
        *(cs.Dense((2, 2, 4), 12, weight_scale=4), neuron, delay, cs.Dense(12, 5, weight_scale=4), neuron),
    )


@pytest.mark.parametrize("neuron", [CUBA, LIF])
def test_every_layer_comes_back_and_follows_nirs_equations(tmp_path, neuron):
    cs.seed(3)
    net = every_layer(neuron)
    again = round_trip(net, tmp_path, (9, 8, 2), input_shape=(9, 8, 2))
    kinds = ["Conv", type(neuron).__name__, "SumPool", type(neuron).__name__, "Shift", "Dense", type(neuron).__name__]
    assert [type(layer).__name__ for layer in again.layers][:7] == kinds
    x = spikes((9, 8, 2))
    there = stepwise(tmp_path / "net.nir", x.transpose(0, 1, 4, 2, 3))
    assert share_moved(there, net(x).data) < 0.005


def test_biases_come_back(tmp_path):
    cs.seed(3)
    net = cs.Sequential(cs.Conv(1, 3, 3, weight_scale=4, bias=True), LIF, cs.Dense((4, 3, 3), 5, bias=True), LIF)
    for layer in net.layers[::2]:
        layer.bias.data = np.random.default_rng(0).uniform(0, 0.1, layer.bias.shape).astype(np.float32)
    again = round_trip(net, tmp_path, (6, 5, 1), input_shape=(6, 5, 1))
    assert [(layer.bias.data == net[i].bias.data).all() for i, layer in enumerate(again.layers) if i % 2 == 0] == [
        True
    ] * 2
    x = spikes((6, 5, 1))
    graph = without_notes(tmp_path / "net.nir")
    graph.nodes["layer_4_lif"].v_threshold *= np.array([1, 2, 1, 1, 3], np.float32)
    other, factor = cs.import_nir(graph), np.array([1, 1 / 2, 1, 1, 1 / 3]) / 0.3
    assert np.allclose(other[2].bias.data, net[2].bias.data * factor, rtol=1e-4)
    assert other(x).data.any()


def test_groups_are_written_with_zeros_between_them(tmp_path):
    cs.seed(3)
    net = cs.Sequential(cs.Conv(4, 6, 3, groups=2, weight_scale=4), CUBA)
    cs.export_nir(net, tmp_path / "a.nir", input_shape=(5, 4, 4))
    weight = nir.read(tmp_path / "a.nir").nodes["layer_0_conv2d"].weight
    assert weight.shape == (6, 4, 3, 3)
    assert (weight[:3, 2:] == 0).all()
    assert (weight[3:, :2] == 0).all()
    x = spikes((5, 4, 4))
    assert net(x).data.any()
    assert share_moved(cs.import_nir(tmp_path / "a.nir")(x).data, net(x).data) < 0.005


@pytest.mark.parametrize(("dialect", "dt"), [("nir", 0.5), ("snntorch", 1.0), ("norse", 0.5), ("sinabs", 1.0)])
def test_every_dialect_comes_back(tmp_path, dialect, dt):
    cs.seed(4)
    neuron = cs.LIF(tau=7.0, theta=0.3, reset=DIALECTS[dialect].reset, dt=dt)
    round_trip(cs.Network("6-12-4", neuron), tmp_path, (6,), dialect=dialect)
    if dialect != "sinabs":
        round_trip(cs.Network("6x6x1-3c3-2a-4", neuron), tmp_path, (6, 6, 1), dialect=dialect)
        round_trip(cs.Network("6-12-4", cs.CUBA(3.0, 7.0, dt=dt, theta=0.3)), tmp_path, (6,), dialect=dialect)


A, B = np.exp(-1 / 3), np.exp(-1 / 7)  # what a step of 1 ms keeps of a current and of a voltage


@pytest.mark.parametrize(
    ("dialect", "step", "fields"),
    [
        ("nir", 1e-3, {"tau": 1e-3 / (1 - B), "r": 1 / (1 - B), "v_threshold": 0.3}),
        ("snntorch", 1e-4, {"tau": 1e-4 / (1 - B), "r": 1 / (1 - B), "v_threshold": 0.3}),
        ("norse", 1e-3, {"tau": 1e-3 / (1 - B), "r": 1.0, "v_threshold": 0.3 * (1 - B)}),
        ("sinabs", 1.0, {"tau": 7.0, "v_threshold": 0.3}),
    ],
)
def test_the_constants_of_every_dialect(tmp_path, dialect, step, fields):
    """By hand, from the readers' sources: their step in the file's unit, what it keeps and what it ignores."""
    reset = "subtract" if dialect == "sinabs" else "zero"
    neuron = cs.LIF(tau=7.0, theta=0.3, reset=reset)
    cs.export_nir(cs.Sequential(cs.Dense(3, 2), neuron), tmp_path / "a.nir", dialect=dialect)
    node = nir.read(tmp_path / "a.nir").nodes["layer_1_lif"]
    for name, value in fields.items():
        assert getattr(node, name) == pytest.approx(np.full(2, value), rel=1e-6), name
    exact = np.float32(fields["v_threshold"])
    assert (node.v_threshold >= exact).all() if dialect == "sinabs" else (node.v_threshold < exact).all()
    # A file of the library itself: those of Norse and sinabs have an r of 1, which scales nothing there.
    r, ones = (5.0 if dialect in ("nir", "snntorch") else 1.0), np.ones(2)
    file = nir.LIF(tau=fields["tau"] * ones, r=r * ones, v_leak=0 * ones, v_threshold=0.3 * ones)
    found = read_bare(graph_of(nir.Linear(np.ones((2, 3))), file), dialect=dialect).layers[1]
    assert (found.tau, found.reset) == (pytest.approx(7.0), reset)
    assert found.theta == pytest.approx(0.3 / (r * (1 - B)))
    if dialect != "sinabs":
        cuba = cs.CUBA(tau_i=3.0, tau_v=7.0, theta=0.3)
        cs.export_nir(cs.Sequential(cs.Dense(3, 2), cuba), tmp_path / "a.nir", dialect=dialect)
        node = nir.read(tmp_path / "a.nir").nodes["layer_1_cubalif"]
        expected = {"tau_mem": step / (1 - B), "tau_syn": step / (1 - A), "r": 1 / (1 - B), "w_in": 1 / (1 - A)}
        for name, value in {**expected, "v_threshold": 0.3}.items():
            assert getattr(node, name) == pytest.approx(np.full(2, value), rel=1e-6), name


@pytest.mark.all
def test_a_trained_cuba_network_comes_back_to_the_bit(tmp_path):
    cs.seed(0)
    tau = np.linspace(2, 9, 4)
    hidden = cs.CUBA(tau_i=5.0, tau_v=tau, trained=True, theta=0.5, surrogate="arctan", bounds=(0.5, 50.0))
    net = cs.Sequential(cs.Dense(20, 4, weight_scale=6), hidden, cs.Dense(4, 3, weight_scale=6), cs.CUBA(theta=0.5))
    x, loss = spikes((20,)), cs.SpikeCountLoss(hidden, true=20, false=5, window=(0, 50))
    optimizer = cs.Adam(net.parameters(), lr=0.01)
    for _ in range(5):
        value = loss(net(x), np.array([0, 1]))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert (hidden.tau_v.data != tau.astype(np.float32)).all()
    again = round_trip(net, tmp_path, (20,))
    assert (again.layers[1].tau_v.data == hidden.tau_v.data).all()
    assert repr(again.layers[1].surrogate) == repr(hidden.surrogate)
    assert again.layers[1].trained


def test_the_constants_of_a_file(tmp_path):
    """The gain of pooling is in w_in."""
    net = cs.Sequential(cs.SumPool(2, gain=3.0), cs.CUBA(tau_i=3.0, tau_v=7.0, theta=0.7))
    cs.export_nir(net, tmp_path / "a.nir", input_shape=(2, 4, 3))
    node = nir.read(tmp_path / "a.nir").nodes["layer_1_cubalif"]
    assert node.tau_syn.shape == (3, 1, 2)
    assert np.allclose(node.w_in, 3 / (1 - A))
    assert (node.v_threshold == np.nextafter(np.float32(0.7), np.float32(0))).all()
    assert not node.v_leak.any()
    assert not node.v_reset.any()
    # A reader that ignores r has the gain in the threshold.
    pooled = cs.Sequential(cs.SumPool(2, gain=3.0), cs.LIF(tau=7.0, theta=0.7))
    cs.export_nir(pooled, tmp_path / "a.nir", dialect="norse", input_shape=(2, 4, 3))
    assert np.allclose(nir.read(tmp_path / "a.nir").nodes["layer_1_lif"].v_threshold, 0.7 * (1 - B) / 3)
    flat = cs.Sequential(cs.Dense(3, 2), cs.LIF(tau=7.0, theta=0.7, reset="subtract", dt=0.5))
    cs.export_nir(flat, tmp_path / "a.nir", dialect="sinabs")
    nodes = nir.read(tmp_path / "a.nir").nodes
    assert np.allclose(nodes["layer_1_lif"].tau, 14)
    assert (nodes["layer_1_lif"].v_threshold == np.float32(0.7)).all()
    assert type(nodes["layer_0_affine"]).__name__ == "Affine"


def test_a_spike_at_the_threshold_stays_one(tmp_path):
    net = cs.Sequential(cs.Dense(1, 1), cs.LIF(tau=5.0, theta=0.1))
    net.layers[0].weight.data[:] = 0.1
    cs.export_nir(net, tmp_path / "a.nir")
    x = np.ones((4, 1, 1), bool)
    assert net(x).data.all()
    assert cs.import_nir(without_notes(tmp_path / "a.nir"))(x).data.all()
    assert stepwise(tmp_path / "a.nir", x).all()


def test_neurons_without_memory_are_thresholds(tmp_path):
    net = cs.Sequential(cs.Dense(6, 5), cs.LIF(tau=0.01, theta=0.5))
    round_trip(net, tmp_path, (6,))
    assert type(nir.read(tmp_path / "net.nir").nodes["layer_1_threshold"]).__name__ == "Threshold"


def graph_of(*nodes):
    return nir.NIRGraph.from_list(nir.Input(nodes[0].input_type["input"]), *nodes)


def test_constants_that_differ_among_neurons_are_in_the_weights(tmp_path):
    weight = np.random.default_rng(0).uniform(-0.5, 1, (4, 6))
    r, levels = np.array([5.0, 2.5, 10.0, 5.0]), np.array([1.0, 2.0, 1.0, 0.5])
    graph = graph_of(nir.Linear(weight), lif(r=r, v_threshold=levels))
    net = cs.import_nir(graph)
    assert np.allclose(net.layers[0].weight.data, (weight * (r / 5 / levels)[:, None]).T)
    nir.write(tmp_path / "a.nir", graph)
    x = spikes((6,))
    assert share_moved(net(x).data, stepwise(tmp_path / "a.nir", x)) < 0.005
    pair = nir.LIF(tau=np.full(2, 5e-3), r=r[:2], v_leak=np.zeros(2), v_threshold=levels[:2])
    two = cs.import_nir(graph_of(nir.Linear(weight[:2]), pair))
    assert np.allclose(two.layers[0].weight.data, net.layers[0].weight.data[:, :2])
    # One gain for all is in the threshold, and so is a leak.
    shifted = lif(r=np.full(4, 10.0), v_leak=np.full(4, 0.5), v_reset=np.full(4, 0.5))
    net = cs.import_nir(graph_of(nir.Linear(weight), shifted))
    assert np.allclose(net.layers[0].weight.data, weight.T)
    assert net.layers[1].theta == pytest.approx(0.25)


def test_nodes_of_others():
    """IF, AvgPool2d, 'same' and scalar constants."""
    conv = nir.Conv2d((6, 6), np.ones((2, 1, 3, 3)), 1, "same", 1, 1, np.zeros(2))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    fire = nir.IF(r=np.full((2, 3, 3), 1e3), v_threshold=np.full((2, 3, 3), 4.0))
    net = cs.import_nir(graph_of(conv, pool, fire))
    assert net.layers[0].padding == (1, 1)
    assert net.layers[2].response.min() == 1
    wide = nir.Conv2d((6, 6), np.ones((2, 1, 3, 5)), 1, "same", 1, 1, np.zeros(2))
    assert cs.import_nir(graph_of(wide)).layers[0].padding == (1, 2)
    assert net.layers[1].gain == 0.25
    x = np.zeros((3, 1, 6, 6, 1), bool)
    x[0, 0, :4, :4] = True
    assert np.argwhere(net(x).data[:, 0, :, :, 0]).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    one = {name: np.array(value) for name, value in (("tau", 5e-3), ("r", 5.0), ("v_leak", 0.0), ("v_threshold", 1.0))}
    graph = nir.NIRGraph(
        {"input": nir.Input(np.array([2])), "a": nir.Linear(np.ones((2, 2))), "b": nir.LIF(**one)},
        [("input", "a"), ("a", "b")],
        type_check=False,
    )
    assert cs.import_nir(graph).layers[1].theta == pytest.approx(1.0)


@pytest.mark.parametrize("dialect", ["nir", "snntorch"])
def test_mean_pooling(tmp_path, dialect):
    """It is AvgPool2d without a gain, before neurons or weights; a frame that the windows do not divide is read."""
    lif, x = cs.LIF(theta=0.5), np.random.default_rng(8).random((20, 2, 6, 8, 2)) < 0.4
    for layers in (
        [cs.AvgPool(2), lif],
        [cs.AvgPool(3, stride=2, padding=(0, 1)), cs.Conv(2, 3, 1), lif, cs.AvgPool(2), lif],
    ):
        net = cs.Sequential(*layers)
        cs.export_nir(net, tmp_path / "a.nir", dialect=dialect, input_shape=(6, 8, 2))
        kinds = [type(node).__name__ for node in nir.read(tmp_path / "a.nir").nodes.values()]
        assert kinds.count("AvgPool2d") == sum(isinstance(layer, cs.AvgPool) for layer in layers)
        again = cs.import_nir(tmp_path / "a.nir", dialect=dialect)
        assert (again(x).data == net(x).data).all()
        assert net(x).data.any()


def test_a_node_that_was_changed_is_read_by_its_fields(tmp_path):
    cs.export_nir(cs.Sequential(cs.Dense(3, 2), cs.LIF(tau=7.0)), tmp_path / "a.nir")
    graph = nir.read(tmp_path / "a.nir")
    graph.nodes["layer_1_lif"].v_threshold *= 2
    assert cs.import_nir(graph).layers[1].theta == pytest.approx(2.0)
    note = json.loads(graph.nodes["layer_1_lif"].metadata["cuslayer"])
    for broken in ("{", json.dumps(note | {"neuron": {"type": "LIF"}}), json.dumps([1]), "[" * 100_000):
        graph.nodes["layer_1_lif"].metadata["cuslayer"] = broken
        assert cs.import_nir(graph).layers[1].theta == pytest.approx(2.0)


def test_other_steps(tmp_path):
    net = cs.Sequential(cs.Dense(3, 2), cs.LIF(tau=7.0, dt=0.5))
    cs.export_nir(net, tmp_path / "a.nir", step=2.0)
    assert np.allclose(nir.read(tmp_path / "a.nir").nodes["layer_1_lif"].tau, 2 / (1 - np.exp(-0.5 / 7)))
    assert cs.import_nir(tmp_path / "a.nir").layers[1].dt == 0.5
    other = cs.import_nir(tmp_path / "a.nir", dt=1.0).layers[1]
    assert (other.dt, other.tau) == (1.0, pytest.approx(14.0))


@pytest.mark.parametrize("seed", range(40))
def test_a_note_holds_for_its_own_dialect_alone(tmp_path, seed):
    """Of noted and given steps and dialects: as if the file had no notes and all were given."""
    rng = np.random.default_rng(seed)
    writer, reader = (str(name) for name in rng.choice(["nir", "snntorch", "norse"], 2))
    noted, asked = rng.choice([None, 0.003, 2.0]), rng.choice([None, None, None, 0.0004, 1.5])
    dt, given = float(rng.choice([1.0, 0.5])), None if seed % 5 == 0 else reader
    cs.seed(seed)
    net = cs.Sequential(cs.Dense(3, 2), cs.LIF(tau=7.0, theta=0.3, dt=dt))
    cs.export_nir(net, tmp_path / "a.nir", dialect=writer, step=noted)
    own = {name: DIALECTS[name].step or 1e-3 * dt for name in (writer, reader)}
    step = asked or (own[reader] if given not in (None, writer) else noted or own[writer])
    bare = without_notes(tmp_path / "a.nir")
    try:
        expected = read_bare(bare, dialect=given or writer, step=step, dt=dt)
    except ValueError as problem:  # the time constant is below the step
        with pytest.raises(ValueError, match=str(problem).partition(": ")[2][-60:]):
            cs.import_nir(tmp_path / "a.nir", dialect=given, step=asked)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = cs.import_nir(tmp_path / "a.nir", dialect=given, step=asked)
    for name in ("tau", "theta", "dt"):
        assert getattr(found[1], name) == pytest.approx(getattr(expected[1], name), rel=1e-4), name
    np.testing.assert_allclose(found[0].weight.data, expected[0].weight.data, rtol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_branches_of_delays_and_biases(seed):
    """Any number of branches, with a bias or without, delayed for all inputs or each, or not at all: their sum."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 5))
    owner, nodes, edges = rng.integers(count, size=(4, 6)), {"in": nir.Input(np.array([6]))}, []
    x = rng.random((20, 2, 6)) < 0.4
    expected = np.zeros((20, 2, 4))
    for n in range(count):
        weight, bias = rng.normal(size=(4, 6)) * (owner == n), rng.normal(size=4) * (rng.random() < 0.7)
        lags = rng.integers(0, 6, 6) if rng.random() < 0.5 else np.full(6, rng.integers(0, 6))
        lags = lags * (n > 0 or rng.random() < 0.5)
        nodes[f"w{n}"] = nir.Affine(weight, bias) if bias.any() else nir.Linear(weight)
        edges += [(f"w{n}", "out")]
        if lags.any():
            nodes[f"d{n}"] = nir.Delay(lags * 1e-3)
            edges += [("in", f"d{n}"), (f"d{n}", f"w{n}")]
        else:
            edges += [("in", f"w{n}")]
        late = np.stack(
            [np.roll(x, lag, axis=0)[..., i] * (np.arange(20) >= lag)[:, None] for i, lag in enumerate(lags)]
        )
        expected += np.einsum("itn,oi->tno", late, weight) + bias
    nodes["out"] = nir.Output(np.array([4]))
    net = cs.import_nir(nir.NIRGraph(nodes, edges))
    net.eval()
    np.testing.assert_allclose(net(x).data, expected, rtol=1e-4, atol=1e-5)


def test_spike_response_neurons_are_approximated(tmp_path):
    cs.seed(5)
    net = cs.Network("12-10-4", cs.SRM(theta=2.0, tau_sr=4.0, cutoff=0.0))
    x = spikes((12,), steps=120, rate=0.05)
    moved = cs.export_nir(net, tmp_path / "a.nir", approximate=x)
    again = cs.import_nir(tmp_path / "a.nir")
    assert again.layers[1].tau_i == again.layers[1].tau_v == 4.0
    exact, close = net(x).data, again(x).data
    assert exact.any()
    assert moved[1] == share_moved(exact[2:], close[:-2])
    # Up to the first spike, the potential is that of a step before, but for its scale.
    one = np.zeros((30, 1, 12), bool)
    one[3, 0, :6] = True
    with cs.record(net) as a:
        net(one)
    with cs.record(again) as b:
        again(one)
    first = net.layers[0](one)
    assert first.data.any()
    ratio = net.layers[1].theta / again.layers[1].theta
    quiet = ~a[1].spikes[:, 0].any(axis=0) & ~b[1].spikes[:, 0].any(axis=0)
    assert quiet.any()
    assert np.allclose(a[1].potential[1:, 0, quiet], ratio * b[1].potential[:-1, 0, quiet], atol=1e-4)


@pytest.mark.parametrize(
    ("dialect", "node", "doubt"),
    [
        ("snntorch", "LIF", "a file of snntorch does not say how a spike resets: read is reset_mechanism='zero' with"),
        ("snntorch", "CubaLIF", "a file of snntorch does not say how a spike resets"),
        ("sinabs", "LIF", "a file of sinabs does not say how often a neuron fires in a step"),
        ("norse", "CubaLIF", "a file of norse does not say if a neuron is LIFCell"),
        ("norse", "LIF", None),
        ("nir", "CubaLIF", None),
    ],
)
def test_what_the_files_of_others_do_not_say(dialect, node, doubt):
    """Their defaults would give other spikes, and nothing in the file shows them."""
    ones = np.ones(4)
    fields = {"LIF": {"tau": 5 * ones}, "CubaLIF": {"tau_mem": 5 * ones, "tau_syn": 3 * ones}}[node]
    neurons = getattr(nir, node)(**fields, r=ones, v_leak=0 * ones, v_threshold=ones)
    graph = graph_of(nir.Linear(np.ones((4, 4))), neurons)
    with pytest.warns(UserWarning, match=doubt) if doubt else contextlib.nullcontext():
        cs.import_nir(graph, dialect=dialect)
