"""Configurations by name: the files of `examples/configs`, which an installed package has beside this module."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cuslayer import check

_INSTALLED = Path(__file__).with_name("configs")
_CHECKOUT = Path(__file__).parents[2] / "examples" / "configs"


def folder() -> Path:
    """Return the folder of the configurations: in a checkout it is not within the package."""
    return _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


def names() -> list[str]:
    """Return the names of the configurations."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def find(op: str, source: object) -> object:
    """Return the path of the configuration that a word names; anything else, and the path of a file, unchanged.

    Raises:
        ValueError: no configuration has this name.

    >>> find("load_config", "shd").name, find("load_config", "mine/net.yaml")
    ('shd.yaml', 'mine/net.yaml')
    """
    if not isinstance(source, str) or not re.fullmatch(r"\w[\w-]*", source) or os.path.isfile(source):
        return source
    known = names()
    if source in known:
        return folder() / f"{source}.yaml"
    raise ValueError(
        f"{op}: {source!r} is no file, nor one of the configurations {', '.join(known)}{check.nearest(source, known)}"
    )
