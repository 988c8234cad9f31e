"""The join of parallel branches, and a hook on the gradient at a tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from cuslayer._array_functions.shapes import joined
from cuslayer._base import check
from cuslayer._tape import Pullback, Tensor, differentiable, saves, sum_of
from cuslayer.backend import Array, numeric
from cuslayer.layers.base import Layer, Shape


@differentiable
@saves("nothing")
def on_gradient(x: Array, /, *, callback: Callable[[Array], None]) -> tuple[Array, Pullback]:
    """Identity with a gradient hook: return x; backward calls a function with its gradient.

    Neither x nor the gradient changes. Without gradients, nothing calls the function.

    Args:
        x: an array of any shape.
        callback: a function of the gradient, of x's shape, to which it must not write.

    Returns:
        x itself.

    >>> import numpy as np
    >>> from cuslayer._tape import Tensor
    >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> (on_gradient(x, callback=lambda g: print(g.tolist())) * 3.0).sum().backward()
    [3.0, 3.0]
    """

    def pullback(g: Array) -> Array:
        callback(g)
        return g

    return x, pullback


# Joins of a skip connection, and all joins.
SKIPS = ("add", "and", "iand")
JOINS = ("add", "concatenate", "and", "iand")
_RULES = {
    "add": "must have one shape to add",
    "concatenate": "may differ in the last axis only to concatenate",
    "and": "must have one shape for and",
    "iand": "must have one shape for iand",
}


@differentiable
@saves("nothing")
def join(*branches: Array, how: str) -> tuple[Array, Pullback]:
    """Join arrays (T, N, ...): their sum, or their concatenation along the last axis.

    Args:
        branches: the arrays. Spikes count as 1.0 in a sum; if all arrays are spikes, the concatenation stays boolean.
        how: "add", for arrays of one shape, or "concatenate", for arrays whose shapes differ in the last axis only.

    Returns:
        The sum, numbers; or the concatenation.

    Raises:
        ValueError: the shapes do not fit.

    >>> a, b = np.array([[[True, False]]]), np.array([[[True, True]]])
    >>> join(a, b, how="add").data.tolist(), join(a, b, how="concatenate").data.tolist()
    ([[[2.0, 1.0]]], [[[True, False, True, True]]])
    """
    shapes = [x.shape for x in branches]
    _check_shapes(how, shapes)
    if how == "add":
        return numeric(reduce(sum_of, branches)), lambda g: [g] * len(shapes)
    return joined(branches, axis=-1)


@differentiable
@saves("others")
def gate(function: Array, shortcut: Array, /, *, how: str) -> tuple[Array, Pullback]:
    """Return the shortcut where a function fires, with "and", or where it does not, with "iand".

    ::

        and     y = f x              g_f =  g x     g_x = g f
        iand    y = (1 - f) x        g_f = -g x     g_x = g (1 - f)

    Args:
        function: the output f of a block (T, N, ...), spikes.
        shortcut: its input x, of the same shape.
        how: "and" or "iand".

    Returns:
        Spikes; numbers if an input is numbers.

    Raises:
        ValueError: the shapes differ.

    Source: Fang et al. 2021 (arXiv 2102.04159), table 1.

    >>> f, x = np.array([[[True, True, False]]]), np.array([[[True, False, True]]])
    >>> gate(f, x, how="and").data.tolist(), gate(f, x, how="iand").data.tolist()
    ([[[True, False, False]]], [[[False, False, True]]])
    """
    _check_shapes(how, [function.shape, shortcut.shape])
    spikes = function.dtype == shortcut.dtype == bool
    opened = function if how == "and" else ~function if function.dtype == bool else 1 - function
    sign = 1 if how == "and" else -1
    y = opened & shortcut if spikes else numeric(opened) * numeric(shortcut)
    return y, lambda g: [g * shortcut * g.dtype.type(sign), g * opened]


@check.operation("Parallel")
def _check_shapes(how: str, shapes: Sequence[Shape]) -> None:
    """Raise ValueError unless the shapes fit."""
    first = shapes[0]
    for branch, shape in enumerate(shapes):
        fits = bool(shape) and shape[:-1] == first[:-1] if how == "concatenate" else shape == first
        if not fits:
            rule = _RULES[how]
            raise ValueError(f"branches {rule}, branch 0 has {first}, branch {branch} has {shape}")


class Join(Layer):
    """The join of parallel branches; it takes the output of each branch."""

    memory = 0
    keeps_steps = True
    passes_spikes = True
    form = "join"

    @check.operation("Parallel")
    def __init__(self, how: str) -> None:
        self.how = check.one_of("join", how, JOINS)

    @check.operation("Parallel")
    def __call__(self, *branches: object) -> Tensor:
        """Return the joined outputs; see `join` and `gate`."""
        if self.how in ("add", "concatenate"):
            return join(*branches, how=self.how)
        if len(branches) != 2:
            raise ValueError(f"branches must be two for {self.how!r}, got {len(branches)}")
        return gate(*branches, how=self.how)

    @check.operation("Parallel")
    def joined_shape(self, shapes: Sequence[Shape | None]) -> Shape | None:
        """Return the shape of the joined outputs after T and N, for the shapes of the branches; None if unknown."""
        known = [shape for shape in shapes if shape is not None]
        if len(known) == len(shapes):
            _check_shapes(self.how, known)
        if self.how != "concatenate":
            return known[0] if known else None
        return (*known[0][:-1], sum(shape[-1] for shape in known)) if len(known) == len(shapes) else None

    def output_shape(self, shape: Shape | None) -> Shape | None:
        return self.joined_shape([shape])

    def offsets(self, shapes: Sequence[Shape]) -> list[int]:
        """Return the first index of each branch's output in the last axis of a concatenation."""
        return [0, *np.cumsum([shape[-1] for shape in shapes]).tolist()][:-1]

    def __repr__(self) -> str:
        return f"Join({self.how})"
