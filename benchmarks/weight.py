"""The weight of each folder in tokens of code; comments, docstrings, blank lines and line breaks weigh nothing.

    python benchmarks/weight.py             # this checkout
    python benchmarks/weight.py main~10     # and what it added since a commit

Deleting code makes a folder lighter. Denser lines, shorter docstrings and fewer comments do not.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from common import ROOT

_FOLDERS = "cuslayer", "tests", "tools", "benchmarks"
_OTHER_LANGUAGES = {".cu", ".cuh", ".js", ".cpp", ".h", ".c"}
_WEIGHTLESS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
_STARTS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL, tokenize.ENCODING}
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_STRING = r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`"
_TOKEN = re.compile(_STRING + r"|[A-Za-z_]\w*|\d[\w.]*|[^\s\w]")


def of_python(text: str) -> int:
    """Return the number of tokens of Python code; a string that begins a statement is a docstring."""
    count = 0
    last = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING and last in _STARTS:
            continue
        count += token.type not in _WEIGHTLESS
        if token.type != tokenize.COMMENT:
            last = token.type
    return count


def of_other(text: str) -> int:
    """Return the number of tokens of CUDA, C or JavaScript."""
    return len(_TOKEN.findall(_COMMENT.sub(" ", text)))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _files(commit: str | None) -> Iterator[tuple[PurePosixPath, str]]:
    """Yield the path and the text of each file that is weighed, of a commit or of the working tree."""
    listed = _git("ls-files", *_FOLDERS) if commit is None else _git("ls-tree", "-r", "--name-only", commit, *_FOLDERS)
    for name in listed.splitlines():
        path = PurePosixPath(name)
        if path.suffix != ".py" and path.suffix not in _OTHER_LANGUAGES:
            continue
        if commit is not None:
            yield path, _git("show", f"{commit}:{name}")
        elif (ROOT / name).is_file():
            yield path, (ROOT / name).read_text(encoding="utf-8")


def weights(commit: str | None = None) -> Counter[str]:
    """Return the tokens of each folder, of cuslayer's folders too, with Python and other languages apart."""
    total: Counter[str] = Counter()
    for path, text in _files(commit):
        python = path.suffix == ".py"
        tokens = of_python(text) if python else of_other(text)
        folders = {path.parts[0], "/".join(path.parts[: min(2, len(path.parts) - 1)])}
        for folder in folders if path.parts[0] == "cuslayer" else {path.parts[0]}:
            total[folder if python else f"{folder} (CUDA, C, JavaScript)"] += tokens
    return total


def main(arguments: list[str] | None = None) -> None:
    """Print the weights, and what changed since a commit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", help="an earlier commit to compare with")
    commit = parser.parse_args(arguments).commit
    now = weights()
    before = weights(commit) if commit else now
    for folder in sorted(now | before):
        change = f"{now[folder] - before[folder]:+9,}" if commit else ""
        print(f"{now[folder]:9,}{change}  {folder}")


if __name__ == "__main__":
    main()
