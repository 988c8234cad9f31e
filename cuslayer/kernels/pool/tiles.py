"""Sums of the spikes of a tile of pixels, and their gradient, a vector of channels at a time; for compiled kernels.

The pixels of a tile are at `begin`, `across` from each other in a row of `wide`, and `down` from row to row, `high`
rows. All arrays are flat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from cuslayer.kernels.host.llvm import I8, I32, Emitted, Emitter, Flat, Int, Number, generated


def _over_pixels(
    code: Emitter,
    places: tuple[Emitted, ...],
    sums: Sequence[Emitted],
    one: Callable[[Emitted, list[Emitted]], list[Emitted]],
) -> list[Emitted]:
    """Generate a loop over the pixels of a tile: `one` takes the index of each and the sums before it."""
    begin, across, wide, down, high = places

    def row(y: Emitted, before: list[Emitted]) -> list[Emitted]:
        return code.loop(0, wide, before, lambda z, inner: one(begin + (y * down + z * across), inner))[1]

    return code.loop(0, high, sums, row)[1]


@generated
def sum_tile(
    code: Emitter, x: Flat, at: Int, gain: Number, s: Flat, begin: Int, across: Int, wide: Int, down: Int, high: Int
) -> None:
    """Write to x[at : at + lanes] gain times the sum of the vectors of bytes s of a tile's pixels."""
    lanes = x.line.count
    bytes_, counts = ir.VectorType(I8, lanes), ir.VectorType(I32, lanes)

    def add(place: Emitted, before: list[Emitted]) -> list[Emitted]:
        return [before[0] + s.load(place, bytes_).into("zext", counts)]

    (total,) = _over_pixels(code, (begin, across, wide, down, high), [Emitted(code, ir.Constant(counts, None))], add)
    x.store(total.into("sitofp", x.line) * gain.splat(lanes), at)


@generated
def spread_tile(
    code: Emitter, x: Flat, at: Int, gain: Number, y: Flat, begin: Int, across: Int, wide: Int, down: Int, high: Int
) -> None:
    """Write gain times x[at : at + lanes] to each of a tile's pixels in y."""
    product = gain.splat(x.line.count) * x.load(at, x.line)

    def write(place: Emitted, _: list[Emitted]) -> list[Emitted]:
        y.store(product, place)
        return []

    _over_pixels(code, (begin, across, wide, down, high), [], write)
