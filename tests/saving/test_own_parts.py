"""Layers, neurons and functions of one's own in saved networks, and what is refused and how."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from cuslayer._parameter import Bounded
from tests.support.lif import LIF, Lookalike
from tests.support.refused import refuses
from tools.fake_cupy import strict

SRM = cs.SRM(theta=1.0)


@dataclass(frozen=True)
class Fast(cs.SRM):
    """A neuron of one's own, as a dataclass."""

    boost: float = 1.0


class Deep(NamedTuple):
    array: np.ndarray
    nothing: None


class Gain(cs.Layer):
    """A layer with a parameter, an array that is not trained, and lists of both."""

    def __init__(self, features, *, start=1.0):
        self.features, self.start = features, start
        self.gain = cs.Tensor(np.full(features, start), requires_grad=True)
        self.mean = np.zeros(features)
        self.more = [cs.Tensor(np.zeros(2)), {"deep": Deep(np.zeros(3), None)}]
        self.note = "not an array"

    def parameters(self):
        return [self.gain]

    def __call__(self, x):
        return x * self.gain


class Block(cs.Layer):
    """A layer that makes its own layers."""

    def __init__(self, features):
        self.features = features
        self.inner = cs.Dense(features, features, weight_hook=cs.WeightNorm())
        self.others = [cs.Dropout(0.5), cs.Delay(features, dt=1.0)]
        self.owner = self  # layers may refer to each other

    def parameters(self):
        return [*self.inner.parameters(), *self.others[1].parameters()]

    def __call__(self, x):
        return self.others[1](self.inner(x))


class Renamed(cs.Layer):
    """A layer whose attributes have other names than its arguments."""

    def __init__(self, size):
        self._size = size
        self.weight = cs.Tensor(np.zeros(size), requires_grad=True)

    def saved_options(self):
        return {"size": self._size}

    def parameters(self):
        return [self.weight]

    def __call__(self, x):
        return x + self.weight


class Forgetful(cs.Layer):
    def __init__(self, size, gain=1.0):
        self.size, self._gain = size, gain

    def __call__(self, x):
        return x * self._gain


class Loose(cs.Layer):
    def __init__(self, **rest):
        self.rest = rest

    def __call__(self, x):
        return x


class Doubled(cs.Dense):
    """A layer that derives from one of the library's, with its constructor."""

    def __call__(self, x):
        return super().__call__(x) * 2


class Picky(cs.Layer):
    def __init__(self, size):
        if not isinstance(size, tuple):
            raise RuntimeError("size must be\na tuple")
        self.size = size[0]

    def __call__(self, x):
        return x


@cs.differentiable
def leak(x, /, *, rate):
    """An operation of one's own."""
    return x * (1 - rate), lambda grad: grad * (1 - rate)


def twice(weight):
    return weight * 2


def again(net, folder, **options):
    cs.save(net, folder / "net.npz")
    return cs.load(folder / "net.npz", **options)


def same(net, other, features=4):
    x = np.random.default_rng(0).random((20, 2, features)) < 0.3
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    np.testing.assert_array_equal(net(x).numpy(), other(x).numpy())


def test_own_neurons(tmp_path):
    cs.seed(0)
    net = cs.Sequential(cs.Dense(4, 3), LIF(tau=2.5), cs.Dense(3, 3), Fast(theta=0.5, boost=3.0))
    other = again(net, tmp_path, classes=[LIF, Fast])
    same(net, other)
    assert (other[1].tau, other[3], other[3].boost) == (2.5, net[3], 3.0)
    same(net, again(net, tmp_path, classes={"LIF": LIF, "Fast": Fast}))
    assert type(again(Lookalike(), tmp_path, classes=[Lookalike])) is Lookalike


def loop():
    layer = Renamed(2)
    layer.saved_options = lambda: {"size": layer}
    return layer


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: cs.Dense(2, 2, weight_hook=lambda w: w), "Dense's weight_hook is a lambda or a function in a functio"),
        (lambda: cs.Sequential(cs.Sequential(Forgetful(3))), "Forgetful's argument gain is not an attribute; keep it"),
        (lambda: cs.Dense(2, 2, weight_hook=partial(twice, limits={1})), "Dense's weight_hook's limits is of type set"),
        (lambda: cs.Sequential(Loose(gain=2)), r"Loose's constructor takes \*\*rest; define saved_options\(\)"),
        (lambda: cs.Sequential(partial(twice, object())), "Sequential's part 0 is of type object, which a file cannot"),
        (loop, "Renamed's size holds itself, which a file cannot hold"),
        (lambda: cs.Sequential(SRM.__call__), "is the method __call__, which a file cannot hold"),
        (lambda: cs.Sequential(SRM.fires), "is the method fires, which a file cannot hold: only psp and spike of"),
    ],
)
def test_what_cannot_be_saved(tmp_path, net, message):
    with pytest.raises(TypeError, match=f"^save: .*({message})") as caught:
        cs.save(net(), tmp_path / "net.npz")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_two_classes_of_one_name(tmp_path):
    other = type("LIF", (LIF,), {})
    with refuses("save: Sequential's part 1 is one of two classes or functions named LIF, rename one of them"):
        cs.save(cs.Sequential(LIF(), other()), tmp_path / "net.npz")
    for given in (np.ones(2), None, [cs.Dense(2, 2)]):
        with refuses("save: net must be a network, a layer or a neuron"):
            cs.save(given, tmp_path / "net.npz")


