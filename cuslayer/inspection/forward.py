"""Run the stages of a network one by one with their potentials; the default loss of inspection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.loss import SpikeCountLoss, SpikeTimeLoss
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor, as_tensor

# Called after each stage with its position, its output and its potentials (T, N, ...), None if it saves none; returns
# the input of the next stage.
After: TypeAlias = "Callable[[int, Tensor, Array | None], Tensor]"


def run_stages(
    stages: Sequence[Any], x: Tensor, after: After, *, run: Callable[[int, Tensor], Tensor] | None = None
) -> Tensor:
    """Run stages one after the other, without fusion, and return the output of the last.

    By default a stage is called; `run`, if given, gets its position and its input instead.
    """
    for at, stage in enumerate(stages):
        found: list[Potentials] = []
        with on_potential(found.append):
            y = run(at, x) if run else as_tensor(stage(x))
        potential = found[0].values if found and is_neuron(stage) else None
        x = after(at, y, potential)
    return x


def check_loss(op: str, loss: Any) -> None:
    """Raise TypeError unless loss is a function or None, for the default."""
    if loss is not None and not callable(loss):
        raise TypeError(f"{op}: loss must be a function of spikes and target, got {type(loss).__name__}")


def default_loss(net: Any, out: Tensor, target: Any) -> Any:
    """Return `SpikeTimeLoss` for a target of the output's shape, else `SpikeCountLoss`, with the last neurons."""
    last = [stage for stage in net.layers if is_neuron(stage)][-1]
    given = target.data if isinstance(target, Tensor) else np.asarray(to_numpy(target))
    return SpikeTimeLoss(last) if given.shape == out.shape else SpikeCountLoss(last)
