"""Registers and memory traffic of each CUDA kernel: the tables of docs/kernels.md.

    python benchmarks/compile_report.py

Compiles every kernel in both number types for every architecture with NVRTC, which needs no GPU. Writes what the
compiler says to benchmarks/results/compile.json, with a digest of each source, and the tables between the marks of
docs/kernels.md. The tests compile each source for every architecture too, but in one type for each, and hold the rest
of the file against the digests.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import common
import numpy as np
import traffic

from cuslayer.kernels.cuda import compile as source
from tools import nvrtc

ARCHITECTURES = ("sm_70", "sm_80", "sm_90", "sm_100", "sm_120")
DTYPES = ("float32", "float64")

# The example times are for 300 steps of a batch of 8 in a hidden layer of 512 neurons, and the weights between it
# and 34 x 34 x 2 inputs.
NEURON_STEPS = 300 * 8 * 512
WEIGHTS = 34 * 34 * 2 * 512

_FOUND = re.compile(
    r"entry function '(?P<kernel>\w+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class Row(NamedTuple):
    """A compiled kernel: registers of a thread, and bytes that are spilled to memory."""

    kernel: str
    dtype: str
    arch: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


@cache
def compiled(topic: str, dtype: str, arch: str) -> tuple[bytes, str]:
    """Return the machine code of a source and the compiler's log."""
    return nvrtc.compile(source.text(topic, np.dtype(dtype)), arch, (*source.OPTIONS, "--ptxas-options=-v"))


def warnings_in(log: str) -> list[str]:
    """Return the warnings in a compiler's log, but for its announcement that it will drop the oldest architectures."""
    lines = (line for line in log.splitlines() if "warning" in line.lower())
    return [line for line in lines if "deprecated" not in line.lower()]


def rows_of(topic: str, dtype: str, arch: str) -> list[Row]:
    """Return a row for each kernel of a source."""
    return [
        Row(m["kernel"], dtype, arch, *(int(m[name]) for name in ("registers", "stack", "stores", "loads")))
        for m in _FOUND.finditer(compiled(topic, dtype, arch)[1])
    ]


def digest(topic: str, dtype: str) -> str:
    """Return a digest of a source and of the options that it is compiled with."""
    return hashlib.sha256("\0".join((source.text(topic, np.dtype(dtype)), *source.OPTIONS)).encode()).hexdigest()[:16]


def report() -> dict[str, Any]:
    """Compile everything; return the compiler's version, the sources' digests, its warnings, and each kernel's row."""
    each = [(topic, dtype) for topic in source.topics() for dtype in DTYPES]
    all_of = [(topic, dtype, arch) for topic, dtype in each for arch in ARCHITECTURES]
    rows = [row for one in all_of for row in rows_of(*one)]
    return {
        "compiler": compiler(),
        "digests": {f"{topic} {dtype}": digest(topic, dtype) for topic, dtype in each},
        "warnings": [f"{' '.join(one)}: {line}" for one in all_of for line in warnings_in(compiled(*one)[1])],
        "kernels": sorted(rows, key=lambda row: row.kernel),
    }


def saved() -> dict[str, Any]:
    """Return the report that was saved last."""
    found = common.load("compile")
    return found | {"kernels": [Row(*row) for row in found["kernels"]]}


def compiler() -> str:
    """Return the version of the compiler."""
    return f"NVRTC {version('nvidia-cuda-nvrtc-cu12')}"


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return a table in Markdown, numbers to the right."""
    ruler = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *lines))


def registers(rows: list[Row], by: str) -> str:
    """Return the table of registers, float32 / float64, and the compiler that they are by."""
    found = {(row.kernel, row.dtype, row.arch): row.registers for row in rows}
    lines = [
        [f"`{kernel}`", *(" / ".join(str(found[kernel, dtype, arch]) for dtype in DTYPES) for arch in ARCHITECTURES)]
        for kernel in sorted(source.kernel_names())
    ]
    return f"{by}. {kept(rows)}\n\n{table(['kernel', *ARCHITECTURES], lines)}"


def kept(rows: list[Row]) -> str:
    """Return a sentence: whether any kernel spills registers."""
    spilled = [row for row in rows if row.stack or row.spill_stores or row.spill_loads]
    if spilled:
        return f"Of {len(rows)}, {len(spilled)} keep in memory what registers do not hold."
    return f"None of the {len(rows)} has a stack frame, a spill store or a spill load."


def named(ways: dict[str, str], letter: str) -> list[str]:
    """Return the arrays that are accessed in a way; of several of a kind, w0 to w7, the first."""
    return [name for name, way in ways.items() if letter in way.lower() and not re.fullmatch(r"[a-z]+[1-7]", name)]


def moved() -> str:
    """Return the table of bytes moved and of the time that this takes at least."""
    lines = []
    for kernel, topic in sorted(source.kernel_names().items()):
        ways = traffic.WAYS[kernel]
        sizes = [traffic.bytes_per_element(kernel, dtype) for dtype in DTYPES]
        times = [traffic.picoseconds(kernel, dtype) for dtype in DTYPES]
        elements, what = (WEIGHTS, "weights") if topic in ("optim", "clip") else (NEURON_STEPS, "layer")
        lines.append(
            [
                f"`{kernel}`",
                *(", ".join(f"`{name}`" for name in named(ways, letter)) for letter in "rw"),
                *(f"{size:g} B, {time:.1f} ps" for size, time in zip(sizes, times, strict=True)),
                f"{times[0] * elements / 1e6:.1f} µs ({what})",
            ]
        )
    return table(["kernel", "reads", "writes", *DTYPES, "example"], lines)


def main(arguments: list[str] | None = None) -> None:
    options, found = common.parser(__doc__).parse_args(arguments), report()
    common.save("compile", found, options.out)
    common.show(options.out, "kernels", "registers", [registers(found["kernels"], found["compiler"])])
    common.show(options.out, "kernels", "traffic", [moved()])


if __name__ == "__main__":
    main()
