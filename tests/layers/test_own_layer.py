"""Layers of the user's own: the tensors and layers that are their attributes belong to them."""

import re

import numpy as np
import pytest

import cuslayer as cs
from tests.support.refused import refuses

SRM = cs.SRM(tau_rho=30.0)


class Everything(cs.Layer):
    """Tensors and layers as attributes, in lists, tuples and dictionaries, and in layers within."""

    def __init__(self):
        self.scale = cs.Tensor([2.0], requires_grad=True)
        self.several = [cs.Dense(3, 3), (cs.Tensor(np.ones(3), requires_grad=True), "text")]
        self.by_name = {"left": cs.Dense(3, 3), "right": {"inner": Inner()}}
        self.neuron, self.count, self.nothing = SRM, 3, None
        self.again = self.several[0]
        self.frozen = cs.Tensor(np.zeros(3))
        self.body = cs.Sequential(cs.Dense(3, 3), SRM, cs.Sequential(Inner()))

    def __call__(self, x):
        x = self.several[0](x) * self.scale + self.several[1][0] + self.frozen
        self.last = x  # not a parameter: an operation made it
        return self.body(self.by_name["right"]["inner"](self.by_name["left"](x)))


class Inner(cs.Layer):
    def __init__(self):
        self.drop, self.gain = cs.Dropout(0.5), cs.Tensor([1.5], requires_grad=True)

    def __call__(self, x):
        return self.drop(x) * self.gain


NAMES = [
    *("scale", "several.0.weight", "several.1.0", "by_name.left.weight", "by_name.right.inner.gain"),
    *("frozen", "body.0.weight", "body.2.0.gain"),
]


def test_parameters_and_names():
    layer = Everything()
    assert list(layer.named_parameters()) == list(layer.state()) == NAMES
    assert [id(p) for p in layer.parameters()] == [id(p) for p in layer.named_parameters().values()]
    layer(np.ones((4, 1, 3), bool))
    assert list(layer.state()) == NAMES


def test_in_a_network():
    layer = Everything()
    net = cs.Sequential(cs.Dense(3, 3), layer, cs.Dense(3, 2), SRM)
    assert list(net.state()) == ["0.weight", *(f"1.{name}" for name in NAMES), "2.weight"]
    assert len(net.parameters()) == 10
    other = cs.Sequential(cs.Dense(3, 3), Everything(), cs.Dense(3, 2), SRM)
    other.load_state(net.state())
    assert (other[1].by_name["right"]["inner"].gain.data == 1.5).all()
    assert (other[1].several[0].weight.data == layer.several[0].weight.data).all()
    other[1].load_state({name: array + 1 for name, array in layer.state().items()})
    assert (other[1].scale.data == 3.0).all()


def test_a_state_of_the_repeated_name_is_read():
    """A layer under two names is saved once; a state that has both is read too."""
    layer = Everything()
    layer.load_state({**layer.state(), "again.weight": np.zeros((3, 3))})
    assert layer.several[0].weight.data.any()


def test_training_mode_reaches_every_layer():
    net = cs.Sequential(Everything(), cs.Parallel(cs.Sequential(cs.Dropout(0.5)), Inner()))
    drops = [net[0].by_name["right"]["inner"].drop, net[0].body[2][0].drop, net[1][0][0], net[1, 1].drop]
    for training in (False, True):
        net.train(training)
        assert [drop.training for drop in drops] == [training] * 4
        assert net[0].training == net[1].training == training
    x = np.random.default_rng(0).random((9, 2, 3)) < 0.5
    net[0].body[0].weight.data[:] = 20.0
    with cs.record(net):
        pass
    cs.explain(cs.Sequential(net[0].several[0], SRM), x, 1, 0, 3)
    assert drops[0].training
    net.train(False)
    np.testing.assert_array_equal(net(x).data, net(x).data)


def test_layers_that_hold_one_another():
    parent, child = Inner(), Inner()
    parent.child, child.parent = child, parent
    assert list(parent.state()) == ["gain", "child.gain"]
    parent.train(False)
    assert not child.drop.training


