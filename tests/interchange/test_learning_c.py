"""A network in C that learns does what its stream in Python does, up to rounding."""

import ctypes

import numpy as np
import pytest

import cuslayer as cs
from tests.interchange.test_export_c import compiled, needs_gcc
from tests.support.kinds import Quadratic
from tests.support.refused import raises

pytestmark = [pytest.mark.all, needs_gcc]

RNG = np.random.default_rng(0)
# A step so small that no weight moves a spike by its rounding.
RATE = 5e-4
NETWORKS = {
    "LIF": lambda: [cs.Dense(12, 10, weight_scale=8.0), cs.LIF(), cs.ReadOut(10, 4)],
    "SRM, three layers": lambda: [
        *(cs.Dense(12, 10, weight_scale=8.0), cs.SRM(theta=1.0), cs.Dropout(0.1)),
        *(cs.Dense(10, 9, weight_scale=8.0), cs.SRM(theta=1.0), cs.ReadOut(9, 4, tau=5.0)),
    ],
    "coefficients that change": lambda: [
        *(cs.Dense(12, 10, weight_scale=30.0), cs.AdLIF(tau_u=np.linspace(5.0, 25.0, 10))),
        *(cs.Dense(10, 9, weight_scale=30.0), cs.LIF(gradient="exact"), cs.ReadOut(9, 4)),
    ],
    "own step": lambda: [cs.Dense(12, 10, weight_scale=8.0), Quadratic(gradient="exact"), cs.ReadOut(10, 4)],
    "spikes": lambda: [cs.Dense(12, 10, weight_scale=8.0), cs.CUBA(), cs.Dense(10, 4, weight_scale=8.0), cs.CUBA()],
}


def library_of(net, x, folder):
    written = cs.export_c(net, folder / "net", recording=x, learns=True)
    library = compiled(written)
    library.net_learn.restype = ctypes.c_float
    library.net_learn.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_float]
    return library, ctypes.create_string_buffer(written.memory + 64)


@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_learns_as_the_stream(name, numbers, tmp_path):
    net = cs.Sequential(*NETWORKS[name]()).eval()
    x = RNG.random((150, 1, 12)) < 0.25
    x = x.astype(np.float32) if numbers else x
    labels = RNG.integers(0, 4, len(x))
    library, state = library_of(net, x, tmp_path)
    assert library.net_selftest() == 0
    before = [p.data.copy() for p in net.parameters()]
    optimizer = cs.SGD(net.parameters(), lr=RATE, momentum=0.0)
    stream = net.stream(online="factored", loss=cs.CrossEntropyLoss(), optimizer=optimizer)
    library.net_reset(state)
    probabilities = []
    losses = []
    for frame, label in zip(x, labels, strict=True):
        given = np.flatnonzero(frame[0]).astype(np.uint16) if not numbers else np.ascontiguousarray(frame[0])
        arguments = [given.ctypes.data_as(ctypes.c_void_p), *([] if numbers else [ctypes.c_uint32(len(given))])]
        library.net_step(state, *arguments, (ctypes.c_float * 4)())
        probabilities.append(library.net_learn(state, int(label), RATE))
        stream.step(frame)
        losses.append(stream.learn(np.array([label])))
    np.testing.assert_allclose(probabilities, np.exp(-np.array(losses)), atol=2e-5)
    for number, layer in enumerate(net.layers):
        if isinstance(layer, (cs.Dense, cs.ReadOut)):
            learned = np.array((ctypes.c_float * layer.weight.size).in_dll(library, f"net_weight_{number}"))
            assert abs(learned - before.pop(0).ravel()).max() > 1e-4
            np.testing.assert_allclose(learned, layer.weight.data.ravel(), atol=1e-5)
    library.net_forget()
    assert library.net_selftest() == 0


def test_what_cannot_learn_in_c(tmp_path):
    def export(*stages, shape=12):
        return lambda: cs.export_c(cs.Sequential(*stages), tmp_path / "net", input_shape=shape, learns=True)

    rule = "net_learn needs a Dense layer without bias and weight hook right before it"
    raises(f"layer 1 LIF.* {rule}", export(cs.Dense(12, 3, bias=True), cs.LIF(), cs.ReadOut(3, 2)))
    raises(f"layer 1 LIF.* {rule}", export(cs.Conv(1, 2, 3), cs.LIF(), cs.ReadOut((2, 2, 2), 2), shape=(4, 4, 1)))
    raises("layer 1 LIF.* does not train constants", export(cs.Dense(12, 3), cs.LIF(trained=True), cs.ReadOut(3, 2)))
    raises("net must end in neurons or a ReadOut", export(cs.Dense(12, 3), cs.LIF(), cs.Dense(3, 2)))
