"""The pages of `report` and `demo` in a browser: mouse, keys, a finger, window sizes, and what they show."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits
from tests.support.pages import IMAGES, LABELS, Page, key, lively, problems, reset, seen, show, tab_stops
from tools import browser

pytestmark = pytest.mark.all

TITLE = "</script><b>it's & so</b>"
NETS = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pages."""
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    folder, draw = tmp_path_factory.mktemp("pages"), np.random.default_rng(5)
    cs.seed(1)
    cnn, x = cs.Network("9x8x2-4c3-2a-5", cs.SRM()), np.random.default_rng(2).random((60, 2, 9, 8, 2)) < 0.1
    with cs.no_grad(), cs.record(cnn) as recorded:
        cnn(x)
    NETS["cnn"] = cnn, x, recorded
    cs.write_report(cnn, x, folder / "cnn.html", target=[1, 4], title=TITLE)
    mlp = cs.Network("700-40-6", cs.SRM(dt=0.5))
    cs.write_report(mlp, draw.random((200, 1, 700)) < 0.15, folder / "mlp.html", target=[3])
    few = np.zeros((100, 1, 6), bool)
    few[[20, 80], 0, [1, 4]] = True
    cs.write_report(cs.Network("6-3", cs.SRM()), few, folder / "few.html")
    NETS["demo"] = lively(*cs.Network("34x34x2-256-10", cs.SRM()).layers)
    cs.write_demo(NETS["demo"], folder / "demo.html", title="Digits", recordings=Digits("test"))
    # Recordings without frames, of numbers, with a label at each step and a read-out.
    flat = cs.Sequential(cs.Dense(4, 20), cs.Recurrent(cs.Dense(20, 20), cs.LIF()), cs.ReadOut(20, 3))
    given = draw.normal(size=(120, 2, 4)).astype(np.float32), draw.integers(0, 3, (120, 2))
    cs.write_demo(flat, folder / "flat.html", recordings=given, over="every", names=["low", "middle", "high"])
    bars = cs.Network("9x12x3-8-4", cs.SRM())
    x = draw.random((60, 8, 9, 12, 3)) < 0.2 * (draw.random((8, 9, 12, 3)) < 0.1)
    cs.write_demo(bars, folder / "bars.html", recordings=(x, np.arange(8) % 4))
    return folder


@pytest.fixture(scope="module")
def there(folder):
    with browser.Browser(folder / "profile") as there:
        yield Page(there)


@pytest.fixture
def opened(there, folder):
    """Return a function that opens a page; fail if it leaves an error on its console."""

    def opened(name, *, run=True):
        reset(there.there)
        there.open(folder / f"{name}.html")
        there.there.frames()
        if there.run("Boolean(live)") and run:
            there.answer("$('examples').lastElementChild.click()")
            there.run("live.player.play(false); live.player.move(40)")
        return there

    yield opened
    there.run("window.real && (window.requestAnimationFrame = real); 0")
    reset(there.there)
    assert there.there.said == []


def values(page, name, step=slice(None)):
    """Return the values of a line that is shown."""
    found = page.run(f"[...traces.flatMap(({{ lines }}) => lines).find(([name]) => name === {json.dumps(name)})[1]]")
    return np.array(found)[step]


def bars(page):
    rows = page.run("[...$('parts').tBodies[0].rows].map((r) => [r.cells[0].textContent, r.cells[2].textContent])")
    return [(name, float(size.replace("\N{MINUS SIGN}", "-"))) for name, size in rows]


def pixels(page, query):
    """Return the pixels (rows, columns, 4) of a canvas."""
    high, wide, data = page.run(
        f"(({{ width, height }}, node) => [height, width, [...node.getContext('2d').getImageData(0, 0, width, height)"
        f".data]])({query}, {query})"
    )
    return np.array(data).reshape(high, wide, 4)


