"""Prints a kind of neuron: rows of neurons in Python, which Numba compiles, and a struct with its loops in CUDA.

`python -m cuslayer.neurons` writes the CUDA of the shipped kinds into the folder of this file.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from cuslayer.kernels.neuron.derive import adjoint, is_flushed, is_zero, saved
from cuslayer.kernels.neuron.kind import GRAD, GRADED, SLOPE, Kind, Statement, is_condition, later, name, names_in

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.GtE: ">=", ast.Gt: ">", ast.Lt: "<"}
_SIGNS |= {ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
# How tightly an operator binds.
_CHOICE, _OR, _AND, _COMPARE, _SUM, _PRODUCT, _SIGN, ATOM = range(8)


class _Printer:
    """Prints expressions; a subclass has the words of a language."""

    def __init__(self, conditions: Iterable[str]) -> None:
        self.conditions = {*conditions, GRADED}

    def show_name(self, name: str) -> str:
        return name

    def number(self, value: float) -> str:
        raise NotImplementedError

    def call(self, function: str, given: list[str]) -> str:
        raise NotImplementedError

    def choice(self, test: str, body: str, orelse: str) -> str:
        raise NotImplementedError

    def logic(self, word: str) -> str:
        raise NotImplementedError

    def show(self, value: ast.expr, least: int = _CHOICE, condition: bool = False) -> str:
        """Return an expression, in brackets if it binds less tightly than `least`."""
        text, strength = self._show(value, condition)
        return text if strength >= least else f"({text})"

    def _show(self, value: ast.expr, condition: bool) -> tuple[str, int]:
        if not condition and (is_condition(value) or (isinstance(value, ast.Name) and value.id in self.conditions)):
            return self.choice(self.show(value, _OR, True), self.number(1.0), self.number(0.0)), _CHOICE
        if isinstance(value, ast.Name):
            return self.show_name(value.id), ATOM
        if isinstance(value, ast.Constant):
            return self.number(cast(float, value.value)), ATOM
        if isinstance(value, ast.UnaryOp):
            if isinstance(value.op, ast.Not):
                return f"{self.logic('not')}{self.show(value.operand, _SIGN, True)}", _COMPARE
            return f"-{self.show(value.operand, _SIGN)}", _SIGN
        if isinstance(value, ast.BoolOp):
            strength = _AND if isinstance(value.op, ast.And) else _OR
            word = self.logic("and" if strength == _AND else "or")
            return word.join(self.show(each, strength + 1, True) for each in value.values), strength
        if isinstance(value, ast.Compare):
            sign = _SIGNS[type(value.ops[0])]
            return f"{self.show(value.left, _SUM)} {sign} {self.show(value.comparators[0], _SUM)}", _COMPARE
        if isinstance(value, ast.BinOp):
            strength = _SUM if isinstance(value.op, (ast.Add, ast.Sub)) else _PRODUCT
            sign = _SIGNS[type(value.op)]
            return f"{self.show(value.left, strength)} {sign} {self.show(value.right, strength + 1)}", strength
        if isinstance(value, ast.IfExp):
            test = self.show(value.test, _OR, True)
            return self.choice(test, self.show(value.body, _OR), self.show(value.orelse)), _CHOICE
        call = cast(ast.Call, value)
        return self.call(cast(ast.Name, call.func).id, [self.show(each) for each in call.args]), ATOM


def conditions_in(*bodies: Sequence[Statement]) -> set[str]:
    """Return the names that are assigned a condition."""
    return {name for body in bodies for name, value in body if is_condition(value)}


class _Python(_Printer):
    """Python for Numba, in which each number has the type of the arrays. Names that are not the step's begin with _."""

    def __init__(self, conditions: Iterable[str]) -> None:
        super().__init__(conditions)
        self.known: dict[float, str] = {0.0: "_zero", 1.0: "_one"}
        self.parts: list[str] = []

    def show_name(self, name: str) -> str:
        if name.endswith("'"):
            return f"_{name[:-1]}"
        return f"own_{name}" if name.startswith(("_", "own_")) or name == "range" else name

    def number(self, value: float) -> str:
        return self.known.setdefault(value, f"_n{len(self.known)}")

    def call(self, function: str, given: list[str]) -> str:
        if function in ("min", "max"):
            one, other = given
            return f"({one} if {one} {'<' if function == 'min' else '>'} {other} else {other})"
        if function == "flushed":
            part = f"_part{len(self.parts)}"
            self.parts.append(f"{part} = {given[0]}")
            return f"({self.flushed(part)})"
        return f"{'abs' if function == 'abs' else f'_{function}'}({', '.join(given)})"

    def flushed(self, text: str) -> str:
        return f"_zero if abs({text}) < _least else {text}"

    def choice(self, test: str, body: str, orelse: str) -> str:
        return f"{body} if {test} else {orelse}"

    def logic(self, word: str) -> str:
        return "not " if word == "not" else f" {word} "

    def statements(self, body: Iterable[Statement]) -> list[str]:
        """Return the lines of assignments."""
        lines = []
        for target, value in body:
            self.parts, shown = [], self.show_name(target)
            whole = cast(ast.Call, value).args[0] if is_flushed(value) else value
            text = f"{shown} = {self.show(whole, condition=is_condition(value))}"
            lines += [*self.parts, text, *([f"{shown} = {self.flushed(shown)}"] if is_flushed(value) else [])]
        return lines

    def load(self, names: Iterable[str], at: int = 0) -> list[str]:
        """Return the lines that read names from the memory's parts."""
        return [f"{self.show_name(each)} = {_place(at + i)}" for i, each in enumerate(names)]

    def store(self, names: Iterable[str], at: int = 0) -> list[str]:
        """Return the lines that write names to the memory's parts."""
        return [f"{_place(at + i)} = {self.show_name(each)}" for i, each in enumerate(names)]

    def function(self, of: str, kind: Kind, rows: int, loop: Iterable[str]) -> str:
        """Return the text of a function of addresses with a loop over a row; the memory has so many rows."""
        numbers = [f"{each} = _real({value!r})" for value, each in self.known.items()]
        constants = [f"{self.show_name(each)} = _c[{i}]" for i, each in enumerate((*kind.numbers, "least'"))]
        sizes = {"memory": f"{rows} * _width", "given": "_width", "potential": "_width", "fired": "_width"}
        sizes["c"] = str(len(constants))
        arrays = [f"_{name} = _carray(_{name}_at, ({size},))" for name, size in sizes.items()]
        head = [*arrays, "_real, _graded = _memory.dtype.type, _flag != 0", *numbers, *constants]
        parameters = ", ".join([*(f"_{name}_at" for name in sizes), "_width", "_flag"])
        lines = [f"def {of}({parameters}):", *(f"    {line}" for line in head), "    for _j in range(_width):"]
        return "\n".join([*lines, *(f"        {line}" for line in loop), ""])


