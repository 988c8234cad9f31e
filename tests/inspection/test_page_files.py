"""The pages of `report` and `demo` as files: self-contained, deterministic, escaped, small; and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits, saccades, simulated_camera

LOADS = r"\{\{|https?:|//[a-z]+\.|src=|href=\"[^d]|@import|url\(|fetch\(|XMLHttpRequest|import\("


def small():
    return cs.Network("6x5x2-3c3-2a-4", cs.SRM()), np.random.default_rng(0).random((30, 2, 6, 5, 2)) < 0.1


def written(path, live, **options):
    net, x = small()
    options |= {"live": True} if live else {"target": [1, 2]}
    return cs.write_report(net, x, path, **options)


@pytest.mark.parametrize("live", [False, True])
def test_a_page_is_deterministic_the_only_file_loads_nothing_and_escapes_text(tmp_path, live):
    cs.seed(0)
    title = "</script><script>alert(1)</script> & {{style}} \\1"
    page = written(tmp_path / "a.html", live, title=title)
    cs.seed(0)
    written(str(tmp_path / "b.html"), live, title=title)
    assert page == tmp_path / "a.html"
    assert page.read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]
    text, escaped = page.read_text("utf-8"), "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{style}} \\1"
    assert "<script>alert(1)" not in text
    assert text.count(escaped) == 2
    assert not re.search(LOADS, text.replace(escaped, "").replace("{{style}} \\\\1", ""))
    assert "{{style}} \\\\1" in text


@pytest.mark.parametrize("shape", [(34, 34), (1, 1), (13, 20), (128, 100)])
def test_the_camera_stays_on_the_canvas(shape):
    seen = saccades.saccades(*shape, 8, seed=0)
    assert (seen.path >= 0).all()
    assert (np.floor(seen.path).max(axis=0) + shape < seen.canvas).all()
    drawn = seen.draw(np.ones((1, 8, 8)))
    assert drawn.shape == (1, *seen.canvas)
    assert simulated_camera.record(drawn[0], seen.path, seen.thresholds).shape[1] == 4
    assert shape != (34, 34) or Digits.shape == (*shape, 2)


def test_what_a_report_refuses(tmp_path):
    (net, x), path = small(), tmp_path / "a.html"
    live = cs.Network("4x4x2-3", cs.SRM())
    spikes, dense = np.zeros((9, 2, 4, 4, 2), bool), cs.Dense(60, 2)
    cases = [
        (TypeError, (3, x), {}, r"net must be a Network or Sequential, got int"),
        (ValueError, (net, x[:0]), {}, r"samples must not be empty, got shape \(0, 2, 6, 5, 2\)"),
        (TypeError, (net, x), {"target": [1, 2], "loss": 3}, r"loss must be a function .*, got int"),
        (ValueError, (net, x), {"loss": sum}, r"target is needed where a loss is given"),
        (ValueError, (cs.Sequential(dense), x), {}, r"net must have neurons, whose spikes could be shown"),
        (
            *(ValueError, (cs.Sequential(lambda t: t[1:], dense, cs.SRM()), x), {}),
            r"layer 2 must keep the input's 30 steps and 2 samples, got shape \(29, 2, 2\)",
        ),
        (
            *(TypeError, (live, spikes.astype(np.float32)), {"live": True}),
            r"samples of a live page must be spikes \(bool\), got float32",
        ),
        (
            *(ValueError, (cs.Network("5-3", cs.SRM()), np.zeros((9, 1, 5), bool)), {"live": True}),
            r"net must take frames \(H, W, 2\) of an event camera, got \(5,\)",
        ),
    ]
    for kind, given, options, message in cases:
        with pytest.raises(kind, match=f"^write_report: {message}$"):
            cs.write_report(*given, path, **options)
    for write in (lambda to: cs.write_report(net, x, to), lambda to: cs.write_demo(live, to)):
        with pytest.raises(OSError, match="No such file"):
            write(tmp_path / "none" / "a.html")
    assert not list(tmp_path.iterdir())


class Own(cs.SRM):
    def __call__(self, x):
        return super().__call__(x * 2.0)


def test_what_a_demonstration_refuses(tmp_path):
    """What the page cannot compute to the bit."""
    srm, frames = cs.SRM(), (4, 4, 2)
    dense, double = cs.Dense(frames, 6), cs.Dense(frames, 6)
    double.weight.data = double.weight.data.astype(np.float64)
    weights = "net must have a layer of weights or pooling, and whole delays, before each layer of neurons, got"
    two = cs.Parallel(dense, cs.Dense(frames, 6), join="add")
    cases = [
        (cs.Network("32-3", srm), {}, "net must take frames (H, W, 2) of an event camera, got (32,)"),
        (cs.Network("4x4x2-3", srm), {"shape": (4, 5, 2)}, "shape must be the network's, (4, 4, 2), got (4, 5, 2)"),
        (
            *([cs.Conv(2, 3, 3), srm], {"shape": frames}),
            "net must end in one neuron for each class, got an output of (2, 2, 3)",
        ),
        ([dense, srm, cs.Dense(6, 3)], {}, "net must end in neurons or an Average of them, got Dense(6, 3)"),
        ([dense], {}, "net must have neurons, whose spikes could be shown"),
        ([dense, Own()], {}, "net must have SRM or Loihi neurons, got layer 1 (Dense((4, 4, 2), 6), Own)"),
        ([dense, cs.Dense(6, 3), srm], {}, f"{weights} Dense((4, 4, 2), 6), Dense(6, 3)"),
        ([dense, srm, cs.FilterBank(6, 2), srm], {}, f"{weights} FilterBank(6, 2)"),
        ([two, srm], {"shape": frames}, "net must be a chain of layers, without branches, for a page that runs it"),
        ([double, srm], {}, "net must have float32 weights, got float64 in Dense((4, 4, 2), 6)"),
        ([dense, srm], {"duration": 0.3}, "duration must be at least one step of 1 ms, got 0.3"),
    ]
    for net, options, message in cases:
        with pytest.raises(ValueError, match="^" + re.escape(f"write_demo: {message}") + "$"):
            cs.write_demo(cs.Sequential(*net) if isinstance(net, list) else net, tmp_path / "a.html", **options)
    assert not list(tmp_path.iterdir())
