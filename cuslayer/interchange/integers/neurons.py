"""Neurons and read-outs of integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, save_for_backward
from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.integers.fixed import INPUT_BITS, Factor, FixedStep, saturated
from cuslayer.interchange.integers.layers import no_gradient, whole
from cuslayer.layers import Layer
from cuslayer.layers.base import Shape
from cuslayer.layers.dense import dense
from cuslayer.neurons.base import Neuron
from cuslayer.neurons.states import Carried

# The mantissa of the factor of sums of weights, at most.
MOST_SCALE = (1 << 31) - 1


def _of_neuron(name: str) -> Any:
    """Return a property that is an attribute of the neurons in float."""
    return property(lambda self: getattr(self.neuron, name))


class IntegerNeurons(Layer, Neuron):
    """Neurons in fixed point after a layer of integer weights, or with one to themselves; made by `quantize`.

    Their input x is a sum of integer weights. The step runs on ``factor x + added``, whole numbers.

    Attributes:
        neuron: the neurons in float.
        step: their step in fixed point.
        factor: the value of a weighted input of 1 in the step, a number for all neurons or for each.
        added: what each step adds to it.
        layer: the layer from the neurons to themselves, with integer weights; None without one.
        back: its factor.
        delay: the steps until a spike is back.
        sends_potential: whether the output is the potential, as of a read-out, not spikes.
    """

    keeps_shape = keeps_steps = True

    theta, dt, gradient, period, peak = map(_of_neuron, ("theta", "dt", "gradient", "period", "peak"))
    response, refractory, filter = map(_of_neuron, ("response", "refractory", "filter"))
    width, highest_rate, pool_gain, surrogate = map(_of_neuron, ("width", "highest_rate", "pool_gain", "surrogate"))
    parts = "none"

    def __init__(
        self,
        neuron: Any,
        step: FixedStep,
        factor: Factor,
        added: Array,
        layer: Any = None,
        back: Factor | None = None,
        delay: int = 0,
        sends_potential: bool = False,
    ) -> None:
        self.neuron = neuron
        self.step = step
        self.factor = factor
        self.added = added
        self.layer = layer
        self.back = back
        self.delay = delay
        self.sends_potential = sends_potential or not step.kind.fires

    @property
    def reach(self) -> int:
        """The steps until the last of a spike's effects on its own population."""
        delays = None if self.layer is None else self.layer.delays
        return self.delay + (0 if delays is None else int(delays.memory))

    @property
    def own_layer(self) -> Any:
        """The layer from the neurons to themselves."""
        return self.layer

    def returning(self, spikes: Tensor) -> Tensor:
        """Return the spikes (T, N, ...) that reach their own population within the T steps."""
        return spikes[: max(0, spikes.shape[0] - self.delay)]

    def output_shape(self, shape: Shape | None) -> Shape | None:
        return shape

    def continued(self) -> Callable[[Any], Tensor] | None:
        state = Carried()
        return lambda x: _run(as_tensor(x), neurons=self, state=state)

    def __call__(self, x: Any) -> Tensor:
        """Return the spikes, or the numbers of a read-out, for sums of integer weights (T, N, ...)."""
        return _run(as_tensor(x), neurons=self, state=Carried())

    def __repr__(self) -> str:
        return f"IntegerNeurons({self.neuron!r}, states={self.step.bits})"


@differentiable
def _run(x: Array, /, *, neurons: IntegerNeurons, state: Carried) -> tuple[Array, Pullback]:
    step = neurons.step
    kind = step.kind
    shape = x.shape[1:]
    if state.values is None:
        state.values = step.start(shape), [], []
    states, inputs, fired = state.values
    potentials = np.empty(x.shape, np.float32)
    spikes = np.zeros(x.shape, bool)
    unit = 2.0**-step.fraction
    for t, row in enumerate(x):
        weighted = neurons.factor.times(whole(row)) + neurons.added
        if neurons.layer is not None and len(fired) >= neurons.delay:
            sent = returned(neurons.layer, fired, neurons.delay).reshape(shape)
            weighted = weighted + neurons.back.times(whole(sent))  # type: ignore[union-attr]
        weighted = saturated(weighted, INPUT_BITS)
        past = {}
        for earlier in kind.past:
            lag = step.lags[earlier.lag]
            held = fired if earlier.of == kind.spike else inputs
            earlier_row = held[-lag] if 0 < lag <= len(held) else np.zeros(shape, np.int64)
            past[earlier.name] = earlier_row * step.fixed(1.0) if earlier.of == kind.spike else earlier_row
        states, values = step.run(states, weighted, past)
        potentials[t] = values[kind.potential] * unit
        if kind.fires:
            spikes[t] = values[kind.spike]
        inputs.append(weighted)
        fired.append(spikes[t].copy())
        longest = max(neurons.reach, 1, *step.lags.values())
        del inputs[:-longest], fired[:-longest]
    state.values = states, inputs, fired
    save_for_backward(kernels.of(x), potentials)
    return potentials if neurons.sends_potential else spikes, no_gradient


def returned(layer: Any, fired: Sequence[Array], delay: int) -> Array:
    """Return the weighted input (N, ...) that spikes of the last steps send back to themselves after a delay."""
    if layer.delays is None:
        sent: Array = layer(Tensor(fired[-delay][None])).data[0]
        return sent
    flat = [spikes.reshape(len(spikes), -1) for spikes in fired[::-1][delay - 1 : delay - 1 + layer.delays.lags]]
    weight = to_numpy(layer.effective_weight().data)
    lags = to_numpy(layer.delays.whole_lags())
    over_lags = np.concatenate([np.where(lags == lag, weight, 0) for lag in range(len(flat))])
    sums: Array = dense(Tensor(np.concatenate(flat, axis=1)[None]), over_lags).data[0]
    return sums


class IntegerReadOut(Layer):
    """A read-out of integers: a layer of integer weights and an integrator in fixed point; made by `quantize`.

    Attributes:
        dense: the layer.
        neurons: the integrator.
    """

    keeps_steps = True
    is_read_out = True

    def __init__(self, dense: Any, neurons: IntegerNeurons) -> None:
        self.dense, self.neurons = dense, neurons

    def output_shape(self, shape: Shape | None) -> Shape | None:
        found: Shape | None = self.dense.output_shape(shape)
        return found

    def fan_out(self, shape: Shape) -> Array | None:
        found: Array | None = self.dense.fan_out(shape)
        return found

    def continued(self) -> Callable[[Any], Tensor] | None:
        run = self.neurons.continued()
        return run and (lambda x: run(self.dense(x)))

    def __call__(self, x: Any) -> Tensor:
        """Return the numbers (T, N, outputs) for spikes x (T, N, ...)."""
        return self.neurons(self.dense(x))

    def __repr__(self) -> str:
        return f"IntegerReadOut({self.dense!r}, {self.neurons!r})"
