"""Networks of numbers from a notation and arrays of weights, such as other libraries train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_device
from cuslayer.interchange.axes import finite_numbers, inward
from cuslayer.layers import ReLU
from cuslayer.layers.base import form_of
from cuslayer.network.network import Sequential
from cuslayer.network.notation import Word, article, build, read_words
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.lif import LIF

_AXES = ("cuslayer", "torch", "keras")
_KINDS = ("input", "dense", "conv", "mean", "max", "average")
_OPTIONS = ("stride", "padding", "dilation", "groups", "dropout")


@dataclass
class _Kernel:
    """An array of weights, the layer that it is for, and its bias, if any."""

    name: str
    array: Array
    layer: Any = None
    bias_name: str = ""
    bias: Array | None = None

    @property
    def ours(self) -> tuple[int, ...]:
        """The shape in our axes."""
        return tuple(self.layer.weight.shape)

    @property
    def torch(self) -> tuple[int, ...]:
        """The shape in torch's axes."""
        return tuple(self.ours[axis] for axis in ((3, 2, 0, 1) if len(self.ours) == 4 else (1, 0)))

    def is_same(self) -> bool:
        """Return whether the array has one meaning in both axes."""
        return np.array_equal(self.array, self.in_axes("torch"))

    def in_axes(self, axes: str) -> Array:
        """Return the array in our axes."""
        if axes != "torch":
            return self.array
        return inward(self.array, self.layer.in_features if form_of(self.layer) == "dense" else ())


@check.operation
def from_arrays(
    notation: str | Sequence[Word], weights: Mapping[str, Any] | Sequence[Any], *, axes: str | None = None
) -> Sequential:
    """Return a network of numbers with given weights: a `ReLU` after each layer with weights but the last.

    The words are those of `Network`: input, dense layers, convolutions, ``2mean``, ``2max`` and ``10avg``. A
    convolution is padded by half its kernel, ``32c3v`` is not; `Word` has other strides and paddings.

    Args:
        notation: the words of the layers, ``28x28x1-32c3-2mean-10``, or a sequence of `Word`.
        weights: the arrays in the order of the layers: a kernel, and a bias (outputs,) or none. All biases may also
            follow all kernels, as scikit-learn has them. In a mapping, such as torch's ``state_dict()`` as arrays, the
            names are for errors.
        axes: "cuslayer" or "keras" for kernels (kh, kw, inputs / groups, outputs) and (inputs, outputs), inputs in H,
            W, C order; "torch" for (outputs, inputs / groups, kh, kw) and (outputs, inputs), inputs in C, H, W order.
            By default shapes tell it; it is needed where they do not, and the networks would differ.

    Returns:
        The network; its input is (T, N, H, W, C), or (T, N, C).

    Raises:
        ValueError: a word has no place in a network of numbers, the arrays do not fit the layers, a number is not
            finite, or axes is needed.
        TypeError: weights is neither a mapping nor a sequence, or an array has no numbers.

    >>> net = from_arrays("2-3-1", [np.ones((3, 2)), np.zeros(3), np.ones((1, 3))])
    >>> net(np.array([[[1.0, 2.0]]])).data.tolist()
    [[[9.0]]]
    """
    words = _words(notation)
    if axes is not None:
        check.one_of("axes", axes, _AXES)
    _, stages = build(words, LIF())
    layers = [stage for stage in stages if form_of(stage) in ("dense", "conv")]
    kernels = _kernels(weights)
    if len(kernels) != len(layers):
        raise ValueError(f"weights must have {len(layers)} kernels for {_text(words)}, got {len(kernels)}")
    for kernel, layer in zip(kernels, layers, strict=True):
        kernel.layer = layer
    chosen = _axes(kernels, axes)
    for kernel in kernels:
        _load(kernel, chosen)
    last = next(place for place in reversed(range(len(stages))) if is_neuron(stages[place]))
    numbers = [ReLU() if is_neuron(stage) else stage for place, stage in enumerate(stages) if place != last]
    return Sequential(*numbers)


