"""The figures on pages are those of benchmarks/results/: what its scripts would write into the page is there."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def marked(script, page, name):
    return script("common").marked((ROOT / page).read_text("utf-8"), name)


def test_the_front_page(script):
    assert marked(script, "README.md", "figures") == "\n".join(script("front_page").figures())


def test_performance(script):
    lines = script("comparison.report").text(script("common").load("peers"))
    assert marked(script, "docs/performance.md", "peers").endswith("\n".join(lines))
    learning, common = script("common").load("learning"), script("common")
    said = common.said(learning["machine"], "python benchmarks/learning.py")
    text = marked(script, "docs/performance.md", "learning")
    assert text == "\n".join(script("learning").lines(learning["rows"], said))
    first_steps = script("first_steps").lines(common.load("first_steps"))
    assert marked(script, "docs/performance.md", "first_steps") == "\n".join(first_steps)


def test_scale(script):
    scale, kills = script("common").load("scale"), script("common").load("kills")
    lines = script("scale").text(scale, scale["model"], scale["carried"])
    assert marked(script, "docs/scale.md", "scale").endswith("\n".join(lines))
    assert marked(script, "docs/scale.md", "kills") == "\n".join(script("kill_processes").text(kills))
    assert all(run["same"] for run in kills["runs"].values())


def test_reliability(script):
    soak, fuzz = script("common").load("soak"), script("common").load("fuzz")
    assert marked(script, "docs/reliability.md", "soak") == "\n".join(script("soak").lines(soak))
    assert marked(script, "docs/reliability.md", "fuzz") == "\n".join(script("fuzz").lines(fuzz))
    assert not any(each["failures"] for each in soak["faults"].values())
    assert fuzz["problems"] == []


def test_residual_networks(script):
    found = script("common").load("residual")
    assert marked(script, "docs/coming-from-pytorch.md", "residual") == "\n".join(script("residual").lines(found))
    found = script("common").load("depth")
    assert marked(script, "docs/coming-from-pytorch.md", "depth") == "\n".join(script("depth").lines(found))


def test_the_gallery(script):
    figures = script("common").load("gallery")
    for page, details in (("gallery", True), ("index", False)):
        assert marked(script, f"docs/{page}.md", "gallery") == "\n".join(script("gallery").lines(figures, details))


def test_gradients(script):
    gradients = script("gradients")
    for page in gradients.PAGES:
        lines = gradients.lines(script("common").load("gradients"), page)
        assert marked(script, f"docs/{page}.md", "gradients") == "\n".join(lines)


TASKS = """
qtdb braille braille-spikes spoken-digits smnist psmnist fashion-mnist fashion-mnist-residual digits-residual yin-yang
"""


@pytest.mark.parametrize("name", TASKS.split())
def test_tasks(script, name):
    tasks = script("tasks")
    lines = tasks.lines(name, script("common").load("tasks"))
    assert marked(script, f"docs/{tasks.PAGES[name]}.md", name) == "\n".join(lines)


def test_convolution(script):
    found = script("common").load("convolution")
    assert marked(script, "docs/performance.md", "convolution") == "\n".join(script("convolution").lines(found))


def test_memory(script):
    lines = script("memory").lines(script("common").load("memory"))
    assert marked(script, "docs/recurrent.md", "memory") == "\n".join(lines)


def test_delays(script):
    results = script("common").load("delays")
    for name in results.keys() - {"machine"}:
        assert marked(script, "docs/delays.md", name) == "\n".join(script("delays").lines(name, results))


def test_conversion(script):
    found = script("common").load("conversion")
    said = script("common").said(found["where"], "; ".join(found["commands"]))
    lines = script("conversion").lines(found["networks"], said)
    page = marked(script, "docs/conversion.md", "conversion")
    assert page == "\n".join(["![Accuracy by steps](../benchmarks/results/conversion.png)", "", *lines])
    for network in found["networks"].values():
        assert network["quantized"]["mismatches"] == 0
        assert max(network["lost"]["squares 32"], network["lost"]["percentile 32"]) < 0.5


def test_files_of_onnx(script):
    rows = script("common").load("onnx")["rows"]
    page = " ".join((ROOT / "docs" / "exchange.md").read_text("utf-8").split())
    assert f"{len(rows)} files of torch" in page
    assert f"differences up to {max(row['error'] for row in rows):.1e}".replace("e-06", "e-6") in page


def test_deploy(script):
    results = script("common").load("deploy")
    lines = [*script("deploy").lines(results["rows"]), "", script("common").said(results["where"], results["command"])]
    assert marked(script, "docs/deploy.md", "deploy") == "\n".join(lines)


def test_exchange(script):
    pytest.importorskip("nir")
    lines = script("exchange").lines_of(script("common").load("exchange"))
    assert marked(script, "docs/exchange.md", "exchange") == "\n".join(lines)
