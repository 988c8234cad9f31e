"""Synapses in C: a loop over the spikes of a step, in the order of a stream; numbers by multiplying and adding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.interchange.c_code.program import Program, Ring, Signal, Stage, loop, stored
from cuslayer.kernels.host.vectors import FEATURES
from cuslayer.kernels.step.print_c import number

# The sums of products of numbers: terms of a block, and terms of a part of a long sum; see products.py.
_BLOCK = 512
_PART = 1024
_MOST_PARTS = 16
_LARGEST = 1 << 18


def weight_of(stage: Stage) -> Array:
    """Return the weight of a layer after its hooks."""
    weight = np.asarray(to_numpy(stage.layer.effective_weight().data))
    if stage.integers:
        if not stage.given.spikes and stage.given.kind == "float":
            raise stage.refused("its integers take spikes; quantize with a recording of numbers")
        return weight.astype(np.int64)
    if weight.dtype != np.float32:
        raise stage.refused(f"its weight must be float32, got {weight.dtype}")
    if not np.isfinite(weight).all():
        raise stage.refused("its weight must be finite")
    return weight


def kinds(stage: Stage) -> tuple[str, str]:
    """Return the types of a layer's weights and of its sums."""
    return ("int8_t", f"int{stage.integers}_t") if stage.integers else ("float", "float")


def weighted(stage: Stage, weight: str) -> str:
    """Return the integer that an input adds: the weight of a spike, or the weight times the number ``value``."""
    return weight if stage.given.spikes else f"({kinds(stage)[1]})value * {weight}"


def of_inputs(signal: Signal, inside: str, *, backward: bool = False) -> str:
    """Return the loop over the inputs ``at`` that are not 0, of numbers with their ``value``."""
    if signal.spikes:
        return of_spikes(inside, backward=backward)
    skipped = "if (value == 0) {\ncontinue;\n}"
    return loop("at", signal.size, f"const {signal.kind} value = x[at];", skipped, inside)


def of_spikes(inside: str, *, backward: bool = False, events: str = "events", count: str = "count") -> str:
    """Return the loop over spikes ``at``."""
    order = f"uint32_t e = {count}; e-- > 0;" if backward else f"uint32_t e = 0; e < {count}; e++"
    return f"for ({order}) {{\nconst uint32_t at = {events}[e];\n{inside}\n}}"


def plus(stage: Stage, total: str, addend: str) -> str:
    """Return a sum, rounded to float unless the weights are integers."""
    return f"{total} + {addend}" if stage.integers else f"(float)({total} + {addend})"


def multiply_add(program: Program) -> str:
    """Return the name of the function that multiplies and adds as the products of this machine do."""
    return program.call("fma" if FEATURES.get("fma") else "multiply_add")


def dense(program: Program, stage: Stage) -> str:
    """Return the statements of a dense layer, with its bias."""
    weight = weight_of(stage)
    if stage.layer.delays is not None:
        return _delayed(program, stage, weight[None, None])
    inputs, outputs = weight.shape
    places = stage.given.size // inputs
    name = program.array(f"weight_{stage.number}", weight, kinds(stage)[0])
    text = (
        _rows(program, stage, name, outputs, inputs, places)
        if stage.given.spikes or stage.integers
        else _product(program, stage, name, inputs, outputs, places)
    )
    return text + biased(program, stage)


def row_of_sums(program: Program, outputs: int) -> str:
    """Return the memory for a row of sums of any layer."""
    program.longest = max(program.longest, outputs)
    return "state->row"


