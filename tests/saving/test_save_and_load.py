"""A network that is saved and loaded is the same: its kinds, constants, arrays, sharing and output."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.parameter import Bounded
from tools.fake_cupy import strict

SRM = cs.SRM(theta=1.5, tau_sr=4.0, tau_ref=2.0, scale_ref=3.0, tau_rho=0.5, scale_rho=0.25, gradient="exact")


@pytest.fixture
def again(tmp_path):
    """Save a network and return what is loaded."""

    def again(net, **options):
        cs.save(net, tmp_path / "net.npz")
        return cs.load(tmp_path / "net.npz", **options)

    return again


def spikes(*shape, seed=0, steps=20):
    return np.random.default_rng(seed).random((steps, 2, *shape)) < 0.3


def same(net, other, x):
    """Check that two networks have the same layers, parameters to the bit, and outputs."""
    assert repr(net) == repr(other)
    assert type(net) is type(other)
    ours, theirs = net.parameters(), other.parameters()
    assert len(ours) == len(theirs)
    for p, q in zip(ours, theirs, strict=True):
        assert p is not q
        assert (p.dtype, type(p), p.requires_grad) == (q.dtype, type(q), q.requires_grad)
        np.testing.assert_array_equal(p.data, q.data)
    before = backend.generator().bit_generator.state
    out = net(x).numpy()
    backend.generator().bit_generator.state = before  # dropout draws
    np.testing.assert_array_equal(out, other(x).numpy())
    return out


@pytest.mark.parametrize(
    "neuron",
    [
        cs.SRM(),
        cs.SRM(7.5, 5.0, 2.0, 3.0, 0.5, 0.25, 0.5, "exact", 0.02, 1e-5),
        cs.SRM(theta=np.float32(0.1)),
        cs.Loihi(),
        cs.Loihi(90, 200, 900, 3, -2, 0.5, 2.0, 0.5, False, "recorded"),
    ],
)
def test_every_neuron(again, neuron, tmp_path):
    _ = neuron.response, neuron.surrogate(np.ones(2)), neuron.psp(np.ones((3, 1, 1)))  # what is cached is not state
    cs.seed(3)
    net = cs.Network("8-16-4", neuron)
    other = again(net)
    same(net, other, spikes(8, steps=40))
    assert other[1] == neuron
    assert type(other[1]) is type(neuron)
    with np.load(tmp_path / "net.npz") as file:
        assert len(file.files) == 3  # the description, and two weights
    assert again(neuron) == neuron


def test_a_notation_with_options(again):
    words = [cs.Word("9x8x2"), cs.Word("4c3", stride=2, neuron=replace(SRM, theta=2.0)), cs.Word("2a", padding=1)]
    words += [cs.Word("6", delay=True, max_delay=4.0), cs.Word("4"), cs.Word("2avg")]
    net = cs.Network(words, SRM, potentials="float16")
    other = again(net)
    same(net, other, spikes(9, 8, 2))
    assert (other.notation, other.input_shape, other.potentials) == (net.notation, (9, 8, 2), "float16")
    with pytest.raises(ValueError, match=r"network: x must be \(T, N, 9, 8, 2\) for 9x8x2-4c3"):
        other(spikes(8, 9, 2))
    net.layers[0] = cs.Conv(2, 4, 3, stride=2, padding=1)  # a layer that was exchanged is the one that is saved
    same(net, again(net), spikes(9, 8, 2))


def test_shared_parts_are_shared(again, tmp_path):
    layer, hook, srm = cs.Dense(4, 4), partial(cs.quantize, step=0.5), cs.SRM(theta=2.0)
    a, b = cs.Dense(4, 4, weight_hook=hook), cs.Dense(4, 4, weight_hook=hook)
    b.weight = a.weight
    inner = cs.Sequential(layer, srm)
    net = cs.Sequential(layer, srm, inner, a, srm, inner, b, cs.SRM(theta=2.0))
    other = again(net)
    same(net, other, spikes(4))
    assert other[0] is other[2].layers[0]
    assert other[2] is other[5]
    assert other[1] is other[4] is other[2].layers[1]
    assert other[1] is not other[7]
    assert other[3].weight is other[6].weight
    assert other[3].weight_hook is other[6].weight_hook
    with np.load(tmp_path / "net.npz") as file:
        assert len(file.files) == 3  # the description, and two weights


def test_what_trains_and_what_does_not(again):
    net = cs.Sequential(cs.Dense(3, 3), SRM, cs.Dropout(0.5), cs.Dense(3, 2), SRM)
    net[0].weight.requires_grad = False
    net.train(False)
    other = again(net)
    assert [p.requires_grad for p in other.parameters()] == [False, True]
    assert [other[2].training, other[3].training] == [False, False]
    assert again(cs.Sequential(cs.Dropout(0.5)))[0].training is True


def test_time_constants_that_are_parameters(again):
    """Their bounds, what is frozen, and the neurons that share one."""
    tau = Bounded([3.0, 4.0], least=1.0)
    net = cs.Sequential(cs.Dense(3, 2), cs.LIF(tau=tau), cs.Dense(2, 2), cs.CUBA(tau_v=tau), cs.LIF(5.0, trained=True))
    net[4].tau.requires_grad = False
    other = again(net)
    found = other[1].tau
    assert (type(found), found.least, found.most, found.requires_grad) == (Bounded, 1.0, np.inf, True)
    assert other[3].tau_v is found
    frozen = other[4].tau
    assert (frozen.least, frozen.most, frozen.requires_grad) == (0.25, 1e4, False)


def test_numbers_that_are_not_finite(again, tmp_path):
    net = cs.Network("3-2", SRM)
    net[0].weight.data[1, 1] = np.nan
    with pytest.raises(ValueError, match=r"^save: Dense's weight has NaN or an infinity$"):
        again(net)
    assert list(tmp_path.iterdir()) == []


def test_the_random_generator_is_left_alone(tmp_path):
    net = cs.Network("4-3", SRM)
    cs.seed(0)
    expected = backend.generator().random()
    cs.seed(0)
    cs.save(net, tmp_path / "net.npz")
    cs.load(tmp_path / "net.npz")
    assert backend.generator().random() == expected


def test_the_file_describes_itself_without_code(tmp_path):
    net = cs.Network("34x34x2-4c5-2a-10", cs.SRM(theta=7.0))
    cs.save(net, tmp_path / "net.npz")
    with np.load(tmp_path / "net.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        assert {file[name].dtype.kind for name in file.files} == {"U", "f"}
    assert (about["format"], about["version"]) == ("cuslayer network", 1)
    last = about["objects"][-1]
    assert (last["class"]["name"], last["options"]["notation"]) == ("Network", "34x34x2-4c5-2a-10")
    srm = next(each for each in about["objects"] if each["class"]["name"] == "SRM")
    assert (srm["options"]["theta"], srm["options"]["dt"]) == (7.0, 1.0)


def test_to_the_gpu_and_back(tmp_path):
    cs.seed(4)
    net = cs.Sequential(cs.Dense(4, 3, weight_hook=cs.WeightNorm()), SRM, cs.Delay(3, dt=1.0, max_delay=2.0))
    cs.save(net, tmp_path / "cpu.npz")
    with strict():
        cs.use("cuda")
        there = cs.load(tmp_path / "cpu.npz")
        assert all(backend.namespace(p.data) is not np for p in there.parameters())
        cs.save(there, tmp_path / "cuda.npz")
        cs.use("cpu")
    same(net, cs.load(tmp_path / "cuda.npz"), spikes(4))
