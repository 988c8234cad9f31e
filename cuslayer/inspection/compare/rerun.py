"""A float64 copy of a network, which can be rerun from any stage on with perturbed outputs of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.inspection.compare.relaxed import Relaxed
from cuslayer.inspection.forward import run_nodes
from cuslayer.layers import Delay, Layer
from cuslayer.layers.base import Hooked, Synapse
from cuslayer.network.container import graph_of
from cuslayer.network.graph import INPUT, Node, flow
from cuslayer.network.hooks import on_gradient
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.tape import Tensor, as_tensor, gradients, no_grad

# Elements of the largest array of several trials at once: 64 MiB in float64.
_MOST = 2**23


def copy_nodes(net: Any, gradient: str) -> list[Node]:
    """Return the nodes of a network with copies of their stages in evaluation mode, with float64 parameters.

    Weights are the effective ones, after their hooks. Delays keep their dtype, whose tolerance decides which delays
    are multiples of the step. The neurons have the given gradient mode. A layer that stands at several places has a
    copy at each, so that each place has a gradient of its own.
    """
    return [replace(node, stage=_copy_stage(node.stage, gradient)) for node in graph_of(net).nodes]


def _copy_stage(stage: Any, gradient: str) -> Any:
    return stage.with_gradient(gradient) if isinstance(stage, Neuron) else _copy(stage, np.float64)


def _copy(value: Any, dtype: Any) -> Any:
    """Return a layer with copies of the tensors and layers in it; anything else as it is."""
    if isinstance(value, Tensor):
        return value if value.node is not None else Tensor(value.data.astype(dtype or value.dtype), requires_grad=True)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_copy(item, dtype) for item in value)
    if type(value) is dict:
        return {key: _copy(item, dtype) for key, item in value.items()}
    if not isinstance(value, Layer):
        return value
    layer = copy.copy(value)
    if isinstance(layer, Synapse):
        with no_grad():
            layer.weight, layer.weight_hook = layer.effective_weight(), None
    elif isinstance(layer, Hooked) and layer.weight_hook:
        fixed = layer.effective_weight().detach()
        layer.weight_hook = lambda weight: fixed
    dtype = None if isinstance(layer, Delay) else dtype
    for name, item in list(vars(layer).items()):
        setattr(layer, name, _copy(item, dtype))
    layer.training = False
    return layer


def trained_tensors(stage: Any) -> dict[str, Tensor]:
    """Return the parameters of a layer by name; those that are no attributes of it are the original's, and left out."""
    if not isinstance(stage, Layer):
        return {}
    return {name: p for name, p in stage.named_parameters().items() if not name.isdigit()}


