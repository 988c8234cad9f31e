"""Prints a kind of neuron as rows of neurons in Python, which Numba compiles; `print_cuda.py` prints CUDA."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import cast

from cuslayer.kernels.step.derive import Adjoint, adjoint, is_flushed, is_zero, saved
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
)

_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.GtE: ">=", ast.Gt: ">", ast.Lt: "<"}
_SIGNS |= {ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
# How tightly an operator binds.
_CHOICE, _OR, _AND, _COMPARE, _SUM, _PRODUCT, _SIGN, ATOM = range(8)


class Printer:
    """Prints expressions; a subclass has the words of a language."""

    def __init__(self, conditions: Iterable[str]) -> None:
        self.conditions = {*conditions, GRADED}

    def show_name(self, name: str) -> str:
        return name

    def number(self, value: float) -> str:
        raise NotImplementedError

    def call(self, function: str, arguments: list[str]) -> str:
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
            return word.join(self.show(operand, _COMPARE, True) for operand in value.values), strength
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
        return self.call(cast(ast.Name, call.func).id, [self.show(operand) for operand in call.args]), ATOM


def conditions_in(*bodies: Sequence[Statement]) -> set[str]:
    """Return the names that are assigned a condition."""
    return {name for body in bodies for name, value in body if is_condition(value)}


class CFamily(Printer):
    """Operators as C, CUDA and JavaScript write them."""

    def choice(self, test: str, body: str, orelse: str) -> str:
        return f"{test} ? {body} : {orelse}"

    def logic(self, word: str) -> str:
        return {"not": "!", "and": " && ", "or": " || "}[word]


class _Python(Printer):
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

    def call(self, function: str, arguments: list[str]) -> str:
        if function in ("min", "max"):
            left, right = arguments
            return f"({left} if {left} {'<' if function == 'min' else '>'} {right} else {right})"
        if function == "flushed":
            part = f"_part{len(self.parts)}"
            self.parts.append(f"{part} = {arguments[0]}")
            return f"({self.flushed(part)})"
        return f"{'abs' if function == 'abs' else f'_{function}'}({', '.join(arguments)})"

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
            self.parts = []
            shown = self.show_name(target)
            expression = cast(ast.Call, value).args[0] if is_flushed(value) else value
            text = f"{shown} = {self.show(expression, condition=is_condition(value))}"
            lines += [*self.parts, text, *([f"{shown} = {self.flushed(shown)}"] if is_flushed(value) else [])]
        return lines

    def load(self, names: Iterable[str], at: int = 0) -> list[str]:
        """Return the lines that read names from the memory's parts."""
        return [f"{self.show_name(value)} = {_place(at + i)}" for i, value in enumerate(names)]

    def store(self, names: Iterable[str], at: int = 0) -> list[str]:
        """Return the lines that write names to the memory's parts."""
        return [f"{_place(at + i)} = {self.show_name(value)}" for i, value in enumerate(names)]

    def constants(self, names: Iterable[str]) -> list[str]:
        """Return the lines that read constants from the array of numbers, and numbers of the step."""
        lines = [f"{self.show_name(constant)} = _c[{i}]" for i, constant in enumerate(names)]
        return [*lines, *(f"{text} = _real({value!r})" for value, text in self.known.items())]

    def past_values(self, past: Sequence[Past]) -> list[str]:
        """Return the lines that read the values of other steps."""
        return [f"{self.show_name(earlier.name)} = _real(_row{i}[_j])" for i, earlier in enumerate(past)]

    def fade(self, kind: Kind, states: Iterable[int]) -> list[str]:
        """Return the lines that replace small states, by their numbers, by 0 before some steps."""
        lines = []
        factors = dict(kind.fading)
        for at in states:
            factor = factors.get(kind.states[at])
            if factor is None:
                continue
            lines += [f"if _t % 8 == 0 or {self.show_name(factor)} < _tenth:", "    for _j in range(_width):"]
            lines.append(f"        {_place(at)} = {self.flushed(_place(at))}")
        return lines


def _place(number: int) -> str:
    return f"_memory[_j + {number} * _width]" if number else "_memory[_j]"


def _array(name: str) -> str:
    """Return the line that makes an array (rows, columns) of an address."""
    return f"_{name} = _carray(_{name}_at, (_{name}_rows, _{name}_columns))"


def _parameters(*arrays: str) -> str:
    return ", ".join(f"_{name}_at, _{name}_rows, _{name}_columns, _{name}_first" for name in arrays)


def _row(name: str, step: str = "_t") -> str:
    """Return the row of a step of an array, which may be a ring buffer."""
    return f"_{name}[({step}) % _{name}_rows, _{name}_first : _{name}_first + _width]"


