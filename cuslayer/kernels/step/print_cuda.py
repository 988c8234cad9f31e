"""Prints a kind of neuron as a struct for the loops in CUDA; `python -m cuslayer.neurons` shows it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from cuslayer.kernels.step.derive import Adjoint, adjoint, saved
from cuslayer.kernels.step.kind import (
    GRAD,
    GRADED,
    SLOPE,
    Curve,
    Kind,
    Past,
    Statement,
    is_condition,
    later,
    name,
    names_in,
    number,
)
from cuslayer.kernels.step.print_numba import CFamily, conditions_in

# Words of C++ and of the loops that a step may have as names.
_TAKEN = frozenset(
    re.findall(
        r"\w+",
        """
        alignas and asm auto bool break case catch char class const continue default delete do double else enum exact
        explicit export extern false float for friend goto if inline int long mutable namespace new not operator or
        private protected public real register return short signed sizeof static struct switch template this throw true
        try typedef typename union unsigned using virtual void volatile while xor state input potential saved later
        before of_input total y sums constants states steps columns period held saves g w samples neurons delay code
        sent next_sent steep height shape_a shape_b kind exact trained graded grad slope forward backward distance
        load after
        alignof and_eq bitand bitor char16_t char32_t compl const_cast constexpr decltype dynamic_cast noexcept not_eq
        nullptr or_eq reinterpret_cast static_assert static_cast thread_local typeid wchar_t xor_eq
        STATES INPUTS SAVED COLUMNS OLD FIRES PAST_INPUTS PAST_SPIKES TERMS PAST KEPT RECOMPUTED fabs
        c t i terms past past_inputs past_spikes kept slope_of fade input_of input_lag spike_lag later_lag later_kept
        Kind Numbers Surrogate Neuron Walker WalkerBack PackedNeuron NeuronAdjoint TermsOfStep Past Slope
        Frames Words SpikeList Entries Inputs Terms Rows Potential Gradient Ring Place Tiles TapSums Lanes Image Window
        """,
    )
)


def word(name: str) -> str:
    """Return a name of a step as CUDA has it."""
    taken = name in _TAKEN or name.startswith(("of_", "later_", "own_", "ago_", "timed_")) or name.endswith("_")
    return f"{name}_" if taken else name


@dataclass(frozen=True)
class Back:
    """Backward over one step in two parts: terms that need no other step, then the remaining assignments."""

    whole: Adjoint  # both parts
    terms: tuple[str, ...]
    first: tuple[Statement, ...]  # the assignments that compute the terms
    rest: tuple[Statement, ...]
    kept: tuple[str, ...]  # the values that earlier steps use again
    recomputed: bool  # whether these are the first terms, so that they need not be stored


@cache
def back(kind: Kind, exact: bool) -> Back:
    """Return backward of a kind; a kind without a derivative has gradients of 0."""
    if kind.derived:
        reverse = adjoint(kind, exact, True)
    else:
        states, inputs, columns = (
            tuple(number(0.0) for _ in names) for names in (kind.states, kind.inputs, kind.columns)
        )
        reverse = Adjoint((), (), (), (), states, inputs, columns)
    results = (*reverse.states, *reverse.inputs, *reverse.columns)
    kept = tuple(dict.fromkeys(value.of for value in reverse.past))
    of_step = (GRAD, SLOPE, kind.potential)
    known = {*of_step, GRADED, *kind.numbers, *kind.columns}
    first = []
    rest = []
    for target, value in reverse.body:
        if known.issuperset(names_in(value)):
            known.add(target)
            first.append((target, value))
        else:
            rest.append((target, value))
    values = (*(value for _, value in rest), *results)
    used = {used_name for value in values for used_name in names_in(value)} | {*kept}
    targets = [target for target, _ in first]
    terms = [used_name for used_name in kept if used_name in targets]
    terms += [used_name for used_name in (*targets, *of_step) if used_name in used and used_name not in terms]
    everything = {used_name for _, value in first for used_name in names_in(value)} | used
    plain = tuple(used_name for used_name in of_step if used_name in everything)
    if len(terms) < len(plain) and conditions_in(first).isdisjoint(terms):
        recomputed = bool(kept) and {*kept} <= {*targets}
        return Back(reverse, tuple(terms), tuple(first), tuple(rest), kept, recomputed)
    return Back(reverse, plain, (), reverse.body, kept, recomputed=False)


class _Cuda(CFamily):
    """CUDA, in which `real` is the type of the arrays."""

    def __init__(self, kind: Kind | Curve, conditions: Iterable[str] = ()) -> None:
        super().__init__({*kind.conditions, *conditions})
        self.numbers = frozenset(kind.numbers)

    def show_name(self, name: str) -> str:
        if name in self.numbers:
            return f"c.{word(name)}"
        return name[:-1] if name.endswith("'") else word(name)

    def number(self, value: float) -> str:
        return f"real({value:.17g})" if value != int(value) else f"real({int(value)})"

    def call(self, function: str, arguments: list[str]) -> str:
        if function in ("min", "max"):
            left, right = arguments
            return f"({left} {'<' if function == 'min' else '>'} {right} ? {left} : {right})"
        return f"{'fabs' if function == 'abs' else function}({', '.join(arguments)})"

    def lines(
        self, inputs: Mapping[str, str], body: Sequence[Statement], results: Sequence[tuple[str, ast.expr]]
    ) -> list[str]:
        """Return the lines of a method: used inputs, by their expressions, the assignments, and the results."""
        used = {variable for _, value in (*body, *results) for variable in names_in(value)}
        lines = [
            f"const real {self.show_name(variable)} = {value};"
            for variable, value in inputs.items()
            if variable in used
        ]
        for target, value in body:
            condition = is_condition(value)
            shown = self.show(value, condition=condition)
            lines.append(f"const {'bool' if condition else 'real'} {self.show_name(target)} = {shown};")
        for place, value in results:
            condition = place == "return"
            lines.append(f"{place}{' ' if condition else ' = '}{self.show(value, condition=condition)};")
        return lines


class _CudaCurve(_Cuda):
    """The shape of a surrogate, whose constants are members."""

    def show_name(self, name: str) -> str:
        return f"shape_{name}" if name in self.numbers else super().show_name(name)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _method(head: str, lines: Iterable[str], qualifier: str = "") -> list[str]:
    """Return the lines of a method; a line breaks between parameters."""
    declaration = f"__device__ __forceinline__ {head.replace(' ', '~').replace(',~', ', ')}{qualifier}"
    signature = [line.replace("~", " ") for line in textwrap.wrap(declaration, 114, subsequent_indent="    ")]
    wrapped = (part for line in lines for part in textwrap.wrap(line, 112, subsequent_indent="    ", tabsize=4))
    return ["", *signature, "{", *_indented(wrapped), "}"]


def _of_modes(slayer: list[str], exact: list[str]) -> list[str]:
    """Return the lines of a template method for both modes of the gradient."""
    if slayer == exact:
        return slayer
    return ["if constexpr (exact) {", *_indented(exact), "} else {", *_indented(slayer), "}"]


def _choice_of(values: Sequence[str]) -> str:
    """Return a statement that returns value number i."""
    if len(set(values)) == 1:
        return f"return {values[0]};"
    return f"return {''.join(f'i == {i} ? {value} : ' for i, value in enumerate(values[:-1]))}{values[-1]};"


def _lags(past: Sequence[Past]) -> list[str]:
    return [_choice_of([f"c.{word(value.lag)}" for value in past])] if past else ["return 0;"]


def _fade(kind: Kind) -> list[str]:
    """Return the lines that replace small values by 0 before some steps."""
    lines = []
    for factor in dict.fromkeys(factor for _, factor in kind.fading):
        lines.append(f"if (t % AHEAD == 0 || c.{word(factor)} < real(0.1)) {{")
        for state, by in kind.fading:
            if by == factor:
                value = f"values[{kind.states.index(state)}]"
                lines.append(f"    {value} = flushed({value});")
        lines.append("}")
    return lines


def past_of(kind: Kind) -> tuple[tuple[Past, ...], tuple[Past, ...]]:
    """Return the inputs and the spikes of earlier steps that a step uses."""
    spikes = tuple(value for value in kind.past if value.of == kind.spike)
    return tuple(value for value in kind.past if value.of != kind.spike), spikes


@cache
def surrogate(curve: Curve) -> str:
    """Return the text of the structs of a surrogate: its numbers, and ``dt rho(u)``, NaN for a u that is not finite."""
    names = ["theta", "steep", "height", *(f"shape_{constant}" for constant in curve.numbers)]
    show = _CudaCurve(curve)
    # In float, 0 replaces exp(x) for x < -40, as on the CPU.
    lines = _method("static real exp(real x)", ["return sizeof(real) == 4 && !(x >= -40) ? real(0) : ::exp(x);"])[1:]
    body = [*show.lines({}, curve.body, []), f"return {show.show(name(curve.result))};"]
    lines += _method(f"real shape(real {show.show_name(curve.argument)})", body, " const")
    body = ["const real z = (u - theta) * steep;", "return fma(height, shape(z), z - z);"]
    lines += _method("real operator()(real u)", body, " const")
    text = [f"// The surrogate, printed from {curve.source}.", f"struct Surrogate {{ real {', '.join(names)}; }};", ""]
    text += ["struct Slope : Surrogate {", *_indented(lines), "};", ""]
    return "\n".join(line.rstrip() for line in text)


@cache
def header(kind: Kind, curve: Curve) -> str:
    """Return the text of ``kind.cuh``: structs of the surrogate, and of what a neuron does at a step and back."""
    numbers = [f"real {', '.join(map(word, part))};" for part in _parts(kind.numbers)]
    numbers.append(f"long long {', '.join([*map(word, kind.lags), 'period'])};")
    lines = [f"// A neuron of the kind {kind.name}, printed from {kind.source}.", ""]
    lines += ["// The constants of all neurons, numbers of steps, and the period of the neurons' own constants."]
    lines += ["struct Numbers {", *_indented(numbers), "};", ""]
    lines += [f"struct {word(kind.name)} {{", *_indented(_struct(kind)), "};", ""]
    lines += [f"typedef {word(kind.name)} Kind;", ""]
    return surrogate(curve) + "\n".join(line.rstrip() for line in lines)


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[i : i + 10] for i in range(0, len(names), 10)]


def _struct(kind: Kind) -> list[str]:
    show = _Cuda(kind)
    saved_names = saved(kind, True, True)
    inputs, spikes = past_of(kind)
    counts: dict[str, Sequence[Any]] = {"STATES": kind.states, "INPUTS": kind.inputs, "SAVED": saved_names}
    counts |= {"COLUMNS": kind.columns, "PAST_INPUTS": inputs, "PAST_SPIKES": spikes}
    lines = [f"real {', '.join(map(word, kind.columns))};  // of this neuron", ""] if kind.columns else []
    lines += [f"static constexpr int {', '.join(f'{constant} = {len(names)}' for constant, names in counts.items())};"]
    lines += [f"static constexpr bool FIRES = {str(kind.fires).lower()};"]
    loads = [f"{word(column)} = constants[{i} * period];" for i, column in enumerate(kind.columns)]
    lines += _method("void load(const real *constants, long long period)", loads)
    lines += ["", "// The steps after which an input and a spike are used again, and which of the inputs it is."]
    lines += _method("static long long input_lag(const Numbers &c, int i)", _lags(inputs))[1:]
    indices = [str(kind.inputs.index(value.of)) for value in inputs]
    lines += _method("static constexpr int input_of(int i)", [_choice_of(indices or ["0"])])
    lines += _method("static long long spike_lag(const Numbers &c, int i)", _lags(spikes))
    lines += ["", "// Replaces small states, or their gradients, by 0 before some steps t."]
    lines += _method("static void fade(const Numbers &c, long long t, real *values)", _fade(kind))[1:]

    results = [(f"state[{i}]", name(after)) for i, after in enumerate(kind.after)]
    results += [("potential", name(kind.potential))]
    results += [(f"saved[{i}]", name(value)) for i, value in enumerate(saved_names)]
    results += [("return", name(kind.spike))] if kind.fires else []
    variables = {state: f"state[{i}]" for i, state in enumerate(kind.states)}
    variables |= {weighted: f"input[{i}]" for i, weighted in enumerate(kind.inputs)}
    variables |= {value.name: f"past_inputs[{i}]" for i, value in enumerate(inputs)}
    variables |= {value.name: f"past_spikes[{i}]" for i, value in enumerate(spikes)}
    parameters = "real *state, const real *input, const real *past_inputs, const real *past_spikes, long long t"
    head = f"bool forward(const Numbers &c, {parameters}, real &potential, real *saved)"
    lines += ["", "// One step t; returns whether the neuron fires."]
    body = ["fade(c, t, state);", *show.lines(variables, kind.body, results)]
    lines += _method(head, body if kind.fires else [*body, "return false;"], " const")[1:]
    return lines + _backward(kind, saved_names)


def _backward(kind: Kind, saved_names: Sequence[str]) -> list[str]:
    """Return the lines of the struct that are backward: terms that need no other step, then the rest of a step."""
    modes = [back(kind, exact) for exact in (False, True)]
    counts = {"TERMS": [len(mode.terms) for mode in modes], "PAST": [len(mode.whole.past) for mode in modes]}
    counts["KEPT"] = [len(mode.kept) for mode in modes]
    olds = [str(bool(kind.derived and adjoint(kind, exact, False).old)).lower() for exact in (False, True)]
    flags = {"RECOMPUTED": [str(mode.recomputed).lower() for mode in modes], "OLD": olds}
    lines = [
        "",
        "// Backward: terms that need no other step; values of later steps that are used; different ones of these;",
    ]
    lines += ["// whether they are the first terms; whether the states before a step are needed."]
    for kinds, table in (("int", counts), ("bool", flags)):
        for constant, (slayer, exact) in table.items():
            value = slayer if slayer == exact else f"exact ? {exact} : {slayer}"
            lines.append(f"template <bool exact> static constexpr {kinds} {constant} = {value};")
    lags = _of_modes(*(_lags(mode.whole.past) for mode in modes))
    indices = [[str(mode.kept.index(value.of)) for value in mode.whole.past] or ["0"] for mode in modes]
    lines += ["", "template <bool exact>"]
    lines += _method("static long long later_lag(const Numbers &c, int i)", lags)[1:]
    lines += ["", "template <bool exact>"]
    choice = _of_modes(*([_choice_of(values)] for values in indices))
    lines += _method("static constexpr int later_kept(int i)", choice)[1:]

    saved_values = {value: f"saved[{i}]" for i, value in enumerate(saved_names)}
    after = []
    before = modes[True].whole.before
    for state in modes[True].whole.old:
        i = kind.states.index(state)
        after.append((f"before[{i}]", name(kind.after[i])))
    lines += ["", "// The states after a step, from its potential and its saved values."]
    head = f"void after(const Numbers &c, real *before, real {word(kind.potential)}, const real *saved)"
    lines += _method(head, _Cuda(kind).lines(saved_values, before, after), " const")[1:]

    u = word(kind.potential)
    lines += ["", "template <bool exact, typename Slope>"]
    head = f"void terms(const Numbers &c, const Slope &slope_of, real {u}, real grad, bool graded, real *terms)"
    lines += _method(head, _of_modes(*(_terms_of(kind, mode) for mode in modes)), " const")[1:]

    body = ["fade(c, t, later);", *_of_modes(*(_rest_of(kind, mode, saved_values) for mode in modes))]
    parameters = "real *later, const real *before, const real *saved, const real *terms, const real *past, bool graded"
    head = f"void backward(const Numbers &c, {parameters}, long long t, real *of_input, real *total, real *kept)"
    meaning = "as if the neuron had not fired" if kind.unfired else "with the spike as a constant"
    lines += ["", f"// Back over a step t, {meaning}, or exactly."]
    return [*lines, "template <bool exact>", *_method(head, body, " const")[1:]]


def _terms_of(kind: Kind, mode: Back) -> list[str]:
    distance = word(kind.potential)
    slope = f"slope_of({f'fabs({distance})' if kind.two_sided else distance})"
    results = [(f"terms[{i}]", name(term)) for i, term in enumerate(mode.terms)]
    return _Cuda(kind, conditions_in(mode.first)).lines({SLOPE: slope}, mode.first, results)


def _rest_of(kind: Kind, mode: Back, saved_values: Mapping[str, str]) -> list[str]:
    reverse = mode.whole
    variables = {later(state): f"later[{i}]" for i, state in enumerate(kind.states)}
    variables |= {state: f"before[{i}]" for i, state in enumerate(kind.states)} | {**saved_values}
    variables |= {term: f"terms[{i}]" for i, term in enumerate(mode.terms)}
    variables |= {value.name: f"past[{i}]" for i, value in enumerate(reverse.past)}
    results = [(f"later[{i}]", value) for i, value in enumerate(reverse.states)]
    results += [(f"of_input[{i}]", value) for i, value in enumerate(reverse.inputs)]
    totals = enumerate(reverse.columns)
    results += [(f"total[{i}]", ast.BinOp(name(f"total[{i}]'"), ast.Add(), value)) for i, value in totals]
    results += [(f"kept[{i}]", name(value)) for i, value in enumerate(mode.kept)]
    return _Cuda(kind, conditions_in(reverse.body)).lines(variables, mode.rest, results)
