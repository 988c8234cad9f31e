"""Spyx: `LIF` in `jax.lax.scan`, compiled as one step: forward, backward and Adam together."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spyx.nn
from comparison.models import stages
from comparison.models.jax_network import JaxNetwork
from flax import nnx

PACKAGES = ("spyx", "jax", "flax")
FORMS = {
    "hoisted": "LIF, input's product hoisted out of the scan",
    "layers": "LIF, a scan a layer, all products hoisted",
    "plain": "LIF, all in one scan",
    "adaptive hoisted": "ALIF with a product of its spikes, input's product hoisted out of the scan",
    "adaptive layers": "ALIF with a product of its spikes, a scan a layer, all products hoisted",
}


class Dense(nnx.Linear):
    """A dense layer for inputs of any shape."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x.reshape(x.shape[0], -1))


class Recurrent(nnx.Module):
    """Adaptive neurons that also get their own spikes of the step before."""

    def __init__(self, shape: tuple[int], rngs: nnx.Rngs) -> None:
        decays = {"beta": math.exp(-1 / stages.TAU), "gamma": math.exp(-1 / stages.TAU_THRESHOLD)}
        self.neurons = spyx.nn.ALIF(shape, threshold=stages.THRESHOLD, rngs=rngs, **decays)
        self.kernel = nnx.Param(stages.OWN_DEVIATION * jax.random.normal(rngs.params(), 2 * shape))

    def __call__(self, x: jax.Array, state: tuple[jax.Array, Any]) -> tuple[jax.Array, tuple[jax.Array, Any]]:
        state = self.neurons(x + state[0] @ self.kernel[...], state[1])
        return state[0], state

    def initial_state(self, batch: int) -> tuple[jax.Array, Any]:
        state = self.neurons.initial_state(batch)
        return state[:, : self.kernel.shape[0]], state


def synapse(rngs: nnx.Rngs, shape: tuple[int, ...], kind: str, size: int, *rest: int) -> nnx.Module:
    """Return a layer without its neurons for an input of a shape (H, W, C) or (C,)."""
    if kind == "conv":
        window, padding = rest
        return nnx.Conv(shape[-1], size, (window, window), padding=padding, use_bias=False, rngs=rngs)
    if kind == "pool":
        return spyx.nn.SumPool((size, size), (size, size), "VALID")
    return Dense(math.prod(shape), size, use_bias=False, rngs=rngs)


def is_weight(path: tuple[Any, ...], value: Any) -> bool:
    return isinstance(value, nnx.Param) and path[-1] == "kernel"


class Network(JaxNetwork):
    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        layers, self.form = work["layers"], form
        rngs, parts = nnx.Rngs(0), []
        for layer, (before, after) in zip(layers, stages.shapes(layers, spikes.shape[2:]), strict=True):
            parts.append(synapse(rngs, before, *layer))
            plain = {"beta": math.exp(-1 / stages.TAU), "threshold": stages.THRESHOLD, "rngs": rngs}
            parts.append(Recurrent(after, rngs) if layer[0] == "adaptive" else spyx.nn.LIF(after, **plain))
            if layer[0] == "pool":
                # A variable, so that it can change without compiling anew.
                parts[-1].threshold = nnx.data(nnx.Variable(jnp.asarray(stages.THRESHOLD / stages.POOL_GAIN)))
        self.graph, weights, rest = nnx.split(spyx.nn.Sequential(*parts), is_weight, ...)
        weights = jax.tree_util.tree_map_with_path(shifted, weights)
        super().__init__(layers, weights, rest, jnp.asarray(spikes, jnp.float32), labels)

    def layer(self, k: int, weights: Any, rest: Any, x: jax.Array) -> jax.Array:
        model = nnx.merge(self.graph, weights, rest)
        return spyx.nn.run(model.layers[2 * k + 1], over_time(model.layers[2 * k], x))[0]

    def forward(self, weights: Any, rest: Any, x: jax.Array) -> jax.Array:
        if self.form == "layers":
            return super().forward(weights, rest, x)
        model = nnx.merge(self.graph, weights, rest)
        if self.form == "plain":
            return spyx.nn.run(model, x)[0]
        return spyx.nn.run(spyx.nn.Sequential(*model.layers[1:]), over_time(model.layers[0], x))[0]

    def scale(self, k: int, factor: float) -> None:
        pool = self.layers[k][0] == "pool"
        place = 2 * k + pool

        def scaled(path: Any, value: jax.Array) -> jax.Array:
            if path[1].key != place or (pool and path[2].key != "threshold"):
                return value
            return value / factor if pool else value * factor

        name = "rest" if pool else "weights"
        setattr(self, name, jax.tree_util.tree_map_with_path(scaled, getattr(self, name)))


def shifted(path: Any, w: jax.Array) -> jax.Array:
    """Return weights that let neurons fire at any rate; recurrent ones, behind a layer, as they are."""
    return w if path[1].key % 2 else w + stages.shift(w.std(), math.prod(w.shape[:-1]))


def over_time(layer: Any, x: jax.Array) -> jax.Array:
    """Return the output of a layer for all time steps at once."""
    y = layer(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])
