"""What the libraries on JAX share: the loss, Adam, one compiled step, and its timing."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from comparison.models import stages


class JaxNetwork:
    """A network that is trained towards given firing rates, compiled as one step: forward, backward and Adam together.

    `weights` are trained, `rest` is what else the network is made of, `x` has the spikes, time first. A library's
    subclass has `layer(k, weights, rest, x)`, the spikes of a layer's neurons for the spikes that the layer receives,
    at all steps, and `scale(k, factor)`, which multiplies its weights, or divides the threshold behind pooling.
    """

    def __init__(self, layers: list[list], weights: Any, rest: Any, x: jax.Array, labels: np.ndarray) -> None:
        self.layers, self.weights, self.rest, self.x = layers, weights, rest, x
        self.wanted = jnp.asarray(stages.wanted(labels, layers[-1][1]))
        self.adam = optax.adam(stages.LEARNING_RATE)
        self.memory = self.adam.init(weights)
        self._loss, self._update = jax.jit(self.loss), jax.jit(self.update)
        self._whole = jax.jit(self.whole, donate_argnums=(0, 1))
        self._layer = jax.jit(self.layer, static_argnums=0)

    def forward(self, weights: Any, rest: Any, x: jax.Array) -> jax.Array:
        """Return the output's spikes, layer by layer."""
        for k in range(len(self.layers)):
            x = self.layer(k, weights, rest, x)
        return x

    def loss(self, weights: Any, rest: Any, x: jax.Array) -> jax.Array:
        return ((self.forward(weights, rest, x).mean(0) - self.wanted) ** 2).sum()

    def update(self, weights: Any, memory: Any, grads: Any) -> tuple[Any, Any]:
        change, memory = self.adam.update(grads, memory, weights)
        return optax.apply_updates(weights, change), memory

    def whole(self, weights: Any, memory: Any, rest: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, grads = jax.value_and_grad(self.loss)(weights, rest, x)
        return *self.update(weights, memory, grads), value

    def input(self, samples: int | None) -> jax.Array:
        """Return the spikes of the first samples of the batch, or of all."""
        return self.x[:, :samples]

    def fire(self, k: int, x: jax.Array) -> jax.Array:
        """Return what `layer` does, with the network's weights."""
        return self._layer(k, self.weights, self.rest, x)

    def rates(self) -> list[float]:
        """Return the share of steps in which each layer's neurons fire."""
        found, x = [], self.x
        for k in range(len(self.layers)):
            x = self.fire(k, x)
            found.append(float(x.mean()))
        return found

    def calibrate(self, rates: list[float], samples: int | None) -> None:
        """Scale the weights, and the thresholds behind pooling, until the neurons fire at given rates."""
        stages.calibrate(self, rates, samples, lambda s: float(s.mean()))

    def train(self) -> None:
        """Take a training step."""
        self.weights, self.memory, value = self._whole(self.weights, self.memory, self.rest, self.x)
        jax.block_until_ready((self.weights, value))

    def step(self) -> dict[str, float]:
        """Take a training step and return its seconds; the parts are timed separately, backward is the rest."""
        seconds = {}
        for name, part in {
            "total": self.train,
            "forward": lambda: self._loss(self.weights, self.rest, self.x),
            "optimizer": lambda: self._update(self.weights, self.memory, self.weights),
        }.items():
            start = time.perf_counter()
            jax.block_until_ready(part())
            seconds[name] = time.perf_counter() - start
        total = seconds.pop("total")
        return {**seconds, "backward": total - sum(seconds.values())}

    # Compiles what a step calls.
    warm = step
