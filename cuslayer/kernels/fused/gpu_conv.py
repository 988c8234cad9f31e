"""Launchers of a convolution of packed spikes and its neurons in one pass, and of gradients, with pooling too."""

from __future__ import annotations

import math

from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import WIDEST_ON_GPU, Pooling, Product, Window, narrow
from cuslayer.kernels.cuda.images import (
    blocks,
    image_of,
    map_of,
    new_potentials,
    new_spikes,
    stored_potential,
    struct_of,
)
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty, zeros
from cuslayer.kernels.fused.gpu_pool import pool_neuron_adjoint
from cuslayer.kernels.fused.neurons import in_one_sweep
from cuslayer.kernels.scan.gpu import (
    adjoint_constants,
    forward_constants,
    kernel_for,
    later_lags,
    past_lags,
    stored_values,
)
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.synapse.conv import tap_sums
from cuslayer.kernels.synapse.conv.gpu import weight_adjoint
from cuslayer.kernels.synapse.conv.tap_sums import Parts, add_parts, blocks_of_sweep, count_parts, later, sums_of

__all__ = ["conv_neuron", "conv_neuron_adjoint", "conv_pool_adjoint"]


def conv_neuron(
    x: PackedSpikes,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    constants: Array,
    spiking: StepSpiking,
    keep: DType | None,
    shift: Array | None = None,
) -> tuple[Array, PackedSpikes]:
    """Return the potential u (steps, neurons of all samples) and the spikes (frames, rows, columns, outputs)."""
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    s = new_spikes(x, (rows, columns, w.shape[3]))
    kept = new_potentials(w, w.dtype, steps, s.size // max(steps, 1), keep)
    rows_of_inputs = input_rows(min(past_lags(spiking, steps)[0], default=steps), steps)
    found = blocks(w.nbytes, [count * WORD * w.dtype.itemsize for count in rows_of_inputs])
    samples, out_words = x.frames // max(steps, 1), s.words.shape[2]
    kernel_for("conv_neuron", w.dtype, spiking).launch(
        (-(-samples * rows * out_words // found.groups),),
        (WORD, found.groups),
        found.shared,
        x=x.words,
        w=contiguous(w),
        shift=empty(w, (0,), w.dtype) if shift is None else contiguous(shift),
        shifts=shift is not None,
        u=kept.real,
        half=kept.half,
        s=s.words,
        steps=steps,
        samples=samples,
        groups=groups,
        in_shared=found.weights,
        input_ring=found.option < len(rows_of_inputs) - 1,
        input_rows=rows_of_inputs[found.option],
        keep=kept.keep,
        image=image_of(x),
        map=map_of(s),
        window=struct_of(window),
        **forward_constants(constants, spiking, w.dtype, steps),
    )
    return kept.u, s


def input_rows(cut: int, steps: int) -> list[int]:
    """Return the rows of a ring buffer of inputs, and the rows without one: inputs that enter and that leave."""
    return ([-(-cut // TILE) * TILE + TILE] if cut < steps else []) + [2 * TILE]


def conv_neuron_adjoint(
    x: PackedSpikes,
    steps: int,
    g: Array | Product,
    u: Array,
    window: Window,
    groups: int,
    constants: Array,
    spiking: StepSpiking,
    keep: bool,
) -> tuple[Array | None, Parts | Array]:
    """Return the gradients of the weighted input, None without `keep`, and of the weight, with `keep` in parts.

    Where the sums of a window do not fit in shared memory, the errors are stored and read again for the weight.
    """
    g = narrow(g, WIDEST_ON_GPU)
    channels, dtype = x.shape[-1], g.dtype
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    samples = x.frames // max(steps, 1)
    outputs = math.prod(g.shape[1:]) // (rows * columns)
    shape, map_shape = (*window.kernel, channels // groups, outputs), (x.frames, rows, columns, outputs)
    nothing = empty(u, (0,), dtype)
    if 0 in map_shape:
        return empty(u, map_shape, dtype) if keep else None, zeros(u, shape, dtype)
    sums = sums_of(window, channels, outputs, groups, dtype.itemsize)
    bits, found = sums.bits, blocks_of_sweep(sums)
    in_sweep = found is not None
    found = found or tap_sums.blocks(sums._replace(bits=0, pieces=0))
    part_bytes = bits * outputs * dtype.itemsize if in_sweep else 0
    count = count_parts(-(-samples * rows * columns // found.tiles), part_bytes)
    parts = empty(u, (count if in_sweep else 0, bits * outputs), dtype)
    errors = empty(u, map_shape, dtype) if keep or not in_sweep else None
    arrays, inputs = {"g": nothing, "next_errors": nothing, "next_weight": nothing, "weights": nothing}, 0
    if isinstance(g, Product):
        inputs = g.errors.shape[1]
        arrays |= {"next_errors": contiguous(g.errors), "next_weight": contiguous(g.weight)}
        arrays["weights"] = empty(u, (count * found.across, inputs, found.threads), dtype)
    else:
        arrays["g"] = contiguous(g)
    kernel_for("conv_neuron_adjoint", dtype, spiking).launch(
        (count, found.across),
        (found.threads,),
        found.shared,
        x=x.words,
        **arrays,
        **stored_potential(u, dtype),
        again=empty(u, map_shape, dtype) if stored_values(spiking) else nothing,
        errors=nothing if errors is None else errors,
        parts=parts,
        steps=steps,
        samples=samples,
        inputs=inputs,
        exact=spiking.exact,
        keep=errors is not None,
        with_weight=in_sweep,
        groups=groups,
        lanes=found.lanes,
        image=image_of(x),
        map={"rows": rows, "columns": columns, "channels": outputs, "words": 0},
        window=struct_of(window),
        **adjoint_constants(constants, spiking, dtype, steps),
    )
    if errors is not None and not in_sweep:
        return errors if keep else None, weight_adjoint(x, errors, window, groups)
    return errors, later(parts, shape) if keep else add_parts(parts, shape)


def conv_pool_adjoint(
    x: PackedSpikes,
    steps: int,
    g: Array,
    u: Array,
    pooled_u: Array,
    window: Window,
    groups: int,
    constants: Array,
    spiking: StepSpiking,
    pooling: Pooling,
    keep: bool,
) -> tuple[Array | None, Parts | Array]:
    """Return the gradients of the weighted input, None without `keep`, and of the weight, with `keep` in parts.

    One sweep computes both layers of neurons. Two do if the gradient is exact, if the pooling windows do not tile the
    map, or if shared memory is too small for the sums of a window and the errors of the pooled neurons.
    """
    channels, dtype = x.shape[-1], g.dtype
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    tile_h, tile_w = pooling.window.kernel
    samples, outputs = x.frames // max(steps, 1), g.shape[-1]
    shape, map_shape = (*window.kernel, channels // groups, outputs), (x.frames, rows, columns, outputs)
    if 0 in map_shape:
        return empty(u, map_shape, dtype) if keep else None, zeros(u, shape, dtype)
    ring_rows = _ring_rows(steps, min(later_lags(spiking, steps), default=steps))
    sums = sums_of(window, channels, outputs, groups, dtype.itemsize)
    bits, found = sums.bits, blocks_of_sweep(sums._replace(tile=tile_h * tile_w, ring=ring_rows))
    if found is None or not pooling.window.tiles or not in_one_sweep(spiking, pooling.spiking):
        pooled = (pooling.window, pooling.gain, (rows, columns), pooling.constants, pooling.spiking)
        of_spikes = pool_neuron_adjoint(g, pooled_u, steps, *pooled)
        return conv_neuron_adjoint(x, steps, of_spikes, u, window, groups, constants, spiking, keep)
    tiles = samples * -(-rows // tile_h) * -(-columns // tile_w)
    count = count_parts(-(-tiles // found.tiles), bits * outputs * dtype.itemsize)
    parts, nothing = empty(u, (count, bits * outputs), dtype), empty(u, (0,), dtype)
    errors = empty(u, map_shape, dtype) if keep else None
    of_pooled = adjoint_constants(pooling.constants, pooling.spiking, dtype, steps)
    kernel_for("conv_pool_adjoint", dtype, spiking).launch(
        (count, found.across),
        (found.threads,),
        found.shared,
        x=x.words,
        pooled_g=contiguous(g),
        **stored_potential(u, dtype),
        **stored_potential(pooled_u, dtype, "pooled_"),
        errors=nothing if errors is None else errors,
        parts=parts,
        steps=steps,
        samples=samples,
        tile_h=tile_h,
        tile_w=tile_w,
        pool_gain=dtype.type(pooling.gain),
        ring_rows=ring_rows,
        keep=keep,
        groups=groups,
        lanes=found.lanes,
        image=image_of(x),
        map={"rows": rows, "columns": columns, "channels": outputs, "words": 0},
        window=struct_of(window),
        **adjoint_constants(constants, spiking, dtype, steps),
        **{f"pooled_{name}": value for name, value in of_pooled.items()},
    )
    return errors, later(parts, shape) if keep else add_parts(parts, shape)


def _ring_rows(steps: int, lag: int) -> int:
    """Return the steps of the ring buffer: two batches, and the steps after which an error is used again."""
    return 2 * TILE + (-(-lag // TILE) * TILE if lag < steps else 0)
