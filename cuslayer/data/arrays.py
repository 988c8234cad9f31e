"""`Arrays`, a data set of dense arrays or of a list of recordings with labels; `Subset` and `split` of any data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from cuslayer import backend
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.labels import class_numbers, is_one_hot
from cuslayer._tape import Tensor
from cuslayer.data.datasets import Dataset, name_of
from cuslayer.data.events import EDGE, Events, bins, sensor_shape

Array = npt.NDArray[Any]

# What targets may be.
TARGETS = ("classes", "labels", "numbers", "steps", "trains")
# A file of labels beyond it is damaged.
MOST_CLASSES = 2**31
# Elements that are looked at at a time, which bounds memory.
_BLOCK = 1 << 22


def numbers(name: str, value: TensorLike) -> Array:
    """Return value as a NumPy array of booleans, integers or real numbers, without a copy if possible."""
    if isinstance(value, (str, bytes, os.PathLike)):
        got = os.fspath(value)
        raise TypeError(f"{name} must be an array, got {got!r}; read a file first, as np.load does")
    try:
        array = backend.to_numpy(value.data if isinstance(value, Tensor) else value)
    except ValueError:
        raise ValueError(f"{name} must be an array, got rows of unequal length") from None
    if array.dtype.kind not in "biuf":
        got = f"{array.dtype}" if array.ndim else type(value).__name__
        raise TypeError(f"{name} must be an array of booleans or numbers, got {got}")
    return array


def spikes_or_signal(name: str, x: Array) -> Array:
    """Return integers that are all 0 or 1 as booleans, and other numbers as float32 or float64."""
    if x.dtype == np.bool_ or not x.size:
        return x.astype(np.bool_) if x.dtype.kind in "iu" else x
    ranges = [(float(part.min()), float(part.max())) for part in _blocks(x)]
    low, high = (float(edge(column)) for edge, column in zip((np.min, np.max), zip(*ranges, strict=True), strict=True))
    if x.dtype.kind in "iu" and low >= 0 and high <= 1:
        return x.astype(np.bool_)
    check.finite_range(name, low, high)
    found = check.pixels(name, low, high, lambda: all((part % 1 == 0).all() for part in _blocks(x)))
    if found:
        check.warn(found)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def _blocks(x: Array) -> Iterator[Array]:
    """Yield x in blocks along its first axis."""
    rows = max(1, _BLOCK * len(x) // x.size)
    return (x[first : first + rows] for first in range(0, len(x), rows))


def bins_of(length: int, own: float, dt: float, rounding: str) -> int:
    """Return the number of bins of dt for the steps of a recording: its duration, and the bin of its last step."""
    last = bins(np.arange(length, dtype=np.float64)[-1:] * own, dt, rounding)
    return max(round(length * own / dt), int(last.max(initial=-1.0)) + 1)


def to_steps(x: Array, steps: int, dt: float, own: float | None, rounding: str) -> Array:
    """Return the first steps of a recording (T, ...); spikes of another step are put into bins of dt."""
    if own is None or abs(own - dt) <= EDGE * dt:
        return x[:steps]
    if x.dtype != np.bool_:
        raise ValueError(f"dt must be {own:g} ms, the step of its signals, got {dt:g}")
    step = bins(np.arange(len(x), dtype=np.float64) * own, dt, rounding).astype(np.int64)
    kept = step[step < steps]
    binned = np.zeros((min(steps, bins_of(len(x), own, dt, rounding)), *x.shape[1:]), np.bool_)
    np.logical_or.at(binned, kept, x[: len(kept)])
    return binned


@check.named
class Arrays:
    """A data set of your own arrays or recordings: sample i is ``(x[i], y[i])``.

    The axes of x are samples, time, then those of one step: (samples, T, C) or (samples, T, H, W, C). Arrays whose time
    comes first, (T, samples, ...), as networks take and return them, are given with ``time_first=True``. Booleans, and
    integers that are all 0 or 1, are spikes. Other numbers are signals, such as currents or counts: they become float32
    or stay float64. Booleans and floating numbers are not copied.

    Attributes:
        shape: the shape of a recording at one time, (C,) or (H, W, C).
        classes: the number of classes; for target spike trains, of outputs.
        labels: the class of each sample, int64 (samples,); None for target spike trains.
        steps: the number of steps T of arrays, the largest of a list; None for `Events`.
        lengths: the number of steps of each array, int64 (samples,); None for `Events`.
        targets: what the targets are, as in the argument.
        dt: the step of arrays in ms, or None.
        names: what the classes are called, for pages; None for numbers.

    Args:
        x: an array (samples, T, ...); a list of arrays (T, ...), whose T may differ; or a list of `Events`.
        y: the targets.
        shape: for `Events`, the sensor (H, W, C), or the number of neurons. By default the smallest that holds all
            events: name it where other data have to have the same.
        classes: the number of classes; by default the highest class plus one.
        dt: the step of arrays in ms. A `Loader` with another dt puts spikes into its own bins, and refuses signals. By
            default the step is that of the loader.
        time_first: whether x, and target spike trains, are (T, samples, ...).
        targets: what y is; by default what it looks like, in this order. "trains": spike trains or numbers at each
            step, (samples, T, outputs). "classes": integers from 0, (samples,), or one-hot (samples, classes); a tensor
            may hold them as whole numbers. "steps": a class at each step, integers (samples, T) or a list of arrays
            (T,), where -1 is a step that does not count. "labels": several labels a sample, 0 or 1, (samples, labels).
            "numbers": other floating numbers, (samples, outputs), or (samples,) for one output. One-hot arrays may be
            labels, and integers numbers: name them.

    Raises:
        TypeError: x or y is of another type.
        ValueError: x and y differ in length or are empty, a shape does not fit, a class is out of range, or a number is
            NaN or infinite.

    Warns:
        UserWarning: x looks like pixels from 0 to 255, or like pictures without an axis of time.

    >>> x, y = np.random.default_rng(0).random((6, 100, 20)) < 0.1, [0, 1, 2, 0, 1, 2]
    >>> data = Arrays(x, y)
    >>> data
    Arrays(6 samples of spikes, 100 steps, shape (20,), 3 classes)
    >>> from cuslayer.data import Loader
    >>> [(spikes.shape, labels.tolist()) for spikes, labels in Loader(data, batch=4)]
    [((100, 4, 20), [0, 1, 2, 0]), ((100, 2, 20), [1, 2])]
    >>> Arrays([Events([0.5], [3], [2], [1]), Events([7.0], [1], [0], [0])], [0, 1], shape=(4, 4, 2))
    Arrays(2 samples of events, shape (4, 4, 2), 2 classes)
    """

    def __init__(
        self,
        x: object,
        y: object,
        *,
        shape: int | Sequence[int] | None = None,
        classes: int | None = None,
        dt: float | None = None,
        time_first: bool = False,
        targets: str | None = None,
    ) -> None:
        if isinstance(x, Events):
            raise TypeError("x must be a list of Events, got one Events; write [events]")
        self.dt = None if dt is None else check.time_step("dt", dt)
        self.names: Sequence[str] | None = None
        self.lengths: npt.NDArray[np.int64] | None
        self._x: Sequence[Any] | Array
        if isinstance(x, np.ndarray) and x.dtype == object:
            x = list(x)
        if isinstance(x, (list, tuple)) and not x:
            raise ValueError("x must hold a sample, got none")
        if isinstance(x, (list, tuple)) and any(isinstance(each, Events) for each in x):
            self._x, self.steps, self.lengths = list(x), None, None
            self.shape, self._kind = _sensor(self._x, shape), "events"
        else:
            if shape is not None:
                raise ValueError(f"shape is for Events, arrays have their own, got {shape}")
            self._x = _recordings(x, check.flag("time_first", time_first))
            of_one_length = isinstance(self._x, np.ndarray)
            several = self._x[:1] if of_one_length else self._x
            lengths = np.array([len(recording) for recording in several], np.int64)
            self.lengths = np.broadcast_to(lengths, len(self._x)) if of_one_length else lengths
            self.steps = int(lengths.max())
            self.shape = tuple(self._x[0].shape[1:])
            self._kind = "spikes" if all(recording.dtype == np.bool_ for recording in several) else "signals"
        self.labels: npt.NDArray[np.int64] | None = None
        self._targets = _targets(y, time_first)
        if targets is not None:
            check.one_of("targets", targets, TARGETS)
        if len(self._targets) != len(self._x):
            raise ValueError(f"x and y must have one length, got {_lengths(x, self._targets, time_first)}")
        self.targets = _kind(self._targets, self.lengths, isinstance(y, Tensor)) if targets is None else targets
        if self.targets == "classes":
            self.labels, least = _labels(np.asarray(self._targets), targets is not None or isinstance(y, Tensor))
        else:
            self._targets = _checked(self._targets, self.targets, self.lengths)
        if self.targets == "steps":
            least = 1 + max(int(each.max(initial=0)) for each in self._targets)
        elif self.targets != "classes":
            least = self._targets[0].shape[-1]
        self.classes = number_of_classes(classes, least)

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Any, Any]:
        place = check.position(index, len(self))
        return self._x[place], self._targets[place] if self.labels is None else int(self.labels[place])

    def __repr__(self) -> str:
        steps = "" if self.steps is None else f"{self.steps} steps, "
        names = {"classes": "classes", "steps": "classes", "labels": "labels"}
        what = f"{self.classes} {names.get(self.targets, 'outputs')}"
        return f"Arrays({len(self)} samples of {self._kind}, {steps}shape {self.shape}, {what})"


def _sensor(recordings: Sequence[Events], shape: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the sensor of a list of `Events`: the given one, or the smallest that holds them."""
    for i, each in enumerate(recordings):
        if not isinstance(each, Events):
            raise TypeError(f"x must hold Events only, sample {i} is of type {type(each).__name__}")
        if (each.y is None) != (recordings[0].y is None):
            raise ValueError(f"x must be in 1-D or 2-D throughout, sample {i} and sample 0 differ")
    if shape is not None:
        sides = sensor_shape(shape)
        if (len(sides) == 1) != (recordings[0].y is None):
            wanted = "a number of neurons" if recordings[0].y is None else "(H, W, C)"
            raise ValueError(f"shape must be {wanted} for these Events, got {shape}")
        return sides

    def size(name: str) -> int:
        columns = (getattr(each, name) for each in recordings)
        return 1 + max((int(column.max()) for column in columns if len(column)), default=0)

    return (size("x"),) if recordings[0].y is None else (size("y"), size("x"), size("p"))


