"""Tests of the notebook views: self-contained and escaped HTML with the right content."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import cuslayer as cs
from cuslayer.data import Events
from cuslayer.inspection.notebook import OFF, ON, curve
from cuslayer.inspection.structure import note_rates, output_shapes, rates_of

pytestmark = pytest.mark.all

VOID = {"img", "line", "polyline"}


class Sound(HTMLParser):
    """Parses HTML: checks that every tag is closed in order, and keeps the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.said, self.cells = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        for name, value in attrs:
            assert name not in ("onload", "onerror", "onclick")
            if name == "src":
                assert value.startswith("data:")

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data


def shown(thing):
    html = thing._repr_html_()
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    return Sound(html)


def pixels(html):
    source = re.search(r"base64,([^\"]+)", html)[1]
    with Image.open(io.BytesIO(base64.b64decode(source))) as picture:
        assert picture.mode == "RGBA"
        return np.asarray(picture)


def test_a_network_is_a_table():
    net = cs.Network("6x6x2-4c3-2a-10", cs.SRM(theta=5.0))
    said = shown(net)
    head, *rows = said.cells
    assert head == ["", "stage", "output", "parameters", "rate"]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row[2] for row in rows] == ["(6, 6, 4)", "(6, 6, 4)", "(3, 3, 4)", "(3, 3, 4)", "(10,)", "(10,)"]
    assert [row[3] for row in rows] == ["3 x 3 x 2 x 4", "", "", "", "36 x 10", ""]
    assert (rows[0][1], rows[1][1]) == (repr(net.layers[0]), "SRM(theta=5)")
    for part in ("Network 6x6x2-4c3-2a-10", "432 parameters on (6, 6, 2)", "rates appear once"):
        assert part in "".join(said.said)


@pytest.mark.parametrize("seed", range(8))
def test_rates_of_a_record_are_of_whole_layers_without_padding(seed):
    rng = np.random.default_rng(seed)
    dt, x = float(rng.choice([0.5, 1.0])), rng.random((20, 3, 6)) < 0.5
    lengths, neurons, samples, window = (
        given if rng.random() < 0.4 else None for given in (np.array([20, 9, 4]), [0, 2], [1], (0.0, 7.0))
    )
    net = cs.Sequential(cs.Dense(6, 4), cs.SRM(dt=dt, tau_sr=3.0), cs.Dense(4, 3), cs.SRM(dt=dt, tau_sr=3.0))
    with cs.record(net, neurons=neurons, samples=samples, window=window) as seen:
        net(cs.Tensor(x, lengths=lengths))
    whole = lengths is None and neurons is None
    expected = {at: 1000 / dt * np.mean(seen[at].spikes.values) for at in (1, 3) if whole}
    assert rates_of(net) == pytest.approx(expected)


def test_a_network_without_a_known_input():
    net = cs.Sequential(lambda x: x, cs.Dense(4, 3), cs.SRM())
    net.layers += [cs.Conv(1, 2, 3), cs.Dense(4, 2)]  # when it is built, these are refused
    assert output_shapes(net) == [None, (3,), (3,), None, (2,)]
    rows = shown(net).cells[1:]
    assert [row[2] for row in rows] == ["?", "(3,)", "(3,)", "?", "(2,)"]
    small = cs.Sequential(cs.Conv(1, 2, 9))
    small.input_shape = (3, 3, 1)
    assert output_shapes(small) == [None]


def test_noted_rates_are_shown():
    net, other = cs.Network("4-3", cs.SRM()), cs.Network("4-3", cs.SRM())
    note_rates(net, {1: 12.3456})
    assert [row[4] for row in shown(net).cells[1:]] == ["", "12.3 Hz"]
    # The returned dict is a copy.
    rates_of(net)[1] = 0.0
    assert (rates_of(net), rates_of(other)) == ({1: 12.3456}, {})


def test_the_repr_of_a_stage_is_escaped_and_short():
    class Odd(cs.Layer):
        def __repr__(self):
            return "<script>alert('x')</script>" + "y" * 200

        def __call__(self, x):
            return x

    net = cs.Sequential(Odd())
    assert "<script" not in net._repr_html_()
    assert len(shown(net).cells[1][1]) == 100


