"""The recording with which a network leaves: given, or drawn for the shape of its input."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, to_numpy
from cuslayer.layers.base import Shape, form_of
from cuslayer.network.graph import finite_input

_STEPS = 100
# The share of inputs that fire in a drawn recording.
_ACTIVITY = 0.1


def recording_of(net: Any, given: Any, input_shape: Any = None) -> Array:
    """Return a recording (T, N, ...) that fits a network; None for drawn spikes of the shape of its input."""
    if given is None:
        shape = _input_shape(net, input_shape)
        if shape is None:
            raise ValueError("recording or input_shape is needed: the network does not have the shape of its input")
        return np.random.default_rng(0).random((_STEPS, 1, *shape)) < _ACTIVITY
    x = finite_input("recording", given)
    check.time_first("recording", x)
    net.check_input(x)
    if not x.size:
        raise ValueError(f"recording must have a step and a sample, got shape {x.shape}")
    return to_numpy(x.data)


def _input_shape(net: Any, given: Any) -> Shape | None:
    """Return the shape of the input, given or of the network; None if it is unknown."""
    if given is not None:
        sizes = given if isinstance(given, (tuple, list)) else (given,)
        return tuple(check.integer("input_shape", size, least=1) for size in sizes)
    own = getattr(net, "input_shape", None)
    if own is None and net.layers and form_of(net.layers[0]) in ("dense", "read_out"):
        own = net.layers[0].in_features
    return None if own is None else tuple(own)
