"""Tests of the page of `demo` in use: strokes, keys, examples, playback, and clicks on spikes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import digits
from tests.inspection.test_demo import lively, spikes
from tests.support import browser
from tests.support.demo_page import check_spikes, open_page, times_of

IMAGES, LABELS = (each[digits.numbers("test")] for each in digits.labelled_images())
SHAPE = (34, 34, 2)


class Page:
    """A page of the default network in a browser."""

    def __init__(self, there, folder):
        self.there = there
        cs.seed(1)
        self.net = lively(*cs.Network("34x34x2-256-10", cs.SRM()).layers)
        self.path = cs.demo(self.net, folder / "demo.html", title="Digits")

    def text(self, element):
        return self.there.run(f"$('{element}').textContent")

    def marks(self, name):
        return self.there.run(f"performance.getEntriesByName('{name}').length")

    def box(self, query):
        """Return left, top, width and height of an element in the window, after scrolling to it."""
        return self.there.run(
            f"(() => {{ const node = {query}; node.scrollIntoView({{ block: 'center' }});"
            "const box = node.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; })()"
        )

    def stroke(self, points, kinds=("mousePressed", "mouseMoved", "mouseReleased")):
        """Draw with the mouse through points from 0 to 1 on the pad, and wait for the answer."""
        left, top, wide, high = self.box("$('pad')")
        answers = self.marks("answer")
        for at, (x, y) in enumerate([*points, points[-1]]):
            kind = kinds[0] if at == 0 else kinds[1] if at < len(points) else kinds[2]
            where = {"x": left + x * wide, "y": top + y * high}
            self.there.call("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **where)
        assert self.there.wait(f"performance.getEntriesByName('answer').length === {answers + 1}")

    def click(self, query):
        left, top, wide, high = self.box(query)
        self.there.click(left + wide / 2, top + high / 2)

    def answer_to(self, action):
        answers = self.marks("answer")
        action()
        assert self.there.wait(f"performance.getEntriesByName('answer').length === {answers + 1}")


SEVEN = [(0.3, 0.2), (0.5, 0.21), (0.7, 0.2), (0.6, 0.4), (0.5, 0.6), (0.45, 0.8)]
BAR = [(0.35, 0.5), (0.65, 0.5)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    folder = tmp_path_factory.mktemp("demo")
    with browser.Browser(folder / "profile") as there:
        yield Page(there, folder)


@pytest.fixture
def page(whole):
    """Yield the freshly opened page; fail if a test leaves an error on its console."""
    open_page(whole.there, whole.path)
    yield whole
    assert whole.there.said == []


def test_it_opens_empty_and_loads_no_other_file(page):
    assert page.there.run("document.title") == page.there.run("document.querySelector('h1').textContent") == "Digits"
    assert [address for address in page.there.asked if not address.startswith("data:")] == [page.path.as_uri()]
    assert "594,432 weights" in page.text("facts")
    assert page.text("winner") == "?"
    assert page.text("verdict").startswith("Draw a digit")
    assert page.there.run("model.layers.map((_, n) => model.spikes(n).times.length)") == [0, 0, 0]


def test_strokes_are_answered(page):
    page.stroke(SEVEN)
    first = page.there.run("[...pixels.values]")
    page.stroke(BAR)
    both = page.there.run("[...pixels.values]")
    assert both != first
    # The strokes fill the rows, and are as bold as the digits of the data set.
    assert all(sum(both[8 * row : 8 * row + 8]) for row in (0, 7))
    assert 0.25 < sum(both) / 1024 < 0.36
    x = spikes(np.reshape(both, (8, 8)), SHAPE, 300)
    assert check_spikes(page.there, page.net, x) > 100
    with cs.no_grad():
        (winner,) = cs.classify(page.net(x)).tolist()
    assert page.text("winner") == str(winner)
    assert page.text("verdict").startswith(f"The answer is {winner}, decided at ")
    page.click("$('clear')")
    assert page.text("winner") == "?"
    assert page.there.run("[...pixels.values].every((value) => value === 0)")
    assert page.there.run("pad.strokes.length") == 0


def test_a_finger_draws(page):
    left, top, wide, high = page.box("$('pad')")
    for at, (x, y) in enumerate(SEVEN):
        where = [{"x": left + x * wide, "y": top + y * high}]
        page.there.call("Input.dispatchTouchEvent", type="touchMove" if at else "touchStart", touchPoints=where)
    page.there.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert page.there.wait("performance.getEntriesByName('answer').length === 1")
    assert page.there.run("[...pixels.values].some((value) => value)")


def test_a_drawing_is_scaled_and_a_dot_is_not_blown_up(page):
    def pixels(strokes):
        return page.there.run(f"[...pixelsOf({json.dumps(strokes)})]")

    small = [[[0.4 + x / 2, 0.1 + y / 2] for x, y in SEVEN]]
    assert np.abs(np.subtract(pixels(small), pixels([SEVEN]))).max() <= 2
    assert pixels([]) == [0] * 64
    dot = np.reshape(pixels([[[0.2, 0.2]]]), (8, 8))
    assert (dot == dot.T).all()
    assert (dot[3:5, 3:5] == 16).all()
    assert dot[2:6, 2:6].sum() == dot.sum()
    wide = np.reshape(pixels([[[0.0, 0.5], [1.0, 0.5]]]), (8, 8))
    assert not wide[[0, 7]].any()
    assert not wide[:, [0, 7]].any()


def test_a_digit_of_the_test_set_drawn_with_the_keyboard_has_the_spikes_of_python(page):
    image = IMAGES[24]
    page.there.run("pixels.buttons[0].focus()")
    for row in range(8):
        for at in range(8):
            column = at if row % 2 == 0 else 7 - at  # there and back
            value = int(image[row, column])
            # Space fills the pixel, from where a few keys lead to it; the keys of numbers end at 9.
            for key in (
                []
                if value == 0
                else [" ", *["-"] * (16 - value)]
                if value > 12
                else [str(min(value, 9))] + ["+"] * (value - 9)
            ):
                if key == " ":
                    page.there.call("Input.dispatchKeyEvent", type="keyDown", key=key, code="Space", text=key)
                    page.there.call("Input.dispatchKeyEvent", type="keyUp", key=key, code="Space")
                else:
                    page.there.press(key)
            if at < 7:
                page.there.press("ArrowLeft" if row % 2 else "ArrowRight")
        page.there.press("ArrowDown")
    assert page.there.run("[...pixels.values]") == image.ravel().tolist()
    assert (
        page.there.run("document.activeElement.getAttribute('aria-label')") == f"row 8, column 1: {image[7, 0]} of 16"
    )
    assert page.there.wait("task.stopped")
    check_spikes(page.there, page.net, spikes(image, SHAPE, 300))


def test_examples_are_digits_of_the_test_set(page):
    for shown in range(2):
        for digit in (0, 7):
            page.answer_to(lambda digit=digit: page.click(f"$('examples').children[{digit}]"))
            number = np.flatnonzero(digit == LABELS)[shown]
            assert page.there.run("[...pixels.values]") == IMAGES[number].ravel().tolist()
            check_spikes(page.there, page.net, spikes(IMAGES[number], SHAPE, 300))
            assert page.text("verdict").endswith(f"The true class is {digit}.")
            pressed = page.there.run("[...$('examples').children].map((b) => b.getAttribute('aria-pressed'))")
            assert pressed.index("true") == digit
        page.click("$('more')")
    # A stroke begins a new drawing.
    page.stroke(SEVEN)
    assert page.there.run("pad.picture") is None
    assert "true class" not in page.text("verdict")


def test_time_runs_pauses_and_is_moved(page):
    # The test says when a frame is drawn, and how long after the last one.
    page.there.run(
        "window.now = 0; window.frame = null; performance.now = () => now;"
        "window.requestAnimationFrame = (draw) => (frame = draw);"
        "window.pass = (ms) => { const draw = frame; frame = null; draw(now += ms); return player.step; }; 0"
    )
    page.answer_to(lambda: page.click("$('examples').children[3]"))
    assert page.there.run("player.playing")
    assert page.there.run("[pass(40), pass(5), pass(5)]") == [4, 4, 5], "a tenth of real time"
    page.click("$('play')")
    assert page.there.run("[player.playing, $('play').textContent]") == [False, "Play"]
    page.there.run("$('time').value = 120; $('time').dispatchEvent(new Event('input'))")
    assert page.text("clock") == "120 ms"
    out = page.there.run("decision.counts(120)")
    shown = page.there.run("[...$('classes').children].map((row) => Number(row.lastElementChild.textContent))")
    assert shown == pytest.approx(out, rel=1e-3)
    assert sum(shown) < sum(page.there.run("outcome.counts"))
    # Spikes up to the time are in color, later ones faint.
    opacity = page.there.run(
        "(() => { const { node } = rasters[1], { width, height } = node, at = Math.round((121 * width) / 300);"
        "const data = node.getContext('2d').getImageData(0, 0, width, height).data, most = [0, 0];"
        "for (let i = 0; i < width * height; i++) if (i % width !== at) most[i % width < at ? 0 : 1] ="
        "Math.max(most[i % width < at ? 0 : 1], data[4 * i + 3]); return most; })()"
    )
    assert opacity == [255, 110]
    page.there.run("$('speed').value = 1; $('speed').onchange()")
    page.click("$('play')")
    assert page.there.run("[pass(178), player.playing]") == [298, True]
    assert page.there.run("[pass(5), player.playing, frame]") == [299, False, None]
    page.there.run("player.toggle()")
    assert page.there.run("[player.step, player.playing]") == [0, True]


@pytest.mark.parametrize("layer", [1, 2])
def test_a_click_on_a_spike_shows_parts_that_sum_to_u(page, layer):
    page.answer_to(lambda: page.click("$('examples').children[5]"))
    page.there.run("player.pause()")
    image = np.reshape(page.there.run("[...pixels.values]"), (8, 8))
    x = spikes(image, SHAPE, 300)
    at = 2 * layer - 1
    with cs.no_grad(), cs.record(page.net) as seen:
        page.net(x)
    trains = times_of(seen[at].spikes)
    neuron = next(n for n, train in enumerate(trains) if len(train) > 2 and n > 1)
    time = trains[neuron][1]
    left, top, *_ = page.box(f"rasters[{layer}].node")
    sizes = ("clientWidth", "clientHeight", "clientLeft")
    wide, high, border = page.there.run(f"{json.dumps(sizes)}.map((name) => rasters[{layer}].node[name])")
    across = (time + 0.5) * wide / 300 + border
    page.there.click(left + across, top + (neuron + 0.5) * high / len(trains) + border)
    assert page.there.run("[chosen.layer, chosen.neuron, chosen.time]") == [layer, neuron, time]
    why = cs.explain(page.net, x, at, neuron, time)
    assert f"neuron {neuron} at {time} ms: fired, u = {why.potential:.4g}" in page.text("headline")
    rows = page.there.run(
        "[...$('parts').tBodies[0].rows].map((r) => [r.cells[0].textContent, r.cells[2].textContent])"
    )
    sizes = {name: float(size.replace("\N{MINUS SIGN}", "-")) for name, size in rows}
    total = sizes.pop("u")
    assert total == pytest.approx(why.potential, abs=2e-3)
    assert sum(sizes.values()) == pytest.approx(total, abs=1e-3 * len(sizes))
    assert page.there.run("$('map-figure').hidden") == (layer == 2)
    page.click("$('next')")
    assert page.there.run("chosen.time") == trains[neuron][2]
    page.click("$('previous')")
    page.click("$('previous')")
    assert page.there.run("chosen.time") == trains[neuron][0]
    name = page.there.run("document.querySelector('#parts button').textContent")
    page.click("document.querySelector('#parts button')")
    assert page.there.run("chosen.layer") == layer - 1
    assert name.startswith("input ")


def test_it_fits_a_phone_and_both_colors(page):
    page.answer_to(lambda: page.click("$('examples').children[2]"))
    page.there.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    assert page.there.wait("innerWidth === 360")
    assert page.there.run("document.documentElement.scrollWidth") == 360
    page.there.call("Emulation.clearDeviceMetricsOverride")
    shades = []
    for scheme in ("light", "dark"):
        page.there.color_scheme(scheme)
        shades.append(page.there.run("getComputedStyle(document.body).backgroundColor"))
    assert shades == ["rgb(255, 255, 255)", "rgb(21, 23, 26)"]
    page.there.call("Emulation.setEmulatedMedia", features=[])
    unnamed = page.there.run(
        "[...document.querySelectorAll('button, input, select, [role=img]')].filter((node) => !node.hidden &&"
        "!(node.textContent.trim() || node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') ||"
        "node.labels?.length)).map((node) => node.outerHTML)"
    )
    assert unnamed == []


def test_without_motion_nothing_plays(page):
    page.there.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    page.answer_to(lambda: page.click("$('examples').children[2]"))
    assert page.there.run("[player.playing, player.step]") == [False, 299]
    page.there.call("Emulation.setEmulatedMedia", features=[])


def test_a_run_that_is_overtaken_shows_nothing(page):
    """Two pictures in a row: only the second is answered."""
    first, second = (json.dumps(IMAGES[n].ravel().tolist()) for n in (3, 8))
    page.there.run(f"take({first}, 1); window.overtaken = task; take({second}, 2); 0")
    assert page.there.wait("overtaken.stopped && task.stopped")
    assert page.marks("answer") == 1
    assert page.text("verdict").endswith("The true class is 2.")
