"""Tests of the page of `demo` as a file: self-contained, deterministic, small; and what is refused."""

from __future__ import annotations

import contextlib
import re
import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits, saccades, simulated_camera
from cuslayer.inspection.demo.contents import contents
from tools.emulator.driver import emulation


def test_the_page_is_deterministic_the_only_file_and_loads_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)  # neither page needs it
    cs.seed(0)
    net = cs.Network("34x34x2-256-10", cs.SRM())
    page = cs.demo(net, tmp_path / "a.html")
    cs.demo(net, str(tmp_path / "b.html"))
    assert page == tmp_path / "a.html"
    assert page.read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]
    text = page.read_text("utf-8")
    assert not re.search(
        r"\{\{|https?:|//[a-z]+\.|src=|href=\"[^d]|@import|url\(|fetch\(|XMLHttpRequest|import\(", text
    )
    # The weights take 4/3 of their bytes, everything else under 250 kB.
    assert page.stat().st_size < 594_432 * 4 * 4 / 3 + 250_000
    x = np.zeros((20, 1, 34, 34, 2), bool)
    assert cs.report(net, x, tmp_path / "c.html", live=True).stat().st_size > page.stat().st_size


def test_text_is_escaped(tmp_path):
    net = cs.Network("9x8x2-3", cs.SRM())
    title = "</script><script>alert(1)</script> & {{style}} \\1"
    text = cs.demo(net, tmp_path / "a.html", title=title).read_text("utf-8")
    assert "<script>alert(1)" not in text
    assert text.count("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{style}} \\1") == 2


def test_the_network_does_not_change(tmp_path):
    net = cs.Sequential(cs.Dense((9, 8, 2), 5), cs.Dropout(0.5), cs.SRM())
    state, weight = cs.backend.generator().bit_generator.state, net[0].weight.data.copy()
    cs.demo(net, tmp_path / "a.html")
    assert cs.backend.generator().bit_generator.state == state
    assert (net[0].weight.data == weight).all()
    assert net[1].training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize("shape", [(34, 34), (34, 35), (1, 1), (2, 9), (13, 20), (35, 33), (128, 100)])
def test_the_camera_stays_on_the_canvas(shape):
    seen = saccades.saccades(*shape, 8, seed=0)
    assert (seen.path >= 0).all()
    assert (np.floor(seen.path).max(axis=0) + shape < seen.canvas).all()
    drawn = seen.draw(np.ones((1, 8, 8)))
    assert drawn.shape == (1, *seen.canvas)
    assert simulated_camera.record(drawn[0], seen.path, seen.thresholds).shape[1] == 4
    if shape == (34, 34):
        assert seen.draw(np.ones((1, 8, 8))).sum() == drawn.sum()
        assert Digits.shape == (*shape, 2)


def test_on_emulated_cuda():
    found = []
    for where in (contextlib.nullcontext(), emulation()):
        with where:
            cs.seed(1)
            net = cs.Network("9x8x2-3c3-2a-4", cs.SRM())
            found.append(contents("demo", net, (9, 8, 2), 300))
    assert found[0] == found[1]


class Own(cs.SRM):
    def __call__(self, x):
        return super().__call__(x * 2.0)


def double(*stages):
    for stage in stages:
        if isinstance(stage, cs.Dense):
            stage.weight.data = stage.weight.data.astype(np.float64)
    return cs.Sequential(*stages)


