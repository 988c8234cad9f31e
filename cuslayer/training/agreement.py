"""What the processes of a run must have in common before it begins: version, configuration and data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import yaml

from cuslayer import backend, check
from cuslayer.distributed.context import Context, on_all
from cuslayer.training.config import Config
from cuslayer.version import __version__

# Keys that say where files are: they may differ from machine to machine.
_OWN = ("path", "checkpoint")


def agree(context: Context, config: Config) -> None:
    """Raise ValueError, on all processes, unless they have one version, configuration and kind of device."""
    if context.size == 1:
        return
    context.agree(**{"version of cuslayer": __version__, "version of NumPy": np.__version__})
    context.agree(device=backend.device())
    given = config.document()
    given["training"] = {key: value for key, value in given["training"].items() if key not in _OWN}
    # The lines that differ are more telling than a digest.
    lines = context.gather(yaml.safe_dump(given).splitlines())
    for rank, theirs in enumerate(lines):
        if theirs != lines[0]:
            pairs = [(a, b) for a, b in zip(lines[0], theirs, strict=False) if a != b]
            was, got = (check.one_line(text) for text in (pairs or [("a shorter one", "a longer one")])[0])
            rule = "all processes must have the same configuration"
            raise on_all(ValueError(f"{rule}: process 0 has {was}, process {rank} {got}"))


def agree_on_data(context: Context, recordings: Mapping[str, str]) -> None:
    """Raise ValueError, on all processes, unless `described` says the same of their recordings."""
    if context.size > 1:
        context.agree(**{f"{name} data": text for name, text in recordings.items()})
