"""`Loader`: batches of spikes from a data set, prepared in a background thread."""

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

    A background thread prepares the next batch while the caller uses the current one. Each iteration is one epoch over
    the whole data set. The arrays are NumPy arrays; a network copies them to its device.

    Attributes:
        epoch: the number of the next iteration, from 0. It increases when an iteration starts; set it to resume a run.
        seed: with the epoch it determines the order of samples, and with epoch and sample index the transform.
        shape: the sensor of the batches: that of the data set, after the transform.

    Args:
        dataset: the recordings.
        batch: samples per batch; the last batch may be smaller.
        steps: the number of time bins T; events after the last bin are dropped.
        dt: the width of a bin in ms.
        shuffle: whether to shuffle the samples in each epoch.
        seed: an integer from 0; None: drawn from the generator of `cs.seed`.
        rounding: "floor" or "nearest", as in `Events.to_spikes`.
        drop_last: whether to drop a smaller last batch.
        transform: applied to each recording before binning: `Crop`, `Downsample`, `FromStart`, `RandomShift`, `Jitter`,
            `Flip`, `Drop`, a `Compose` of several, or another `Transform`.

    Raises:
        TypeError: dataset is not a data set, or an argument has the wrong type.
        ValueError: an argument is out of range, or there would be no batch. Iteration also raises the errors of
            reading a recording.

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
        """The number of batches per epoch."""
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
        """Yield a batch for each part; the thread also ends if the iteration is abandoned."""
        with ThreadPoolExecutor(1, thread_name_prefix="cuslayer-loader") as pool:
            following = pool.submit(self._prepare, parts[0], epoch)
            for part in parts[1:]:
                ready = following.result()
                following = pool.submit(self._prepare, part, epoch)
                yield ready
            yield following.result()

    def _prepare(self, samples: npt.NDArray[np.int64], epoch: int) -> Batch:
        """Return the batch of some samples."""
        binned = self._fast_binning(samples.tolist())
        if binned is not None:
            return binned, self.dataset.labels[samples]
        n = len(samples)
        features = int(np.prod(self.shape))
        x = np.zeros(self.steps * n * features, dtype=np.bool_)
        labels = np.empty(n, dtype=np.int64)
        for i, sample in enumerate(samples.tolist()):
            events, labels[i] = self.dataset[sample]
            if self.transform is not None:
                # One generator per sample: the result does not depend on the batch.
                rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, sample)))
                events = self.transform(events, self._sensor, rng)
            op = f"Loader: {self.dataset.where(sample) if hasattr(self.dataset, 'where') else f'sample {sample}'}"
            step, feature = flat_bins(events, self.shape, self.steps, self.dt, self.rounding, op=op)
            x[(step * n + i) * features + feature] = True
        return x.reshape(self.steps, n, *self.shape), labels

    def _fast_binning(self, samples: list[int]) -> npt.NDArray[np.bool_] | None:
        """Return the spikes of samples that are available as the bytes of `.bs2` files; None for others.

        Also None if a recording is invalid: reading it as events raises the error.
        """
        recording = getattr(self.dataset, "recording", None)
        if recording is None or self.transform is not None or len(self.shape) != 3:
            return None
        found = [raw for sample in samples if (raw := recording(sample)) is not None]
        if len(found) < len(samples):
            return None
        from cuslayer.data.fast_binning import bin_recordings

        return bin_recordings(found, self.shape, self.steps, self.dt, self.rounding)
