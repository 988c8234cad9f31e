"""`balance_errors`: scale the surrogates of neurons, so that errors keep their size on the way back through layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cuslayer._base.sequences import own_steps
from cuslayer._tape import Gradient, Pullback, Tensor, differentiable, saves
from cuslayer.backend import Array, namespace, to_device
from cuslayer.network.graph import GraphNode
from cuslayer.network.network import replace_stage
from cuslayer.network.walk import Walk
from cuslayer.neurons.base import has_usual_scale, is_balanced, is_neuron, with_balanced_scale

if TYPE_CHECKING:
    from cuslayer.network.network import Container


def balance_errors(net: Container, x: Tensor, *, apart: float | None = None) -> None:
    """Set the default scales of surrogates so that errors have one Euclidean norm in all layers of neurons.

    The norm is over samples, steps and neurons. The output has random errors, the same at every step. The last neurons
    keep their scale. An input of 0 changes nothing. With `apart`, only scales that were set before change, and only
    where the errors of layers differ by more than this factor.
    """
    if not x.data.any():
        return
    changes = has_usual_scale if apart is None else is_balanced
    if apart is not None and not any(changes(node.stage) for node in net.graph.nodes):
        return
    factors: list[tuple[GraphNode, float]] = []
    sizes: list[float] = []

    def measure(node: GraphNode, g: Array) -> Array:
        """Note the size of the error of the neurons at a node."""
        sizes.append(float(np.sqrt(np.float64((g * g).sum(dtype=np.float64)))))
        return g

    def level(node: GraphNode, g: Array) -> Array:
        """Return the error of the neurons at a node in the size of the last neurons' error."""
        measure(node, g)
        if not changes(node.stage) or not 0 < sizes[-1] < np.inf:
            return g
        factor = sizes[0] / sizes[-1]
        if getattr(node.stage, "gradient", "slayer") == "exact":
            # A higher surrogate lets exact gradients grow in time.
            factor = min(factor, 1.0)
        factors.append((node, factor))
        return g * g.dtype.type(factor)

    if apart is not None:
        _send_errors(net, x, measure)
        if not sizes or max(sizes) <= apart * min(sizes):
            return
        sizes.clear()
    _send_errors(net, x, level)
    for node, factor in factors:
        replace_stage(net, node.path, with_balanced_scale(node.stage, node.stage.scale_rho * factor))


def _send_errors(net: Container, x: Tensor, look: Callable[[GraphNode, Array], Array]) -> None:
    """Send random errors from the output through the network; `look` sees them before neurons, and may change them."""
    steps = Walk(net, x)
    for at in steps:
        if is_neuron(at.stage):
            anchor = Tensor(at.inputs[0].data.reshape(-1)[:0], requires_grad=True)
            at.inputs = (_watched(at.inputs[0], anchor, look=partial(look, at.node)), *at.inputs[1:])
    y = steps.output
    if not y.requires_grad or not y.size:
        return
    errors = np.random.default_rng(0).standard_normal(y.shape[1:])
    if x.lengths is not None:
        errors = errors * own_steps(x.lengths, len(y)).reshape(*y.shape[:2], *(1,) * (y.ndim - 2))
    y.backward(to_device(np.broadcast_to(errors, y.shape).astype(np.float32)))


@differentiable
@saves("nothing")
def _watched(x: Array, anchor: Array, /, *, look: Callable[[Array], Array]) -> tuple[Array, Pullback]:
    """Return x; its gradient passes through a function. The anchor requires a gradient, whatever x does."""

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        return look(g), namespace(anchor).zeros_like(anchor)

    return x, pullback
