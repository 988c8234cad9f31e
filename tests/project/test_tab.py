"""What Tab completion shows of an object: what a user calls and sets, and no machinery."""

import pydoc
from abc import ABC, abstractmethod

import pytest

import cuslayer as cs

SHOWN = {
    "layer": (cs.Dense(4, 3), {"weight", "bias", "state", "load_state", "parameters", "train", "eval", "output_shape"}),
    "network": (cs.Sequential(hidden=cs.Dense(4, 3), out=cs.LIF()), {"hidden", "out", "stream", "layers", "state"}),
    "neurons": (cs.LIF(), {"tau", "theta", "spread", "psp", "response", "surrogate", "forget"}),
    "population": (cs.Recurrent(cs.Dense(3, 3), cs.CUBA()), {"layer", "neuron", "delay", "balance"}),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_names_that_tab_shows_work(kind):
    thing, needed = SHOWN[kind]
    names = [name for name in dir(thing) if name[:2] != "__"]
    assert needed <= set(names)
    hidden = {"as_drawn", "draw_again", "scale_output", "one_pass", "srm_form", "spiking", "expand"}
    assert not hidden & set(names)
    assert not [name for name in names if name[:1] == "_"]


@pytest.mark.parametrize(
    ("kind", "shown", "hidden"),
    [
        (
            cs.Dense,
            {"form", "effective_weight", "load_state", "train"},
            {"draw_again", "start_at", "as_drawn", "weighted"},
        ),
        (
            cs.StepNeuron,
            {"step", "states", "decays", "spread", "psp"},
            {"own_layer", "axon_delay", "weight_grid", "with_gradient"},
        ),
        (cs.Sequential, {"expand", "stream", "load_state"}, {"check_state", "least_change", "joined_shape"}),
    ],
)
def test_help_shows_no_inherited_machinery(kind, shown, hidden):
    assert shown <= set(dir(kind))
    assert not hidden & set(dir(kind))
    page = pydoc.render_doc(kind, renderer=pydoc.plaintext)
    assert not [name for name in hidden if f" |  {name}(" in page or f" |  {name} = " in page]


def test_layers_and_neurons_mix_with_abstract_classes():
    class Block(cs.Layer, ABC):
        @abstractmethod
        def __call__(self, x): ...

    class Kept(Block):
        def __call__(self, x):
            return x

    with pytest.raises(TypeError, match="abstract"):
        Block()
    assert cs.Sequential(Kept())([[[1.0]]]).shape == (1, 1, 1)
