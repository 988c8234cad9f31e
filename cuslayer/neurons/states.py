"""States of stages between chunks of time and, in backward, the gradients of these states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from cuslayer import kernels
from cuslayer._tape import Pullback, Tensor, differentiable
from cuslayer.backend import Array, Setting, namespace
from cuslayer.kernels import Kernels
from cuslayer.kernels.step.derive import StepSpiking

_made: Setting[list[Any] | None] = Setting(None)
# Whether each call of stateful neurons starts before the first step.
_anew: Setting[bool] = Setting(False)


class Carried:
    """The state of a stage between calls.

    Attributes:
        values: the state, which a call reads and changes; None before the first.
        whole: whether gradients propagate from chunk to chunk, from the last to the first.
        later: the gradient of the state after a chunk, which backward propagates to the state before it; None for 0.
    """

    def __init__(self) -> None:
        self.values: Any = None
        self.later: Any = None
        self.whole = False
        made = _made.get()
        if made is not None:
            made.append(self)

    def copy(self) -> Any:
        """Return a copy of the state."""
        return None if self.values is None else self.values.copy()


def starting_anew() -> AbstractContextManager[None]:
    """Within the block, each call of stateful neurons starts before the first step."""
    return _anew.set(True)


@contextmanager
def carried(whole: bool) -> Iterator[list[Carried]]:
    """Yield a list of the states that are made within the block; `whole` says whether their gradients propagate."""
    made = list[Carried]()
    with _made.set(made):
        yield made
    for each in made:
        each.whole = whole


def _begin(states: Array, start: Sequence[float]) -> None:
    """Set all columns of states of 0 (number, columns) to the values before the first step."""
    for number, value in enumerate(start):
        if value:  # each is a launch on a GPU
            states[number] = value


class States(Carried):
    """The states of neurons between calls, (number, columns)."""

    def begin(self, x: Array, start: Sequence[float]) -> Array:
        """Return the states before the input x (T, N, ...): the states after the last call, at first `start`."""
        columns = math.prod(x.shape[1:])
        if self.values is None or _anew.get():
            self.values = namespace(x).zeros((len(start), columns), x.dtype)
            _begin(self.values, start)
        if self.values.shape[1] != columns:
            held = self.values.shape[1]
            raise ValueError(f"x must have {held} neurons as in the last call, got {columns}; forget() begins anew")
        self.values = self.values.astype(x.dtype, copy=False)
        found: Array = self.values
        return found

    def end(self, g: Array, number: int) -> Array | None:
        """Return the gradients of the states after g (T, N, ...), which a kernel changes; None if none propagate."""
        if self.whole and self.later is None:
            self.later = namespace(g).zeros((number, math.prod(g.shape[1:])), g.dtype)
        found: Array | None = self.later
        return found


class PopulationStates(Carried):
    """The state of a population between calls."""

    def begin(self, x: Array, spiking: StepSpiking, delay: int) -> Any:
        """Return the state before the input x (T, N, ...): the state after the last call, at first the kind's start."""
        if self.values is None or _anew.get():
            self.values = kernels.of(x).recurrent.held(x, spiking, delay)
            _begin(self.values.states, spiking.kind.start)
        inputs = self.values.inputs
        if kernels.of(inputs) is not kernels.of(x):
            raise ValueError("x must be on the device of the last call")
        if inputs.shape[1:] != (x.shape[1], math.prod(x.shape[2:])) or inputs.dtype != x.dtype:
            was = f"{inputs.shape[1]} samples of {inputs.shape[2]} neurons, {inputs.dtype}"
            raise ValueError(f"x must be as in the last call, {was}; got {x.shape}, {x.dtype}")
        return self.values

    def end(self, k: Kernels, g: Array, spiking: StepSpiking, longest: int) -> Array:
        """Return the gradients that backward has left for a call like this one; None if they stop at its end."""
        if self.whole and self.later is None:
            self.later = k.recurrent.nothing_later(g, spiking, longest)
        return self.later


class Remembering(Carried):
    """A function of a signal (T, ...), an array or a tensor, that keeps the last input steps for the next call.

    The function may omit the output of the kept steps.

    >>> import numpy as np
    >>> delayed = Remembering(lambda x: np.concatenate([np.zeros_like(x[:1]), x[:-1]]), 1)
    >>> delayed(np.array([1.0, 2.0])).tolist(), delayed(np.array([3.0])).tolist()
    ([0.0, 1.0], [2.0])
    """

    def __init__(self, run: Callable[[Any], Any], memory: int) -> None:
        super().__init__()
        self._run, self._memory = run, memory

    def __call__(self, x: Any) -> Tensor:
        given = x.data if isinstance(x, Tensor) else x
        before = namespace(given).zeros((self._memory, *x.shape[1:]), x.dtype) if self.values is None else self.values
        joined = namespace(given).concatenate([before, given], axis=0)
        self.values = joined[len(x) :].copy()
        found = self._run(_after(x, joined=joined, state=self) if isinstance(x, Tensor) else joined)
        return found[len(found) - len(x) :]

    def go_on(self, g: Array, first: int) -> Array:
        """Return g (first + T, ...), the gradient of the steps before and in a chunk, plus later chunks' gradients.

        The first steps' gradients are kept for the chunk before.
        """
        if self.whole:
            if self.later is not None:
                g = g.copy()
                g[len(g) - first :] += self.later
            self.later = g[:first].copy()
        return g


@differentiable
def _after(x: Array, /, *, joined: Array, state: Remembering) -> tuple[Array, Pullback]:
    """Return x (T, ...) after the steps before it, (steps, ...), as in `joined`."""
    first = len(joined) - len(x)
    return joined, lambda g: state.go_on(g, first)[first:]
