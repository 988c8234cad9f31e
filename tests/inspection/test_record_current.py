"""The current of Loihi's neurons, as it is recorded, against Python's integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from tests.support import reference

RNG = np.random.default_rng(6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 30),
    st.integers(0, 4),
    st.sampled_from(["float32", "float64"]),
    st.builds(cs.Loihi, i_decay=st.integers(1, 4095), wgt_exp=st.integers(-7, 7), first_bin=st.booleans()),
    st.floats(0, 6),
    st.integers(0, 2**32 - 1),
)
def test_is_a_plain_loop(steps, columns, dtype, neuron, size, seed):
    x = np.rint(np.random.default_rng(seed).standard_normal((steps, columns)) * 10**size).astype(dtype)
    found = neuron.current(x)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    np.testing.assert_array_equal(found, reference.loihi_current(x, neuron))


def test_what_is_no_number_is_the_smallest_state():
    x = np.array([[np.inf], [-np.inf], [np.nan], [0.0]], np.float32)
    assert cs.Loihi(i_decay=2048).current(x).ravel().tolist() == [8388607.0, -8388607.0, -8388607.0, -4194303.0]


@pytest.mark.parametrize("potentials", ["full", "float16"])
@pytest.mark.parametrize("gradients", [True, False])
def test_recorded_in_a_network(potentials, gradients):
    neuron = cs.Loihi(vth_mant=20, ref_delay=2, wgt_exp=-1)
    net = cs.Network("6x5x2-3c3-2a-4", neuron, potentials=potentials)
    x = RNG.random((25, 2, 6, 5, 2)) < 0.4
    plain = net(x).data
    with cs.record(net) as seen:
        if gradients:
            net(x)
        else:
            with cs.no_grad():
                net(x)
    for position in (1, 4, 7):
        record = seen[position]
        flat = record.weighted.reshape(25, -1)
        expected = reference.loihi_current(flat, neuron).reshape(record.weighted.shape)
        assert expected.any()
        np.testing.assert_array_equal(record.current, expected)
        # Where the voltage is not held, it is its decayed value and the current.
        v, _ = reference.loihi(flat, neuron)
        np.testing.assert_array_equal(record.potential.reshape(25, -1), v)
    assert (net(x).data == plain).all()
    with cs.record(net, layers=1, neurons=[(0, 0, 1), 5], samples=1, window=(10, 20)) as part:
        net(x)
    whole = seen[1].current[10:20, [1]].reshape(10, 1, -1)
    np.testing.assert_array_equal(part[1].current, whole[..., [1, 5]])
    assert part[1].current.dims == ("time", "sample", "neuron")
    assert repr(part[1].current) == "Labelled(current: time 10, sample 1, neuron 2; float32)"


def test_xarray():
    pytest.importorskip("xarray")
    net = cs.Network("3-2", cs.Loihi())
    with cs.record(net) as seen:
        net(RNG.random((10, 1, 3)) < 0.5)
    found = seen[1].to_xarray()
    assert found["current"].dims == ("time", "sample", "neuron")
    np.testing.assert_array_equal(found["current"], seen[1].current)


def test_neurons_without_a_current_say_so():
    for neuron in (cs.SRM(), cs.SampledSRM()):
        net = cs.Sequential(cs.Dense(3, 2), neuron)
        with cs.record(net) as seen:
            net(RNG.random((10, 1, 3)) < 0.5)
        with pytest.raises(ValueError, match=r"record: layer 1 .* has no current, only weighted, potential, spikes"):
            _ = seen[1].current


def test_drawn_with_the_potential():
    neuron = cs.Loihi(vth_mant=20)
    net = cs.Sequential(cs.Dense(3, 2, weight_scale=100), neuron)
    with cs.record(net) as seen:
        net(RNG.random((30, 1, 3)) < 0.5)
    ax = cs.plot.potential(seen[1].potential, neuron=neuron, neurons=1, current=seen[1].current)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["current"], seen[1].current[:, 0, 1])
    np.testing.assert_array_equal(lines["potential"], seen[1].potential[:, 0, 1])
    assert cs.plot.potential(seen[1].potential, neuron=neuron, current=seen[1].current).get_lines()
    with pytest.raises(ValueError, match=r"potential: current has shape \(30, 1\), u has shape \(30, 2\)"):
        cs.plot.potential(seen[1].potential, neuron=neuron, current=seen[1].current[:, :, :1])
