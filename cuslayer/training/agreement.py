"""What the processes of a run must have in common before it begins: version, configuration and data."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import yaml

from cuslayer import backend, check
from cuslayer.data import Events, Loader
from cuslayer.distributed.context import Context, on_all
from cuslayer.training.config import Config
from cuslayer.training.data_of_run import Data
from cuslayer.training.record import document
from cuslayer.version import __version__

# Recordings whose content is compared; of all others the number and the classes are.
_RECORDINGS = 8
# Keys that say where files are: they may differ from machine to machine.
_OWN = ("path", "checkpoint")


def agree(context: Context, config: Config) -> None:
    """Raise ValueError, on all processes, unless they have one version, configuration and kind of device."""
    if context.size == 1:
        return
    context.agree("train", **{"version of cuslayer": __version__, "version of NumPy": np.__version__})
    context.agree("train", device=backend.device())
    given = dict(document(config))
    given["training"] = {key: value for key, value in given["training"].items() if key not in _OWN}
    # The lines that differ are more telling than a digest.
    lines = context.gather(yaml.safe_dump(given).splitlines())
    for rank, theirs in enumerate(lines):
        if theirs != lines[0]:
            pairs = [(a, b) for a, b in zip(lines[0], theirs, strict=False) if a != b]
            was, got = (check.one_line(text) for text in (pairs or [("a shorter one", "a longer one")])[0])
            rule = "all processes must have the same configuration"
            raise on_all(ValueError(f"train: {rule}: process 0 has {was}, process {rank} {got}"))


def agree_on_data(context: Context, data: Data) -> None:
    """Raise ValueError, on all processes, unless they have the same recordings."""
    if context.size > 1:
        context.agree("train", **{"training data": _described(data.train), "test data": _described(data.test)})


def _described(batches: Any) -> str:
    """Return the number of recordings, and a digest of their classes and of some of them."""
    if not isinstance(batches, Loader):
        found = [] if batches is None else [np.asarray(each) for pair in batches for each in pair]
        return f"{len(found) // 2} batches, digest {_digest(found)}"
    dataset = batches.dataset
    chosen = sorted({len(dataset) * i // _RECORDINGS for i in range(_RECORDINGS)})
    labels = getattr(dataset, "labels", None)
    found = [] if labels is None else [np.asarray(labels)]
    for recording, label in (dataset[i] for i in chosen):
        arrays = (recording.t, recording.x, recording.y, recording.p) if isinstance(recording, Events) else (recording,)
        found += [np.asarray(each) for each in (*arrays, label) if each is not None]
    return f"{len(dataset)} recordings, digest {_digest(found)}"


def _digest(arrays: list[Any]) -> str:
    found = hashlib.sha256()
    for each in arrays:
        found.update(f"{each.dtype} {each.shape} ".encode())
        found.update(np.ascontiguousarray(each).tobytes())
    return found.hexdigest()[:12]
