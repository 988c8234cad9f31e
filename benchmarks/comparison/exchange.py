"""A network of a peer by way of NIR, in the peers' environment: read a file and run it, or make, run and write one.

python -m comparison.exchange snntorch read net.nir input.npz spikes.npy lif
python -m comparison.exchange snntorch write net.nir input.npz spikes.npy lif
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import torch
from torch import nn

# The step of the networks in seconds, and the share of the voltage and of the current that it keeps in theirs.
STEP = 1e-3
VOLTAGE, CURRENT, THETA = 0.85, 0.7, 0.8


def read_snntorch(graph: nir.NIRGraph, x: torch.Tensor) -> torch.Tensor:
    """Run one sample (T, ...) without an axis for the batch: Flatten is read as if there were none."""
    from snntorch.import_nir import import_from_nir

    net = import_from_nir(graph)
    return torch.stack([net(step)[0] for step in x])


def read_norse(graph: nir.NIRGraph, x: torch.Tensor) -> torch.Tensor:
    """Run one sample, as snnTorch's."""
    import norse.torch

    net, state, found = norse.torch.from_nir(graph, dt=STEP), None, []
    for step in x:
        spikes, state = net(step, state)
        found.append(spikes)
    return torch.stack(found)


def read_sinabs(graph: nir.NIRGraph, x: torch.Tensor) -> torch.Tensor:
    """Run one sample; neurons fire at most once a step, as ours do."""
    import sinabs.layers
    import sinabs.nir
    from sinabs.activation import SingleSpike

    net = sinabs.nir.from_nir(graph, batch_size=1)
    for module in net.modules():
        if isinstance(module, sinabs.layers.LIF):
            module.spike_fn = SingleSpike
    found = net(x)
    return found[0] if isinstance(found, tuple) else found


def _layers(neuron: Callable[[int], nn.Module]) -> list[nn.Module]:
    """Return the layers of a network 20-30-10."""
    found: list[nn.Module] = []
    for inputs, outputs in ((20, 30), (30, 10)):
        linear = nn.Linear(inputs, outputs, bias=False)
        nn.init.uniform_(linear.weight, -0.5, 0.8)
        found += [linear, neuron(outputs)]
    return found


def make_snntorch(kind: str, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
    import snntorch
    from snntorch.export_nir import export_to_nir

    options = {"threshold": THETA, "reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}

    def neuron(size: int) -> nn.Module:
        constants = {"beta": torch.full((size,), VOLTAGE), **options}
        if "cuba" in kind:
            constants["alpha"] = torch.full((size,), CURRENT)
        if kind.startswith("recurrent"):
            own = snntorch.RSynaptic if "cuba" in kind else snntorch.RLeaky
            return own(all_to_all=True, linear_features=size, **constants)
        return (snntorch.Synaptic if "cuba" in kind else snntorch.Leaky)(**constants)

    net = nn.Sequential(*_layers(neuron))
    spikes = torch.stack([net(step) for step in x])
    for module in net:
        if isinstance(module, (snntorch.Leaky, snntorch.Synaptic, snntorch.RLeaky, snntorch.RSynaptic)):
            module.threshold = torch.full(module.beta.shape, THETA)
            module.reset_hidden() if hasattr(module, "reset_hidden") else module.reset_mem()
    return spikes, export_to_nir(net, x[0], ignore_dims=[0])


def make_norse(kind: str, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
    import norse.torch as norse

    def neuron(size: int) -> nn.Module:
        p = norse.LIFBoxParameters(
            tau_mem_inv=torch.full((size,), (1 - VOLTAGE) / STEP),
            v_th=torch.full((size,), 0.2 * THETA),
            v_leak=torch.zeros(size),
        )
        return norse.LIFBoxCell(p, dt=STEP)

    net = norse.SequentialState(*_layers(neuron))
    state, found = None, []
    for step in x:
        spikes, state = net(step, state)
        found.append(spikes)
    # Its exporter writes dt / tau_mem_inv for the time constant 1 / tau_mem_inv.
    return torch.stack(found), norse.to_nir(net, x[0], dt=1.0)


def make_sinabs(kind: str, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
    import sinabs.layers
    import sinabs.nir
    from sinabs.activation import SingleSpike

    def neuron(size: int) -> nn.Module:
        return sinabs.layers.LIF(
            tau_mem=torch.full((size,), -1 / np.log(VOLTAGE)),
            spike_threshold=torch.full((size,), 0.2 * THETA),
            spike_fn=SingleSpike,
        )

    net = nn.Sequential(*_layers(neuron))
    spikes = net(x.transpose(0, 1)).transpose(0, 1)
    return spikes, sinabs.nir.to_nir(net, x.transpose(0, 1)[:, :1])


def main(peer: str, what: str, file: str, given: str, taken: str, kind: str) -> None:
    """Read or write a file; `given` has spikes (T, N, ...), frames as (C, H, W), `taken` gets the output."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    with np.load(given) as arrays:
        x = torch.from_numpy(arrays["x"].astype(np.float32))
    with contextlib.redirect_stdout(io.StringIO()):
        if what == "write":
            spikes, graph = globals()[f"make_{peer}"](kind, x)
            nir.write(file, graph)
        else:
            read = globals()[f"read_{peer}"]
            each = [read(nir.read(file), x[:, sample]) for sample in range(x.shape[1])]
            spikes = torch.stack(each, 1)
    np.save(taken, spikes.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
