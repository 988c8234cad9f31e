"""Plots of neurons: potentials, filters, surrogate."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from tests.support.lif import LIF, Lookalike
from tests.support.pictures import lines

SRM = cs.SRM(theta=4.0, tau_sr=5.0, tau_ref=2.0, scale_ref=1.5, tau_rho=0.5, scale_rho=3.0, dt=0.5)


@pytest.fixture
def traces():
    """(T 6, N 2, neurons 3): neuron 2 of sample 1 equals the threshold at step 1 and exceeds it at step 4."""
    u = np.zeros((6, 2, 3), np.float32)
    u[:, 1, 2] = [0.0, 4.0, -3.0, 1.0, 5.0, -2.0]
    u[:, 1, 0] = np.arange(6) - 1.0
    return u


# Potential


def test_a_potential_its_threshold_and_its_spikes(traces):
    ax = cs.plot.potential(traces, neuron=SRM, sample=1, neurons=2)
    drawn = lines(ax)
    assert list(drawn) == ["threshold", "potential", "spikes"]
    assert drawn["potential"].get_xdata().tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert drawn["potential"].get_ydata().tolist() == [0.0, 4.0, -3.0, 1.0, 5.0, -2.0]
    assert (drawn["spikes"].get_xdata().tolist(), drawn["spikes"].get_ydata().tolist()) == ([0.5, 2.0], [4.0, 5.0])
    assert set(drawn["threshold"].get_ydata()) == {4.0}
    assert (ax.get_xlim(), ax.get_xlabel(), ax.get_ylabel()) == ((0.0, 3.0), "time (ms)", "potential u (a.u.)")


def test_several_potentials(traces):
    ax = cs.plot.potential(cs.Tensor(traces), neuron=SRM, sample=1)
    drawn = lines(ax)
    assert drawn["neuron 0"].get_ydata().tolist() == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert drawn["neuron 2"].get_ydata().tolist() == traces[:, 1, 2].tolist()
    assert drawn["_spikes of neuron 0"].get_xdata().tolist() == [2.5]
    assert drawn["neuron 0"].get_color() == drawn["_spikes of neuron 0"].get_color() != drawn["neuron 2"].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "threshold",
        "neuron 0",
        "neuron 1",
        "neuron 2",
    ]


def test_a_potential_is_named_by_its_place():
    u = np.arange(2 * 3 * 4 * 2, dtype=np.float64).reshape(1, 1, 2, 3, 8)
    ax = cs.plot.potential(u, neuron=SRM, neurons=[(1, 2, 3)])
    assert lines(ax)["potential"].get_ydata().tolist() == [1 * 24 + 2 * 8 + 3]
    assert lines(ax)["potential"].get_marker() == "."  # one step makes no line
    pair = cs.plot.potential(u, neuron=SRM, neurons=[(0, 0, 1), 5])
    assert {"neuron 1", "neuron 5"} < lines(pair).keys()


def test_the_spikes_are_those_of_the_library():
    rng = np.random.default_rng(0)
    a = rng.normal(0, 6, (40, 1, 1)).astype(np.float32)
    from cuslayer import kernels

    u, s = kernels.of(a).srm.spike(a, SRM.spiking)
    ax = cs.plot.potential(u, neuron=SRM)
    assert (lines(ax)["spikes"].get_xdata() / SRM.dt).tolist() == np.flatnonzero(s[:, 0, 0]).tolist()


def test_a_loihi_fires_above_its_threshold_only():
    neuron = cs.Loihi(vth_mant=1)
    u = np.array([63.0, 64.0, 65.0]).reshape(3, 1, 1)
    assert lines(cs.plot.potential(u, neuron=neuron))["spikes"].get_ydata().tolist() == [65.0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 1, 1), (3, 1, 0), (3, 1)])
def test_potentials_of_little(shape):
    ax = cs.plot.potential(np.zeros(shape), neuron=SRM)
    assert "spikes" not in lines(ax) or not len(lines(ax)["spikes"].get_xdata())
    ax.figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("kind", "message", "u", "options"),
    [
        (ValueError, "u must be (T, N, ...), got shape (3,)", np.zeros(3), {}),
        (IndexError, "sample must be under 1, got 1", np.zeros((3, 1, 1)), {"sample": 1}),
        (TypeError, "u must be float32 or float64, got bool", np.zeros((3, 1, 1), bool), {}),
        (TypeError, "neuron must be a neuron, got float", np.zeros((3, 1, 1)), {"neuron": 10.0}),
        (ValueError, "neurons must be named where there are more than 8, got 9", np.zeros((3, 1, 9)), {}),
        (IndexError, "neuron 2 lies outside a layer of shape (2,)", np.zeros((3, 1, 2)), {"neurons": 2}),
        (IndexError, "neuron must be at least 0, got -1", np.zeros((3, 1, 2)), {"neurons": [-1]}),
        (TypeError, "neuron must be an integer, got float", np.zeros((3, 1, 2)), {"neurons": 0.5}),
        (
            IndexError,
            "neuron (0, 2, 0) lies outside a layer of shape (2, 2, 1)",
            np.zeros((3, 1, 2, 2, 1)),
            {"neurons": [(0, 2, 0)]},
        ),
        (
            IndexError,
            "neuron (0, 1) lies outside a layer of shape (2, 2, 1)",
            np.zeros((3, 1, 2, 2, 1)),
            {"neurons": [(0, 1)]},
        ),
        (TypeError, "ax must be matplotlib Axes, got str", np.zeros((3, 1, 1)), {"ax": "left"}),
    ],
)
def test_what_a_potential_refuses(kind, message, u, options):
    with pytest.raises(kind, match=re.escape(f"potential: {message}")):
        cs.plot.potential(u, **{"neuron": SRM} | options)


# Filters


def test_the_two_filters_of_a_neuron():
    ax = cs.plot.filters(SRM)
    spike, refractory, _ = ax.get_lines()
    assert np.array_equal(spike.get_ydata(), SRM.response)
    assert np.array_equal(refractory.get_ydata(), SRM.refractory / 4.0)
    assert spike.get_xdata()[spike.get_ydata().argmax()] == SRM.tau_sr
    assert refractory.get_xdata()[refractory.get_ydata().argmin()] == SRM.tau_ref
    assert refractory.get_ydata().min() == pytest.approx(-1.5)
    assert ax.get_xlim() == (0.0, (len(SRM.response) - 1) * 0.5)
    assert ax.get_xlabel() == "time since a spike (ms)"
    assert ["spike" in spike.get_label(), "refractory" in refractory.get_label()] == [True, True]


def test_a_loihi_has_one_response():
    neuron = cs.Loihi()
    response, _ = cs.plot.filters(neuron).get_lines()
    assert np.array_equal(response.get_ydata(), neuron.response)


@pytest.mark.parametrize("wrap", [np.asarray, cs.Tensor], ids=["array", "tensor"])
def test_learned_filters(wrap):
    taps = np.array([[0.0, 1.0, -2.0], [3.0, 4.0, 5.0]], np.float32)
    ax = cs.plot.filters(wrap(taps), dt=2.0)
    first, second, _ = ax.get_lines()
    assert (first.get_xdata().tolist(), first.get_ydata().tolist()) == ([0.0, 2.0, 4.0], [0.0, 1.0, -2.0])
    assert second.get_ydata().tolist() == [3.0, 4.0, 5.0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["filter 0", "filter 1"]
    alone = cs.plot.filters(wrap(taps[0]))
    assert alone.get_lines()[0].get_xdata().tolist() == [0.0, 1.0, 2.0]
    assert alone.get_legend() is None


def test_filters_of_layers():
    single, bank = cs.TemporalFilter(SRM), cs.FilterBank(3, 7)
    assert np.array_equal(cs.plot.filters(single, dt=0.5).get_lines()[0].get_ydata(), single.weight.data)
    drawn = [line.get_ydata() for line in cs.plot.filters(bank).get_lines()[:3]]
    assert np.array_equal(drawn, bank.weight.data)


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 3), (1, 1)])
def test_filters_of_little(shape):
    cs.plot.filters(np.ones(shape)).figure.savefig(io.BytesIO())


@pytest.mark.parametrize(
    ("kind", "message", "of", "options"),
    [
        (ValueError, "taps must be (taps,) or (filters, taps), got shape (1, 1, 2)", np.ones((1, 1, 2)), {}),
        (TypeError, "taps must be numbers, got bool", np.ones(3, bool), {}),
        (TypeError, "taps must be numbers, got <U3", "abc", {}),
        (ValueError, "dt must be positive, got 0", np.ones(3), {"dt": 0.0}),
        (ValueError, "dt must be left out for a neuron, whose own is 0.5 ms", SRM, {"dt": 1.0}),
        (TypeError, "ax must be matplotlib Axes, got int", SRM, {"ax": 1}),
    ],
)
def test_what_filters_refuse(kind, message, of, options):
    with pytest.raises(kind, match=re.escape(f"filters: {message}")):
        cs.plot.filters(of, **options)


# Surrogate


def test_the_surrogate_is_what_backward_multiplies_by():
    ax = cs.plot.surrogate(SRM)
    u, rho = lines(ax)[r"$\rho(u)$"].get_data()
    a = cs.Tensor(u.reshape(1, -1, 1), requires_grad=True)
    # A single step: no refraction, so the potential is the filtered input.
    SRM.spike(a).backward(np.ones((1, len(u), 1)))
    assert np.allclose(rho * SRM.dt, a.grad.ravel(), rtol=1e-12)
    assert u[rho.argmax()] == SRM.theta
    assert rho.max() == pytest.approx(3.0 / (0.5 * 4.0))
    assert set(lines(ax)["threshold"].get_xdata()) == {4.0}
    assert ax.get_xlabel() == "potential u (a.u.)"


def test_the_width_of_the_surrogate_is_shaded():
    ax = cs.plot.surrogate(SRM)
    corners = ax.collections[0].get_paths()[0].vertices
    assert (corners[:, 0].min(), corners[:, 0].max()) == (4.0 - 2.0, 4.0 + 2.0)
    assert corners[:, 1].min() == 0.0


def test_the_surrogate_of_a_loihi():
    neuron = cs.Loihi(tau_rho=0.5, scale_rho=2.0)
    u, rho = lines(cs.plot.surrogate(neuron))[r"$\rho(u)$"].get_data()
    assert rho.max() == pytest.approx(neuron.constants.height)
    assert u[rho.argmax()] == 5120.0


def test_what_the_surrogate_refuses():
    with pytest.raises(TypeError, match="surrogate: neuron must be a neuron, got NoneType"):
        cs.plot.surrogate(None)
    with pytest.raises(TypeError, match="surrogate: ax must be matplotlib Axes, got str"):
        cs.plot.surrogate(SRM, "here")


def test_pictures_share_a_figure_and_a_time_axis(traces):
    figure = Figure()
    above, below = figure.subplots(2, 1, sharex=True)
    assert cs.plot.raster(traces >= 4.0, above, dt=0.5) is above
    assert cs.plot.potential(traces, below, neuron=SRM, neurons=0) is below
    assert above.get_xlim() == below.get_xlim() == (0.0, 3.0)
    assert figure.axes == [above, below]


# User-written neurons


def test_the_potential_of_a_user_written_neuron():
    class Above(LIF):
        def fires(self, u):
            return u > self.theta

    u = np.array([0.5, 1.0, 1.5]).reshape(3, 1, 1)
    assert lines(cs.plot.potential(u, neuron=LIF()))["spikes"].get_ydata().tolist() == [1.0, 1.5]
    ax = cs.plot.potential(u, neuron=Above(dt=0.5))
    assert lines(ax)["spikes"].get_xdata().tolist() == [1.0]
    assert set(lines(ax)["threshold"].get_ydata()) == {1.0}
    assert lines(cs.plot.potential(4 * u, neuron=Lookalike()))["spikes"].get_ydata().tolist() == [2.0, 4.0, 6.0]


def test_the_surrogate_of_a_user_written_neuron():
    neuron = LIF(theta=2.0)
    ax = cs.plot.surrogate(neuron)
    u, rho = lines(ax)[r"$\rho(u)$"].get_data()
    assert np.array_equal(rho, neuron.surrogate(u))
    assert (u[0], u[-1]) == (2.0 - 5 * 2.0, 2.0 + 5 * 2.0)
    assert set(lines(ax)["threshold"].get_xdata()) == {2.0}


def test_a_neuron_without_a_surrogate_is_refused():
    with pytest.raises(ValueError, match="surrogate: neuron must define its surrogate, Lookalike does not"):
        cs.plot.surrogate(Lookalike())


def test_the_filters_of_a_user_written_neuron():
    class Refractory(LIF):
        @property
        def refractory(self):
            return np.array([0.0, -2.0, -1.0])

    for neuron in (LIF(dt=0.5), Lookalike()):
        (response, _) = cs.plot.filters(neuron).get_lines()
        assert np.array_equal(response.get_ydata(), neuron.response)
        assert response.get_xdata()[1] == 0.5
    _, refractory, _ = cs.plot.filters(Refractory(theta=2.0)).get_lines()
    assert refractory.get_ydata().tolist() == [0.0, -1.0, -0.5]
    _, refractory, _ = cs.plot.filters(Refractory(theta=0.0)).get_lines()
    assert refractory.get_ydata().tolist() == [0.0, -2.0, -1.0]
