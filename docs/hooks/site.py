"""Hooks of mkdocs: pages that are made of files outside docs/, and links between them.

- Each notebook of examples/notebooks/ becomes a page of tutorials/, its pictures files beside it.
- CONTRIBUTING.md and CHANGELOG.md become pages.
- A picture that a page shows from elsewhere in the repository, `../benchmarks/results/x.png`, becomes a file of it.
- Where a page names another one, `docs/x.md` in code, it links to it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from formulas import with_mathml
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from notebooks import convert

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
# Files at the root of the repository, and the pages that they become.
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
OUTSIDE = re.compile(r"(!\[[^\]]*\]\()((?:\.\./)+)(benchmarks/[^)]+)\)")
NAMED = re.compile(r"(?<![\[`])`(?:docs/([\w-]+\.md)|(CONTRIBUTING\.md|CHANGELOG\.md))`(?!\])")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


@event_priority(100)
def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures that lie elsewhere in the repository."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    for path in NOTEBOOKS:
        text, pictures = convert(path)
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=data))
    shown = {name for page in (ROOT / "docs").glob("*.md") for _, _, name in OUTSIDE.findall(page.read_text("utf-8"))}
    for name in sorted(shown):
        files.append(File.generated(config, f"images/{Path(name).name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links of a page, and its formulas where it is a notebook."""
    parts = FENCE.split(markdown)
    folder = posixpath.dirname(page.file.src_uri)
    for number in range(0, len(parts), 2):
        text = OUTSIDE.sub(lambda found: f"{found[1]}{_to('images/' + Path(found[3]).name, folder)})", parts[number])
        text = NAMED.sub(lambda found: _link(found, page.file.src_uri), text)
        parts[number] = with_mathml(text) if page.file.src_uri.startswith("tutorials/") else text
    return "".join(parts)


def _link(found: re.Match[str], own: str) -> str:
    """Return the link for a page that is named in code; a page does not link to itself."""
    target = found[1] or PAGES[found[2]]
    return found[0] if target == own else f"[{found[0]}]({_to(target, posixpath.dirname(own))})"


def _to(target: str, folder: str) -> str:
    return posixpath.relpath(target, folder or ".")
