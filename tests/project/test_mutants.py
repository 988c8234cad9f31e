"""The table of mutants fits the sources and covers all kernels; the runner tells caught from surviving and invalid."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.emulator.build import _compiler
from tests.support.mutation import __main__ as command
from tests.support.mutation import run
from tests.support.mutation.reach import Sources, changed
from tests.support.mutation.run import Outcome
from tests.support.mutation.table import ROOT, TABLES, Mutant, mutants, mutated

ALL = mutants()
KERNELS = ROOT / "cuslayer/kernels"
OF_SHIFT = ("tests/layers/test_shift.py::test_each_neuron_has_its_delay",)


def of_shift(new: str, old: str = "x, t, least") -> Mutant:
    return Mutant("cuslayer/kernels/response/cpu.py", new, "_shift", old, new, OF_SHIFT)


def test_no_kernel_is_spared() -> None:
    assert len(ALL) >= 30
    assert len({str(mutant) for mutant in ALL}) == len(ALL)
    # Of two entries for one file in a table, YAML would drop the first without a word.
    texts = [path.read_text("utf-8") for path in TABLES.glob("*.yaml")]
    assert sum(text.count("\n  - what: ") for text in texts) == len(ALL)
    sources = [*KERNELS.glob("*/*.cu*"), *KERNELS.glob("*/*.py"), KERNELS / "matrix.py"]
    spared = {str(path.relative_to(KERNELS)) for path in sources} - {
        mutant.file.removeprefix("cuslayer/kernels/") for mutant in ALL
    }
    # Names of functions elsewhere, and functions that return None or their argument.
    names = {"dense/gpu.py"}
    # What compiles kernels, and tables of constants, have tests of their own.
    assert spared == names | {
        "cuda/compile.py",
        "loihi/constants.py",
        "sampled_srm/constants.py",
        "sigma_delta/constants.py",
    }


@pytest.mark.parametrize("mutant", ALL, ids=str)
def test_each_is_one_change_of_a_program(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text("utf-8")
    changed = mutated(text, mutant)
    assert changed != text
    if mutant.file.endswith(".py"):
        ast.parse(changed)
    for test in mutant.tests:
        file, name = test.split("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text("utf-8")


def test_a_change_that_fits_no_place_or_two_is_refused() -> None:
    text = "def f():\n    x = 1\n\n    y = 1\n\n\ndef g():\n    x = 1\n"
    fault = Mutant("file", "what", "f", "x = 1 y", "x = 2; y", ())
    assert mutated(text, fault) == text.replace("x = 1\n\n    y", "x = 2; y", 1)
    with pytest.raises(ValueError, match="'x = 1' is found 2 times"):
        mutated(text, fault._replace(place="", old="x = 1"))
    with pytest.raises(ValueError, match="'y = 1' is found 0 times"):
        mutated(text, fault._replace(place="g", old="y = 1"))
    with pytest.raises(ValueError, match="'h' is defined 0 times"):
        mutated(text, fault._replace(place="h"))


MISSING = "tests/layers/test_shift.py::test_nothing"


def test_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    _compiler()
    real, codes, kept = run.Warm.run, [], []

    def noted(warm: run.Warm, tree: Path, tests: Sequence[str], seconds: float) -> tuple[int | None, str]:
        if not codes:
            codes.append(real(warm, tree, [MISSING], seconds)[0])
        # The test that does not end is not waited for as long as others.
        it = endless.new in (tree / endless.file).read_text("utf-8")
        before = {path: path.stat().st_ino for path in tree.rglob("*.nb[ic]")}
        found = real(warm, tree, tests, 4 if it else 10 * seconds)
        if of_no_kernel.new in (tree / of_no_kernel.file).read_text("utf-8"):
            after = {path: path.stat().st_ino for path in tree.rglob("*.nb[ic]")}
            kept.append(before == after and len(before) > 0)
        return found

    monkeypatch.setattr(run.Warm, "run", noted)
    endless = of_shift("while x.shape[0]: y[t, low] = x[0, low]", "write_row(y[t, low:high], row[: high - low], large)")
    of_no_kernel = Mutant("cuslayer/version.py", "no fault", "", "__version__ =", "_other = __version__ =", OF_SHIFT)
    of_cuda = next(mutant for mutant in ALL if mutant.file.endswith("dropout.cu"))
    chosen = {
        endless: "caught",
        of_shift("x, t, -least"): "caught",
        of_cuda: "caught",
        # Not a fault.
        of_no_kernel: "survived",
        of_shift("t > -1:", "t >= 0:"): "survived",
        # Not a program for Numba, Python, C++; a crash; no such text.
        of_shift("x, t, lest"): "invalid",
        of_shift("x, t, "): "invalid",
        of_cuda._replace(what="no C++", new=f"{of_cuda.new} nothing"): "invalid",
        of_shift("__import__('os').abort()", "return y")._replace(place="shift"): "invalid",
        of_shift("", "?"): "invalid",
    }
    found = list(run.outcomes(list(chosen), jobs=2))
    assert [outcome.mutant for outcome in found] == list(chosen)
    assert [outcome.verdict for outcome in found] == list(chosen.values()), found
    assert found[0].reason == "no end within 4 s"
    assert codes[0]  # there is no such test
    assert kept == [True]  # no kernel is compiled again for a change of another file


def test_tests_that_fail_without_a_fault_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the code of a process, here of none: `test_verdicts` has that of a test that is missing."""
    warm = SimpleNamespace(run=lambda tree, tests, seconds: (int(tests == [MISSING]), "why"), close=lambda: None)
    monkeypatch.setattr(run, "Warm", lambda base: warm)
    fault = of_shift("x, t")._replace(tests=(MISSING,))
    with pytest.raises(RuntimeError, match="mutants: the tests do not pass without a fault: "):
        next(run.outcomes([fault], jobs=1))


