"""A network's stand-in, in float64: what is moved to be measured is not the network's own.

A network's run, one stage after the other, that its rest can be run again from any of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.compare.relaxed import Relaxed
from cuslayer.inspection.forward import run_stages
from cuslayer.layers import Delay, Layer
from cuslayer.layers.base import Synapse
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad


def stand_ins(net: Any, gradient: str) -> list[Any]:
    """Return stages that do what those of a network do out of training, with weights of their own.

    Weights are float64, and what the hooks make of them now. Delays stay in their type, by which it is told whether one
    is a multiple of the step.

    Args:
        net: the network.
        gradient: the mode of the neurons' gradient.
    """
    return [_stand_in(stage, gradient) for stage in net.layers]


def _stand_in(stage: Any, gradient: str) -> Any:
    if isinstance(stage, Neuron):
        return stage.with_gradient(gradient)
    if not isinstance(stage, Layer):
        return stage
    twin = copy.copy(stage)
    twin.training = False
    if isinstance(twin, Synapse):
        with no_grad():
            twin.weight, twin.weight_hook = twin.effective_weight(), None
    for name, p in trained(twin).items():
        data = p.data.copy() if isinstance(twin, Delay) else p.data.astype(np.float64)
        setattr(twin, name, Tensor(data, requires_grad=True))
    return twin


def trained(stage: Any) -> dict[str, Tensor]:
    """Return what is trained of a layer and is an attribute of its own, by name."""
    if not isinstance(stage, Layer):
        return {}
    mine = {id(p) for p in stage.parameters()}
    return {name: value for name, value in vars(stage).items() if isinstance(value, Tensor) and id(value) in mine}


# Elements of the largest array that several trials make together: 64 MiB in float64.
_MOST = 2**23


def fired(neurons: Any, x: Tensor, show: Callable[[Array], None] | None = None) -> Tensor:
    """Return the spikes of neurons for their weighted input; `show` gets the error on an SRM's potential."""
    if neurons.one_pass is None:
        return neurons(x)
    a = neurons.psp(x)
    return neurons.spike(a if show is None else on_gradient(a, callback=show))


class Run:
    """A run of stages, forward and back.

    Attributes:
        stages: the stages.
        inputs: what went into each of them, and what came out of the last: (T, N, ...), where they live.
        relaxed: the relaxed neurons, by position.
        spikes_error: the errors that reached the spikes, by the position of the neurons, on the CPU.
        potential_error: the errors on their potentials.
        gradients: those of what is trained, by position and name.
        loss: the loss of the spikes.
    """

    def __init__(self, stages: list[Any], x: Any, loss: Callable[[Tensor], Tensor]) -> None:
        self.stages, self._loss = stages, loss
        self.inputs: list[Array] = []
        self.relaxed: dict[int, Relaxed] = {}
        self.spikes_error: dict[int, Array] = {}
        self.potential_error: dict[int, Array] = {}
        with no_grad(active=False):
            # The gradient is to reach every layer: it goes on to the input.
            y = Tensor(as_tensor(x).data, requires_grad=True)
            self.inputs.append(y.data)
            y = run_stages(stages, y, self._after, run=self._run)
            value = loss(y * Tensor(np.ones(1)))
        value.backward()
        self.loss = value.item()
        for at in self.relaxed:  # a stage of one's own may let no gradient pass
            for errors in (self.spikes_error, self.potential_error):
                errors.setdefault(at, np.zeros(self.inputs[at + 1].shape))
        self.gradients = {
            (at, name): np.zeros(p.shape) if p.grad is None else to_numpy(p.grad).astype(np.float64)
            for at, stage in enumerate(stages)
            for name, p in trained(stage).items()
        }

    def _run(self, at: int, x: Tensor) -> Tensor:
        stage = self.stages[at]
        if not is_neuron(stage):
            return as_tensor(stage(x))
        if as_neuron("compare_gradients", stage).laplace is None:
            kind = type(stage).__name__
            raise TypeError(f"compare_gradients: layer {at} must be SRM or Loihi to be relaxed, got {kind}")
        return fired(stage, x, lambda g: self.potential_error.update({at: _kept(g)}))

    def _after(self, at: int, y: Tensor, u: Array | None) -> Tensor:
        self.inputs.append(y.data)
        if u is None:
            return y
        relaxed = self.relaxed[at] = Relaxed(self.stages[at], to_numpy(u).reshape(y.shape))

        def show(g: Array) -> None:
            self.spikes_error[at] = _kept(g)
            if self.stages[at].one_pass is None:
                self.potential_error[at] = relaxed.slope() * self.spikes_error[at]

        return on_gradient(y, callback=show)

    def together(self, at: int) -> int:
        """Return how many trials are run at once from a stage on."""
        return max(1, _MOST // max(1, *(x.size for x in self.inputs[at:])))

    def losses(self, outputs: Array) -> Iterator[float]:
        """Return the loss of each trial's output (T, trials, N, ...)."""
        with no_grad():
            for trial in range(outputs.shape[1]):
                yield self._loss(Tensor(np.ascontiguousarray(outputs[:, trial], np.float64))).item()

    def again(self, at: int, x: Array) -> Array:
        """Run the rest of the network, as it is, from a stage on with other inputs: (T, trials, N, ...)."""
        batch = x.shape[1:3]
        with no_grad():
            y = Tensor(_joined(x))
            for stage in self.stages[at:]:
                y = fired(stage, y) if is_neuron(stage) else as_tensor(stage(y))
        return _parted(y.data, batch)

    def relaxed_again(self, at: int, x: Array) -> Array:
        """Run the rest of the relaxed network from a stage on with other inputs: (T, trials, N, ...)."""
        batch = x.shape[1:3]
        for position in range(at, len(self.stages)):
            stage = self.stages[position]
            if is_neuron(stage):
                x = self.spikes(position) + self.relaxed[position].changes(self._filtered(position, x))
            else:
                with no_grad():
                    x = _parted(as_tensor(stage(Tensor(_joined(x)))).data, batch)
        return x

    def spikes(self, at: int) -> Array:
        """Return the spikes of the neurons at a position in the run as numbers, with an axis for trials."""
        return to_numpy(self.inputs[at + 1])[:, None].astype(np.float64)

    def _filtered(self, at: int, x: Array) -> Array:
        """Return the change of the filtered input of neurons whose weighted input is x."""
        change = x - to_numpy(self.inputs[at])[:, None]
        with no_grad():
            a = self.stages[at].psp(Tensor(_joined(change))).data
        return _parted(a, x.shape[1:3]) * self.relaxed[at].peak


def _kept(g: Array) -> Array:
    return to_numpy(g).astype(np.float64)


def _joined(x: Array) -> Array:
    """Return trials (T, trials, N, ...) as one batch, where the network lives."""
    return to_device(np.ascontiguousarray(x.reshape(len(x), x.shape[1] * x.shape[2], *x.shape[3:])))


def _parted(x: Array, batch: tuple[int, ...]) -> Array:
    check.time_first("compare_gradients", "a layer's output", x)
    return to_numpy(x).reshape(len(x), *batch, *x.shape[2:])