def _function(head: str, lines: Iterable[str], over_time: str, steps: Iterable[str], loop: Iterable[str]) -> str:
    """Return the text of a function with a loop over time, and in it a loop over a row of neurons."""
    text = [f"def {head}:", *(f"    {line}" for line in lines), f"    for _t in {over_time}:"]
    text += [*(f"        {line}" for line in steps), "        for _j in range(_width):"]
    return "\n".join([*text, *(f"            {line}" for line in loop), ""])


def _memory(rows: int, constants: int) -> list[str]:
    sizes = [
        "_whole_registers()",
        f"_memory = _carray(_memory_at, ({rows} * _width,))",
        f"_c = _carray(_c_at, ({constants},))",
    ]
    return [*sizes, "_tenth = _real(0.1)"]


def slope(curve: Curve) -> str:
    """Return the text of a function that returns ``dt rho(u) = height f((u - theta) steep)``, f the curve.

    It is NaN for a u that is not finite.
    """
    show = _Python(curve.conditions)
    z = show.show_name(curve.argument)
    body = show.statements(curve.body)
    value = show.show(name(curve.result))
    constants = ", ".join(["_theta, _steep, _height", *map(show.show_name, curve.numbers)])
    lines = [
        f"{constants} = _rho",
        "_exp = _exp_of_negative",
        *show.constants(()),
        f"{z} = (_u - _theta) * _steep",
        *body,
    ]
    lines.append(f"return _multiply_add(_height, {value}, {z} - {z})")
    return "\n".join(["@_inlined", "def _slope_of(_u, _rho):", *(f"    {line}" for line in lines), ""])


def _surrogate_at(place: int, curve: Curve) -> str:
    """Return the line that reads the numbers of a surrogate, from a place of the array of numbers on."""
    return f"_rho = ({', '.join(f'_c[{place + i}]' for i in range(3 + len(curve.numbers)))})"


def slopes(curve: Curve) -> str:
    """Return the text of a function that writes the surrogate of a row of potentials."""
    lines = ["_whole_registers()", "_out = _carray(_out_at, (_width,))", "_u = _carray(_u_at, (_width,))"]
    lines += [f"_c = _carray(_c_at, ({3 + len(curve.numbers)},))", _surrogate_at(0, curve)]
    lines += ["for _j in range(_width):", "    _out[_j] = _slope_of(_u[_j], _rho)"]
    head = "def slopes(_out_at, _u_at, _width, _c_at):"
    return slope(curve) + "\n".join([head, *(f"    {line}" for line in lines), ""])


def forward_scan(kind: Kind, saved_names: Sequence[str]) -> str:
    """Return the text of a function that runs a row of neurons over the steps from `_first` to `_last`.

    The parts of its memory, each as long as the row: the states, the columns' constants, saved values, and further
    inputs. Step t of the inputs x, the potentials u and the spikes s is row t modulo the number of rows.
    """
    show = _Python(kind.conditions)
    at_saved = len(kind.states) + len(kind.columns)
    at_inputs = at_saved + len(saved_names)
    loop = show.load((*kind.states, *kind.columns))
    loop.append(f"{show.show_name(kind.inputs[0])} = _given[_j]")
    loop += show.load(kind.inputs[1:], at_inputs)
    loop += show.past_values(kind.past)
    loop += show.statements(kind.body)
    loop += show.store(kind.after)
    loop.append(f"_potential[_j] = {show.show_name(kind.potential)}")
    if kind.fires:
        loop.append(f"_fired[_j] = {show.show_name(kind.spike)}")
    loop += show.store(saved_names, at_saved)
    names = (*kind.numbers, "least'")
    lines = [*_memory(at_inputs + len(kind.inputs) - 1, len(names)), *show.constants(names)]
    lines += [_array("x"), _array("u"), _array("s"), f"_integers = _carray(_integers_at, ({len(kind.lags)},))"]
    steps = [f"_given = {_row('x')}", f"_potential = {_row('u')}"]
    if kind.fires:
        steps.append(f"_fired = {_row('s')}")
    for number, earlier in enumerate(kind.past):
        array = "s" if earlier.of == kind.spike else "x"
        lines.append(f"_lag{number} = _integers[{kind.lags.index(earlier.lag)}]")
        lines.append(f"_none{number} = _zeros(_width, _{array}.dtype)")
        before = f"{_row(array, f'_t - _lag{number}')} if 0 < _lag{number} <= _t else _none{number}"
        steps.append(f"_row{number} = {before}")
    head = f"forward(_first, _last, _memory_at, {_parameters('x', 'u', 's')}, _width, _c_at, _integers_at)"
    return _function(head, lines, "range(_first, _last)", [*steps, *show.fade(kind, range(len(kind.states)))], loop)


def _names_of(reverse: Adjoint) -> set[str]:
    """Return the names that backward uses."""
    values = (*(value for _, value in reverse.body), *reverse.states, *reverse.inputs, *reverse.columns)
    return {used for value in values for used in names_in(value)}


