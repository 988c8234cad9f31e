"""The first step of a signal alone."""

from __future__ import annotations

from collections.abc import Callable

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, saves
from cuslayer.backend import Array, namespace, numeric
from cuslayer.layers.base import Layer
from cuslayer.neurons.states import Carried


@differentiable
@saves("nothing")
@check.operation
def first_step(x: Array, /, *, states: Carried | None = None) -> tuple[Array, Pullback]:
    """Keep the first step of a signal: ``y[0] = x[0]``, and ``y[t] = 0`` for later steps.

    Args:
        x: (T, N, ...), spikes, which are taken as float32, or numbers.
        states: whether earlier calls had steps; None for none.

    Returns:
        Numbers of x's shape.

    Raises:
        ValueError: x is not (T, N, ...).

    >>> import numpy as np
    >>> first_step(np.ones((3, 1, 1))).data.ravel().tolist()
    [1.0, 0.0, 0.0]
    """
    check.time_first("x", x)
    x = numeric(x)
    kept = 1 if states is None or states.values is None else 0

    def first(values: Array) -> Array:
        alone: Array = namespace(values).zeros_like(values)
        alone[:kept] = values[:kept]
        return alone

    y = first(x)
    if states is not None and len(x):
        states.values = x[:0]
    return y, first


class FirstStep(Layer):
    """The first step of a signal, then 0; see `functions.first_step`.

    A constant image then counts once, however long a network runs.

    >>> import numpy as np
    >>> FirstStep()(np.ones((3, 1, 1))).data.ravel().tolist()
    [1.0, 0.0, 0.0]
    """

    keeps_shape = keeps_steps = True
    form = "first_step"

    def __call__(self, x: TensorLike) -> Tensor:
        """Return the first step of x (T, N, ...), followed by 0."""
        return first_step(x)

    def continued(self) -> Callable[..., Tensor] | None:
        if type(self).__call__ is not FirstStep.__call__:
            return super().continued()
        states = Carried()
        return lambda x: first_step(as_tensor(x), states=states)

    def __repr__(self) -> str:
        return "FirstStep()"