def test_a_report_opens_with_a_neuron_and_loads_no_other_file(opened, folder):
    page, (_, _, recorded) = opened("cnn"), NETS["cnn"]
    assert page.run("document.title") == page.run("document.querySelector('h1').textContent") == TITLE
    assert [each for each in page.there.asked if not each.startswith("data:")] == [(folder / "cnn.html").as_uri()]
    assert "2 samples · 60 steps of 1 ms · loss " in page.text("facts")
    counts = recorded[5].spikes[:, 0].sum(axis=0)
    neuron = counts.argmax()
    assert page.chosen() == [3, neuron, np.flatnonzero(recorded[5].spikes[:, 0, neuron])[0]]
    assert [page.shown(each) for each in ("traces", "no-errors", "draw", "answer-part", "play")] == [True, *[False] * 4]
    captions = page.run("rasters.map(({ caption }) => caption.textContent)")
    assert f"{recorded[1].spikes[:, 0].sum()} spikes" in captions[1].replace(",", "")
    for layer in (1, 2, 3):
        spikes = recorded[2 * layer - 1].spikes[:, 0].reshape(60, -1).T
        assert page.spikes(layer) == [np.flatnonzero(each).tolist() for each in spikes]


@pytest.mark.parametrize("zoomed", [False, True])
def test_a_raster_shows_the_spikes(opened, zoomed):
    """A pixel at the centre of each visible spike is lit, and none at a place without a spike."""
    page, (_, _, recorded) = opened("cnn"), NETS["cnn"]
    if zoomed:
        page.run("view.zoom([19.6, 40.4]); rasters[3].shown = [0.6, 3.4]; view.draw()")
    lit = pixels(page, "rasters[3].spikes")[..., 3]
    x0, across, y0, down = page.run("Object.values(rasters[3].scale)")
    left, top = page.run("[rasters[3].left, TOP]")
    steps, neurons = (np.arange(20, 41), np.arange(1, 4)) if zoomed else (np.arange(60), np.arange(5))
    columns = np.floor(x0 + across * steps - left).astype(int).clip(0, lit.shape[1] - 1)
    rows = np.floor(y0 + down * neurons - top).astype(int).clip(0, lit.shape[0] - 1)
    shown = lit[rows[:, None], columns] > 0
    assert (shown == recorded[5].spikes[steps, 0][:, neurons].T).all()
    assert 0 < shown.mean() < 1


@pytest.mark.parametrize(("name", "layers"), [("mlp", 3), ("cnn", 4), ("demo", 3)])
def test_a_hover_and_a_click_find_the_nearest_spike(opened, name, layers):
    """At the centres of spikes, and a pixel off, in all layers: also where a pixel has several neurons."""
    page = opened(name)
    for layer in range(layers):
        neurons, steps, centres = page.places(layer)
        draw = np.random.default_rng(layer)
        drawn = draw.permutation(len(steps))[:120]
        expected = [[page.label(layer, neurons[at], steps[at]), [layer, neurons[at], steps[at]]] for at in drawn]
        assert page.found(centres[drawn]) == expected
        off = centres[drawn] + np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])[draw.integers(4, size=len(drawn))]
        for point, found in zip(off, page.found(off), strict=True):
            away = np.hypot(*(centres - point).T)
            near = np.flatnonzero(away < away.min() + 1e-3)  # several at the same distance
            spikes = [[layer, neurons[at], steps[at]] for at in near]
            assert found in [[page.label(*spike), spike] for spike in spikes]
        at = drawn[0]
        assert page.hover(*centres[at]) == page.label(layer, neurons[at], steps[at])
        assert page.click(*centres[at]) == [layer, neurons[at], steps[at]]


def test_a_place_without_a_spike_is_its_neuron_and_time(opened):
    page = opened("few")
    left, across, top, down = page.scale("rasters[0]")
    spike = left + 20 * across, top + down
    assert page.found([spike]) == [["20 ms, neuron 1", [0, 1, 20]]]
    assert page.found([(spike[0] + 6.9, spike[1])]) == [["20 ms, neuron 1", [0, 1, 20]]]
    step = 20 + round(7.1 / across)
    assert page.found([(spike[0] + 7.1, spike[1])]) == [[f"no spike: {step} ms, neuron 1", [0, 1, step]]]
    assert page.found([(left + 50 * across, top + 2 * down)]) == [["no spike: 50 ms, neuron 2", [0, 2, 50]]]
    beside = [(left - 20, top), (left + 50 * across, top - 0.5 * down + 3)]
    assert page.found(beside) == [["", None]] * 2
    assert page.click(left + 50 * across, top + 2 * down) == [0, 2, 50]
    # A spike out of sight is not found, however near.
    page.run("view.zoom([20.6, 88])")
    left, across, top, down = page.scale("rasters[0]")
    assert 0.7 * across < 7
    assert page.found([[left + 20.7 * across, top + down]]) == [["no spike: 21 ms, neuron 1", [0, 1, 21]]]


