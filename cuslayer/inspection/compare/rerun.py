"""A float64 copy of a network, which can be rerun from any stage on with perturbed inputs."""

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
from cuslayer.layers.base import Hooked, Synapse
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.tape import Tensor, as_tensor, no_grad

# Elements of the largest array of several trials at once: 64 MiB in float64.
_MOST = 2**23


def copy_stages(net: Any, gradient: str) -> list[Any]:
    """Return copies of the stages of a network in evaluation mode, with float64 parameters of their own.

    Weights are the effective ones, after their hooks. Delays keep their dtype, whose tolerance decides which delays
    are multiples of the step. The neurons have the given gradient mode.
    """
    return [_copy_stage(stage, gradient) for stage in net.layers]


def _copy_stage(stage: Any, gradient: str) -> Any:
    if isinstance(stage, Neuron):
        return stage.with_gradient(gradient)
    if not isinstance(stage, Layer):
        return stage
    layer = copy.copy(stage)
    layer.training = False
    if isinstance(layer, Synapse):
        with no_grad():
            layer.weight, layer.weight_hook = layer.effective_weight(), None
    elif isinstance(layer, Hooked) and layer.weight_hook:
        fixed = layer.effective_weight().detach()
        layer.weight_hook = lambda weight: fixed
    for name, p in trained_tensors(layer).items():
        data = p.data.copy() if isinstance(layer, Delay) else p.data.astype(np.float64)
        setattr(layer, name, Tensor(data, requires_grad=True))
    return layer


def trained_tensors(stage: Any) -> dict[str, Tensor]:
    """Return the parameters of a layer that are its own attributes, by name."""
    if not isinstance(stage, Layer):
        return {}
    own = {id(p) for p in stage.parameters()}
    return {name: value for name, value in vars(stage).items() if isinstance(value, Tensor) and id(value) in own}


class Run:
    """A forward and backward pass through stages.

    Attributes:
        stages: the stages.
        inputs: the input of each stage and the output of the last: (T, N, ...), on the device.
        relaxed: the relaxed neurons, by position.
        spikes_error: the errors of the spikes, by the position of the neurons, on the CPU.
        potential_error: the errors of their potentials.
        gradients: the gradients of the parameters, by position and name.
        loss: the loss of the output.
    """

    def __init__(self, stages: list[Any], x: Any, loss: Callable[[Tensor], Tensor]) -> None:
        self.stages, self._loss = stages, loss
        self.inputs: list[Array] = []
        self.relaxed: dict[int, Relaxed] = {}
        self.spikes_error: dict[int, Array] = {}
        self.potential_error: dict[int, Array] = {}
        with no_grad(active=False):
            # An input that requires a gradient makes every layer receive one.
            y = Tensor(as_tensor(x).data, requires_grad=True)
            self.inputs.append(y.data)
            y = run_stages(stages, y, self._after, run=self._run)
            value = loss(y * Tensor(np.ones(1)))
        value.backward()
        self.loss = value.item()
        for at in self.relaxed:  # a custom stage may stop the gradient
            for errors in (self.spikes_error, self.potential_error):
                errors.setdefault(at, np.zeros(self.inputs[at + 1].shape))
        self.gradients = {
            (at, name): np.zeros(p.shape) if p.grad is None else to_numpy(p.grad).astype(np.float64)
            for at, stage in enumerate(stages)
            for name, p in trained_tensors(stage).items()
        }

    def _run(self, at: int, x: Tensor) -> Tensor:
        stage = self.stages[at]
        if not is_neuron(stage):
            return as_tensor(stage(x))
        if as_neuron("compare_gradients", stage).laplace is None:
            kind = type(stage).__name__
            raise TypeError(f"compare_gradients: layer {at} must be SRM or Loihi to be relaxed, got {kind}")
        return _spikes_of(stage, x, lambda g: self.potential_error.update({at: _float64(g)}))

    def _after(self, at: int, y: Tensor, u: Array | None) -> Tensor:
        self.inputs.append(y.data)
        if u is None:
            return y
        relaxed = self.relaxed[at] = Relaxed(self.stages[at], to_numpy(u).reshape(y.shape))

        def store_errors(g: Array) -> None:
            self.spikes_error[at] = _float64(g)
            if self.stages[at].one_pass is None:
                self.potential_error[at] = relaxed.slope() * self.spikes_error[at]

        return on_gradient(y, callback=store_errors)

    def trials_at_once(self, at: int) -> int:
        """Return how many trials are run at once from a stage on."""
        return max(1, _MOST // max(1, *(x.size for x in self.inputs[at:])))

    def losses(self, outputs: Array) -> Iterator[float]:
        """Yield the loss of each trial's output, outputs (T, trials, N, ...)."""
        with no_grad():
            for trial in range(outputs.shape[1]):
                yield self._loss(Tensor(np.ascontiguousarray(outputs[:, trial], np.float64))).item()

    def rerun(self, at: int, x: Array) -> Array:
        """Run the stages from a position on with other inputs (T, trials, N, ...)."""
        trials = x.shape[1:3]
        with no_grad():
            y = Tensor(_as_batch(x))
            for stage in self.stages[at:]:
                y = _spikes_of(stage, y) if is_neuron(stage) else as_tensor(stage(y))
        return _as_trials(y.data, trials)

    def rerun_relaxed(self, at: int, x: Array) -> Array:
        """Run the stages of the relaxed network from a position on with other inputs (T, trials, N, ...)."""
        trials = x.shape[1:3]
        for position in range(at, len(self.stages)):
            stage = self.stages[position]
            if is_neuron(stage):
                x = self.spikes(position) + self.relaxed[position].changes(self._filtered_change(position, x))
            else:
                with no_grad():
                    x = _as_trials(as_tensor(stage(Tensor(_as_batch(x)))).data, trials)
        return x

    def spikes(self, at: int) -> Array:
        """Return the run's spikes of the neurons at a position as numbers, (T, 1, N, ...)."""
        return to_numpy(self.inputs[at + 1])[:, None].astype(np.float64)

    def _filtered_change(self, at: int, x: Array) -> Array:
        """Return how the filtered input of the neurons at a position changes if their weighted input is x."""
        change = x - to_numpy(self.inputs[at])[:, None]
        with no_grad():
            a = self.stages[at].psp(Tensor(_as_batch(change))).data
        return _as_trials(a, x.shape[1:3]) * self.relaxed[at].peak


def _spikes_of(neurons: Any, x: Tensor, on_error: Callable[[Array], None] | None = None) -> Tensor:
    """Return the spikes of neurons for their weighted input; `on_error` gets the error on an SRM's potential."""
    if neurons.one_pass is None:
        return neurons(x)
    a = neurons.psp(x)
    return neurons.spike(a if on_error is None else on_gradient(a, callback=on_error))


def _float64(g: Array) -> Array:
    return to_numpy(g).astype(np.float64)


def _as_batch(x: Array) -> Array:
    """Return trials (T, trials, N, ...) as one batch (T, trials N, ...) on the device."""
    return to_device(np.ascontiguousarray(x.reshape(len(x), x.shape[1] * x.shape[2], *x.shape[3:])))


def _as_trials(x: Array, trials: tuple[int, ...]) -> Array:
    """Return a batch (T, trials N, ...) as trials (T, trials, N, ...) on the CPU."""
    check.time_first("compare_gradients", "a layer's output", x)
    return to_numpy(x).reshape(len(x), *trials, *x.shape[2:])
