"""The parts of a C file while they are collected: constants, the struct of the state, functions and their calls."""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.kernels.constants import EXP_LN2, EXP_LOG2_E, EXP_MOST, EXP_TERMS
from cuslayer.kernels.step.print_c import number
from cuslayer.layers.base import Shape, as_layer
from cuslayer.network.graph import GraphNode

_SIZES = {"float": 4, "uint32_t": 4, "uint16_t": 2, "uint8_t": 1, "int8_t": 1, "int16_t": 2, "int32_t": 4, "int64_t": 8}
_WIDTH = 112


@dataclass(frozen=True)
class Signal:
    """What a stage sends in a step: spikes, as the ascending indices of their neurons, or numbers."""

    shape: Shape
    spikes: bool
    array: str  # the expression of the indices or the numbers
    count: str = ""  # the expression of the number of spikes
    kind: str = "float"  # the type of numbers

    @property
    def size(self) -> int:
        """The number of neurons or numbers."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Stage:
    """A stage of the network with the signals that it takes and sends."""

    node: GraphNode
    inputs: tuple[Signal, ...]
    output: Signal
    part: Any = None  # a layer within the stage

    @property
    def layer(self) -> Any:
        """The layer, neurons or join."""
        return self.node.stage if self.part is None else self.part

    @property
    def number(self) -> int:
        """The number of the stage in the network, which ends the names of its arrays and functions."""
        return self.node.number

    @property
    def integers(self) -> int:
        """Bits of the sums of a layer of integers; 0 of others."""
        return int(getattr(self.layer, "integers", 0))

    @property
    def is_read_out(self) -> bool:
        """Whether the layer is a read-out, whose potential is what it sends."""
        return as_layer(self.layer).is_read_out

    @property
    def given(self) -> Signal:
        """The first input."""
        return self.inputs[0]

    def refused(self, why: str) -> ValueError:
        """Return the error for a stage that C cannot have."""
        return ValueError(f"layer {self.node} {check.one_line(self.layer)} cannot become C: {why}")


@dataclass
class Program:
    """A C file; names in it begin with `name` and an underscore."""

    name: str
    index: str  # the type of an index of a neuron
    constants: list[str] = field(default_factory=list)
    fields: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)  # of the state: type, name, sizes
    starts: list[str] = field(default_factory=list)  # statements of reset
    helpers: dict[str, str] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    neurons: int = 0  # neurons with a potential so far
    flash: int = 0  # bytes of the constants
    longest: int = 0  # numbers of a row of sums, which layers share
    flags: int = 0  # flags, which layers share
    outputs: int = 0  # outputs of the network
    tables: int = 0  # constants of integers so far
    learned: dict[str, int] = field(default_factory=dict)  # the sizes of the weights that learn, by name
    learning: Any = None  # the neurons that learn by the number of their stage

    def array(self, what: str, values: Array, kind: str = "float") -> str:
        """Add a constant array and return its name."""
        name = f"{self.name}_{what}"
        flat = np.asarray(values).ravel()
        texts = map(number, flat.tolist()) if kind == "float" else map(str, flat.tolist())
        lines = textwrap.fill(", ".join(texts), _WIDTH, initial_indent="    ", subsequent_indent="    ")
        first = f"{self.name}_first_{what}" if what in self.learned else name
        self.constants.append(f"static const {kind} {first}[{flat.size}] = {{\n{lines}\n}};")
        self.flash += flat.size * self.size_of(kind)
        if what in self.learned:
            self.constants.append(f"/* Weights that learn. */\n{kind} {name}[{flat.size}] = {{\n{lines}\n}};")
        return name

    def value(self, what: str, values: Array, index: str, size: int, kind: str = "float") -> str:
        """Return the expression of constants by an index: a number if all are equal, else a constant array's element.

        There are `size` neurons; neuron m has the number m modulo the number of constants.
        """
        flat = np.asarray(values).ravel()
        if flat.tobytes() == flat[:1].tobytes() * flat.size:
            return number(flat[0]) if kind == "float" else f"{flat[0]}{'u' if kind[0] == 'u' else ''}"
        name = self.array(what, flat, kind)
        return f"{name}[{index}]" if flat.size == size else f"{name}[{index} % {flat.size}u]"

    def state(self, kind: str, name: str, *sizes: int) -> str:
        """Add a field of the state, 0 after a reset, and return its expression."""
        self.fields.append((kind, name, sizes))
        return f"state->{name}"

    def size_of(self, kind: str) -> int:
        """Return the bytes of a number of a type."""
        return _SIZES[self.index if kind == f"{self.name}_index" else kind]

    @property
    def memory(self) -> int:
        """Bytes of the state."""
        return sum(self.size_of(kind) * math.prod(sizes) for kind, _, sizes in self.fields)

    def call(self, helper: str) -> str:
        """Use a function of `HELPERS`, with the functions that it needs, and return its name."""
        for needed in re.findall(r"NAME_(\w+)\(", HELPERS[helper]):
            if needed != helper and needed in HELPERS:
                self.call(needed)
        self.helpers.setdefault(helper, HELPERS[helper].replace("NAME_", f"{self.name}_"))
        return f"{self.name}_{helper}"

    def function(self, stage: Stage, body: str, *, potentials: bool = False) -> None:
        """Add the function of a stage, and its call; `body` has the statements.

        It takes ``events`` and ``count`` of spikes, or ``x`` of numbers, of several inputs with a number at the end.
        It writes numbers to ``y``, or the indices of spikes to ``fired`` and counts them in ``number``.
        """
        parameters = list[str]()
        arguments = list[str]()
        if "state->" in body:
            parameters.append(f"{self.name}_state *state")
            arguments.append("state")
        for position, signal in enumerate(stage.inputs):
            end = str(position) if len(stage.inputs) > 1 else ""
            if not re.search(rf"\b(events|x){end}\b", body):
                continue
            if signal.spikes:
                parameters += [f"const {self.name}_index *events{end}", f"uint32_t count{end}"]
                arguments += [signal.array, signal.count]
            else:
                parameters.append(f"const {signal.kind} *x{end}")
                arguments.append(signal.array)
        result = "void"
        if stage.output.spikes:
            result = "uint32_t"
            parameters.append(f"{self.name}_index *fired")
            body = f"uint32_t number = 0;\n{body}\nreturn number;"
        else:
            parameters.append(f"{stage.output.kind} *y")
        arguments.append(stage.output.array)
        if potentials:
            parameters.append("float *potentials")
            arguments.append(f"potentials ? potentials + {self.neurons} : NULL")
            self.neurons += stage.output.size
        name = f"{self.name}_{stage.number}"
        comment = f"/* Layer {stage.node}: {plain(stage.layer)} */"
        head = textwrap.fill(f"static {result} {name}({', '.join(parameters)})", _WIDTH, subsequent_indent="    ")
        block = tidy(f"{{\n{body}\n}}")
        self.functions.append(f"{comment}\n{head}\n{block}")
        assigned = f"{stage.output.count} = " if stage.output.spikes else ""
        self.calls.append(f"{assigned}{name}({', '.join(arguments)});")


def plain(what: Any) -> str:
    """Return a text for a comment of C: nothing in it ends the comment or a line."""
    text = re.sub(r"[^A-Za-z0-9_ .,()=+-]", "", check.one_line(what))
    return text if len(text) <= _WIDTH - 20 else f"{text[: _WIDTH - 20]}..."


def tidy(text: str) -> str:
    """Return statements of C, indented by their braces, without empty lines."""
    depth = 0
    shown = list[str]()
    for line in filter(None, map(str.strip, text.split("\n"))):
        depth -= line.startswith("}")
        shown.append("    " * depth + line)
        depth += line.count("{") - line.count("}") + line.startswith("}")
    return "\n".join(shown)


@dataclass(frozen=True)
class Ring:
    """A ring buffer of rows, a row for each of some steps, in the state."""

    array: str
    at: str  # the expression of the place where the row of this step begins
    rows: int
    size: int  # the numbers of a row

    @classmethod
    def of(cls, program: Program, what: str, kind: str, rows: int, size: int) -> Ring:
        """Add a ring buffer of numbers of a type, 0 before the first step."""
        return cls(program.state(kind, what, rows * size), program.state("uint32_t", f"{what}_at"), rows, size)

    @property
    def now(self) -> str:
        """The expression of the row of this step."""
        return f"({self.array} + {self.at})"

    def before(self, lag: int | str) -> str:
        """Return the expression of the row `lag` steps ago; where that is the number of rows, not yet overwritten."""
        if lag in (0, "0u", self.rows, f"{self.rows}u"):
            return self.now
        back = f"{lag * self.size}u" if isinstance(lag, int) else f"{lag} * {self.size}u"
        wrapped = f"{self.at} + {self.rows * self.size}u - {back}"
        return f"({self.array} + ({self.at} >= {back} ? {self.at} - {back} : {wrapped}))"

    @property
    def turn(self) -> str:
        """The statement that goes to the row of the next step."""
        if self.rows == 1:
            return ""
        last = (self.rows - 1) * self.size
        return f"{self.at} = {self.at} == {last}u ? 0u : {self.at} + {self.size}u;"


HELPERS = {
    "shifted": """