def test_a_neuron_draws_its_two_filters():
    srm = cs.SRM(theta=10.0, tau_sr=10.0, tau_ref=2.0)
    html = srm._repr_html_()
    text = " ".join(shown(srm).said)
    for part in ("theta=10", "gradient='slayer'", "spike response, peak 1", "refractory response, peak -20"):
        assert part in text
    up, down = re.findall(r'points="([^"]+)"', html)
    up, down = ([tuple(map(float, point.split(","))) for point in each.split()] for each in (up, down))
    # Downward on the page is up in y: the response rises over its axis, the refractory one falls under its own.
    axis_up, axis_down = map(float, re.findall(r'y1="([\d.]+)"', html))
    assert min(y for _, y in up) < axis_up
    assert max(y for _, y in up) == pytest.approx(axis_up, abs=0.1)
    assert max(y for _, y in down) > axis_down
    assert min(y for _, y in down) == pytest.approx(axis_down, abs=0.1)
    assert up == sorted(up)
    peak = min(up, key=lambda point: point[1])[0]
    assert (peak - up[0][0]) / (up[-1][0] - up[0][0]) == pytest.approx(10 / 76, abs=0.01)


def test_short_curves():
    for samples in ([], [0.0], [-1.0, 2.0]):
        html = curve(np.array(samples), 1.0, "a < b", "red")
        Sound(html)
        assert ("nan" in html, "a &lt; b" in html) == (False, True)


def test_spikes_are_a_small_raster():
    spikes = np.zeros((40, 3, 2, 5), bool)
    spikes[7, 0, 1, 3] = spikes[30, 0, 0, 0] = True
    spikes[:, 1] = True
    tensor = cs.Tensor(spikes)
    picture = pixels(tensor._repr_html_())
    # A column per step, a row per neuron, neuron 0 at the bottom; transparent without a spike.
    assert picture.shape == (10, 40, 4)
    assert np.argwhere(picture[..., 3]).tolist() == [[9 - 8, 7], [9, 30]]
    assert tuple(picture[9, 30]) == (*OFF, 255)
    text = "".join(shown(tensor).said)
    assert "(40, 3, 2, 5), bool" in text
    assert "sample 0 of 3: 2 spikes of 10 neurons in 40 steps" in text


def test_numbers_are_summarized():
    tensor = cs.Tensor([[-1.0, 2.0], [5.0, 0.0]], requires_grad=True)
    text = "".join(shown(tensor).said)
    assert "(2, 2), float32, requires_grad, least -1, mean 1.5, most 5" in text
    (tensor * 2).sum().backward()
    assert "has a gradient" in "".join(shown(tensor).said)
    shown(cs.Tensor(np.array([np.nan, np.inf, -np.inf])))


def test_large_tensors_make_small_pages():
    html = cs.Tensor(np.random.default_rng(0).random((2000, 1, 40, 40, 2)) < 0.02)._repr_html_()
    assert pixels(html).shape == (160, 600, 4)
    assert len(html) < 50_000


def test_events_are_a_small_frame():
    # The last sixth has most events: earlier events are counted, not drawn.
    events = Events([0.0, 7.0, 7.5, 8.0], [2, 3, 3, 0], [0, 0, 0, 1], [1, 1, 1, 0])
    picture = pixels(events._repr_html_())
    assert picture.shape == (2, 4, 4)
    assert tuple(picture[0, 3]) == (*ON, 255)
    assert tuple(picture[1, 0, :3]) == OFF
    assert 0 < picture[1, 0, 3] < 255
    assert (picture[..., 3] > 0).sum() == 2
    text = "".join(shown(events).said)
    assert "4 events, 0 to 8 ms, 0.5 a ms, 1 OFF, 3 ON, 2 x 4 pixels" in text
    assert "6.667 to 8 ms, OFF blue, ON orange" in text
    # Of a large sensor, a picture element has several pixels.
    assert pixels(Events([0.0, 1.0], [0, 319], [0, 239], [0, 1])._repr_html_()).shape == (120, 160, 4)


def test_events_in_one_dimension_are_a_raster():
    events = Events([10.0, 20.0], [0, 4], None, [0, 0])
    picture = pixels(events._repr_html_())
    assert picture.shape[0] == 5
    (top, late), (bottom, early) = np.argwhere(picture[..., 3]).tolist()
    assert (top, bottom, early, late) == (0, 4, 0, 599)


def test_small_tensors_and_extreme_events():
    for shape in ((), (0,), (0, 1, 2), (2, 0, 3), (2, 1, 0), (2, 1)):
        for dtype in (bool, np.float32):
            shown(cs.Tensor(np.zeros(shape, dtype)))
    for events in (
        Events([], [], [], []),
        Events([], [], None, []),
        Events([1.0], [0], [0], [5]),
        Events([-3.0, 1.0], [2**40, 0], [2**50, 3], [0, 1]),
        Events([-3.0, 1.0], [2**40, 0], None, [0, 1]),
    ):
        shown(events)
        assert len(events._repr_html_()) < 20_000