def _place(number: int) -> str:
    return f"_memory[_j + {number} * _width]" if number else "_memory[_j]"


def forward_row(kind: Kind, kept: Sequence[str]) -> str:
    """Return the text of a function that runs a row of neurons for a step.

    The parts of its memory, each as long as the row: the states, the columns' constants, saved values, and further
    inputs.
    """
    show, at_kept = _Python(kind.conditions), len(kind.states) + len(kind.columns)
    loop = show.load((*kind.states, *kind.columns))
    loop.append(f"{show.show_name(kind.inputs[0])} = _given[_j]")
    loop += show.load(kind.inputs[1:], at_kept + len(kept))
    loop += show.statements(kind.body)
    loop += show.store(kind.after)
    loop += [f"_potential[_j] = {show.show_name(kind.potential)}", f"_fired[_j] = {show.show_name(kind.spike)}"]
    loop += show.store(kept, at_kept)
    return show.function("forward_row", kind, at_kept + len(kept) + len(kind.inputs) - 1, loop)


def backward_rows(kind: Kind, exact: bool, trained: bool) -> str:
    """Return the text of two functions: `backward_row` runs a row of neurons back over a step.

    The parts of its memory: gradients of the states; the surrogate, which the gradient of the input replaces; the
    columns' constants; saved values; the old states; saved values of the step before; sums of the columns' gradients if
    they are trained; gradients of further inputs. `old_row` computes the old states from the step before.
    """
    found, kept = adjoint(kind, exact, trained), saved(kind, exact, trained)
    show, states = _Python({*kind.conditions, *conditions_in(found.body)}), len(kind.states)
    at_kept = states + 1 + len(kind.columns)
    at_old = at_kept + len(kept)
    at_earlier = at_old + len(found.old)
    at_sums = at_earlier + (len(kept) if found.old else 0)
    at_more = at_sums + len(found.columns)
    u = show.show_name(kind.potential)
    results = [(i, value) for i, value in enumerate(found.states) if not is_zero(value)]
    results += [(at_more + i - 1 if i else states, value) for i, value in enumerate(found.inputs)]
    loop = [line for i, _ in results if i < states for line in show.load([later(kind.states[i])], i)]
    loop += [*show.load([SLOPE], states), f"{show.show_name(GRAD)} = _given[_j]", f"{u} = _potential[_j]"]
    loop += show.load((*kind.columns, *kept, *found.old), states + 1)
    loop += show.statements(found.body)
    loop += show.statements((f"result{i}'", value) for i, value in results)
    loop += show.statements((f"sum{i}'", value) for i, value in enumerate(found.columns))
    loop += [f"{_place(at_sums + i)} += _sum{i}" for i in range(len(found.columns))]
    loop += [line for i, _ in results for line in show.store([f"result{i}'"], i)]
    rows = at_more + len(kind.inputs) - 1
    back = show.function("backward_row", kind, rows, loop)

    show = _Python(kind.conditions)
    loop = [f"{u} = _potential[_j]", *show.load(kind.columns, states + 1), *show.load(kept, at_earlier)]
    loop += show.statements(found.before)
    loop += show.store([kind.after[kind.states.index(state)] for state in found.old], at_old)
    return back + show.function("old_row", kind, rows, loop)


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
        steep height shape_a shape_b kind exact trained graded grad slope forward backward distance load after
        alignof and_eq bitand bitor char16_t char32_t compl const_cast constexpr decltype dynamic_cast noexcept not_eq
        nullptr or_eq reinterpret_cast static_assert static_cast thread_local typeid wchar_t xor_eq
        STATES INPUTS SAVED COLUMNS OLD fabs
        Kind Neurons NeuronsBack Stepped SteppedBack Walker WalkerBack PackedNeuron NeuronAdjoint TermsOfStep Past Slope
        Frames Words SpikeList Entries Inputs Terms Rows Potential Gradient Ring Place Tiles TapSums Lanes Image Window
        """,
    )
)


def word(name: str) -> str:
    """Return a name of a step as CUDA has it."""
    return f"{name}_" if name in _TAKEN or name.startswith(("of_", "later_", "own_")) or name.endswith("_") else name


class Cuda(_Printer):
    """CUDA, in which `real` is the type of the arrays."""

    def show_name(self, name: str) -> str:
        return name[:-1] if name.endswith("'") else word(name)

    def number(self, value: float) -> str:
        return f"real({value:.17g})" if value != int(value) else f"real({int(value)})"

    def call(self, function: str, given: list[str]) -> str:
        if function in ("min", "max"):
            one, other = given
            return f"({one} {'<' if function == 'min' else '>'} {other} ? {one} : {other})"
        return f"{'fabs' if function == 'abs' else function}({', '.join(given)})"

    def choice(self, test: str, body: str, orelse: str) -> str:
        return f"{test} ? {body} : {orelse}"

    def logic(self, word: str) -> str:
        return {"not": "!", "and": " && ", "or": " || "}[word]

    def method(
        self, head: str, given: Mapping[str, str], body: Sequence[Statement], results: Sequence[tuple[str, ast.expr]]
    ) -> str:
        """Return a method: used inputs, by their expressions, the assignments, and the results."""
        used = {each for _, value in (*body, *results) for each in names_in(value)}
        lines = [f"const real {self.show_name(each)} = {value};" for each, value in given.items() if each in used]
        for target, value in body:
            condition = is_condition(value)
            shown = self.show(value, condition=condition)
            lines.append(f"const {'bool' if condition else 'real'} {self.show_name(target)} = {shown};")
        for place, value in results:
            condition = place == "return"
            lines.append(f"{place}{' ' if condition else ' = '}{self.show(value, condition=condition)};")
        wrapped = (textwrap.wrap(line, 112, subsequent_indent="    ") for line in lines)
        inside = [f"        {line}" for lines in wrapped for line in lines]
        # A line breaks between parameters.
        whole = f"__device__ __forceinline__ {head.replace(' ', '~').replace(',~', ', ')} const"
        signature = [line.replace("~", " ") for line in textwrap.wrap(whole, 114, subsequent_indent="    ")]
        return "\n".join([*(f"    {line}" for line in signature), "    {", *inside, "    }"])


def struct(kind: Kind) -> str:
    """Return the struct of a kind for the loops of `neuron_loops.cuh` and `recurrent.cu`."""
    show = Cuda(kind.conditions)
    kept = saved(kind, True, True)
    blocks = []
    if kind.numbers:
        blocks.append(f"    real {', '.join(map(word, kind.numbers))};  // of all neurons")
    if kind.columns:
        blocks.append(f"    real {', '.join(map(word, kind.columns))};  // of this neuron")
    old = kind.derived and any(adjoint(kind, exact, False).old for exact in (False, True))
    sizes = {"STATES": kind.states, "INPUTS": kind.inputs, "SAVED": kept, "COLUMNS": kind.columns}
    said = ", ".join(f"{of} = {len(each)}" for of, each in sizes.items())
    blocks += ["", f"    static constexpr int {said};"]
    if kind.derived:
        blocks.append("    // Whether backward needs the states of the step before even where no constant is trained.")
        blocks.append(f"    static constexpr bool OLD = {str(old).lower()};")
    loads = [(word(each), f"numbers[{i}]") for i, each in enumerate(kind.numbers)]
    place = {0: "0", 1: "period"}
    loads += [(word(each), f"constants[{place.get(i, f'{i} * period')}]") for i, each in enumerate(kind.columns)]
    given = "const real *constants, long long period" if kind.columns else "const real *, long long"
    blocks += ["", f"    __device__ __forceinline__ void load(const real *numbers, {given})", "    {"]
    blocks += [f"        {each} = {value};" for each, value in loads] + ["    }"]
    results = [(f"state[{i}]", name(after)) for i, after in enumerate(kind.after)]
    results += [("potential", name(kind.potential))]
    results += [(f"saved[{i}]", name(each)) for i, each in enumerate(kept)] + [("return", name(kind.spike))]
    states = {each: f"state[{i}]" for i, each in enumerate(kind.states)}
    inputs = {each: f"input[{i}]" for i, each in enumerate(kind.inputs)}
    head = f"bool forward(real *state, const real *input, real &potential, real *{'saved' if kept else ''})"
    blocks += ["", "    // One step; returns whether the neuron fires."]
    blocks.append(show.method(head, {**states, **inputs}, kind.body, results))
    if kind.derived:
        blocks += _backward(kind, kept)
    said = f"// A neuron of the kind {kind.name}, printed from {kind.source}"
    said += " by `python -m cuslayer.neurons`." if kind.is_shipped else "."
    return "\n".join([said, f"struct {word(kind.name)} {{", *blocks, "};", ""])


def _backward(kind: Kind, kept: Sequence[str]) -> list[str]:
    """Return the backward methods of a struct."""
    columns = range(len(kind.columns))
    saved_values = {each: f"saved[{i}]" for i, each in enumerate(kept)}
    all_of = adjoint(kind, True, True)
    after = [(kind.states.index(state), name(kind.after[kind.states.index(state)])) for state in all_of.old]
    used = {each for _, value in (*all_of.before, *after) for each in names_in(value)}
    names = ["before" if after else "", word(kind.potential) if kind.potential in used else ""]
    names.append("saved" if used & {*kept} else "")
    head = "void after(real *{}, real {}, const real *{})".format(*names)
    blocks = ["", "    // The states after a step, from its potential and its saved values."]
    results: list[tuple[str, ast.expr]] = [(f"before[{i}]", value) for i, value in after]
    blocks.append(Cuda(kind.conditions).method(head, saved_values, all_of.before, results))
    meaning = "as if the neuron had not fired" if kind.unfired else "with the spike as a constant"
    for exact, said in ((False, meaning), (True, "with all that the spike changes")):
        found = adjoint(kind, exact, True)
        given = {later(each): f"later[{i}]" for i, each in enumerate(kind.states)}
        given |= {each: f"before[{i}]" for i, each in enumerate(kind.states)} | saved_values
        results = [(f"later[{i}]", value) for i, value in enumerate(found.states)]
        results += [(f"of_input[{i}]", value) for i, value in enumerate(found.inputs)]
        results += [(f"total[{i}]", ast.BinOp(name(f"total[{i}]'"), ast.Add(), found.columns[i])) for i in columns]
        used = {each for _, value in (*found.body, *results) for each in names_in(value)}
        parameters = [
            "real *later",
            "const real *" + ("before" if used & {*kind.states} else ""),
            "const real *" + ("saved" if used & {*kept} else ""),
            f"real {word(kind.potential)}" if kind.potential in used else "real",
            "real grad",
            "bool graded",
            "real slope",
            "real *of_input",
            "real *" + ("total" if columns else ""),
        ]
        blocks += ["", f"    // Back over a step, {said}."]
        mode = "exact" if exact else "slayer"
        show = Cuda({*kind.conditions, *conditions_in(found.body)})
        blocks.append(show.method(f"void backward_{mode}({', '.join(parameters)})", given, found.body, results))
    blocks += [
        "",
        "    template <bool exact, typename... Given>",
        "    __device__ __forceinline__ void backward(Given &&...given) const",
        "    {",
        "        if constexpr (exact)",
        "            backward_exact(given...);",
        "        else",
        "            backward_slayer(given...);",
        "    }",
    ]
    return blocks


def with_struct(code: str, kind: Kind) -> str:
    """Return the text of a source for another kind, without backward if it has none."""
    begin = code.find('extern "C"', code.find('extern "C"') + 1)
    code = code if kind.derived else code[:begin]
    printed = f"{struct(kind)}typedef {word(kind.name)} Kind;\n"
    code = code.replace('#include "lif.cuh"\ntypedef LIF Kind;\n', printed)
    code = code.replace('#include "srm_neurons.cuh"\n', f'{printed}#include "kind_neurons.cuh"\n')
    in_populations = '#include "neuron_loops.cuh"\n#include "kind_recurrent.cuh"\n'
    code = code.replace('#include "srm_recurrent.cuh"\n', printed + in_populations)
    of_gradients = '#include "surrogate_shapes.cuh"\n#include "kind_adjoint.cuh"\n'
    return code.replace('#include "srm_adjoint.cuh"\n', printed + of_gradients)


def printed(kind: Kind) -> dict[str, str]:
    """Return the file of a shipped kind, by its name."""
    return {f"{re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', kind.name).lower()}.cuh": struct(kind)}
