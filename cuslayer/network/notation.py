"""The notation of networks: its grammar, a word with its options, and the layers that words stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeAlias, cast

from cuslayer import check
from cuslayer.layers import Affine, Average, Conv, Delay, Dense, Layer, Pool, Recurrent, Shift
from cuslayer.layers.weight_hooks import quantize
from cuslayer.neurons.base import Neuron, as_neuron

GRAMMAR = (
    "HxWxC the input, N a dense layer, NcK a convolution of N maps with a K x K kernel padded by half "
    "(NcKv: not padded), Ka a sum pooling over K x K, Navg the mean over each of N groups, "
    "Nr a dense layer whose neurons also get their own spikes, Nout a read-out of N leaky integrators without spikes"
)
_WORD = re.compile(
    r"(?P<conv>\d+c\d+[vz]?)|(?P<pool>\d+a)|(?P<average>\d+avg)|(?P<readout>\d+out)|(?P<recurrent>\d+r)|"
    r"(?P<dense>\d+)|(?P<input>\d+x\d+x\d+)"
)

# The scale of the weights among recurrent neurons, as a share of that of the weights before them: an error that goes
# round then neither grows nor fades much from step to step.
_OWN = 0.1

# The options that each kind of word takes.
TAKES: dict[str, tuple[str, ...]] = {
    "input": (),
    "dense": ("weight_scale", "bias", "delay", "max_delay", "neuron"),
    "recurrent": ("weight_scale", "bias", "delay", "max_delay", "neuron"),
    "conv": ("stride", "padding", "dilation", "groups", "weight_scale", "bias", "delay", "max_delay", "neuron"),
    "pool": ("stride", "padding", "dilation", "neuron"),
    "average": (),
    "readout": ("weight_scale", "bias", "tau"),
}
# The kinds of words whose layer has no neurons after it.
WITHOUT_NEURONS = ("average", "readout")


@dataclass(frozen=True)
class Word:
    """A word of a network's notation with its options; None is the default.

    Attributes:
        text: the word, as in ``16c5``.
        stride: rows and columns between windows; by default 1 for a convolution, the window for pooling.
        padding: zeros around the frame; by default half the kernel for a convolution, 0 for pooling.
        dilation: rows and columns between the taps of a window; by default 1.
        groups: the number of groups of channels of a convolution; by default 1.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(fan_in)``.
        bias: whether a trained constant is added to the weighted input at each step.
        tau: the time constant of a read-out, ms.
        delay: whether a trained `Delay` follows, one delay for each channel.
        max_delay: the longest delay, ms.
        neuron: the neurons of this layer; by default those of the network.

    Raises:
        ValueError: the word is unknown, or of a kind that does not take an option that is given.
        TypeError: the word is not a string.

    >>> Word("16c5", stride=2).kind
    'conv'
    >>> Word("512", stride=2)
    Traceback (most recent call last):
        ...
    ValueError: Word: '512' is a dense word, which takes no stride, got 2
    """

    text: str
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] | None = None
    dilation: int | tuple[int, int] | None = None
    groups: int | None = None
    weight_scale: float | None = None
    bias: bool = False
    tau: float | None = None
    delay: bool = False
    max_delay: float | None = None
    neuron: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"Word: text must be a string, got {type(self.text).__name__}")
        kind = kind_of(f"Word: {self.text!r}", self.text)
        for name, value in self.options().items():
            if name not in TAKES[kind]:
                raise ValueError(f"Word: {self.text!r} is {article(kind)} word, which takes no {name}, got {value!r}")
        if self.max_delay is not None and not self.delay:
            raise ValueError(f"Word: {self.text!r} has max_delay {self.max_delay:g} and no delay")

    @property
    def kind(self) -> str:
        """The kind: "input", "dense", "recurrent", "conv", "pool", "average" or "readout"."""
        return kind_of("Word", self.text)

    def options(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        found = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "text")
        return {name: value for name, value in found if value is not None and value is not False}

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers within the word."""
        return tuple(map(int, re.findall(r"\d+", self.text)))


def article(kind: str) -> str:
    """Return a kind of word with the article before it."""
    return f"an {kind}" if kind[0] in "ai" else f"a {kind}"


def kind_of(where: str, text: str, grammar: str = GRAMMAR) -> str:
    """Return the kind of a word: "input", "dense", "recurrent", "conv", "pool", "average" or "readout".

    Raises:
        ValueError: the word is unknown; the message begins with `where` and shows the grammar.

    >>> kind_of("Word: '10avg'", "10avg")
    'average'
    """
    match = _WORD.fullmatch(text)
    if match is None:
        raise ValueError(f"{where} is no layer; known words: {grammar}")
    return str(match.lastgroup)


def read_words(notation: str) -> tuple[Word, ...]:
    """Return the words of a notation, ``34x34x2-16c5-2a-10``.

    Raises:
        ValueError: a word is unknown.
    """
    texts = notation.replace(" ", "").split("-")
    for text in texts:
        kind_of(f"Network: {text!r} in {notation!r}", text)
    return tuple(Word(text) for text in texts)


