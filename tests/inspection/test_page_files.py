"""The pages of `report` and `demo` as files: self-contained, deterministic, escaped, small; and what is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Digits
from cuslayer.neurons.step import exp
from tests.support.refused import refuses

pytestmark = pytest.mark.all

LOADS = r"\{\{|https?:|//[a-z]+\.|src=|href=\"[^d]|@import|url\(|fetch\(|XMLHttpRequest|import\("


def small():
    return cs.Network("6x5x2-3c3-2a-4", cs.SRM()), np.random.default_rng(0).random((30, 2, 6, 5, 2)) < 0.1


def written(path, live, **options):
    net, x = small()
    return (
        cs.write_demo(net, path, recordings=(x, [1, 2]), **options)
        if live
        else cs.write_report(net, x, path, target=[1, 2], **options)
    )


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


def test_what_a_report_refuses(tmp_path):
    (net, x), path = small(), tmp_path / "a.html"
    live, dense = cs.Network("4x4x2-3", cs.SRM()), cs.Dense(60, 2)
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


def test_a_page_carries_a_few_recordings_of_each_class(tmp_path):
    def carried(x, y, **options):
        page = cs.write_demo(net, tmp_path / "a.html", recordings=(x, y), **options).read_text("utf-8")
        return json.loads(re.search(r'id="contents">(.*?)</script>', page)[1])["recordings"]

    net, labels = cs.Network("9-3", cs.SRM()), np.repeat([2, 0, 1], [100, 2, 90])
    found = carried(np.random.default_rng(0).random((20, 192, 9)) < 0.2, labels)
    assert [sum(each["label"] == label for each in found) for label in range(3)] == [2, 13, 13]
    assert found[0]["title"] == "recording 100"
    found = carried(np.random.default_rng(0).random((20_000, 12, 9)) < 0.9, np.arange(12) % 3)
    assert 1 < len(found) < 12, "4 MB"


class Arithmetic(cs.StepNeuron):
    """A step whose exponential has no last bit in common everywhere."""

    states = ("v",)

    def step(c, v, x):
        u = exp(-v) + x
        s = u >= c.theta
        return 0 if s else u, u, s


def test_what_a_demonstration_refuses(tmp_path):
    """What the page cannot compute to the bit."""
    srm, frames, x = cs.SRM(), (4, 4, 2), np.zeros((9, 2, 32), bool)
    dense, double, flat, shown = cs.Dense(frames, 6), cs.Dense(frames, 6), cs.Network("32-3", srm), (x, [0, 1])
    double.weight.data = double.weight.data.astype(np.float64)
    two, framed = cs.Parallel(dense, cs.Dense(frames, 6), join="add"), {"shape": frames}
    needs = "recordings must be given for a network on which nothing can be drawn: a data set, or a batch (x, labels)"
    drawn = "drawing must be 'none' unless the network takes spikes in frames (H, W, C)"
    weights = "net must have a layer of weights or pooling, and whole delays, before each layer of neurons, got"
    kinds = "net must have SRM, Loihi or neurons that are written as a step without exp, got layer 1 (Dense((4, 4, 2)"
    images = "recordings must not be Digits unless the network takes frames (H, W, 2)"
    ends = "net must end in neurons, an Average of them or a read-out, got"
    any_other = [
        ([cs.Conv(2, 3, 3), srm], framed, "net must end in one neuron for each class, got an output of (2, 2, 3)"),
        ([dense, srm, cs.Dense(6, 3)], {}, f"{ends} Dense(6, 3)"),
        ([dense, Own()], {}, f"{kinds}, 6), Own)"),
        ([dense, Arithmetic()], {}, f"{kinds}, 6), Arithmetic)"),
        ([dense, cs.Dense(6, 3), srm], {}, f"{weights} Dense((4, 4, 2), 6), Dense(6, 3)"),
        ([dense, srm, cs.BatchNorm(6), cs.Dense(6, 3), srm], {}, f"{weights} BatchNorm(6), Dense(6, 3)"),
        ([dense, srm, cs.layers.FilterBank(6, 2), srm], {}, f"{weights} FilterBank(6, 2)"),
        ([two, srm], framed, "net must be a chain of layers, without branches, for a page that runs it"),
    ]
    cases = [
        *((net, options, f"{message}; `write_report` shows any network") for net, options, message in any_other),
        (flat, {}, f"{needs} as of a Loader"),
        (flat, {"recordings": (x[..., :9], [0, 1])}, "the input must have the network's shape, (32,), got (9,)"),
        (flat, {"recordings": shown, "names": ["a"]}, "names must be one for each of the network's 3 classes, got 1"),
        (flat, {"recordings": shown, "window": (5, 5)}, "window must end after it starts, got 5 to 5 ms"),
        (flat, {"recordings": shown, "window": (5, 12)}, "window reaches to 12 ms, the recording ends at 9 ms"),
        (flat, {"recordings": shown, "drawing": "poisson"}, f"{drawn}, got 'poisson' and (32,)"),
        (flat, {"recordings": Digits("test")}, f"{images}, got (32,)"),
        ([dense], {}, "net must have neurons, whose spikes could be shown"),
        ([double, srm], {}, "net must have float32 weights, got float64 in Dense((4, 4, 2), 6)"),
        ([dense, srm], {"duration": 0.3}, "duration must be at least a step of 1 ms, got 0.3"),
    ]
    for net, options, message in cases:
        with pytest.raises(ValueError, match="^" + re.escape(f"write_demo: {message}") + "$"):
            cs.write_demo(cs.Sequential(*net) if isinstance(net, list) else net, tmp_path / "a.html", **options)
    with refuses("Arrays: x and y must have one length"):
        cs.write_demo(flat, tmp_path / "a.html", recordings=(x, [0, 1, 2]))
    for given in ((x,), x, 3):
        with refuses("write_demo: recordings must be a data set, or a batch (x, labels) as of a Loader"):
            cs.write_demo(flat, tmp_path / "a.html", recordings=given)
    assert not list(tmp_path.iterdir())
