"""The hooks of a step that raise an error for a loss, gradient, weight or potential that is not finite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, to_numpy
from cuslayer.network.graph import as_input
from cuslayer.network.network import Sequential
from cuslayer.network.walk import Walk, copied
from cuslayer.optim.finite import NotFinite, first_not_finite
from cuslayer.optim.optimizers import Optimizer
from cuslayer.training.score import Tally

# Advice, by the value that is not finite.
_ADVICE = {
    "step": "lower the learning rate or clip gradients",
    "loss": "check the targets and the scale of the loss, or lower the learning rate",
    "layer": "check the scale of inputs, weights and the neurons' constants, or lower the learning rate",
    "start": "set the weights anew or load others",
}


class NotFiniteError(ValueError):
    """A number of training or of a test is not finite, and no later result can be right.

    Attributes:
        epoch: the number of the epoch, from 1.
        batch: the number of the batch, from 1; 0 before the first.
    """

    def __init__(self, message: str, epoch: int, batch: int) -> None:
        super().__init__(message)
        self.epoch, self.batch = epoch, batch

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.epoch, self.batch)


@contextmanager
def naming_checkpoint(path: Path) -> Iterator[None]:
    """Let an error for a number that is not finite within the block say whether a checkpoint exists."""
    try:
        yield
    except NotFiniteError as problem:
        kept = f"the last good checkpoint, {path}, is kept" if path.exists() else "there was no checkpoint yet"
        problem.args = (f"{problem}; {kept}",)
        raise


class FiniteCheck:
    """Checks the numbers of an epoch: each method is a hook for the part of a step in its name.

    On a CPU it checks every batch: the loss before backward, the gradients before the weights change, the weights and
    the state of the optimizer afterwards. The surrogate of a potential that is not finite is NaN, and so are the
    gradients that depend on it. On a GPU the kernels note the first step with such a number, which `look` reads.
    """

    def __init__(self, train: bool, net: Sequential, optimizer: Optimizer, scale: float) -> None:
        self._train, self._net, self._optimizer, self._scale = train, net, optimizer, scale
        optimizer.restart_check()
        self.parameters(0)

    def parameters(self, batch: int) -> None:
        """Check all parameters, including frozen ones and ones without an optimizer."""
        found = {id(p): p for p in (*self._net.parameters(), *self._optimizer.parameters)}
        given = list(found.values())
        wrong = first_not_finite([p.data for p in given])
        if wrong is not None:
            what = f"{self._name(given[wrong])} is not finite ({_first(given[wrong].data)})"
            self._stop(batch, what, "step" if batch else "start")

    def first(self, x: TensorLike) -> None:
        """Check the first batch layer by layer if gradients, as with frozen layers, do not depend on all potentials."""
        frozen = any(not p.requires_grad for p in self._net.parameters())
        if frozen or any(getattr(node.stage, "weight_hook", None) for node in self._net.graph.nodes):
            found = self._layer(x)
            if found:
                self._stop(1, found, "layer")

    def loss(self, batch: int, x: TensorLike, outputs: list[Tensor], value: object) -> None:
        """Check the loss and the outputs of a batch, if they are on the CPU."""
        if any(kernels.of(output.stored) is not kernels.cpu for output in outputs):
            return
        number = value.data.item() if isinstance(value, Tensor) and value.size == 1 else value
        number = number * self._scale if isinstance(number, (int, float)) else 0.0
        wrong = not math.isfinite(number)
        numbers = [output.data for output in outputs if output.dtype != bool]
        if not wrong and all(math.isfinite(float(y.sum(dtype=np.float64))) for y in numbers):
            return
        found = self._layer(x)
        if found or not wrong:
            self._stop(batch, found or "the output is not finite", "layer")
        self._stop(batch, f"the loss is not finite ({number:g})", "loss")

    def gradients(self, batch: int, x: TensorLike | None) -> None:
        """Check the gradients of a batch before the step."""
        found = self._optimizer.check_gradients()
        if found is not None:
            layer = self._layer(x)
            self._stop(batch, layer or self._described(found), "layer" if layer else "step")

    def updates(self, batch: int) -> None:
        """Check the parameters and the state of the optimizer after the step of a batch, if they are on the CPU."""
        if not self._on_gpu():
            found = self._optimizer.not_finite()
            if found is not None:
                self._stop(batch, self._described(found), "step")

    def look(self, tally: Tally) -> None:
        """Check the notes of a GPU; this waits for the device. The CPU has none."""
        noted = tally.not_finite()
        found = self._optimizer.not_finite() if self._train and self._on_gpu() else None
        # A batch is a step: the difference of steps is the number of batches before the last.
        late = math.inf if found is None else tally.batches - (self._optimizer.steps - found.step)
        batch = min([late, *noted.values()])
        if batch == math.inf:
            return
        for what, advice in (("output", "layer"), ("loss", "loss")):
            if noted.get(what) == batch:
                self._stop(int(batch), f"the {what} is not finite", advice)
        if found is not None:
            self._stop(int(batch), self._described(found), "step")

    def _on_gpu(self) -> bool:
        return any(kernels.of(p.data) is not kernels.cpu for p in self._optimizer.parameters)

    def _stop(self, batch: int, what: str, advice: str) -> None:
        epoch = self._optimizer.epoch + 1
        where = f"epoch {epoch}, batch {batch}" if batch else f"epoch {epoch}, before the first batch"
        raise NotFiniteError(f"{where}: {what}; {_ADVICE[advice]}", epoch, batch)

    def _described(self, found: NotFinite) -> str:
        p = self._optimizer.parameters[found.parameter]
        name = self._name(p)
        if found.what == "gradient":
            number = None if p.grad is None else _first(p.grad)
            return f"the gradient of {name} is not finite{f' ({number})' if number else ''}"
        number = _first(p.data)
        if number:
            return f"{name} is not finite ({number}) after the step"
        return f"the optimizer's state of {name} is not finite after the step"

    def _name(self, p: Tensor) -> str:
        """Return the position of a parameter's layer, its attribute there, and the layer."""
        for node in self._net.graph.nodes:
            own = node.stage.parameters() if hasattr(node.stage, "parameters") else []
            if any(p is each for each in own):
                names = [name.lstrip("_") for name, value in vars(node.stage).items() if value is p]
                return f"{node}.{names[0] if names else 'parameter'} ({node.described})"
        number = next(i for i, each in enumerate(self._optimizer.parameters) if each is p)
        return f"parameter {number} of the optimizer"

    def _layer(self, x: Any) -> str | None:
        """Run a copy of the network, if possible; return its first potential or output that is not finite."""
        copy = copied(self._net)
        with suppress(MemoryError, TypeError), no_grad(), np.errstate(all="ignore"), copy as (net,):
            for at in Walk(net, as_input(x)):
                y = at.output
                for what, array in (("potential", at.potentials), ("output", None if y.dtype == bool else y.data)):
                    number = "" if array is None else _first(array)
                    if number:
                        return f"the {what} of layer {at.node} ({at.node.described}) is not finite ({number})"
        return None


def _first(x: Array) -> str:
    """Return the first number that is not finite as text; empty if all are."""
    numbers = to_numpy(x)
    wrong = ~np.isfinite(numbers)
    return f"{numbers[wrong].flat[0]:g}" if wrong.any() else ""
