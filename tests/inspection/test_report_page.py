"""Tests of the report in a headless Chromium: no console messages, and clicks, keys and zooms work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report import report
from tests.support import branches, browser

pytest.importorskip("plotly")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TITLE = "</script><b>it's & so</b>"


class Page:
    """A report in a browser, with its network and input."""

    def __init__(self, there, folder):
        self.there = there
        cs.seed(1)
        self.net = cs.Network("9x8x2-4c3-2a-5", cs.SRM())
        self.x = np.random.default_rng(2).random((60, 2, 9, 8, 2)) < 0.1
        with cs.no_grad(), cs.record(self.net) as self.seen:
            self.net(self.x)
        self.path = report(self.net, self.x, folder / "report.html", target=[1, 4], title=TITLE)

    def text(self, element):
        return self.there.run(f"$({json.dumps(element)}).textContent")

    def shown(self, element):
        return self.there.run(f"getComputedStyle($({json.dumps(element)})).display !== 'none'")

    def chosen(self):
        return self.there.run("[chosen.layer, chosen.neuron, chosen.time]")

    def trace(self, name):
        return self.there.run(f"Array.from($('traces').data.find((t) => t.name === {json.dumps(name)}).y)")

    def cursor(self, picture):
        return self.there.run(f"$('{picture}').layout.shapes.map((s) => s.x0).filter((x) => x !== 0)")

    def point(self, picture, axis, x, y):
        """Return the window coordinates of a point of a plot, after scrolling to it."""
        return self.there.run(
            f"(() => {{ const node = $('{picture}'), {{ xaxis, {axis}: axis }} = node._fullLayout;"
            f"scrollTo(0, node.getBoundingClientRect().top + scrollY + axis._offset - 200);"
            f"const box = node.getBoundingClientRect(); return [box.left + xaxis._offset + xaxis.l2p({x}),"
            f"box.top + axis._offset + axis.l2p({y})]; }})()"
        )

    def click(self, picture, axis, x, y):
        self.there.click(*self.point(picture, axis, x, y))

    def bars(self):
        return self.there.run(
            "[...$('parts').tBodies[0].rows].map((r) => [r.cells[0].textContent, r.cells[2].textContent])"
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    folder = tmp_path_factory.mktemp("report")
    with browser.Browser(folder / "profile") as there:
        yield Page(there, folder)


@pytest.fixture
def page(whole):
    """Yield the freshly opened page; fail if a test leaves an error on its console."""
    whole.there.said.clear()
    whole.there.asked.clear()
    whole.there.open(whole.path)
    yield whole
    assert whole.there.said == []


def test_it_opens_with_a_neuron_and_loads_no_other_file(page):
    assert page.there.run("document.querySelector('h1').textContent") == TITLE
    assert page.there.run("document.title") == TITLE
    assert [address for address in page.there.asked if not address.startswith("data:")] == [page.path.as_uri()]
    assert "2 samples · 60 steps of 1 ms · loss " in page.text("facts")
    layer, neuron, when = page.chosen()
    counts = page.seen[5].spikes[:, 0].sum(axis=0)
    assert (layer, neuron) == (3, counts.argmax())
    assert when == np.flatnonzero(page.seen[5].spikes[:, 0, neuron])[0]
    assert page.shown("traces")
    assert not page.shown("no-errors")
    rasters = page.there.run("$('rasters').layout.annotations.map((a) => a.text)")
    assert len(rasters) == 4
    assert f"{page.seen[1].spikes[:, 0].sum()} spikes" in rasters[1].replace(",", "")


def test_a_raster_shows_the_spikes(page):
    cells = page.there.run("$('rasters').data.map((t) => t.z.map((row) => Array.from(row, (k) => k > 0 ? 1 : 0)))")
    high = page.there.run("rasters.high")
    for layer, expected in enumerate((page.x, page.seen[1].spikes, page.seen[3].spikes, page.seen[5].spikes)):
        flat = expected[:, 0].reshape(60, -1).T
        down = -(-len(flat) // high)
        rows = -(-len(flat) // down)
        padded = np.zeros((rows * down, 60), bool)
        padded[: len(flat)] = flat
        assert cells[layer] == padded.reshape(rows, down, 60).any(axis=1).astype(int).tolist()


@pytest.mark.parametrize("layer", [2, 3])
def test_a_click_on_a_spike_shows_its_neuron_and_why(page, layer):
    at = 2 * layer - 1
    when, *place = np.argwhere(page.seen[at].spikes[:, 0])[40].tolist()
    number = int(np.ravel_multi_index(place, page.seen[at].spikes.shape[2:]))
    page.click("rasters", f"yaxis{layer + 1}", when, number)
    assert page.chosen() == [layer, number, when]
    column = (slice(None), 0, *place)
    np.testing.assert_allclose(page.trace("u"), page.seen[at].potential[column], atol=1e-3)
    np.testing.assert_allclose(page.trace("before refraction"), page.seen[at].filtered[column], atol=1e-3)
    assert page.trace("theta") == [10, 10]
    assert len(page.trace("spike")) == page.seen[at].spikes[column].sum()
    expected = cs.reassignment(page.net, page.x, [1, 4], at, number)
    for name, error in (("spikes", "spikes"), ("potential", "potential"), ("weighted input", "weighted")):
        values = getattr(expected, f"{error}_error")
        np.testing.assert_allclose(page.trace(f"error on the {name}"), values, atol=1e-4 * abs(values).max())
    why = cs.explain(page.net, page.x, at, number, when)
    headline = page.text("headline")
    where = place[0] if len(place) == 1 else f"({', '.join(map(str, place))})"
    assert f"neuron {where} at {when} ms: fired, u = {why.potential:.4g}" in headline
    parts = why.parts()
    assert [(name, float(size.replace("\N{MINUS SIGN}", "-"))) for name, size in page.bars()] == [
        *((part.name, pytest.approx(part.size, abs=2e-3)) for part in parts),
        ("u", pytest.approx(why.potential, abs=2e-3)),
    ]
    assert page.cursor("rasters") == [when] * 4
    assert page.cursor("traces") == [when] * 4


def test_a_click_on_the_potential_and_the_keys_move_the_time(page):
    page.click("traces", "yaxis", 31, 0)
    assert page.chosen()[2] == 31
    assert page.cursor("rasters") == [31] * 4
    for key, expected in (("ArrowLeft", 30), ("ArrowRight", 31), ("ArrowRight", 32)):
        page.there.press(key)
        assert page.chosen()[2] == expected
        assert page.text("clock") == f"time {expected} ms"
    page.there.run("$('time').focus(); $('time').value = 59; $('time').dispatchEvent(new Event('input'))")
    page.there.press("ArrowRight")
    assert page.chosen()[2] == 59
    assert page.there.run("Number($('time').value)") == 59
    page.there.run("$('neuron').focus()")
    page.there.press("ArrowLeft")
    assert page.chosen()[2] == 59


def test_the_frame_shows_the_events_up_to_the_cursor(page):
    page.there.run("choose(3, 0, 25)")
    lit = page.there.run(
        "(({ width, height }) => [height, width, ...$('frame').getContext('2d')"
        ".getImageData(0, 0, width, height).data])($('frame'))"
    )
    assert lit[:2] == [9, 8]
    pixels = np.array(lit[2:]).reshape(9, 8, 4)
    counts = page.x[16:26, 0].sum(axis=0)
    assert ((pixels[..., 3] > 0) == (counts.sum(axis=2) > 0)).all()
    only_off, only_on = (counts[..., 0] > 0) & (counts[..., 1] == 0), (counts[..., 1] > 0) & (counts[..., 0] == 0)
    assert only_off.any()
    assert only_on.any()
    assert (pixels[only_off][:, 2] > pixels[only_off][:, 0]).all()
    assert (pixels[only_on][:, 0] > pixels[only_on][:, 2]).all()
    assert "last 10 ms" in page.text("frame-caption")


def test_the_map_shows_the_contributions_of_pixels(page):
    page.there.run("choose(1, 140, 50)")
    why = cs.explain(page.net, page.x, 1, 140, 50)
    sums = why.contributions.sum(axis=2)
    drawn = page.there.run("[...$('map').getContext('2d').getImageData(0, 0, 8, 9).data]")
    pixels = np.array(drawn).reshape(9, 8, 4)
    assert (sums > 0).any()
    assert ((pixels[..., 3] > 0) == (abs(sums) > 1e-9)).all()
    assert (pixels[sums > 1e-3][:, 0] > pixels[sums > 1e-3][:, 2]).all()
    assert (pixels[sums < -1e-3][:, 2] > pixels[sums < -1e-3][:, 0]).all()


def test_a_click_on_a_part_shows_its_neuron(page):
    name, _ = page.bars()[0]
    x, y = page.there.run(
        "(() => { const b = document.querySelector('#parts button'); b.scrollIntoView({ block: 'center' });"
        "const r = b.getBoundingClientRect(); return [r.left + 5, r.top + 5]; })()"
    )
    page.there.click(x, y)
    layer, neuron, when = page.chosen()
    place = tuple(int(n) for n in np.unravel_index(neuron, (5, 4, 4)))
    assert (layer, f"input {place}") == (2, name)
    assert page.seen[3].spikes[(when, 0, *place)]


def test_the_fields_select_a_neuron_and_the_input_has_no_potential(page):
    page.there.run("$('layer').value = 0; $('layer').onchange()")
    page.there.run("$('neuron').value = 900; $('neuron').onchange()")
    assert page.chosen()[:2] == [0, 143]
    assert page.text("place") == "at (8, 7, 1)"
    assert not page.shown("traces")
    assert not page.shown("parts")
    assert page.text("headline").startswith(f"input, neuron (8, 7, 1): {page.x[:, 0, 8, 7, 1].sum()} spikes")


def test_a_zoom_redraws_the_rasters(page):
    x0, y = page.point("rasters", "yaxis2", 10, 20)
    x1, _ = page.point("rasters", "yaxis2", 30, 20)
    moves = (("mouseMoved", x0), ("mousePressed", x0), ("mouseMoved", (x0 + x1) / 2), ("mouseMoved", x1))
    for kind, x in (*moves, ("mouseReleased", x1)):
        page.there.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        page.there.run("new Promise(requestAnimationFrame)")
    assert page.there.wait("rasters.steps[0] > 0 && $('traces').layout.xaxis.range[0] > 0")
    start, end = page.there.run("$('rasters').layout.xaxis.range")
    assert (start, end) == (pytest.approx(10, abs=0.7), pytest.approx(30, abs=0.7))
    assert page.there.run("$('traces').layout.xaxis.range") == [start, end]
    first, columns = page.there.run("[$('rasters').data[3].x0, $('rasters').data[3].z[0].length]")
    cells = page.there.run("$('rasters').data[3].z.map((row) => Array.from(row, (k) => k > 0 ? 1 : 0))")
    expected = page.seen[5].spikes[first : first + columns, 0].T.astype(int)
    assert first in (10, 11, 9)
    assert cells == expected.tolist()
    # Plotly takes clicks for a double click by the time between them: none after the drag, and then long after it.
    page.there.run("Date.prototype.getTime = () => 1e15; 0")
    page.there.click(x0, y, times=2)
    assert page.there.wait("$('rasters').layout.xaxis.range[1] === 59.5 && rasters.steps[1] === 60")
    assert page.there.run("$('rasters').data[3].z[0].length") == 60


def test_another_sample(page):
    before = page.trace("u")
    page.there.run("Plotly.relayout($('rasters'), { 'xaxis.range': [10, 20] }); 0")
    assert page.there.run("$('rasters').data[3].z[0].length") < 20
    page.there.run("$('sample').value = 1; $('sample').onchange()")
    _, neuron, _ = page.chosen()
    np.testing.assert_allclose(page.trace("u"), page.seen[5].potential[:, 1, neuron], atol=1e-3)
    assert page.trace("u") != before
    cells = page.there.run("$('rasters').data[3].z.map((row) => Array.from(row, (k) => k > 0 ? 1 : 0))")
    assert cells == page.seen[5].spikes[:, 1].T.astype(int).tolist()
    expected = cs.reassignment(page.net, page.x, [1, 4], 5, neuron, sample=1).potential_error
    np.testing.assert_allclose(page.trace("error on the potential"), expected, atol=1e-4 * abs(expected).max())


def test_light_and_dark(page):
    shades = []
    for scheme in ("light", "dark"):
        page.there.color_scheme(scheme)
        shades.append(
            page.there.run("[getComputedStyle(document.body).backgroundColor, $('traces').layout.font.color]")
        )
    assert shades == [["rgb(255, 255, 255)", "#222222"], ["rgb(21, 23, 26)", "#e4e4e4"]]
    page.there.call("Emulation.setEmulatedMedia", features=[])


def test_flat_layers_without_a_target(page, tmp_path):
    net = cs.Network("30-20-4", cs.SRM(dt=0.5))
    x = np.random.default_rng(2).random((80, 1, 30)) < 0.2
    page.there.open(report(net, x, tmp_path / "flat.html"))
    assert [page.shown(name) for name in ("frame-figure", "map-figure", "sample-field", "no-errors")] == [
        *(False, False, False, True)
    ]
    page.click("rasters", "yaxis2", 20.0, 7)
    assert page.chosen() == [1, 7, 40]
    assert page.text("clock") == "time 20 ms"
    assert page.there.run("$('traces').data.map((t) => t.name)") == ["before refraction", "u", "theta", "spike"]


def test_a_million_spikes_are_drawn_as_pixels(page, tmp_path):
    """The size of the plots is bounded by the page, not by the spikes. Time is measured in benchmarks/latency.py."""
    net = cs.Network("2000-1000-10", cs.SRM())
    x = np.random.default_rng(0).random((1000, 1, 2000)) < 0.6
    assert x.sum() > 1_000_000
    page.there.open(report(net, x, tmp_path / "million.html"))
    sizes = page.there.run("$('rasters').data.map((t) => [t.type, t.z.length, t.z[0].length])")
    # 1000 steps at 700 columns at most are two together; a raster is 166 pixels high at three layers.
    assert sizes == [["heatmap", 154, 500], ["heatmap", 143, 500], ["heatmap", 10, 500]]
    assert page.there.run("performance.getEntriesByName('drawn').length") == 1
    assert page.there.run("document.querySelectorAll('*').length") < 5000


def test_the_benchmark(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import report_page

    out = tmp_path / "r.json"
    small = ["--notation", "6x6x2-3c3-2a-4", "--steps", "30", "--repeats", "1", "--recording", str(tmp_path / "none")]
    report_page.main([*small, "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["drawn_ms"] <= found["loaded_ms"]
    assert 4 < found["megabytes"] < 15
    assert found["first_click_ms"] > 0
    assert found["machine"]["plotly"]
    assert '"spikes"' in capsys.readouterr().out
    for name in ("report_page", "machine"):
        sys.modules.pop(name)


def test_a_page_of_a_network_with_branches(page, tmp_path):
    """Its inputs name their layers, a click goes to the neuron, and the map is of the layer with the largest share."""
    cs.seed(7)
    net, x = branches.skip(), branches.spikes(*branches.FRAMES)
    page.there.open(report(net, x, tmp_path / "branches.html", target=[0, 1]))
    page.there.run("choose(3, 31, 20); 0")
    why = cs.explain(net, x, 4, 31, 20)
    rows = page.bars()
    named = [name for name, _ in rows if name.startswith("input ")]
    assert len(named) > 4
    assert any(" of layer 1 (" in name for name in named)
    assert any(" of layer 2.0.1 (" in name for name in named)
    sizes = [float(size.replace("\N{MINUS SIGN}", "-")) for _, size in rows]
    assert sum(sizes[:-1]) == pytest.approx(sizes[-1], abs=1e-2)
    assert sizes[-1] == pytest.approx(why.potential, abs=1e-2)
    largest = max(why.sources, key=lambda source: abs(source.contributions).max())
    of_map = "the layer below" if largest.address == (2, 0, 1) else largest.layer
    assert page.text("map-caption").startswith(f"what each pixel of {of_map} adds to u")
    page.there.run("$('parts').querySelector('button').click(); 0")
    assert page.chosen()[0] == (1 if largest.address == 1 else 2)