def refused():
    srm, frames = cs.SRM(), (4, 4, 2)
    dense, small = cs.Dense(frames, 6), {"shape": frames}
    weights = "demo: net must have a layer of weights or pooling, and whole delays, before each layer of neurons"
    return [
        (3, {}, TypeError, "demo: net must be a Network or Sequential, got int"),
        (cs.Network("32-3", srm), {}, ValueError, "demo: net must take frames (H, W, 2) of an event camera, got (32,)"),
        (
            *(cs.Network("4x4x1-3", srm), {}, ValueError),
            "demo: net must take frames (H, W, 2) of an event camera, got (4, 4, 1)",
        ),
        (
            *(cs.Sequential(cs.Conv(2, 3, 3), srm), {}, ValueError),
            "demo: shape is needed: a Sequential does not have the shape of its input",
        ),
        (
            *(cs.Network("4x4x2-3", srm), {"shape": (4, 5, 2)}, ValueError),
            "demo: shape must be the network's, (4, 4, 2), got (4, 5, 2)",
        ),
        (cs.Network("4x4x2-3", srm), {"shape": 4}, TypeError, "demo: shape must be (H, W, 2), got int"),
        (cs.Network("4x4x2-3", srm), {"shape": (0, 4, 2)}, ValueError, "demo: shape must be at least 1, got 0"),
        (
            *(cs.Sequential(cs.Conv(2, 3, 3), srm), small, ValueError),
            "demo: net must end in one neuron for each class, got an output of (2, 2, 3)",
        ),
        (
            *(cs.Sequential(dense, srm, cs.Dense(6, 3)), {}, ValueError),
            "demo: net must end in neurons or an Average of them, got Dense(6, 3)",
        ),
        (cs.Sequential(dense), {}, ValueError, "demo: net must have neurons, whose spikes could be shown"),
        (
            *(cs.Sequential(dense, Own()), {}, ValueError),
            "demo: net must have SRM or Loihi neurons, got layer 1 (Dense((4, 4, 2), 6), Own)",
        ),
        (
            *(cs.Sequential(dense, cs.Dense(6, 3), srm), {}, ValueError),
            f"{weights}, got Dense((4, 4, 2), 6), Dense(6, 3)",
        ),
        (
            *(cs.Sequential(dense, srm, cs.FilterBank(6, 2), srm), {}, ValueError),
            f"{weights}, got FilterBank(6, 2)",
        ),
        (
            *(cs.Sequential(dense, srm, cs.Delay(6, dt=1.0, mode="linear"), cs.Dense(6, 3), srm), {}, ValueError),
            f"{weights}, got Delay(6, dt=1, mode='linear'), Dense(6, 3)",
        ),
        (
            *(cs.Sequential(cs.Parallel(dense, cs.Dense(frames, 6), join="add"), srm), {"shape": frames}, ValueError),
            "demo: net must be a chain of layers, without branches, for a page that runs it",
        ),
        (
            *(double(cs.Dense(frames, 6), srm), {}, ValueError),
            "demo: net must have float32 weights, got float64 in Dense((4, 4, 2), 6)",
        ),
        (cs.Sequential(dense, srm), {"title": 3}, TypeError, "demo: title must be text, got int"),
        (cs.Sequential(dense, srm), {"duration": 0}, ValueError, "demo: duration must be positive, got 0"),
        (
            *(cs.Sequential(dense, srm), {"duration": 0.3}, ValueError),
            "demo: duration must be at least one step of 1 ms, got 0.3",
        ),
        (cs.Sequential(dense, srm), {"frame": -1}, ValueError, "demo: frame must be positive, got -1"),
    ]


@pytest.mark.parametrize("number", range(len(refused())))
def test_what_the_page_cannot_compute_is_refused_in_one_line(number, tmp_path):
    net, options, kind, message = refused()[number]
    with pytest.raises(kind, match="^" + re.escape(message) + "$"):
        cs.demo(net, tmp_path / "a.html", **options)
    assert not list(tmp_path.iterdir())


def test_a_live_report_is_refused_where_a_demonstration_is(tmp_path):
    net, x = cs.Network("4x4x2-3", cs.SRM()), np.zeros((9, 2, 4, 4, 2), bool)
    flat = cs.Network("5-3", cs.SRM())
    cases = [
        (TypeError, (net, x.astype(np.float32)), {}, "samples of a live page must be spikes (bool), got float32"),
        (
            *(ValueError, (net, x), {"target": [1]}),
            "target must be integers (2,) for a live page, got int64 of shape (1,)",
        ),
        (
            *(ValueError, (net, x), {"target": [1, 2], "loss": lambda s, t: s.sum()}),
            "loss must not be given for a live page, which shows no errors",
        ),
        (
            *(ValueError, (flat, np.zeros((9, 1, 5), bool)), {}),
            "net must take frames (H, W, 2) of an event camera, got (5,)",
        ),
    ]
    for kind, given, options, message in cases:
        with pytest.raises(kind, match="^report: " + re.escape(message) + "$"):
            cs.report(*given, tmp_path / "a.html", live=True, **options)
    with pytest.raises(OSError, match="No such file"):
        cs.demo(net, tmp_path / "none" / "a.html")
    assert not list(tmp_path.iterdir())