def _text(words: Sequence[Word]) -> str:
    return "-".join(word.text for word in words)


def _words(notation: str | Sequence[Word]) -> tuple[Word, ...]:
    """Return the words of a network of numbers."""
    if isinstance(notation, str):
        words = read_words(notation)
    elif isinstance(notation, Sequence) and all(isinstance(word, Word) for word in notation):
        words = tuple(word for word in notation if isinstance(word, Word))
    else:
        raise check.mistyped("notation", "must be a string or words", notation)
    for word in words:
        if word.kind not in _KINDS:
            rule = "must have input, conv, dense, mean, max and avg words"
            raise ValueError(f"notation {rule}, got {word.text!r}, {article(word.kind)} word")
        for name in word.options():
            if name not in _OPTIONS:
                raise ValueError(f"notation must have no {name} in a network of numbers, got it in {word.text!r}")
    if not any(word.kind in ("dense", "conv") for word in words[1:]):
        raise ValueError(f"notation must have a layer with weights, got {_text(words)!r}")
    return words


def _kernels(weights: Mapping[str, Any] | Sequence[Any]) -> list[_Kernel]:
    """Return the kernels with their biases."""
    if isinstance(weights, Mapping):
        named = [(str(name), value) for name, value in weights.items()]
    else:
        named = [(f"weights[{place}]", value) for place, value in enumerate(check.sequence("weights", weights))]
    arrays = [(name, finite_numbers(name, value)) for name, value in named]
    kernels = [_Kernel(name, array) for name, array in arrays if array.ndim > 1]
    biases = [(name, array) for name, array in arrays if array.ndim <= 1]
    if len(biases) == len(kernels):
        for kernel, (name, array) in zip(kernels, biases, strict=True):
            kernel.bias_name = name
            kernel.bias = array
        return kernels
    before = iter(kernels)
    last: _Kernel | None = None
    for name, array in arrays:
        if array.ndim > 1:
            last = next(before)
        elif last is None or last.bias is not None:
            raise ValueError(f"{name} must be a kernel of two or four axes, got shape {array.shape}")
        else:
            last.bias_name = name
            last.bias = array
    return kernels


def _axes(kernels: list[_Kernel], axes: str | None) -> str:
    """Return the axes of all kernels: as given, or those that fit."""
    known = dict[str, _Kernel]()
    for kernel in kernels:
        shape = kernel.array.shape
        fitting = [name for name, wanted in (("cuslayer", kernel.ours), ("torch", kernel.torch)) if shape == wanted]
        if not fitting or (axes is not None and ("torch" if axes == "torch" else "cuslayer") not in fitting):
            wanted = f"{kernel.ours}, or {kernel.torch} in torch's axes"
            if axes is not None:
                wanted = str(kernel.torch if axes == "torch" else kernel.ours)
            raise ValueError(f"{kernel.name} must have shape {wanted}, for {kernel.layer!r}, got {shape}")
        if len(fitting) == 1:
            known.setdefault(fitting[0], kernel)
    if axes is not None:
        return axes
    if len(known) > 1:
        first, second = known.values()
        raise ValueError(f"{second.name} must have the axes of {first.name}, got {second.array.shape}")
    if known:
        return next(iter(known))
    for kernel in kernels:
        if not kernel.is_same():
            cure = "pass axes='torch', or 'cuslayer', which are Keras's too"
            raise ValueError(
                f"axes must be given where shapes do not tell them, got {kernel.name} {kernel.ours}; {cure}"
            )
    return "cuslayer"


def _load(kernel: _Kernel, axes: str) -> None:
    """Set the weight and the bias of a layer."""
    layer = kernel.layer
    layer.weight.data = to_device(np.array(kernel.in_axes(axes), np.float32))
    if kernel.bias is None:
        return
    if kernel.bias.shape != kernel.ours[-1:]:
        raise ValueError(f"{kernel.bias_name} must have shape {kernel.ours[-1:]}, got {kernel.bias.shape}")
    layer.bias = Tensor(to_device(np.array(kernel.bias, np.float32)), requires_grad=True)
