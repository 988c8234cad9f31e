"""What Tab completion shows of an object: what a user calls and sets, and no machinery."""

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
