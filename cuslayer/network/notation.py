"""The notation of networks: its grammar, words with their options, the layers of words, and `Network`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, TypeAlias, cast

from cuslayer._base import check
from cuslayer._base.keys import as_given, choice, counted, flag, key
from cuslayer._tape import Tensor
from cuslayer.layers import (
    Average,
    AvgPool,
    BatchNorm,
    Conv,
    Delay,
    Dense,
    Dropout,
    KWinners,
    Layer,
    MaxPool,
    ReadOut,
    Recurrent,
    Shift,
    SumPool,
    SynapticDelays,
)
from cuslayer.layers.base import as_layer
from cuslayer.layers.batch_norm import SCALES
from cuslayer.layers.weight_hooks import quantize
from cuslayer.network.join import SKIPS
from cuslayer.network.network import Residual, Sequential, Stage
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.neurons.dynamics import StepNeuron
from cuslayer.neurons.names import neuron_constants

GRAMMAR = (
    "HxWxC the input, N a dense layer, NcK a convolution of N maps with a K x K kernel padded by half "
    "(NcKv: not padded), NbK two such convolutions with a skip connection, Ka a sum pooling over K x K and its "
    "neurons, Kmean and Kmax the mean and the largest of K x K without neurons, Navg the mean over each of N groups, "
    "Nr a dense layer whose neurons also get their own spikes, Nout a read-out of N leaky integrators without spikes"
)
_WORD = re.compile(
    r"(?P<conv>\d+c\d+[vz]?)|(?P<block>\d+b\d+)|(?P<pool>\d+a)|(?P<mean>\d+mean)|(?P<max>\d+max)|(?P<average>\d+avg)|"
    r"(?P<readout>\d+out)|(?P<recurrent>\d+r)|(?P<dense>\d+)|(?P<input>\d+x\d+x\d+)",
    re.ASCII,
)

_WEIGHTED = (
    *("weight_scale", "weight_mean", "bias", "norm", "winners", "neuron", "spread"),
    *("delay", "max_delay", "initial_delay", "synaptic_delay", "narrowing", "dropout"),
)
NORMS = (*SCALES, "rms")
# Longer numbers are no sizes of a layer.
_MOST_DIGITS = 9
# The options of each kind of word.
TAKES: dict[str, tuple[str, ...]] = {
    "input": (),
    "dense": _WEIGHTED,
    "recurrent": (*_WEIGHTED, "recurrent_delay", "recurrent_synaptic_delay"),
    "conv": ("stride", "padding", "dilation", "groups", *_WEIGHTED),
    "block": ("stride", "join", "weight_scale", "bias", "norm", "neuron", "dropout"),
    "pool": ("stride", "padding", "dilation", "neuron", "dropout"),
    "mean": ("stride", "padding", "dilation", "dropout"),
    "max": ("stride", "padding", "dilation", "dropout"),
    "average": (),
    "readout": ("weight_scale", "bias", "tau", "neuron"),
}
# The kinds of words without neurons after their layer; a block has its own.
WITHOUT_NEURONS = ("mean", "max", "average", "readout", "block")
# The channels of an input that may stand where rows should.
_FEW_CHANNELS = 3
_OF_FRAMES = ("conv", "block", "pool", "mean", "max")


def _one_or_two(least: int) -> Callable[[str, object], object]:
    """Return the rule for one integer, or two in a list."""

    def rule(name: str, value: object) -> object:
        found = check.pair(name, value, least=least)
        return found if isinstance(value, list) else found[0]

    return rule


def _ranges(name: str, value: object) -> tuple[tuple[str, float, float], ...]:
    """Return ranges of constants, each with its name, from a mapping to two numbers."""
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{name} must be the least and the most of constants by name, got {value!r}")
    found = list[tuple[str, float, float]]()
    for constant, ends in value.items():
        if not isinstance(ends, list) or len(ends) != 2:
            raise ValueError(f"{name}.{constant} must be [least, most], got {ends!r}")
        least, most = (check.number(f"{name}.{constant}", end) for end in ends)
        found.append((str(constant), least, most))
    return tuple(found)


def _only_true(value: bool) -> bool | None:
    return value or None


@dataclass(frozen=True)
@check.named
class Word:
    """A word of a network's notation with its options; None is the default.

    Attributes:
        text: the word, as in ``16c5``.
        stride: rows and columns between windows; by default 1 for a convolution, the window for pooling.
        padding: zeros around the frame; by default half the kernel for a convolution, 0 for pooling.
        dilation: rows and columns between the taps of a window; by default 1.
        groups: the number of groups of channels of a convolution; by default 1.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(fan_in)``.
        weight_mean: the mean of the initial weights, with which neurons get more excitation; by default 0.
        bias: whether the layer adds a trained constant to the weighted input at each step.
        norm: "std", "power", "none" or "rms", the scale of a `BatchNorm` before the neurons. "std" and "power" have a
            trained gain and offset, which start at theta and 0; "rms", without the mean, a trained gain. By default
            there is no `BatchNorm`.
        join: how a block joins its skip connection: "add", "and" or "iand"; by default "add". See `Residual`.
        winners: the number of neurons that get their weighted input at a step; see `KWinners`; by default all.
        tau: the time constant of a read-out, ms, unless it has a neuron.
        recurrent_delay: the time until spikes return to the neurons of ``Nr``, ms; by default one step.
        delay: whether a trained `Delay` follows, one delay for each channel.
        max_delay: the longest delay, ms.
        initial_delay: initial delays are uniform between 0 and this, ms; by default 1.
        synaptic_delay: the longest trained delay of a synapse, ms; see `SynapticDelays`; by default no delays.
        recurrent_synaptic_delay: the same for the synapses of ``Nr`` between its neurons, in addition to
            recurrent_delay.
        narrowing: the number of optimizer steps in which these delays narrow to one lag; by default 1,000.
        dropout: the probability of `Dropout` after the neurons; by default no dropout.
        neuron: the neurons of this layer, by default the network's; of a read-out, those whose spike response filters
            it, by default none.
        spread: name, minimum and maximum of trained constants that start uniform between these, one for each neuron or
            channel; see `StepNeuron.spread`; by default none.

    Raises:
        ValueError: the word is unknown, or its kind does not take a given option.
        TypeError: the word is not a string.

    >>> Word("16c5", stride=2).kind
    'conv'
    >>> Word("512", stride=2)
    Traceback (most recent call last):
        ...
    ValueError: Word: '512' is a dense word, which takes no stride, got 2
    """

    text: str = field(metadata=key(lambda name, value: str(value), "dim"))
    stride: int | tuple[int, int] | None = field(default=None, metadata=key(_one_or_two(1)))
    padding: int | tuple[int, int] | None = field(default=None, metadata=key(_one_or_two(0)))
    dilation: int | tuple[int, int] | None = field(default=None, metadata=key(_one_or_two(1)))
    groups: int | None = field(default=None, metadata=key(counted))
    weight_scale: float | None = field(default=None, metadata=key(check.positive, "wScale"))
    weight_mean: float | None = field(default=None, metadata=key(check.signed_factor, "wMean"))
    bias: bool = field(default=False, metadata=key(flag, write=_only_true))
    norm: str | None = field(default=None, metadata=key(choice(NORMS)))
    join: str | None = field(default=None, metadata=key(choice(SKIPS)))
    winners: int | None = field(default=None, metadata=key(counted))
    tau: float | None = field(default=None, metadata=key(check.positive))
    recurrent_delay: float | None = field(default=None, metadata=key(check.positive))
    delay: bool = field(default=False, metadata=key(flag, write=_only_true))
    max_delay: float | None = field(default=None, metadata=key(check.factor))
    initial_delay: float | None = field(default=None, metadata=key(check.factor))
    synaptic_delay: float | None = field(default=None, metadata=key(check.positive))
    recurrent_synaptic_delay: float | None = field(default=None, metadata=key(check.positive))
    narrowing: int | None = field(default=None, metadata=key(counted))
    dropout: float | None = field(default=None, metadata=key(check.fraction))
    neuron: Any = field(
        default=None, metadata=key(as_given, write=lambda neuron: None if neuron is None else neuron_constants(neuron))
    )

    spread: tuple[tuple[str, float, float], ...] | None = field(
        default=None,
        metadata=key(_ranges, write=lambda ranges: {name: list(ends) for name, *ends in ranges or ()} or None),
    )

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"text must be a string, got {type(self.text).__name__}")
        kind = kind_of(repr(self.text), self.text)
        for name, value in self.options().items():
            if name not in TAKES[kind]:
                raise ValueError(f"{self.text!r} is {article(kind)} word, which takes no {name}, got {value!r}")
        for name in ("max_delay", "initial_delay"):
            if getattr(self, name) is not None and not self.delay:
                raise ValueError(f"{self.text!r} has {name} {getattr(self, name):g} and no delay")
        if self.narrowing is not None and self.synaptic_delay is self.recurrent_synaptic_delay is None:
            raise ValueError(f"{self.text!r} has narrowing {self.narrowing} and no synaptic_delay")

    @property
    def kind(self) -> str:
        """The kind: "input", "dense", "recurrent", "conv", "block", "pool", "mean", "max", "average" or "readout"."""
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
    """Return a kind of word with its article."""
    return f"an {kind}" if kind[0] in "ai" else f"a {kind}"


def kind_of(where: str, text: str, grammar: str = GRAMMAR) -> str:
    """Return the kind of a word, like `Word.kind`; errors begin with `where`."""
    match = _WORD.fullmatch(text)
    if match is None:
        raise ValueError(f"{where} is no layer; known words: {grammar}")
    if any(len(digits) > _MOST_DIGITS for digits in re.findall(r"\d+", text)):
        raise ValueError(f"numbers in a word must have at most {_MOST_DIGITS} digits, got {check.one_line(text, 40)}")
    return str(match.lastgroup)


@check.operation("Network")
def read_words(notation: str) -> tuple[Word, ...]:
    """Return the words of a notation, ``34x34x2-16c5-2a-10``."""
    texts = notation.replace(" ", "").split("-")
    for text in texts:
        kind_of(f"{text!r} in {notation!r}", text)
    return tuple(Word(text) for text in texts)


def rows_first(word: Word) -> Word:
    """Return an input word WxHxC, columns first as in SLAYER, as HxWxC; other words unchanged."""
    if word.kind != "input":
        return word
    columns, rows, channels = word.numbers
    return Word(f"{rows}x{columns}x{channels}")


Shape: TypeAlias = "tuple[int, ...]"


def build(words: Sequence[Word], neuron: Neuron, dt: float | None = None) -> tuple[Shape, list[Stage]]:
    """Return the shape of the input, (H, W, C) or (N,), and the layers and neurons of a network.

    A `Shift` follows neurons with an axon delay; weights before neurons with a weight grid are rounded to it.
    """
    notation = "-".join(word.text for word in words)
    if not words or words[0].kind not in ("input", "dense"):
        raise ValueError(f"{notation!r} must begin with its input; known words: {GRAMMAR}")
    first, *others = words
    if not others:
        raise ValueError(f"{notation!r} must have a layer after its input; known words: {GRAMMAR}")
    begin = shape = tuple(check.integer(f"input {first.text}", n, least=1) for n in first.numbers)
    dt = as_neuron(neuron).dt if dt is None else dt
    stages = list[Any]()
    for word in others:
        where = f"{word.text!r} in {notation!r}"
        if word.kind == "input":
            raise ValueError(f"{where} is an input, which must be the first word")
        if word.kind in _OF_FRAMES and len(shape) != 3:
            raise ValueError(f"{where} needs frames (H, W, C), its input is {shape}")
        if stages and as_layer(stages[-1]).is_read_out:
            raise ValueError(f"{where} stands after a read-out, which must be the last word")
        if word.kind == "average" and shape[-1] % word.numbers[0]:
            raise ValueError(f"{where} needs a multiple of {word.numbers[0]} channels, its input is {shape}")
        given = neuron if word.neuron is None else word.neuron
        given = given.with_step(dt) if isinstance(given, Neuron) else given
        if word.spread is not None:
            given = _spread(where, given, word)
        own = as_neuron(given)
        if own.dt != dt:
            raise ValueError(f"{where} has neurons with dt {own.dt:g}, the network's {dt:g}")
        layer = _block(word, shape, given) if word.kind == "block" else _layer(word, shape, own)
        try:
            shape = cast(Shape, layer.output_shape(shape))
        except ValueError as problem:  # the message starts with the layer's operation
            raise ValueError(f"{str(problem).split(': ', 1)[1]}") from None
        with check.about(where):
            stages += [layer, *([] if word.kind == "block" else _before_neurons(word, shape, own))]
        if word.kind not in WITHOUT_NEURONS:
            stages += _fired(_recurrent(word, shape, given) if word.kind == "recurrent" else given)
        if word.delay:
            usual = None if own.max_delay is None else own.max_delay * own.dt
            start: dict[str, Any] = {} if word.initial_delay is None else {"initial": word.initial_delay}
            longest = usual if word.max_delay is None else word.max_delay
            stages.append(Delay(shape[-1], dt=own.dt, max_delay=longest, **start))
        if word.dropout is not None:
            stages.append(Dropout(word.dropout))
    return begin, stages


def _spread(where: str, neuron: Any, word: Word) -> Neuron:
    """Return neurons with individual constants; files store them because they are trained."""
    names = {} if getattr(neuron, "names", None) is None else neuron.names.all
    ranges = {names.get(name, name): (least, most) for name, least, most in word.spread or ()}
    if not isinstance(neuron, StepNeuron) or not getattr(neuron, "trained", False):
        raise ValueError(f"{where} needs neurons with trained constants for spread, got {check.one_line(neuron)}")
    with check.about(where):
        return neuron.spread(word.numbers[0], **ranges)


def _fired(neuron: Neuron) -> list[object]:
    """Return neurons, and the shift of their spikes by an axon delay."""
    own = as_neuron(neuron)
    return [neuron, Shift(own.axon_delay * own.dt, dt=own.dt)] if own.axon_delay else [neuron]


def _before_neurons(word: Word, shape: Shape, neuron: Neuron) -> list[Layer]:
    """Return the layers between the layer of a word, whose output has the given shape, and its neurons."""
    found: list[Layer] = []
    if word.norm is not None:
        norm = check.one_of("norm", word.norm, NORMS)
        scale = "std" if norm == "rms" else norm
        trained = scale != "none"
        found.append(BatchNorm(shape[-1], scale=scale, height=neuron.theta, trained=trained, center=norm != "rms"))
    if word.winners is not None:
        found.append(KWinners(check.integer("winners", word.winners, least=1)))
    return found


def _block(word: Word, shape: Shape, given: Any) -> Residual:
    """Return the two convolutions of a block with their neurons, and its shortcut."""
    neuron = as_neuron(given)
    outputs, kernel = word.numbers
    stride = 1 if word.stride is None else word.stride

    def convolution(inputs: int, size: int, stride: int | tuple[int, int]) -> list[Any]:
        conv = replace(word, text=f"{outputs}c{size}", stride=stride, join=None)
        layer = _layer(conv, (*shape[:2], inputs), neuron)
        return [layer, *_before_neurons(conv, (outputs,), neuron), *_fired(given)]

    changed = shape[2] != outputs or check.pair("stride", stride, least=1) != (1, 1)
    shortcut = Sequential(*convolution(shape[2], 1, stride)) if changed else None
    stages = (*convolution(shape[2], kernel, stride), *convolution(outputs, kernel, 1))
    return Residual(*stages, join=word.join or "add", shortcut=shortcut)


def _layer(word: Word, shape: Shape, neuron: Neuron) -> Layer:
    """Return the layer of a word for an input shape; neurons set its gain, or its weight's scale and rounding."""
    number, *kernel = word.numbers
    options = {name: getattr(word, name) for name in ("stride", "padding", "dilation", "groups")}
    options = {name: value for name, value in options.items() if value is not None}
    if word.kind == "average":
        return Average(number)
    if word.kind in ("mean", "max"):
        return (AvgPool if word.kind == "mean" else MaxPool)(number, **options)
    if word.kind == "readout":
        own: dict[str, Any] = {} if word.weight_scale is None else {"weight_scale": word.weight_scale}
        filtering = None if word.neuron is None else neuron
        return ReadOut(_inputs(shape), number, tau=word.tau, neuron=filtering, dt=neuron.dt, bias=word.bias, **own)
    if word.kind == "pool":
        return SumPool(number, gain=neuron.pool_gain, **options)
    weight = _weight_options(word, neuron) | {"bias": word.bias, "delays": _delays(word, word.synaptic_delay, neuron)}
    layer: Dense | Conv
    if word.kind in ("dense", "recurrent"):
        layer = Dense(_inputs(shape), number, **weight)
    else:
        options.setdefault("padding", 0 if word.text.endswith("v") else kernel[0] // 2)
        layer = Conv(shape[2], number, kernel[0], **options, **weight)
    layer.own_scale = word.weight_scale is not None
    if word.weight_mean is not None:
        layer.draw_again(layer.weight.data + word.weight_mean)
    return layer


def _inputs(shape: Shape) -> int | Shape:
    return shape if len(shape) > 1 else shape[0]


def _recurrent(word: Word, shape: Shape, neuron: Neuron) -> Recurrent:
    """Return the neurons of a recurrent word; the word's scale applies to the weights before them."""
    weight = _weight_options(word, as_neuron(neuron))
    weight.pop("weight_scale", None)
    weight["delays"] = _delays(word, word.recurrent_synaptic_delay, as_neuron(neuron))
    return Recurrent(Dense(shape[0], shape[0], **weight), neuron, delay=word.recurrent_delay)


def _delays(word: Word, longest: float | None, neuron: Neuron) -> SynapticDelays | None:
    """Return the synaptic delays of a word, up to the longest; None for no delays."""
    steps: dict[str, Any] = {} if word.narrowing is None else {"steps": word.narrowing}
    return None if longest is None else SynapticDelays(longest, dt=neuron.dt, **steps)


def _weight_options(word: Word, neuron: Neuron) -> dict[str, Any]:
    """Return the scale and the rounding of the weight of a word's layer."""
    scale = neuron.weight_scale if word.weight_scale is None else word.weight_scale
    weight: dict[str, Any] = {} if scale is None else {"weight_scale": scale}
    if neuron.weight_grid is not None:
        step, limits = neuron.weight_grid
        weight["weight_hook"] = partial(quantize, step=step, limits=limits)
    return weight


class Network(Sequential):
    """A network from the paper's notation, each layer followed by its neurons.

    ``34x34x2-16c5-2a-32c3-2a-64c3-10``: the input, rows x columns x channels; ``16c5`` a convolution of 16 maps with a
    5 x 5 kernel, padded by half its kernel (``16c5v``: not padded); ``32b3`` two such convolutions with a skip
    connection (`Residual`); ``2a`` sum pooling over 2 x 2; a bare number a dense layer; ``256r`` a dense layer with
    `Recurrent` neurons, whose recurrent weights start orthogonal. These words have no neurons: ``2mean`` and ``2max``,
    the mean and the largest of 2 x 2 (`AvgPool`, `MaxPool`); ``10avg``, the mean over each of 10 groups of channels;
    and ``10out``, a read-out of 10 potentials (`ReadOut`). An input without rows and columns is a bare number:
    ``200-256-200``.

    Args:
        notation: the words of the layers, joined by hyphens; or a sequence of `Word`, each with its options.
        neuron: the neurons of every layer; their `pool_gain` is the gain of the pooling, for SRM ``1.1 theta``.
        potentials: how potentials are saved for backward; see `Sequential`.
        dt: the step, ms, of neurons that have none of their own; by default the neurons'.

    Attributes:
        input_shape: (H, W, C), or (N,).
        layers: layers and neurons in turn.

    Raises:
        ValueError: a word or potentials is unknown, a size is 0, a window does not fit its frame, or neurons have
            another dt.
        TypeError: notation is neither a string nor words, or neuron is not a neuron.

    Warns:
        UserWarning: the input looks like channels x rows x columns.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> net = Network("34x34x2-16c5-2a-32c3-2a-64c3-10", SRM())
    >>> net(np.zeros((2, 1, 34, 34, 2), bool)).shape
    (2, 1, 10)
    """

    def __init__(
        self, notation: str | Sequence[Word], neuron: Neuron, *, potentials: str = "full", dt: float | None = None
    ) -> None:
        listed = isinstance(notation, Sequence) and all(isinstance(word, Word) for word in notation)
        if not isinstance(notation, str) and not listed:
            got = f"{type(notation).__name__}; such a string is '34x34x2-16c5-2a-10'"
            raise TypeError(f"notation must be a string or words, got {got}")
        words = read_words(notation) if isinstance(notation, str) else tuple(notation)
        as_neuron(neuron)
        self.notation = "-".join(word.text for word in words)
        self.input_shape, stages = build(words, neuron, None if dt is None else check.time_step("dt", dt))
        _warn_of_channels_first(self.input_shape)
        super().__init__(*stages, potentials=potentials)

    @check.operation("network")
    def check_input(self, x: Tensor) -> None:
        if x.shape[2:] != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            hint = _shape_hint(x.shape, self.input_shape)
            raise ValueError(f"x must be (T, N, {shape}) for {self.notation}, got shape {x.shape}{hint}")


def _warn_of_channels_first(shape: tuple[int, ...]) -> None:
    """Warn if an input of few rows, and as many channels as columns, looks like (C, H, W)."""
    if len(shape) == 3 and shape[0] <= _FEW_CHANNELS < shape[1] == shape[2]:
        channels, rows, columns = shape
        got = f"got {channels} rows, {rows} columns and {columns} channels"
        check.warn(f"the input of a notation is rows x columns x channels, {got}; write {rows}x{columns}x{channels}")


def _shape_hint(got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return advice for an input of another shape than (T, N) and `wanted`, or '' if there is none."""
    if got[1:] == wanted:
        return "; one sample needs a batch axis, x[:, None]"
    if len(wanted) == 3 and len(got) == 5:
        rows, columns, channels = wanted
        if got[1:4] == (channels, rows, columns):
            return "; it looks like (N, C, H, W, T), which from_nchwt converts"
        if got[2:] == (channels, rows, columns):
            return "; channels come last, np.moveaxis(x, 2, -1)"
    if len(wanted) == 3 and len(got) == 4 and wanted[2] == 1 and got[2:] == wanted[:2]:
        return "; frames of one channel need its axis, x[..., None]"
    if len(got) != len(wanted) + 2 and math.prod(got[2:]) == math.prod(wanted) and len(got) > 2:
        sizes = ", ".join(map(str, wanted))
        what = "flatten it" if len(wanted) == 1 else "frames are not flat"
        return f"; {what}, x.reshape(*x.shape[:2], {sizes})"
    return ""
