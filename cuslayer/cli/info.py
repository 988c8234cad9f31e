"""`cuslayer info`: versions and the device in use."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

from cuslayer import backend
from cuslayer._base.threads import thread_count, thread_source
from cuslayer._base.version import __version__
from cuslayer.cli.arguments import add_json, print_json
from cuslayer.cli.errors import show

HELP = "show versions and the device in use"
EXAMPLES = ("cuslayer info", "cuslayer info --json")
JSON = {
    "cuslayer": "its version",
    "python": "the version of Python",
    "system": "the operating system",
    "numpy": "the version of NumPy",
    "numba": "the version of Numba",
    "cupy": "the version of CuPy, or why no GPU is used",
    "device": "the device that is computed on",
    "threads": "the threads of CPU kernels, and where their number comes from",
    "warning": "what is wrong with the installation; null where nothing is",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_json(parser, JSON)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    rows = [("cuslayer", __version__), ("python", platform.python_version()), ("system", platform.platform())]
    rows += [(name, installed(name)) for name in ("numpy", "numba")]
    problem = backend._driver_problem()
    rows += [("cupy", problem or backend.cupy().__version__), ("device", backend.device_name())]
    rows += [("threads", f"{thread_count()} ({thread_source()})")]
    duplicate = backend.duplicate_cupy()
    if duplicate and duplicate != problem:
        rows.append(("warning", duplicate))
    if options.json:
        return print_json({"warning": None, **dict(rows)})
    for name, value in rows:
        show(f"{name:<10}{value}")


def installed(package: str) -> str:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