def test_a_drag_zooms_two_clicks_zoom_out_and_neither_chooses(opened):
    page = opened("few")
    before = page.chosen()
    left, across, top, down = page.scale("rasters[0]")
    for kind in ("mousePressed", "mouseReleased"):
        where = {"x": left + 9 * across, "y": top}
        page.there.call("Input.dispatchMouseEvent", type=kind, button="right", clickCount=1, **where)
    page.drag((left + 10 * across, top + 2 * down), (left + 30 * across, top + 2.1 * down))
    assert page.run("view.range") == pytest.approx([10, 30], abs=0.7)
    assert page.run("rasters[0].shown") is None
    left, across, top, down = page.scale("rasters[0]")
    page.drag((left + 12 * across, top + 3.5 * down), (left + 28 * across, top - 0.4 * down))
    assert page.run("view.range") == pytest.approx([12, 28], abs=0.7)
    assert page.run("rasters[0].shown") == pytest.approx([-0.4, 3.5], abs=0.1)
    assert page.chosen() == before
    # Two clicks at different spikes or places, however quick, choose both; two at the same zoom out.
    left, across, top, down = page.scale("rasters[0]")
    for at, step in enumerate((20, 21), 1):
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": left + step * across, "y": top + down}
            page.there.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=at, **where)
        assert page.chosen() == [0, 1, step]
    assert page.run("view.range") == pytest.approx([12, 28], abs=0.7)
    page.there.click(left + 20 * across, top + down, times=2)
    assert page.run("[view.range, rasters[0].shown]") == [[-0.5, 99.5], None]


@pytest.mark.parametrize("layer", [2, 3])
def test_a_click_on_a_spike_shows_its_neuron_and_why(opened, layer):
    page, (net, x, recorded) = opened("cnn"), NETS["cnn"]
    at = 2 * layer - 1
    when, *place = np.argwhere(recorded[at].spikes[:, 0])[40].tolist()
    number = int(np.ravel_multi_index(place, recorded[at].spikes.shape[2:]))
    left, across, top, down = page.scale(f"rasters[{layer}]")
    assert page.click(left + when * across, top + number * down) == [layer, number, when]
    column = (slice(None), 0, *place)
    np.testing.assert_allclose(values(page, "u"), recorded[at].potential[column], atol=1e-3)
    np.testing.assert_allclose(values(page, "before refraction"), recorded[at].filtered[column], atol=1e-3)
    assert page.run("[traces[0].theta, traces[0].spikes.length]") == [10, recorded[at].spikes[column].sum()]
    expected = cs.reassign(net, x, [1, 4], at, number)
    for name, error in (("spikes", "spikes"), ("potential", "potential"), ("weighted input", "weighted")):
        errors = getattr(expected, f"{error}_error")
        np.testing.assert_allclose(values(page, f"error on the {name}"), errors, atol=1e-4 * abs(errors).max())
    why = cs.explain(net, x, at, number, when)
    where = place[0] if len(place) == 1 else f"({', '.join(map(str, place))})"
    assert f"neuron {where} at {when} ms: fired, u = {why.potential:.4g}" in page.text("headline")
    assert bars(page) == [
        *((part.name, pytest.approx(part.size, abs=2e-3)) for part in why.parts()),
        ("u", pytest.approx(why.potential, abs=2e-3)),
    ]
    name, _ = bars(page)[0]
    page.press_button("document.querySelector('#parts button')")
    source, neuron, when = page.chosen()
    shape = recorded[at - 2].spikes.shape[2:]
    place = tuple(map(int, np.unravel_index(neuron, shape)))
    assert (source, f"input {place}") == (layer - 1, name)
    assert recorded[at - 2].spikes[(when, 0, *place)]
    # Another sample is shown whole.
    page.run("view.zoom([10, 20]); $('sample').value = 1; $('sample').onchange()")
    assert page.run("view.range") == [-0.5, 59.5]
    _, neuron, _ = page.chosen()
    np.testing.assert_allclose(values(page, "u"), recorded[5].potential[:, 1, neuron], atol=1e-3)
    assert page.spikes(3) == [np.flatnonzero(each).tolist() for each in recorded[5].spikes[:, 1].T]


