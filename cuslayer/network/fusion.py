"""The plan of a forward pass: which layers and neurons of a network run as one fused operation.

`FUSIONS` has all patterns. The first pattern that fits is used; a stage that fits none runs by itself. With and without
fusion a network computes the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

from cuslayer.backend import Setting
from cuslayer.kernels.constants import Pooling
from cuslayer.layers import Conv, Dense, Layer, Pool
from cuslayer.layers.fused import conv_neuron, conv_pool, dense_neuron
from cuslayer.neurons.base import OnePass
from cuslayer.tape import Tensor, as_tensor, grad_enabled


class Fusion(NamedTuple):
    """A pattern of stages that run as one operation.

    Attributes:
        layers: the classes of its layers, each followed by neurons. A subclass with its own `__call__` does not fit,
            nor does pooling with a weight hook.
        operation: the fused operation: a function of the input, the layers and the `OnePass` of their neurons.
        condition: a further condition on the `OnePass` of the neurons.
    """

    layers: tuple[type[Layer], ...]
    operation: Callable[..., Tensor]
    condition: Callable[[list[OnePass]], bool] = lambda neurons: True

    def fits(self, stages: Sequence[Any]) -> bool:
        """Return whether the first stages are the pattern's layers and neurons."""
        count = len(self.layers)
        layers, neurons = stages[: 2 * count : 2], stages[1 : 2 * count : 2]
        if len(neurons) < count or not all(map(_computes_as, layers, self.layers)):
            return False
        found = [one_pass(neuron) for neuron in neurons]
        return None not in found and self.condition(cast("list[OnePass]", found))


def one_pass(stage: Any) -> OnePass | None:
    """Return the `OnePass` of a stage that is a spike response neuron; None for any other stage."""
    return getattr(stage, "one_pass", None)


def _computes_as(layer: Any, kind: type[Layer]) -> bool:
    # The fused pass of pooling has one gain for all taps of a window.
    hooked_pool = isinstance(layer, Pool) and bool(layer.weight_hook)
    return isinstance(layer, kind) and type(layer).__call__ is kind.__call__ and not hooked_pool


def _same_gradient(neurons: list[OnePass]) -> bool:
    return neurons[0].exact == neurons[1].exact


def _conv_pool(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    conv, pool = layers
    pooling = Pooling(pool.window, pool.gain, neurons[1].response, neurons[1].spiking)
    weight, options = conv.effective_weight(), neurons[0]._asdict() | conv.geometry()
    return conv_pool(x, weight, pooling=pooling, **options)


def _conv(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    return conv_neuron(x, layers[0].effective_weight(), **neurons[0]._asdict(), **layers[0].geometry())


def _dense(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    return dense_neuron(x, layers[0].effective_weight(), **neurons[0]._asdict())


FUSIONS = (Fusion((Conv, Pool), _conv_pool, condition=_same_gradient), Fusion((Conv,), _conv), Fusion((Dense,), _dense))


@dataclass(frozen=True)
class Step:
    """Stages of a network that run as one.

    Attributes:
        start: the position of the first in the network.
        stages: the stages.
        fusion: the pattern they fit; None for a single stage.
    """

    start: int
    stages: tuple[Any, ...]
    fusion: Fusion | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the output of the stages for the input x (T, N, ...)."""
        if self.fusion is None:
            return as_tensor(self.stages[0](x))
        neurons = [one_pass(neuron) for neuron in self.stages[1::2]]
        return self.fusion.operation(x, list(self.stages[::2]), neurons)

    @property
    def keeps_potentials(self) -> bool:
        """Whether the step is a fused convolution pass that saves potentials for backward, on the CPU in blocks."""
        return self.fusion is not None and self.fusion.layers[0] is Conv and grad_enabled()

    def parts(self) -> list[Step]:
        """Return one step per stage."""
        return [Step(self.start + number, (stage,)) for number, stage in enumerate(self.stages)]

    def with_layer(self, layer: Any) -> Step:
        """Return the step with another first layer."""
        return replace(self, stages=(layer, *self.stages[1:]))


def plan(stages: Sequence[Any]) -> list[Step]:
    """Return the steps of a forward pass through stages.

    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> [len(step.stages) for step in plan([Conv(2, 4, 3), srm, Pool(2, gain=11.0), srm, Dense(16, 2), srm])]
    [4, 2]
    """
    steps, at = [], 0
    while at < len(stages):
        fusion = next((fusion for fusion in FUSIONS if fusion.fits(stages[at:])), None)
        count = 1 if fusion is None else 2 * len(fusion.layers)
        steps.append(Step(at, tuple(stages[at : at + count]), fusion))
        at += count
    return steps


# Runs a step of a plan on its input.
Run: TypeAlias = "Callable[[Step, Tensor], Tensor]"
# Runs a step in place of a `Run`: called with that `Run`, the step and its input; returns the output.
Observer: TypeAlias = "Callable[[Run, Step, Tensor], Tensor]"

_observers: Setting[tuple[tuple[Any, Observer], ...]] = Setting(())


@contextmanager
def observe(net: Any, observer: Observer) -> Iterator[None]:
    """Let an observer run every step of a network's forward passes, within the block and this thread.

    The observer may run the stages of a step one by one; it must return the output of the step. Of several observers
    of a network, the last one is called first.
    """
    with _observers.set((*_observers.get(), (net, observer))):
        yield


def observed(net: Any) -> Run:
    """Return the function that runs the steps of a network, through its observers if it has any."""

    def run(step: Step, x: Tensor) -> Tensor:
        return step(x)

    for other, observer in _observers.get():
        if other is net:
            run = partial(observer, run)
    return run
