"""`cuslayer info`: versions and the device in use."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

from cuslayer import backend

HELP = "show versions and the device in use"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command: none."""


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    rows = [("cuslayer", installed("cuslayer")), ("python", platform.python_version()), ("system", platform.platform())]
    rows += [(name, installed(name)) for name in ("numpy", "numba")]
    problem = backend._driver_problem()
    rows += [("cupy", problem or backend.cupy().__version__), ("device", backend.device_name())]
    duplicate = backend.duplicate_cupy()
    if duplicate and duplicate != problem:
        rows.append(("warning", duplicate))
    for name, value in rows:
        print(f"{name:<10}{value}")


def installed(package: str) -> str:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