def test_a_layer_that_lists_its_parameters_has_their_names():
    class Listed(cs.Layer):
        def __init__(self):
            self.inner = cs.Dense(3, 3)

        def parameters(self):
            return self.inner.parameters()

        def __call__(self, x):
            return self.inner(x)

    assert list(cs.Sequential(SRM, Listed()).state()) == ["1.inner.weight"]
    assert list(Listed().state()) == ["inner.weight"]
    assert list(cs.Dense(3, 3).state()) == ["weight"]


def test_networks_iterate():
    net = cs.Network("4-3-2", SRM)
    assert list(net) == net.layers
    assert len(net) == 4
    assert [type(layer).__name__ for layer in net[:2]] == ["Dense", "SRM"]
    x = np.ones((20, 1, 4), bool)
    np.testing.assert_array_equal(net[2:](net[:2](x)).data, net(x).data)
    assert isinstance(net[1:3], cs.Sequential)
    assert net[1:3][1] is net[2]
    assert cs.Sequential(cs.Dense(2, 2), potentials="float16")[:1].potentials == "float16"
    both = cs.Parallel(net, cs.Sequential(), join="concatenate")
    assert list(both) == both.branches
    assert both[:1].branches == [net]
    assert both[:1].join == "concatenate"
    assert SRM in net
    with refuses("Sequential: no layer 7 in 1"):
        cs.Sequential(SRM)[7]


NEURON = cs.SRM(tau_rho=30.0)


def adding(kind):
    """Return a subclass of a layer that adds a tensor and a layer."""

    class Adding(kind):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.gain, self.more = cs.Tensor([2.0], requires_grad=True), {"dense": cs.Dense(2, 2)}

        def __call__(self, x):
            y = super().__call__(x) * self.gain
            return self.more["dense"](y) if y.shape[-1] == 2 else y

    return Adding


LAYERS = {
    "Dense": (cs.Dense, (4, 2), {}),
    "normed": (cs.Dense, (4, 2), {"weight_hook": cs.WeightNorm}),
    "Conv": (cs.Conv, (2, 2, 3), {}),
    "SumPool": (cs.SumPool, (2,), {"gain": 1.0}),
    "Delay": (cs.Delay, (4,), {"dt": 1.0}),
    "FilterBank": (cs.layers.FilterBank, (2, 3), {}),
    "TemporalFilter": (cs.layers.TemporalFilter, (NEURON,), {}),
    "Dropout": (cs.Dropout, (0.5,), {}),
}


@pytest.mark.parametrize("case", LAYERS)
def test_what_a_subclass_adds_is_found(case):
    kind, args, options = LAYERS[case]
    made = {name: value() if isinstance(value, type) else value for name, value in options.items()}
    fresh = {name: value() if isinstance(value, type) else value for name, value in options.items()}
    plain, layer = kind(*args, **made), adding(kind)(*args, **fresh)
    assert list(layer.state()) == [*plain.state(), "gain", "more.dense.weight"]
    assert layer.parameters()[-2:] == [layer.gain, layer.more["dense"].weight]
    before = list(cs.Sequential(plain).named_parameters())
    assert list(cs.Sequential(layer).named_parameters()) == [*before, "0.gain", "0.more.dense.weight"]
    nested = cs.Sequential(cs.Sequential(layer))
    assert list(nested.named_parameters()) == [*(f"0.{name}" for name in before), "0.0.gain", "0.0.more.dense.weight"]


def test_parameters_of_ones_own_decide():
    class Frozen(cs.Dense):
        def parameters(self):
            return [self.gain]

    class Extended(cs.Dense):
        def parameters(self):
            return [*super().parameters(), self.gain]

    class Body(cs.Sequential):
        def parameters(self):
            return super().parameters()[:1]

    for kind, names in ((Frozen, ["0.gain"]), (Extended, ["0.weight", "0.gain"])):
        layer = kind(4, 2)
        layer.gain = cs.Tensor([1.0], requires_grad=True)
        assert list(cs.Sequential(layer).state()) == names
        assert len(layer.parameters()) == len(names)
    body = Body(cs.Dense(4, 2), cs.Dense(2, 2))
    assert body.parameters() == [body[0].weight]
    assert list(cs.Sequential(body).state()) == ["0.0.weight"]


