"""The sums of an epoch, batch by batch, also for checkpoints: mean loss and accuracy, and sizes of gradients."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.files import read_table, write_table
from cuslayer._base.labels import is_one_hot, unread
from cuslayer._base.sequences import ended
from cuslayer._tape import Tensor, as_tensor
from cuslayer.backend import Array, namespace, to_device, to_numpy
from cuslayer.loss.base import check_output
from cuslayer.network.network import Sequential
from cuslayer.plot import gradient_flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Wrong(ValueError):
    """A checkpoint has wrong content."""


_NAMES = {kernels.cpu: "cpu", kernels.gpu: "cuda"}


def devices_of_sums(sums: dict[Any, Array]) -> dict[str, list[float]]:
    """Return arrays by their device's kernels as lists by the device's name; this reads arrays on a GPU."""
    return {_NAMES[k]: to_numpy(x).tolist() for k, x in sums.items()}


def check_fields(what: str, state: object, names: tuple[str, ...]) -> None:
    """Raise Wrong unless a state is a dictionary with the given names."""
    if not isinstance(state, dict) or set(state) != set(names):
        raise Wrong(f"the {what} must have {', '.join(names)}, got {check.one_line(state)}")


def is_number(x: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return type(x) in (int, float) and math.isfinite(x)


def sums_on_devices(what: str, state: object, count: int) -> dict[object, Array]:
    """Return sums as arrays by their device's kernels, from lists by the device's name."""
    found = dict[Any, Array]()
    for name, sums in state.items() if isinstance(state, dict) else [("", state)]:
        given = isinstance(sums, list) and len(sums) == count and all(map(is_number, sums))
        if name not in _NAMES.values() or not given:
            raise Wrong(f"the {what} must have {count} sums of a device, got {check.one_line(state)}")
        sent = np.array(sums, np.float64) if name == "cpu" else to_device(np.array(sums, np.float64))
        found[kernels.of(sent)] = sent
    return found


# The totals of `kernels.loss.score`.
_TOTALS = 7
# The numbers of a micro-batch: loss, right, samples, spiked, loss not finite, output not finite, targets are classes.
ROW = 7


class Score(NamedTuple):
    """Mean loss per sample, and accuracy: the fraction of samples, or of labelled steps, classified correctly.

    The accuracy is None if the targets are spike trains, with several outputs, or with a score of one's own:
    ``Trainer(..., score=function)``. `score` is then the mean of this score per sample, otherwise None.
    """

    loss: float
    accuracy: float | None
    score: float | None = None


class Tally:
    """Accumulates the score of an epoch.

    On a GPU the sums stay there: `add` reads nothing; the other attributes and `score` do.

    Attributes:
        batches: the number of batches so far.
        classes: whether all targets were classes, not spike trains, numbers or several labels.
        own: whether the score is one of one's own.
        start: the time of creation, by `time.perf_counter`, minus the duration of batches in a loaded state.
        last: the time of the last batch.

    >>> import numpy as np
    >>> tally = Tally()
    >>> tally.add(np.array([[[True, False], [True, False]]]), [0, 1], 3.0)
    >>> tally.score()
    Score(loss=1.5, accuracy=0.5, score=None)
    """

    def __init__(self, *, own: bool = False) -> None:
        # For each device that had a batch, the totals of `kernels.loss.score`. The second is the sum of right samples,
        # or of a score of one's own.
        self._totals: dict[Any, Array] = {}
        self.batches = 0
        self.classes = True
        self.own = own
        self.start = self.last = time.perf_counter()

    @check.operation("Tally")
    def add(self, spikes: TensorLike, target: object, loss: Any, *, scale: float = 1.0) -> None:
        """Add a batch.

        Args:
            spikes: the output (T, N, classes), whose decision is the class with the largest sum over time. Other losses
                decide otherwise: ``loss.scored(output, target)`` is what to add.
            target: classes (N,), one-hot (N, classes), target spike trains (T, N, ...), or numbers (N, outputs).
            loss: the loss of the whole batch, a scalar tensor or a number.
            scale: the factor of the loss.

        Raises:
            ValueError: the target has none of these shapes.
        """
        given = as_tensor(spikes)
        output = given.stored if given.lengths is None else ended(given, lengths=given.lengths).stored
        k = kernels.of(output)
        labels = _labels(target, output.shape, on_host=k is kernels.cpu)
        self.classes = self.classes and labels is not None
        if labels is not None:
            check_output(output)
        if isinstance(loss, Tensor):
            # A tensor with several numbers has no item.
            loss = loss.item() if k is kernels.cpu or loss.size != 1 else loss.data
        else:
            loss = float(loss)
        if k not in self._totals:
            self._totals[k] = kernels.module_of(output).zeros(_TOTALS, np.float64)
        k.loss.score(self._totals[k], output, labels, loss, scale)
        self.count()

    def add_outputs(
        self, outputs: list[Tensor], samples: int, mean: Array | float, loss: Tensor | float, *, scale: float = 1.0
    ) -> None:
        """Add a batch of any outputs, whose samples have a mean score of one's own, 0 without one."""
        xp = namespace(outputs[0].data)
        totals = self._totals.setdefault(kernels.of(outputs[0].data), xp.zeros(_TOTALS, np.float64))
        mean, value = (x.data if isinstance(x, Tensor) else x for x in (mean, loss))
        value = xp.asarray(value, np.float64) * scale
        if mean is None or isinstance(mean, str) or np.size(mean) != 1:
            got = type(mean).__name__ if mean is None or isinstance(mean, str) else f"shape {np.shape(mean)}"
            raise TypeError(f"score must return one number, the mean of a batch, got {got}")
        totals[0] += value.reshape(())
        totals[1] += xp.asarray(mean, np.float64).reshape(()) * samples
        totals[2] += samples
        totals[3] += xp.stack([y.data.any() for y in outputs]).any()
        totals[4] += 1
        finite = xp.stack([xp.isfinite(y.data.sum(dtype=np.float64)) for y in outputs]).all()
        for place, wrong in ((5, ~xp.isfinite(totals[0])), (6, ~finite)):
            totals[place] += (totals[place] == 0) * wrong * totals[4]
        self.classes = False
        self.count()

    def row(self) -> list[float]:
        """Return the score of a micro-batch for other processes: `ROW` numbers."""
        found = self._read()
        return [*found[:4], *map(float, (found[5] > 0, found[6] > 0, self.classes))]

    def add_rows(self, rows: Array) -> None:
        """Add a batch from the results of `row` for its micro-batches (micro-batches, ROW), in order."""
        totals = self._totals.setdefault(kernels.cpu, np.zeros(_TOTALS, np.float64))
        totals[4] += 1
        for row in rows:
            totals[:3] += row[:3]
        totals[3] += rows[:, 3].any()
        for place, wrong in ((5, rows[:, 4].any() or not np.isfinite(totals[0])), (6, rows[:, 5].any())):
            if wrong and not totals[place]:
                totals[place] = totals[4]
        self.classes = self.classes and bool(rows[:, 6].all())
        self.count()

    def count(self) -> None:
        """Count a batch, also from a captured graph."""
        self.batches += 1
        self.last = time.perf_counter()

    def state(self) -> dict[str, object]:
        """Return the score so far as numbers, lists and dictionaries; on a GPU this reads the sums."""
        totals = devices_of_sums(self._totals)
        return {"batches": self.batches, "classes": self.classes, "seconds": self.last - self.start, "totals": totals}

    @check.operation
    def load_state(self, state: Any) -> None:
        """Load a result of `state`, to continue with the next batch.

        Raises:
            ValueError: it is not such a result. Nothing then changes.
        """
        check_fields("score", state, ("batches", "classes", "seconds", "totals"))
        batches, classes, seconds = state["batches"], state["classes"], state["seconds"]
        for name, rule, fits in (
            ("batches", "be an integer from 0", type(batches) is int and batches >= 0),
            ("classes", "be a bool", type(classes) is bool),
            ("seconds", "not be negative", is_number(seconds) and seconds >= 0),
        ):
            if not fits:
                raise Wrong(f"the score's {name} must {rule}, got {check.one_line(state[name])}")
        totals = sums_on_devices("score", state["totals"], _TOTALS)
        self.batches, self.classes, self._totals = batches, classes, totals
        self.last = time.perf_counter()
        self.start = self.last - seconds

    def _read(self) -> list[float]:
        """Return the totals of all devices."""
        found: list[float] = sum(map(to_numpy, self._totals.values()), np.zeros(_TOTALS)).tolist()
        return found

    @property
    def loss(self) -> float:
        """The sum of the losses."""
        return self._read()[0]

    @property
    def right(self) -> int:
        """The number of correctly classified samples."""
        return round(self._read()[1])

    @property
    def samples(self) -> int:
        """The number of samples so far."""
        return round(self._read()[2])

    @property
    def spiked(self) -> bool:
        """Whether the output had a spike in any batch."""
        return self._read()[3] > 0

    def not_finite(self) -> dict[str, int]:
        """Return the numbers, from 1, of the first batches whose "loss", or its sum, or "output" is not finite."""
        found: dict[str, int] = {}
        for totals in map(to_numpy, self._totals.values()):
            found |= {name: int(totals[place]) for name, place in (("loss", 5), ("output", 6)) if totals[place]}
            if not found and not np.isfinite(totals[0]):
                found["loss"] = int(totals[4])
        return found

    def score(self) -> Score:
        """Return the score so far; zeros before the first batch."""
        loss, right, samples, *_ = self._read()
        mean = right / max(samples, 1)
        return Score(loss / max(samples, 1), mean if self.classes else None, mean if self.own else None)


