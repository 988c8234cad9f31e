"""Registers of each CUDA kernel, for benchmarks/results/compile.json.

    python benchmarks/compile_report.py

Compiles every kernel in both number types for every architecture with NVRTC, which needs no GPU, unless the file has
this very source. Writes what the compiler says, with a digest of each source. The tests compile each source in each
type for one architecture, and hold the rest of the file against the digests. A source with neurons is compiled for
spike response neurons; for each other kind, in one type for one architecture.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import common
import numpy as np

from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step.print_cuda import header
from cuslayer.neurons.__main__ import kinds
from cuslayer.surrogates import Exponential, MultiGaussian
from tools import nvrtc

ARCHITECTURES = ("sm_70", "sm_80", "sm_90", "sm_100", "sm_120")
DTYPES = ("float32", "float64")
# The sources that need only the surrogate from the header of a kind.
_SURROGATES = ("sampled_srm",)

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
def sources() -> dict[str, str]:
    """Return the header of the neurons for each source, and for further kinds, such as "scan of LIF"."""
    first, *others = kinds()
    plain = {
        topic: header(first, Exponential().shape.curve) if source.has_neurons(topic) else ""
        for topic in source.topics()
    }
    return plain | {
        # This surrogate takes most registers.
        f"{topic} of {kind.name}": header(kind, MultiGaussian().shape.curve)
        for topic, printed in plain.items()
        for kind in others
        # A kind without a derivative has no backward, and is in no fused pass.
        if printed and topic not in _SURROGATES and (kind.derived or topic in ("scan", "recurrent"))
    }


def text_of(name: str, dtype: str) -> str:
    """Return the text to compile for one of `sources`."""
    return source.text(name.partition(" ")[0], np.dtype(dtype), sources()[name])


@cache
def compiled(name: str, dtype: str, arch: str) -> tuple[bytes, str]:
    """Return the machine code of a source and the compiler's log."""
    return nvrtc.compile(text_of(name, dtype), arch, (*source.OPTIONS, "--ptxas-options=-v"))


def warnings_in(log: str) -> list[str]:
    """Return the warnings in a compiler's log, but for its announcement that it will drop the oldest architectures."""
    lines = (line for line in log.splitlines() if "warning" in line.lower())
    return [line for line in lines if "deprecated" not in line.lower()]


def rows_of(name: str, dtype: str, arch: str) -> list[Row]:
    """Return a row for each kernel of a source."""
    _, *kind = name.split(" of ")
    return [
        Row(
            " of ".join([m["kernel"], *kind]),
            dtype,
            arch,
            *(int(m[number]) for number in ("registers", "stack", "stores", "loads")),
        )
        for m in _FOUND.finditer(compiled(name, dtype, arch)[1])
    ]


def digest(name: str, dtype: str) -> str:
    """Return a digest of a source and of the options that it is compiled with."""
    return hashlib.sha256("\0".join((text_of(name, dtype), *source.OPTIONS)).encode()).hexdigest()[:16]


@cache
def cases() -> list[tuple[str, str, str]]:
    """Return each source with the types and architectures to compile it for; one of each with neurons of a kind."""
    found = list[tuple[str, str, str]]()
    for number, name in enumerate(sources()):
        if is_of_kind(name):
            found.append((name, DTYPES[number % len(DTYPES)], ARCHITECTURES[number % len(ARCHITECTURES)]))
        else:
            found += [(name, dtype, arch) for dtype in DTYPES for arch in ARCHITECTURES]
    return found


def is_of_kind(name: str) -> bool:
    """Return whether a source has neurons of a kind in the place of others."""
    return " of " in name


def report(before: dict[str, Any]) -> dict[str, Any]:
    """Return the compiler's version, the sources' digests, its warnings, and each kernel's row.

    Sources that a report of the same compiler has, without a warning, are not compiled again.
    """
    digests = {f"{name} {dtype}": digest(name, dtype) for name, dtype, _ in cases()}
    reusable = before["compiler"] == compiler() and not before["warnings"]
    known = {name for name, of in digests.items() if reusable and before["digests"].get(name) == of}
    rows = [row for row in before["kernels"] if f"{source_of(row)} {row.dtype}" in known]
    anew = [(name, dtype, arch) for name, dtype, arch in cases() if f"{name} {dtype}" not in known]
    rows += [row for one in anew for row in rows_of(*one)]
    return {
        "compiler": compiler(),
        "digests": digests,
        "warnings": [f"{' '.join(one)}: {line}" for one in anew for line in warnings_in(compiled(*one)[1])],
        "kernels": sorted(rows, key=lambda row: (row.kernel, row.dtype, ARCHITECTURES.index(row.arch))),
    }


def source_of(row: Row) -> str | None:
    """Return the name of the source of a kernel; None if no source has the kernel any more."""
    kernel, *kind = row.kernel.split(" of ")
    topic = source.kernel_names().get(kernel)
    return None if topic is None else " of ".join([topic, *kind])


def saved() -> dict[str, Any]:
    """Return the report that was saved last."""
    found = common.load("compile")
    return found | {"kernels": [Row(*row) for row in found["kernels"]]}


def compiler() -> str:
    """Return the version of the compiler."""
    return f"NVRTC {version('nvidia-cuda-nvrtc-cu12')}"


def spilled(rows: list[Row]) -> list[Row]:
    """Return the kernels that keep in memory what registers do not hold."""
    return [row for row in rows if row.stack or row.spill_stores or row.spill_loads]


def main(arguments: list[str] | None = None) -> None:
    options, found = common.parser(__doc__).parse_args(arguments), report(saved())
    common.save("compile", found, options.out)
    print(f"{found['compiler']}: {len(found['kernels'])} kernels, {len(spilled(found['kernels']))} spill registers")


if __name__ == "__main__":
    main()
