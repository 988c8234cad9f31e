"""Spyx: `LIF` in `jax.lax.scan`, compiled as one step: forward, backward and Adam together."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import spyx.nn
from flax import nnx

from comparison.models import stages

PACKAGES = ("spyx", "jax", "flax")
FORMS = {
    "hoisted": "LIF, input's product hoisted out of the scan",
    "layers": "LIF, a scan a layer, all products hoisted",
    "plain": "LIF, all in one scan",
}


class Dense(nnx.Linear):
    """A dense layer for inputs of any shape."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x.reshape(x.shape[0], -1))


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


class Network:
    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        self.layers, self.form = work["layers"], form
        rngs, parts = nnx.Rngs(0), []
        for layer, (before, after) in zip(self.layers, stages.shapes(self.layers, spikes.shape[2:]), strict=True):
            threshold = stages.THRESHOLD / (stages.POOL_GAIN if layer[0] == "pool" else 1)
            parts.append(synapse(rngs, before, *layer))
            parts.append(spyx.nn.LIF(after, beta=math.exp(-1 / stages.TAU), threshold=threshold, rngs=rngs))
        self.graph, self.weights, self.rest = nnx.split(spyx.nn.Sequential(*parts), is_weight, ...)
        self.x = jnp.asarray(spikes, jnp.float32)
        self.wanted = jnp.asarray(stages.wanted(labels, self.layers[-1][1]))
        self.adam = optax.adam(stages.LEARNING_RATE)
        self.memory = self.adam.init(self.weights)
        self._loss = jax.jit(self.loss)
        self._update = jax.jit(self.update)
        self._whole = jax.jit(self.whole, donate_argnums=(0, 1))
        self._rates = jax.jit(self.layer_rates)

    def forward(self, weights: Any, x: jax.Array) -> jax.Array:
        model = nnx.merge(self.graph, weights, self.rest)
        if self.form == "plain":
            return spyx.nn.run(model, x)[0]
        if self.form == "hoisted":
            return spyx.nn.run(spyx.nn.Sequential(*model.layers[1:]), over_time(model.layers[0], x))[0]
        return by_layer(model, x)[-1]

    def loss(self, weights: Any, x: jax.Array) -> jax.Array:
        return ((self.forward(weights, x).mean(0) - self.wanted) ** 2).sum()

    def update(self, weights: Any, memory: Any, grads: Any) -> tuple[Any, Any]:
        change, memory = self.adam.update(grads, memory, weights)
        return optax.apply_updates(weights, change), memory

    def whole(self, weights: Any, memory: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, grads = jax.value_and_grad(self.loss)(weights, x)
        return *self.update(weights, memory, grads), value

    def layer_rates(self, weights: Any, x: jax.Array) -> list[jax.Array]:
        model = nnx.merge(self.graph, weights, self.rest)
        return [s.mean() for s in by_layer(model, x)]

    def rates(self, samples: int | None = None) -> list[float]:
        return [float(rate) for rate in self._rates(self.weights, self.x[:, :samples])]

    def scale(self, k: int, factor: float) -> None:
        def scaled(path: Any, value: jax.Array) -> jax.Array:
            return value * factor if path[1].key == 2 * k else value

        self.weights = jax.tree_util.tree_map_with_path(scaled, self.weights)

    def train(self) -> None:
        self.weights, self.memory, value = self._whole(self.weights, self.memory, self.x)
        jax.block_until_ready((self.weights, value))

    def step(self) -> dict[str, float]:
        """Take a training step and return its seconds; the parts are timed separately, backward is the rest."""
        seconds = {}
        for name, part in {
            "total": self.train,
            "forward": lambda: self._loss(self.weights, self.x),
            "optimizer": lambda: self._update(self.weights, self.memory, self.weights),
        }.items():
            start = time.perf_counter()
            jax.block_until_ready(part())
            seconds[name] = time.perf_counter() - start
        total = seconds.pop("total")
        return {**seconds, "backward": total - sum(seconds.values())}


def over_time(layer: Any, x: jax.Array) -> jax.Array:
    """Return the output of a layer for all time steps at once."""
    y = layer(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def by_layer(model: Any, x: jax.Array) -> list[jax.Array]:
    """Return the spikes of each layer's neurons, one layer after the other."""
    found = []
    for synapse, neuron in zip(model.layers[::2], model.layers[1::2], strict=True):
        x = spyx.nn.run(neuron, over_time(synapse, x))[0]
        found.append(x)
    return found