@pytest.mark.parametrize(
    ("topic", "name", "reached"),
    [
        ("b", "deep", {"deep", "middle", "top"}),
        ("b", "middle", {"middle", "top"}),
        ("a", "top", {"top"}),
        ("b", "_ONE", {"middle", "top"}),
        ("b", "_made", {"middle", "top"}),
        ("b", "_of_overloaded", {"top"}),
        ("b", "plain", {"top"}),  # b is imported as a whole
        ("b", None, {"deep", "middle", "top"}),
        ("c", None, set()),
    ],
)
def test_what_a_change_reaches(topic: str, name: str | None, reached: set[str], tmp_path: Path) -> None:
    """A compiled function contains its callees and constants, whatever they are imported as; modules share a stem."""
    texts = {
        "a": "from p.b import cpu as b\nfrom p.b.cpu import overloaded as other\n\n"
        "def top(x: plain):\n    b.middle(other(x))\n",
        "b": "_made = lambda: 1\n_ONE = _made()\n\ndef deep(): ...\n\ndef middle(): deep(_ONE)\n\n"
        "def overloaded(x): ...\n\n@overload(overloaded)\ndef _of_overloaded(x): ...\n\ndef plain(): middle()\n",
        "c": "from p.a.cpu import top\n\ndef deep(): top()\n",
    }
    for folder, text in texts.items():
        (tmp_path / "p" / folder).mkdir(parents=True)
        (tmp_path / "p" / folder / "cpu.py").write_text(text, "utf-8")
    sources = Sources(tmp_path, [Path(f"p/{folder}/cpu.py") for folder in texts])
    homes = {"top": "a", "middle": "b", "deep": "b"}
    kept = {Path(f"p/{home}/__pycache__/cpu.{function}-7.py311.nbi"): function for function, home in homes.items()}
    stale = sources.stale(kept, Path(f"p/{topic}/cpu.py"), name and {name})
    assert {kept[path] for path in stale} == reached


def test_what_is_changed_of_a_text() -> None:
    text = "X = 1\n\ndef f():\n    return 1\n\nif X:\n    Y = 2\n"
    assert changed(text, text.replace("return 1", "return 2")) == {"f"}
    assert changed(text, text.replace("X = 1", "X = 2")) == {"X"}
    for all_of_it in (text.replace("Y = 2", "Y = 3"), text + "Z = 1", "def", text.replace("def f", "def g")):
        assert changed(text, all_of_it) is None


@pytest.mark.parametrize(("verdict", "code"), [("caught", 0), ("survived", 1), ("invalid", 1)])
def test_exit_code(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcomes(chosen: list[Mutant], jobs: int) -> Iterator[Outcome]:
        return (Outcome(mutant, verdict if n == 1 else "caught", "why", 1.0) for n, mutant in enumerate(chosen))

    monkeypatch.setattr(command, "outcomes", outcomes)
    monkeypatch.setattr(command, "mutants", lambda: ALL[:6])
    assert command.main([]) == code
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 7
    assert out[1].startswith(verdict)
    assert out[6].startswith("6 mutants: ")
    with pytest.raises(SystemExit):
        command.main(["--only", "no such word"])
