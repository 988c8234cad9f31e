"""A launch of each CUDA kernel, on arrays of a chosen size."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from card import Work

import cuslayer as cs
from cuslayer import backend
from cuslayer.backend import Array
from cuslayer.kernels import gpu
from cuslayer.kernels.constants import ClassCounts, Pooling, Window
from cuslayer.kernels.conv.tap_sums import add_parts
from cuslayer.kernels.dense.matmul import matmul
from cuslayer.kernels.fused import gpu_conv, gpu_conv_adjoint, gpu_dense, gpu_pool, gpu_pool_adjoint
from cuslayer.kernels.spikes.packed import PackedSpikes, event_fields
from cuslayer.neurons.base import StepByStep


def launches(dtype: str, steps: int, columns: int) -> dict[str, Work]:
    """Return a launch of each kernel on arrays (steps, columns) of a number type."""
    srm = cs.SRM()
    response, spiking, chip = srm.filter, srm.spiking, cs.Loihi().constants
    lif, keep = cs.LIF(theta=srm.theta, gradient="exact").spiking, backend.to_device(np.full(1, 0.9, dtype))
    alif = cs.AdaptiveLIF(theta=srm.theta, gradient="exact").spiking
    sender = cs.SigmaDelta(theta=srm.theta, gradient="exact").spiking
    resonant = cs.ResonateAndFire(theta=srm.theta, gradient="exact").spiking
    smooth = cs.SRM(surrogate="multi_gaussian").spiking
    sampled = cs.SampledSRM(srm.response, srm.refractory).spiking
    drawn = np.random.default_rng(0).standard_normal((steps, columns), np.float32).astype(dtype)
    x = backend.to_device(drawn * srm.theta)
    g, u, s = x * 0.1, x + 1.0, x > srm.theta
    taps = backend.to_device(response.samples().astype(dtype))
    delay = backend.to_device(np.arange(columns) % 50)
    near, far, bank = x[0] * 1.0, g[0] * 1.0, taps.reshape(1, -1)  # a bank of one: an output for each input
    w, m, v, peak = x * 0.01, g * 1.0, g * g, u * u
    rates: dict[str, Any] = {"betas": (0.9, 0.999), "rate_m": 1e-3, "rate_g": 0.0, "scale_v": 1.0, "eps": 1e-8}
    packed = gpu.spikes.with_neurons(gpu.spikes.pack(s), steps)
    recording, whole = backend.to_device(np.arange(1)), backend.to_device(np.array([0, steps * columns // 100]))
    # An event in a hundred bits, spread over all steps and columns.
    bits = event_fields(steps, columns)[1]
    step, feature = np.divmod(np.arange(steps * columns // 100) * 100, columns)
    events = backend.to_device((step << bits | feature).astype(np.uint32)[:, None])
    empty = packed.reshape(steps, 1, columns).empty_like()
    counted, fired, scalar = x.reshape(steps, 1, columns), s.reshape(steps, 1, columns), x[0, :1] * 1.0
    labels, totals = backend.to_device(np.zeros(1, np.int64)), backend.to_device(np.zeros(7))
    desired = ClassCounts(labels, 60.0, 10.0)
    moved = cs.Tensor(x * 0.01, requires_grad=True)
    moved.grad = g
    goal = desired, (steps // 4, steps), response, 1.0, False
    conv = images(gpu.spikes.pack(s.reshape(steps, 2, columns // 32, 16)), dtype, steps, cs.SRM())
    return {
        **conv,
        **dense_layers(backend.to_device((drawn > 2.5).reshape(steps, columns // 128, 128)), g.reshape(-1, 128), u),
        "pack_bits": lambda: gpu.spikes.pack(s),
        "unpack_bits": packed.unpack,
        "transpose_bits": lambda: gpu.spikes.transpose(packed, steps),
        "set_bits": lambda: gpu.spikes.set_bits(events, whole, recording, empty),
        "psp": lambda: gpu.response.psp(x, response),
        "psp_adjoint": lambda: gpu.response.psp_adjoint(g, response),
        "fir": lambda: gpu.response.fir(x, taps),
        "fir_adjoint": lambda: gpu.response.fir_adjoint(g, taps),
        "shift": lambda: gpu.response.shift(x, delay),
        "shift_spikes": lambda: gpu.response.shift_spikes(s, delay),
        "delay_steps": lambda: gpu.delay.delay_steps(near, (columns,), 1.0, steps),
        "dropout_scale": lambda: gpu.dropout.scale(x.reshape(1, -1), 0.5),
        "shift_linear": lambda: gpu.delay.shift_linear(x, delay, near, far),
        "shift_delay_adjoint": lambda: gpu.delay.shift_delay_adjoint(g, x, delay),
        "filter_bank": lambda: gpu.filter_bank.forward(x, bank),
        "filter_bank_adjoint": lambda: gpu.filter_bank.adjoint(g, bank),
        "filter_bank_weight_adjoint": lambda: gpu.filter_bank.weight_adjoint(x, g, bank.shape),
        "spike": lambda: gpu.srm.spike(x, spiking),
        "neuron": lambda: gpu.srm.neuron(x, response, spiking),
        "adaptive": lambda: gpu.adaptive.forward(x, (keep,) * 4, alif, None, True),
        "adaptive_adjoint": lambda: gpu.adaptive.adjoint(g, u, peak, v, (keep,) * 4, alif, None, True),
        "leaky": lambda: gpu.leaky.forward(x, keep, keep, lif),
        "leaky_adjoint": lambda: gpu.leaky.adjoint(g, u, keep, keep, lif),
        "leaky_keep_adjoint": lambda: gpu.leaky.keep_adjoint(g, u, keep, keep, lif),
        **recurrent_populations(x, g, u, srm),
        "resonate": lambda: gpu.resonate.forward(x, keep, keep, resonant, None, True),
        "resonate_adjoint": lambda: gpu.resonate.adjoint(g, u, v, keep, keep, resonant, None, True),
        "sigma_delta": lambda: gpu.sigma_delta.forward(x, sender),
        "sigma_delta_adjoint": lambda: gpu.sigma_delta.adjoint(g, u, s, sender),
        "loihi": lambda: gpu.loihi.forward(x, chip),
        "store_float16": lambda: gpu.float16.store(u),
        "surrogate_adjoint": lambda: gpu.surrogate.adjoint(g, u, smooth),
        "surrogate_adjoint_exact": lambda: gpu.surrogate.adjoint_exact(g, u, smooth),
        "spike_adjoint": lambda: gpu.srm.spike_adjoint(g, u, spiking),
        "spike_adjoint_exact": lambda: gpu.srm.spike_adjoint_exact(g, u, spiking),
        "sampled_spike": lambda: gpu.sampled_srm.sampled_spike(x, sampled),
        "sampled_spike_adjoint_exact": lambda: gpu.sampled_srm.sampled_spike_adjoint_exact(g, u, sampled),
        "neuron_adjoint": lambda: gpu.srm.neuron_adjoint(g, u, response, spiking),
        "neuron_adjoint_exact": lambda: gpu.srm.neuron_adjoint_exact(g, u, response, spiking),
        "spike_count_error": lambda: gpu.spike_count.error(fired, *goal),
        "spike_count_error_adjoint": lambda: gpu.spike_count.error_adjoint(counted, scalar, response),
        "spike_count_error_numbers": lambda: gpu.spike_count.error(counted, *goal),
        "spike_count_error_packed": lambda: gpu.spike_count.error(packed.reshape(steps, 1, columns), *goal),
        "score_add": lambda: gpu.score.add(totals, fired, labels, scalar, 1.0),
        "score_add_numbers": lambda: gpu.score.add(totals, counted, labels, scalar, 1.0),
        "score_add_packed": lambda: gpu.score.add(totals, packed.reshape(steps, 1, columns), labels, scalar, 1.0),
        "add_squares": lambda: gpu.score.add_squares(totals, [g]),
        "clip_norm": lambda: gpu.optim.clip_norm([g], 1.0),
        "clip_values": lambda: gpu.optim.clip_values([g], 1.0),
        "sgd": lambda: gpu.optim.sgd(w, g, m, 1e-3, 0.9, 0.0),
        "sgd_all": cs.SGD([moved], momentum=0.9).step,
        "adam": lambda: gpu.optim.adam(w, g, m, v, peak, **rates, decay=0.0),
        "adam_all": cs.Adam([moved], amsgrad=True).step,
    }


def images(x: PackedSpikes, dtype: str, steps: int, srm: cs.SRM) -> dict[str, Work]:
    """Return a launch of each kernel on packed images x, a sample of as many neurons as a step has columns."""
    rows, columns, channels = x.shape[1:]
    response, spiking, keep = srm.filter, srm.spiking, np.dtype(dtype)
    window, tiles = Window.of("conv", 3, 1, 1, 1), Window.of("pool", 2, 2, 0, 1)
    w = np.random.default_rng(0).standard_normal((3, 3, channels, channels), np.float32).astype(dtype)
    weight, pooling = backend.to_device(w * srm.theta), Pooling(tiles, srm.pool_gain, response, spiking)
    large = gpu.spikes.pack(backend.to_device(np.zeros((steps, 2 * rows, 2 * columns, channels), bool)))
    constants = window, 1, response, spiking
    drawn = np.random.default_rng(1).standard_normal((steps, rows, columns, channels), np.float32).astype(dtype)
    errors = backend.to_device(drawn)
    u = errors + srm.theta
    pooled = backend.to_device(np.ascontiguousarray(drawn[:, ::2, ::2]))
    pool = tiles, srm.pool_gain, (2 * rows, 2 * columns)
    return {
        "add_parts": lambda: add_parts(errors.reshape(steps, -1), (rows * columns * channels,)),
        "conv": lambda: gpu.conv.forward(x, weight, window, 1),
        "conv_input_adjoint": lambda: gpu.conv.input_adjoint(errors, weight, (rows, columns), window, 1),
        "conv_neuron": lambda: gpu_conv.conv_neuron(x, steps, weight, *constants, keep),
        "conv_neuron_adjoint": lambda: gpu_conv_adjoint.conv_neuron_adjoint(
            x, steps, errors, u, *constants, True, False
        ),
        "conv_pool": lambda: gpu_conv.conv_pool(x, steps, weight, *constants, pooling, keep),
        "conv_pool_adjoint": lambda: gpu_conv_adjoint.conv_pool_adjoint(
            x, steps, pooled, u, pooled, *constants, pooling, True, False
        ),
        "conv_weight_adjoint": lambda: gpu.conv.weight_adjoint(x, errors, window, 1),
        "pool": lambda: gpu.pool.forward(large, tiles, srm.pool_gain),
        "pool_adjoint": lambda: gpu.pool.adjoint(errors, pool[2], *pool[:2]),
        "pool_neuron": lambda: gpu_pool.pool_neuron(large, steps, tiles, srm.pool_gain, response, spiking, np.float32),
        "pool_neuron_adjoint": lambda: gpu_pool_adjoint.pool_neuron_adjoint(
            errors, u, steps, *pool, response, spiking, False
        ),
    }


def dense_layers(x: Array, g: Array, u: Array) -> dict[str, Work]:
    """Return a launch of each kernel of dense layers of as many outputs as inputs, x (steps, samples, inputs)."""
    steps, outputs, srm = len(x), x.shape[2], cs.SRM()
    spikes = gpu.spikes.with_neurons(gpu.spikes.pack(x, 2), steps)
    drawn = np.random.default_rng(0).standard_normal((outputs, outputs), np.float32).astype(g.dtype)
    w, constants = backend.to_device(drawn * srm.theta), (srm.filter, srm.spiking)
    return {
        "dense": lambda: gpu.dense.forward(spikes, w),
        "dense_weight_adjoint": lambda: gpu.dense.weight_adjoint(spikes, g),
        "dense_input_adjoint": lambda: gpu.dense.input_adjoint(g, w),
        "matmul": lambda: matmul(g, w),
        "dense_neuron": lambda: gpu_dense.dense_neuron(spikes, steps, w, *constants, g.dtype),
        "dense_neuron_adjoint": lambda: gpu_dense.dense_neuron_adjoint(g, u, steps, *constants, False),
    }


def recurrent_populations(x: Array, g: Array, u: Array, srm: cs.SRM) -> dict[str, Work]:
    """Return a launch of each kernel of recurrent populations, as many samples of 32 neurons as fit in the columns."""
    x, g, u = (each.reshape(len(each), each.shape[1] // 32, 32) for each in (x, g, u))
    w, found = x[0, :1, :1] * 0.1 + x[0, 0, :, None] * x[0, 0] * 0.01, dict[str, Work]()
    neurons = srm, cs.LIF(theta=srm.theta, gradient="exact"), cs.AdaptiveLIF(theta=srm.theta, gradient="exact")
    for neuron in neurons:
        program, shares = cast(StepByStep, neuron.step_by_step)
        keeps = [backend.to_device(np.full(1, 0.9, x.dtype)) for _ in shares]
        saved = program.saved(False)
        more = backend.to_device(np.zeros((saved, *x.shape), x.dtype))

        def forward(program: Any = program, keeps: Any = keeps, saved: int = saved) -> Any:
            return gpu.recurrent.forward(x, w, program, keeps, 1, None, None, saved)

        def adjoint(program: Any = program, keeps: Any = keeps, more: Array = more) -> Any:
            return gpu.recurrent.adjoint(g, u, more, w, program, keeps, 1)

        found |= {f"recurrent_{program.kind}": forward, f"recurrent_adjoint_{program.kind}": adjoint}
    return found
