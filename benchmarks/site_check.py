"""Check the built site as a reader meets it: links, names, contrast, console, width, and that nothing is loaded.

    mkdocs build --strict && python benchmarks/site_check.py            # the folder site/
    python benchmarks/site_check.py FOLDER --pages index gpu --pictures out/

Of every page, from its HTML: nothing is loaded from another host; links and anchors within the site exist; pictures
have a text; controls have a name; there is one first heading, no level of headings is left out; a language is given.

In a headless Chromium, where there is one, at 1,400 and at 390 pixels, in light and in dark colours: no message on the
console, no request to another host, no page wider than the window, and a contrast of at least 4.5 for text (3 for large
text), as WCAG 2 AA demands. `--pictures` keeps a picture of each. The exit code is 1 if anything is found.
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
STYLES = re.compile(r"url\(\s*[\"']?(https?:)?//|@import\s+[\"'](https?:)?//")

# The texts of a page whose contrast is low, and how far the page is wider than its window.
CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const known = new Map();
  const rgba = (text) => {
    if (!known.has(text)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = text;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(text, [r, g, b, a / 255]);
    }
    return known.get(text);
  };
  const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
  const behind = (node) => {
    const layers = [];
    for (; node; node = node.parentElement) {
      const style = getComputedStyle(node), color = rgba(style.backgroundColor);
      if (style.backgroundImage !== 'none') return null;
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), node = walker.currentNode.parentElement;
    if (!text || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const box = node.getBoundingClientRect();
    if (box.width < 2 || box.height < 2 || node.closest('svg, script, style, noscript')) continue;
    const style = getComputedStyle(node), under = behind(node);
    if (!under) continue;
    let color = rgba(style.color), opacity = 1;
    for (let up = node; up; up = up.parentElement) opacity *= Number(getComputedStyle(up).opacity);
    const top = light(over([...color.slice(0, 3), color[3] * opacity], under)), below = light(under);
    const ratio = (Math.max(top, below) + 0.05) / (Math.min(top, below) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const what = `${ratio.toFixed(2)} ${node.className || node.localName}: ${text.slice(0, 40)}`;
    if (ratio < (large ? 3 : 4.5) - 0.01) found.push(what);
  }
  return [found, document.documentElement.scrollWidth - innerWidth];
})()
"""


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
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.wrong: list[str] = []
        self._headings: list[int] = []
        self._labelled: set[str] = set()
        self._controls: list[tuple[str, str]] = []
        self._open: list[list[str]] = []
        self._labels = 0
        self.feed(text)
        self._finish()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, loads and is called."""
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "html" and not given.get("lang"):
            self.wrong.append("no language")
        if tag == "a":
            if "href" in given:
                self.links.append(given["href"])
                self._open.append([given.get("aria-label", "") or given.get("title", ""), given["href"]])
        elif tag == "link" and set(given.get("rel", "").split()) & {"stylesheet", "icon", "preload", "modulepreload"}:
            self.loads.append(given.get("href", ""))
        elif given.get(LOADS.get(tag, "")):
            self.loads.append(given[LOADS[tag]])
        if tag == "img":
            if not given.get("alt", "").strip():
                self.wrong.append(f"a picture without a text: {given.get('src', '')[:60]}")
            self._say(given.get("alt", ""))
        if tag == "label":
            self._labelled |= {given["for"]} if given.get("for") else set()
            self._labels += 1
        if tag in ("input", "select", "textarea") and given.get("type") != "hidden":
            named = given.get("aria-label") or given.get("title") or given.get("placeholder") or self._labels > 0
            # The theme's switches are not shown: labels elsewhere stand for them, where there is something to switch.
            if not named and "md-toggle" not in given.get("class", ""):
                self._controls.append((given.get("id", ""), tag))
        if tag == "button" and not (given.get("aria-label") or given.get("title")):
            self._open.append(["", "a button"])
        if re.fullmatch("h[1-6]", tag):
            self._headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        """Check that a link or a button that ends has a name."""
        self._labels -= tag == "label"
        if tag in ("a", "button") and self._open and (tag == "a") == (self._open[-1][1] != "a button"):
            said, what = self._open.pop()
            if not said.strip():
                self.wrong.append(f"no name: {what[:60]}")

    def handle_data(self, data: str) -> None:
        """Add a text to the name of the open link or button."""
        self._say(data)

    def _say(self, text: str) -> None:
        if self._open:
            self._open[-1][0] += text

    def _finish(self) -> None:
        self.wrong += [f"no label: {tag} {name}" for name, tag in self._controls if name not in self._labelled]
        if self._headings.count(1) != 1:
            self.wrong.append(f"{self._headings.count(1)} first headings")
        jumps = [pair for pair in zip(self._headings, self._headings[1:], strict=False) if pair[1] > pair[0] + 1]
        self.wrong += [f"a heading of level {low} after one of level {high}" for high, low in jumps]


def of_html(folder: Path) -> dict[str, list[str]]:
    """Return what is wrong with the pages of a folder, by their path, from their HTML alone."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = {}
    for path, page in pages.items():
        where = path.relative_to(folder).as_posix()
        wrong = list(page.wrong)
        wrong += [f"loads {address}" for address in page.loads if urlsplit(address).netloc]
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
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return False
    whole = urlsplit(urljoin(f"http://site/{where}", address))
    path = folder / unquote(whole.path).lstrip("/")
    if path.is_dir():
        path /= "index.html"
    if not path.exists():
        return True
    name = unquote(parts.fragment)
    return bool(name) and path in pages and name not in pages[path].names


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine, and return its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def in_browser(folder: Path, pages: Sequence[str], pictures: Path | None) -> dict[str, list[str]]:
    """Return what a browser finds wrong with pages of a folder, at each width and in each scheme of colours."""
    sys.path.append(str(ROOT))
    from tests.support.browser import Browser

    found: dict[str, list[str]] = {page: [] for page in pages}
    with tempfile.TemporaryDirectory() as profile, served(folder) as host, Browser(Path(profile)) as there:
        for wide in WIDTHS:
            there.call("Emulation.setDeviceMetricsOverride", width=wide, height=900, deviceScaleFactor=1, mobile=False)
            for scheme in ("light", "dark"):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                there.call("Emulation.setEmulatedMedia", features=features)
                for page in pages:
                    what = f"{wide} px, {scheme}"
                    found[page] += [f"{what}: {line}" for line in _visit(there, host, page)]
                    if pictures:
                        there.picture(pictures / f"{_name(page)}-{wide}-{scheme}.png", dark=scheme == "dark")
    return found


