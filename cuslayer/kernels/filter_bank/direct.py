"""The direct sum of a filter over many columns: some steps and taps at a time, at the speed of arithmetic.

A tile is a vector of columns. Its inputs lie step after step in scratch memory, as far back as the filter reaches. In
the signal itself, rows are often a power of two apart, and few of them fit into a cache. An input is loaded once for
eight products, and the sums of eight steps stay in registers. Each sum has the order of the taps, as on a GPU.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from cuslayer._base.jit import compiled
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
    more: Flag,
) -> None:
    """Filter the vector of columns at an index of x, STEPS steps that are `apart`, by the first `used` taps.

    The sums go to an index of y, whose steps are `steps_apart`, and are added to the numbers there if `more`. All
    arrays are flat. The memory has the earlier steps, in a ring of `blocks` blocks of STEPS vectors each, from block 1
    on; block 0 copies the last one. `block` is the block for these steps.
    """
    lanes, steps = REGISTER_BYTES // taps.itemsize, range(STEPS)
    vector, builder = ir.VectorType(taps.number, lanes), code.builder

    def times(tap: Emitted, sums: list[Emitted], rows: list[Emitted]) -> list[Emitted]:
        return [total + tap * one for total, one in zip(sums, rows, strict=True)]

    # The inputs of these steps; the last block also lies before the first.
    inputs = [x.load(at + apart * i, ir.VectorType(x.number, lanes)) for i in steps]
    if x.number == I8:
        inputs = [each.into("uitofp", vector) for each in inputs]
    here = block * (STEPS * lanes)
    for i in steps:
        memory.store(inputs[i], here + i * lanes)
    with builder.if_then(block.compare("==", blocks).raw):
        for i in steps:
            memory.store(inputs[i], i * lanes)

    zero, begin = Emitted(code, ir.Constant(vector, [0.0] * lanes)), builder.block
    with builder.if_then(more.raw):
        before, loaded = [y.load(to + steps_apart * i, vector) for i in steps], builder.block
    sums = [Emitted(code, builder.phi(vector)) for _ in steps]
    for total, value in zip(sums, before, strict=True):
        total.raw.add_incoming(zero.raw, begin)
        total.raw.add_incoming(value.raw, loaded)

    def whole_round(turn: Emitted, variables: list[Emitted]) -> list[Emitted]:
        (now, *found), first, origin = variables, turn * STEPS, variables[0] * (STEPS * lanes)
        rows = {i: memory.load(origin + i * lanes, vector) for i in range(1 - STEPS, STEPS)}
        for n in steps:
            found = times(taps.load(first + n).splat(lanes), found, [rows[i - n] for i in steps])
        return [now.compare("==", 1).choose(blocks, now - 1), *found]

    rounds = used // STEPS
    _, (now, *sums) = code.loop(0, rounds, [block, *sums], whole_round)
    done, origin = rounds * STEPS, now * (STEPS * lanes)

    def one_tap(n: Emitted, found: list[Emitted]) -> list[Emitted]:
        tap, first = taps.load(done + n).splat(lanes), origin - n * lanes
        return times(tap, found, [memory.load(first + i * lanes, vector) for i in steps])

    _, sums = code.loop(0, used - done, sums, one_tap)
    for i in steps:
        y.store(sums[i], to + steps_apart * i)


@compiled
def are_neighbours(places: Any) -> bool:
    """Return whether ascending indices are neighbours."""
    return places[places.size - 1] - places[0] == places.size - 1


@compiled
def take(row: Any, x: Any, t: int, places: Any) -> None:
    """Copy the columns `places`, ascending, of step t of x to the front of a row."""
    size = places.size
    if are_neighbours(places):
        copy(row[:size], x[t, places[0] : places[0] + size])
    else:
        for j in range(size):
            row[j] = x[t, places[j]]


@compiled
def put(y: Any, t: int, places: Any, row: Any) -> None:
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
def tiles(reach: int, like: Any) -> Any:
    """Return scratch memory for `filter_columns` with filters of up to `reach` taps, in the type of an array."""
    return scratch((_blocks_of(reach) + 3) * STEPS * WIDE, like)


@compiled
def filter_columns(
    x: Any, sources: Any, taps: Any, y: Any, targets: Any, backward: bool, more: bool, memory: Any
) -> None:
    """Filter the columns `sources` of x into the columns `targets` of y, which may be the same array.

    ``y[t] = sum_k taps[k] x[t - k]``, or ``x[t + k]`` if `backward`; added to y if `more`.

    Args:
        x: (T, ...), in the type of y, or spikes as bytes.
        sources: up to WIDE columns of x, ascending.
        taps: the filter (K,).
        y: (T, ...).
        targets: as many columns of y, ascending.
        backward: from the last step to the first.
        more: y has a part of the sums.
        memory: `tiles` for as many taps, or more.
    """
    steps, size, lanes = x.shape[0], sources.size, REGISTER_BYTES // y.itemsize
    count = min(taps.size, steps)
    blocks = _blocks_of(count)
    length = (blocks + 1) * STEPS * lanes
    given, found, before = memory[: STEPS * WIDE], memory[STEPS * WIDE :], memory[2 * STEPS * WIDE :]
    # Before the first step there is nothing.
    before[: length * ((size + lanes - 1) // lanes)] = 0
    whole = size % lanes == 0 and are_neighbours(sources) and are_neighbours(targets)
    all_x, all_y, turn = x.reshape(x.size), y.reshape(y.size), -1 if backward else 1
    block = 0
    for k in range(0, steps, STEPS):
        block, used, t = block % blocks + 1, min(count, k + STEPS), steps - 1 - k if backward else k
        if whole and k + STEPS <= steps:
            apart, steps_apart = turn * x.shape[1], turn * y.shape[1]
            for j in range(0, size, lanes):
                at, to = t * x.shape[1] + sources[0] + j, t * y.shape[1] + targets[0] + j
                tile = before[j // lanes * length :]
                filter_tile(all_x, at, apart, tile, block, blocks, taps, used, all_y, to, steps_apart, more)
            continue
        here = min(STEPS, steps - k)
        for i in range(here):
            take(given[i * WIDE :], x, t + turn * i, sources)
        given[here * WIDE :] = 0
        for i in range(here if more else 0):
            take(found[i * WIDE :], y, t + turn * i, targets)
        for j in range(0, size, lanes):
            tile = before[j // lanes * length :]
            filter_tile(given, j, WIDE, tile, block, blocks, taps, used, found, j, WIDE, more)
        for i in range(here):
            put(y, t + turn * i, targets, found[i * WIDE :])