def test_arrays_that_no_constructor_makes(tmp_path):
    """They would have no place in the object that is made anew, or one of another shape."""
    late, grown = Renamed(2), Renamed(2)
    late.more, grown.weight = np.zeros(2), cs.Tensor(np.zeros(3), requires_grad=True)
    with refuses("save: Renamed's more has no place in the Renamed that its constructor makes, which must"):
        cs.save(late, tmp_path / "net.npz")
    with refuses("save: Renamed's weight has shape (3,), its constructor's has shape (2,)"):
        cs.save(grown, tmp_path / "net.npz")


def test_methods_of_own_neurons(tmp_path):
    """Those that they inherit are saved, those of their own are not."""
    fast = Fast(theta=0.5)
    other = again(cs.Sequential(cs.Dense(3, 2), fast.psp, fast.spike), tmp_path, classes=[Fast])
    assert other[1].__self__ is other[2].__self__
    own = type("Own", (Fast,), {"psp": lambda self, x: x})
    with refuses("save: Sequential's part 0 is the method <lambda>, which a file cannot hold: only psp and"):
        cs.save(cs.Sequential(own().psp), tmp_path / "own.npz")
    with refuses("save: Picky cannot be made: size must be a tuple"):
        cs.save(cs.Sequential(Picky((3,))), tmp_path / "picky.npz")
    assert not (tmp_path / "picky.npz").exists()


def test_classes_that_are_not_given(tmp_path):
    with pytest.raises(
        ValueError, match=r"^load: .*net\.npz: the class LIF is in it, which is not given; pass classes=\[LIF\]$"
    ):
        again(cs.Sequential(LIF()), tmp_path)
    with pytest.raises(ValueError, match=r"the function twice is in it, which is not given; pass classes=\[twice\]$"):
        again(cs.Sequential(twice), tmp_path, classes=[LIF])
    for classes in (LIF, [3], {"LIF": None}, 5):
        with refuses("load: classes must be a list of classes and functions"):
            cs.load(tmp_path / "net.npz", classes=classes)


def test_a_name_of_the_library_for_an_own_class(tmp_path):
    """A class of one's own that is called Dense is not taken for the library's."""
    own = type("Dense", (cs.Dense,), {"__call__": lambda self, x: x})
    with pytest.raises(ValueError, match="the class Dense is in it, which is not given"):
        again(cs.Sequential(own(2, 2)), tmp_path)
    assert type(again(cs.Sequential(own(2, 2)), tmp_path, classes=[own])[0]) is own


# Files, also those of version 0.2, are read to the bit: all kinds of parts, what is shared, flags


FILES = Path(__file__).parents[1] / "support/files"
EXACT = cs.SRM(theta=1.5, tau_sr=4.0, tau_ref=2.0, scale_ref=3.0, tau_rho=0.5, scale_rho=0.25, gradient="exact")
OWN = [Block, Doubled, Fast, Gain, LIF, Renamed, leak, twice]


def filled(net):
    """Give every parameter numbers that depend on no random generator."""
    for number, p in enumerate(net.parameters()):
        least = 0.5 if isinstance(p, Bounded) else -1.0
        p.data[...] = (least + (np.arange(p.size) * 7 + number) % 9 / 4).reshape(p.shape)
    return net