class Run:
    """A forward and backward pass through the nodes of a network.

    Attributes:
        nodes: the nodes.
        output: the number of the node that has the network's output.
        outputs: the output of each node by its number, that of INPUT the network's input: (T, N, ...), on the device.
        relaxed: the relaxed neurons, by number.
        spikes_error: the errors of the spikes, by the number of the neurons, on the CPU.
        potential_error: the errors of their potentials.
        gradients: the gradients of the parameters, by number and name.
        loss: the loss of the output.
    """

    def __init__(self, nodes: list[Node], output: int, x: Any, loss: Callable[[Tensor], Tensor]) -> None:
        self.nodes, self.output, self._loss = nodes, output, loss
        self.relaxed: dict[int, Relaxed] = {}
        self.spikes_error: dict[int, Array] = {}
        self.potential_error: dict[int, Array] = {}
        with no_grad(active=False):
            # An input that requires a gradient makes every layer receive one.
            y = Tensor(as_tensor(x).data, requires_grad=True)
            self.outputs: dict[int, Array] = {INPUT: y.data}
            y = run_nodes(nodes, output, y, self._after, run=self._run)
            value = loss(y * Tensor(np.ones(1)))
        tensors = {(n.number, name): p for n in nodes for name, p in trained_tensors(n.stage).items()}
        found = dict(zip(tensors, gradients(value, list(tensors.values())), strict=True))
        self.loss = value.item()
        for number in self.relaxed:  # a custom stage may stop the gradient
            for errors in (self.spikes_error, self.potential_error):
                errors.setdefault(number, np.zeros(self.outputs[number].shape))
        self.gradients = {
            at: np.zeros(tensors[at].shape) if g is None else to_numpy(g).astype(np.float64) for at, g in found.items()
        }

    def _run(self, node: Node, *inputs: Tensor) -> Tensor:
        stage = node.stage
        if not is_neuron(stage):
            return node(*inputs)
        if as_neuron("compare_gradients", stage).relaxed is None:
            kind = type(stage).__name__
            raise TypeError(f"compare_gradients: layer {node} must be SRM or Loihi to be relaxed, got {kind}")
        return _spikes_of(stage, inputs[0], lambda g: self.potential_error.update({node.number: _float64(g)}))

    def _after(self, node: Node, y: Tensor, u: Array | None) -> Tensor:
        number = node.number
        self.outputs[number] = y.data
        if u is None:
            return y
        relaxed = self.relaxed[number] = Relaxed(node.stage, to_numpy(u).reshape(y.shape))

        def store_errors(g: Array) -> None:
            self.spikes_error[number] = _float64(g)
            if node.stage.one_pass is None:
                self.potential_error[number] = relaxed.slope() * self.spikes_error[number]

        return on_gradient(y, callback=store_errors)

    def trials_at_once(self, number: int) -> int:
        """Return how many trials are run at once from the output of a node on."""
        return max(1, _MOST // max(1, *(x.size for at, x in self.outputs.items() if at >= number)))

    def losses(self, outputs: Array) -> Iterator[float]:
        """Yield the loss of each trial's output, outputs (T, trials, N, ...)."""
        with no_grad():
            for trial in range(outputs.shape[1]):
                yield self._loss(Tensor(np.ascontiguousarray(outputs[:, trial], np.float64))).item()

    def rerun(self, number: int, x: Array, samples: Array) -> Array:
        """Run the nodes after one with other outputs x of it, (T, trials, 1, ...), each of one of the samples."""

        def run(node: Node, *inputs: Array) -> Array:
            tensors = [Tensor(_as_batch(x)) for x in inputs]
            with no_grad():
                y = _spikes_of(node.stage, tensors[0]) if is_neuron(node.stage) else node(*tensors)
            return _as_trials(y.data, x.shape[1:3])

        return self._from(number, x, lambda base: base[:, samples][:, :, None], run)

    def rerun_relaxed(self, number: int, x: Array) -> Array:
        """Run the nodes of the relaxed network after one with other outputs x of it, (T, trials, N, ...)."""

        def run(node: Node, *inputs: Array) -> Array:
            if is_neuron(node.stage):
                changes = self.relaxed[node.number].changes(self._filtered_change(node, inputs[0]))
                return self.spikes(node.number) + changes
            with no_grad():
                return _as_trials(node(*(Tensor(_as_batch(x)) for x in inputs)).data, x.shape[1:3])

        return self._from(number, x, lambda base: np.repeat(base[:, None], x.shape[1], axis=1), run)

    def _from(self, number: int, x: Array, as_trials: Callable[[Array], Array], run: Callable[..., Array]) -> Array:
        """Run the nodes that depend on the output x of one; `as_trials` turns the outputs of others into trials."""
        reached, later = {number}, list[Node]()
        for node in self.nodes[number + 1 :]:
            if reached.intersection(node.inputs):
                reached.add(node.number)
                later.append(node)
        others = {self.output, *(n for node in later for n in node.inputs)} - reached
        values = {n: as_trials(to_numpy(self.outputs[n])) for n in others}
        return flow(later, self.output, {number: x, **values}, run)

    def spikes(self, number: int) -> Array:
        """Return the run's spikes of neurons as numbers, (T, 1, N, ...)."""
        return to_numpy(self.outputs[number])[:, None].astype(np.float64)

    def _filtered_change(self, node: Node, x: Array) -> Array:
        """Return how the filtered input of neurons changes if their weighted input is x."""
        change = x - to_numpy(self.outputs[node.inputs[0]])[:, None]
        with no_grad():
            a = node.stage.psp(Tensor(_as_batch(change))).data
        return _as_trials(a, x.shape[1:3]) * self.relaxed[node.number].peak


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
