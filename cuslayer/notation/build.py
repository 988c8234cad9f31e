"""From words to layers: each with the shape that it makes of its input's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from cuslayer import check, functions
from cuslayer.layers import Average, Conv, Delay, Dense, Layer, Pool, Shift
from cuslayer.loihi import Loihi
from cuslayer.notation.neurons import Neuron
from cuslayer.notation.words import GRAMMAR, Word

# SLAYER-PyTorch starts the weights before Loihi's neurons at this scale, and rounds them to 8 bits with a sign.
_LOIHI_SCALE = 100.0
_LOIHI_DELAY = 62  # steps, the longest of the chip
_TO_CHIP = partial(functions.quantize, step=2.0, limits=(-256.0, 254.0))

Shape: TypeAlias = "tuple[int, ...]"


def build(words: Sequence[Word], neuron: Neuron) -> tuple[Shape, list[Any]]:
    """Return the shape of the input, (H, W, C) or (N,), and the layers and neurons of a network.

    Loihi's neurons are followed by a shift of one step, which a spike takes from one layer of the chip to the next, and
    the weights before them are rounded to the chip's values.

    Args:
        words: the input first, HxWxC or N.
        neuron: the neurons of every layer that has none of its own; its threshold sets the gain of the pooling.

    Raises:
        ValueError: the first word is no input or another one is, a size is 0, a window does not fit its frame, a
            number of groups does not divide the channels, or neurons differ in dt.
    """
    notation = "-".join(word.text for word in words)
    if not words or words[0].kind not in ("input", "dense"):
        raise ValueError(f"Network: {notation!r} must begin with its input; known words: {GRAMMAR}")
    first, *others = words
    begin = shape = tuple(check.integer("Network", f"input {first.text}", n, least=1) for n in first.numbers)
    stages: list[Any] = []
    for word in others:
        where = f"Network: {word.text!r} in {notation!r}"
        if word.kind == "input":
            raise ValueError(f"{where} is an input, which must be the first word")
        if word.kind in ("conv", "pool") and len(shape) != 3:
            raise ValueError(f"{where} needs frames (H, W, C), its input is {shape}")
        if word.kind == "average" and shape[-1] % word.numbers[0]:
            raise ValueError(f"{where} needs a multiple of {word.numbers[0]} channels, its input is {shape}")
        own = neuron if word.neuron is None else word.neuron
        if own.dt != neuron.dt:
            raise ValueError(f"{where} has neurons with dt {own.dt:g}, the network's {neuron.dt:g}")
        layer, shape = _MAKE[word.kind](word, shape, own)
        stages.append(layer)
        if word.kind != "average":
            stages.append(own)
            if isinstance(own, Loihi):
                stages.append(Shift(own.dt, dt=own.dt))
        if word.delay:
            usual = _LOIHI_DELAY * own.dt if isinstance(own, Loihi) else None
            stages.append(Delay(shape[-1], dt=own.dt, max_delay=usual if word.max_delay is None else word.max_delay))
    return begin, stages


def _dense(word: Word, shape: Shape, neuron: Neuron) -> tuple[Layer, Shape]:
    (features,) = word.numbers
    inputs = shape if len(shape) > 1 else shape[0]
    return Dense(inputs, features, **_weight(word, neuron, usual_scale=10.0)), (features,)


def _conv(word: Word, shape: Shape, neuron: Neuron) -> tuple[Layer, Shape]:
    maps, kernel = word.numbers
    usual = 0 if word.text.endswith("v") else kernel // 2
    conv = Conv(
        shape[2],
        maps,
        kernel,
        stride=1 if word.stride is None else word.stride,
        padding=usual if word.padding is None else word.padding,
        dilation=1 if word.dilation is None else word.dilation,
        groups=1 if word.groups is None else word.groups,
        **_weight(word, neuron, usual_scale=100.0),
    )
    return conv, (*_outputs(conv, shape, ceil=False), maps)


def _pool(word: Word, shape: Shape, neuron: Neuron) -> tuple[Layer, Shape]:
    pool = Pool(
        word.numbers[0],
        stride=word.stride,
        padding=0 if word.padding is None else word.padding,
        dilation=1 if word.dilation is None else word.dilation,
        gain=neuron.pool_gain if isinstance(neuron, Loihi) else 1.1 * neuron.theta,
    )
    return pool, (*_outputs(pool, shape, ceil=True), shape[2])


def _average(word: Word, shape: Shape, neuron: Neuron) -> tuple[Layer, Shape]:
    (groups,) = word.numbers
    return Average(groups), (groups,)


def _weight(word: Word, neuron: Neuron, *, usual_scale: float) -> dict[str, Any]:
    """Return how the weight starts, and for Loihi's neurons the rounding to the values that the chip has."""
    chip = isinstance(neuron, Loihi)
    usual = _LOIHI_SCALE if chip else usual_scale
    scale = usual if word.weight_scale is None else word.weight_scale
    return {"weight_scale": scale, "weight_hook": _TO_CHIP if chip else None}


def _outputs(layer: Conv | Pool, shape: Shape, *, ceil: bool) -> tuple[int, int]:
    return layer.window.outputs("Network", (shape[0], shape[1]), ceil=ceil)


_MAKE: dict[str, Callable[[Word, Shape, Neuron], tuple[Layer, Shape]]] = {
    "dense": _dense,
    "conv": _conv,
    "pool": _pool,
    "average": _average,
}