def layers():
    hook = partial(cs.functions.quantize, step=0.25, limits=(-4, 4))
    return filled(
        cs.Sequential(
            cs.Conv(2, 4, (3, 5), stride=(1, 2), padding=(1, 2), groups=2, weight_hook=hook, bias=True),
            EXACT,
            cs.SumPool((2, 1), stride=2, padding=1, gain=1.1 * EXACT.theta, weight_hook=hook),
            EXACT,
            cs.ConvTranspose(4, 6, 2, stride=2, output_padding=1, groups=2, weight_hook=(cs.WeightNorm(), hook)),
            cs.SRM(theta=0.5, surrogate=cs.surrogates.MultiGaussian(0.2, 5.0)),
            cs.Delay((11, 7, 6), dt=1.0, max_delay=3.0),
            cs.layers.Unpool(2, gain=2.0),
            cs.layers.FilterBank(2, 5),
            cs.SRM(theta=0.5),
            cs.layers.Shift(2.0, dt=1.0),
            cs.layers.Decimate(2, how="max"),
            cs.layers.Average(3),
            potentials="float16",
        )
    )


def neurons():
    """Flat layers in evaluation mode, with branches, a layer at two places, shared and frozen tensors, and methods."""
    shared, lif = cs.Dense(4, 4), cs.LIF(tau=np.array([2.0, 3.0, 4.0, 5.0]), theta=0.3, reset="subtract")
    tied, small = cs.Dense(4, 4, bias=True), cs.SRM(theta=0.1)
    net = cs.Sequential(
        cs.Network("4-4r-4", cs.CUBA(tau_i=3.0, theta=0.3, trained=True)),
        cs.BatchNorm(4, scale="power", trained=True, mean_hook=partial(cs.functions.quantize, step=0.5)),
        cs.layers.KWinners(3),
        lif,
        cs.Parallel(shared, cs.Sequential(shared, EXACT, cs.Dropout(0.5)), join="concatenate"),
        cs.Dense(8, 4, weight_hook=cs.WeightNorm()),
        cs.AdaptiveLIF(tau_i=2.0, theta=0.3, trained=True, bounds=(1.0, 50.0)),
        tied,
        cs.Recurrent(cs.Dense(4, 4), cs.LIF(tau=4.0, theta=0.5), delay=2.0),
        cs.Dense(4, 4),
        cs.neurons.ResonateAndFire(theta=0.3, reset=None),
        cs.Dense(4, 4),
        cs.Loihi(vth_mant=4),
        cs.Dense(4, 4),
        cs.neurons.SampledSRM([0.0, 1.0, 0.5], [0.0, -2.0], theta=1.0),
        cs.layers.TemporalFilter(EXACT),
        cs.neurons.SigmaDelta(theta=0.1, activation=None),
        small.psp,
        small.spike,
        partial(functions.shift, delay=1.0),
        cs.ReadOut(4, 2, tau=[3.0, 4.0], trained=True, bias=True),
        cs.tanh,
    )
    net[9].weight = net[11].weight = tied.weight
    filled(net)
    net[1].var.data[...] = 2.0
    net[13].weight.requires_grad = False
    net.train(False)
    return net


def own_parts():
    net = cs.Sequential(
        Gain(4, start=2.0),
        Block(4),
        Fast(theta=0.5, boost=3.0),
        Renamed(4),
        Doubled(4, 4, weight_hook=(twice, partial(cs.functions.quantize, step=0.5))),
        LIF(tau=2.5),
        partial(leak, rate=0.25),
    )
    net[0].mean[:], net[0].more[1]["deep"].array[:] = (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0)
    net[1].others[0].training = False
    return filled(net)


@pytest.mark.parametrize(("make", "shape"), [(layers, (7, 8, 2)), (neurons, (4,)), (own_parts, (4,))])
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("fires", [False, pytest.param(True, marks=pytest.mark.all)])
def test_files_of_version_0_2_and_of_this_one(make, shape, written, fires, tmp_path):
    net, path = make(), FILES / f"network_{make.__name__.removesuffix('_parts')}.npz"
    if written:
        path = tmp_path / "net.npz"
        cs.save(net, path)
    other = cs.load(path, classes=OWN)
    assert other.potentials == net.potentials
    assert [type(stage) for stage in other] == [type(stage) for stage in net]
    names, other_names = net.named_parameters(), other.named_parameters()
    for (name, p), (other_name, q) in zip(names.items(), other_names.items(), strict=True):
        assert (name, type(p), p.requires_grad) == (other_name, type(q), q.requires_grad)
        np.testing.assert_array_equal(p.data, q.data)
    if make is own_parts:
        (mean, deep), found = ((x[0].mean, x[0].more[1]["deep"].array) for x in (net, other))
        assert (mean.tolist(), deep.tolist()) == (found[0].tolist(), found[1].tolist())
        assert (other[0].start, other[1].owner) == (2.0, other[1])
    flags = ([layer.training for layer in each.layers_within()] for each in (net, other))
    assert next(flags) == next(flags)
    if fires:
        x = np.arange(30 * 2 * np.prod(shape)).reshape(30, 2, *shape) * 7 % 5 < 2
        expected, found = net(x).numpy(), other(x).numpy()
        assert expected.any()
        np.testing.assert_array_equal(found, expected)


