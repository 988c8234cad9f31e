"""The part of each batch that one of several processes has: some of its micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from cuslayer.data.loader import Loader
from cuslayer.tape import Tensor, as_tensor


class Share(NamedTuple):
    """The micro-batches of a process of one batch.

    Attributes:
        leaves: the number of micro-batches of the whole batch.
        own: the numbers of those that this process has.
        pairs: these, (x, target) each, read one by one.
    """

    leaves: int
    own: range
    pairs: Iterator[Any]


class Shares:
    """The shares of batches; iteration yields pairs of a `Share` and None, in the place of the batches.

    Of a `Loader` only the recordings of the share are read.

    Args:
        batches: pairs (x, target).
        micro: recordings of a micro-batch; the last of a batch may be smaller.
        part: a function from the number of micro-batches of a batch to those that the process has.

    >>> import numpy as np
    >>> batch = np.zeros((3, 5, 2), bool), np.arange(5)
    >>> [(share, _)] = Shares([batch], 2, lambda leaves: range(1, leaves))
    >>> share.leaves, [(x.shape, labels.tolist()) for x, labels in share.pairs]
    (3, [((3, 2, 2), [2, 3]), ((3, 1, 2), [4])])
    """

    def __init__(self, batches: Iterable[Any], micro: int, part: Callable[[int], range]) -> None:
        self._batches, self._micro, self._part = batches, micro, part

    def __len__(self) -> int:
        """The number of batches; of an iterator it is not known."""
        if not isinstance(self._batches, Sized):
            raise TypeError("Shares: the number of batches is not known")
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return self.batches_from(0)

    def batches_from(self, first: int) -> Iterator[Any]:
        """Return an iterator over the shares of the batches from number `first` on."""
        if isinstance(self._batches, Loader):
            return self._of_loader(self._batches, first)
        return map(self._of_batch, islice(self._batches, first, None))

    def _of_loader(self, loader: Loader, first: int) -> Iterator[Any]:
        samples, read = loader.parts_from(first)
        cuts = [self._cuts(len(each)) for each in samples]
        owned = [self._part(len(cut)) for cut in cuts]
        flat = read([each[cut[i]] for each, cut, own in zip(samples, cuts, owned, strict=True) for i in own])
        for cut, own in zip(cuts, owned, strict=True):
            yield Share(len(cut), own, islice(flat, len(own))), None

    def _of_batch(self, batch: Any) -> Any:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            return batch  # `pairs` says what is wrong
        x, target = as_tensor(batch[0]).data, batch[1]
        target = target.data if isinstance(target, Tensor) else target
        target = np.asarray(target) if isinstance(target, (list, tuple)) else target
        cuts = self._cuts(x.shape[1])
        own = self._part(len(cuts))
        # Targets (T, N, ...) are spike trains; others are (N,) or (N, classes).
        trains = getattr(target, "ndim", 1) > 2
        pairs = ((x[:, cuts[i]], target[:, cuts[i]] if trains else target[cuts[i]]) for i in own)
        return Share(len(cuts), own, pairs), None

    def _cuts(self, samples: int) -> list[slice]:
        return [slice(first, first + self._micro) for first in range(0, max(samples, 1), self._micro)]