def ring_values(kind: Kind, exact: bool, trained: bool) -> tuple[str, ...]:
    """Return the values of backward that earlier steps use again, in the order of the ring buffer's parts."""
    return tuple(dict.fromkeys(later_value.of for later_value in adjoint(kind, exact, trained).past))


def backward_scan(kind: Kind, exact: bool, trained: bool, curve: Curve) -> str:
    """Return the text of two functions: `backward` runs a row of neurons back over the steps, the last first.

    The parts of its memory: gradients of the states; the columns' constants; saved values; the old states; saved
    values of the step before; sums of the columns' gradients if they are trained; gradients of further inputs.
    `old_row` computes the old states from the step before. The ring buffer has the values of later steps.
    """
    reverse = adjoint(kind, exact, trained)
    saved_names = saved(kind, exact, trained)
    show = _Python({*kind.conditions, *conditions_in(reverse.body)})
    states = len(kind.states)
    at_saved = states + len(kind.columns)
    at_old = at_saved + len(saved_names)
    at_earlier = at_old + len(reverse.old)
    at_sums = at_earlier + (len(saved_names) if reverse.old else 0)
    at_inputs = at_sums + len(reverse.columns)
    u = show.show_name(kind.potential)
    results = [(i, value) for i, value in enumerate(reverse.states) if not is_zero(value)]
    loop = [line for i, _ in results for line in show.load([later(kind.states[i])], i)]
    loop += [f"{show.show_name(GRAD)} = _grads[_j]", f"{u} = _potential[_j]"]
    if SLOPE in _names_of(reverse):
        loop.append(f"{show.show_name(SLOPE)} = _slope_of({f'abs({u})' if kind.two_sided else u}, _rho)")
    loop += show.load((*kind.columns, *saved_names, *reverse.old), states)
    loop += show.past_values(reverse.past)
    loop += show.statements(reverse.body)
    loop += show.statements((f"result{i}'", value) for i, value in results)
    loop += show.statements((f"input{i}'", value) for i, value in enumerate(reverse.inputs))
    loop += show.statements((f"sum{i}'", value) for i, value in enumerate(reverse.columns))
    loop += [f"{_place(at_sums + i)} += _sum{i}" for i in range(len(reverse.columns))]
    loop += [line for i, _ in results for line in show.store([f"result{i}'"], i)]
    loop += ["_out[_j] = _input0", *show.store((f"input{i}'" for i in range(1, len(kind.inputs))), at_inputs)]
    ring = ring_values(kind, exact, trained)
    loop += [f"_kept{i}[_j] = {show.show_name(value)}" for i, value in enumerate(ring)]

    rows = at_inputs + len(kind.inputs) - 1
    names = (*kind.numbers, "least'")
    lines = [*_memory(rows, len(names) + 3 + len(curve.numbers)), *show.constants(names), "_graded = _flag != 0"]
    lines.append(_surrogate_at(len(names), curve))
    lines += [_array(name) for name in ("ring", "g", "u", "y")]
    lines.append(f"_integers = _carray(_integers_at, ({len(kind.lags)},))")
    steps = [f"_grads = {_row('g')}", f"_potential = {_row('u')}", f"_out = {_row('y')}"]
    if ring:
        lines.append(f"_length = _ring_rows // {len(ring)}")
    for number, later_value in enumerate(reverse.past):
        lines.append(f"_lag{number} = _integers[{kind.lags.index(later_value.lag)}]")
        lines.append(f"_none{number} = _zeros(_width, _memory.dtype)")
        part = ring.index(later_value.of)
        row = f"_ring[{part} * _length + (_t + _lag{number}) % _length, _ring_first : _ring_first + _width]"
        steps.append(f"_row{number} = {row} if _lag{number} > 0 else _none{number}")
    for number in range(len(ring)):
        steps.append(f"_kept{number} = _ring[{number} * _length + _t % _length, _ring_first : _ring_first + _width]")
    steps += show.fade(kind, (i for i, _ in results))
    arrays = _parameters("ring", "g", "u", "y")
    head = f"backward(_first, _last, _memory_at, {arrays}, _width, _c_at, _integers_at, _flag)"
    back = slope(curve) + _function(head, lines, "range(_last - 1, _first - 1, -1)", steps, loop)

    if not reverse.old:
        return back
    show = _Python(kind.conditions)
    loop = [f"{u} = _potential[_j]", *show.load(kind.columns, states), *show.load(saved_names, at_earlier)]
    loop += show.statements(reverse.before)
    loop += show.store([kind.after[kind.states.index(state)] for state in reverse.old], at_old)
    names = (*kind.numbers, "least'")
    lines = [*_memory(rows, len(names)), *show.constants(names), "_potential = _carray(_u_at, (_width,))"]
    text = ["def old_row(_memory_at, _u_at, _c_at, _width):", *(f"    {line}" for line in lines)]
    text += ["    for _j in range(_width):", *(f"        {line}" for line in loop), ""]
    return back + "\n".join(text)