/* n 2^-shift, rounded to the nearest whole number. */
static int64_t NAME_shifted(int64_t n, int shift)
{
    if (shift <= 0)
        return n * ((int64_t)1 << -shift);
    n += (int64_t)1 << (shift - 1);
    return n >= 0 ? n >> shift : ~(~n >> shift);
}
""",
    "saturated": """
static int64_t NAME_saturated(int64_t n, int64_t most)
{
    return n > most ? most : n < -most - 1 ? -most - 1 : n;
}
""",
    "flushed": """
/* Small states become 0, as in Python: 2^-66. */
static float NAME_flushed(float x)
{
    return NAME_abs(x) < 0x1p-66f ? 0.0f : x;
}
""",
    "abs": """
static float NAME_abs(float x)
{
    return x <= 0.0f ? 0.0f - x : x;
}
""",
    "rint": """
/* The nearest whole number, halves to even. */
static float NAME_rint(float x)
{
    float whole;
    if (!(NAME_abs(x) < 0x1p23f))
        return x;
    whole = x < 0.0f ? (float)((float)(x - 0x1p23f) + 0x1p23f) : (float)((float)(x + 0x1p23f) - 0x1p23f);
    return whole == 0.0f ? x * 0.0f : whole;
}
""",
    "rounded": """