def _labels(target: object, shape: tuple[int, ...], *, on_host: bool) -> Array | None:
    """Return the classes (N,) of a target for an output of a shape, unread on a GPU; None if there are none."""
    given = unread(target)
    given = to_numpy(given) if on_host else given
    if given.shape == shape:
        return None
    if given.shape == shape[1:] and given.ndim == 2:
        if namespace(given) is np and not is_one_hot(given):
            return None
        given = given.argmax(axis=1)
    if given.shape != shape[1:2]:
        hint = "; loss.scored(output, target) are what to add" if given.shape == shape[:2] else ""
        raise ValueError(f"target has shape {given.shape}, spikes have shape {shape}{hint}")
    return given if on_host else to_device(given).astype(np.int64, copy=False)


@check.named
class GradientFlow:
    """Records the size of each layer's gradient per epoch: the root mean square of its elements over the steps.

    A layer with a gradient orders of magnitude below the others' hardly learns: the gradient vanishes in backward. Each
    step costs a sum of squares per parameter, on a GPU one launch for up to 48 parameters. Nothing is copied from a GPU
    before the epoch ends. `Trainer` has one in `gradients`; in a custom loop::

        flow = GradientFlow(net)
        ...
        value.backward()
        flow.add()
        ...
        flow.end_epoch()
        flow.plot().figure.savefig("gradients.png")

    Args:
        net: the network; names of parameters have position and layer, as in "2 Dense", or "2.0.1 Dense" for a layer in
            a nested network or a branch.

    Attributes:
        epochs: the sizes by name, one dictionary for each completed epoch.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> net = Sequential(Dense(2, 2))
    >>> flow = GradientFlow(net)
    >>> net(np.ones((1, 1, 2))).sum().backward()
    >>> flow.add(); flow.end_epoch()
    {'0 Dense': 1.0}
    """

    def __init__(self, net: Sequential) -> None:
        self._parameters = _by_layer(net)
        self.epochs: list[dict[str, float]] = []
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start an epoch: drop steps since the last."""
        self._steps = 0
        # By a device's kernels, the sums of squares of the parameters with a gradient there.
        self._squares: dict[Any, Array] = {}

    def add(self) -> None:
        """Add the gradients of a step, after backward; a parameter without a gradient counts as zero."""
        self._steps += 1
        grads = [p.grad for p in self._parameters.values()]
        for g in grads:
            if g is not None and kernels.of(g) not in self._squares:
                self._squares[kernels.of(g)] = namespace(g).zeros(len(grads), np.float64)
        for k, squares in self._squares.items():
            k.optim.add_squares(squares, [None if g is None or kernels.of(g) is not k else g for g in grads])

    def count(self) -> None:
        """Count a step for which a captured graph adds the gradients."""
        self._steps += 1

    def total(self) -> list[Array]:
        """Return the sum of squares of all gradients in the epoch so far, a scalar per device, without reading it."""
        return [squares.sum() for squares in self._squares.values()]

    def state(self) -> dict[str, object]:
        """Return the sums of the epoch so far as numbers, lists and dictionaries; on a GPU this reads them."""
        return {"steps": self._steps, "squares": devices_of_sums(self._squares)}

    @check.operation
    def load_state(self, state: Any) -> None:
        """Load a result of `state`, to continue with the next step.

        Raises:
            ValueError: it is not such a result for this network. Nothing then changes.
        """
        check_fields("gradient flow", state, ("steps", "squares"))
        steps = state["steps"]
        if type(steps) is not int or steps < 0:
            raise Wrong(f"the gradient flow's steps must be an integer from 0, got {check.one_line(steps)}")
        squares = sums_on_devices("gradient flow", state["squares"], len(self._parameters))
        self._steps, self._squares = steps, squares

    def end_epoch(self) -> dict[str, float]:
        """End the epoch: append its sizes to `epochs`, and return them.

        Raises:
            ValueError: no step was added.
        """
        if self._steps == 0:
            raise ValueError("an epoch must have a step, got none")
        squares: list[float] = sum(map(to_numpy, self._squares.values()), np.zeros(len(self._parameters))).tolist()
        sizes = {
            name: math.sqrt(square / (self._steps * max(p.data.size, 1)))
            for (name, p), square in zip(self._parameters.items(), squares, strict=True)
        }
        self.epochs.append(sizes)
        self.start_epoch()
        return sizes

    def plot(self, ax: Axes | None = None) -> Any:
        """Draw the sizes over the epochs, one line per parameter, and return the axes; see `plot.gradient_flow`.

        Args:
            ax: the matplotlib axes; by default the axes of a new figure.

        Raises:
            TypeError: ax is not Axes.
        """
        return gradient_flow(self, ax)

    def save(self, path: str | Path, *, durable: bool = False) -> None:
        """Write the epochs as CSV: the columns ``epoch`` and the parameters' names, one row per epoch.

        With `durable`, wait until the file is on disk.
        """
        numbered = enumerate(self.epochs, start=1)
        rows = ([epoch, *(sizes.get(name) for name in self._parameters)] for epoch, sizes in numbered)
        write_table(path, ["epoch", *self._parameters], rows, durable=durable)

    def load(self, path: str | Path, epochs: int | None = None) -> None:
        """Replace `epochs` by the content of a file of `save`.

        Args:
            path: the file.
            epochs: the number to read, by default all; missing ones are empty.

        Raises:
            ValueError: the file is missing, or is not a log of this network.
        """
        found = []
        _, rows = read_table(path, ["epoch", *self._parameters])
        for epoch, row in enumerate(rows, start=1):
            try:
                number, *values = row
                sizes = {n: float(v) for n, v in zip(self._parameters, values, strict=True) if v}
                if int(number) != epoch:
                    raise ValueError
            except ValueError:
                raise ValueError(f"{path} line {epoch + 1} is no row of epoch {epoch}") from None
            found.append(sizes)
        wanted = len(found) if epochs is None else epochs
        self.epochs = (found + [{} for _ in range(wanted)])[:wanted]


def _by_layer(net: Sequential) -> dict[str, Tensor]:
    """Return the parameters by position and layer, each once, with a number if a layer has several."""
    found: dict[str, Tensor] = {}
    for node in net.graph.nodes:
        own = node.stage.parameters() if hasattr(node.stage, "parameters") else []
        for number, p in enumerate(own):
            if not any(p is other for other in found.values()):
                found[f"{node} {type(node.stage).__name__}" + (f".{number}" if len(own) > 1 else "")] = p
    return found
