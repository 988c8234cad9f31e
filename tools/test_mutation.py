"""Each planted fault is in one place of the code, and its tests exist."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.mutation import __main__ as mutation
from tools.mutation.faults import ROOT, Fault, faults, planted


def test_each_fault_is_in_one_place_and_has_tests() -> None:
    every = faults()
    assert len({str(fault) for fault in every}) == len(every) <= 150
    for fault in every:
        text = (ROOT / fault.file).read_text("utf-8")
        assert planted(text, fault) != text
        assert [test for test in fault.tests if not (ROOT / test).exists()] == [], fault


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (0, "", "survived"),
        (1, "FAILED tests/a.py::b - x", "caught"),
        (2, "E SyntaxError", "invalid"),
        (None, "", "caught"),
    ],
)
def test_a_fault_is_planted_and_taken_back(
    code: int | None, said: str, expected: str, tmp_path: Path, monkeypatch: Any
) -> None:
    source = tmp_path / "a.py"
    source.write_text("def f(x):\n    return x + 1\n\n\ndef g(x):\n    return x + 1\n")
    before = source.read_text()

    def outcome(tree: Path, tests: Any) -> Any:
        assert source.read_text() == before.replace("x + 1\n\n", "x - 1\n\n")
        return code, said

    run: Callable[..., Any] = outcome
    monkeypatch.setattr(mutation, "outcome", run)
    word, by = mutation.verdict(tmp_path, Fault("a.py", "f", r"x \+ 1", "x - 1", ()))
    assert word == expected
    assert (by == "tests/a.py::b") == ("FAILED" in said)
    assert source.read_text() == before


def test_what_matches_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="matches 2 places"):
        planted("a = 1\nb = 1\n", Fault("a.py", "", "= 1", "= 2", ()))
