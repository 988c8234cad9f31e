"""Batches, which functions that train or test take: pairs (x, target), and the share of a process of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, as_tensor
from cuslayer.data.loader import Loader


def pairs(batches: Iterable[object], source: Any = None) -> Iterator[tuple[TensorLike, object]]:
    """Yield each batch as (x, target)."""
    check_batches(batches if source is None else source)
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            many = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise TypeError(f"a batch must be a pair (x, target), got {type(batch).__name__}{many}")
        yield batch[0], batch[1]


def check_batches(batches: Iterable[object]) -> None:
    """Raise TypeError unless something may be batches, before one of them is read."""
    got = _wrong(batches)
    if got:
        raise TypeError(f"batches must be pairs (x, target), such as a Loader has, got {got}")


def none_in(batches: Iterable[object]) -> str:
    """Return what batches without a sample are, with the cure where an iterator may have ended, for an error."""
    hint = "; an iterator gives its batches once, pass a list or a Loader" if isinstance(batches, Iterator) else ""
    return f"got none{hint}"


@contextmanager
def preserved_epoch(batches: Iterable[object]) -> Iterator[None]:
    """Give a `Loader` its epoch back after the block, which looks at some of its batches and is no epoch itself."""
    if not isinstance(batches, Loader):
        yield
        return
    epoch = batches.epoch
    try:
        yield
    finally:
        batches.epoch = epoch


def _wrong(batches: Iterable[object]) -> str:
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


class Share(NamedTuple):
    """The micro-batches of a process of one batch."""

    leaves: int
    own: range
    pairs: Iterator[Any]


class Shares:
    """The shares of batches; iteration yields pairs of a `Share` and None, in the place of the batches.

    `at_steps` says whether integers (T, N) are labels at each step; otherwise they are the labels of N samples.
    """

    def __init__(
        self, batches: Iterable[object], micro: int, part: Callable[[int], range], *, at_steps: bool = True
    ) -> None:
        self._batches, self._micro, self._part = batches, micro, part
        self._at_steps = at_steps

    def __len__(self) -> int:
        """The number of batches; of an iterator it is not known."""
        if not isinstance(self._batches, Sized):
            raise TypeError("the number of batches is not known")
        return len(self._batches)

    def __iter__(self) -> Iterator[object]:
        return self.batches_from(0)

    def batches_from(self, first: int) -> Iterator[object]:
        """Return an iterator over the shares of the batches from number `first` on."""
        if isinstance(self._batches, Loader):
            return self._of_loader(self._batches, first)
        return map(self._of_batch, islice(self._batches, first, None))

    def _of_loader(self, loader: Loader, first: int) -> Iterator[object]:
        samples, read = loader.parts_from(first)
        cuts = [self._cuts(len(each)) for each in samples]
        owned = [self._part(len(cut)) for cut in cuts]
        flat = read([each[cut[i]] for each, cut, own in zip(samples, cuts, owned, strict=True) for i in own])
        for cut, own in zip(cuts, owned, strict=True):
            yield Share(len(cut), own, islice(flat, len(own))), None

    def _of_batch(self, batch: object) -> object:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            return batch  # `pairs` says what is wrong
        x, target = as_tensor(batch[0]), batch[1]
        target = target.data if isinstance(target, Tensor) else target
        target = np.asarray(target) if isinstance(target, (list, tuple)) else target
        timed = _at_each_step(target, x.shape[:2], self._at_steps)
        cuts = self._cuts(x.shape[1])
        own = self._part(len(cuts))
        pairs = ((_cut(x, cuts[i]), target[:, cuts[i]] if timed else target[cuts[i]]) for i in own)
        return Share(len(cuts), own, pairs), None

    def _cuts(self, samples: int) -> list[slice]:
        return [slice(first, first + self._micro) for first in range(0, max(samples, 1), self._micro)]


def _at_each_step(target: Any, times: tuple[int, ...], at_steps: bool) -> bool:
    """Return whether targets are (T, N, ...) or (T, N); others are (N,) or (N, outputs)."""
    shape = getattr(target, "shape", ())
    if len(shape) != 2 or shape != times:
        return len(shape) > 2
    if times[0] != times[1]:
        return True
    # As many samples as steps: numbers and one-hot classes are of samples, as for the losses.
    return at_steps and target.dtype.kind in "iu" and not bool(((target == 1).sum(axis=1) == 1).all())


def _cut(x: Tensor, part: slice) -> object:
    """Return some recordings of a batch."""
    return x.data[:, part] if x.lengths is None else Tensor(x.data[:, part], lengths=x.lengths[part])
