"""Faults are made of every kind, leave texts alone, are taken back, and are counted; each file has tests."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.mutation import __main__ as mutation
from tools.mutation.faults import ROOT, Fault, cuda_edits, drawn, faults, python_edits, sources

PYTHON = '''
@cached(1)
def f(x: dict[int, 1], n: int = 2) -> 1:
    """Return 1."""
    width: tuple[int, 1] = a  # + 1
    if TYPE_CHECKING:
        import b
    warn_of("a" + x, stacklevel=2)
    raise problem(f"{x + 1}", x + 1)

def __repr__(self): return 1 + x
'''


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a + b", "a - b"),
        ("(a  # <\n * b)", "(a  # <\n + b)"),
        ("x is not None", "x is None"),
        ("a not in b", "a in b"),
        ("p and not q", "p or not q; p and  q"),
        ("-a", "a"),
        ("a[1]", "a[2]"),
        ("a[7], True", ""),
        ("b if p else c", "b if not (p) else c"),
        ("g(a)", "pass"),
        ("x += a", "x -= a; pass"),
        ("y = g(k=a)", "y = g()"),
        ("y = zip(a, b, strict=True)", ""),
        ("y = g(a, k=b, **c)", "y = g(a, **c)"),
        ("y = é, -np.max(a)", "y = é, -np.min(a); y = é, np.max(a)"),
    ],
)
def test_python_faults(line: str, expected: str) -> None:
    source = f"def f():\n {line}\n"
    edits = python_edits(source.encode())
    texts = [(source.encode()[:a] + new.encode() + source.encode()[b:]).decode()[10:-1] for a, b, new in edits]
    assert sorted(texts) == sorted(filter(None, expected.split("; ")))


def test_texts_annotations_and_declarations_are_left_alone() -> None:
    assert list(python_edits(PYTHON.encode())) == []
    source = b"#define A a + b\nint B = 1 - 2;\n  /* c * d\n */ f<2>(-x, *p);  // i < n\n  return a\n    && b;\n"
    assert [(source[a:b], new) for a, b, new in cuda_edits(source)] == [(b"&&", "||")]


def test_a_seed_draws_faults_of_many_files() -> None:
    faults = drawn(40, 3)
    assert faults == drawn(40, 3) != drawn(40, 4)
    assert len({fault.file for fault in faults}) == 40
    assert {Path(fault.file).suffix for fault in faults} >= {".py", ".cu"}
    assert all("optim/groups.py" in str(fault) for fault in drawn(2, 0, "optim/groups.py"))


def test_each_file_has_tests() -> None:
    files = [file for file in sources() if next(faults(file), None)]
    for file in files:
        tests = mutation.tests_of(file)
        assert [name for name in tests if not (ROOT / name).exists()] == []
        assert any(name.startswith("tests/") for name in tests), file
    patterns = yaml.safe_load((ROOT / "tools/mutation/tests.yaml").read_text("utf-8"))
    assert [pattern for pattern in patterns if not any(fnmatch(file, f"cuslayer/{pattern}") for file in files)] == []


@pytest.mark.parametrize(
    ("code", "said", "expected", "status"),
    [
        (0, "", "survived", 1),
        (1, "FAILED tests/a.py::b[a c] - x", "caught", 0),
        (1, "E   numba.core.errors.TypingError: x\nFAILED tests/a.py::b", "invalid", 1),
        (None, "", "endless", 1),
    ],
)
def test_faults_are_planted_and_taken_back(
    code: int | None, said: str, expected: str, status: int, monkeypatch: Any, capsys: Any
) -> None:
    file = "cuslayer/optim/groups.py"
    before = (ROOT / file).read_bytes()
    planted = []
    alone = []

    def outcome(tree: Path, tests: list[str]) -> tuple[int | None, str]:
        if tests[0] == file:
            planted.append((tree / file).read_bytes())
            return code, said
        assert (tree / file).read_bytes() == before
        alone.append(tests[0])
        return 0, ""

    def copied(folder: Path) -> Path:
        (folder / file).parent.mkdir(parents=True)
        (folder / file).write_bytes(before)
        return folder

    monkeypatch.setattr(mutation, "outcome", outcome)
    monkeypatch.setattr(mutation, "copied", copied)
    assert mutation.main(["--only", file, "--count", "4", "--part", "2/2"]) == status
    assert planted == [fault.planted(before) for fault in drawn(4, 0, file)[1::2]]
    assert alone == ["--collect-only", *["tests/a.py::b"] * ("FAILED" in said)]
    assert re.match(f"({expected} .*\n){{2}}2 {expected} - ", capsys.readouterr().out)


def test_what_fails_without_a_fault_catches_nothing(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(mutation, "outcome", lambda tree, tests: (1, "FAILED tests/a.py::b"))
    monkeypatch.setattr(mutation, "copied", lambda folder: folder)
    monkeypatch.setattr(mutation, "drawn", lambda *options: [])
    assert mutation.main([]) == 1
    assert capsys.readouterr().out.startswith("tests fail without a fault")


def test_a_changed_source_is_refused() -> None:
    with pytest.raises(ValueError, match="has changed"):
        Fault("a.py", 1, 4, "+", "-", "a + b").planted(b"a == b")