def _recordings(x: Any, time_first: bool) -> Sequence[Array] | Array:
    """Return arrays with samples first, or a list of arrays (T, ...)."""
    if isinstance(x, (list, tuple)) and any(isinstance(each, (np.ndarray, Tensor)) for each in x):
        if time_first:
            raise ValueError(f"time_first is for one array (T, samples, ...), got a {type(x).__name__}")
        found = [numbers(f"x[{i}]", each) for i, each in enumerate(x)]
        for i, each in enumerate(found):
            if each.ndim < 2 or each.shape[1:] != found[0].shape[1:]:
                wanted = f"(T, {', '.join(map(str, found[0].shape[1:]))})" if found[0].ndim > 1 else "(T, ...)"
                raise ValueError(f"x[{i}] must be {wanted}, got shape {each.shape}")
            if 0 in each.shape[1:]:
                raise ValueError(f"x[{i}] must have no axis of 0, got shape {each.shape}")
        return [spikes_or_signal(f"x[{i}]", each) for i, each in enumerate(found)]
    array = numbers("x", x)
    if array.ndim < 3:
        layout = "(T, samples, ...)" if time_first else "(samples, T, ...)"
        hint = "; with one input a step, x[..., None]" if array.ndim == 2 else ""
        raise ValueError(f"x must be {layout}, got shape {array.shape}{hint}")
    if not array.shape[1 if time_first else 0]:
        raise ValueError("x must hold a sample, got none")
    if 0 in array.shape:
        raise ValueError(f"x must have no axis of 0, got shape {array.shape}")
    x = spikes_or_signal("x", np.moveaxis(array, 0, 1) if time_first else array)
    if x.ndim == 4 and x.shape[1] == x.shape[2] and x.shape[3] in (1, 3) and x.dtype != np.bool_:
        cure = "np.repeat(x[:, None], 4, axis=1) shows each for 4 steps"
        check.warn(f"x {x.shape} looks like pictures (samples, H, W, C), but its second axis is time; {cure}")
    return x


