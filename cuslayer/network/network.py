"""Networks: sequences of layers and neurons, given one by one or in the paper's notation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from cuslayer import check
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.layers import Layer
from cuslayer.network.fusion import observed, plan
from cuslayer.network.input import as_input, check_stage, checked_input, shape_hint
from cuslayer.network.notation import Word, build, read_words
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.neurons.potential import FORMATS, potential_format
from cuslayer.tape import Tensor

Stage: TypeAlias = "Layer | Neuron | Callable[[Tensor], Tensor]"


class Sequential:
    """Layers and neurons that run one after the other.

    Args:
        layers: layers, neurons, or any functions from a tensor to a tensor.
        potentials: how potentials are saved for backward: "full", or "float16" at half the memory. The surrogate then
            has a relative error of at most ``|u| / (2048 tau_rho theta)``; spikes are the same.

    Attributes:
        layers: the stages in order.

    Raises:
        TypeError: a stage cannot be called.
        ValueError: potentials is neither "full" nor "float16".

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> net = Sequential(Dense(4, 3), srm, Dense(3, 2), srm)
    >>> net(np.zeros((10, 1, 4), bool)).shape, len(net.parameters())
    ((10, 1, 2), 2)
    """

    def __init__(self, *layers: Stage, potentials: str = "full") -> None:
        self.potentials = check.one_of(type(self).__name__, "potentials", potentials, FORMATS)
        for position, layer in enumerate(layers):
            check_stage(type(self).__name__, position, layer)
        self.layers: list[Any] = list(layers)

    def __call__(self, x: Any) -> Tensor:
        """Return the output for the input x (T, N, ...).

        Raises:
            ValueError: x does not fit the first layer, or holds NaN or an infinity.

        Warns:
            UserWarning: x looks like pixels from 0 to 255; once for a network.
        """
        x = as_input(x)
        run = observed(self)
        with checked_input(self, x), potential_format(self.potentials):
            for step in plan(self.layers):
                x = run(step, x)
        return x

    def parameters(self) -> list[Tensor]:
        """Return the parameters of all layers in order, each once."""
        found = {id(p): p for layer in self.layers if hasattr(layer, "parameters") for p in layer.parameters()}
        return list(found.values())

    def train(self, training: bool = True) -> None:
        """Put layers that behave differently in training, such as dropout, into training or evaluation mode."""
        for layer in self.layers:
            if isinstance(layer, Layer):
                layer.training = training

    def state(self) -> dict[str, Array]:
        """Return copies of the parameters by name, ``<position>.<number>``, the number within its layer, on the CPU."""
        return {name: to_numpy(p.data).copy() for name, p in self._named()}

    def load_state(self, state: dict[str, Array]) -> None:
        """Set the parameters from arrays by name, as `state` returns them.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs; the network does not change then.
        """
        mine = dict(self._named())
        for name in mine.keys() ^ state.keys():
            raise ValueError(f"load_state: parameter {name} is {'missing' if name in mine else 'unknown'}")
        for name, p in mine.items():
            check.same_shape("load_state", f"parameter {name}", state[name], "the network's", p)
        for name, p in mine.items():
            p.data = to_device(state[name].astype(p.dtype))

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for position, layer in enumerate(self.layers):
            if hasattr(layer, "parameters"):
                for number, p in enumerate(layer.parameters()):
                    yield f"{position}.{number}", p

    def __getitem__(self, key: Any) -> Any:
        """Return the layer at a position, or the given layer if the network has it."""
        if isinstance(key, int):
            try:
                return self.layers[key]
            except IndexError:
                raise ValueError(f"network: position must be under {len(self.layers)}, got {key}") from None
        for layer in self.layers:
            if layer is key:
                return layer
        raise ValueError(f"network: {key!r} is none of its layers")

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        rows = "".join(f"\n  {position}: {layer!r}" for position, layer in enumerate(self.layers))
        return f"{type(self).__name__}({rows}\n)"


class Network(Sequential):
    """A feed-forward network from the paper's notation, each layer followed by its neurons.

    ``34x34x2-16c5-2a-32c3-2a-64c3-10``: the input, rows x columns x channels; ``16c5`` a convolution of 16 maps with a
    5 x 5 kernel, padded by half its kernel (``16c5v``: not padded); ``2a`` sum pooling over 2 x 2; a bare number a
    dense layer; ``10avg`` the mean over each of 10 groups of channels, without neurons after it. An input without
    rows and columns is a bare number: ``200-256-200``.

    Args:
        notation: the words of the layers, joined by hyphens; or a sequence of `Word`, each with its options.
        neuron: the neurons of every layer; their `pool_gain` is the gain of the pooling, for SRM ``1.1 theta``.
        potentials: how potentials are saved for backward, as in `Sequential`.

    Attributes:
        input_shape: (H, W, C), or (N,).
        layers: layers and neurons in turn.

    Raises:
        ValueError: a word is unknown, a size is 0, a window does not fit its frame, or potentials is unknown.
        TypeError: notation is neither a string nor words, or neuron is not a neuron.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> net = Network("34x34x2-16c5-2a-32c3-2a-64c3-10", SRM())
    >>> net(np.zeros((2, 1, 34, 34, 2), bool)).shape
    (2, 1, 10)
    """

    def __init__(self, notation: str | Sequence[Word], neuron: Neuron, *, potentials: str = "full") -> None:
        listed = isinstance(notation, Sequence) and all(isinstance(word, Word) for word in notation)
        if not isinstance(notation, str) and not listed:
            got = f"{type(notation).__name__}; such a string is '34x34x2-16c5-2a-10'"
            raise TypeError(f"Network: notation must be a string or words, got {got}")
        words = read_words(notation) if isinstance(notation, str) else tuple(notation)
        as_neuron("Network", neuron)
        self.notation = "-".join(word.text for word in words)
        self.input_shape, stages = build(words, neuron)
        super().__init__(*stages, potentials=potentials)

    def __call__(self, x: Any) -> Tensor:
        x = as_input(x)
        if x.shape[2:] != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            hint = shape_hint(x.shape, self.input_shape)
            raise ValueError(f"network: x must be (T, N, {shape}) for {self.notation}, got shape {x.shape}{hint}")
        return super().__call__(x)