def rows_first(word: Word) -> Word:
    """Return an input word WxHxC, columns first as SLAYER has it, as HxWxC; other words as they are.

    >>> rows_first(Word("240x180x2")).text
    '180x240x2'
    """
    if word.kind != "input":
        return word
    columns, rows, channels = word.numbers
    return Word(f"{rows}x{columns}x{channels}")


Shape: TypeAlias = "tuple[int, ...]"


def build(words: Sequence[Word], neuron: Neuron) -> tuple[Shape, list[Any]]:
    """Return the shape of the input, (H, W, C) or (N,), and the layers and neurons of a network.

    Neurons with an axon delay are followed by a `Shift`; weights before neurons with a weight grid are rounded to it.

    Args:
        words: the input first, HxWxC or N.
        neuron: the neurons of every layer that has none of its own; they set the gain of the pooling.

    Raises:
        ValueError: the first word is no input or another one is, there is no layer, a size is 0, a window does not
            fit its frame, a number of groups does not divide the channels, or neurons differ in dt.
    """
    notation = "-".join(word.text for word in words)
    if not words or words[0].kind not in ("input", "dense"):
        raise ValueError(f"Network: {notation!r} must begin with its input; known words: {GRAMMAR}")
    first, *others = words
    if not others:
        raise ValueError(f"Network: {notation!r} must have a layer after its input; known words: {GRAMMAR}")
    begin = shape = tuple(check.integer("Network", f"input {first.text}", n, least=1) for n in first.numbers)
    dt, stages = as_neuron("Network", neuron).dt, list[Any]()
    for word in others:
        where = f"Network: {word.text!r} in {notation!r}"
        if word.kind == "input":
            raise ValueError(f"{where} is an input, which must be the first word")
        if word.kind in ("conv", "pool") and len(shape) != 3:
            raise ValueError(f"{where} needs frames (H, W, C), its input is {shape}")
        if stages and isinstance(stages[-1], Affine):
            raise ValueError(f"{where} stands after a read-out, which must be the last word")
        if word.kind == "average" and shape[-1] % word.numbers[0]:
            raise ValueError(f"{where} needs a multiple of {word.numbers[0]} channels, its input is {shape}")
        given = neuron if word.neuron is None else word.neuron
        own = as_neuron("Network", given)
        if own.dt != dt:
            raise ValueError(f"{where} has neurons with dt {own.dt:g}, the network's {dt:g}")
        layer = _layer(word, shape, own)
        try:
            shape = cast(Shape, layer.output_shape(shape))
        except ValueError as problem:  # a layer names its operation first
            raise ValueError(f"Network: {str(problem).split(': ', 1)[1]}") from None
        stages.append(layer)
        if word.kind not in WITHOUT_NEURONS:
            stages.append(_recurrent(word, shape, given) if word.kind == "recurrent" else given)
            if own.axon_delay:
                stages.append(Shift(own.axon_delay * own.dt, dt=own.dt))
        if word.delay:
            usual = None if own.max_delay is None else own.max_delay * own.dt
            stages.append(Delay(shape[-1], dt=own.dt, max_delay=usual if word.max_delay is None else word.max_delay))
    return begin, stages


def _layer(word: Word, shape: Shape, neuron: Neuron) -> Layer:
    """Return the layer of a word for an input of a shape; neurons set its gain, or its weight's scale and rounding."""
    number, *kernel = word.numbers
    options = {name: getattr(word, name) for name in ("stride", "padding", "dilation", "groups")}
    options = {name: value for name, value in options.items() if value is not None}
    if word.kind == "average":
        return Average(number)
    if word.kind == "readout":
        own: dict[str, Any] = {} if word.weight_scale is None else {"weight_scale": word.weight_scale}
        return Affine(_inputs(shape), number, tau=word.tau, dt=neuron.dt, bias=word.bias, **own)
    if word.kind == "pool":
        return Pool(number, gain=neuron.pool_gain, **options)
    weight = _weight_options(word, neuron) | {"bias": word.bias}
    layer: Dense | Conv
    if word.kind in ("dense", "recurrent"):
        layer = Dense(_inputs(shape), number, **weight)
    else:
        options.setdefault("padding", 0 if word.text.endswith("v") else kernel[0] // 2)
        layer = Conv(shape[2], number, kernel[0], **options, **weight)
    layer.own_scale = word.weight_scale is not None
    return layer


def _inputs(shape: Shape) -> int | Shape:
    return shape if len(shape) > 1 else shape[0]


def _recurrent(word: Word, shape: Shape, neuron: Any) -> Recurrent:
    """Return the neurons of a recurrent word, whose own weights begin smaller than those before them."""
    weight = _weight_options(word, as_neuron("Network", neuron))
    layer = Dense(shape[0], shape[0], **weight | {"weight_scale": weight.get("weight_scale", Dense.usual_scale) * _OWN})
    layer.own_scale = word.weight_scale is not None
    return Recurrent(layer, neuron)


def _weight_options(word: Word, neuron: Neuron) -> dict[str, Any]:
    """Return the scale and the rounding of the weight of a word's layer."""
    scale = neuron.weight_scale if word.weight_scale is None else word.weight_scale
    weight: dict[str, Any] = {} if scale is None else {"weight_scale": scale}
    if neuron.weight_grid is not None:
        step, limits = neuron.weight_grid
        weight["weight_hook"] = partial(quantize, step=step, limits=limits)
    return weight
