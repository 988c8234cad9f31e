"""The default loss of inspection."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import to_numpy
from cuslayer.loss import CrossEntropyLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.network.container import graph_of
from cuslayer.network.walk import ends_in_read_out
from cuslayer.network.walk import run_nodes as run_nodes
from cuslayer.neurons.base import is_neuron
from cuslayer.tape import Tensor

# The desired counts of the default loss, of the labelled class and of the others; at most a spike a step.
_COUNTS = (60, 10)


def check_loss(op: str, loss: Any) -> None:
    """Raise TypeError unless loss is a function or None, for the default."""
    if loss is not None and not callable(loss):
        raise TypeError(f"{op}: loss must be a function of spikes and target, got {type(loss).__name__}")


def default_loss(net: Any, out: Tensor, target: Any) -> Any:
    """Return `SpikeTimeLoss` for a target of the output's shape, else `SpikeCountLoss`, with the last neurons.

    Of fewer than 60 steps, the labelled class should fire in each.

    Of a read-out without spikes, it is `CrossEntropyLoss`.
    """
    if ends_in_read_out(net):
        return CrossEntropyLoss()
    last = [node.stage for node in graph_of(net).nodes if is_neuron(node.stage)][-1]
    given = target.data if isinstance(target, Tensor) else np.asarray(to_numpy(target))
    if given.shape == out.shape:
        return SpikeTimeLoss(last)
    true, false = (min(count, len(out)) for count in _COUNTS)
    return SpikeCountLoss(last, true, false)
