"""SLAYER's equations on torch: convolutions by cuDNN, and the spikes by one kernel or by operations on tensors.

As in SLAYER-PyTorch time is the last axis, layers are 3D convolutions with a window of one step, and the response is a
convolution in time. It comes after the weights, where there are fewer neurons. What is left is a loop over time, since
a neuron depends on its earlier spikes: "kernel" runs it as one CUDA kernel, a thread a neuron, as SLAYER-PyTorch does;
"loop" as two operations a step.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from comparison.models import stages
from comparison.models.torch_network import Note, TorchNetwork

PACKAGES = ("torch",)
FORMS = {"kernel": "SLAYER, spikes by a CUDA kernel", "loop": "SLAYER, spikes step by step"}

KERNEL = Path(__file__).with_name("slayer_spikes.cu")
# The refractory response and the surrogate are cuslayer's: see `cuslayer.SRM`.
TAU_REF, SCALE_REF = 1.0, 2.0
TAU_RHO, SCALE_RHO = 1.0, 1.0
# Samples of a response end where they fall under this, at a threshold of 10.
CUTOFF = 0.01


def alpha(tau: float, scale: float, least: float) -> np.ndarray:
    """Return the samples of scale t / tau exp(1 - t / tau), from t = 0 until they are less than `least`."""
    t = np.arange(1000.0)
    samples = scale * t / tau * np.exp(1 - t / tau)
    last = np.flatnonzero(np.abs(samples) >= least)[-1]
    return samples[: last + 1].astype(np.float32)


@cache
def _compiled() -> Any:
    """Return the CUDA kernel, compiled by CuPy."""
    import cupy

    return cupy.RawModule(code=f"typedef float real;\n{KERNEL.read_text()}").get_function("slayer_spikes")


class _Spikes(torch.autograd.Function):
    """Spikes of potentials (..., T), with a surrogate gradient that leaves the refractory response out."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, refractory: torch.Tensor, theta: float, fused: bool) -> torch.Tensor:
        u = a.contiguous().clone()
        s = _by_kernel(u, refractory, theta) if fused else _by_steps(u, refractory, theta)
        ctx.save_for_backward(u)
        ctx.theta = theta
        return s

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (u,) = ctx.saved_tensors
        theta = ctx.theta
        rho = SCALE_RHO / (TAU_RHO * theta) * torch.exp(-(u - theta).abs() / (TAU_RHO * theta))
        return gradients[0] * rho, None, None, None


def _by_steps(u: torch.Tensor, refractory: torch.Tensor, theta: float) -> torch.Tensor:
    """Return the spikes of potentials without refraction, which is added to them."""
    s = torch.zeros_like(u)
    steps = u.shape[-1]
    for t in range(steps):
        s[..., t] = u[..., t] >= theta
        after = min(len(refractory) - 1, steps - 1 - t)
        if after:
            u[..., t + 1 : t + 1 + after] += s[..., t, None] * refractory[1 : 1 + after]
    return s


def _by_kernel(u: torch.Tensor, refractory: torch.Tensor, theta: float) -> torch.Tensor:
    """As `_by_steps`, in a kernel on the stream of torch."""
    import cupy

    s, steps = torch.empty_like(u), u.shape[-1]
    neurons, sizes = u.numel() // steps, (np.int64(u.numel() // steps), np.int32(steps), np.int32(len(refractory)))
    arrays = tuple(np.uint64(x.data_ptr()) for x in (u, s, refractory))
    with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        _compiled()((-(-neurons // 128),), (128,), (*arrays, np.float32(theta), *sizes))
    return s


class Neurons(nn.Module):
    """The response and the spikes of neurons, for weighted inputs (N, C, H, W, T)."""

    def __init__(self, theta: float, fused: bool) -> None:
        super().__init__()
        self.theta, self.fused = theta, fused
        self.register_buffer("response", torch.from_numpy(alpha(stages.TAU, 1.0, CUTOFF)[::-1].copy())[None, None])
        self.register_buffer("refractory", torch.from_numpy(alpha(TAU_REF, -SCALE_REF * theta, CUTOFF * theta / 10)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, 1, x.shape[-1])
        a = functional.conv1d(functional.pad(rows, (self.response.shape[-1] - 1, 0)), self.response)
        return _Spikes.apply(a.reshape(x.shape), self.refractory, self.theta, self.fused)


class Network(TorchNetwork):
    time_axis, batch_axis = -1, 0

    def synapse(self, shape: stages.Shape, kind: str, size: int, *rest: int) -> nn.Module:
        if kind == "conv":
            window, padding = rest
            return nn.Conv3d(shape[-1], size, (window, window, 1), padding=(padding, padding, 0), bias=False)
        if kind == "pool":
            return nn.AvgPool3d((size, size, 1))
        # As an image of one pixel: a product of matrices.
        return nn.Conv3d(math.prod(shape), size, 1, bias=False)

    def neuron(self, threshold: float) -> nn.Module:
        return Neurons(threshold, self.form == "kernel")

    def layout(self, x: torch.Tensor) -> torch.Tensor:
        """Return spikes (T, N, ...) as (N, C, H, W, T)."""
        x = x.movedim(0, -1)
        return super().layout(x if x.ndim == 5 else x[:, :, None, None])

    def fire(self, k: int, x: torch.Tensor) -> torch.Tensor:
        if self.layers[k][0] == "dense":
            x = x.flatten(1, 3)[:, :, None, None]
        return self.neurons[k](self.synapses[k](x))

    def forward(self, x: torch.Tensor, note: Note | None = None) -> torch.Tensor:
        for k in range(len(self.layers)):
            x = self.fire(k, x)
            if note:
                note(k, x)
        return x.flatten(1, 3)