def _name(page: str) -> str:
    """Return the name of a page, such as reference-layers, of its path."""
    return page.removesuffix("index.html").strip("/").replace("/", "-") or "index"


def _visit(there: Any, host: str, page: str) -> list[str]:
    """Open a page and return what is wrong."""
    there.said.clear()
    there.asked.clear()
    there.events.clear()
    there.call("Page.navigate", url=host + page.removesuffix("index.html"))
    there.loaded()
    there.frames()
    # Colours may fade in; what never ends cannot be finished.
    there.run("for (const each of document.getAnimations()) try { each.finish(); } catch {}")
    pale, wider = there.run(CONTRAST)
    wrong = [f"console: {line}" for line in there.said]
    wrong += [f"asked {url[:80]}" for url in there.asked if not url.startswith((host, "data:", "blob:"))]
    wrong += [f"contrast {line}" for line in dict.fromkeys(pale)]
    return wrong + ([f"{wider} px wider than the window"] if wider > 0 else [])


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a built site, print what is wrong, and return 1 if anything is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "site")
    parser.add_argument("--pages", nargs="*", default=[], help="pages for the browser, by a part of their names")
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of each page")
    parser.add_argument("--no-browser", action="store_true", help="read the HTML alone")
    options = parser.parse_args(arguments)
    if not (options.folder / "index.html").is_file():
        parser.error(f"{options.folder} is no built site; mkdocs build makes one")
    found = of_html(options.folder)
    sys.path.append(str(ROOT))
    from tests.support.browser import find

    chosen = [page for page in found if page.endswith(".html") and page != "404.html"]
    if options.pages:
        chosen = [page for page in chosen if any(part in _name(page) for part in options.pages)]
    if not options.no_browser and find():
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
        for page, wrong in in_browser(options.folder, chosen, options.pictures).items():
            found[page] += wrong
    elif not options.no_browser:
        print("no Chromium: the HTML alone is checked")
    for page, wrong in found.items():
        for line in wrong:
            print(f"{page}: {line}")
    print(f"{len(found)} files, {sum(map(len, found.values()))} faults")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