def test_the_potential_has_the_same_rule(opened):
    """The nearest spike within reach, else the step under the pointer; so has an error."""
    page = opened("mlp")
    neurons, steps, _ = page.places(1)
    neuron = int(np.bincount(neurons).argmax())
    page.run(f"choose(1, {neuron}, 0)")
    u, dt, times = values(page, "u"), page.run("model.dt"), steps[neurons == neuron]
    assert len(times) > 3
    for time in times[:3]:
        left, across, top, down = page.scale("traces[0]")  # a click may show a picture above
        x, y = left + across * time, top + down * u[time]
        for off in ((0, 0), (0, 1), (-1, 0)):
            label = page.hover(x + off[0], y + off[1])
            assert label.startswith(f"{time * dt:g} ms, spike\nbefore refraction ")
            assert f"\nu {u[time]:.4g}" in label.replace("\N{MINUS SIGN}", "-")
        assert page.click(x - 1, y) == [1, neuron, time]
    left, across, top, down = page.scale("traces[0]")
    far = next(t for t in range(10, len(u)) if abs(times - t).min() * across > 8)
    assert page.hover(left + across * far, top + down * u[far]).startswith(f"{far * dt:g} ms\nbefore refraction ")
    assert page.click(left + across * far, top + down * u[far]) == [1, neuron, far]
    assert page.hover(left - 20, top + down * u[far]) == ""
    left, across, top, down = page.scale("traces[2]")
    error = page.run(f"short(model.errors(1, {neuron}).potential[150])")
    assert page.hover(left + 150 * across, top) == f"75 ms\nerror on the potential {error}"


def test_keys_and_fields_move_the_time_and_the_neuron(opened):
    page, (_, x, _) = opened("cnn"), NETS["cnn"]
    page.run("choose(3, 0, 31)")
    for name, expected in (("ArrowLeft", 30), ("ArrowRight", 31), ("ArrowRight", 32)):
        page.there.press(name)
        assert page.chosen()[2] == expected
        assert page.text("clock") == f"time {expected} ms"
    for button, expected in (("zoom-in", [16.5, 47.5]), ("zoom-out", [-0.5, 59.5])):
        page.press_button(f"$('{button}')")
        assert page.run("view.range") == pytest.approx(expected, abs=1.5)
    page.run("$('time').focus(); $('time').value = 59; $('time').dispatchEvent(new Event('input'))")
    page.there.press("ArrowRight")
    assert (page.chosen()[2], page.run("$('time').valueAsNumber")) == (59, 59)
    page.run("$('neuron').focus()")
    page.there.press("ArrowLeft")
    assert page.chosen()[2] == 59
    page.run("$('layer').value = 0; $('layer').onchange(); $('neuron').value = 900; $('neuron').onchange()")
    assert page.chosen()[:2] == [0, 143]
    assert page.text("place") == "at (8, 7, 1)"
    assert not page.shown("traces")
    assert not page.shown("parts")
    assert page.text("headline").startswith(f"input, neuron (8, 7, 1): {x[:, 0, 8, 7, 1].sum()} spikes")


def test_frames_of_events_and_of_contributions(opened):
    page, (net, x, _) = opened("cnn"), NETS["cnn"]
    page.run("choose(1, 140, 25)")
    drawn, counts = pixels(page, "$('frame')"), x[16:26, 0].sum(axis=0)
    assert ((drawn[..., 3] > 0) == (counts.sum(axis=2) > 0)).all()
    only_off, only_on = (counts[..., 0] > 0) & (counts[..., 1] == 0), (counts[..., 1] > 0) & (counts[..., 0] == 0)
    assert only_off.any()
    assert only_on.any()
    assert (drawn[only_off][:, 2] > drawn[only_off][:, 0]).all()
    assert (drawn[only_on][:, 0] > drawn[only_on][:, 2]).all()
    assert "last 10 ms" in page.text("frame-caption")
    page.run("choose(1, 140, 50)")
    drawn, sums = pixels(page, "$('map')"), cs.explain(net, x, 1, 140, 50).contributions.sum(axis=2)
    assert (sums > 0).any()
    assert ((drawn[..., 3] > 0) == (abs(sums) > 1e-9)).all()
    assert (drawn[sums > 1e-3][:, 0] > drawn[sums > 1e-3][:, 2]).all()
    assert (drawn[sums < -1e-3][:, 2] > drawn[sums < -1e-3][:, 0]).all()


