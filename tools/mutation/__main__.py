"""Mutation testing: put small faults into the library, one at a time, and check that a test fails for each.

    python -m tools.mutation [--only WORD] [--part K/N] [--jobs N]

With --part K/N only every N-th mutant is run, from number K on: CI runs another part for each commit.

The faults are listed in `*.yaml` in this folder, by file: `what` is wrong, the function to look `in` where the text is
not unique, the `old` and the `new` text, and the `tests` that must notice. A space in `old` also matches a line break.
Each mutant gets its own copy of the library and the tests. It is caught when a test fails or does not end in time. A
mutant that is not a program (it does not compile or import, or it crashes) is invalid.

`table` reads the list and `run` runs it. The copies are hard links to a base, without the compiled code that a fault
affects (`reach`). The tests run in forks of a process that has imported the slow modules (`warm`).

Exit code 1 when a mutant survives or is invalid.
"""

from __future__ import annotations

import argparse
import sys
import time

from tools.mutation.run import outcomes
from tools.mutation.table import mutants


def _part(text: str) -> tuple[int, int]:
    """Return the number of the first mutant, from 0, and the number of parts, for text such as 1/4."""
    number, _, parts = text.partition("/")
    if not 1 <= int(number) <= int(parts):
        raise ValueError(text)
    return int(number) - 1, int(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m tools.mutation",
        description="Put faults into the library and check that the tests catch each.",
    )
    parser.add_argument(
        "--only", metavar="WORD", default="", help="only mutants whose file or description has the word"
    )
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes at a time")
    parser.add_argument(
        "--part", metavar="K/N", type=_part, default=(0, 1), help="every N-th mutant, from 1 <= K <= N on"
    )
    given = parser.parse_args(arguments)
    first, parts = given.part
    chosen = [mutant for mutant in mutants() if given.only in str(mutant)][first::parts]
    if not chosen:
        parser.error("no mutant is chosen")
    begin = time.perf_counter()
    counts = {"caught": 0, "survived": 0, "invalid": 0}
    try:
        for mutant, verdict, reason, seconds in outcomes(chosen, given.jobs):
            counts[verdict] += 1
            print(f"{verdict:8} {seconds:5.1f} s  {mutant}  [{reason}]", flush=True)
    except RuntimeError as problem:
        parser.exit(1, f"{problem}\n")
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"{len(chosen)} mutants: {summary}, in {time.perf_counter() - begin:.0f} s")
    return int(counts["caught"] < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
