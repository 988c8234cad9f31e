"""`Subset`, some samples of a data set, and `split` into training and test samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cuslayer import check
from cuslayer.data.datasets import Dataset


class Subset:
    """Some samples of a data set, in a given order.

    It has the shape, the classes and, if the data set has them, the labels, steps and dt of the data set.

    Attributes:
        dataset: the data set.
        indices: the index of each sample in it, int64 (samples,).

    Args:
        dataset: any `Dataset`.
        indices: integers; negative ones count from the end.

    Raises:
        TypeError: indices are not integers.
        IndexError: an index is out of range.

    >>> from cuslayer.data import Digits
    >>> data = Subset(Digits("test"), range(0, 360, 10))
    >>> len(data), data[1][1], data.labels[:4].tolist()
    (36, 2, [0, 2, 4, 0])
    """

    def __init__(self, dataset: Dataset, indices: Sequence[SupportsIndex] | npt.NDArray[Any]) -> None:
        length = len(dataset)
        chosen = [check.position("Subset", index, length) for index in indices]
        self.dataset = dataset
        self.indices = np.array(chosen, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a recording at one time."""
        return self.dataset.shape

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.dataset.classes

    def __getattr__(self, name: str) -> Any:
        if name == "labels":
            labels = self.dataset.labels  # type: ignore[attr-defined]
            return None if labels is None else labels[self.indices]
        if name in ("steps", "dt", "duration"):
            return getattr(self.dataset, name)
        raise AttributeError(f"Subset: {name!r} is missing")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Any, Any]:
        return self.dataset[int(self.indices[check.position("Subset", index, len(self))])]

    def recording(self, index: int) -> bytes | None:
        """Return the bytes of a `.bs2` file, for fast binning; None if the data set has none."""
        found = getattr(self.dataset, "recording", None)
        return None if found is None else found(int(self.indices[index]))

    def where(self, index: int) -> str:
        """Return the name of a recording, for messages."""
        sample = int(self.indices[index])
        return str(self.dataset.where(sample)) if hasattr(self.dataset, "where") else f"sample {sample}"

    def __repr__(self) -> str:
        return f"Subset({len(self)} samples of {self.dataset!r})"


def split(dataset: Dataset, test: float = 0.2, *, seed: int = 0) -> tuple[Subset, Subset]:
    """Divide a data set at random into training and test samples.

    Args:
        dataset: any `Dataset` of at least two samples.
        test: the share of the test samples, between 0 and 1; each part has at least one sample.
        seed: seed of the choice.

    Returns:
        The training samples and the test samples, each in the order of the data set.

    Raises:
        TypeError: dataset is not a data set, or an argument is of another type.
        ValueError: test is out of range, or there are fewer than two samples.

    >>> from cuslayer.data import Digits
    >>> train, test = split(Digits("test"), 0.25)
    >>> len(train), len(test), sorted({*train.indices, *test.indices}) == list(range(360))
    (270, 90, True)
    """
    op = "split"
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "shape") or isinstance(dataset, np.ndarray):
        raise TypeError(f"{op}: dataset must be a data set such as Arrays(x, y), got {type(dataset).__name__}")
    share, samples = check.number(op, "test", test), len(dataset)
    if not 0 < share < 1:
        raise ValueError(f"{op}: test must be a share between 0 and 1, got {share:g}")
    if samples < 2:
        raise ValueError(f"{op}: dataset must have at least two samples, got {samples}")
    order = np.random.default_rng(check.integer(op, "seed", seed, least=0)).permutation(samples)
    count = min(max(round(share * samples), 1), samples - 1)
    return Subset(dataset, np.sort(order[count:])), Subset(dataset, np.sort(order[:count]))
