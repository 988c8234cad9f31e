"""Validation of batches, which functions that train or test take: pairs (x, target)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cuslayer.data.loader import Loader
from cuslayer.tape import Tensor


def pairs(op: str, batches: Iterable[Any], source: Any = None) -> Iterator[tuple[Any, Any]]:
    """Yield each batch as (x, target).

    Args:
        op: the operation named in errors.
        batches: the batches.
        source: the object given by the caller, if `batches` is something around it, such as a progress bar.

    Raises:
        TypeError: batches are not batches, or one is not a pair.

    >>> next(pairs("health", [np.ones((2, 3))]))
    Traceback (most recent call last):
        ...
    TypeError: health: a batch must be a pair (x, target), got ndarray
    """
    check_batches(op, batches if source is None else source)
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            many = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise TypeError(f"{op}: a batch must be a pair (x, target), got {type(batch).__name__}{many}")
        yield batch[0], batch[1]


def check_batches(op: str, batches: Any) -> None:
    """Raise TypeError unless something may be batches, before one of them is read."""
    got = _wrong(batches)
    if got:
        raise TypeError(f"{op}: batches must be pairs (x, target), such as a Loader has, got {got}")


@contextmanager
def preserved_epoch(batches: Any) -> Iterator[None]:
    """Give a `Loader` its epoch back after the block, which looks at some of its batches and is no epoch itself."""
    if not isinstance(batches, Loader):
        yield
        return
    epoch = batches.epoch
    try:
        yield
    finally:
        batches.epoch = epoch


def _wrong(batches: Any) -> str:
    """Return what batches are instead of batches, and what to do; '' if they may be some."""
    if isinstance(batches, Loader):
        return ""
    if isinstance(batches, (str, os.PathLike)):
        return f"the path {os.fspath(batches)!r}"
    if isinstance(batches, (np.ndarray, Tensor)):
        return f"{type(batches).__name__}; write [(x, target)] for one batch"
    if isinstance(batches, (tuple, list)) and len(batches) == 2 and hasattr(batches[0], "ndim"):
        return "one batch; write [(x, target)]"
    if hasattr(batches, "classes") and hasattr(batches, "shape") and hasattr(batches, "__getitem__"):
        return f"the data set {type(batches).__name__}; make batches of it by Loader(dataset, batch, steps=...)"
    return "" if hasattr(batches, "__iter__") or hasattr(batches, "__getitem__") else type(batches).__name__
