"""The direct sum of a filter over many columns: some steps and taps at a time, at the speed of arithmetic.

A tile is a vector of columns. Its inputs lie step after step in scratch memory, as far back as the filter reaches. In
the signal itself, rows are often a power of two apart, and few of them fit into a cache. An input is loaded once for
eight products, and the sums of eight steps stay in registers. Each sum has the order of the taps, as on a GPU.
"""

from __future__ import annotations

from llvmlite import ir

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import I8, Emitted, Emitter, Flag, Flat, Int, generated
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.vectors import FEATURES, REGISTER_BYTES

# Columns of a block: enough to read memory in long runs, few enough that the tiles stay in the second cache.
WIDE = 512
# Steps, and taps, of a round of products: the sums of the steps and the inputs of both fit in the registers.
STEPS = 8 if FEATURES.get("avx512f") else 4


@generated
def filter_tile(
    code: Emitter,
    x: Flat,
    at: Int,
    apart: Int,
    memory: Flat,
    block: Int,
    blocks: Int,
    taps: Flat,
    used: Int,
    y: Flat,
    to: Int,
    steps_apart: Int,
    adds: Flag,
) -> None:
    """Filter the vector of columns at an index of x, STEPS steps that are `apart`, by the first `used` taps.

    The sums go to an index of y, whose steps are `steps_apart`, and are added to the numbers there if `adds`. All
    arrays are flat. The memory has the earlier steps, in a ring of `blocks` blocks of STEPS vectors each, from block 1
    on; block 0 copies the last one. `block` is the block for these steps.
    """
    lanes = REGISTER_BYTES // taps.itemsize
    steps = range(STEPS)
    vector = ir.VectorType(taps.number, lanes)
    builder = code.builder

    def times(tap: Emitted, sums: list[Emitted], rows: list[Emitted]) -> list[Emitted]:
        return [total + tap * row for total, row in zip(sums, rows, strict=True)]

    # The inputs of these steps; the last block also lies before the first.
    inputs = [x.load(at + apart * i, ir.VectorType(x.number, lanes)) for i in steps]
    if x.number == I8:
        inputs = [row.into("uitofp", vector) for row in inputs]
    place = block * (STEPS * lanes)
    for i in steps:
        memory.store(inputs[i], place + i * lanes)
    with builder.if_then(block.compare("==", blocks).raw):
        for i in steps:
            memory.store(inputs[i], i * lanes)

    zero = Emitted(code, ir.Constant(vector, [0.0] * lanes))
    begin = builder.block
    with builder.if_then(adds.raw):
        before = [y.load(to + steps_apart * i, vector) for i in steps]
        loaded = builder.block
    sums = [Emitted(code, builder.phi(vector)) for _ in steps]
    for total, value in zip(sums, before, strict=True):
        total.raw.add_incoming(zero.raw, begin)
        total.raw.add_incoming(value.raw, loaded)

    def whole_round(turn: Emitted, variables: list[Emitted]) -> list[Emitted]:
        ring_block, *totals = variables
        first = turn * STEPS
        origin = ring_block * (STEPS * lanes)
        rows = {i: memory.load(origin + i * lanes, vector) for i in range(1 - STEPS, STEPS)}
        for n in steps:
            totals = times(taps.load(first + n).splat(lanes), totals, [rows[i - n] for i in steps])
        return [ring_block.compare("==", 1).choose(blocks, ring_block - 1), *totals]

    rounds = used // STEPS
    _, (last_block, *sums) = code.loop(0, rounds, [block, *sums], whole_round)
    multiplied = rounds * STEPS
    origin = last_block * (STEPS * lanes)

    def one_tap(n: Emitted, totals: list[Emitted]) -> list[Emitted]:
        tap = taps.load(multiplied + n).splat(lanes)
        first = origin - n * lanes
        return times(tap, totals, [memory.load(first + i * lanes, vector) for i in steps])

    _, sums = code.loop(0, used - multiplied, sums, one_tap)
    for i in steps:
        y.store(sums[i], to + steps_apart * i)


