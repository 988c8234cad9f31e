"""Names of stages and parameters, states that are loaded in part, and values set in the place of others."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import cuslayer as cs
from tests.support.refused import refuses


def named(outputs=2, **out):
    cs.seed(1)
    normed = cs.Dense(4, 3, bias=True, weight_hook=cs.WeightNorm())
    nested = cs.Sequential(inner=cs.Dense(3, 3), spikes=cs.LIF())
    loop = cs.Recurrent(cs.Dense(3, 3), cs.LIF(trained=True))
    stages = {"hidden": cs.CUBA(trained=True), "body": nested, "last": cs.Dense(3, 3), "loop": loop}
    return cs.Sequential(normed, **stages, **(out or {"out": cs.Dense(3, outputs)}))


NAMES = [
    *("0.weight", "0.weight_hook.scale", "0.bias", "hidden.tau_i", "hidden.tau_v", "body.inner.weight"),
    *("last.weight", "loop.neuron.tau", "loop.layer.weight", "out.weight"),
]
# The same parameters in a state of version 0.2.
NUMBERS = ["0.0", "0.1", "0.bias", "1.0", "1.1", "2.0.0", "3.0", "4.0", "4.layer.weight", "5.0"]


def test_stages_and_parameters_have_names():
    net = named()
    assert list(net.named_parameters()) == list(net.state()) == NAMES
    assert net.hidden is net["hidden"] is net[1]
    assert (net.body.inner, net["0"]) == (net[2][0], net[0])
    assert {"hidden", "out"} < set(dir(net))
    assert "\n  hidden: CUBA(" in repr(net)
    assert list(copy.deepcopy(net).state()) == NAMES
    assert list(net[2:4].state()) == ["body.inner.weight", "last.weight"]
    with pytest.raises(AttributeError, match=r"^'Sequential' object has no attribute 'hiden'$"):
        _ = net.hiden
    with refuses("Sequential: layer 'hiden' is none of its layers"):
        _ = net["hiden"]
    for name in ("train", "layers", "_out", "a-b"):
        with refuses("Sequential: a stage must have a name that is no attribute of networks"):
            cs.Sequential(**{name: cs.Dense(3, 2)})


def test_the_neurons_scale_of_a_named_stage_is_in_its_state():
    net = cs.Sequential(cs.Dense(4, 3), spikes=cs.LIF())
    net.load_state(net.state() | {"spikes.scale_rho": np.array(0.25)})
    assert net.state()["spikes.scale_rho"] == net.spikes.scale_rho == 0.25
    net.load_state({"0.0": net[0].weight.data, "1.scale_rho": np.array(0.5)})
    assert net.spikes.scale_rho == 0.5


def test_files_keep_names_and_states_by_number_are_read(tmp_path):
    class Mine(cs.Sequential):
        pass

    net = named()
    for made in (net, Mine(cs.Dense(4, 3), spikes=cs.LIF())):
        cs.save(made, tmp_path / "net.npz")
        again = cs.load(tmp_path / "net.npz", classes=[Mine])
        assert list(again.state()) == list(made.state())
    arrays = [p.data + np.float32(1) for p in net.parameters()]
    net.load_state(dict(zip(NUMBERS, arrays, strict=True)))
    for p, array in zip(net.parameters(), arrays, strict=True):
        np.testing.assert_array_equal(p.data, array)
    net.layers.append(cs.LIF())
    with refuses("save: stages with names must be the last"):
        cs.save(net, tmp_path / "net.npz")


def test_a_state_is_loaded_in_part():
    net, other = named(), named(head=cs.Dense(3, 5))
    before = net.out.weight.data.copy()
    state = {name: array + np.float32(0.5) for name, array in other.state().items()}
    loaded = net.load_state(state, strict=False)
    assert loaded == (("out.weight",), ("head.weight",))
    assert (loaded.missing, loaded.unexpected) == loaded
    assert (net.out.weight.data == before).all()
    np.testing.assert_array_equal(net.hidden.tau_v.data, state["hidden.tau_v"])
    with refuses("load_state: parameter out.weight is missing"):
        net.load_state(state)
    wrong = {"last.weight": np.zeros((3, 3)), "out.weight": np.zeros((3, 5))}
    kept = net.state()
    with refuses("load_state: parameter out.weight has shape (3, 5), the network's has shape (3, 2)"):
        net.load_state(wrong, strict=False)
    assert all((net.state()[name] == array).all() for name, array in kept.items())
    assert net.load_state(net.state()) == ((), ())


def test_a_record_and_an_explanation_take_names():
    net = cs.Sequential(hidden=cs.Dense(4, 3), spikes=cs.LIF(), out=cs.Dense(3, 2), last=cs.LIF())
    x = np.random.default_rng(0).random((20, 2, 4)) < 0.5
    with cs.record(net) as seen:
        net(x)
    assert seen["spikes"].potential.shape == (20, 2, 3)
    assert cs.explain(net, x, layer="last", index=0, time=9).layer.startswith("layer 3 ")
    with refuses("Sequential: layer 'first' is none of its layers"):
        _ = seen["first"]


def test_a_stage_is_replaced_unless_an_optimizer_has_its_parameters():
    net = named()
    net.out = head = cs.Dense(3, 7)
    assert net.layers[-1] is net.out is head
    with refuses("Sequential: layer 5, Dense(4, 7), does not fit what is before it: dense: x has 3"):
        net.out = cs.Dense(4, 7)
    assert net.out is head
    optimizer = cs.Adam(net.parameters(), lr=0.1)
    with refuses("Sequential: out must stay the stage whose parameters an optimizer has"):
        net.out = cs.Dense(3, 7)
    with refuses("Dense: bias must stay the tensor that an optimizer has", "got None; "):
        net[0].bias = None
    assert all(any(p is held for held in optimizer.parameters) for p in net.parameters())


def test_names_of_nested_networks_have_dots():
    net = cs.Sequential(first=cs.Dense(4, 3), block=cs.Sequential(hidden=cs.Dense(3, 2), spikes=cs.LIF()))
    assert net["block.hidden"] is net["1.0"] is net.block.hidden
    x = np.ones((10, 1, 4), bool)
    with cs.record(net, layers="block.spikes") as seen:
        net(x)
    assert seen["block.hidden"].potential.shape == (10, 1, 2)
    assert cs.explain(net, x, layer="block.spikes", index=0, time=9).index == (0,)
    for name, message in (
        ("block.hiden", "layer 'hiden' is none of its layers; did you mean hidden"),
        ("first.weight", "layer 'first.weight' lies in Dense, which is no network"),
    ):
        with pytest.raises(ValueError, match=f"^Sequential: {message}"):
            _ = net[name]


@pytest.mark.parametrize(
    "net", [cs.Sequential(cs.Dense(4, 3)), cs.Parallel(cs.Dense(4, 3)), cs.Network("4-3", cs.SRM())]
)
def test_a_copy_has_stages_of_its_own_list(net):
    other = copy.copy(net)
    assert [a is b for a, b in zip(other, net, strict=True)] == [True] * len(net)
    other.stages.append(None)
    assert len(other) == len(net) + 1


@pytest.mark.parametrize("net", [cs.Dense(4, 3), cs.Sequential(cs.Dense(4, 3), cs.LIF())])
def test_a_state_is_a_mapping(net):
    refused = "load_state: state must be a mapping from names to arrays, got"
    for state, hint in ((net, f"{type(net).__name__}; pass its .state()"), ("net.npz", "str; cs.load reads a file")):
        for call in (net.load_state, net.check_state):
            with pytest.raises(TypeError) as problem:
                call(state)
            assert str(problem.value) == f"{refused} {hint}"
