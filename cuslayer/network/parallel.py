"""Parallel branches of a network: skip connections, and layers that see the same input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from cuslayer.layers import Layer
from cuslayer.network.container import Container, add_stage
from cuslayer.network.graph import Graph
from cuslayer.network.join import Join
from cuslayer.neurons.base import Neuron
from cuslayer.tape import Tensor

Branch: TypeAlias = "Layer | Neuron | Callable[[Tensor], Tensor]"


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

    def __init__(self, *branches: Branch, join: str = "add") -> None:
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
