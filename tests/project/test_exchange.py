"""The page on exchange says what is true: its code runs, and its table is that of the results."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from cuslayer.interchange.nir.neurons import DIALECTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "exchange.md").read_text(encoding="utf-8")
FOUND = json.loads((ROOT / "benchmarks" / "results" / "exchange.json").read_text(encoding="utf-8"))


def test_the_code_runs_from_top_to_bottom():
    pytest.importorskip("nir")
    space: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number} of exchange.md", "exec"), space)


def test_the_table_is_that_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import exchange

    assert "\n".join(exchange.lines_of(FOUND)) in TEXT
    for name in ("exchange", "machine", "page", "comparison"):
        sys.modules.pop(name, None)


def test_at_most_half_a_percent_of_spikes_moves():
    assert {row["way"].split(" to ")[0] for row in FOUND["rows"]} == {"here", "snntorch", "norse", "sinabs"}
    for row in FOUND["rows"]:
        assert row["ours"] > 100
        assert row["share"] <= 0.5
        assert row.get("back", 0) == 0


def test_every_dialect_is_described():
    assert set(
        re.findall(r"^\| `(\w+)`", TEXT.partition("## Spikes that move")[0], re.MULTILINE)
    ) == DIALECTS.keys() | {
        "Dense",
        "Conv",
        "Pool",
        "Shift",
        "LIF",
        "CUBA",
        "Recurrent",
        "Dropout",
    }