def test_plots_follow_the_window(opened):
    """In both directions, on a phone that is turned around, and after they were hidden; a zoom stays."""
    page = opened("cnn")
    page.run("view.zoom([10, 50])")

    def check(width, height=900, *, mobile=False):
        page.resize(width, height, mobile=mobile)
        wide = "[...rasters, ...traces].every(({ node, wide }) => wide === node.clientWidth && wide > 200 &&"
        assert page.wait(f"{wide} node.width === Math.round(wide * pixelRatio()))")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run("view.range") == [10, 50]
        neurons, steps, centres = page.places(1)
        at = int(np.flatnonzero((steps > 10) & (steps < 50))[0])
        label, spike = page.label(1, neurons[at], steps[at]), [1, neurons[at], steps[at]]
        assert page.found(centres[[at]]) == [[label, spike]]

    for width in (1400, 420, 800, 300):
        check(width)
    for turn in ((390, 844), (844, 390)):
        check(*turn, mobile=True)
    for section in ("spikes", "why"):
        page.run(f"$('{section}').hidden = true")
        page.resize(700)
        page.run(f"choose(2, 1, 9); choose(2, 2, 9); $('{section}').hidden = false")
        check(700)
    page.there.call("Emulation.clearDeviceMetricsOverride")


def test_a_report_by_keyboard_alone(opened):
    page = opened("cnn")
    stops = tab_stops(page.there)
    assert stops[: stops.index("next") + 1] == [
        *("sample", "time", "zoom-in", "zoom-out", "whole", "layer", "neuron", "previous", "next")
    ]
    assert not any(stop.startswith("!") for stop in stops)
    assert any(stop.startswith("input (") for stop in stops), "the inputs of the table"
    layer, neuron, time = page.chosen()
    times = page.run(f"[...model.times({layer}, {neuron})]")
    assert time == times[0]
    for expected in (*times[1:3], times[1], times[0], times[0]):
        page.run(f"$('{'next' if expected > page.chosen()[2] else 'previous'}').focus()")
        key(page.there, "Enter", 13, "\r")
        assert page.chosen()[2] == expected
    page.run("document.querySelector('#parts button').focus()")
    key(page.there, "Enter", 13, "\r")
    assert page.chosen()[0] == layer - 1


def test_a_finger_scrolls_and_taps(opened, folder):
    """On a phone a finger on a plot scrolls the page, which zooms nothing; a tap chooses a spike."""
    page = opened("cnn")
    show(page.there, phone=True)
    page.open(folder / "cnn.html")
    before, (left, top, *_) = page.run("view.range"), page.box("rasters[1].node")
    for at in range(11):
        where = [{"x": left + 150, "y": top + 60 - 20 * at}]
        page.there.call("Input.dispatchTouchEvent", type="touchMove" if at else "touchStart", touchPoints=where)
        page.there.frames()
    scrolled = page.run("scrollY")
    page.there.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert scrolled > 100
    assert (page.run("view.range"), page.chosen()[0]) == (before, 3)
    while scrolled != (scrolled := page.run("scrollY")):  # the page may scroll on for a while
        page.there.frames()
    left, top, *_ = page.box("rasters[1].node")
    for name, points in (("touchStart", [{"x": left + 100, "y": top + 50}]), ("touchEnd", [])):
        page.there.call("Input.dispatchTouchEvent", type=name, touchPoints=points)
    assert page.wait("chosen.layer === 1")