class Gate(cs.Layer):
    memory = 0

    def __init__(self):
        self.dense, self.gate = cs.Dense(4, 4), cs.Tensor([1.0] * 4, requires_grad=True)

    def __call__(self, x):
        return self.dense(x) * self.gate


def trained_layers():
    return cs.Sequential(
        Gate(),
        cs.Sequential(cs.Dense(4, 3, bias=True, delays=cs.SynapticDelays(3.0, dt=1.0)), cs.BatchNorm(3, trained=True)),
        cs.Delay(3, dt=1.0, max_delay=4.0),
        cs.layers.FilterBank(2, 5),
        cs.ReadOut(6, 2, trained=True, bias=True),
    )


def trained_attributes(net):
    """Return each layer with the name of an attribute that is trained."""
    names = [(layer, name) for layer in net.layers_within() for name in vars(layer)]
    return [(x, name) for x, name in names if getattr(vars(x)[name], "requires_grad", False)]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("form", [np.asarray, np.float32, lambda a: np.asarray(a).tolist(), cs.Tensor])
def test_an_array_that_is_assigned_sets_the_values_of_the_tensor(form, frozen):
    """So the optimizer goes on with it, and a file, a state and a bound too."""
    net = trained_layers()
    optimizer = cs.SGD(net.parameters(), 0.25)
    attributes = trained_attributes(net)
    assert len(attributes) == sum(p.requires_grad for p in net.parameters()) >= 12
    for layer, name in attributes:
        p = getattr(layer, name)
        p.requires_grad, dtype = not frozen, p.dtype
        values = np.random.default_rng(p.size).integers(32, 64, p.shape) / 64
        setattr(layer, name, form(values))
        assert getattr(layer, name) is p
        assert (p.dtype, p.requires_grad) == (dtype, not frozen)
        assert (p.data == values).all()
        setattr(layer, name, 0.5)
        assert getattr(layer, name) is p
        assert (p.data == 0.5).all()
        p.requires_grad, p.grad = True, np.full(p.shape, -1.0, np.float32)
    optimizer.step()
    for layer, name in attributes:
        assert (getattr(layer, name).data == 0.75).all(), name


def test_what_would_leave_the_optimizer_behind_is_refused():
    net = trained_layers()
    optimizer = cs.Adam(net.parameters())
    for layer, name in trained_attributes(net):
        p = getattr(layer, name)
        before = p.data.copy()
        for value, kind, rule in (
            (np.ones((*p.shape, 2)), ValueError, rf"must have shape {re.escape(str(p.shape))}, got \(.*2,?\)$"),
            (np.full(p.shape, np.nan), ValueError, "must be finite, got nan in it"),
            (np.full(p.shape, 1e300), ValueError, "must be finite, got inf in it"),
            (p * 2, TypeError, "must be an array or a leaf Tensor, got the result of an operation; assign its .data"),
            (cs.Tensor(before, requires_grad=True), ValueError, "must stay the tensor that an optimizer has, got an"),
            ("ones", TypeError, r"must be a Tensor or an array of shape \(.*\), got str"),
            ({}, TypeError, r"must be a Tensor or an array of shape \(.*\), got dict"),
        ):
            with pytest.raises(kind, match=rf"^{type(layer).__name__}: {name} {rule}"):
                setattr(layer, name, value)
            assert getattr(layer, name) is p
            assert (p.data == before).all()
    with refuses("Delay: delay must lie within 0 and 4"):
        net[2].delay = 5.0
    for layer, name in ((cs.Dense(4, 3), "bias"), (cs.BatchNorm(3), "gain"), (cs.BatchNorm(3), "offset")):
        with pytest.raises(TypeError, match=f"{name} must be a Tensor or None where the layer has none, got ndarray"):
            setattr(layer, name, np.ones(3))
    # A tensor that the optimizer has too may be shared, and any where there is no optimizer any more.
    net[0].gate = net[0].gate
    shared = cs.Tensor([1.0] * 4, requires_grad=True)
    del optimizer
    net[0].gate = shared
    assert net[0].gate is shared


