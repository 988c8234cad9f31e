"""Synaptic operations of a network: the synapses of each input, their count, and a loss that penalizes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.sequences import ended
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable
from cuslayer.backend import Array, namespace, to_device
from cuslayer.layers.base import Shape, as_layer, form_of
from cuslayer.loss.base import desired_rate, scored, sent_labels
from cuslayer.network.graph import Run, Step, observe
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron

if TYPE_CHECKING:
    from cuslayer.network.network import Container


def fan_out(layer: object, shape: Shape) -> Array | None:
    """Return the number of synapses of each input of a layer, of the input's shape (without T and N), float64.

    A pixel at the edge of an image lies in fewer windows. None for a stage without synapses, such as a delay.

    >>> from cuslayer.layers import Conv
    >>> fan_out(Conv(1, 2, 3), (3, 4, 1))[0, :, 0].tolist()
    [2.0, 4.0, 4.0, 2.0]
    """
    return as_layer(layer).fan_out(shape)


@differentiable
@check.operation
def synaptic_operations(s: Array, /, *, fan_out: Array) -> tuple[Array, Pullback]:
    """Return the number of synaptic operations of spikes: each spike adds a weight at all of its synapses.

    The gradient of a spike, in every bin, is the number of its synapses.

    Args:
        s: (T, N, ...), spikes.
        fan_out: the number of synapses of each neuron, in s's shape after T and N.

    Returns:
        The sum over all spikes, a scalar, float32.

    Raises:
        ValueError: s is not (T, N, ...), or fan_out has another shape.

    >>> import numpy as np
    >>> synaptic_operations(np.ones((2, 1, 3), bool), fan_out=np.array([1.0, 2.0, 4.0])).item()
    14.0
    """
    check.time_first("s", s)
    if tuple(fan_out.shape) != s.shape[2:]:
        raise ValueError(f"fan_out has shape {fan_out.shape}, neurons have shape {s.shape[2:]}")
    xp, dtype = namespace(s), "float32" if s.dtype == bool else s.dtype
    weights, shape = fan_out if namespace(fan_out) is xp else to_device(fan_out), s.shape
    total = xp.asarray(operations(s, weights), dtype=dtype)
    return total, lambda g: xp.broadcast_to((weights * g).astype(dtype), shape)


@differentiable
def events(x: Array, /) -> tuple[Array, Pullback]:
    """Return where x is not 0: where neurons send a spike or a number to synapses.

    Backward differentiates x for spikes, and ``|x|`` for numbers, so that these shrink.

    >>> import numpy as np
    >>> x = Tensor(np.array([0.5, 0.0, -2.0]), requires_grad=True)
    >>> synaptic_operations(events(x[None, None]), fan_out=np.array([1.0, 2.0, 4.0])).backward()
    >>> x.grad.tolist()
    [1.0, 0.0, -4.0]
    """
    if x.dtype == bool:
        return x, lambda g: g
    return x != 0, lambda g: g * namespace(x).sign(x).astype(g.dtype)


def sent(stages: Sequence[Any], inputs: Sequence[Tensor], y: Tensor) -> Iterator[tuple[object, Tensor]]:
    """Yield layers and the input of their synapses: the inputs of stages, and spikes that return to neurons."""
    if len(inputs) == 1:
        yield stages[0], inputs[0]
    own_layer = as_neuron(stages[-1]).own_layer if is_neuron(stages[-1]) else None
    if own_layer is not None:
        yield own_layer, stages[-1].returning(y)


def operations(x: Array, fan_out: Array) -> float:
    """Return the number of synaptic operations of spikes or numbers (T, N, ...), in float64."""
    counts = x.sum(axis=(0, 1), dtype="int64" if x.dtype == bool else "float64")
    return (counts * fan_out).sum()


@check.named
class SparsityLoss:
    """A loss with a penalty for the synaptic operations of a network.

    With o the mean number of operations per sample, from all spikes of neurons in the layers after them::

        E = loss + weight N max(0, o - allowed)

    While there are more operations than allowed, each bin of a neuron receives ``weight`` times its number of synapses
    as a further gradient. Operations are counted as in `count_operations`, without the input's: a number other than 0,
    such as from `SigmaDelta`, counts like a spike, and its gradient has its sign. Spikes count before Dropout.
    `Trainer` observes the network for this loss; elsewhere::

        with loss.observing(net):
            out = net(x)
        value = loss(out, labels)

    Without an observed pass before, there is no penalty.

    Args:
        loss: the loss of output and target.
        weight: the penalty per operation.
        allowed: the number of operations per sample without a penalty.

    Raises:
        ValueError: weight or allowed is negative.
        TypeError: loss is not callable, or weight or allowed is not a number.

    >>> import numpy as np
    >>> from cuslayer.loss import CrossEntropyLoss
    >>> round(SparsityLoss(CrossEntropyLoss(), weight=1e-6)(np.zeros((3, 1, 2)), [0]).item(), 4)
    0.6931
    """

    def __init__(self, loss: Callable[..., Tensor], *, weight: float, allowed: float = 0.0) -> None:
        if not callable(loss):
            raise TypeError(f"loss must be a function of output and target, got {type(loss).__name__}")
        self.loss = loss
        self.weight, self.allowed = check.factor("weight", weight), check.factor("allowed", allowed)
        self._operations: list[Tensor] = []
        # The outputs of Dropout and of stages after it, and what they would be without Dropout, by the output's
        # identity.
        self._before_dropout: dict[int, tuple[Tensor, Tensor]] = {}
        self._fan_outs: dict[tuple[int, Shape], tuple[Any, Array | None]] = {}

    @property
    def neuron(self) -> Neuron | None:
        """The neuron of the loss; None if it has none."""
        return getattr(self.loss, "neuron", None)

    @property
    def at_steps(self) -> bool:
        """Whether integers (T, N) are labels at each step."""
        return getattr(self.loss, "at_steps", True)

    def __call__(self, output: TensorLike, target: object) -> Tensor:
        """Return the loss with the penalty of the last observed pass."""
        operations, self._operations = self._operations, []
        value = self.loss(output, target)
        if not operations:
            return value
        total: Tensor = sum(operations[1:], start=operations[0])
        samples = as_tensor(output).shape[1]
        return value + (total - self.allowed * samples).clip(0) * self.weight

    @contextmanager
    def observing(self, net: Container) -> Iterator[None]:
        """Count the operations of a network's forward pass within the block, from 0."""
        self._operations = []
        try:
            with observe(net, self._count):
                yield
        finally:
            self._before_dropout = {}

    def _count(self, run: Run, step: Step, *inputs: Tensor) -> Tensor:
        if len(step.stages) > 2:  # it needs the spikes between a convolution and its pooling
            for part in step.parts():
                inputs = (self._count(run, part, *inputs),)
            return inputs[0]
        y, whole = run(step, *inputs), [self._before_dropout.get(id(x), (x, x))[1] for x in inputs]
        stage = step.stages[0]
        if form_of(stage) == "same" and y is not inputs[0]:
            self._before_dropout[id(y)] = y, whole[0]
        elif as_layer(stage).passes_spikes and any(a is not b for a, b in zip(whole, inputs, strict=True)):
            self._before_dropout[id(y)] = y, as_tensor(stage(*whole))
        for layer, x in sent(step.stages, whole, y):
            # Only the output of neurons has a gradient.
            synapses = self._fan_out(layer, x) if x.requires_grad else None
            if synapses is not None:
                if (lengths := inputs[0].lengths) is not None:  # spikes that return are fewer steps
                    x = ended(x, lengths=(lengths - (len(inputs[0]) - len(x))).clip(0))
                self._operations.append(synaptic_operations(events(x), fan_out=synapses))
        return y

    def _fan_out(self, layer: object, x: Tensor) -> Array | None:
        """Return the number of synapses of each input, on the device of x; computed once per layer and shape."""
        key = id(layer), x.shape[2:]
        if key not in self._fan_outs:
            found = fan_out(layer, x.shape[2:])
            # The reference to the layer prevents another layer with its identity.
            self._fan_outs[key] = layer, None if found is None else to_device(found)
        return self._fan_outs[key][1]

    def __repr__(self) -> str:
        return check.shown(self)

    def desired_rate(self, target: object, outputs: int, steps: int) -> float | None:
        """Return the rate that the loss desires."""
        return desired_rate(self.loss, target, outputs, steps)

    def send_labels(self, labels: object, spikes: TensorLike) -> object:
        """Return labels where the loss needs them."""
        return sent_labels(self.loss, labels, spikes)

    def scored(self, output: TensorLike, target: object) -> tuple[TensorLike, object]:
        """Return output and target for the loss's score."""
        return scored(self.loss, output, target)
