"""The loader: a data set's recordings as batches of spikes, the next made while the current one is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from cuslayer import backend, check
from cuslayer.data.augment import Transform
from cuslayer.data.datasets import Dataset
from cuslayer.data.events import ROUNDINGS, flat_bins, sensor_shape

Batch = tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]


class Loader:
    """Iterate over batches (x, labels): x boolean (T, N, H, W, C) or (T, N, C), labels int64 (N,).

    A thread in the background makes the next batch while the caller uses the current one. Every iteration is an
    epoch and passes over the whole data set. The arrays are NumPy's: a network takes them to its device.

    Attributes:
        epoch: the number of the epoch that the next iteration runs, from 0. It advances when an iteration
            starts; a run that resumes sets it.
        seed: what, with the epoch, the order depends on; nothing else has a part in it. What a transform draws
            depends on the number of the sample too.
        shape: the sensor of the batches: the data set's, or what the transform makes of it.

    Args:
        dataset: the recordings.
        batch: how many make up a batch; the last one may be smaller.
        steps: the number of time bins T; what a recording has after the last bin is cut off.
        dt: the width of a bin in ms.
        shuffle: whether each epoch has an order of its own.
        seed: an integer from 0; None: one drawn from the library's generator.
        rounding: "floor" or "nearest", as in `Events.to_spikes`.
        drop_last: whether a last batch that is smaller is left out.
        transform: what is done to each recording before it is binned: one of `Crop`, `Downsample`, `FromStart`,
            `RandomShift`, `Jitter`, `Flip`, `Drop`, a `Compose` of several, or another `Transform`.

    Raises:
        TypeError: dataset is none, or an argument is of the wrong type.
        ValueError: an argument is out of its range, or no batch would be left. Iteration raises what reading
            raises.

    >>> from cuslayer.data.digits import Digits
    >>> loader = Loader(Digits("test"), 100, steps=300, shuffle=True, seed=0)
    >>> [(x.shape, x.dtype.name, len(labels)) for x, labels in loader][-1], loader.epoch
    (((300, 60, 34, 34, 2), 'bool', 60), 1)
    """

    def __init__(
        self,
        dataset: Dataset,
        batch: int,
        *,
        steps: int,
        dt: float = 1.0,
        shuffle: bool = False,
        seed: int | None = None,
        rounding: str = "floor",
        drop_last: bool = False,
        transform: Transform | None = None,
    ) -> None:
        op = "Loader"
        for name in ("__len__", "__getitem__", "shape"):
            if not hasattr(dataset, name):
                raise TypeError(f"{op}: dataset must have {name}, got {type(dataset).__name__}")
        self.dataset = dataset
        self.batch = check.integer(op, "batch", batch, least=1)
        self.steps = check.integer(op, "steps", steps, least=1)
        self.dt = check.positive(op, "dt", dt)
        self.shuffle = bool(shuffle)
        self.rounding = check.one_of(op, "rounding", rounding, ROUNDINGS)
        self.drop_last = bool(drop_last)
        self._sensor = sensor_shape(op, dataset.shape)
        if transform is not None and not (callable(transform) and hasattr(transform, "sensor")):
            raise TypeError(f"{op}: transform must be a Transform, got {type(transform).__name__}")
        self.transform = transform
        self.shape = self._sensor if transform is None else sensor_shape(op, transform.sensor(self._sensor))
        if not len(dataset):
            raise ValueError(f"{op}: dataset must hold a recording, got none")
        if not len(self):
            raise ValueError(f"{op}: batch must be at most {len(dataset)} for drop_last to leave one, got {batch}")
        drawn = int(backend.generator().integers(2**63)) if seed is None else seed
        self.seed = check.integer(op, "seed", drawn, least=0)
        self.epoch = 0

    def __len__(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(len(self.dataset), self.batch)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Batch]:
        epoch = check.integer("Loader", "epoch", self.epoch, least=0)
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        self.epoch = epoch + 1
        return self._batches([order[i * self.batch : (i + 1) * self.batch] for i in range(len(self))], epoch)

    def _batches(self, parts: list[npt.NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        """Yield a batch for each part; the thread ends with the iteration, however that ends."""
        with ThreadPoolExecutor(1, thread_name_prefix="cuslayer-loader") as pool:
            ahead = pool.submit(self._prepare, parts[0], epoch)
            for part in parts[1:]:
                ready = ahead.result()
                ahead = pool.submit(self._prepare, part, epoch)
                yield ready
            yield ahead.result()

    def _prepare(self, samples: npt.NDArray[np.int64], epoch: int) -> Batch:
        """Return the batch of these samples."""
        marked = self._marked(samples.tolist())
        if marked is not None:
            return marked, self.dataset.labels[samples]
        n = len(samples)
        features = int(np.prod(self.shape))
        x = np.zeros(self.steps * n * features, dtype=np.bool_)
        labels = np.empty(n, dtype=np.int64)
        for i, sample in enumerate(samples.tolist()):
            events, labels[i] = self.dataset[sample]
            if self.transform is not None:
                # Of the sample's own, so that neither the batch nor the thread that it is made in has a part.
                rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, sample)))
                events = self.transform(events, self._sensor, rng)
            op = (
                f"Loader: {self.dataset.where(sample)}"
                if hasattr(self.dataset, "where")
                else f"Loader: sample {sample}"
            )
            step, feature = flat_bins(events, self.shape, self.steps, self.dt, self.rounding, op=op)
            x[(step * n + i) * features + feature] = True
        return x.reshape(self.steps, n, *self.shape), labels

    def _marked(self, samples: list[int]) -> npt.NDArray[np.bool_] | None:
        """Return the spikes of these samples by the short way, for recordings that come as bytes; None for others.

        Also where one of them is at fault: the long way says what it is.
        """
        recording = getattr(self.dataset, "recording", None)
        if recording is None or self.transform is not None or len(self.shape) != 3:
            return None
        found = [raw for sample in samples if (raw := recording(sample)) is not None]
        if len(found) < len(samples):
            return None
        from cuslayer.data.fast_binning import mark

        return mark(found, self.shape, self.steps, self.dt, self.rounding)
