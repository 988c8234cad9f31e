"""`convert`: a trained network of numbers becomes a spiking network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer import plot
from cuslayer._base import check
from cuslayer._still import still_step
from cuslayer._tape import Tensor, as_tensor, no_grad
from cuslayer.backend import Array, generator, to_device, to_numpy
from cuslayer.data.loader import Loader
from cuslayer.interchange.conversion import units
from cuslayer.interchange.conversion.exact import exact
from cuslayer.interchange.conversion.rates import ConvertedLayer, Rates, name_of, outputs_of
from cuslayer.interchange.conversion.rebuild import plain
from cuslayer.network.network import Sequential
from cuslayer.network.walk import Walk, check_network, eval_mode
from cuslayer.neurons.base import is_neuron

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("squares", "percentile", "qcfs")
INPUTS = ("current", "rate")
# The share of positive numbers that a unit of method "percentile" covers.
_PERCENTILE = 0.999
_STEPS = 32
# Recordings that show the accuracy, for each that sets the units.
_TESTED = 4
_BATCH = 100


@check.operation
def convert(
    net: Sequential,
    data: Any,
    *,
    steps: int | None = None,
    method: str = "squares",
    input: str = "current",
    recordings: int = 500,
) -> Conversion:
    """Convert a trained network of numbers into a spiking network.

    Each rectifier becomes integrate-and-fire neurons, whose spike count in T steps stands for its number::

        unit n / T = about max(0, z)            n = floor(T z / unit + 1/2), from 0 to T, for a constant input z

    `IF` starts at half a threshold and subtracts the threshold at a spike. Weights take in what the spikes of their
    inputs stand for, and normalization is folded into them. The maximum of a window becomes a `CountMaxPool`. The
    output is the last weighted input: its mean over T steps stands for the output of `net`.

    With "squares" and "percentile" neurons fire as soon as they can, in T steps for the whole network. Layer by layer,
    the units fit the spikes of the layers before; then biases move by the mean error of a channel. With "qcfs", for
    `QuantizedReLU`, neurons wait until all their input has come, and their counts equal its outputs: the conversion has
    no error, and takes ``levels - 1`` steps more for each layer. Its weights are float64.

    Args:
        net: a network of `Dense`, `Conv`, `ConvTranspose`, `ReLU`, `QuantizedReLU`, pooling, `BatchNorm`, `Dropout` and
            branches that are added or concatenated. It does not change.
        data: recordings that are the same at every step, such as images: a `Loader`, a data set, a batch (T, N, ...),
            or a pair of a batch and its labels. The first ones set the units, others show the accuracy.
        steps: the number of steps T; 32 by default. "qcfs" sets it itself.
        method: "squares", the units of a channel with the least squared error; "percentile", units that 99.9 % of its
            positive numbers do not exceed; or "qcfs".
        input: "current", for numbers that are the same at every step; or "rate", for spikes with the probabilities x at
            each step, see `Conversion.encode`.
        recordings: the number of recordings that set the units.

    Returns:
        The conversion: `net` is the spiking network. It prints the accuracy and the layers, and `plot` draws them.

    Raises:
        ValueError: a stage of net is none of these, data changes in time or is empty, steps is given for "qcfs", or an
            option is unknown.
        TypeError: net is not a network, or an argument has the wrong type.

    Source: Rueckauer et al. 2017, "Conversion of continuous-valued deep networks to efficient event-driven networks";
    biases: Li et al. 2021 (arXiv 2106.06984); "qcfs": Bu et al. 2022 (arXiv 2303.04347).

    >>> from cuslayer.layers import Dense, ReLU
    >>> net = Sequential(Dense(4, 16, weight_scale=2.0), ReLU(), Dense(16, 3, weight_scale=2.0))
    >>> x = np.random.default_rng(0).random((1, 200, 4), np.float32)
    >>> conversion = convert(net, x, steps=64)
    >>> rates = conversion.net(conversion.encode(x[0])).data.mean(axis=0)
    >>> bool(abs(rates - net(x).data[0]).mean() < 0.05)
    True
    """
    check_network(net)
    check.one_of("method", method, METHODS)
    check.one_of("input", input, INPUTS)
    count = check.integer("recordings", recordings, least=1)
    if method == "qcfs":
        _check_exact(steps, input)
    steps = check.integer("steps", _STEPS if steps is None else steps, least=1)
    x, labels = read(data, (1 + _TESTED) * count)
    if input == "rate" and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(f"data must lie in [0, 1] for input='rate', got {x.min():g} to {x.max():g}")
    with eval_mode(net):
        return _converted(net, x, labels, steps, method, input, count)


def _check_exact(steps: int | None, input: str) -> None:
    if steps is not None:
        raise ValueError(f"steps must be None for method 'qcfs', which sets it by the levels, got {steps}")
    if input != "current":
        raise ValueError(f"input must be 'current' for method 'qcfs', got {input!r}")


def _converted(
    net: Sequential, x: Array, labels: Array | None, steps: int, method: str, input: str, count: int
) -> Conversion:
    shape = x.shape[1:]
    rows: list[ConvertedLayer] = []
    if method == "qcfs":
        numbers = plain(net, shape, np.float64)
        spiking, steps = exact(numbers, shape)
    else:
        numbers = plain(net, shape)
        fit: Any = partial(units.least_squares, steps=steps, rng=np.random.default_rng(0))
        if method == "percentile":
            fit = _of_percentile
        encoded = encode(x[:count], steps, input)
        spiking, rows = Rates(numbers, x[:count], encoded, fit).convert()
    conversion = Conversion(net=spiking.eval(), numbers=numbers.eval(), steps=steps, method=method, input=input)
    if method == "qcfs":
        rows = conversion.compare(x[:count])
    others = slice(count, None) if len(x) > count else slice(None)
    conversion.layers = tuple(rows)
    if labels is not None:
        conversion.accuracy = conversion.test((x[None, others], labels[others]))
    return conversion


def _of_percentile(current: Array, target: Array) -> Array:
    return units.percentile(target, _PERCENTILE)


class Accuracy(NamedTuple):
    """The accuracy of a conversion on labelled recordings.

    Attributes:
        spiking: the accuracy of the spiking network after each step, (T,).
        numbers: the accuracy of the network of numbers.
        recordings: the number of recordings.
    """

    spiking: Array
    numbers: float
    recordings: int


@dataclass(eq=False, repr=False)
class Conversion:
    """What `convert` returns.

    Attributes:
        net: the spiking network.
        numbers: the network of numbers with the same stages, which the spikes stand for.
        steps: the number of steps T.
        method: the method.
        input: "current" or "rate".
        layers: a row for each layer of neurons, `ConvertedLayer`.
        accuracy: the result of `test` on recordings that did not set the units, if there were some; None without
            labels.
    """

    net: Sequential
    numbers: Sequential
    steps: int
    method: str
    input: str
    layers: tuple[ConvertedLayer, ...] = field(default=())
    accuracy: Accuracy | None = None

    @property
    def worst(self) -> ConvertedLayer | None:
        """The layer with the largest error; None without neurons."""
        return max(self.layers, key=lambda row: row.error, default=None)

    def encode(self, x: Array) -> Array:
        """Return recordings x (N, ...) as the spiking network takes them, (T, N, ...): constant, or random spikes."""
        return encode(np.asarray(x), self.steps, self.input)

    @check.operation
    def test(self, data: Any) -> Accuracy:
        """Return the accuracy after each step, and of the network of numbers, on other data.

        Args:
            data: see `convert`; with labels.

        Raises:
            ValueError: data has no labels, or no recording.
        """
        right = np.zeros(self.steps, np.int64)
        right_numbers = 0
        total = 0
        dtype = _dtype_of(self.numbers)
        for x, labels in batches(data):
            if labels is None:
                raise ValueError("data must have labels, got none")
            with no_grad():
                output = to_numpy(self.net(self.encode(x)).data)
                numbers = to_numpy(self.numbers(x[None].astype(dtype)).data)
            decisions = output.reshape(self.steps, len(x), -1).cumsum(axis=0).argmax(axis=2)
            right += (decisions == labels).sum(axis=1)
            right_numbers += int((numbers.reshape(len(x), -1).argmax(axis=1) == labels).sum())
            total += len(x)
        if not total:
            raise ValueError("data must have a recording, got none")
        return Accuracy(right / total, right_numbers / total, total)

    def batches(self, data: Any) -> Encoded:
        """Return batches of data as the spiking network takes them, for a `Trainer` that goes on training.

        Args:
            data: see `convert`; a `Loader` with ``shuffle=True`` shuffles each epoch.
        """
        return Encoded(self, data)

    @check.operation
    def compare(self, x: Array) -> list[ConvertedLayer]:
        """Return how the spikes of each layer stand for its numbers, for recordings x (N, ...)."""
        rows: list[ConvertedLayer] = []
        counts = self.counts(x)
        with no_grad():
            wanted = outputs_of(self.numbers, x.astype(_dtype_of(self.numbers)))
        for number, (name, units_of, spikes) in counts.items():
            target = wanted[number]
            share = 1.0 if self.method == "qcfs" else self.steps
            difference = np.square(target - units_of * spikes / share, dtype=np.float64).mean()
            size = np.square(target, dtype=np.float64).mean() or 1.0
            rate = float(spikes.mean()) / self.steps
            rows.append(ConvertedLayer(name, float(np.sqrt(difference / size)), rate, float(np.mean(units_of))))
        return rows

    @check.operation
    def mismatches(self, x: Array) -> tuple[int, int]:
        """Return how many spike counts differ from the numbers for which they stand, and how many there are.

        Args:
            x: recordings (N, ...).
        """
        with no_grad():
            wanted = outputs_of(self.numbers, x.astype(_dtype_of(self.numbers)))
        different = total = 0
        for number, (_, unit, spikes) in self.counts(x).items():
            share = 1.0 if self.method == "qcfs" else self.steps
            different += int((np.rint(share * wanted[number] / unit) != spikes).sum())
            total += spikes.size
        return different, total

    def counts(self, x: Array) -> dict[int, tuple[str, Array, Array]]:
        """Return name, units and spike counts (N, ...) of the neurons by the number of their rectifier."""
        counts: dict[int, tuple[str, Array, Array]] = {}
        shift = len(self.net.graph.nodes) - len(self.numbers.graph.nodes)
        with no_grad():
            for at in Walk(self.net, Tensor(to_device(self.encode(x)))):
                if is_neuron(at.stage):
                    spikes = to_numpy(at.output.data).sum(axis=0, dtype=np.int64)
                    counts[at.number - shift] = (name_of(at.node), at.stage.unit, spikes)
        return counts

    def __repr__(self) -> str:
        what = "numbers" if self.input == "current" else "spikes"
        lines = [f"{self.method}: {len(self.layers)} layers of neurons, {self.steps} steps of {what}"]
        if self.accuracy is not None:
            recordings = f"{self.accuracy.recordings:,} recordings"
            lines.append(f"accuracy on {recordings}: network of numbers {self.accuracy.numbers:.2%}, spiking network")
            for step in shown_steps(self.steps):
                lines.append(f"  {self.accuracy.spiking[step - 1]:8.2%} after {step} step{'s' * (step > 1)}")
        for row in self.layers:
            mark = "  (worst)" if row is self.worst and len(self.layers) > 1 else ""
            lines.append(f"  layer {row.layer}: error {row.error:.2%}, {row.rate:.3f} spikes a step{mark}")
        return "\n".join(lines)

    @check.operation
    def plot(self, axes: Sequence[Axes] | None = None) -> list[Any]:
        """Draw the accuracy over the number of steps, and the error of each layer; see `plot.conversion`."""
        return plot.conversion(self, axes)


class Encoded:
    """Batches of still recordings, as a converted network takes them; see `Conversion.batches`."""

    def __init__(self, conversion: Conversion, data: Any) -> None:
        self.conversion = conversion
        self.data = data

    def __iter__(self) -> Iterator[tuple[Array, Array | None]]:
        for x, labels in batches(self.data):
            yield self.conversion.encode(x), labels

    def __len__(self) -> int:
        """The number of batches of a `Loader`."""
        return len(self.data)


def shown_steps(steps: int) -> list[int]:
    """Return the powers of two up to a number of steps, and the number itself."""
    powers = [1 << exponent for exponent in range(steps.bit_length()) if 1 << exponent < steps]
    return [*powers, steps]


def _dtype_of(net: Sequential) -> Any:
    parameters = net.parameters()
    return parameters[0].dtype if parameters else np.float32


def encode(x: Array, steps: int, how: str) -> Array:
    """Return recordings (N, ...) as a constant current (T, N, ...), or as spikes with the probabilities x."""
    if how == "current":
        return np.broadcast_to(x[None], (steps, *x.shape))
    check.memory("the spikes", (steps, *x.shape))
    spikes: Array = generator().random((steps, *x.shape), np.float32) < x
    return spikes


def read(data: Any, most: int) -> tuple[Array, Array | None]:
    """Return up to `most` still recordings (N, ...) of data, and their labels (N,) or None.

    Raises:
        ValueError: a recording changes in time, or there is none.
    """
    parts = []
    labels = []
    count = 0
    for x, of_batch in batches(data):
        parts.append(x)
        labels.append(of_batch)
        count += len(x)
        if count >= most:
            break
    if not count:
        raise ValueError("data must have a recording, got none")
    known = [each for each in labels if each is not None]
    joined = np.concatenate(known)[:most] if len(known) == len(labels) else None
    return np.concatenate(parts)[:most], joined


def batches(data: Any) -> Iterator[tuple[Array, Array | None]]:
    """Yield batches of still recordings (N, ...) with their labels (N,) or None."""
    if isinstance(data, Loader) or (hasattr(data, "classes") and hasattr(data, "shape")):
        loader = data if isinstance(data, Loader) else Loader(data, _BATCH, shuffle=False)
        for x, target in loader:
            yield _still(x), target if target.ndim == 1 and target.dtype.kind == "i" else None
        return
    x, labels = data if isinstance(data, (tuple, list)) and len(data) == 2 else (data, None)
    recordings = _still(x)
    if labels is not None:
        labels = np.asarray(to_numpy(labels))
        if labels.shape != recordings.shape[:1]:
            raise ValueError(f"labels must be ({len(recordings)},), got shape {labels.shape}")
    for start in range(0, len(recordings), _BATCH):
        samples = slice(start, start + _BATCH)
        yield recordings[samples], None if labels is None else labels[samples]


def _still(x: Any) -> Array:
    """Return the one step (N, ...) of a batch (T, N, ...) that is the same at all steps."""
    batch = as_tensor(x)
    check.time_first("data", batch)
    step = batch[:1] if len(batch) == 1 else still_step(batch)
    if step is None:
        raise ValueError(
            f"data must be the same at every step, such as images (1, N, H, W, C), got shape {batch.shape} that changes"
        )
    recordings = to_numpy(step.data)[0]
    return recordings.astype(np.float32) if recordings.dtype.kind != "f" else recordings