def _targets(y: Any, time_first: bool) -> Sequence[Array] | Array:
    """Return classes (samples,), one-hot classes (samples, classes), or target spike trains, samples first."""
    if isinstance(y, (list, tuple)) and any(getattr(each, "ndim", 0) > 1 for each in y):
        return [spikes_or_signal(f"y[{i}]", numbers(f"y[{i}]", each)) for i, each in enumerate(y)]
    if isinstance(y, (list, tuple)) and len({len(each) for each in y if isinstance(each, (list, np.ndarray))}) > 1:
        return [numbers(f"y[{i}]", each) for i, each in enumerate(y)]  # labels at each step
    if np.asarray(y).dtype.kind in "US" and not isinstance(y, (str, bytes)):
        hint = "np.unique(y, return_inverse=True)[1]"
        raise TypeError(f"y must be integers from 0, got strings; number the classes, as {hint} does")
    array = numbers("y", y)
    if array.ndim == 0:
        raise ValueError("y must have an axis of samples, got shape ()")
    if array.ndim > 2:
        return spikes_or_signal("y", np.moveaxis(array, 0, 1) if time_first else array)
    return array


def _kind(y: Sequence[Array] | Array, lengths: npt.NDArray[np.int64] | None, of_tensor: bool) -> str:
    """Return what targets look like."""
    if y[0].ndim > 1:
        return "trains"
    if not isinstance(y, np.ndarray):
        return "steps"
    floating = y.dtype.kind == "f"
    if y.ndim == 1:
        if not floating or (y != np.floor(y)).any():
            return "numbers" if floating else "classes"
        if not of_tensor:
            hint = 'y.astype(int) makes classes of them, targets="numbers" takes numbers'
            raise TypeError(f"y must be integers from 0, got {y.dtype}; {hint}")
        return "classes"
    marks = ((y == 0) | (y == 1)).all()
    if y.shape[1] > 1 and is_one_hot(y):
        return "classes"
    if y.dtype.kind in "iu" and lengths is not None and (lengths == y.shape[1]).all():
        return "steps"
    if not floating and (not marks or y.shape[1] == 1):
        hint = f'got shape {y.shape}; targets="numbers", "labels" or "steps" says what they are'
        raise ValueError(f"integers y must be classes (samples,), one-hot, labels of 0 or 1, or (samples, T), {hint}")
    return "labels" if marks else "numbers"


