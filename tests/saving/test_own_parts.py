"""Layers, neurons and functions of one's own in saved networks, and what is refused and how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.parameter import Bounded
from tests.support.lif import LIF, Lookalike

SRM = cs.SRM(theta=1.0)


@dataclass(frozen=True)
class Fast(cs.SRM):
    """A neuron of one's own, as a dataclass."""

    boost: float = 1.0


class Gain(cs.Layer):
    """A layer with a parameter, an array that is not trained, and lists of both."""

    def __init__(self, features, *, start=1.0):
        self.features, self.start = features, start
        self.gain = cs.Tensor(np.full(features, start), requires_grad=True)
        self.mean = np.zeros(features)
        self.more = [cs.Tensor(np.zeros(2)), {"deep": (np.zeros(3), None)}]
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
        (
            lambda: cs.Dense(2, 2, weight_hook=lambda w: w),
            "Dense's weight_hook is a lambda or a function in a function",
        ),
        (lambda: cs.Sequential(lambda x: x), "Sequential's part 0 is a lambda or a function in a function"),
        (
            lambda: cs.Sequential(cs.Sequential(Forgetful(3))),
            "Forgetful's argument gain is not an attribute; keep it as ",
        ),
        (
            lambda: cs.Dense(2, 2, weight_hook=partial(twice, limits={1})),
            "Dense's weight_hook's limits is of type set, which a ",
        ),
        (lambda: cs.Sequential(Loose(gain=2)), r"Loose's constructor takes \*\*rest; define saved_options\(\)"),
        (
            lambda: cs.Sequential(partial(twice, object())),
            "Sequential's part 0 is of type object, which a file cannot hold",
        ),
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
    with pytest.raises(TypeError, match="is one of two classes or functions named LIF, rename one of them"):
        cs.save(cs.Sequential(LIF(), other()), tmp_path / "net.npz")
    for given, name in ((np.ones(2), "ndarray"), (None, "NoneType"), ([cs.Dense(2, 2)], "list")):
        with pytest.raises(TypeError, match=f"^save: net must be a network, a layer or a neuron, got {name}$"):
            cs.save(given, tmp_path / "net.npz")


def test_arrays_that_no_constructor_makes(tmp_path):
    """They would have no place in the object that is made anew, or one of another shape."""
    late, grown = Renamed(2), Renamed(2)
    late.more, grown.weight = np.zeros(2), cs.Tensor(np.zeros(3))
    with pytest.raises(
        ValueError, match=r"^save: Renamed's more has no place in the Renamed that its constructor make"
    ):
        cs.save(late, tmp_path / "net.npz")
    with pytest.raises(
        ValueError, match=r"^save: Renamed's weight has shape \(3,\), its constructor's has shape \(2,\)$"
    ):
        cs.save(grown, tmp_path / "net.npz")


def test_methods_of_own_neurons(tmp_path):
    """Those that they inherit are saved, those of their own are not."""
    fast = Fast(theta=0.5)
    other = again(cs.Sequential(cs.Dense(3, 2), fast.psp, fast.spike), tmp_path, classes=[Fast])
    assert other[1].__self__ is other[2].__self__
    own = type("Own", (Fast,), {"psp": lambda self, x: x})
    with pytest.raises(TypeError, match=r"^save: Sequential's part 0 is the method .*, which a file cannot hold"):
        cs.save(cs.Sequential(own().psp), tmp_path / "own.npz")
    with pytest.raises(ValueError, match=r"^save: Picky cannot be made: size must be a tuple$"):
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
        with pytest.raises(TypeError, match=r"^load: classes must be a list of classes and functions, got "):
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
    hook = partial(cs.quantize, step=0.25, limits=(-4, 4))
    return filled(
        cs.Sequential(
            cs.Conv(2, 4, (3, 5), stride=(1, 2), padding=(1, 2), groups=2, weight_hook=hook, bias=True),
            EXACT,
            cs.Pool((2, 1), stride=2, padding=1, gain=1.1 * EXACT.theta, weight_hook=hook),
            EXACT,
            cs.ConvTranspose(4, 6, 2, stride=2, output_padding=1, groups=2, weight_hook=(cs.WeightNorm(), hook)),
            cs.SRM(theta=0.5, surrogate=cs.surrogates.MultiGaussian(0.2, 5.0)),
            cs.Delay((11, 7, 6), dt=1.0, max_delay=3.0),
            cs.Unpool(2, gain=2.0),
            cs.FilterBank(2, 5),
            cs.SRM(theta=0.5),
            cs.Shift(2.0, dt=1.0),
            cs.Decimate(2, how="max"),
            cs.Average(3),
            potentials="float16",
        )
    )


def neurons():
    """Flat layers in evaluation mode, with branches, a layer at two places, shared and frozen tensors, and methods."""
    shared, lif = cs.Dense(4, 4), cs.LIF(tau=np.array([2.0, 3.0, 4.0, 5.0]), theta=0.3, reset="subtract")
    tied, small = cs.Dense(4, 4, bias=True), cs.SRM(theta=0.1)
    net = cs.Sequential(
        cs.Network("4-4r-4", cs.CUBA(tau_i=3.0, theta=0.3, trained=True)),
        cs.BatchNorm(4, scale="power", trained=True, mean_hook=partial(cs.quantize, step=0.5)),
        cs.KWinners(3),
        lif,
        cs.Parallel(shared, cs.Sequential(shared, EXACT, cs.Dropout(0.5)), join="concatenate"),
        cs.Dense(8, 4, weight_hook=cs.WeightNorm()),
        cs.AdaptiveLIF(tau_i=2.0, theta=0.3, trained=True, bounds=(1.0, 50.0)),
        tied,
        cs.Recurrent(cs.Dense(4, 4), cs.LIF(tau=4.0, theta=0.5), delay=2.0),
        cs.Dense(4, 4),
        cs.ResonateAndFire(theta=0.3, reset=None),
        cs.Dense(4, 4),
        cs.Loihi(vth_mant=4),
        cs.Dense(4, 4),
        cs.SampledSRM([0.0, 1.0, 0.5], [0.0, -2.0], theta=1.0),
        cs.TemporalFilter(EXACT),
        cs.SigmaDelta(theta=0.1, activation=None),
        small.psp,
        small.spike,
        partial(functions.shift, delay=1.0),
        cs.Affine(4, 2, tau=[3.0, 4.0], trained=True, bias=True),
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
        Doubled(4, 4, weight_hook=(twice, partial(cs.quantize, step=0.5))),
        LIF(tau=2.5),
        partial(leak, rate=0.25),
    )
    net[0].mean[:], net[0].more[1]["deep"][0][:] = (1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0)
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
        (mean, deep), found = ((x[0].mean, x[0].more[1]["deep"][0]) for x in (net, other))
        assert (mean.tolist(), deep.tolist()) == (found[0].tolist(), found[1].tolist())
        assert (other[0].start, other[1].owner) == (2.0, other[1])
    flags = ([layer.training for layer in each.layers_within()] for each in (net, other))
    assert next(flags) == next(flags)
    if fires:
        x = np.arange(30 * 2 * np.prod(shape)).reshape(30, 2, *shape) * 7 % 5 < 2
        expected, found = net(x).numpy(), other(x).numpy()
        assert expected.any()
        np.testing.assert_array_equal(found, expected)
