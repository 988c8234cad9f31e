"""The table of mutants fits the sources and spares none of them; a sample of it is caught."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support.emulator.build import _compiler
from tests.support.mutation import mutants
from tests.support.mutation.mutants import ROOT, Mutant, Outcome, mutated

ALL = mutants.mutants()
KERNELS = ROOT / "cuslayer/kernels"
OF_SHIFT = ("tests/layers/test_shift.py::test_each_neuron_has_its_delay",)


def of_shift(new: str) -> Mutant:
    return Mutant("cuslayer/kernels/response/cpu.py", new, "_shift", "t - delay[m]", new, OF_SHIFT)


def test_no_kernel_is_spared() -> None:
    assert len(ALL) >= 30
    assert len({str(mutant) for mutant in ALL}) == len(ALL)
    sources = [*KERNELS.glob("*/*.cu*"), *KERNELS.glob("*/*.py"), KERNELS / "matrix.py"]
    spared = {str(path.relative_to(KERNELS)) for path in sources} - {
        mutant.file.removeprefix("cuslayer/kernels/") for mutant in ALL
    }
    # Names of functions elsewhere, and functions that return None or their argument.
    names = {f"{topic}/gpu.py" for topic in ("conv", "conv_transpose", "dense", "fused", "pool", "spikes")}
    # What compiles kernels, and a table of constants, have tests of their own.
    assert spared == names | {"cuda/compile.py", "loihi/constants.py"}


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


def test_a_sample_is_caught() -> None:
    _compiler()
    sample = mutants.sample(4, 0)
    assert {mutant.file.endswith(".py") for mutant in sample} == {True, False}
    # What is no fault survives, what is no program or has no place proves nothing.
    others = [of_shift("-delay[m] + t"), of_shift("t - delays[m]"), of_shift("")._replace(old="?")]
    found = list(mutants.outcomes([*sample, *others], jobs=2))
    verdicts = [outcome.verdict for outcome in found]
    assert verdicts == [*4 * ["caught"], "survived", "invalid", "invalid"], found


def test_a_sample_where_the_tests_fail_as_they_are_is_refused() -> None:
    fault = of_shift("t")._replace(tests=("tests/layers/test_shift.py::test_nothing",))
    with pytest.raises(RuntimeError, match="mutants: the tests do not pass as they are: "):
        next(mutants.outcomes([fault], jobs=1))


@pytest.mark.parametrize(("verdict", "code"), [("caught", 0), ("survived", 1), ("invalid", 1)])
def test_exit_code(
    verdict: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outcomes(chosen: list[Mutant], jobs: int) -> Iterator[Outcome]:
        return (Outcome(mutant, verdict if n == 1 else "caught", "why", 1.0) for n, mutant in enumerate(chosen))

    monkeypatch.setattr(mutants, "outcomes", outcomes)
    assert mutants.main(["--sample", "6", "--seed", "1"]) == code
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 7
    assert out[1].startswith(verdict)
    assert out[6].startswith("6 mutants: ")
    with pytest.raises(SystemExit):
        mutants.main(["--only", "no such word"])
