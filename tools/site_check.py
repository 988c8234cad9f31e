"""Check the built site as a reader meets it: links, names, contrast, console, width, and that nothing is loaded.

    mkdocs build --strict && python tools/site_check.py            # the folder site/
    python tools/site_check.py FOLDER --pages index gpu

Of every page, from its HTML: nothing is loaded from another host; links and anchors within the site exist; pictures
have a text; links have a name.

In a headless Chromium, where there is one, at 1,400 and at 390 pixels, in light and in dark colours: no message on the
console, no request to another host, and what tools/page_audit.js demands of every page: contrast, names,
headings, width. The exit code is 1 if anything is found.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

ROOT = Path(__file__).parents[1]

WIDTHS = (1400, 390)
LOADS = dict.fromkeys(("script", "img", "iframe", "source", "video", "audio", "embed"), "src")
# The theme's icons are in controls that have names; the first column of a table in Markdown may have no heading.
OF_THE_THEME = ("picture without a name", "empty heading of a column")
STYLES = re.compile(r"url\(\s*[\"']?(https?:)?//|@import\s+[\"'](https?:)?//")


class Page(HTMLParser):
    """What a page of HTML links to, loads and names.

    Attributes:
        links: the addresses of links.
        loads: the addresses of what is loaded: scripts, styles, pictures.
        names: the ids of elements.
        wrong: what is wrong with the page by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.loads, self.names, self.wrong = list[str](), list[str](), set[str](), list[str]()
        # The link that is open: its name so far, and its address.
        self._open = ["", ""]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, loads and is called."""
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
            self._open = [given.get("aria-label", "") or given.get("title", ""), given["href"]]
        elif tag == "link" and set(given.get("rel", "").split()) & {"stylesheet", "icon", "preload", "modulepreload"}:
            self.loads.append(given.get("href", ""))
        elif given.get(LOADS.get(tag, "")):
            self.loads.append(given[LOADS[tag]])
        if tag == "img":
            if not given.get("alt", "").strip():
                self.wrong.append(f"a picture without a text: {given.get('src', '')[:60]}")
            self.handle_data(given.get("alt", ""))

    def handle_endtag(self, tag: str) -> None:
        """Check that a link that ends has a name."""
        if tag == "a" and self._open[1]:
            if not self._open[0].strip():
                self.wrong.append(f"no name: {self._open[1][:60]}")
            self._open = ["", ""]

    def handle_data(self, data: str) -> None:
        """Add a text to the name of the open link."""
        self._open[0] += data


def of_html(folder: Path) -> dict[str, list[str]]:
    """Return what is wrong with the pages of a folder, by their path, from their HTML alone."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = {}
    for path, page in pages.items():
        where = path.relative_to(folder).as_posix()
        wrong = page.wrong + [f"loads {address}" for address in page.loads if urlsplit(address).netloc]
        if path.name != "404.html":
            addresses = dict.fromkeys([*page.links, *page.loads])
            wrong += [f"dead link: {address}" for address in addresses if _dead(address, where, folder, pages)]
        found[where] = wrong
    for path in folder.rglob("*.css"):
        if STYLES.search(path.read_text(encoding="utf-8")):
            found[path.relative_to(folder).as_posix()] = ["loads from another host"]
    return found


def _dead(address: str, where: str, folder: Path, pages: dict[Path, Page]) -> bool:
    """Return whether an address within the site leads nowhere."""
    if urlsplit(address).scheme or urlsplit(address).netloc:
        return False
    whole = urlsplit(urljoin(f"http://site/{where}", address))
    path = folder / unquote(whole.path).lstrip("/")
    path = path / "index.html" if path.is_dir() else path
    name = unquote(whole.fragment)
    return not path.exists() or (bool(name) and path in pages and name not in pages[path].names)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, and return its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def in_browser(folder: Path, pages: Sequence[str]) -> dict[str, list[str]]:
    """Return what a browser finds wrong with pages of a folder, at each width and in each scheme of colours."""
    from tests.support.pages import problems
    from tools.browser import Browser

    found: dict[str, list[str]] = {page: [] for page in pages}
    with tempfile.TemporaryDirectory() as profile, served(folder) as host, Browser(Path(profile)) as there:
        for wide, scheme in ((wide, scheme) for wide in WIDTHS for scheme in ("light", "dark")):
            there.call("Emulation.setDeviceMetricsOverride", width=wide, height=900, deviceScaleFactor=1, mobile=False)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            there.call("Emulation.setEmulatedMedia", features=features)
            for page in pages:
                for noted in (there.said, there.asked, there.events):
                    noted.clear()
                there.call("Page.navigate", url=host + page.removesuffix("index.html"))
                there.loaded()
                there.frames()
                # Colours may fade in; what never ends cannot be finished.
                there.run("for (const each of document.getAnimations()) try { each.finish(); } catch {}")
                wrong = [f"console: {line}" for line in there.said]
                wrong += [line for line in problems(there) if not line.startswith(OF_THE_THEME)]
                wrong += [f"asked {url[:80]}" for url in there.asked if not url.startswith((host, "data:", "blob:"))]
                found[page] += [f"{wide} px, {scheme}: {line}" for line in wrong]
    return found


def _name(page: str) -> str:
    """Return the name of a page, such as reference-layers, of its path."""
    return page.removesuffix("index.html").strip("/").replace("/", "-") or "index"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a built site, print what is wrong, and return 1 if anything is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "site")
    parser.add_argument("--pages", nargs="*", default=[""], help="pages for the browser, by a part of their names")
    parser.add_argument("--no-browser", action="store_true", help="read the HTML alone")
    options = parser.parse_args(arguments)
    if not (options.folder / "index.html").is_file():
        parser.error(f"{options.folder} is no built site; mkdocs build makes one")
    found = of_html(options.folder)
    chosen = [page for page in found if page.endswith(".html") and any(part in _name(page) for part in options.pages)]
    if not options.no_browser:
        from tools.browser import find

        if find():
            chosen = [page for page in chosen if page != "404.html"]
            for page, wrong in in_browser(options.folder, chosen).items():
                found[page] += wrong
        else:
            print("no Chromium: the HTML alone is checked")
    for page, wrong in found.items():
        for line in wrong:
            print(f"{page}: {line}")
    print(f"{len(found)} files, {sum(map(len, found.values()))} faults")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
