"""Plots of neurons and of a training: what is drawn and where, so that a swapped axis fails."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.plot.style import LIGHT
from cuslayer.training import EpochStats, GradientFlow
from tests.support.lif import LIF, Lookalike
from tests.support.pictures import image_spikes, lines, marks
from tests.support.refused import refuses

SRM = cs.SRM(theta=4.0, tau_sr=5.0, tau_ref=2.0, scale_ref=1.5, tau_rho=0.5, scale_rho=3.0, dt=0.5)


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def refused(draw, errors, **usual):
    """Check errors: (kind, message, first argument, options)."""
    for kind, message, given, options in errors:
        with pytest.raises(kind, match=f"^{draw.__name__}: " + re.escape(message)):
            draw(given, **usual | options)


def test_a_raster_has_time_to_the_right_and_neurons_upward():
    spikes = np.zeros((20, 1, 3), bool)
    spikes[4, 0, 2] = spikes[15, 0, 0] = True
    for given in (spikes, cs.Tensor(spikes), spikes.astype(np.uint8)):
        ax = cs.plot.raster(given, dt=0.5)
        (line,) = ax.get_lines()
        assert marks(line) == [(2.0, 2), (7.5, 0)]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.0, 10.0), (-0.5, 2.5))
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_legend()) == ("time (ms)", "neuron", None)
    assert line.get_linestyle() == "None"


def test_a_raster_colours_polarities_and_classes():
    ax = cs.plot.raster(image_spikes(), sample=1, groups="channel")
    off, on = ax.get_lines()
    assert (marks(off), marks(on)) == ([(1.0, 16)], [(7.0, 7), (8.0, 7)])
    assert (off.get_color(), on.get_color()) == LIGHT.polarities
    assert names(ax) == ["OFF", "ON"]
    spikes = np.eye(4, dtype=bool)[:, None]
    ax = cs.plot.raster(spikes, groups=np.array([1, 0, 1, 0]), labels=["left", "right"])
    assert [marks(line) for line in ax.get_lines()] == [[(1.0, 1), (3.0, 3)], [(0.0, 0), (2.0, 2)]]
    assert names(ax) == ["left", "right"]
    # Of images too, groups of one's own are not polarities; a group may be empty.
    own = np.broadcast_to(np.array([2, 2, 2, 0])[:, None], (3, 4, 2))
    ax = cs.plot.raster(image_spikes(), sample=1, groups=own)
    assert [marks(line) for line in ax.get_lines()] == [[(7.0, 7), (8.0, 7)], [], [(1.0, 16)]]
    ax = cs.plot.raster(image_spikes(), sample=1, groups=own // 2)
    assert names(ax) == ["0", "1"]
    drawn = cs.plot.raster(spikes, groups="channel").get_lines()
    assert [(line.get_label(), marks(line)) for line in drawn] == [(str(n), [(float(n), n)]) for n in range(4)]
    assert len({str(x.get_color()) for x in cs.plot.raster(np.ones((2, 1, 30), bool), groups="channel").lines}) == 30


def test_many_spikes_are_dots_and_one_picture():
    few = cs.plot.raster(np.ones((3, 1, 4), bool)).get_lines()[0]
    many = cs.plot.raster(np.ones((30, 1, 800), bool)).get_lines()[0]
    assert (few.get_marker(), many.get_marker()) == ("|", ".")
    assert (few.get_rasterized(), many.get_rasterized()) == (False, True)


def test_what_a_raster_refuses():
    one, two = np.ones((3, 1, 1), bool), np.ones((3, 1, 2), bool)
    refused(
        cs.plot.raster,
        [
            (ValueError, "spikes must be (T, N, ...), got shape (3,)", np.ones(3, bool), {}),
            (IndexError, "sample must be under 1, got 1", one, {"sample": 1}),
            (TypeError, "spikes must be booleans or counts, got float32", one.astype(np.float32), {}),
            (TypeError, "ax must be matplotlib Axes, got Figure", one, {"ax": Figure()}),
            (ValueError, "groups must be one of channel, got 'class'", one, {"groups": "class"}),
            (ValueError, "spikes must have a channel axis", one[:, 0, 0], {"groups": "channel", "sample": None}),
            (ValueError, "spikes must be (T, N, ...), got shape (3, 1); sample=None draws", one[:, 0], {}),
            (ValueError, "groups have shape (3,), the neurons have shape (2,)", two, {"groups": [0, 1, 2]}),
            (TypeError, "groups must be integers, got float64", two, {"groups": np.array([0.0, 1.0])}),
            (ValueError, "labels must be as many as the groups, got 1 and 2", two, {"groups": [0, 1], "labels": "a"}),
        ],
    )


@pytest.fixture
def traces():
    """(T 6, N 2, neurons 3): neuron 2 of sample 1 equals the threshold at step 1 and exceeds it at step 4."""
    u = np.zeros((6, 2, 3), np.float32)
    u[:, 1, 2] = [0.0, 4.0, -3.0, 1.0, 5.0, -2.0]
    u[:, 1, 0] = np.arange(6) - 1.0
    return u


def test_a_potential_its_threshold_and_its_spikes(traces):
    ax = cs.plot.potential(traces, neuron=SRM, sample=1, neurons=2)
    drawn = lines(ax)
    assert list(drawn) == ["threshold", "potential", "spikes"]
    assert marks(drawn["potential"]) == [(0.0, 0.0), (0.5, 4.0), (1.0, -3.0), (1.5, 1.0), (2.0, 5.0), (2.5, -2.0)]
    assert marks(drawn["spikes"]) == [(0.5, 4.0), (2.0, 5.0)]
    assert set(drawn["threshold"].get_ydata()) == {4.0}
    assert (ax.get_xlim(), ax.get_xlabel(), ax.get_ylabel()) == ((0.0, 3.0), "time (ms)", "potential u (a.u.)")


def test_several_potentials(traces):
    ax = cs.plot.potential(cs.Tensor(traces), neuron=SRM, sample=1)
    drawn = lines(ax)
    assert drawn["neuron 0"].get_ydata().tolist() == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert drawn["_spikes of neuron 0"].get_xdata().tolist() == [2.5]
    assert drawn["_spikes of neuron 2"].get_xdata().tolist() == [0.5, 2.0]
    assert drawn["neuron 0"].get_color() == drawn["_spikes of neuron 0"].get_color() != drawn["neuron 2"].get_color()
    assert names(ax) == ["threshold", "neuron 0", "neuron 1", "neuron 2"]
    u = np.arange(2 * 3 * 4 * 2, dtype=np.float64).reshape(1, 1, 2, 3, 8)
    line = lines(cs.plot.potential(u, neuron=SRM, neurons=[(1, 2, 3)]))["potential"]
    assert (line.get_ydata().tolist(), line.get_marker()) == ([1 * 24 + 2 * 8 + 3], ".")  # one step makes no line
    assert {"neuron 1", "neuron 5"} < lines(cs.plot.potential(u, neuron=SRM, neurons=[(0, 0, 1), 5])).keys()
    net = cs.Sequential(cs.Dense(2, 9), SRM)
    with cs.record(net, layers=1, neurons=[8, 3, 5]) as seen:
        net(np.ones((4, 1, 2), bool))
    assert names(cs.plot.potential(seen[1].potential, neuron=SRM))[1:] == ["neuron 8", "neuron 3", "neuron 5"]
    assert names(cs.plot.potential(seen[1].potential, neuron=SRM, neurons=[2, 0]))[1:] == ["neuron 5", "neuron 8"]


def test_the_current_of_a_potential(traces):
    current = 2 * traces
    drawn = lines(cs.plot.potential(traces, neuron=SRM, sample=1, neurons=2, current=current))
    assert drawn["current"].get_ydata().tolist() == current[:, 1, 2].tolist()
    drawn = lines(cs.plot.potential(traces, neuron=SRM, sample=1, neurons=[0, 2], current=current))
    assert drawn["_current of neuron 2"].get_ydata().tolist() == current[:, 1, 2].tolist()


def test_a_potential_of_a_record_by_the_number_of_a_neuron():
    net = cs.Sequential(cs.Dense(4, 3), cs.LIF(), cs.Dense(3, 2))
    with cs.record(net) as seen:
        net(np.ones((20, 1, 4), bool))
    found = lines(cs.plot.potential(seen[1], neuron=2))
    np.testing.assert_array_equal(found["potential"].get_ydata(), seen[1].potential.values[:, 0, 2])
    assert len(names(cs.plot.potential(seen[1], neuron=[0, 2]))) == 3
    with refuses("record: layer 2 (Dense(3, 2)) has no potential, only output, output_error"):
        cs.plot.potential(seen[2], neuron=0)
    with refuses("potential: neuron must be a neuron, or u the record of a layer"):
        cs.plot.potential(seen[1].potential, neuron=2)


def test_what_a_potential_refuses():
    u = np.zeros((3, 1, 2))
    refused(
        cs.plot.potential,
        [
            (ValueError, "u must be (T, N, ...), got shape (3,)", np.zeros(3), {}),
            (IndexError, "sample must be under 1, got 1", u, {"sample": 1}),
            (TypeError, "u must be float32 or float64, got bool", u > 1, {}),
            (TypeError, "neuron must be a neuron, or u the record of a layer, got float", u, {"neuron": 10.0}),
            (ValueError, "neurons must be named where there are more than 8, got 9", np.zeros((3, 1, 9)), {}),
            (IndexError, "neuron 2 lies outside a layer of shape (2,)", u, {"neurons": 2}),
            (ValueError, "current has shape (3, 1), u has shape (3, 2)", u, {"current": u[..., :1]}),
            (TypeError, "ax must be matplotlib Axes, got str", u, {"ax": "left"}),
        ],
        neuron=SRM,
    )


def test_the_filters_of_a_neuron():
    ax = cs.plot.filters(SRM)
    spike, refractory, _ = ax.get_lines()
    assert np.array_equal(spike.get_ydata(), SRM.response)
    assert np.array_equal(refractory.get_ydata(), SRM.refractory / 4.0)
    assert spike.get_xdata()[spike.get_ydata().argmax()] == SRM.tau_sr
    assert refractory.get_xdata()[refractory.get_ydata().argmin()] == SRM.tau_ref
    assert ax.get_xlim() == (0.0, (len(SRM.response) - 1) * 0.5)
    assert ax.get_xlabel() == "time since a spike (ms)"
    assert ["spike" in spike.get_label(), "refractory" in refractory.get_label()] == [True, True]
    for neuron in (cs.Loihi(), LIF(dt=0.5), Lookalike()):
        response, _ = cs.plot.filters(neuron).get_lines()
        assert np.array_equal(response.get_ydata(), neuron.response)

    class Refractory(LIF):
        @property
        def refractory(self):
            return np.array([0.0, -2.0, -1.0])

    for theta in (2.0, 0.0):
        _, refractory, _ = cs.plot.filters(Refractory(theta=theta)).get_lines()
        assert refractory.get_ydata().tolist() == [0.0, -2.0 / (theta or 1), -1.0 / (theta or 1)]


@pytest.mark.parametrize("wrap", [np.asarray, cs.Tensor], ids=["array", "tensor"])
def test_learned_filters(wrap):
    taps = np.array([[0.0, 1.0, -2.0], [3.0, 4.0, 5.0]], np.float32)
    ax = cs.plot.filters(wrap(taps), dt=2.0)
    first, second, _ = ax.get_lines()
    assert marks(first) == [(0.0, 0.0), (2.0, 1.0), (4.0, -2.0)]
    assert second.get_ydata().tolist() == [3.0, 4.0, 5.0]
    assert names(ax) == ["filter 0", "filter 1"]
    alone = cs.plot.filters(wrap(taps[0]))
    assert alone.get_lines()[0].get_xdata().tolist() == [0.0, 1.0, 2.0]
    assert alone.get_legend() is None
    bank = cs.layers.FilterBank(3, 7)
    assert np.array_equal([line.get_ydata() for line in cs.plot.filters(bank).get_lines()[:3]], bank.weight.data)
    for shape in ((0,), (1,), (0, 3)):
        cs.plot.filters(wrap(np.ones(shape))).figure.savefig(io.BytesIO())


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
    corners = ax.collections[0].get_paths()[0].vertices  # the width is shaded
    assert (corners[:, 0].min(), corners[:, 0].max(), corners[:, 1].min()) == (4.0 - 2.0, 4.0 + 2.0, 0.0)
    own = LIF(theta=2.0)
    u, rho = lines(cs.plot.surrogate(own))[r"$\rho(u)$"].get_data()
    assert np.array_equal(rho, own.surrogate(u))
    assert (u[0], u[-1]) == (2.0 - 5 * 2.0, 2.0 + 5 * 2.0)
    refused(
        cs.plot.surrogate,
        [
            (TypeError, "neuron must be a neuron, got NoneType", None, {}),
            (ValueError, "neuron must define its surrogate, Lookalike does not", Lookalike(), {}),
        ],
    )


def test_the_spikes_are_those_of_the_neuron():
    class Above(LIF):
        def fires(self, u):
            return u > self.theta

    u = np.array([0.5, 1.0, 1.5]).reshape(3, 1, 1)
    assert lines(cs.plot.potential(u, neuron=LIF()))["spikes"].get_ydata().tolist() == [1.0, 1.5]
    ax = cs.plot.potential(u, neuron=Above(dt=0.5))
    assert lines(ax)["spikes"].get_xdata().tolist() == [1.0]
    assert lines(cs.plot.potential(4 * u, neuron=Lookalike()))["spikes"].get_ydata().tolist() == [2.0, 4.0, 6.0]


# Plots of a training: learning curves, gradient flow, and the confusion matrix.

ROWS = [
    EpochStats(1, 4.0, 0.2, None, None, 1.0),
    EpochStats(2, 2.0, 0.5, None, None, 1.0, 3.0, 0.4),
    EpochStats(4, 1.0, 0.8, 2.5, 0.6, 1.0, 2.0, 0.5),
]


def drawn(ax):
    return {line.get_label(): line.get_data() for line in ax.get_lines()}


def test_learning_curves():
    for value, label, scale in (("loss", "loss of a sample", "log"), ("accuracy", "accuracy (%)", "linear")):
        for rows in (ROWS, cs.training.Stats(ROWS)):
            ax = cs.plot.learning_curves(rows, Figure().subplots(), value=value)
            lines = drawn(ax)
            assert list(lines) == names(ax) == ["train", "validation", "test"]
            assert [line.get_markersize() for line in ax.get_lines()] == [3, 3, 6]  # the test is a single mark
            for part in lines:
                values = [getattr(row, f"{part}_{value}") for row in ROWS]
                assert list(lines[part][0]) == [1, 2, 4]
                np.testing.assert_array_equal(lines[part][1], [np.nan if v is None else v for v in values])
            assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("epoch", label, scale)


def test_gradient_flow():
    flow = GradientFlow(cs.Sequential(cs.Dense(2, 2)))
    flow.epochs = [{"0 Dense": 0.5}, {"0 Dense": 0.125}]
    ax = cs.plot.gradient_flow(flow)
    epochs, sizes = drawn(ax)["0 Dense"]
    assert (list(epochs), list(sizes), ax.get_yscale()) == ([1, 2], [0.5, 0.125], "log")
    gaps = drawn(cs.plot.gradient_flow([{"a": 1.0}, {}, {"a": 0.0, "b": 2.0}]))
    np.testing.assert_array_equal(gaps["a"][1], [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(gaps["b"][1], [np.nan, np.nan, 2.0])
    many = cs.plot.gradient_flow([{str(n): 1.0 + n for n in range(9)}])
    assert len({str(line.get_color()) for line in many.get_lines()}) == 9


def test_the_results_of_a_sweep():
    rows = [((1e-3, "a", True), 3.0), ((0.1, "b", False), 1.0), ((0.01, "a", True), 2.0)]
    for value, best in (("loss", 1), ("accuracy", 0)):
        panels = cs.plot.sweep_results(["lr", "kind", "flag"], rows, value)
        assert [panel.get_xlabel() for panel in panels] == ["lr", "kind", "flag"]
        assert [panel.get_xscale() for panel in panels] == ["log", "linear", "linear"]
        for number, panel in enumerate(panels):
            places = [point[number] if number == 0 else str(point[number]) for point, _ in rows]
            points, mark = panel.get_lines()
            assert list(zip(*points.get_data(), strict=True)) == list(zip(places, (3.0, 1.0, 2.0), strict=True))
            assert list(zip(*mark.get_data(), strict=True)) == [(places[best], rows[best][1])]


def test_a_sweep_over_two_values_has_their_grid():
    rows = [((0.1, ["b"]), 0.5), ((0.1, "a"), 0.25), ((0.01, "a"), 1.0)]
    (panel,) = cs.plot.sweep_results(["lr", "kind"], rows)
    assert panel.images[0].get_array().tolist() == [[None, 0.5], [1.0, 0.25]]
    assert (panel.get_xlabel(), [tick.get_text() for tick in panel.get_xticklabels()]) == ("lr", ["0.01", "0.1"])
    assert (panel.get_ylabel(), [tick.get_text() for tick in panel.get_yticklabels()]) == ("kind", ["['b']", "a"])
    assert {text.get_position(): text.get_text() for text in panel.texts} == {
        **{(0, 1): "100.0%", (1, 1): "25.0%"},
        (1, 0): "50.0%",
    }


def test_what_curves_refuse():
    refused(
        cs.plot.learning_curves,
        [
            (ValueError, "value must be one of loss, accuracy, score, got 'acuracy'", ROWS, {"value": "acuracy"}),
            (TypeError, "a row must have train_loss, got dict", [{"train_loss": 1.0}], {}),
            (TypeError, "ax must be matplotlib Axes, got str", ROWS, {"ax": "x"}),
        ],
    )
    refused(cs.plot.gradient_flow, [(TypeError, "an epoch must be a mapping of sizes by name, got float", [1.0], {})])


def test_confusion_has_the_truth_downward():
    ax = cs.plot.confusion([0, 0, 0, 0, 2], [0, 1, 1, 1, 2])
    assert ax.images[0].get_array().tolist() == [[0.25, 0.75, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert {text.get_position(): text.get_text() for text in ax.texts} == {(0, 0): "1", (1, 0): "3", (2, 2): "1"}
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")) == ("taken for", "class", "40.0% of 5 right")
    assert ax.yaxis_inverted()
    assert ax.images[0].get_clim() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "message", "labels", "predicted", "options"),
    [
        (ValueError, "labels has shape (2,), predicted has shape (1,)", [0, 1], [0], {}),
        (TypeError, "predicted must be integers, got float64", [0], [0.5], {}),
        (ValueError, "labels must be classes from 0, got -1", [-1], [0], {}),
        (ValueError, "a class must be under 2, got 2", [0], [2], {"classes": 2}),
        (ValueError, "names must be as many as the classes, got 1 and 2", [0], [1], {"names": ["a"]}),
        (TypeError, "ax must be matplotlib Axes, got int", [0], [1], {"ax": 1}),
    ],
)
def test_what_confusion_refuses(kind, message, labels, predicted, options):
    refused(cs.plot.confusion, [(kind, message, labels, {"predicted": predicted})], **options)


def test_a_record_is_drawn_by_the_numbers_in_the_network():
    net = cs.Sequential(cs.Dense(6, 8, weight_scale=20.0), cs.LIF())
    x = np.random.default_rng(0).random((40, 4, 6)) < 0.3
    with cs.record(net) as whole:
        net(x)
    with cs.record(net, neurons=[5, 2], samples=[3, 1]) as some:
        net(x)
    line = cs.plot.potential(some[1], neuron=5, sample=3).get_lines()[1]
    np.testing.assert_array_equal(line.get_ydata(), whole[1].potential.values[:, 3, 5])
