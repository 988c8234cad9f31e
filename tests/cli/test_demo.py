"""The command that writes the demonstration of a run."""

from __future__ import annotations

import json
import re

from cuslayer.training import load_run


def contents(page):
    return json.loads(re.search(r'id="contents">(.*?)</script>', page.read_text("utf-8"))[1])


def test_demo_writes_the_page_of_a_run(finished, command, tmp_path):
    assert command("demo", finished) == (0, "run/demo.html\n", "")
    found = contents(finished / "demo.html")
    assert (found["title"], found["steps"], found["dt"]) == ("34x34x2-8-3", 30, 1.0)
    assert [layer["shape"] for layer in found["layers"]] == [[34, 34, 2], [8], [3]]
    assert found["layers"][1]["neurons"]["theta"] == load_run(finished).net[1].theta == 0.5
    assert command("demo", finished / "checkpoint.npz", "--out", "own.html") == (0, "own.html\n", "")
    assert (tmp_path / "own.html").read_bytes() == (finished / "demo.html").read_bytes()


def test_demo_says_in_one_line_what_it_cannot_do(finished, command):
    for message, *arguments in (
        ("demo: folder nowhere does not exist", finished, "--out", "nowhere/page.html"),
        ("load_run: no/run does not exist", "no/run"),
    ):
        assert command("demo", *arguments) == (2, "", f"cuslayer: {message}\n")
