"""Tests of what the pointer finds in the pages of `report` and `demo`, and of plots that follow the window."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report import report
from tests.inspection.test_demo import lively
from tests.support import browser

MANY = """(points) => {
  const found = [], each = [rasters].flat(), before = each.map(({ pick }) => pick);
  let picked;
  each.forEach((raster) => (raster.pick = (...choice) => (picked = choice)));
  for (const [clientX, clientY] of points) {
    const node = document.elementFromPoint(clientX, clientY), where = { clientX, clientY, bubbles: true };
    picked = null;
    node.dispatchEvent(new PointerEvent("pointermove", where));
    found.push([tip.hidden ? "" : tip.textContent]);
    node.dispatchEvent(new PointerEvent("pointerdown", where));
    node.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    found.at(-1).push(picked);
  }
  each.forEach((raster, at) => (raster.pick = before[at]));
  return found;
}"""
SCALES = {
    "report": "(() => {{ const node = $('rasters'), {{ xaxis: x, yaxis{row}: y }} = node._fullLayout;"
    "scrollTo(0, node.getBoundingClientRect().top + scrollY + y._offset - 200);"
    "const {{ left, top }} = node.getBoundingClientRect();"
    "return [left + x._offset + x.l2p(0), x.l2p(model.dt) - x.l2p(0), top + y._offset + y.l2p(0), y.l2p(1) - y.l2p(0)];"
    "}})()",
    "demo": "(() => {{ const {{ node, neurons }} = rasters[{layer}]; node.scrollIntoView({{ block: 'center' }});"
    "const {{ left, top }} = node.getBoundingClientRect(), w = node.clientWidth / model.steps;"
    "const h = node.clientHeight / neurons;"
    "return [left + node.clientLeft + w / 2, w, top + node.clientTop + h / 2, h]; }})()",
}


class Page:
    """A page in a browser, with the places of its spikes."""

    def __init__(self, there, kind="report"):
        self.there, self.kind = there, kind
        self.shapes = {}

    def resize(self, width, height=900, *, mobile=False):
        """Give the window a size, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.there.call("Emulation.setDeviceMetricsOverride", **size)
        assert self.there.wait(f"innerWidth === {width}")

    def scroll(self, layer):
        """Show the raster of a layer; return [x of step 0, pixels of a step, y of neuron 0, pixels of a neuron]."""
        return self.there.run(SCALES[self.kind].format(layer=layer, row=layer + 1 if layer else ""))

    def places(self, layer):
        """Show the raster of a layer; return neurons, steps, and centres (spikes, 2) of its spikes in the window."""
        left, across, top, down = self.scroll(layer)
        starts, times = self.there.run(
            f"[model.spikes({layer}).starts, model.spikes({layer}).times].map((x) => [...x])"
        )
        neurons = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        steps = np.array(times, np.int64)
        return neurons, steps, np.stack([left + across * steps, top + down * neurons], axis=1)

    def text(self, layer, neuron, step):
        """Return the label of a spike."""
        if layer not in self.shapes:
            self.shapes[layer] = self.there.run(f"[model.layers[{layer}].shape, model.dt]")
        shape, dt = self.shapes[layer]
        place = tuple(map(int, np.unravel_index(neuron, shape)))
        return f"{step * dt:g} ms, neuron {neuron}" + (f" at {place}" if len(shape) > 1 else "")

    def hover(self, x, y):
        """Return the label after a move of the mouse, "" without one."""
        self.there.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return self.there.run("tip.hidden ? '' : tip.textContent")

    def click(self, x, y):
        """Return what a click chooses: layer, neuron, step."""
        for kind in ("mousePressed", "mouseReleased"):
            self.there.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        return self.there.run("[chosen.layer, chosen.neuron, chosen.time]")

    def found(self, points):
        """Return the label and the choice [layer, neuron, step] at each of many points, by events of the pointer."""
        return self.there.run(f"({MANY})({json.dumps(np.asarray(points).tolist())})")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a page of each kind."""
    pytest.importorskip("plotly")
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    folder = tmp_path_factory.mktemp("pointer")
    draw = np.random.default_rng(5)
    cs.seed(1)
    mlp = cs.Network("700-40-6", cs.SRM(dt=0.5))
    report(mlp, draw.random((200, 1, 700)) < 0.15, folder / "mlp.html", target=[3])
    cnn = cs.Network("12x10x2-4c3-2a-8c3-5", cs.SRM())
    report(cnn, draw.random((90, 1, 12, 10, 2)) < 0.3, folder / "cnn.html", target=[1])
    few = np.zeros((100, 1, 6), bool)
    few[[20, 80], 0, [1, 4]] = True
    report(cs.Network("6-3", cs.SRM()), few, folder / "few.html")
    cs.demo(lively(*cs.Network("34x34x2-32-10", cs.SRM()).layers), folder / "demo.html")
    return folder


@pytest.fixture(scope="module")
def there(folder):
    with browser.Browser(folder / "profile") as there:
        yield there


@pytest.fixture
def opened(there, folder):
    """Return a function that opens a page; fail if it leaves an error on its console."""
    there.said.clear()

    def opened(name):
        there.open(folder / f"{name}.html")
        # Plotly takes two clicks for a double click if little time lies between them: here it is always a second.
        there.run("let clock = 0; Date.prototype.getTime = () => (clock += 1000); 0")
        if name == "demo":
            there.run("$('examples').children[5].click(); 0")
            assert there.wait("performance.getEntriesByName('answer').length === 1")
            there.run("player.pause()")
        return Page(there, "demo" if name == "demo" else "report")

    yield opened
    there.call("Emulation.clearDeviceMetricsOverride")
    assert there.said == []


@pytest.mark.parametrize(("name", "layers"), [("mlp", 3), ("cnn", 5), ("demo", 3)])
def test_a_hover_and_a_click_find_the_nearest_spike(opened, name, layers):
    """At the centres of spikes, and a pixel off, in all layers: also where a pixel has several neurons."""
    page = opened(name)
    assert page.there.run("model.layers.length") == layers
    for layer in range(layers):
        neurons, steps, centres = page.places(layer)
        draw = np.random.default_rng(layer)
        drawn = draw.permutation(len(steps))[:200]
        assert len(drawn) > 10
        for at in drawn[:3]:
            *_, centres = page.places(layer)  # a click changes the height of the page
            assert page.hover(*centres[at]) == page.text(layer, neurons[at], steps[at])
            assert page.click(*centres[at]) == [layer, neurons[at], steps[at]]
        expected = [[page.text(layer, neurons[at], steps[at]), [layer, neurons[at], steps[at]]] for at in drawn]
        *_, centres = page.places(layer)
        assert page.found(centres[drawn]) == expected
        off = centres[drawn] + np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])[draw.integers(4, size=len(drawn))]
        for point, found in zip(off, page.found(off), strict=True):
            away = np.hypot(*(centres - point).T)
            near = np.flatnonzero(away < away.min() + 1e-3)  # several at the same distance
            spikes = [[layer, neurons[at], steps[at]] for at in near]
            assert found in [[page.text(*spike), spike] for spike in spikes]


def test_after_a_zoom_the_visible_spikes_are_found(opened):
    page = opened("cnn")
    page.there.run("Plotly.relayout($('rasters'), { 'xaxis.range': [20.2, 29.7], 'yaxis3.range': [30.4, 61.3] }); 0")
    neurons, steps, centres = page.places(2)
    inside = (steps > 20) & (steps < 30) & (neurons > 30) & (neurons <= 61)
    assert inside.sum() > 20
    spikes = [[2, neuron, step] for neuron, step in zip(neurons[inside], steps[inside], strict=True)]
    assert page.found(centres[inside]) == [[page.text(*spike), spike] for spike in spikes]
    # A spike is drawn larger than the reach now: it is found in all of its area, and so is one cut off at the edge.
    across = page.scroll(2)[1]
    assert across > 40
    assert page.found(centres[inside] + (0.45 * across, 0)) == page.found(centres[inside])
    cut = (steps == 20) & (neurons > 30) & (neurons <= 61)
    assert cut.any()
    assert page.found(centres[cut] + (0.3 * across, 0)) == [[page.text(2, n, 20), [2, n, 20]] for n in neurons[cut]]


def test_a_spike_out_of_sight_is_not_found(opened):
    page = opened("few")
    page.there.run("Plotly.relayout($('rasters'), { 'xaxis.range': [20.6, 88] }); 0")
    left, across, top, down = page.scroll(0)
    assert 0.7 * across < 7  # pixels from the edge of the plot to the centre of step 20
    assert page.found([[left + 20.7 * across, top + down]]) == [["no spike: 21 ms, neuron 1", [0, 1, 21]]]
    # The same for neurons: 1 to 4 are visible, and 0 fired.
    found = page.there.run(
        "inRaster({ spikes: () => ({ starts: [0, 1, 1, 1, 1, 1], times: [3] }), ms: String, layers: [{ shape: [5] }] },"
        "0, { x: 3, y: 0.6 }, { left: 0, across: 1, top: 0, down: 1 }, [0, 9], [1, 5])"
    )
    assert (found["neuron"], found["step"], found["fired"]) == (1, 3, False)


def test_a_place_without_a_spike_is_its_neuron_and_time(opened):
    page = opened("few")
    left, across, top, down = page.scroll(0)
    spike = left + 20 * across, top + down
    assert page.found([spike]) == [["20 ms, neuron 1", [0, 1, 20]]]
    assert page.found([(spike[0] + 6.9, spike[1])]) == [["20 ms, neuron 1", [0, 1, 20]]]
    step = 20 + round(7.1 / across)
    assert page.found([(spike[0] + 7.1, spike[1])]) == [[f"no spike: {step} ms, neuron 1", [0, 1, step]]]
    assert page.found([(left + 50 * across, top + 2 * down)]) == [["no spike: 50 ms, neuron 2", [0, 2, 50]]]
    beside = [(left - 20, top), (left + 50 * across, top + 40), (left + 50 * across, top - 0.5 * down + 3)]
    assert page.found(beside) == [["", None]] * 3
    shown = page.click(left + 50 * across, top + 2 * down)
    assert shown == [0, 2, 50]


def test_a_drag_and_another_button_choose_nothing(opened):
    page = opened("few")
    before = page.there.run("[chosen.layer, chosen.neuron, chosen.time]")
    left, across, top, down = page.scroll(0)
    at = {"x": left + 20 * across, "y": top + down}
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        page.there.call("Input.dispatchMouseEvent", type=kind, button="right", clickCount=1, **at)
    for kind, x in (("mousePressed", at["x"]), ("mouseMoved", at["x"] + 90), ("mouseReleased", at["x"] + 90)):
        page.there.call("Input.dispatchMouseEvent", type=kind, x=x, y=at["y"], button="left", buttons=1, clickCount=1)
    assert page.there.wait("$('rasters').layout.xaxis.range[0] > 15")
    assert page.there.run("[chosen.layer, chosen.neuron, chosen.time]") == before


@pytest.mark.parametrize("name", ["mlp", "demo"])
def test_the_potential_has_the_same_rule(opened, name):
    """The nearest spike within reach, else the step under the pointer."""
    page = opened(name)
    neurons, steps, _ = page.places(1)
    neuron = int(np.bincount(neurons).argmax())
    page.there.run(f"choose(1, {neuron}, 0); 0")
    node, text = ("$('trace')", "u") if name == "demo" else ("$('traces')", "before refraction")
    left, across, u, heights = page.there.run(
        f"(() => {{ const node = {node}; node.scrollIntoView(); const box = node.getBoundingClientRect();"
        "const u = [...model.potential(chosen.layer, chosen.neuron).potential];"
        + (
            "const w = (node.clientWidth - LEFT) / model.steps;"
            "return [box.left + LEFT + w / 2, w, u, u.map((x) => box.top + trace.height(x))]; })()"
            if name == "demo"
            else "const { xaxis: x, yaxis: y } = node._fullLayout, at = box.left + x._offset;"
            "return [at + x.l2p(0), x.l2p(model.dt), u, u.map((v) => box.top + y._offset + y.l2p(v))]; })()"
        )
    )
    if name != "demo":
        across -= page.there.run("$('traces')._fullLayout.xaxis.l2p(0)")
    dt = page.there.run("model.dt")
    times = steps[neurons == neuron]
    assert len(times) > 3
    for time in times[:4]:
        x, y = left + across * time, heights[time]
        for off in ((0, 0), (0, 1), (-1, 0)):
            label = page.hover(x + off[0], y + off[1])
            assert label.startswith(f"{time * dt:g} ms, spike\n{text} ")
            assert f"u {u[time]:.4g}" in label.replace("\N{MINUS SIGN}", "-")
        assert page.click(x - 1, y) == [1, neuron, time]
    far = next(t for t in range(10, len(u)) if abs(times - t).min() * across > 8)
    assert page.hover(left + across * far, heights[far]).startswith(f"{far * dt:g} ms\n{text} ")
    assert page.click(left + across * far, heights[far]) == [1, neuron, far]
    assert page.hover(left - 20, heights[far]) == ""


def test_an_error_is_read_at_the_pointer(opened):
    page = opened("mlp")
    page.there.run("choose(1, 3, 0); 0")
    x, y = page.there.run(
        "(() => { const node = $('traces'), { xaxis: x, yaxis3: y } = node._fullLayout; node.scrollIntoView();"
        "const box = node.getBoundingClientRect();"
        "return [box.left + x._offset + x.l2p(150 * model.dt), box.top + y._offset + 5]; })()"
    )
    error = page.there.run("short(model.errors(1, 3).potential[150])")
    assert page.hover(x, y) == f"75 ms\nerror on the potential {error}"
    assert page.click(x, y) == [1, 3, 150]


def test_times_are_exact(opened):
    page = opened("few")
    times = page.there.run(
        "[[1, 123456], [0.1, 3], [0.1, 98765], [1 / 3, 1]].map(([dt, t]) => model.ms.call({ dt }, t))"
    )
    assert times == ["123456", "0.3", "9876.5", "0.333333333"]


def test_a_search_reads_few_of_many_spikes(opened):
    page = opened("few")
    found, reads = page.there.run(
        "(() => { let reads = 0; const neurons = 1000, steps = 300;"
        "const times = new Proxy(Uint16Array.from({ length: neurons * steps }, (_, i) => i % steps),"
        "{ get: (all, at) => (reads++, all[at]) });"
        "const starts = Uint32Array.from({ length: neurons + 1 }, (_, n) => n * steps);"
        "const many = { spikes: () => ({ starts, times }), ms: String, layers: [{ shape: [neurons] }] };"
        "const point = { x: 300.4, y: 500.2 }, scale = { left: 0, across: 2, top: 1000, down: -1 };"
        "const { neuron, step } = inRaster(many, 0, point, scale, [0, steps], [0, neurons]);"
        "return [[neuron, step], reads]; })()"
    )
    assert found == [500, 150]
    assert reads < 15 * 20


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_plots_follow_the_window(opened, name):
    """In both directions, after they were hidden, and on a phone that is turned around."""
    page = opened(name)
    there = page.there
    layers = there.run("model.layers.length")

    def check(width, height=900, *, mobile=False):
        page.resize(width, height, mobile=mobile)
        fits = (
            "['rasters', 'traces'].map($).every((node) => { const [svg, box, { width }] ="
            "[node.querySelector('.main-svg'), node, node.parentElement].map((each) => each.getBoundingClientRect());"
            "const near = (a, b) => Math.abs(a - b) <= 1;"
            "return near(svg.width, width) && near(box.width, width) && svg.height === box.height; })"
        )
        assert there.wait(fits)
        assert there.run("document.documentElement.scrollWidth") <= width
        heights = there.run(f"[...Array({layers}).keys()].map((n) => $('rasters')._fullLayout[yAxisOf(n)]._length)")
        assert min(heights) > 85
        assert there.run("$('traces')._fullLayout.yaxis._length") > 120
        neurons, steps, centres = page.places(1)
        spike = [1, neurons[7], steps[7]]
        assert page.found(centres[[7]]) == [[page.text(*spike), spike]]

    widths = [1400, 420, 1400, 800, 300, 1250]
    for width in widths:
        check(width)
    for turn in ((390, 844), (844, 390), (390, 844)):
        check(*turn, mobile=True)
    check(1400)
    for section in (0, 1):
        there.run(f"document.querySelectorAll('section')[{section}].hidden = true; 0")
        page.resize(700)
        there.run("choose(2, 1, 9); choose(2, 2, 9); new Promise(requestAnimationFrame)")
        there.run(f"document.querySelectorAll('section')[{section}].hidden = false; 0")
        check(700)
        check(1400)


def test_a_zoom_stays_when_the_window_becomes_narrow(opened):
    page = opened("cnn")
    page.there.run("Plotly.relayout($('rasters'), { 'xaxis.range': [20, 40], 'yaxis2.range': [30, 60] }); 0")
    page.resize(420)
    assert page.there.wait("PHONE.matches && $('rasters').layout.margin.l === 44")
    shown = page.there.run("[rasters.node.layout.xaxis.range, rasters.node.layout.yaxis2.range, rasters.steps]")
    assert shown == [[20, 40], [30, 60], [20, 41]]
    assert page.there.run("$('rasters').data[1].z.length") == 31


def test_the_demonstration_follows_the_window(opened):
    page = opened("demo")
    for width in (1400, 420, 1400, 800):
        page.resize(width)
        fits = (
            "[...rasters.map(({ node }) => node), $('trace'), $('pad')].every((node) => node.clientWidth > 200 &&"
            "node.width === node.clientWidth * pixelRatio())"
        )
        assert page.there.wait(fits)
        assert page.there.run("document.documentElement.scrollWidth") == width
