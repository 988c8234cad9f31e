"""Search the built site in the words that people type, and check that the right page comes first.

    mkdocs build --strict && python tools/site_search.py    # the folder site/
    python tools/site_search.py FOLDER --show               # also the first hits of each search

It needs a Chromium: the searches run in the site's own search box. A search finds its answer if the wanted page is the
first result, and the wanted heading the first one below the page's title. The exit code is 1 if one does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from tools.browser import Browser, find
from tools.site_check import ROOT, served

# What people search, and the page and the heading that answer it.
SEARCHES = {
    "static images": "recipes/#static-images-spikes-by-rate-or-by-latency",
    "direct encoding": "recipes/#direct-encoding-an-image-as-a-constant-current",
    "time series": "recipes/#time-series-predict-the-next-values",
    "accelerometer": "recipes/#accelerometer-three-axes-of-movement",
    "pandas": "recipes/#pandas-from-a-dataframe-and-back",
    "train validation test": "recipes/#train-validation-and-test-set",
    "own transform": "recipes/#transforms-write-your-own-transform",
    "two heads": "recipes/#two-heads-a-class-and-a-number",
    "multi-task": "recipes/#multi-task-learning-two-data-sets-shared-layers",
    "lateral inhibition": "recipes/#lateral-inhibition-winner-take-all",
    "recall": "recipes/#recall-remember-a-cue-through-a-pause",
    "residual network": "recipes/#a-residual-network-that-learns",
    "izhikevich": "recipes/#izhikevich-neuron",
    "first-spike loss": "recipes/#first-spike-loss-the-class-that-fires-first",
    "which gradient": "recipes/#gradients-which-one-when",
    "pruning": "recipes/#pruning-most-weights-are-0",
    "misclassified": "recipes/#misclassified-samples",
    "snntorch utils.reset": "recipes/#snntorch-import_from_nir-and-utilsreset",
    "to_xarray": "reference/inspection/#cuslayer.inspection.Record.to_xarray",
    "Record": "reference/inspection/#cuslayer.record",
}
# The addresses of the first results: of each the page, and the headings that are shown below it.
RESULTS = """
[...document.querySelectorAll(".md-search-result__item")].slice(0, 3).map(
    (item) => [...item.querySelectorAll(":scope > a.md-search-result__link")].map((link) => link.href))
"""
ANSWERED = "/matching document/.test(document.querySelector('.md-search-result__meta').textContent)"


def results(folder: Path, searches: Iterable[str]) -> dict[str, list[list[str]]]:
    """Return the first results of each search, without the address of the site."""
    answers = {}
    with tempfile.TemporaryDirectory() as profile, served(folder) as host, Browser(Path(profile)) as browser:
        for words in searches:
            browser.events.clear()
            browser.call("Page.navigate", url=f"{host}?q={quote(words)}")
            browser.loaded()
            browser.wait(ANSWERED)
            browser.frames()
            answers[words] = [[_place(address) for address in item] for item in browser.run(RESULTS)]
    return answers


def _place(address: str) -> str:
    """Return the page and the heading of an address, without what the search adds to it."""
    parts = urlsplit(address)
    return parts.path.lstrip("/") + (f"#{parts.fragment}" if parts.fragment else "")


def answers(hits: list[list[str]], wanted: str) -> bool:
    """Return whether the first result is the wanted page, with the wanted heading first."""
    page, _, _ = wanted.partition("#")
    return bool(hits) and hits[0][0] == page and hits[0][1:2] == [wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Search a built site, print each search with its first result, and return 1 if one has no answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "site")
    parser.add_argument("--show", action="store_true", help="print the first three results of each search")
    options = parser.parse_args(arguments)
    if not (options.folder / "index.html").is_file():
        parser.error(f"{options.folder} is no built site; mkdocs build makes one")
    if not find():
        parser.error("no Chromium was found, and the searches run in one")
    right = 0
    for words, hits in results(options.folder, SEARCHES).items():
        ok = answers(hits, SEARCHES[words])
        right += ok
        print(f"{'ok ' if ok else 'not'} {words}: {' '.join(hits[0][:2]) if hits else 'nothing'}")
        if options.show:
            for item in hits:
                print(f"      {' '.join(item)}")
    print(f"{right} of {len(SEARCHES)} searches find their answer first")
    return int(right < len(SEARCHES))


if __name__ == "__main__":
    sys.exit(main())