def _checked(y: Sequence[Array] | Array, kind: str, lengths: npt.NDArray[np.int64] | None) -> Sequence[Array] | Array:
    """Return targets that are not classes; raise where they are not what they should be."""
    if kind == "steps":
        for i, each in enumerate(y):
            if each.dtype.kind not in "iu" or each.ndim != 1:
                raise TypeError(f"y[{i}] must be integers (T,), labels at each step, got {each.dtype} {each.shape}")
            if lengths is not None and len(each) != lengths[i]:
                rule = f"must have a label for each step of x[{i}], {lengths[i]} steps"
                raise ValueError(f"y[{i}] {rule}, got {len(each)}")
            if len(each) and each.min() < -1:
                rule = "must be classes from 0, or -1 for a step that does not count"
                raise ValueError(f"y[{i}] {rule}, got {each.min()}")
        return y
    if kind != "labels" and y[0].ndim == 2:
        return y
    if kind == "trains" or not isinstance(y, np.ndarray) or y.ndim > 2:
        wanted = "spike trains (samples, T, outputs)" if kind == "trains" else f"{kind} (samples, outputs)"
        got = f"shape {y.shape}" if isinstance(y, np.ndarray) else "a list of arrays (T,)"
        raise ValueError(f"y must be {wanted}, got {got}")
    check.finite_range("y", float(y.min()), float(y.max()))
    if kind == "labels" and not ((y == 0) | (y == 1)).all():
        raise ValueError(f"y must be labels of 0 or 1, got {y[(y != 0) & (y != 1)][0]:g}")
    return y[:, None] if y.ndim == 1 else y


def number_of_classes(given: int | None, least: int) -> int:
    """Return the number of classes of labels that need a least number."""
    if least > MOST_CLASSES:
        raise ValueError(f"y must be classes under {MOST_CLASSES}, got {least - 1}")
    found = least if given is None else check.integer("classes", given, least=1)
    if found < least:
        raise ValueError(f"classes must be at least {least} for these y, got {given}")
    return found


def class_labels(y: TensorLike) -> tuple[npt.NDArray[np.int64], int]:
    """Return the classes of y, (samples,) or one-hot, as int64 (samples,), and the least number of classes."""
    array = _targets(y, time_first=False)
    if not isinstance(array, np.ndarray) or array.ndim > 2:
        raise ValueError("y must be (samples,) or one-hot (samples, classes), got spike trains")
    if not array.size:
        raise ValueError("y must hold a class, got none")
    return _labels(array, isinstance(y, Tensor))