@compiled
def are_neighbours(places: Array) -> bool:
    """Return whether ascending indices are neighbours."""
    return places[places.size - 1] - places[0] == places.size - 1


@compiled
def take(row: Array, x: Array, t: int, places: Array) -> None:
    """Copy the columns `places`, ascending, of step t of x to the front of a row."""
    size = places.size
    if are_neighbours(places):
        copy(row[:size], x[t, places[0] : places[0] + size])
    else:
        for j in range(size):
            row[j] = x[t, places[j]]


@compiled
def put(y: Array, t: int, places: Array, row: Array) -> None:
    """Copy the front of a row to the columns `places`, ascending, of step t of y."""
    size = places.size
    if are_neighbours(places):
        copy(y[t, places[0] : places[0] + size], row[:size])
    else:
        for j in range(size):
            y[t, places[j]] = row[j]


@compiled
def _blocks_of(taps: int) -> int:
    """Return the blocks of steps that a filter reaches, including the block of the sums."""
    return (taps + 2 * STEPS - 2) // STEPS


@compiled
def tiles(reach: int, like: Array) -> Array:
    """Return scratch memory for `filter_columns` with filters of up to `reach` taps, in the type of an array."""
    return scratch((_blocks_of(reach) + 3) * STEPS * WIDE, like)


@compiled
def filter_columns(
    x: Array, sources: Array, taps: Array, y: Array, targets: Array, backward: bool, adds: bool, memory: Array
) -> None:
    """Filter the columns `sources` of x into the columns `targets` of y, which may be the same array.

    ``y[t] = sum_k taps[k] x[t - k]``, or ``x[t + k]`` if `backward`; added to y if `adds`.

    Args:
        x: (T, ...), in the type of y, or spikes as bytes.
        sources: up to WIDE columns of x, ascending.
        taps: the filter (K,).
        y: (T, ...).
        targets: as many columns of y, ascending.
        backward: from the last step to the first.
        adds: whether y already has a part of the sums.
        memory: `tiles` for as many taps, or more.
    """
    steps = x.shape[0]
    size = sources.size
    lanes = REGISTER_BYTES // y.itemsize
    count = min(taps.size, steps)
    blocks = _blocks_of(count)
    length = (blocks + 1) * STEPS * lanes
    inputs = memory[: STEPS * WIDE]
    sums = memory[STEPS * WIDE :]
    before = memory[2 * STEPS * WIDE :]
    # Before the first step there is nothing.
    before[: length * ((size + lanes - 1) // lanes)] = 0
    in_vectors = size % lanes == 0 and are_neighbours(sources) and are_neighbours(targets)
    all_x = x.reshape(x.size)
    all_y = y.reshape(y.size)
    turn = -1 if backward else 1
    block = 0
    for k in range(0, steps, STEPS):
        block = block % blocks + 1
        used = min(count, k + STEPS)
        t = steps - 1 - k if backward else k
        if in_vectors and k + STEPS <= steps:
            apart = turn * x.shape[1]
            steps_apart = turn * y.shape[1]
            for j in range(0, size, lanes):
                at = t * x.shape[1] + sources[0] + j
                to = t * y.shape[1] + targets[0] + j
                tile = before[j // lanes * length :]
                filter_tile(all_x, at, apart, tile, block, blocks, taps, used, all_y, to, steps_apart, adds)
            continue
        present = min(STEPS, steps - k)
        for i in range(present):
            take(inputs[i * WIDE :], x, t + turn * i, sources)
        inputs[present * WIDE :] = 0
        for i in range(present if adds else 0):
            take(sums[i * WIDE :], y, t + turn * i, targets)
        for j in range(0, size, lanes):
            tile = before[j // lanes * length :]
            filter_tile(inputs, j, WIDE, tile, block, blocks, taps, used, sums, j, WIDE, adds)
        for i in range(present):
            put(y, t + turn * i, targets, sums[i * WIDE :])
