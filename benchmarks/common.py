"""What the scripts share: the machine and the command, results in JSON, tables between the marks of pages in docs/."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"

if str(ROOT) not in sys.path:  # for tests.support and tools
    sys.path.append(str(ROOT))


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose option `--out` says where the results go."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument(
        "--out", type=Path, default=RESULTS, metavar="DIR", help="for the results, to try a script: no page is changed"
    )
    return made


def describe(*packages: str) -> dict[str, Any]:
    """Return the machine, and the versions of Python, NumPy, Numba, cuslayer and the packages named."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        about = {name.strip(): value.strip() for name, _, value in lines}
        processor = about.get("model name", processor) + " with AVX-512" * (" avx512f" in about.get("flags", ""))
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "cuslayer", *packages)},
    }


def command(script: str, arguments: Sequence[str] | None) -> str:
    """Return the command of a measurement as it is published: without this machine's paths."""
    given = [Path(each).name if Path(each).is_absolute() else each for each in arguments or sys.argv[1:]]
    kept = [each for i, each in enumerate(given) if not {"--out", "--env"} & {each, *given[max(i - 1, 0) : i]}]
    return shlex.join(["python", f"benchmarks/{script}.py", *kept])


def said(where: dict[str, Any], command: str) -> str:
    """Return the result of `describe` and the command of a measurement as a line of text."""
    versions = ", ".join(f"{name} {where[name]}" for name in ("python", "numpy", "numba", "cuslayer"))
    return f"{where['processor']}, {where['cores']} cores, {where['system']}; {versions}; `{command}`"


def load(name: str, out: Path = RESULTS) -> dict[str, Any]:
    """Return the results of a script; nothing if there are none."""
    path = out / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def save(name: str, found: Any, out: Path = RESULTS) -> None:
    """Write the results of a script, each list of numbers in one line. The file is whole at any time."""
    out.mkdir(parents=True, exist_ok=True)
    beside, text = out / f".{name}.json", json.dumps(found, indent=1)
    text = re.sub(r"\[\n\s+([^][{}]*?)\n\s+\]", lambda row: "[" + re.sub(r",\n\s+", ", ", row[1]) + "]", text)
    beside.write_text(f"{text}\n", encoding="utf-8")
    beside.replace(out / f"{name}.json")


def marks(name: str) -> tuple[str, str]:
    """Return the marks before and after the text of a script."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def marked(text: str, name: str) -> str:
    """Return what is between the marks of a script in the text of a page."""
    begin, end = marks(name)
    return text.split(begin)[1].split(end)[0].strip()


def fill(page: Path, name: str, lines: Sequence[str]) -> None:
    """Write lines between the marks of a script.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, close = marks(name)
    before, mark, rest = page.read_text(encoding="utf-8").partition(begin)
    _, end, after = rest.partition(close)
    if not mark or not end:
        raise ValueError(f"{page}: no {begin} and {close}")
    page.write_text("\n".join([before + mark, "", *lines, "", end + after]), encoding="utf-8")


def show(out: Path, page: str, name: str, lines: Sequence[str], chart: str = "", caption: str = "") -> None:
    """Print lines, and unless the results go elsewhere, write them into a page, below a chart of the results."""
    print("\n".join(lines))
    if out == RESULTS:
        picture = [f"![{caption}](../benchmarks/results/{chart}.png)", ""] if chart else []
        fill(DOCS / f"{page}.md", name, [*picture, *lines])


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return the lines of a Markdown table whose first columns are text and whose others are numbers."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * w) if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [line(heads), line(rule), *(line(row) for row in rows)]


def stepping(net: Any, loss: Any, optimizer: Any, x: Any, target: Any) -> Callable[[], None]:
    """Return a training step of a network on a batch."""

    def step() -> None:
        value = loss(net(x), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step


def memory(name: str) -> int:
    """Return the memory of this process in bytes, on Linux: now, VmRSS, its peak, VmHWM, or its addresses, VmSize.

    Not `getrusage`, whose peak begins with that of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Process:
    """A process that answers requests, one line of JSON each; what it says otherwise goes to a log, if one is given."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path | None = None) -> None:
        errors = log.open("wb") if log else None
        self.log = log
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=ROOT / "benchmarks",
            env=environment,
            text=True,
            encoding="utf-8",
        )
        if errors:
            errors.close()

    def request(self, given: Any) -> Any:
        """Return the answer.

        Raises:
            RuntimeError: the process has ended; the message has its last word.
        """
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(given) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log else []
        raise RuntimeError(f"ended with {self.process.wait()}{': ' + words[-1] if words else ''}")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def answers(answer: Callable[[Any], Any]) -> None:
    """Answer the requests of a `Process` until there are no more; what a library prints goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=out, flush=True)
