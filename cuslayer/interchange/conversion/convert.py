"""`convert`: a trained network of numbers becomes a spiking network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer import plot
from cuslayer._base import check
from cuslayer._base.labels import class_numbers
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, preserved_generator, to_device, to_numpy
from cuslayer.interchange.conversion import units
from cuslayer.interchange.conversion.exact import exact
from cuslayer.interchange.conversion.rates import ConvertedLayer, Rates, name_of, targets_of
from cuslayer.interchange.conversion.rebuild import RECTIFIERS, plain
from cuslayer.interchange.conversion.recordings import Encoded, batches, encode, one_step, read
from cuslayer.layers.base import form_of
from cuslayer.network.network import Sequential
from cuslayer.network.walk import Walk, check_network
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
# The steps of samples that run at a time.
_RUN = 3200


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
            a pair of a batch and its labels, or a list of pairs. The first recordings set the units, others show the
            accuracy.
        steps: the number of steps T; 32 by default. "qcfs" sets it itself.
        method: "squares", the units of a channel with the least squared error; "percentile", units that 99.9 % of its
            positive numbers do not exceed; or "qcfs".
        input: "current", for numbers that are the same at every step; or "rate", for spikes with the probabilities x at
            each step, see `Conversion.encode`.
        recordings: the number of recordings that set the units.

    Returns:
        The conversion: `net` is the spiking network. It prints the accuracy and the layers, and `plot` draws them.

    Raises:
        ValueError: a stage of net is none of these, data changes in time, is empty or not finite, steps is given for
            "qcfs", "qcfs" meets biases that differ between places before a maximum or in the output, spikes do not fit
            into memory, or an option is unknown.
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
        _check_exact(net, steps, input)
    steps = check.integer("steps", _STEPS if steps is None else steps, least=1)
    x, labels = read(data, (1 + _TESTED) * count)
    with no_grad(), preserved_generator():
        return _converted(net, x, labels, steps, method, input, count)


def _check_exact(net: Sequential, steps: int | None, input: str) -> None:
    if steps is not None:
        raise ValueError(f"steps must be None for method 'qcfs', which sets it by the levels, got {steps}")
    if input != "current":
        raise ValueError(f"input must be 'current' for method 'qcfs', got {input!r}")
    for node in net.graph.nodes:
        if form_of(node.stage) == "relu":
            raise ValueError(
                f"rectifiers must be QuantizedReLU for method 'qcfs', layer {node} is ReLU; train with "
                "cs.QuantizedReLU, or take method='squares'"
            )


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
    conversion = Conversion(spiking.eval(), numbers.eval(), shape, steps=steps, method=method, input=input)
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
        shape: the shape of a recording.
        steps: the number of steps T.
        method: the method.
        input: "current" or "rate".
        layers: a row for each layer of neurons, `ConvertedLayer`.
        accuracy: the result of `test` on recordings that did not set the units, if there were some; None without
            labels.
    """

    net: Sequential
    numbers: Sequential
    shape: tuple[int, ...]
    steps: int
    method: str
    input: str
    layers: tuple[ConvertedLayer, ...] = field(default=())
    accuracy: Accuracy | None = None

    @property
    def worst(self) -> ConvertedLayer | None:
        """The layer with the largest error; None without neurons."""
        return max(self.layers, key=lambda row: row.error, default=None)

    @check.operation
    def encode(self, x: Array) -> Array:
        """Return still recordings as the spiking network takes them, (T, N, ...): constant, or random spikes.

        Args:
            x: one step (N, ...), or a batch (T, N, ...) that is the same at every step.

        Raises:
            ValueError: x has another shape, changes in time, or is not in [0, 1] and becomes spikes.
        """
        return encode(one_step(x, self.shape), self.steps, self.input)

    @check.operation
    def test(self, data: Any) -> Accuracy:
        """Return the accuracy after each step, and of the network of numbers, on other data.

        Args:
            data: see `convert`; with labels.

        Raises:
            ValueError: data has no labels or no recording, or a label is no class of the network.
            TypeError: labels are not integers.
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
            numbers = numbers.reshape(len(x), -1)
            classes = class_numbers("labels", labels, numbers.shape[1])
            decisions = output.reshape(self.steps, len(x), -1).cumsum(axis=0).argmax(axis=2)
            right += (decisions == classes).sum(axis=1)
            right_numbers += int((numbers.argmax(axis=1) == classes).sum())
            total += len(x)
        if not total:
            raise ValueError("data must have a recording, got none")
        return Accuracy(right / total, right_numbers / total, total)

    def batches(self, data: Any) -> Encoded:
        """Return batches of data as the spiking network takes them, for a `Trainer` that goes on training.

        Args:
            data: see `convert`; a `Loader` with ``shuffle=True`` shuffles each epoch.
        """
        return Encoded(self.encode, data)

    @check.operation
    def compare(self, x: Array) -> list[ConvertedLayer]:
        """Return how the spikes of each layer stand for its numbers, for recordings x as in `encode`."""
        rows: list[ConvertedLayer] = []
        for name, unit, target, spikes in self._counts(x):
            difference = np.square(target - unit * spikes / self._share, dtype=np.float64).mean()
            size = np.square(target, dtype=np.float64).mean() or 1.0
            rate = float(spikes.mean()) / self.steps
            rows.append(ConvertedLayer(name, float(np.sqrt(difference / size)), rate, float(np.mean(unit))))
        return rows

    @check.operation
    def mismatches(self, x: Array) -> tuple[int, int]:
        """Return how many spike counts differ from the numbers for which they stand, and how many there are.

        Args:
            x: recordings as in `encode`.
        """
        different = 0
        total = 0
        for _, unit, target, spikes in self._counts(x):
            different += int((np.rint(self._share * target / unit) != spikes).sum())
            total += spikes.size
        return different, total

    @property
    def _share(self) -> float:
        """The number of spikes that stand for one unit."""
        return 1.0 if self.method == "qcfs" else float(self.steps)

    def _counts(self, x: Array) -> list[tuple[str, Array, Array, Array]]:
        """Return name, units, numbers (N, ...) and spike counts (N, ...) of each layer of neurons."""
        x = one_step(x, self.shape)
        neurons = [node for node in self.net.graph.nodes if is_neuron(node.stage)]
        # Both networks have their rectifiers and neurons in the same order.
        rectifiers = [node.number for node in self.numbers.graph.nodes if form_of(node.stage) in RECTIFIERS]
        counts: dict[int, list[Array]] = {node.number: [] for node in neurons}
        samples = max(1, _RUN // self.steps)
        with no_grad():
            targets = targets_of(self.numbers, x.astype(_dtype_of(self.numbers)))
            for start in range(0, len(x), samples):
                for visit in Walk(self.net, Tensor(to_device(self.encode(x[start : start + samples])))):
                    if visit.number in counts:
                        counts[visit.number].append(to_numpy(visit.output.data).sum(axis=0, dtype=np.int64))
        return [
            (name_of(node), node.stage.unit, targets[rectifier], np.concatenate(counts[node.number]))
            for node, rectifier in zip(neurons, rectifiers, strict=True)
        ]

    def __repr__(self) -> str:
        what = "numbers" if self.input == "current" else "spikes"
        layers = counted(len(self.layers), "layer")
        lines = [f"{self.method}: {layers} of neurons, {counted(self.steps, 'step')} of {what}"]
        if self.accuracy is not None:
            recordings = counted(self.accuracy.recordings, "recording")
            lines.append(f"accuracy on {recordings}: network of numbers {self.accuracy.numbers:.2%}, spiking network")
            for step in shown_steps(self.steps):
                lines.append(f"  {self.accuracy.spiking[step - 1]:8.2%} after {counted(step, 'step')}")
        for row in self.layers:
            mark = "  (worst)" if row is self.worst and row.error and len(self.layers) > 1 else ""
            lines.append(f"  layer {row.layer}: error {row.error:.2%}, {row.rate:.3f} spikes a step{mark}")
        return "\n".join(lines)

    @check.operation
    def plot(self, axes: Sequence[Axes] | None = None) -> list[Any]:
        """Draw the accuracy over the number of steps, and the error of each layer; see `plot.conversion`."""
        return plot.conversion(self, axes)


def shown_steps(steps: int) -> list[int]:
    """Return the powers of two up to a number of steps, and the number itself."""
    powers = [1 << exponent for exponent in range(steps.bit_length()) if 1 << exponent < steps]
    return [*powers, steps]


def counted(number: int, noun: str) -> str:
    """Return a number with a noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _dtype_of(net: Sequential) -> Any:
    return np.result_type(np.float32, *(parameter.dtype for parameter in net.parameters()))