def test_a_demonstration_opens_with_its_first_recording_running_and_without_motion_nothing_plays(opened, folder):
    page = opened("demo", run=False)
    assert [each for each in page.there.asked if not each.startswith("data:")] == [(folder / "demo.html").as_uri()]
    assert "594,432 weights" in page.text("facts")
    assert page.wait("live.player.playing")
    assert page.run("$('examples').firstElementChild.ariaPressed") == "true"
    page.check_spikes(NETS["demo"], seen(IMAGES[np.flatnonzero(LABELS == 0)[0]], (34, 34, 2), 300))
    assert page.text("verdict").endswith("The true class is 0.")
    page.run("$('clear').click()")
    assert page.text("winner") == "?"
    assert page.text("verdict").startswith("Draw a digit")
    assert page.run("model.layers.map((_, n) => model.spikes(n).times.length)") == [0, 0, 0]
    stops = tab_stops(page.there)
    assert not any(stop.startswith("!") for stop in stops)
    assert {"clear", "more", "play", "time", "speed", "layer", "neuron", "previous", "next"} <= {*stops}
    assert any("row" in stop for stop in stops), "the grid of pixels"
    assert sum("test digit" in stop for stop in stops) == 10
    page.there.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.answer("$('examples').children[2].click()")
    assert page.run("[live.player.playing, live.player.step]") == [False, 299]


SEVEN = [(0.3, 0.2), (0.5, 0.21), (0.7, 0.2), (0.6, 0.4), (0.5, 0.6), (0.45, 0.8)]
BAR = [(0.35, 0.5), (0.65, 0.5)]


def stroke(page, points, *, finger=False):
    """Draw through points from 0 to 1 on the pad, and wait for the answer."""
    left, top, wide, high = page.box("$('pad')")
    page.run("performance.clearMarks('answer')")
    for at, (x, y) in enumerate([*points, points[-1]]):
        kind, where = 0 if at == 0 else 1 if at < len(points) else 2, {"x": left + x * wide, "y": top + y * high}
        if finger:
            name, points_ = ("touchStart", "touchMove", "touchEnd")[kind], [] if kind == 2 else [where]
            page.there.call("Input.dispatchTouchEvent", type=name, touchPoints=points_)
        else:
            name = ("mousePressed", "mouseMoved", "mouseReleased")[kind]
            page.there.call("Input.dispatchMouseEvent", type=name, button="left", buttons=1, clickCount=1, **where)
    assert page.wait("performance.getEntriesByName('answer').length === 1")
    return page.run("[...live.pixels.values]")


def test_strokes_of_a_mouse_and_a_finger_are_answered(opened):
    page, net = opened("demo", run=False), NETS["demo"]
    first, both = stroke(page, SEVEN, finger=True), stroke(page, BAR)
    assert both != first
    # The strokes fill the rows, and are as bold as the digits of the data set.
    assert all(sum(both[8 * row : 8 * row + 8]) for row in (0, 7))
    assert 0.25 < sum(both) / 1024 < 0.36
    x = seen(np.reshape(both, (8, 8)), (34, 34, 2), 300)
    out = page.check_spikes(net, x)
    assert out.sum() > 100
    (winner,) = cs.classify(out).tolist()
    assert page.text("winner") == str(winner)
    assert page.text("verdict").startswith(f"The answer is {winner}, decided at ")
    page.run("$('clear').click()")
    assert page.text("winner") == "?"
    assert page.run("[live.pad.strokes.length, ...live.pixels.values].every((value) => value === 0)")


def test_a_drawing_is_scaled_and_a_dot_is_not_blown_up(opened):
    page = opened("demo", run=False)

    def drawn(strokes):
        return np.array(page.run(f"[...pixelsOf(live.draw, {json.dumps(strokes)})]")).reshape(8, 8)

    assert abs(drawn([[[0.4 + x / 2, 0.1 + y / 2] for x, y in SEVEN]]) - drawn([SEVEN])).max() <= 2
    dot = drawn([[[0.2, 0.2]]])
    assert (dot[3:5, 3:5] == 16).all()
    assert dot[2:6, 2:6].sum() == dot.sum()