def test_a_layer_may_keep_what_it_has_computed():
    """Of any shape, with a gradient and without."""

    class Keeping(cs.Dense):
        def __call__(self, x):
            self.last = super().__call__(x)
            return self.last

    layer = Keeping(4, 3)
    for steps in (5, 6):
        with cs.no_grad():
            layer(np.ones((steps, 2, 4)))
        assert layer(np.ones((steps + 5, 2, 4))) is layer.last
    assert layer.last.shape == (11, 2, 3)


# Traits: files, pages and counts read what a layer declares, not its class.


class Masked(cs.Dense):
    """A dense layer without the weights from input 0, which it does not count."""

    def effective_weight(self):
        return super().effective_weight() * np.float32(np.arange(4) > 0)[:, None]

    def fan_out(self, shape):
        return np.array([0.0, 3.0, 3.0, 3.0])


class Later(cs.Layer):
    """A delay of one step: a form without the class of a delay."""

    form = "delay"
    keeps_shape = keeps_steps = True
    linear = False
    dt = 1.0
    memory = 1

    def __call__(self, x):
        return cs.functions.shift(x, delay=1.0, dt=1.0)

    def lags(self):
        return np.ones(()), np.zeros(())


class Other(Masked):
    """Computes something else: nothing may take it for a dense layer."""

    def __call__(self, x):
        return super().__call__(x) * 2.0


def test_what_a_layer_declares_is_read(tmp_path):
    x = np.random.default_rng(0).random((30, 2, 4)) < 0.4
    net = cs.Sequential(Masked(4, 3, weight_scale=80.0), cs.LIF(), Later(), cs.Dense(3, 2, weight_scale=40.0), cs.LIF())
    expected = net(x).numpy()
    assert expected.any()
    cs.export_nir(net, tmp_path / "net.nir")
    read = cs.import_nir(tmp_path / "net.nir")
    assert [type(stage).__name__ for stage in read] == ["Dense", "LIF", "Shift", "Dense", "LIF"]
    np.testing.assert_array_equal(read(x).numpy(), expected)
    assert cs.inspection.count_operations(net, x).layers[0].accumulates == 3 * x[..., 1:].sum() / 2
    page = cs.write_demo(net, tmp_path / "demo.html", recordings=(x, [0, 1])).read_text("utf-8")
    kinds = re.findall(r'"kind":"(\w+)"', page)
    assert kinds.count("dense") == 2
    assert "delay" in kinds


class Weak(cs.Conv):
    def effective_weight(self):
        return super().effective_weight() * np.float32(0.1)


def test_synapses_are_counted_whatever_their_weight():
    np.testing.assert_array_equal(Weak(1, 2, 3).fan_out((4, 5, 1)), cs.Conv(1, 2, 3).fan_out((4, 5, 1)))


def test_a_form_that_is_none_is_refused():
    misspelt = type("Misspelt", (cs.Layer,), {"form": "densse", "__call__": lambda self, x: x})
    with refuses("Sequential: form of Misspelt must be one of dense, read_out, conv, conv_transpose, pool,"):
        cs.Sequential(misspelt(), cs.LIF())(np.zeros((3, 1, 4), bool))


def test_a_call_of_its_own_is_no_form(tmp_path):
    net = cs.Sequential(Other(4, 3), cs.LIF())
    with refuses("export_nir: layer 0, Other(4, 3), has no form in NIR"):
        cs.export_nir(net, tmp_path / "net.nir", input_shape=4)
    with refuses("write_demo: net must have a layer of weights or pooling, and whole delays, before each"):
        cs.write_demo(net, tmp_path / "demo.html", recordings=(np.zeros((5, 1, 4), bool), [0]))
