"""The gradient flow: the size of each layer's gradient over the epochs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.check import one_line
from cuslayer.network.container import graph_of
from cuslayer.network.network import Sequential
from cuslayer.plot import gradient_flow
from cuslayer.tape import Tensor
from cuslayer.training.score import Wrong, check_fields, devices_of_sums, sums_on_devices
from cuslayer.training.stats import read_table, write_table


@check.named
class GradientFlow:
    """Records the size of each layer's gradient per epoch: the root mean square of its elements over the steps.

    A layer whose gradient is orders of magnitude below the others' hardly learns: the gradient vanishes in backward.
    Each step costs a sum of squares per parameter, on a GPU one launch for eight parameters; nothing is copied from a
    GPU before the epoch ends. `Trainer` has one in `gradients`; in a custom loop::

        flow = GradientFlow(net)
        ...
        value.backward()
        flow.add()
        ...
        flow.end_epoch()
        flow.plot().figure.savefig("gradients.png")

    Args:
        net: the network; its parameters are named by position and layer, as in "2 Dense", or "2.0.1 Dense" for a layer
            in a nested network or a branch.

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
        """Begin an epoch: drop what was added since the last."""
        self._steps = 0
        # By the kernels of a device, the sums of squares of the parameters that had a gradient there.
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
        """Count a step whose gradients a captured graph adds."""
        self._steps += 1

    def state(self) -> dict[str, Any]:
        """Return the sums of the epoch so far as numbers, lists and dictionaries; on a GPU this reads them."""
        return {"steps": self._steps, "squares": devices_of_sums(self._squares)}

    @check.operation
    def load_state(self, state: Any) -> None:
        """Load a result of `state`, to go on with the next step.

        Raises:
            ValueError: it is none of this network; nothing changes then.
        """
        check_fields("gradient flow", state, ("steps", "squares"))
        steps = state["steps"]
        if type(steps) is not int or steps < 0:
            raise Wrong(f"the gradient flow's steps must be an integer from 0, got {one_line(steps)}")
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

    def plot(self, ax: Any = None) -> Any:
        """Draw the sizes over the epochs, one line per parameter, and return the axes; see `plot.gradient_flow`.

        Args:
            ax: the matplotlib axes; by default those of a new figure.

        Raises:
            TypeError: ax is no Axes.
        """
        return gradient_flow(self, ax)

    def save(self, path: str | Path, *, durable: bool = False) -> None:
        """Write the epochs as CSV: the columns ``epoch`` and the parameters' names, one row per epoch.

        With `durable`, wait until the file is on the disk.
        """
        numbered = enumerate(self.epochs, start=1)
        rows = ([epoch, *(sizes.get(name) for name in self._parameters)] for epoch, sizes in numbered)
        write_table(path, ["epoch", *self._parameters], rows, durable=durable)

    def load(self, path: str | Path, epochs: int | None = None) -> None:
        """Replace `epochs` by those that `save` wrote.

        Args:
            path: the file.
            epochs: how many to read, by default all; those missing from the file are empty.

        Raises:
            ValueError: the file is missing, or is not a log of this network.
        """
        found = []
        rows = read_table(path, ["epoch", *self._parameters])
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
    for node in graph_of(net).nodes:
        own = node.stage.parameters() if hasattr(node.stage, "parameters") else []
        for number, p in enumerate(own):
            if not any(p is other for other in found.values()):
                found[f"{node} {type(node.stage).__name__}" + (f".{number}" if len(own) > 1 else "")] = p
    return found
