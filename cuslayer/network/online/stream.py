"""A network that learns while its input comes, step by step or chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor
from cuslayer.backend import Array
from cuslayer.network.graph import Graph
from cuslayer.network.online.learner import OnlineLearner
from cuslayer.network.online.rule import Online
from cuslayer.network.stream import Stream


class LearningStream(Stream):
    """A `Stream` that learns, made by ``net.stream(online=)``: `learn` changes the weights after a step or a chunk.

    Memory does not grow with the number of steps. The network runs as in training. Call `learn` at each step for
    targets at each step, or once at the end: then the loss is of the output of the last call only. Traces of all calls
    since the start contribute in both cases. Without `learn` a call changes no weight.

    Args:
        rule: the rule.
        loss: a function from the output (T, N, ...) of a call and a target to a scalar tensor.
        optimizer: the optimizer of the network's parameters.

    >>> import numpy as np
    >>> from cuslayer import LIF, SGD, CrossEntropyLoss, Dense, ReadOut, Sequential
    >>> net = Sequential(Dense(4, 8), LIF(), ReadOut(8, 2))
    >>> stream = net.stream(online="exact", loss=CrossEntropyLoss(), optimizer=SGD(net.parameters(), lr=0.1))
    >>> x = np.random.default_rng(0).random((50, 1, 4)) < 0.3
    >>> losses = []
    >>> for frame in x:
    ...     output = stream.step(frame)
    ...     losses.append(stream.learn(np.array([1])))
    >>> losses[-1] < losses[0]
    True
    """

    def __init__(self, net: Any, graph: Graph, rule: Online, loss: Callable[..., Tensor], optimizer: Any) -> None:
        if not callable(loss):
            raise TypeError(f"loss must be a function of output and target, got {type(loss).__name__}")
        if not hasattr(optimizer, "step"):
            raise TypeError(f"optimizer must be an optimizer, such as Adam, got {type(optimizer).__name__}")
        if callable(getattr(loss, "observing", None)):
            raise ValueError(f"loss must not be {type(loss).__name__}, that needs all steps of layers")
        self._learner = OnlineLearner(graph, rule)
        self._loss = loss
        self._optimizer = optimizer
        super().__init__(net, graph)

    def reset(self) -> None:
        """Reset the stream to the state before any input."""
        self._learner.reset()
        self._output: Array | None = None
        self.on_cpu = True
        self._shape = None
        self.steps = 0

    def advance(self, x: Any) -> Array:
        """Return the output for the next steps of an array that fits the network and the earlier calls."""
        self._output = self._learner.run(Tensor(x))
        self.steps += len(x)
        return self._output

    @check.operation("stream")
    def learn(self, target: object) -> float:
        """Take an optimizer step for the loss of the last call's output, and return the loss.

        Args:
            target: the target of the output (T, N, ...) of the last call, as the loss takes it. T is 1 after `step`.

        Raises:
            ValueError: no call came before, or since the last `learn`.
            TypeError: the loss returns no tensor of one number.
        """
        if self._output is None:
            raise ValueError("learn must follow a step, got no step since the last")
        output = Tensor(self._output, requires_grad=True)
        value = self._loss(output, target)
        if not isinstance(value, Tensor) or value.size != 1:
            got = f"shape {value.shape}" if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"the loss must return a Tensor of one number, such as (error * error).sum(), got {got}")
        self._optimizer.zero_grad()
        value.backward()
        self._output = None
        self._learner.learn(np.zeros(output.shape, value.dtype) if output.grad is None else output.grad)
        self._optimizer.step()
        self._learner.end_step()
        return float(value.data)
