"""The pages of `report` and `demo` by keyboard, on a phone, in the dark, and for programs that read aloud."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report import report
from tests.inspection.test_demo import lively
from tests.support import browser
from tests.support.page_audit import key, problems, reset, show, tab_stops

LOOKS = {
    name: {"dark": name.startswith("dark"), "phone": name.endswith("phone")}
    for name in ("light", "dark", "light, on a phone", "dark, on a phone")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a page of each kind."""
    pytest.importorskip("plotly")
    if browser.find() is None:
        pytest.skip("no Chromium to open pages in")
    folder = tmp_path_factory.mktemp("pages")
    cs.seed(1)
    x = np.random.default_rng(2).random((60, 2, 9, 8, 2)) < 0.1
    report(cs.Network("9x8x2-4c3-2a-5", cs.SRM()), x, folder / "report.html", target=[1, 4], title="A report")
    flat = np.random.default_rng(2).random((80, 1, 30)) < 0.2
    report(cs.Network("30-20-4", cs.SRM(dt=0.5)), flat, folder / "flat.html")
    net = lively(*cs.Network("34x34x2-32-10", cs.SRM()).layers)
    cs.demo(net, folder / "demo.html", title="Digits")
    return folder


@pytest.fixture(scope="module")
def there(folder):
    with browser.Browser(folder / "profile") as there:
        yield there


@pytest.fixture
def page(there, folder):
    """Return a function that opens a page; fail if it leaves an error on its console."""
    there.said.clear()

    def opened(name):
        reset(there)
        there.open(folder / f"{name}.html")
        if name == "demo":
            there.run("$('examples').children[2].click(); 0")
            assert there.wait("performance.getEntriesByName('answer').length === 1 && player.step > 0")
            there.run("player.pause()")
        return there

    yield opened
    reset(there)
    assert there.said == []


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", ["report", "flat", "demo"])
def test_nothing_is_wrong_with_a_page(page, name, look):
    there = page(name)
    show(there, **LOOKS[look])
    assert problems(there) == []


def test_what_is_wrong_is_found(there, tmp_path):
    """The audit itself: a page on which each rule is broken."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<body style='width: 3000px'><h1>A</h1><h3>B</h3><p style='color: #999'>pale</p><img src='data:,'>"
        "<canvas></canvas><input><button></button><i id=x></i><i id=x></i><table><tr><th></th></tr></table>"
        "<p style='opacity: 0.5'>faded</p><div style='background: #333'><b style='color: #222'>dark</b></div>"
    )
    there.open(path)
    found = " | ".join(problems(there))
    for part in (
        *(
            "contrast 2.85: pale",
            ": faded",
            "contrast 1.26: dark",
            "no alt: <img",
            "picture without a name: <canvas",
        ),
        *(
            "no name: <input",
            "no name: <button",
            "id twice: x",
            "h3 after h1",
            "no language",
            "no title",
            "no viewport",
        ),
        *("no main", "empty heading of a column", "pixels wide in a window of"),
    ):
        assert part in found, part
    there.said.clear()


def test_the_report_by_keyboard_alone(page):
    there = page("report")
    stops = tab_stops(there)
    assert stops[: stops.index("next") + 1] == [
        *("sample", "time", "zoom-in", "zoom-out", "whole", "layer", "neuron", "previous", "next")
    ]
    assert not any(stop.startswith("!") for stop in stops)
    assert any(stop.startswith("input (") for stop in stops), "the inputs of the table"

    def chosen():
        return there.run("[chosen.layer, chosen.neuron, chosen.time]")

    there.run("$('next').focus()")
    layer, neuron, time = chosen()
    times = there.run(f"[...model.times({layer}, {neuron})]")
    assert time == times[0]
    for expected in (*times[1:3], times[1], times[0], times[0]):
        there.run(f"$('{'next' if expected > chosen()[2] else 'previous'}').focus()")
        key(there, "Enter", 13, "\r")
        assert chosen()[2] == expected
    there.run("document.querySelector('#parts button').focus()")
    key(there, "Enter", 13, "\r")
    assert chosen()[0] == layer - 1


def test_time_is_zoomed_by_buttons(page):
    there = page("report")

    def span():
        return there.run("$('rasters').layout.xaxis.range")

    there.run("choose(3, 0, 30); 0")
    whole = span()
    for button, expected in (
        *(("zoom-in", [15, 45]), ("zoom-in", [22.5, 37.5]), ("zoom-out", [15, 45])),
        *(("whole", whole), ("zoom-out", whole)),
    ):
        there.run(f"$('{button}').click(); 0")
        assert there.wait(f"Math.abs($('rasters').layout.xaxis.range[0] - {expected[0]}) < 1e-6")
        assert span() == pytest.approx(expected)
        assert there.wait("$('traces').layout.xaxis.range.join() === $('rasters').layout.xaxis.range.join()")
    there.run("choose(3, 0, 59); for (let n = 0; n < 9; n++) $('zoom-in').click(); 0")
    low, high = span()
    assert (high, high - low) == (pytest.approx(59.5), pytest.approx(5.0))


def test_a_finger_scrolls_and_taps(page, folder):
    """On a phone a finger on a plot scrolls the page, which zooms nothing; a tap chooses a spike."""
    there = page("report")
    show(there, phone=True)
    there.open(folder / "report.html")
    before = there.run("$('rasters').layout.xaxis.range")
    left, top = there.run("(({ left, top }) => [left, top])($('rasters').getBoundingClientRect())")
    for at in range(11):
        where = [{"x": left + 150, "y": top + 250 - 20 * at}]
        there.call("Input.dispatchTouchEvent", type="touchMove" if at else "touchStart", touchPoints=where)
        there.run("new Promise(requestAnimationFrame)")
    there.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert there.run("scrollY") > 100
    assert there.run("$('rasters').layout.xaxis.range") == before
    layer = there.run("chosen.layer")
    x, y = there.run(
        "(() => { const node = $('rasters'), a = node._fullLayout.yaxis2, b = node.getBoundingClientRect();"
        "return [b.left + node._fullLayout.xaxis._offset + 60, b.top + a._offset + a._length / 2]; })()"
    )
    there.call("Input.synthesizeTapGesture", x=x, y=y, gestureSourceType="touch")
    assert layer == 3
    assert there.wait("chosen.layer === 1")


def test_the_demonstration_by_keyboard_alone(page):
    there = page("demo")
    stops = tab_stops(there)
    assert not any(stop.startswith("!") for stop in stops)
    for name in ("clear", "more", "play", "time", "speed", "layer", "neuron", "previous", "next"):
        assert name in stops
    assert any("row" in stop for stop in stops), "the grid of pixels"
    assert sum("test digit" in stop for stop in stops) == 10