def test_pixels_are_drawn_with_the_keyboard(opened):
    page = opened("demo", run=False)
    page.run("$('clear').click(); live.pixels.buttons[0].focus()")
    for name in ("5", "ArrowRight", "9", "+", "+", "ArrowDown", "-", "3", "-", "ArrowLeft", "ArrowLeft", "7", "Delete"):
        page.there.press(name)
    key(page.there, " ", 32, " ")
    drawn = page.run("[...live.pixels.values]")
    assert (drawn[:2], drawn[8:10], sum(drawn)) == ([5, 11], [16, 2], 34)
    assert page.run("document.activeElement.getAttribute('aria-label')") == "row 2, column 1: 16 of 16"
    assert page.wait(f"model.spikes(0).times.length === {seen(np.reshape(drawn, (8, 8)), (34, 34, 2), 300).sum()}")


def test_examples_are_digits_of_the_test_set(opened):
    page = opened("demo", run=False)
    for shown in range(2):
        number = np.flatnonzero(LABELS == 7)[shown]
        page.answer("$('examples').children[7].click()")
        assert page.run("[...live.pixels.values]") == IMAGES[number].ravel().tolist()
        page.check_spikes(NETS["demo"], seen(IMAGES[number], (34, 34, 2), 300))
        assert page.text("verdict").endswith("The true class is 7.")
        pressed = page.run("[...$('examples').children].map((b) => b.getAttribute('aria-pressed'))")
        assert pressed.index("true") == 7
        page.press_button("$('more')")
    # A stroke begins a new drawing. Of two pictures in a row only the second is answered.
    stroke(page, SEVEN)
    assert page.run("live.pad.picture") is None
    assert "true class" not in page.text("verdict")
    first, second = (json.dumps(IMAGES[n].ravel().tolist()) for n in (3, 8))
    page.answer(f"live.take({{ image: {first}, label: 1 }}); live.take({{ image: {second}, label: 2 }})")
    assert page.text("verdict").endswith("The true class is 2.")
    assert page.spikes(0) == [np.flatnonzero(t).tolist() for t in seen(IMAGES[8], (34, 34, 2), 300).reshape(300, -1).T]


def test_time_runs_pauses_and_is_moved(opened):
    page = opened("demo")
    # The test says when a frame is drawn, and how long after the last one.
    # A pause cancels the frame that was requested before it.
    page.run(
        "live.player.play(true); live.player.play(false); "
        "window.now = 0; window.frame = null; window.real = requestAnimationFrame; performance.now = () => now;"
        "window.requestAnimationFrame = (draw) => (frame = draw);"
        "window.pass = (ms) => { const draw = frame; frame = null; draw(now += ms); return live.player.step; };"
        "live.player.move(0); live.player.play(); 0"
    )
    page.run("new Promise((resume) => real(() => real(() => resume(0))))")
    assert page.run("[pass(40), pass(5), pass(5)]") == [4, 4, 5], "a tenth of real time"
    page.press_button("$('play')")
    assert page.run("[live.player.playing, $('play').textContent]") == [False, "Play"]
    page.run("$('time').value = 120; $('time').dispatchEvent(new Event('input'))")
    assert page.text("clock") == "time 120 ms"
    out = page.run("live.scores(120)")
    shown = page.run("[...$('classes').children].map((row) => Number(row.lastElementChild.textContent))")
    assert shown == pytest.approx(out, rel=1e-3)
    assert sum(shown) < sum(page.run("live.scores(299)"))
    page.run("$('speed').value = 1; $('speed').onchange()")
    page.press_button("$('play')")
    assert page.run("[pass(178), live.player.playing]") == [298, True]
    assert page.run("[pass(5), live.player.playing, frame]") == [299, False, None]
    page.run("live.player.play()")
    assert page.run("[live.player.step, live.player.playing]") == [0, True]
    page.run("live.player.play(false)")


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", ["cnn", "demo", "flat", "bars"])
def test_nothing_is_wrong_with_a_page(opened, name, dark, phone):
    """Contrast, names, headings, sizes: see page_audit.js. The plots have the colors, too."""
    page = opened(name)
    show(page.there, dark=dark, phone=phone)
    page.there.frames()
    assert problems(page.there) == []
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)"
    )
    drawn, ink = (
        pixels(page, f"rasters[{0 if name == 'flat' else 1}].spikes"),
        page.run("rgb(model.live ? 'blue' : 'ink')"),
    )
    assert (drawn[drawn[..., 3] == 255][:, :3] == ink).all()
    assert drawn[..., 3].any()
