"""Prints a kind of neuron as rows of neurons in Python, which Numba compiles; `print_cuda.py` prints CUDA."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
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
from cuslayer.kernels.step.tangent import Tangent

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


def coefficients(part: Tangent) -> list[ast.expr]:
    """Return the coefficients of a tangent in the order of `rows_of`."""
    return [value for row in rows_of(part) for value in row.values()]


def rows_of(part: Tangent) -> list[Mapping[int, ast.expr]]:
    """Return the rows of a tangent: of the states, of what is sent, of the output, without the slope if it can be."""
    return [*part.states, *part.sent, part.output if part.rise is None else part.rise]


def linear_scan(part: Tangent, kind: Kind, curve: Curve, writes: bool) -> str:
    """Return the text of a function that runs a row of neurons and writes the slope of each step, the factor of spikes.

    If it `writes`, rows of another array get the coefficients of the tangent, all those of a step one after the other.
    The memory has the states and the columns' constants.
    """
    shown = coefficients(part) if writes else []
    show = _Python({*kind.conditions, *conditions_in(part.body)})
    states = len(kind.states)
    u = show.show_name(kind.potential)
    loop = show.load((*kind.states, *kind.columns))
    loop.append(f"{show.show_name(kind.inputs[0])} = _given[_j]")
    loop += show.past_values(kind.past)
    loop += show.statements(kind.body)
    sloped = kind.fires and part.rise is not None
    if kind.fires:
        loop.append(f"{show.show_name(SLOPE)} = _slope_of({f'abs({u})' if kind.two_sided else u}, _rho)")
        loop.append(f"_fired[_j] = {show.show_name(kind.spike)}")
    if writes:
        loop += show.statements(part.body)
        loop += [
            f"_written[_t0 + {place}, _written_first + _j] = {show.show(value)}" for place, value in enumerate(shown)
        ]
    loop += [f"_rise[_j] = {show.show_name(SLOPE) if sloped else '_one'}", f"_potential[_j] = {u}"]
    loop += show.store(kind.after)
    names = (*kind.numbers, "least'")
    numbers = len(names) + 3 + len(curve.numbers)
    lines = [*_memory(states + len(kind.columns), numbers), *show.constants(names), _surrogate_at(len(names), curve)]
    lines += [_array(name) for name in ("x", "u", "s", "slopes", "written")]
    lines.append(f"_integers = _carray(_integers_at, ({len(kind.lags)},))")
    steps = [f"_given = {_row('x')}", f"_potential = {_row('u')}", f"_rise = {_row('slopes', '_t - _first')}"]
    if kind.fires:
        steps.append(f"_fired = {_row('s')}")
    if writes:
        steps.append(f"_t0 = (_t - _first) * {len(shown)}")
    for number, earlier in enumerate(kind.past):
        array = "s" if earlier.of == kind.spike else "x"
        lines.append(f"_lag{number} = _integers[{kind.lags.index(earlier.lag)}]")
        lines.append(f"_none{number} = _zeros(_width, _{array}.dtype)")
        steps.append(f"_row{number} = {_row(array, f'_t - _lag{number}')} if _lag{number} > 0 else _none{number}")
    steps += show.fade(kind, range(states))
    arrays = _parameters("x", "u", "s", "slopes", "written")
    head = f"linear(_first, _last, _memory_at, {arrays}, _width, _c_at, _integers_at)"
    return slope(curve) + _function(head, lines, "range(_first, _last)", steps, loop)


def tangent_scan(part: Tangent, of_columns: bool, adds: bool) -> str:
    """Return the text of a function that runs the tangents of one neuron by its synapses over `_steps` steps.

    A row has the synapses. The memory has a row for each state. A delayed value has a ring buffer of as many rows as
    its lag. Step t reads row t of the input x and of the coefficients, or row 0 if they have no more, and writes row t
    of y, or `adds` all steps to row 0. The output has the factor `slopes`, one for each step. Tangents `of_columns`
    are by the neuron's constants in the place of its synapses: x has a row for each, with the derivative by it.
    """
    given = len(part.states)
    constants = range(given + 1, given + 1 + part.columns)
    live = part.reached(*constants) if of_columns else part.reached(given)
    places = count()
    rows = [{source: next(places) for source in row} for row in rows_of(part)]
    sources = [f"_source{number}" for number in range(part.sources)]

    def total(row: dict[int, int]) -> str:
        return " + ".join(f"_m{place} * {sources[at]}" for at, place in row.items() if at in live) or "_zero"

    states = [at for at in range(len(part.states)) if at in live]
    loop = [f"{sources[at]} = _memory[_j + {at} * _width]" for at in states]
    if of_columns:
        loop += [f"{sources[at]} = _x[{at - given - 1}, _x_first + _j]" for at in constants]
    else:
        loop.append(f"{sources[given]} = _given[_j]")
    for target in sorted(live & set(part.targets)):
        senders = [f"_ring{lag}[_j]" for lag, to in enumerate(part.targets) if to == target]
        loop.append(f"{sources[target]} = {' + '.join(senders)}")
    loop += [f"_after{at} = {total(rows[at])}" for at in states]
    loop += [f"_sent{lag} = {total(row)}" for lag, row in enumerate(rows[len(part.states) : -1])]
    loop.append(f"_out[_j] {'+' if adds else ''}= _factor * ({total(rows[-1])})")
    loop += [f"_memory[_j + {at} * _width] = _after{at}" for at in states]
    # A lag of 0 is never.
    loop += [f"_ring{lag}[_j] = _sent{lag} if _lag{lag} > 0 else _zero" for lag in range(len(part.sent))]

    used = sorted(place for row in rows for at, place in row.items() if at in live)
    size = next(places)
    lines = ["_whole_registers()", f"_memory = _carray(_memory_at, ({len(part.states)} * _width,))", "_zero = _real(0)"]
    lines += [_array(name) for name in ("ring", "x", "y", "slopes", "written")]
    lines += [f"_integers = _carray(_integers_at, ({len(part.lags)},))", "_end0 = 0"]
    for lag in range(len(part.lags)):
        lines += [f"_lag{lag} = _integers[{lag}]", f"_end{lag + 1} = _end{lag} + max(_lag{lag}, 1)"]
    wide = "_{0}[{1}, _{0}_first : _{0}_first + _width]"
    steps = [
        f"_given = {wide.format('x', '0' if of_columns else '_t')}",
        f"_out = {wide.format('y', '0' if adds else '_t')}",
    ]
    steps += ["_factor = _slopes[_t % _slopes_rows, _slopes_first]", f"_t0 = _t * {size} % _written_rows"]
    steps += [f"_m{place} = _written[_t0 + {place}, _written_first]" for place in used]
    steps += [f"_ring{lag} = _ring[_end{lag} + (_t + _start) % max(_lag{lag}, 1)]" for lag in range(len(part.lags))]
    head = f"tangent(_start, _steps, _memory_at, {_parameters('ring', 'x', 'y', 'slopes', 'written')}, _width, "
    return _function(f"{head}_integers_at)", lines, "range(_steps)", steps, loop)