def _rows(program: Program, stage: Stage, weight: str, outputs: int, inputs: int, places: int) -> str:
    """Return the statements that add the rows of the spikes of each place, or integers times numbers."""
    if stage.integers:
        row = f"const int8_t *row = {weight} + at % {inputs}u * {outputs}u;"
        sums = f"{kinds(stage)[1]} *sums = y + at / {inputs}u * {outputs}u;"
        added = loop("j", outputs, f"sums[j] += {weighted(stage, 'row[j]')};")
        zeros = loop("j", places * outputs, "y[j] = 0;")
        return zeros + "\n" + of_inputs(stage.given, "\n".join([row, sums, added]))
    add = program.call("add_rows")
    row = row_of_sums(program, outputs)
    if places == 1:
        return f"{add}({weight}, {outputs}u, events, count, 0u, {row}, y);\n"
    return f"""
        uint32_t last = 0;
        for (uint32_t place = 0; place < {places}u; place++) {{
        const uint32_t first = last;
        while (last < count && events[last] < (place + 1u) * {inputs}u) {{
        last++;
        }}
        {add}({weight}, {outputs}u, events + first, last - first, place * {inputs}u, {row}, y + place * {outputs}u);
        }}
    """


def _product(program: Program, stage: Stage, weight: str, inputs: int, outputs: int, places: int) -> str:
    """Return the statements that multiply numbers by a weight, in the blocks of `products.py`."""
    parts = min(inputs // _PART, _MOST_PARTS)
    parts = parts if parts >= 2 and places * outputs <= _LARGEST else 1
    size = inputs // parts
    # The parts, each as blocks; then what is left.
    edges = [(part * size, (part + 1) * size) for part in range(parts)]
    if parts * size < inputs:
        edges.append((parts * size, inputs))
    fma = multiply_add(program)
    row = row_of_sums(program, outputs)
    if len(edges) == 1:
        return f"""
            for (uint32_t place = 0; place < {places}u; place++) {{
            float *sums = y + place * {outputs}u;
            {_blocks(fma, weight, row, "0u", f"{inputs}u", inputs, outputs)}
            }}
        """
    bounds = program.array(f"parts_{stage.number}", np.array([first for first, _ in edges] + [inputs]), "uint32_t")
    part = program.state("float", f"part_{stage.number}", outputs)
    return f"""
        for (uint32_t place = 0; place < {places}u; place++) {{
        for (uint32_t part = 0; part < {len(edges)}u; part++) {{
        float *sums = part ? {part} : y + place * {outputs}u;
        {_blocks(fma, weight, row, f"{bounds}[part]", f"{bounds}[part + 1u]", inputs, outputs)}
        for (uint32_t j = 0; part && j < {outputs}u; j++) {{
        y[place * {outputs}u + j] = (float)(y[place * {outputs}u + j] + sums[j]);
        }}
        }}
        }}
    """


def _block(fma: str, weight: str, sums: str, first: str, last: str, inputs: int, outputs: int) -> str:
    """Return the statements that sum products, one after the other; products with 0 add nothing."""
    return f"""
        {loop("j", outputs, f"{sums}[j] = 0.0f;")}
        for (uint32_t i = {first}; i < {last}; i++) {{
        const float value = x[place * {inputs}u + i];
        if (value == 0.0f) {{
        continue;
        }}
        {loop("j", outputs, f"{sums}[j] = {fma}(value, {weight}[i * {outputs}u + j], {sums}[j]);")}
        }}
    """


def _blocks(fma: str, weight: str, row: str, first: str, last: str, inputs: int, outputs: int) -> str:
    """Return the statements that sum products block by block, of few inputs in one."""
    if inputs <= _BLOCK:
        return _block(fma, weight, "sums", first, last, inputs, outputs)
    return f"""
        for (uint32_t begin = {first}; begin < {last}; begin += {_BLOCK}u) {{
        const uint32_t end = begin + {_BLOCK}u < {last} ? begin + {_BLOCK}u : {last};
        float *block = begin == {first} ? sums : {row};
        {_block(fma, weight, "block", "begin", "end", inputs, outputs)}
        for (uint32_t j = 0; block != sums && j < {outputs}u; j++) {{
        sums[j] = (float)(sums[j] + block[j]);
        }}
        }}
    """


def biased(program: Program, stage: Stage) -> str:
    """Return the statements that add the bias of a layer to its output."""
    bias = stage.layer.bias
    if bias is None:
        return ""
    size = stage.output.size
    value = program.value(f"bias_{stage.number}", to_numpy(bias.data).astype(np.float32), "j", size)
    return "\n" + loop("j", size, f"y[j] = (float)(y[j] + {value});")


def _used(name: str, value: str, inside: str) -> str:
    """Return the statement that names a whole number, if the statements after it use the name."""
    return f"const uint32_t {name} = (uint32_t)({value});" if re.search(rf"\b{name}\b", inside) else ""


class Frames:
    """The sizes of a layer with windows, as numbers of C: outputs `of` rows and columns from inputs by `taps`."""

    def __init__(self, layer: Any, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        self.rows, self.columns, self.channels = before
        self.out_rows, self.out_columns, self.outputs = after
        self.window = layer.window

    def place(self, pixel: str) -> str:
        """Return the statements that name the row and the column of an input pixel."""
        return f"""
            const int32_t row = (int32_t)({pixel} / {self.columns}u);
            const int32_t column = (int32_t)({pixel} % {self.columns}u);
        """

    def reached(self, inside: str) -> str:
        """Return the loops over the outputs that a pixel (row, column) reaches: tap i, j and output pixel `to`."""
        (high, wide), (down, across), (top, left), (gap, gap_across) = self.window
        return f"""
            for (int32_t i = 0; i < {high}; i++) {{
            const int32_t to_row = row + {top} - i * {gap};
            if (to_row < 0 || to_row % {down} != 0 || to_row / {down} >= {self.out_rows}) {{
            continue;
            }}
            for (int32_t j = 0; j < {wide}; j++) {{
            const int32_t to_column = column + {left} - j * {gap_across};
            if (to_column < 0 || to_column % {across} != 0 || to_column / {across} >= {self.out_columns}) {{
            continue;
            }}
            {_used("tap", f"i * {wide} + j", inside)}
            const uint32_t to = (uint32_t)(to_row / {down} * {self.out_columns} + to_column / {across});
            {inside}
            }}
            }}
        """

    def spread(self, inside: str) -> str:
        """Return the loops over the outputs of a transposed layer that a pixel reaches; see `reached`."""
        (high, wide), (down, across), (top, left), (gap, gap_across) = self.window
        return f"""
            for (int32_t i = 0; i < {high}; i++) {{
            const int32_t to_row = row * {down} + i * {gap} - {top};
            if (to_row < 0 || to_row >= {self.out_rows}) {{
            continue;
            }}
            for (int32_t j = 0; j < {wide}; j++) {{
            const int32_t to_column = column * {across} + j * {gap_across} - {left};
            if (to_column < 0 || to_column >= {self.out_columns}) {{
            continue;
            }}
            {_used("tap", f"i * {wide} + j", inside)}
            const uint32_t to = (uint32_t)(to_row * {self.out_columns} + to_column);
            {inside}
            }}
            }}
        """

    def seen(self, inside: str, *, backward: bool = False) -> str:
        """Return the loops over outputs, and for each the pixels that it sees: tap i, j, input pixel `from`."""
        (high, wide), (down, across), (top, left), (gap, gap_across) = self.window
        taps = [
            (f"{side} - 1; {name} >= 0; {name}--" if backward else f"0; {name} < {side}; {name}++")
            for name, side in (("i", high), ("j", wide))
        ]
        return f"""
            for (int32_t i = {taps[0]}) {{
            const int32_t row = out_row * {down} + i * {gap} - {top};
            if (row < 0 || row >= {self.rows}) {{
            continue;
            }}
            for (int32_t j = {taps[1]}) {{
            const int32_t column = out_column * {across} + j * {gap_across} - {left};
            if (column < 0 || column >= {self.columns}) {{
            continue;
            }}
            {_used("tap", f"i * {wide} + j", inside)}
            const uint32_t from = (uint32_t)(row * {self.columns} + column);
            {inside}
            }}
            }}
        """

    def outputs_loop(self, inside: str) -> str:
        """Return the loops over the pixels `to` of the output."""
        return f"""
            for (int32_t out_row = 0; out_row < {self.out_rows}; out_row++) {{
            for (int32_t out_column = 0; out_column < {self.out_columns}; out_column++) {{
            const uint32_t to = (uint32_t)(out_row * {self.out_columns} + out_column);
            {inside}
            }}
            }}
        """

    def placed(self, inside: str) -> str:
        """Return statements, after those that name the row, the column and the channel of an input ``at``."""
        return f"""
            const uint32_t channel = at % {self.channels}u;
            {self.place(f"at / {self.channels}u")}
            {inside}
        """


def conv(program: Program, stage: Stage) -> str:
    """Return the statements of a convolution, with its bias."""
    layer = stage.layer
    weight = weight_of(stage)
    if layer.delays is not None:
        return _delayed(program, stage, weight)
    frames = Frames(layer, stage.given.shape, stage.output.shape)
    inputs, outputs = weight.shape[2:]
    share = outputs // layer.groups
    of_weight, of_sum = kinds(stage)
    name = program.array(f"weight_{stage.number}", weight, of_weight)
    zeros = loop("k", stage.output.size, "y[k] = 0;")
    if stage.given.spikes or stage.integers:
        taps = f"""
            const {of_weight} *taps = {name} + (tap * {inputs}u + channel % {inputs}u) * {outputs}u + group;
            {of_sum} *sums = y + to * {outputs}u + group;
            {loop("k", share, f"sums[k] = {plus(stage, 'sums[k]', weighted(stage, 'taps[k]'))};")}
        """
        group = f"const uint32_t group = channel / {inputs}u * {share}u;\n"
        sums = of_inputs(stage.given, frames.placed(group + frames.reached(taps)))
        return f"{zeros}\n{sums}{biased(program, stage)}"
    products = loop("k", share, f"sums[k] = {multiply_add(program)}(value, taps[k], sums[k]);")
    of_pixel = f"""
        for (uint32_t c = 0; c < {inputs}u; c++) {{
        const float *taps = {name} + (tap * {inputs}u + c) * {outputs}u + group * {share}u;
        const float value = x[from * {frames.channels}u + group * {inputs}u + c];
        if (value == 0.0f) {{
        continue;
        }}
        {products}
        }}
    """
    of_group = f"float *sums = y + to * {outputs}u + group * {share}u;\n{frames.seen(of_pixel)}"
    return zeros + frames.outputs_loop(loop("group", layer.groups, of_group)) + biased(program, stage)


def _delayed(program: Program, stage: Stage, weight: Array) -> str:
    """Return the statements of a layer whose synapses have delays; a dense layer has frames of one pixel.

    Each output adds pixel by pixel, and of a pixel from this step back to the earliest.
    """
    layer = stage.layer
    delays = layer.delays
    lags = delays.lags
    *_, inputs, outputs = weight.shape
    lag = to_numpy(delays.whole_lags()).reshape(weight.shape)
    of_weight, of_sum = kinds(stage)
    name = program.array(f"weight_{stage.number}", weight, of_weight)
    steps = program.array(f"lag_{stage.number}", lag, "uint16_t")
    kind = "uint8_t" if stage.given.spikes else stage.given.kind
    ring = Ring.of(program, f"sent_{stage.number}", kind, lags, stage.given.size)
    groups = getattr(layer, "groups", 1)
    share = outputs // groups
    is_conv = len(stage.output.shape) == 3 and hasattr(layer, "window")
    if stage.given.spikes or stage.integers:
        added = plus(stage, "sums[k]", weighted(stage, "taps[k]"))
    else:
        added = f"{multiply_add(program)}(value, taps[k], sums[k])"
    add = f"""
        const {of_weight} *taps = {name} + (tap * {inputs}u + c) * {outputs}u + group * {share}u;
        const uint16_t *lags = {steps} + (tap * {inputs}u + c) * {outputs}u + group * {share}u;
        {of_sum} *sums = y + to * {outputs}u + group * {share}u;
        for (uint32_t k = 0; k < {share}u; k++) {{
        if (lags[k] == lag) {{
        sums[k] = {added};
        }}
        }}
    """
    if is_conv:
        frames = Frames(layer, stage.given.shape, stage.output.shape)
        pixels = frames.rows * frames.columns
        place = frames.place("pixel")
        add = frames.reached(add)
    else:
        pixels = stage.given.size // inputs
        place = ""
        add = f"const uint32_t tap = 0u;\nconst uint32_t to = pixel;\n{add}"
    of_pixel = f"""
        {place}
        for (uint32_t group = 0; group < {groups}u; group++) {{
        for (uint32_t lag = 0; lag < {lags}u; lag++) {{
        const {kind} *sent = {ring.before("lag")} + pixel * {inputs * groups}u + group * {inputs}u;
        for (uint32_t c = 0; c < {inputs}u; c++) {{
        const {kind} value = sent[c];
        if (value == 0) {{
        continue;
        }}
        {add}
        }}
        }}
        }}
    """
    parts = [
        stored(stage.given, ring.now),
        loop("k", stage.output.size, "y[k] = 0;"),
        loop("pixel", pixels, of_pixel),
        ring.turn,
    ]
    return "\n".join(parts) + biased(program, stage)


def conv_transpose(program: Program, stage: Stage) -> str:
    """Return the statements of a transposed convolution of spikes or integers, with its bias."""
    layer = stage.layer
    if not (stage.given.spikes or stage.integers):
        raise stage.refused("it takes numbers, whose sums have no order of their own; put neurons before it")
    weight = weight_of(stage)
    frames = Frames(layer, stage.given.shape, stage.output.shape)
    high, wide, share, channels = weight.shape
    inputs = channels // layer.groups
    of_weight, of_sum = kinds(stage)
    name = program.array(f"weight_{stage.number}", weight.transpose(3, 0, 1, 2), of_weight)
    taps = f"""
        const {of_weight} *taps = {name} + (channel * {high * wide}u + tap) * {share}u;
        {of_sum} *sums = y + to * {frames.outputs}u + channel / {inputs}u * {share}u;
        {loop("k", share, f"sums[k] = {plus(stage, 'sums[k]', weighted(stage, 'taps[k]'))};")}
    """
    sums = of_inputs(stage.given, frames.placed(frames.spread(taps)))
    return "\n".join([loop("k", stage.output.size, "y[k] = 0;"), sums + biased(program, stage)])


def pool(program: Program, stage: Stage, layer: Any, *, transposed: bool = False) -> str:
    """Return the statements of sum pooling or its transpose, with one gain or a weight for each tap."""
    shape = stage.output.shape if len(stage.output.shape) == 3 else (1, 1, *stage.output.shape)
    frames = Frames(layer, stage.given.shape, shape)
    gain = np.float32(layer.gain)
    taps = ""
    if layer.weight_hook:
        weight = to_numpy(layer.effective_weight().data).astype(np.float32)[:, :, 0, 0]
        gain = weight[0, 0]
        if not (weight == gain).all():
            taps = program.array(f"weight_{stage.number}", weight, kinds(stage)[0])
    channels = frames.channels
    zeros = loop("k", stage.output.size, "y[k] = 0;")
    end = "" if taps or stage.integers else loop("k", stage.output.size, f"y[k] = (float)(y[k] * {number(gain)});")
    if stage.given.spikes or stage.integers:
        sums = f"y[to * {channels}u + channel]"
        one = f"{taps}[tap]" if taps else "1.0f"
        add = f"{sums} = {plus(stage, sums, weighted(stage, '1') if stage.integers else one)};"
        # The taps of an output in ascending order.
        reached = frames.spread(add) if transposed else frames.reached(add)
        return "\n".join([zeros, of_inputs(stage.given, frames.placed(reached), backward=transposed), end])
    value = f"x[from * {channels}u + c]"
    value = f"(float)({taps}[tap] * {value})" if taps else value
    sums = f"y[to * {channels}u + c]"
    add = loop("c", channels, f"{sums} = (float)({sums} + {value});")
    if not transposed:
        return zeros + frames.outputs_loop(frames.seen(add)) + end
    # The output of the transpose is the image, its input the maps.
    maps = Frames(layer, shape, stage.given.shape)
    sums = f"y[pixel * {channels}u + c]"
    value = re.sub(r"\bfrom\b", "to", value)
    add = loop("c", channels, f"{sums} = (float)({sums} + {value});")
    pixels = loop("pixel", frames.out_rows * frames.out_columns, maps.place("pixel"), maps.reached(add))
    return zeros + pixels + end


def max_pool(program: Program, stage: Stage) -> str:
    """Return the statements of the largest pixels: of spikes, whether one fires."""
    frames = Frames(stage.layer, stage.given.shape, stage.output.shape)
    channels = frames.channels
    size = stage.output.size
    if stage.given.spikes:
        flags = row_of_flags(program, size)
        mark = of_spikes(frames.placed(frames.reached(f"{flags}[to * {channels}u + channel] = 1;")))
        return "\n".join([loop("k", size, f"{flags}[k] = 0;"), mark + listed(program, flags, size)])
    return _largest(frames, size, "x", "y", stage.given.kind)


def _largest(frames: Frames, size: int, x: str, y: str, kind: str) -> str:
    """Return the statements that set y to the largest number of x in each window."""
    channels = frames.channels
    floating = kind == "float"
    least = "-INFINITY" if floating else f"{kind[:-2].upper()}_MIN"
    compare = f"""
        for (uint32_t c = 0; c < {channels}u; c++) {{
        const {kind} value = {x}[from * {channels}u + c];
        {kind} *largest = {y} + to * {channels}u + c;
        if (value >= *largest{" || value != value" if floating else ""}) {{
        *largest = value;
        }}
        }}
    """
    return loop("k", size, f"{y}[k] = {least};") + frames.outputs_loop(frames.seen(compare, backward=True))


def count_max(program: Program, stage: Stage) -> str:
    """Return the statements of the change of the largest sum over time of a window."""
    given = stage.given
    size = stage.output.size
    sums = program.state("float", f"sums_{stage.number}", given.size)
    most = program.state("float", f"most_{stage.number}", size)
    largest = row_of_sums(program, size)
    frames = Frames(stage.layer, given.shape, stage.output.shape)
    if given.spikes:
        one = f"{sums}[events[e]] = (float)({sums}[events[e]] + 1.0f);"
        add = f"for (uint32_t e = 0; e < count; e++) {{\n{one}\n}}\n"
        fire = f"if ({largest}[k] > {most}[k]) {{\nfired[number++] = ({program.name}_index)k;\n}}"
    else:
        add = loop("k", given.size, f"{sums}[k] = (float)({sums}[k] + x[k]);")
        fire = f"y[k] = (float)({largest}[k] - {most}[k]);"
    change = loop("k", size, fire, f"{most}[k] = {largest}[k];")
    return "\n".join([add, _largest(frames, size, sums, largest, "float"), change])


def row_of_flags(program: Program, size: int) -> str:
    """Return the memory for flags of the outputs of any layer."""
    program.flags = max(program.flags, size)
    return "state->flags"


def listed(program: Program, flags: str, size: int) -> str:
    """Return the statements that list the neurons whose flags are set."""
    return "\n" + loop("k", size, f"if ({flags}[k]) {{", f"fired[number++] = ({program.name}_index)k;", "}")


def norm(program: Program, stage: Stage) -> str:
    """Return the statements of a normalization by running statistics."""
    layer = stage.layer
    numbers = layer.fixed_map(np.empty((1, layer.features), np.float32))
    if numbers is None:
        raise stage.refused("its statistics must be float32")
    size = stage.output.size
    middle, factor, added = (
        program.value(f"{what}_{stage.number}", values, "j", size)
        for what, values in zip(("centre", "factor", "added"), numbers, strict=True)
    )

    def mapped(value: str) -> str:
        return f"y[j] = (float)((float)((float)({value} - {middle}) * {factor}) + {added});"

    if stage.given.spikes:
        return stored(stage.given, "y") + "\n" + loop("j", size, mapped("y[j]"))
    return loop("j", size, mapped("x[j]"))
