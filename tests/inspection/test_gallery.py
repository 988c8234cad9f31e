"""The pages of the gallery: each opens without a message, and its first recording runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.browser import Browser, find

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "gallery").glob("*.html"))

pytestmark = [pytest.mark.all, pytest.mark.skipif(find() is None, reason="no Chromium")]


def test_ten_pages_run(tmp_path):
    assert len(PAGES) == 10
    with Browser(tmp_path / "profile") as there:
        for page in PAGES:
            there.said.clear()
            there.open(page)
            if there.run("typeof live === 'object' && live !== null"):
                assert there.wait("performance.getEntriesByName('answer').length > 0"), page.name
                assert there.wait("live.player.playing && live.player.step > 0"), page.name
            assert there.run("model.layers.some((_, number) => model.spikes(number).times.length)"), page.name
            assert not there.said, page.name
