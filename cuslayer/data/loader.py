"""`Loader`: batches of spikes from a data set, prepared in a background thread."""

from __future__ import annotations

import operator
import os
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, SupportsIndex, cast

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer._base import check
from cuslayer._tape import Tensor
from cuslayer.backend import Array
from cuslayer.data.arrays import MOST_CLASSES, TARGETS, bins_of, numbers, to_steps
from cuslayer.data.augment import Transform, moves_time
from cuslayer.data.datasets import Dataset, name_of
from cuslayer.data.events import EDGE, ROUNDINGS, Events, flat_bins, misfit, sensor_shape
from cuslayer.data.packed import PackedBits, PackedEvents, Resident, pack_bins, pack_frames

# Recordings that are binned from their bytes are read for a warning if a smaller share of their events is kept.
_FEW = 0.02
# Recordings begin at 0 ms, or not much later.
_FAR = 100.0


class Batch(NamedTuple):
    """A batch of a `Loader`, a pair.

    Attributes:
        x: spikes or signals (T, N, ...), NumPy's or packed on the GPU; of recordings with lengths a `Tensor`.
        target: classes (N,), int64; classes at each step (T, N), int64; several labels or numbers (N, outputs),
            float32; or spike trains or numbers at each step (T, N, outputs).
    """

    x: Any
    target: npt.NDArray[Any]

    @property
    def lengths(self) -> npt.NDArray[np.int64] | None:
        """The number of steps of each recording, (N,); None where all have T."""
        return getattr(self.x, "lengths", None)


class _Prepared(NamedTuple):
    """A batch as it leaves the host, with descriptions of times that do not fit the window, by kind."""

    x: npt.NDArray[Any] | PackedEvents | PackedBits
    target: npt.NDArray[Any]
    steps: int
    lengths: npt.NDArray[np.int64] | None
    misfits: dict[str, str]


class _Binned(NamedTuple):
    """Events as indices of bins and of the sensor."""

    step: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]


_noted: dict[tuple[int, str], weakref.ref[Any]] = {}


class Misfits:
    """The misfits of a batch: those to warn of, without false alarms where a short window misses a few recordings.

    Late events are worth a warning if those of all recordings of the batch are late, or if those of one begin after 100
    ms and twice the window.
    """

    def __init__(self) -> None:
        self.recordings = self.late = 0
        self._found: dict[str, str] = {}

    def add(self, where: str, t: npt.NDArray[np.float64], kept: int, steps: int, dt: float) -> None:
        """Add a recording that is not empty; see `misfit`."""
        self.recordings += 1
        found = misfit(t, kept, steps, dt)
        if found is None:
            return
        kind = found[0]
        self.late += kind == "late"
        far = kind == "late" and t.min() >= max(_FAR, 2 * steps * dt)
        self._found.setdefault("far" if far else kind, f"{where}: {found[1]}")

    def warnings(self) -> dict[str, str]:
        """Return the messages to warn of, by kind, "unit" or "late"."""
        late = self._found.get("far") or (self._found.get("late") if self.late == self.recordings else None)
        found = {"unit": self._found.get("unit"), "late": late}
        return {kind: message for kind, message in found.items() if message}


