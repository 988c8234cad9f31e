"""The grammar of layer words, and a word with the options beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

GRAMMAR = (
    "HxWxC the input, N a dense layer, NcK a convolution of N maps with a K x K kernel padded by half "
    "(NcKv: not padded), Ka a sum pooling over K x K, Navg the mean over each of N groups"
)
_WORD = re.compile(r"(?P<conv>\d+c\d+[vz]?)|(?P<pool>\d+a)|(?P<average>\d+avg)|(?P<dense>\d+)|(?P<input>\d+x\d+x\d+)")

# The options that each kind of word takes.
TAKES: dict[str, tuple[str, ...]] = {
    "input": (),
    "dense": ("weight_scale", "delay", "max_delay", "neuron"),
    "conv": ("stride", "padding", "dilation", "groups", "weight_scale", "delay", "max_delay", "neuron"),
    "pool": ("stride", "padding", "dilation", "neuron"),
    "average": (),
}


@dataclass(frozen=True)
class Word:
    """A word of a network's notation, and the options beside it; None is the usual value.

    Attributes:
        text: the word, as in ``16c5``.
        stride: rows and columns between windows; of a convolution 1, of a pooling its window.
        padding: zeros around the frame; of a convolution half its kernel, of a pooling 0.
        dilation: rows and columns between the taps of a window, 1.
        groups: of the channels of a convolution, 1.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(fan_in)``.
        delay: whether the spikes pass a trained delay, one for each channel.
        max_delay: the longest delay, ms.
        neuron: the neurons of this layer, where they are not those of the network.

    Raises:
        ValueError: the word is unknown, or of a kind that does not take an option that is given.
        TypeError: the word is no string.

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
        """What the word stands for: "input", "dense", "conv", "pool" or "average"."""
        return kind_of("Word", self.text)

    def options(self) -> dict[str, Any]:
        """Return the options that are not the usual ones, by name."""
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
    """Return the kind of a word: "input", "dense", "conv", "pool" or "average".

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