/* The nearest whole number of 16 bits, halves to even; the least for what is not a number. */
static int16_t NAME_rounded(float x)
{
    return !(x > -32768.0f) ? INT16_MIN : x < 32767.0f ? (int16_t)NAME_rint(x) : INT16_MAX;
}
""",
    "trunc": """
static float NAME_trunc(float x)
{
    float whole;
    if (!(NAME_abs(x) < 0x1p23f))
        return x;
    whole = (float)(int32_t)x;
    return whole == 0.0f ? x * 0.0f : whole;
}
""",
    "exp": f"""
/* e to the power of x: 2^n for the nearest whole n, times a polynomial in the rest. */
static float NAME_exp(float x)
{{
    union {{ uint32_t bits; float value; }} low, high;
    const float most = {number(EXP_MOST)};
    const float y = x > most ? most : x < -most ? -most : x;
    const float n = NAME_rint((float)(y * {number(EXP_LOG2_E)}));
    const float r = (float)((float)(y - (float)(n * {number(EXP_LN2[0])})) - (float)(n * {number(EXP_LN2[1])}));
    static const float terms[{len(EXP_TERMS)}] = {{{", ".join(map(number, EXP_TERMS))}}};
    float value = terms[0];
    int32_t half;
    if (x != x)
        return x;
    for (uint32_t k = 1; k < {len(EXP_TERMS)}u; k++)
        value = (float)((float)(value * r) + terms[k]);
    half = (int32_t)n / 2;
    low.bits = (uint32_t)(half + 127) << 23;
    high.bits = (uint32_t)((int32_t)n - half + 127) << 23;
    return (float)((float)(value * low.value) * high.value);
}}
""",
    "fma": """
/* a b + c, rounded once: a processor's own instruction, or the same number by exact sums in a wider type. */
static float NAME_fma(float a, float b, float c)
{
#ifdef __FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    const NAME_wide product = (NAME_wide)a * (NAME_wide)b;
    const NAME_wide sum = product + (NAME_wide)c;
    const NAME_wide part = sum - product;
    const NAME_wide error = (product - (sum - part)) + ((NAME_wide)c - part);
    const float nearest = (float)sum;
    const NAME_wide off = sum - (NAME_wide)nearest;
    const NAME_wide other = (NAME_wide)nearest + (off + off);
    const int tie = off != 0 && (NAME_wide)(float)other == other;
    return tie && error != 0 && (error > 0) == (off > 0) ? (float)other : nearest;
#endif
}
""",
    "multiply_add": """
static float NAME_multiply_add(float a, float b, float c)
{
    return (float)((float)(a * b) + c);
}
""",
    "add_rows": """
/* Sum the rows of a weight (inputs, outputs) for spikes: those of six neighbouring inputs to each other first. */
static void NAME_add_rows(const float *w, uint32_t outputs, const NAME_index *events, uint32_t count, uint32_t first,
    float *six, float *y)
{
    uint32_t e = 0;
    for (uint32_t j = 0; j < outputs; j++)
        y[j] = 0.0f;
    while (e < count) {
        const uint32_t group = (events[e] - first) / 6u;
        const float *row = w + (events[e] - first) * outputs;
        e++;
        if (e < count && (events[e] - first) / 6u == group) {
            for (uint32_t j = 0; j < outputs; j++)
                six[j] = row[j];
            for (; e < count && (events[e] - first) / 6u == group; e++) {
                row = w + (events[e] - first) * outputs;
                for (uint32_t j = 0; j < outputs; j++)
                    six[j] = (float)(six[j] + row[j]);
            }
            row = six;
        }
        for (uint32_t j = 0; j < outputs; j++)
            y[j] = (float)(y[j] + row[j]);
    }
}
""",
}


def loop(index: str, size: int, *statements: str) -> str:
    """Return a loop over the indices below a size."""
    inside = "\n".join(statements)
    return f"for (uint32_t {index} = 0; {index} < {size}u; {index}++) {{\n{inside}\n}}"


def stored(signal: Signal, row: str) -> str:
    """Return the statements that write a signal to a row, spikes as 1."""
    if not signal.spikes:
        return loop("j", signal.size, f"{row}[j] = x[j];")
    return (
        loop("j", signal.size, f"{row}[j] = 0;")
        + f"\nfor (uint32_t e = 0; e < count; e++) {{\n{row}[events[e]] = 1;\n}}"
    )
