"""Sums of the spikes of a tile of pixels, and their gradient, a vector of channels at a time; for compiled kernels.

The pixels of a tile are at `begin`, `across` from each other in a row of `wide`, and `down` from row to row, `high`
rows. All arrays are flat.
"""

from __future__ import annotations

from llvmlite import ir

from cuslayer.kernels.host.llvm import I8, I32, Emitted, Emitter, Flat, Int, Number, generated


@generated
def sum_tile(
    code: Emitter, x: Flat, at: Int, gain: Number, s: Flat, begin: Int, across: Int, wide: Int, down: Int, high: Int
) -> None:
    """Write to x[at : at + lanes] gain times the sum of the vectors of bytes s of a tile's pixels."""
    lanes = x.line.count
    spikes = ir.VectorType(I8, lanes)
    counts = ir.VectorType(I32, lanes)

    def add(row: Emitted, column: Emitted, total: Emitted) -> list[Emitted]:
        return [total + s.load(begin + (row * down + column * across), spikes).into("zext", counts)]

    (total,) = code.loops([(0, high), (0, wide)], [code.value(0, counts)], add)
    x.store(total.into("sitofp", x.line) * gain.splat(lanes), at)


@generated
def spread_tile(
    code: Emitter, x: Flat, at: Int, gain: Number, y: Flat, begin: Int, across: Int, wide: Int, down: Int, high: Int
) -> None:
    """Write gain times x[at : at + lanes] to each of a tile's pixels in y."""
    product = gain.splat(x.line.count) * x.load(at, x.line)

    def write(row: Emitted, column: Emitted) -> list[Emitted]:
        y.store(product, begin + (row * down + column * across))
        return []

    code.loops([(0, high), (0, wide)], [], write)
