"""Networks: sequences of layers and neurons, given one by one or in the paper's notation, and parallel branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from cuslayer import check
from cuslayer.layers import Layer
from cuslayer.network.container import Container, add_stage
from cuslayer.network.graph import Graph
from cuslayer.network.input import shape_hint
from cuslayer.network.join import Join
from cuslayer.network.notation import Word, build, read_words
from cuslayer.neurons.base import Neuron, as_neuron
from cuslayer.neurons.potential import FORMATS
from cuslayer.tape import Tensor

Stage: TypeAlias = "Layer | Neuron | Callable[[Tensor], Tensor]"


class Sequential(Container):
    """Layers and neurons that run one after the other.

    A network is a layer: it may stand in another network, or be a branch of `Parallel`. One that is empty passes its
    input on. A layer may stand at several places; they share its parameters. Layers are numbered from 0; one in a
    nested network has the address ``(position of the network, position in it)``, and so on inward. ``net[address]`` is
    the layer, and `record`, `explain` and the like take addresses as well as layers. Iteration runs over `layers`.

    Args:
        layers: layers, neurons, networks, or any functions from a tensor to a tensor.
        potentials: how potentials are saved for backward: "full", or "float16" at half the memory. The surrogate then
            has a relative error of at most ``|u| / (2048 tau_rho theta)``; spikes are the same. In a nested network
            the setting of the outer one holds. With "full" on a CPU, float32 potentials between a convolution of
            spikes, in fewer than 5 % of its bins, and pooling are computed again instead, to the same bits, which takes
            less than a byte a step.

    Attributes:
        layers: the stages in order.

    Raises:
        TypeError: a stage cannot be called.
        ValueError: potentials is neither "full" nor "float16", neurons differ in dt without a function between them
            that may change the step, or a layer does not fit what is before it.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> net = Sequential(Dense(4, 3), srm, Sequential(Dense(3, 2), srm))
    >>> net(np.zeros((10, 1, 4), bool)).shape, len(net.parameters())
    ((10, 1, 2), 2)
    >>> net[2, 0], list(net.state())
    (Dense(3, 2), ['0.0', '2.0.0'])
    """

    def __init__(self, *layers: Stage, potentials: str = "full") -> None:
        self.potentials = check.one_of("potentials", potentials, FORMATS)
        self.layers: list[Any] = list(layers)
        self._check_stages()

    @property
    def stages(self) -> list[Any]:
        """The layers."""
        return self.layers

    def expand(self, graph: Graph, path: tuple[int, ...], source: int) -> int:
        for position, layer in enumerate(self.layers):
            source = add_stage(graph, layer, (*path, position), source)
        return source

    def _with_stages(self, stages: list[Any]) -> Sequential:
        return Sequential(*stages, potentials=self.potentials or FORMATS[0])


class Network(Sequential):
    """A network from the paper's notation, each layer followed by its neurons.

    ``34x34x2-16c5-2a-32c3-2a-64c3-10``: the input, rows x columns x channels; ``16c5`` a convolution of 16 maps with a
    5 x 5 kernel, padded by half its kernel (``16c5v``: not padded); ``2a`` sum pooling over 2 x 2; a bare number a
    dense layer; ``256r`` a dense layer whose neurons are `Recurrent`, with weights among them that start at a tenth of
    its own; ``10avg`` the mean over each of 10 groups of channels, and ``10out`` a read-out of 10 potentials
    (`Affine`), both without neurons after them. An input without rows and columns is a bare number: ``200-256-200``.

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
            raise TypeError(f"notation must be a string or words, got {got}")
        words = read_words(notation) if isinstance(notation, str) else tuple(notation)
        as_neuron(neuron)
        self.notation = "-".join(word.text for word in words)
        self.input_shape, stages = build(words, neuron)
        super().__init__(*stages, potentials=potentials)

    @check.operation("network")
    def check_input(self, x: Tensor) -> None:
        if x.shape[2:] != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            hint = shape_hint(x.shape, self.input_shape)
            raise ValueError(f"x must be (T, N, {shape}) for {self.notation}, got shape {x.shape}{hint}")


class Parallel(Container):
    """Branches that run on the same input, and the join of their outputs.

    ::

        add          y = branch_0(x) + branch_1(x) + ...
        concatenate  y[..., :] = branch_0(x)[..., :], branch_1(x)[..., :], ...     along the last axis, the channels

    A branch that ends in a layer has weighted inputs as its output; added, they are the weighted input of the neurons
    after the join. A branch that ends in neurons has spikes. The sum of spikes is their count, 0 to the number of
    branches, as numbers, so the layer after the join multiplies matrices. Concatenated spikes stay spikes.

    An empty `Sequential` passes its input on: with it as a branch, the others are bypassed by a skip connection. The
    branches are numbered from 0; a layer in one has the address ``(position, branch, position in the branch)``, or
    ``(position, branch)`` if it is the branch itself. The join has the address of the `Parallel`.

    Args:
        branches: layers, neurons, networks, or any functions from a tensor to a tensor.
        join: "add", for outputs of one shape, or "concatenate", for outputs whose shapes differ in the last axis only.

    Attributes:
        branches: the branches in order.
        join: "add" or "concatenate".

    Raises:
        TypeError: a branch cannot be called.
        ValueError: there is no branch, join is unknown, neurons differ in dt, or layers or the outputs do not fit; when
            it is called, also if outputs do not fit whose shapes were not known.

    >>> import numpy as np
    >>> from cuslayer.layers import Conv
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> wide, narrow = Sequential(Conv(2, 4, 5, padding=2), srm), Sequential(Conv(2, 3, 3, padding=1), srm)
    >>> Parallel(wide, narrow, join="concatenate")(np.zeros((10, 1, 6, 6, 2), bool)).shape
    (10, 1, 6, 6, 7)
    >>> with_skip = Parallel(Sequential(Conv(2, 2, 3, padding=1), srm), Sequential())
    >>> with_skip(np.ones((10, 1, 6, 6, 2), bool)).dtype.name
    'float32'
    """

    _what = "branch"

    def __init__(self, *branches: Stage, join: str = "add") -> None:
        if not branches:
            raise ValueError("branches must be at least one, got none")
        self.branches: list[Any] = list(branches)
        self._join = Join(join)
        self._check_stages()

    @property
    def join(self) -> str:
        """How the outputs are joined: "add" or "concatenate"."""
        return self._join.how

    @property
    def stages(self) -> list[Any]:
        """The branches."""
        return self.branches

    def expand(self, graph: Graph, path: tuple[int, ...], source: int) -> int:
        ends = [add_stage(graph, branch, (*path, number), source) for number, branch in enumerate(self.branches)]
        return graph.add(self._join, path, tuple(ends))

    def _with_stages(self, stages: list[Any]) -> Parallel:
        return Parallel(*stages, join=self.join)

    def _rows(self) -> str:
        return f"{self.join}{super()._rows()}"