def _labels(y: Array, whole: bool) -> tuple[npt.NDArray[np.int64], int]:
    """Return the classes of y, (samples,) or one-hot, and the least number of classes."""
    labels = np.array(class_numbers("y", y, whole=whole))
    labels.setflags(write=False)
    return labels, y.shape[1] if y.ndim == 2 else int(labels.max()) + 1


def _lengths(x: Any, targets: Sequence[object] | Array, time_first: bool) -> str:
    """Return the lengths of x and y for an error, and the order of axes in which they would be equal."""
    shape: tuple[int, ...] = getattr(x, "shape", (len(x),))
    own, other = (1, 0) if time_first else (0, 1)
    got = f"{shape[own]} and {len(targets)}"
    if len(shape) > 2 and shape[other] == len(targets):
        hint = "leave out time_first" if time_first else "for (T, samples, ...) pass time_first=True"
        return f"{got}; x has shape {tuple(shape)}: {hint}"
    return got


@check.named
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

    def __init__(self, dataset: Dataset, indices: Sequence[SupportsIndex] | Array) -> None:
        length = len(dataset)
        chosen = [check.position(index, length) for index in indices]
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
        if name in ("labels", "lengths"):
            values = getattr(self.dataset, name)
            return None if values is None else np.asarray(values)[self.indices]
        if name in ("steps", "dt", "duration", "targets", "names"):
            return getattr(self.dataset, name)
        raise AttributeError(f"Subset: {name!r} is missing")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: SupportsIndex, /) -> tuple[Any, Any]:
        return self.dataset[int(self.indices[check.position(index, len(self))])]

    def recording(self, index: int) -> bytes | None:
        """Return the bytes of a `.bs2` file, for fast binning; None if the data set has none."""
        found = getattr(self.dataset, "recording", None)
        return None if found is None else found(int(self.indices[index]))

    def where(self, index: int) -> str:
        """Return the name of a recording, for messages."""
        return name_of(self.dataset, int(self.indices[index]))

    def __repr__(self) -> str:
        return f"Subset({len(self)} samples of {self.dataset!r})"


@check.operation
def split(dataset: Dataset, test: float = 0.2, *, seed: int = 0, by_class: bool = False) -> tuple[Subset, Subset]:
    """Divide a data set at random into training and test samples, or into training and validation samples.

    Args:
        dataset: any `Dataset` of at least two samples.
        test: the share of the test samples, between 0 and 1; each part has at least one sample.
        seed: seed of the choice.
        by_class: whether each class is divided by the share, for a data set with `labels`: each part has a sample of
            each class, unless the class has one sample alone, which is for training.

    Returns:
        The training samples and the test samples, each in the order of the data set.

    Raises:
        TypeError: dataset is not a data set, has no labels to divide it by, or an argument is of another type.
        ValueError: test is out of range, or there are fewer than two samples, by_class of any class.

    >>> from cuslayer.data import Digits
    >>> train, test = split(Digits("test"), 0.25)
    >>> len(train), len(test), sorted({*train.indices, *test.indices}) == list(range(360))
    (270, 90, True)
    >>> np.bincount(split(Digits("test"), 0.1, by_class=True)[1].labels)
    array([4, 3, 3, 5, 4, 4, 3, 3, 4, 5])
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "shape") or isinstance(dataset, np.ndarray):
        raise TypeError(f"dataset must be a data set such as Arrays(x, y), got {type(dataset).__name__}")
    share, samples = check.number("test", test), len(dataset)
    if not 0 < share < 1:
        raise ValueError(f"test must be a share between 0 and 1, got {share:g}")
    order = np.random.default_rng(check.integer("seed", seed, least=0)).permutation(samples)
    labels = getattr(dataset, "labels", None) if check.flag("by_class", by_class) else np.zeros(samples)
    if labels is None:
        raise TypeError(f"dataset must have labels to be divided by class, got {type(dataset).__name__}")
    parts = [order[labels[order] == each] for each in np.unique(labels)]
    counts = [min(max(round(share * len(part)), 1), len(part) - 1) for part in parts]
    if not any(counts):
        whose = " of a class" if by_class else ""
        raise ValueError(f"dataset must have at least two samples{whose}, got {max(map(len, parts), default=0)}")
    chosen = np.sort(np.concatenate([part[:count] for part, count in zip(parts, counts, strict=True)]))
    return Subset(dataset, np.setdiff1d(order, chosen)), Subset(dataset, chosen)