# A network that is saved and loaded is the same: its kinds, constants, arrays, sharing and output


@pytest.fixture
def loaded(tmp_path):
    """Save a network and return what is loaded."""
    return lambda net, **options: again(net, tmp_path, **options)


def spikes(*shape, seed=0, steps=20):
    return np.random.default_rng(seed).random((steps, 2, *shape)) < 0.3


def same_network(net, other, x):
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


def test_a_notation_with_options(loaded):
    words = [
        cs.network.Word("9x8x2"),
        cs.network.Word("4c3", stride=2, neuron=replace(EXACT, theta=2.0)),
        cs.network.Word("2a", padding=1),
    ]
    words += [cs.network.Word("6", delay=True, max_delay=4.0), cs.network.Word("4"), cs.network.Word("2avg")]
    net = cs.Network(words, EXACT, potentials="float16")
    other = loaded(net)
    same_network(net, other, spikes(9, 8, 2))
    assert (other.notation, other.input_shape, other.potentials) == (net.notation, (9, 8, 2), "float16")
    with refuses("network: x must be (T, N, 9, 8, 2) for 9x8x2-4c3-2a-6-4-2avg"):
        other(spikes(8, 9, 2))
    net.layers[0] = cs.Conv(2, 4, 3, stride=2, padding=1)  # a layer that was exchanged is the one that is saved
    same_network(net, loaded(net), spikes(9, 8, 2))


def test_shared_parts_are_shared(loaded, tmp_path):
    layer, hook, srm = cs.Dense(4, 4), partial(cs.functions.quantize, step=0.5), cs.SRM(theta=2.0)
    a, b = cs.Dense(4, 4, weight_hook=hook), cs.Dense(4, 4, weight_hook=hook)
    b.weight = a.weight
    inner = cs.Sequential(layer, srm)
    net = cs.Sequential(layer, srm, inner, a, srm, inner, b, cs.SRM(theta=2.0))
    other = loaded(net)
    same_network(net, other, spikes(4))
    assert other[0] is other[2].layers[0]
    assert other[2] is other[5]
    assert other[1] is other[4] is other[2].layers[1]
    assert other[1] is not other[7]
    assert other[3].weight is other[6].weight
    assert other[3].weight_hook is other[6].weight_hook
    with np.load(tmp_path / "net.npz") as file:
        assert len(file.files) == 3  # the description, and two weights


def test_time_constants_that_are_parameters(loaded):
    """Their bounds, what is frozen, and the neurons that share one."""
    tau = Bounded([3.0, 4.0], least=1.0)
    net = cs.Sequential(cs.Dense(3, 2), cs.LIF(tau=tau), cs.Dense(2, 2), cs.CUBA(tau_v=tau), cs.LIF(5.0, trained=True))
    net[4].tau.requires_grad = False
    other = loaded(net)
    found = other[1].tau
    assert (type(found), found.least, found.most, found.requires_grad) == (Bounded, 1.0, np.inf, True)
    assert other[3].tau_v is found
    bias = loaded(cs.Dense(3, 2, bias=Bounded([0.5, 1.0], least=0.0, most=2.0))).bias
    assert (type(bias), bias.least, bias.most) == (Bounded, 0.0, 2.0)
    frozen = other[4].tau
    assert (frozen.least, frozen.most, frozen.requires_grad) == (0.25, 1e4, False)


def test_numbers_that_are_not_finite(loaded, tmp_path):
    net = cs.Network("3-2", EXACT)
    net[0].weight.data[1, 1] = np.nan
    with refuses("save: Dense's weight has NaN or an infinity"):
        loaded(net)
    assert list(tmp_path.iterdir()) == []


def test_the_random_generator_is_left_alone(tmp_path):
    net = cs.Network("4-3", EXACT)
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
    net = cs.Sequential(cs.Dense(4, 3, weight_hook=cs.WeightNorm()), EXACT, cs.Delay(3, dt=1.0, max_delay=2.0))
    cs.save(net, tmp_path / "cpu.npz")
    with strict():
        cs.use("cuda")
        there = cs.load(tmp_path / "cpu.npz")
        assert all(backend.namespace(p.data) is not np for p in there.parameters())
        cs.save(there, tmp_path / "cuda.npz")
        cs.use("cpu")
    same_network(net, cs.load(tmp_path / "cuda.npz"), spikes(4))
