"""brainevent: dense layers by its event-driven products of spikes, neurons in `jax.lax.scan`, compiled as one step.

A neuron is that of the documentation of braintools: a membrane with one decay and a surrogate gradient.
"""

from __future__ import annotations

import math
from typing import Any

import brainevent.config
import braintools.surrogate
import jax
import jax.numpy as jnp
import numpy as np
from comparison.models import stages
from comparison.models.jax_network import JaxNetwork

PACKAGES = ("brainevent", "braintools", "jax")
FORMS = {"events": "LIF, event-driven products of all steps hoisted"}


class Network(JaxNetwork):
    def __init__(self, work: dict, form: str, spikes: np.ndarray, labels: np.ndarray) -> None:
        if any(kind != "dense" for kind, *_ in work["layers"]):
            raise NotImplementedError("brainevent has neither convolutions nor pooling")
        brainevent.config.set_numba_parallel(True, num_threads=work["threads"])
        weights, generator = [], np.random.default_rng(0)
        for before, after in stages.shapes(work["layers"], spikes.shape[2:]):
            inputs = math.prod(before)
            w = generator.uniform(-1, 1, (inputs, *after)) / inputs**0.5
            weights.append(jnp.asarray(w + stages.shift(w.std(), inputs), jnp.float32))
        x = jnp.asarray(spikes.reshape(*spikes.shape[:2], -1))
        super().__init__(work["layers"], weights, None, x, labels)

    def layer(self, k: int, weights: Any, rest: Any, x: jax.Array) -> jax.Array:
        products = brainevent.BinaryArray(x.reshape(-1, x.shape[-1])) @ weights[k]
        return neurons(products.reshape(*x.shape[:2], -1))

    def scale(self, k: int, factor: float) -> None:
        self.weights[k] = self.weights[k] * factor


def neurons(current: jax.Array) -> jax.Array:
    """Return the spikes (T, N, neurons) of a layer's neurons."""
    decay = math.exp(-1 / stages.TAU)

    def step(v: jax.Array, i: jax.Array) -> tuple[jax.Array, jax.Array]:
        v = decay * v + i
        s = braintools.surrogate.sigmoid(v - stages.THRESHOLD)
        return v - s * stages.THRESHOLD, s

    return jax.lax.scan(step, jnp.zeros_like(current[0]), current)[1]