@check.named
class Loader:
    """Iterate over batches (x, target): x boolean (T, N, H, W, C) or (T, N, C), target the classes, int64 (N,).

    A background thread prepares the next batch while the caller uses the current one. Each iteration is one epoch over
    the whole data set. ``loader[i]`` is batch i of the next epoch.

    On the CPU the arrays are NumPy's. On a GPU spikes are `PackedSpikes`, a bit each, that unpack themselves for NumPy:
    of recordings the events are sent, 4 bytes each, of arrays the bits. With ``resident="cuda"`` the whole data set is
    sent once, before the first batch, and a batch only sends the numbers of its samples. It takes 4 bytes of the GPU's
    memory for each event within the steps: the 60,000 recordings of N-MNIST about 1 GB. Signals and labels are NumPy
    arrays on every device; a network copies them.

    Recordings that are arrays (T, ...) end at the last step, or are followed by zeros up to it; x is floating if they
    are. Targets that are spike trains or numbers at each step, (T, outputs), become (T, N, outputs) in the same way,
    labels at each step (T,) become (T, N), with -1 after their end, and numbers or several labels of a sample,
    (outputs,), become (N, outputs). A transform that moves times is refused for targets at each step.

    With `lengths`, x is a `Tensor` with the lengths of its recordings, and T is the longest of the batch. Networks,
    losses and scores leave out what comes after the end of a recording: it counts as if it were alone.

    A warning, once for a data set, says if all events of the recordings of a batch, or of one that begins much later,
    lie past the last step, or if times look like microseconds.

    Attributes:
        epoch: the number of the next iteration, from 0. It increases when an iteration starts; set it to resume a run.
        seed: with the epoch it determines the order of samples, and with epoch and sample index the transform.
        shape: the shape of x after T and N: that of the data set, after the transform.

    Args:
        dataset: the recordings: `Arrays` of your own arrays, `open_folder` for files, or any other `Dataset`.
        batch: samples per batch; the last batch may be smaller.
        steps: the number of time bins T; events after the last bin are dropped. By default, the steps of the data set's
            arrays.
        dt: the width of a bin in ms; by default the step of the data set's arrays, or 1.
        shuffle: whether to shuffle the samples in each epoch.
        seed: an integer from 0; None: drawn from the generator of `cs.seed`.
        rounding: "floor" or "nearest", as in `Events.to_spikes`, of events and of spikes in arrays of another dt.
        drop_last: whether to drop a smaller last batch.
        transform: applied to each recording before binning: `Crop`, `Downsample`, `FromStart`, `RandomShift`, `Jitter`,
            `Flip`, `Drop`, a `Compose` of several, or another `Transform`. Spikes of arrays become `Events` for it;
            `OtherVoice`, and others whose `of_signals` is True, get the array.
        resident: "cuda" to keep all recordings in the memory of the GPU in use; not with a transform, nor with lengths.
        lengths: whether recordings have lengths: an array its own, at most `steps`, and events up to the last one. By
            default if no steps are given and an array is shorter than the steps of the data set.

    Raises:
        TypeError: dataset is not a data set, or an argument has the wrong type.
        ValueError: an argument is out of range, or there would be no batch. Iteration also raises the errors of
            reading a recording, of recordings and labels that do not fit the data set, and of resident recordings that
            do not fit into the GPU's free memory.

    >>> from cuslayer.data.digits import Digits
    >>> loader = Loader(Digits("test"), 100, steps=300, shuffle=True, seed=0)
    >>> [(x.shape, x.dtype.name, len(labels)) for x, labels in loader][-1], loader.epoch
    (((300, 60, 34, 34, 2), 'bool', 60), 1)

    A data set of your own is an object with four members; see `Dataset`:

    >>> from cuslayer.data import Events
    >>> class Bars:
    ...     '''A bar that moves to the right (class 0) or to the left (class 1) over 8 x 8 pixels within 40 ms.'''
    ...
    ...     shape = (8, 8, 2)  # rows, columns, channels
    ...     classes = 2
    ...
    ...     def __len__(self):
    ...         return 20
    ...
    ...     def __getitem__(self, index):
    ...         if not 0 <= index < len(self):
    ...             raise IndexError(index)
    ...         column = np.repeat(np.arange(8), 8)
    ...         label = index % 2
    ...         t = 5.0 * (column if label == 0 else 7 - column) + 0.1 * index  # ms
    ...         return Events(t, x=column, y=np.tile(np.arange(8), 8), p=np.ones(64, int)), label
    >>> spikes, labels = next(iter(Loader(Bars(), batch=5, steps=40, dt=1.0)))
    >>> spikes.shape, spikes.dtype.name, int(spikes.sum()), labels.tolist()
    ((40, 5, 8, 8, 2), 'bool', 320, [0, 1, 0, 1, 0])

    Your own arrays need no class: ``Loader(Arrays(x, y), batch=16)``; see `Arrays`.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch: int,
        *,
        steps: int | None = None,
        dt: float | None = None,
        shuffle: bool = False,
        seed: int | None = None,
        rounding: str = "floor",
        drop_last: bool = False,
        transform: Transform | None = None,
        resident: str | None = None,
        lengths: bool | None = None,
    ) -> None:
        _check_dataset(dataset)
        self.dataset = dataset
        kind = getattr(dataset, "targets", None)  # tonic's data sets have a list of this name
        self._targets = kind if isinstance(kind, str) and kind in TARGETS else None
        self._has_labels = getattr(dataset, "labels", None) is not None
        self.batch = check.integer("batch", batch, least=1)
        self._own_dt: float | None = getattr(dataset, "dt", None)
        self.dt = check.time_step("dt", (self._own_dt or 1.0) if dt is None else dt)
        own_lengths = getattr(dataset, "lengths", None)
        own_steps: int | None = getattr(dataset, "steps", None)
        whole = own_lengths is None or own_steps is None or np.min(own_lengths, initial=own_steps) == own_steps
        self.lengths = steps is None and not whole if lengths is None else check.flag("lengths", lengths)
        if steps is None:
            if own_steps is None:
                of_arrays = len(dataset) and not isinstance(dataset[0][0], Events)
                bins = "recordings of events, the number of bins"
                what = "a data set without steps, the length T" if of_arrays else bins
                raise TypeError(f"steps must be given for {what}")
            steps = round(own_steps * (self._own_dt or self.dt) / self.dt)
        self.steps = check.integer("steps", steps, least=1)
        self.shuffle = check.flag("shuffle", shuffle)
        self.rounding = check.one_of("rounding", rounding, ROUNDINGS)
        self.drop_last = check.flag("drop_last", drop_last)
        self._sensor = _step_shape(dataset.shape)
        if transform is not None and not (callable(transform) and hasattr(transform, "sensor")):
            raise TypeError(f"transform must be a Transform, got {type(transform).__name__}")
        self.transform = transform
        if resident is not None:
            check.one_of("resident", resident, ("cuda",))
            if transform is not None:
                raise ValueError(f"transform must be None with resident, got {type(transform).__name__}")
            if self.lengths:
                raise ValueError("lengths must be False with resident, whose batches all have `steps` steps")
            if backend.device() != resident:
                raise ValueError(f"resident must be the device in use, {backend.device()}, got {resident}")
        self.resident = resident
        self._held: Resident | None = None
        self.shape = self._sensor if transform is None else sensor_shape(transform.sensor(self._sensor))
        if not len(dataset):
            raise ValueError("dataset must hold a recording, got none")
        if not len(self):
            raise ValueError(f"batch must be at most {len(dataset)} for drop_last to leave one, got {batch}")
        check.memory("a batch", (self.steps, min(self.batch, len(dataset)), *self.shape))
        drawn = int(backend.generator().integers(2**63)) if seed is None else seed
        self.seed = check.integer("seed", drawn, least=0)
        self.epoch = 0

    def __repr__(self) -> str:
        return check.shown(self)

    def __len__(self) -> int:
        """The number of batches per epoch."""
        whole, rest = divmod(len(self.dataset), self.batch)
        return whole + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches_from(0)

    def batches_from(self, first: int) -> Iterator[Batch]:
        """Return an iterator over the batches of the next epoch from number `first` on, to resume within an epoch.

        >>> from cuslayer.data.digits import Digits
        >>> loader = Loader(Digits("test"), 100, steps=30)
        >>> [len(labels) for x, labels in loader.batches_from(2)]
        [100, 60]
        """
        parts, read = self.parts_from(check.integer("first", first, least=0))
        return read(parts)

    def parts_from(self, first: int) -> tuple[list[Any], Callable[[list[Any]], Iterator[Batch]]]:
        """Return the samples of each of these batches, and what makes batches of them, or of parts of them."""
        epoch, parts = self._parts()
        self.epoch = epoch + 1
        return parts[first:], lambda chosen: self._batches(chosen, epoch)

    def __getitem__(self, index: SupportsIndex, /) -> Batch:
        """Return batch `index` of the next epoch; `epoch` does not change.

        Raises:
            IndexError: there is no such batch.
            TypeError: index is not an integer.
        """
        place = check.position(index, len(self), "batches")
        epoch, parts = self._parts()
        if self.resident:
            return Batch(*self._on_device().batch(parts[place]))
        return self._sent(self._with_warnings(self._prepare(parts[place], epoch)))

    def _parts(self) -> tuple[int, list[npt.NDArray[np.int64]]]:
        """Return the epoch, and the samples of each of its batches."""
        epoch = check.integer("epoch", self.epoch, least=0)
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        return epoch, self._cut(order)[: len(self)]

    def _cut(self, samples: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Return samples in batches, of which the last may be smaller."""
        return [samples[first : first + self.batch] for first in range(0, len(samples), self.batch)]

    @check.method
    def _batches(self, parts: list[npt.NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        """Yield a batch for each part."""
        if not parts:
            return
        sent = map(self._sent, self._on_host(parts, epoch))
        yield from (Batch(*each) for each in map(self._on_device().batch, parts)) if self.resident else sent

    def _sent(self, prepared: _Prepared) -> Batch:
        """Return a batch, of which spikes are sent to the GPU."""
        x: Any = prepared.x
        x = x if isinstance(x, np.ndarray) else x.send(prepared.steps, self.shape)
        return Batch(x if prepared.lengths is None else Tensor(x, lengths=prepared.lengths), prepared.target)

    def _on_device(self) -> Resident:
        """Return all recordings on the GPU."""
        if self._held is None:
            parts = self._cut(np.arange(len(self.dataset)))
            on_host = ((each.x, each.target) for each in self._on_host(parts, 0))
            self._held = Resident(on_host, self.steps, self.shape)
        return self._held

    def _on_host(self, parts: list[npt.NDArray[np.int64]], epoch: int) -> Iterator[_Prepared]:
        """Yield each part as it leaves the host; the thread also ends if the iteration is abandoned."""
        with ThreadPoolExecutor(1, thread_name_prefix="cuslayer-loader") as pool:
            following = pool.submit(self._prepare, parts[0], epoch)
            for part in parts[1:]:
                ready = following.result()
                following = pool.submit(self._prepare, part, epoch)
                yield self._with_warnings(ready)
            yield self._with_warnings(following.result())

    def _with_warnings(self, prepared: _Prepared) -> _Prepared:
        """Issue the warnings of a batch, in the caller's thread, and return it."""
        for kind, message in prepared.misfits.items():
            if _first_time(self.dataset, kind):
                check.warn(message)
        return prepared

    def _prepare(self, samples: npt.NDArray[np.int64], epoch: int) -> _Prepared:
        """Return the batch of some samples."""
        misfits = Misfits()
        chosen = samples.tolist()
        binned = self._fast_binning(chosen, misfits) if self._has_labels and not self.lengths else None
        if binned is not None:
            labels = self.dataset.labels[samples]  # type: ignore[attr-defined]
            return _Prepared(binned, labels, self.steps, None, misfits.warnings())
        found = [self._recording(sample, epoch, misfits) for sample in chosen]
        taken, targets, own = map(list, zip(*found, strict=True))
        lengths = np.array(own, np.int64) if self.lengths else None
        steps = self.steps if lengths is None else int(lengths.max())
        return _Prepared(self._collated(taken, steps), _stacked(targets, steps), steps, lengths, misfits.warnings())

    def _collated(self, recordings: list[Any], steps: int) -> Array | PackedEvents | PackedBits:
        """Return recordings, bins or arrays (T, ...), as they leave the host."""
        if backend.device() == "cuda" and all(isinstance(each, _Binned) for each in recordings):
            return pack_bins(recordings, steps, int(np.prod(self.shape)))
        x = _stack(recordings, self.shape, steps)
        return pack_frames(x) if backend.device() == "cuda" and x.dtype == np.bool_ else x

    def _recording(self, sample: int, epoch: int, misfits: Misfits) -> tuple[object, object, int]:
        """Return a recording as bins or as an array (T, ...), its class or target, an array, and its steps."""
        found, name = self.dataset[sample], name_of(self.dataset, sample)
        with check.about(name):
            recording, target = self._unbinned(found, sample, epoch)
            if not isinstance(recording, Events):
                return recording, target, max(len(recording), 1)
            binned = _Binned(*flat_bins(recording, sensor_shape(self.shape), self.steps, self.dt, self.rounding))
        if len(recording):
            misfits.add(name, recording.t, len(binned.step), self.steps, self.dt)
        # Spikes of an array that a transform has moved: it has its steps all the same.
        own = 0 if isinstance(found[0], Events) else self._bins_of(len(found[0]))
        return binned, target, min(max(int(binned.step.max(initial=0)) + 1, own), self.steps)

    def _unbinned(self, found: object, sample: int, epoch: int) -> tuple[Any, object]:
        """Return a sample's recording after the transform, `Events` or an array (T, ...), and its target."""
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise TypeError(f"a data set must return (recording, label), got {type(found).__name__}")
        recording, label = found
        x = None if isinstance(recording, Events) else numbers("a recording", recording)
        target = self._target(label, None if x is None or not x.ndim else len(x))
        if x is not None:
            if x.shape[1:] != self._sensor or not x.ndim:
                wanted = ", ".join(map(str, self._sensor))
                raise ValueError(f"a recording must be Events or (T, {wanted}), got shape {x.shape}")
            if self.transform is None:
                return self._to_steps(x), target
            of_signals = getattr(self.transform, "of_signals", False)
            if x.dtype != np.bool_ and not of_signals:
                raise TypeError(f"transform is for events and spikes, got {x.dtype}")
            recording = x if of_signals else Events.from_spikes(x, self._own_dt or self.dt)
        if self.transform is not None:
            at_steps = isinstance(target, np.ndarray) and (target.ndim > 1 or target.dtype.kind in "iu")
            if at_steps and moves_time(self.transform):
                raise ValueError(f"transform must not move times under targets at each step, got {self.transform!r}")
            # One generator per sample: the result does not depend on the batch.
            rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(epoch, sample)))
            recording = self.transform(recording, self._sensor, rng)
        if not isinstance(recording, Events):
            recording = self._to_steps(recording)
        return recording, target

    def _to_steps(self, x: Array) -> Array:
        """Return a recording (T, ...), or targets at each step, in bins."""
        return to_steps(x, self.steps, self.dt, self._own_dt, self.rounding)

    def _bins_of(self, length: int) -> int:
        """Return the number of bins of a recording of so many steps."""
        return bins_of(length, self._own_dt or self.dt, self.dt, self.rounding)

    def _target(self, label: object, length: int | None) -> object:
        """Return a class as an int, labels at each step or numbers as an array (T,) or (C,), or an array (T, ...)."""
        whole = isinstance(label, Tensor) or self._targets == "classes"
        label = backend.to_numpy(label.data if isinstance(label, Tensor) else label)
        if label.ndim >= 2:
            return self._to_steps(numbers("label", label))
        steps = label.ndim == 1 and label.dtype.kind in "iu"
        if self._targets == "steps" or (self._targets is None and steps and len(label) == (length or self.steps)):
            if not steps:
                raise TypeError(f"label must be integers (T,), a class at each step, got {label.dtype} {label.shape}")
            bins = np.arange(min(self._bins_of(len(label)), self.steps))
            at = np.floor(bins * self.dt / (self._own_dt or self.dt) + EDGE).astype(np.int64)
            return label[np.minimum(at, len(label) - 1)]
        if self._targets in ("labels", "numbers") or (label.ndim == 1 and label.dtype.kind in "biuf"):
            return cast(npt.NDArray[Any], check.as_type("label", numbers("label", label), np.float32).reshape(-1))
        found = label.item() if label.ndim == 0 else label
        try:
            found = operator.index(int(found) if whole and float(found).is_integer() else found)
        except TypeError:
            got = f"{type(found).__name__} {found}" if label.ndim == 0 else f"an array of {label.shape}"
            hint = '; a data set of numbers has targets = "numbers"' if isinstance(found, float) else ""
            raise TypeError(f"label must be the class, an integer from 0, got {got}{hint}") from None
        classes = getattr(self.dataset, "classes", None)
        if found < 0 or found >= MOST_CLASSES or (classes is not None and found >= classes):
            rule = f"an integer from 0, under {MOST_CLASSES}" if classes is None else f"a class from 0 to {classes - 1}"
            raise ValueError(f"label must be {rule}, got {found}")
        return found

    def _fast_binning(self, samples: list[int], misfits: Misfits) -> npt.NDArray[np.bool_] | PackedEvents | None:
        """Return the spikes of samples that are available as the bytes of `.bs2` files; None for others.

        Also None if a recording is invalid: reading it as events raises the error.
        """
        recording = getattr(self.dataset, "recording", None)
        if recording is None or self.transform is not None or len(self.shape) != 3:
            return None
        found = [raw for sample in samples if (raw := recording(sample)) is not None]
        if len(found) < len(samples):
            return None
        from cuslayer.data.fast_binning import EVENT_BYTES, bin_recordings, pack_recordings

        bins = pack_recordings if backend.device() == "cuda" else bin_recordings
        binned = bins(found, self.shape, self.steps, self.dt, self.rounding)
        if binned is None:
            return None
        spikes, kept = binned
        for sample, raw, inside in zip(samples, found, kept.tolist(), strict=True):
            if inside < _FEW * (len(raw) // EVENT_BYTES):
                misfits.add(name_of(self.dataset, sample), self.dataset[sample][0].t, inside, self.steps, self.dt)
            else:
                misfits.recordings += 1
        return spikes


def _stack(recordings: list[Array], shape: tuple[int, ...], steps: int) -> Array:
    """Return recordings, bins or arrays (T, ...), as one array (steps, N, ...)."""
    n, features = len(recordings), int(np.prod(shape))
    types = {x.dtype for x in recordings if not isinstance(x, _Binned) and x.dtype != np.bool_}
    real = np.float64 if np.dtype(np.float64) in types else np.float32
    x = np.zeros(steps * n * features, dtype=real if types else np.bool_)
    rows = x.reshape(steps, n, *shape)
    for i, each in enumerate(recordings):
        if isinstance(each, _Binned):
            x[(each.step * n + i) * features + each.feature] = True
        else:
            rows[: len(each), i] = each[:steps]
    return rows


def _stacked(targets: list[Any], steps: int) -> Array:
    """Return targets of one kind as one array: (N,), (N, outputs), (steps, N) or (steps, N, ...)."""
    kind, *others = sorted(set(map(_kind_of, targets)))
    if others:
        got = " and ".join([kind, *others])
        raise TypeError(f"labels must be of one kind, got {got}; the data set's targets says which, as in Arrays")
    if kind == "classes":
        return np.array(targets, np.int64)
    if kind == "steps":
        y = np.full((steps, len(targets)), -1, np.int64)
        for i, labels in enumerate(targets):
            y[: len(labels), i] = labels[:steps]
        return y
    outputs, *others = sorted({target.shape[1:] if kind == "trains" else target.shape for target in targets})
    if others:
        raise ValueError(f"labels that are {kind} must have one shape of outputs, got {outputs} and {others[0]}")
    return np.stack(targets) if kind == "numbers" else _stack(targets, outputs, steps)


def _kind_of(target: object) -> str:
    """Return what the target of a sample is, a name of TARGETS; several labels are numbers."""
    if not isinstance(target, np.ndarray):
        return "classes"
    if target.ndim > 1:
        return "trains"
    return "numbers" if target.dtype.kind == "f" else "steps"


def _check_dataset(dataset: object) -> None:
    """Raise TypeError unless dataset is a data set."""
    array = isinstance(dataset, (np.ndarray, Tensor)) or hasattr(dataset, "__array_interface__")
    if isinstance(dataset, type):
        raise TypeError(f"dataset must be a data set, got the class {dataset.__name__}; call it")
    missing = [name for name in ("__len__", "__getitem__", "shape") if not hasattr(dataset, name)]
    if not array and not missing:
        return
    if isinstance(dataset, (str, os.PathLike)):
        got = f"the path {os.fspath(dataset)!r}; train, test = open_folder(path) opens a folder"
    elif isinstance(dataset, tuple) and dataset and all(hasattr(each, "classes") for each in dataset):
        got = f"a tuple of {len(dataset)}; take one of them, as in train, test = open_folder(path)"
    elif array or isinstance(dataset, (tuple, list)):
        got = f"{type(dataset).__name__}; make one of recordings and labels by Arrays(x, y)"
    else:
        got = f"{type(dataset).__name__}, which has no {missing[0]}"
    raise TypeError(f"dataset must be a data set, got {got}")


def _step_shape(shape: object) -> tuple[int, ...]:
    """Return the shape of a recording at one time."""
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not sides:
        raise ValueError("dataset.shape must have an axis, got ()")
    return tuple(check.integer("dataset.shape", side, least=1) for side in sides)


def _first_time(dataset: object, kind: str) -> bool:
    """Return whether this is the first call for a data set and a kind of misfit."""
    key = id(dataset), kind
    known = _noted.get(key)
    if known is not None and known() is dataset:
        return False
    with suppress(TypeError):  # an object without weak references is warned about in each epoch
        _noted[key] = weakref.ref(dataset, lambda _: _noted.pop(key, None))
    return True
