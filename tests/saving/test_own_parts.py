"""Layers, neurons and functions of one's own in saved networks, and what is refused and how."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import cuslayer as cs
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


def test_own_layers(tmp_path):
    cs.seed(0)
    net = cs.Sequential(Gain(4, start=2.0), Block(4), SRM, Renamed(4), Doubled(4, 4), SRM)
    rng = np.random.default_rng(1)
    gain = net[0]
    for array in (
        gain.gain.data,
        gain.mean,
        gain.more[0].data,
        gain.more[1]["deep"][0],
        *(p.data for p in net.parameters()),
    ):
        array[...] = rng.random(array.shape)
    net[1].others[0].training = False
    other = again(net, tmp_path, classes=[Gain, Block, Renamed, Doubled])
    same(net, other)
    np.testing.assert_array_equal(other[0].mean, gain.mean)
    np.testing.assert_array_equal(other[0].more[0].data, gain.more[0].data)
    np.testing.assert_array_equal(other[0].more[1]["deep"][0], gain.more[1]["deep"][0])
    assert (other[0].start, other[1].others[0].training) == (2.0, False)
    assert other[1].owner is other[1]


def test_own_functions(tmp_path):
    cs.seed(0)
    net = cs.Sequential(
        cs.Dense(4, 4, weight_hook=(twice, partial(cs.quantize, step=0.5))), partial(leak, rate=0.25), SRM, twice
    )
    same(net, again(net, tmp_path, classes=[twice, leak]))


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


def test_what_is_no_network(tmp_path):
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


def test_a_constructor_that_fails(tmp_path):
    with pytest.raises(ValueError, match=r"^save: Picky cannot be made: size must be a tuple$"):
        cs.save(cs.Sequential(Picky((3,))), tmp_path / "net.npz")
    assert list(tmp_path.iterdir()) == []


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
