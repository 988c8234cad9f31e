"""Weight normalization as a hook of a layer's weight."""

from __future__ import annotations

from cuslayer import functions
from cuslayer.functions.weight_norm import length
from cuslayer.layers.base import Synapse
from cuslayer.tape import Tensor


class WeightNorm:
    """A weight hook that trains how long each output's weight is apart from where it points: ``w = scale v / |v|``.

    v is the layer's weight, and ``|v|`` the root of the sum of its squares over all that one output is made of; see
    `functions.weight_norm`. The scale starts as that length, so that the first w is v. It is a parameter of the layer,
    behind the weight: optimizers, states and checkpoints have it. One hook serves one layer.

    Attributes:
        scale: a number an output, of the weight's rank: (1, outputs) of a dense layer, (1, 1, 1, outputs) of a
            convolution, (1, 1, outputs / groups, groups, 1) of a transposed one; it is there once a layer has the hook.

    Raises:
        ValueError: the hook is given to a second layer, or used without one.

    Source: Salimans and Kingma 2016, arXiv 1602.07868.

    >>> from cuslayer.layers import Dense
    >>> layer = Dense(4, 3, weight_hook=WeightNorm())
    >>> [p.shape for p in layer.parameters()]
    [(4, 3), (1, 3)]
    """

    def __init__(self) -> None:
        self._view: tuple[int, ...] = ()
        self._scale: Tensor | None = None

    def attach(self, layer: Synapse) -> None:
        """Make the scale for a layer."""
        if self._scale is not None:
            raise ValueError(f"WeightNorm: a hook serves one layer, {type(layer).__name__} is its second")
        self._view, outputs = layer.by_output()
        self._scale = Tensor(length(layer.weight.data.reshape(self._view), outputs), requires_grad=True)

    @property
    def scale(self) -> Tensor:
        if self._scale is None:
            raise ValueError("WeightNorm: a hook needs a layer, it is none's weight_hook")
        return self._scale

    def parameters(self) -> list[Tensor]:
        """Return the scale."""
        return [self.scale]

    def __call__(self, weight: Tensor) -> Tensor:
        scale = self.scale
        return functions.weight_norm(weight.reshape(self._view), scale).reshape(weight.shape)

    def __repr__(self) -> str:
        return "WeightNorm()"
