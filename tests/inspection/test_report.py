"""Tests of the report as a file: self-contained, deterministic, escaped, and below a size limit."""

from __future__ import annotations

import base64
import re
import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report import report
from cuslayer.inspection.report.contents import contents
from cuslayer.inspection.report.encode import block, by_neuron
from tools.emulator.driver import emulation

plotly = pytest.importorskip("plotly")


def small():
    return cs.Network("6x5x2-3c3-2a-4", cs.SRM()), np.random.default_rng(0).random((30, 2, 6, 5, 2)) < 0.1


def test_the_page_is_deterministic_and_the_only_file(tmp_path):
    net, x = small()
    page = report(net, x, tmp_path / "a.html", target=[1, 2])
    report(net, cs.Tensor(x), str(tmp_path / "b.html"), target=[1, 2])
    assert page == tmp_path / "a.html"
    assert page.read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]
    report(net, x, page)
    assert page.read_bytes() != (tmp_path / "b.html").read_bytes()


def test_nothing_is_loaded(tmp_path):
    net, x = small()
    text = report(net, x, tmp_path / "a.html").read_text("utf-8")
    from plotly.offline import get_plotlyjs

    assert get_plotlyjs() in text
    ours = text.replace(get_plotlyjs(), "")
    assert not re.search(r"\{\{|https?:|src=|@import|url\(|fetch\(|XMLHttpRequest", ours)


def test_text_is_escaped(tmp_path):
    net, x = small()
    title = "</script><script>alert(1)</script> & {{style}} \\1"
    text = report(net, x, tmp_path / "a.html", title=title).read_text("utf-8")
    assert "<script>alert(1)" not in text
    assert text.count("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{style}} \\1") == 2


def test_network_and_input_do_not_change(tmp_path):
    net = cs.Sequential(cs.Dense(6, 5), cs.Dropout(0.5), cs.SRM(), cs.Dense(5, 2), cs.SRM())
    x = np.random.default_rng(0).random((30, 1, 6)) < 0.4
    before, state = x.copy(), cs.backend.generator().bit_generator.state
    report(net, x, tmp_path / "a.html", target=[1])
    assert cs.backend.generator().bit_generator.state == state
    assert (x == before).all()
    assert net[1].training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_on_emulated_cuda():
    found = []
    for where in (None, emulation()):
        cs.seed(1)
        net, x = small()
        if where is None:
            found.append(contents(net, x, [1, 2], None))
        else:
            with where:
                found.append(contents(net, cs.Tensor(x).data, [1, 2], None))
    here, there = found
    assert here["loss"] == pytest.approx(there["loss"], rel=1e-5)
    for one, other in zip(here["layers"], there["layers"], strict=True):
        assert one.keys() == other.keys()
        assert all(one[name] == other[name] for name in one if name != "errors")


def test_blocks():
    assert block(np.array([[1.5]]), "f4") == {"type": "f4", "data": "AADAPw=="}
    train = np.zeros((20, 1, 2), bool)
    train[[0, 3, 17], 0, 1] = True
    assert by_neuron(train) == {"bits": block(np.array([0, 0, 0, 9, 0, 2]), "u1")}
    long = np.zeros((70_000, 2), bool)
    long[69_999, 1] = True
    assert by_neuron(long) == {"starts": block(np.array([0, 0, 1]), "u4"), "times": block(np.array([69_999]), "u4")}
    values = np.array([[0.0, 2.0], [-1.0, 0.0]])
    found = by_neuron(values)
    assert found["values"] == block(np.array([-1.0, 2.0]), "f4")
    assert found["times"] == block(np.array([1, 0]), "u2")


def test_the_cnn_is_under_15_mb(tmp_path):
    """Untrained, with three million spikes: a trained network has fewer."""
    cs.seed(0)
    net = cs.Network("34x34x2-16c5-2a-32c3-2a-64c3-10", cs.SRM())
    x = np.random.default_rng(0).random((300, 1, 34, 34, 2)) < 0.007
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    assert sum(int(seen[at].spikes.sum()) for at in range(1, len(net), 2)) > 1_000_000
    assert report(net, x, tmp_path / "cnn.html", target=[3]).stat().st_size < 15_000_000


def test_errors(tmp_path, monkeypatch):
    net, x = small()
    path = tmp_path / "a.html"
    cases = [
        (TypeError, (3, x, path), {}, r"^report: net must be a Network or Sequential, got int$"),
        (ValueError, (net, x[0, 0, 0, 0, 0], path), {}, r"^report: samples must be \(T, N, ...\), got shape \(\)$"),
        (ValueError, (net, x[:0], path), {}, r"^report: samples must not be empty, got shape \(0, 2, 6, 5, 2\)$"),
        (TypeError, (net, x, path), {"target": [1, 2], "loss": 3}, r"^report: loss must be a function .*, got int$"),
        (ValueError, (net, x, path), {"loss": sum}, r"^report: target is needed where a loss is given$"),
        (TypeError, (net, x, path), {"title": 3}, r"^report: title must be text, got int$"),
        (ValueError, (net, x, path), {"frame": 0}, r"^report: frame must be positive, got 0$"),
        (
            ValueError,
            (cs.Sequential(cs.Dense(60, 2)), x, path),
            {},
            r"^report: net must have neurons, whose spikes .*$",
        ),
        (
            ValueError,
            (cs.Sequential(lambda t: t[1:], cs.Dense(60, 2), cs.SRM()), x, path),
            {},
            r"^report: layer 2 must keep the input's 30 steps and 2 samples, got shape \(29, 2, 2\)$",
        ),
        (ValueError, (net, x, path), {"target": [1]}, r"SpikeCountLoss"),
    ]
    for kind, given, options, message in cases:
        with pytest.raises(kind, match=message):
            report(*given, **options)
    with pytest.raises(OSError, match=r"No such file"):
        report(net, x, tmp_path / "none" / "a.html")
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"^report: plotly is not installed; pip install 'cuslayer\[report\]'$"):
        report(net, x, path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("steps", "kind"), [(65_536, "u2"), (65_537, "u4")])
@pytest.mark.parametrize("numbers", [bool, np.float32])
def test_times_have_two_bytes_or_four_by_the_number_of_steps(steps, kind, numbers):
    train = np.zeros((steps, 3), numbers)
    train[[0, steps - 1], 1] = 1
    found = by_neuron(train)
    assert found["times"]["type"] == kind
    times = np.frombuffer(base64.b64decode(found["times"]["data"]), f"<{kind}")
    assert times.tolist() == [0, steps - 1]
