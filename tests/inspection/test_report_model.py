"""Tests that the JavaScript of a report computes the same as `explain`, `record` and `reassignment`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report.contents import Contents, block
from cuslayer.inspection.report.contents import contents as carried
from cuslayer.network.walk import units
from tests.support import branches
from tools import browser

pytestmark = pytest.mark.all

REPORT = Path(cs.__file__).parent / "inspection/report"
MODEL = "\n".join((REPORT / name).read_text("utf-8") for name in ("model.js", "parts.js"))
SRM = cs.SRM(tau_sr=4.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no Chromium to run JavaScript")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as there:
        # The text of a function, so that each test can create a model.
        there.run(f"window.makeModel = new Function('contents', {json.dumps(MODEL + '; return new Model(contents)')})")
        yield there


def load(page, net, x, target=None, loss=None):
    contents = carried(net, cs.Tensor(x).data, target, loss)
    page.run(f"window.model = makeModel({json.dumps(contents)}); 0")


def ask(page, call):
    """Return the result of a method of the model, with typed arrays as lists."""
    return page.run(
        f"(JSON.parse(JSON.stringify(model.{call}, (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v) ?? 'null'))"
    )


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5 * (1 + abs(np.asarray(expected)).max()))


def check_neuron(page, net, x, target, at, layer, number, sample, loss=None):
    """Compare a neuron, at position `at` of the network and `layer` of the page, with Python."""
    page.run(f"model.sample === {sample} || model.choose({sample})")
    with cs.no_grad(), cs.record(net, layers=at, samples=sample) as seen:
        net.eval()  # as the page shows it
        net(x)
    shape = seen[at].spikes.shape[2:]
    place = np.unravel_index(number, shape)
    had = ask(page, f"potential({layer}, {number})")
    column = (slice(None), 0, *place)
    close(had["potential"], seen[at].potential[column])
    close(had["filtered"], seen[at].filtered[column])
    close(had["refractory"], seen[at].refractory[column])
    assert ask(page, f"times({layer}, {number})") == np.flatnonzero(seen[at].spikes[column]).tolist()
    errors = ask(page, f"errors({layer}, {number})")
    expected = cs.reassign(net, x, target, at, number, loss=loss, sample=sample)
    close(errors["spikes"], expected.spikes_error)
    close(errors["potential"], expected.potential_error)
    close(errors["weighted"], expected.weighted_error)
    assert ask(page, "loss") == pytest.approx(expected.loss)
    return np.flatnonzero(seen[at].spikes[column])


def check_explained(page, net, x, at, layer, number, sample, time):
    why = cs.explain(net, x, at, number, time, sample=sample)
    found = ask(page, f"explain({layer}, {number}, {time})")
    close(found["potential"], why.potential)
    close(found["margin"], why.margin)
    close(found["refractory"], why.refractory)
    close(found["filtered"], why.filtered + why.bias)
    close(found["bias"], why.bias)
    assert found["fired"] == why.fired
    assert found["theta"] == why.theta
    # The layers of the page are the input and the neurons in the order in which they run.
    layers = [None, *(unit.address for unit in units(net) if unit.neurons is not None)]
    sizes = {source.address: np.zeros(source.contributions.size) for source in why.sources}
    of_address = {source.address: source for source in why.sources}
    for part in found["contributions"]:
        source = of_address[layers[part["source"]]]
        sizes[source.address][part["input"]] = part["size"]
        index = np.unravel_index(part["input"], source.contributions.shape)
        assert part["times"] == sorted(source.spikes.time[(source.spikes.sender == index).all(1)].tolist())
    for address, found_sizes in sizes.items():
        close(found_sizes, of_address[address].contributions.ravel())
    order = [abs(part["size"]) for part in found["contributions"]]
    assert order == sorted(order, reverse=True)
    assert found["refractorySpikes"] == sorted(why.refractory_spikes.time.tolist())


def delays(mode="floor"):
    layer = cs.Delay(6, dt=1.0, max_delay=9.0, mode=mode)
    layer.delay.data[:] = np.arange(6) + (0.25 if mode == "linear" else 0.0)
    return layer


def uneven(w):
    return w * np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1)


def normalized():
    """Return a normalization in evaluation, between layers with biases."""
    first, norm = cs.Dense(6, 6, bias=True), cs.BatchNorm(6, trained=True, height=8.0)
    draw = np.random.default_rng(5)
    for values in (first.bias.data, norm.mean.data, norm.var.data, norm.offset.data):
        values[:] = draw.uniform(0.2, 1.0, values.shape)
    return [norm.eval(), first.eval()]


# The stages before the first neurons, and the shape of the input.
CHAINS = {
    "hooked dense": (lambda: [cs.Dense(12, 6, weight_hook=lambda w: w * 2.0)], (12,)),
    "dense of frames": (lambda: [cs.Dense((4, 3, 2), 6)], (4, 3, 2)),
    "delay": (lambda: [delays(), cs.Dense(6, 6)], (6,)),
    "linear delay": (lambda: [delays("linear"), cs.Dense(6, 6)], (6,)),
    "ahead": (lambda: [cs.layers.Shift(-2.0), cs.Dense(6, 6)], (6,)),
    "dropout": (lambda: [cs.Dropout(0.5), cs.Dense(6, 6)], (6,)),
    "conv with everything": (
        lambda: [cs.Conv(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)],
        (7, 6, 4),
    ),
    "biases and normalizations": (normalized, (6,)),
    "delays of synapses": (lambda: [cs.Dense(6, 6, delays=cs.SynapticDelays(9.0, steps=40))], (6,)),
    "pool": (lambda: [cs.SumPool(2, gain=11.0)], (5, 4, 2)),
    "mean": (lambda: [cs.AvgPool(2, stride=(3, 1), padding=1), cs.Conv(2, 3, 1)], (5, 4, 2)),
    "hooked pool": (lambda: [cs.SumPool(2, gain=11.0, weight_hook=uneven)], (5, 4, 2)),
    "hooked unpool": (lambda: [cs.layers.Unpool(2, gain=11.0, weight_hook=uneven)], (3, 2, 2)),
    "conv transpose": (lambda: [cs.ConvTranspose(2, 4, 3, stride=2, padding=1, groups=2)], (4, 3, 2)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_layer(page, name):
    made, shape = CHAINS[name]
    stages = made()
    x = np.random.default_rng(1).random((40, 2, *shape)) < 0.3
    if name == "hooked dense":
        x = x * np.float32(-1.5)  # an input of numbers
    with cs.no_grad():
        outputs = cs.Sequential(*stages)(x).shape[2:]
    # The errors come through the stages behind: use the same kind of layer there if its shape allows.
    again = [made()[0]] if outputs == shape and len(stages) > 1 else []
    net = cs.Sequential(*stages, SRM, *again, cs.Dense(outputs, 3), cs.SRM()).eval()
    load(page, net, x, [1, 2])
    at, last = len(stages), len(net) - 1
    for number, sample in ((0, 0), (int(np.prod(outputs)) - 1, 1), (int(np.prod(outputs)) // 2, 1)):
        fired = check_neuron(page, net, x, [1, 2], at, 1, number, sample)
        for time in {0, 39, *fired[len(fired) // 2 :][:1].tolist()}:
            check_explained(page, net, x, at, 1, number, sample, time)
    check_neuron(page, net, x, [1, 2], last, 2, 1, 0)
    check_explained(page, net, x, last, 2, 1, 0, 30)


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
def test_a_whole_network(page, gradient):
    net = cs.Network("9x8x2-4c3-2a-6c3-3", cs.SRM(gradient=gradient))
    x = np.random.default_rng(2).random((60, 2, 9, 8, 2)) < 0.1
    load(page, net, x, [0, 2])
    for layer, numbers in {1: (0, 131, 287), 2: (0, 79), 3: (0, 61), 4: (0, 2)}.items():
        for number in numbers:
            fired = check_neuron(page, net, x, [0, 2], 2 * layer - 1, layer, number, 1)
            check_explained(page, net, x, 2 * layer - 1, layer, number, 1, int(fired[-1]) if len(fired) else 59)


def test_a_target_train_and_another_loss(page):
    srm = cs.SRM(tau_sr=2.0, dt=0.5, cutoff=0.0)
    net = cs.Sequential(cs.Dense(5, 4), srm, cs.Dense(4, 2), srm)
    x = np.random.default_rng(2).random((50, 1, 5)) < 0.3
    target = np.random.default_rng(3).random((50, 1, 2)) < 0.1
    load(page, net, x, target)
    check_neuron(page, net, x, target, 1, 1, 2, 0)
    check_explained(page, net, x, 1, 1, 2, 0, 31)

    def loss(s, t):
        return (s * 3.0).sum()

    load(page, net, x, target, loss)
    check_neuron(page, net, x, target, 1, 1, 2, 0, loss)


def unknown(x):
    return x * 9.0


class Halved(cs.Dense):
    def __call__(self, x):
        return super().__call__(x) * 0.5


BEYOND = {
    "a function": (lambda: [unknown], 6),
    "filters": (lambda: [cs.layers.FilterBank(6, 2)], 36),
    "a subclass": (lambda: [Halved(6, 6)], 6),
    "moved over the end and back": (lambda: [cs.layers.Shift(2.0), cs.layers.Shift(-2.0), cs.Dense(6, 6)], 6),
}


@pytest.mark.parametrize("name", BEYOND)
def test_neurons_behind_an_unknown_stage_have_stored_potentials(page, name):
    """The data has their potentials, and the errors of the neurons before."""
    made, after = BEYOND[name]
    stages = made()
    net = cs.Sequential(cs.Dense(4, 6), SRM, *stages, SRM, cs.Dense(after, 2), cs.SRM())
    x = np.random.default_rng(0).random((40, 2, 4)) < 0.4
    load(page, net, x, [1, 0])
    check_neuron(page, net, x, [1, 0], 1, 1, 3, 1)
    at = 2 + len(stages)
    fired = check_neuron(page, net, x, [1, 0], at, 2, 3, 1)
    found = ask(page, f"explain(2, 3, {fired[-1] if len(fired) else 39})")
    assert found["contributions"] == []
    assert found["filtered"] + found["refractory"] == pytest.approx(found["potential"])
    check_neuron(page, net, x, [1, 0], len(net) - 1, 3, 0, 1)


def test_the_page_leaves_a_dense_layer_of_places_to_its_data():
    contents = Contents(cs.Sequential(cs.Dense(3, 2), SRM), np.ones((9, 1, 4, 3), bool))
    assert not contents.knows(1)


def test_neurons_of_another_kind(page):
    net = cs.Sequential(cs.Dense(6, 5), SRM, cs.Dense(5, 3, weight_scale=200.0), cs.Loihi())
    x = np.random.default_rng(0).random((40, 1, 6)) < 0.5
    load(page, net, x, [1], lambda s, t: (s * 2.0).sum())
    with cs.record(net) as seen:
        (net(x) * 2.0).sum().backward()
    close(ask(page, "potential(2, 1)")["potential"], seen[3].potential[:, 0, 1])
    assert ask(page, "potential(2, 1)")["filtered"] is None
    assert ask(page, "errors(2, 1)")["spikes"] == [2.0] * 40
    assert ask(page, "errors(2, 1)")["weighted"] is None
    close(ask(page, "errors(1, 4)")["weighted"], seen[1].weighted_error[:, 0, 4])
    why = ask(page, "explain(2, 1, 20)")
    assert why["theta"] == net[3].theta
    assert (why["contributions"], why["refractorySpikes"], why["refractory"]) == ([], [], None)
    assert why["fired"] == bool(seen[3].spikes[20, 0, 1])


def test_one_step_of_one_neuron_and_no_target(page):
    load(page, cs.Network("1-1", SRM), np.ones((1, 1, 1), bool))
    assert ask(page, "potential(1, 0)")["potential"] == [0]
    assert ask(page, "explain(1, 0, 0)")["contributions"] == []
    assert ask(page, "errors(1, 0)") is ask(page, "loss") is None


@pytest.mark.parametrize(("steps", "kind"), [(65_536, "u2"), (65_537, "u4")])
@pytest.mark.parametrize("numbers", [bool, np.float32])
def test_spikes_have_times_of_two_bytes_or_four_by_the_number_of_steps(page, steps, kind, numbers):
    x = np.zeros((steps, 1, 3), numbers)
    x[[0, 7, steps - 1], :, 1] = x[steps - 1] = -2
    contents = carried(cs.Network("3-1", SRM), x, None, None)
    found = contents["layers"][0]["spikes"][0]
    assert found["times"]["type"] == kind
    assert ("values" in found) == (numbers is np.float32)
    page.run(f"window.model = makeModel({json.dumps(contents)}); 0")
    assert [ask(page, f"times(0, {n})") for n in range(3)] == [[steps - 1], [0, 7, steps - 1], [steps - 1]]


@pytest.mark.parametrize("name", branches.NETWORKS)
def test_networks_with_branches(page, name):
    """Neurons in and behind branches: potentials, errors that come from several layers, and parts by their layer."""
    cs.seed(6)
    net, x = branches.NETWORKS[name](), branches.spikes(*branches.FRAMES)
    with cs.no_grad():
        shape = net(x).shape
    target = np.random.default_rng(3).standard_normal(shape).astype(np.float32)

    def loss(y, target):
        return (y * cs.Tensor(target)).sum()

    load(page, net, x, target, loss)
    for layer, unit in enumerate((u for u in units(net) if u.neurons is not None), start=1):
        neurons = page.run(f"(model.neurons({layer}))")
        for number, sample in ((0, 0), (neurons // 2, 1)):
            fired = check_neuron(page, net, x, target, unit.address, layer, number, sample, loss=loss)
            for time in {20, *fired[len(fired) // 2 :][:1].tolist()}:
                check_explained(page, net, x, unit.address, layer, number, sample, time)


def test_a_page_has_each_weight_once():
    """A layer after a join is not written again for each branch."""
    dense = cs.Dense(4, 2)
    net = cs.Sequential(cs.Parallel(*(cs.Sequential(cs.Dense(4, 4), SRM) for _ in range(3))), dense, SRM)
    text = json.dumps(carried(net, branches.spikes(4), None, None))
    assert text.count(block(dense.weight.data, "f4")["data"]) == 1


def test_shifts_on_both_sides_of_a_join_are_left_to_python():
    net = cs.Sequential(cs.Parallel(cs.layers.Shift(-2.0), cs.Sequential()), cs.layers.Shift(3.0), cs.Dense(4, 2), SRM)
    found = carried(net, branches.spikes(4), None, None)["layers"][1]
    assert found["sources"] is None
    assert found["potentials"] is not None
