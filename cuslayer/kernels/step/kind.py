"""The language of a neuron's step: plain arithmetic on scalars, read from the source of a function.

A step has assignments and ``if`` blocks of assignments, then one return. An expression may have ``+ - * /``, ``**``
with a whole number, comparisons, ``and``, ``or``, ``not``, ``a if condition else b``, numbers, `abs`, `min`, `max`, the
functions of this module, and `ago` for earlier steps. `read_step` turns it into a `Kind`, from which `derive.py`
derives the adjoint, `print_numba.py` prints Python for Numba, and `print_cuda.py` prints CUDA.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

from cuslayer._base import check
from cuslayer.backend import namespace

# Below this absolute value a float64 state becomes 0: see kernels/host/states.py.
_LEAST = 2.0**-904
# The folder of the package.
_ROOT = Path(__file__).parents[3]

# The end of backward's names.
MARK = "'"

Statement: TypeAlias = "tuple[str, ast.expr]"


def flushed(x: float) -> float:
    """Return x, or 0 if it is so small that arithmetic with it would be slow and differ between devices.

    Flush a state that decays in each step: ``v = flushed(d * v + x)``.
    """
    return 0.0 if abs(x) < _LEAST else x


def exp(x: Any) -> Any:
    """Return e to the power of x, a number or an array."""
    return namespace(x).exp(x)


def rint(x: float) -> float:
    """Return the nearest whole number, halves to even."""
    return float(round(x))


def trunc(x: float) -> float:
    """Return x without its fraction."""
    return float(math.trunc(x))


def ago(value: Any, steps: float) -> Any:
    """Return a value of some steps ago: ``ago(x, c.lag)``, ``ago("s", c.lag)`` for the spike that the step returns.

    It is 0 before the first step, and for 0 steps. The number of steps is a whole number, the same for all neurons. In
    ``backward``, which runs from the last step to the first, the value is one that ``backward`` assigns, in quotes.
    """
    raise TypeError("ago runs in compiled steps only")


# The functions of a step, and how many arguments they take.
FUNCTIONS = {"abs": 1, "min": 2, "max": 2, "exp": 1, "flushed": 1, "rint": 1, "trunc": 1}
# An adjoint needs the arguments or the result of these as names.
_OF_NAMES = ("abs", "min", "max", "exp")
_ALLOWED = f"+ - * /, ** with a whole number, comparisons, 'a if s else b', numbers and {', '.join(FUNCTIONS)}"


class Past(NamedTuple):
    """A value of some steps ago."""

    name: str  # in the assignments
    of: str  # the value: an input or the spike; in backward an assigned name
    lag: str  # the constant that is the number of steps


@dataclass(frozen=True, eq=False)
class Backward:
    """A kind's own backward over one step."""

    body: tuple[Statement, ...]
    results: tuple[ast.expr, ...]  # the gradients of the states before the step, then of the inputs
    past: tuple[Past, ...]  # values of later steps
    saved: tuple[str, ...]  # the values of forward that it needs, except the potential


@dataclass(frozen=True, eq=False)
class Crossing:
    """The values of forward by which backward moves a spike in time; see `spike_times.py`."""

    of: Kind  # the kind without these values
    inverse: str  # at a spike, the inverse of the potential's rise in the step; else 0
    # By state, its change after the step if the spike were one step earlier, times the inverse.
    moved: tuple[tuple[str, str], ...]
    states: tuple[str, ...]  # the states that only these values need


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of neuron: its step, in which each name is assigned once."""

    name: str  # of the kind
    source: str  # the file that has the step
    states: tuple[str, ...]  # the states before the step
    columns: tuple[str, ...]  # the constants that may differ between neurons
    numbers: tuple[str, ...]  # the constants of all neurons, attributes of the step's first parameter
    inputs: tuple[str, ...]  # the weighted inputs
    body: tuple[Statement, ...]  # the assignments, in order
    after: tuple[str, ...]  # for each state its name after the step
    potential: str  # the potential that is recorded
    spike: str  # whether the neuron fires; empty for a read-out, whose output is the potential
    # The meaning of ``gradient="slayer"``: True to differentiate as if the neuron had not fired, False to take the
    # spikes in the step as constants.
    unfired: bool = True
    derived: bool = True  # whether it has an adjoint, derived or its own
    own: Backward | None = None  # its own backward; None if the adjoint is derived
    own_exact: Backward | None = None  # its own backward for ``gradient="exact"``
    lags: tuple[str, ...] = ()  # the constants that are numbers of steps
    past: tuple[Past, ...] = ()  # inputs and spikes of earlier steps
    # States, and their gradients, that become 0 where they are small, before each eighth step or, if the constant by
    # which a step multiplies them is below 0.1, before each step: a check at every step would take a tenth of a pass.
    fading: tuple[tuple[str, str], ...] = ()
    start: tuple[float, ...] = ()  # the states before the first step
    crossing: Crossing | None = None  # of ``gradient="eventprop"``, in which spikes move in time

    def with_columns(self, names: Sequence[str]) -> Kind:
        """Return the kind with further constants that differ between neurons."""
        own = tuple(name for name in self.numbers if name in names)
        for state, factor in self.fading:
            if factor in own:
                raise ValueError(f"{factor} must be one number for all neurons, since the state {state} fades by it")
        return _with_columns(self, own) if own else self

    @cached_property
    def definitions(self) -> Mapping[str, ast.expr]:
        """The expression of each assigned name."""
        return dict(self.body)

    @cached_property
    def conditions(self) -> frozenset[str]:
        """The assigned names that are true or false."""
        return frozenset(name for name, value in self.body if is_condition(value))

    @cached_property
    def fires(self) -> bool:
        """Whether its output is spikes; else it is the potential."""
        return bool(self.spike)

    @property
    def _threshold(self) -> ast.Compare:
        return cast(ast.Compare, self.definitions[self.spike])

    @cached_property
    def strict(self) -> bool:
        """Whether a potential at the threshold does not fire: ``u > theta``."""
        return self.fires and isinstance(self._threshold.ops[0], ast.Gt)

    @cached_property
    def two_sided(self) -> bool:
        """Whether a potential below minus the threshold fires too: ``abs(u) >= theta``."""
        return self.fires and self.derived and cast(ast.Name, self._threshold.left).id != self.potential

    @cached_property
    def detached(self) -> Kind:
        """The kind whose gradient takes the spikes in the step as constants; itself if that is its gradient anyway."""
        return replace(self, unfired=False) if self.unfired and self.own is None else self

    def own_backward(self, exact: bool) -> Backward | None:
        """Return the kind's own backward for a mode of the gradient; None if the adjoint is derived."""
        return self.own_exact if exact else self.own


@dataclass(frozen=True, eq=False)
class Curve:
    """A function f(z) of one number: the shape of a surrogate."""

    source: str  # the file that has the function
    argument: str
    numbers: tuple[str, ...]  # its constants, attributes of its first parameter
    body: tuple[Statement, ...]  # the assignments, in order
    result: str  # the name of the value

    @cached_property
    def conditions(self) -> frozenset[str]:
        """The assigned names that are true or false."""
        return frozenset(name for name, value in self.body if is_condition(value))


@cache
def _with_columns(kind: Kind, own: tuple[str, ...]) -> Kind:
    numbers = tuple(name for name in kind.numbers if name not in own)
    return replace(kind, columns=(*kind.columns, *own), numbers=numbers)


def names_in(value: ast.expr) -> Iterator[str]:
    """Yield the names in an expression, except functions."""
    for node in ast.walk(value):
        if isinstance(node, ast.Name) and node.id not in FUNCTIONS:
            yield node.id


def is_condition(value: ast.expr) -> bool:
    """Return whether an expression is true or false."""
    return isinstance(value, (ast.Compare, ast.BoolOp)) or (
        isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    )


# Names that end in ' are of backward; a step cannot have them. Further inputs of backward: the gradient of the output,
# whether a spike carries the potential, and the surrogate dt rho(u).
GRAD = "grad'"
GRADED = "graded'"
SLOPE = "slope'"
# Of spikes that move in time: the gradient of what a spike sends, and the same one step later.
SENT = "sent'"
NEXT_SENT = "next_sent'"


def later(state: str) -> str:
    """Return the name of the gradient of a state after the step."""
    return f"later_{state}'"


class _Reader:
    """Reads the statements of a step, or of its backward; its errors name the line."""

    def __init__(self, step: Callable[..., Any], what: str = "step") -> None:
        step = inspect.unwrap(step)
        self.what = what
        try:
            lines, first = inspect.getsourcelines(step)
        except (OSError, TypeError):
            raise TypeError(f"{what} must be a function in a file, got {step!r}; its source is read") from None
        self.file = Path(inspect.getsourcefile(step) or "?")
        self._first = first
        try:
            self.code: Any = ast.parse(textwrap.dedent("".join(lines))).body[0]
        except SyntaxError:  # a part of an expression
            self.code = None
        if not isinstance(self.code, ast.FunctionDef):
            raise TypeError(f"{what} must be a function of its own, made by def, got line {first} of {self.file.name}")
        assigned = {
            node.id for node in ast.walk(self.code) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        self.known = {
            name: value
            for name, value in step.__globals__.items()
            if type(value) in (int, float) and name not in assigned
        }
        self.current: dict[str, str] = {}  # of each variable the name of its last assignment
        self.numbers: list[str] = []
        self.lags: list[str] = []
        self.past: list[Past] = []
        self.conditions: set[str] = set()
        self.body: list[Statement] = []

    @property
    def source(self) -> str:
        """The file, within the repository if it is part of it."""
        inside = self.file.is_relative_to(_ROOT)
        return self.file.relative_to(_ROOT).as_posix() if inside else self.file.name

    def error(self, node: ast.AST, rule: str) -> Exception:
        """Return an error for a part of the step."""
        line = self._first + getattr(node, "lineno", 1) - 1
        shown = ast.unparse(node).splitlines()[0]
        return TypeError(f"{self.what} {rule}, got '{shown}' in line {line} of {self.file.name}")

    def assign(self, name: str, value: ast.expr) -> str:
        """Add an assignment and return a new, unique name for its value."""
        name = f"own_{name}'" if self.what == "backward" else name
        taken = {*self.parameters, *dict(self.body), *self.numbers}
        numbered = (f"{name.removesuffix(MARK)}_{i}{MARK * name.endswith(MARK)}" for i in range(1, 999))
        new = name if name not in taken else next(free for free in numbered if free not in taken)
        self.body.append((new, value))
        if is_condition(value):
            self.conditions.add(new)
        return new

    def read(
        self, parameters: Sequence[str], inputs: Sequence[str], names: Mapping[str, str] | None = None
    ) -> tuple[ast.expr, ...]:
        """Read all statements and return the step's results; parameters may have other names inside."""
        self.parameters = list(parameters)
        self.inputs = frozenset(inputs)
        self.current = {name: name for name in parameters[1:]} | dict(names or {})
        *statements, last = self.code.body
        for statement in statements:
            self.statement(statement)
        if not isinstance(last, ast.Return):
            raise self.error(last, "must end with a return")
        return tuple(last.value.elts) if isinstance(last.value, ast.Tuple) else (cast(ast.expr, last.value),)

    def statement(self, statement: ast.stmt) -> None:
        """Read an assignment or an ``if`` block; a docstring and ``pass`` do nothing."""
        if isinstance(statement, ast.Pass):
            return
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return
        if isinstance(statement, ast.If):
            self.choose(statement)
            return
        target: ast.expr
        value: ast.expr
        if isinstance(statement, ast.AugAssign):
            target = statement.target
            value = ast.BinOp(_name_of(statement.target), statement.op, statement.value)
            ast.copy_location(value, statement)
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            value = statement.value
        else:
            raise self.error(statement, "must have assignments and if blocks, then one return")
        if not isinstance(target, ast.Name):
            raise self.error(statement, "must assign to one name at a time")
        if target.id in FUNCTIONS or target.id == self.parameters[0]:
            raise self.error(statement, f"must not assign to {target.id}")
        read = self.expression(value, top=True)
        self.current[target.id] = self.assign(target.id, read)

    def choose(self, block: ast.If) -> None:
        """Read an ``if`` block: both branches are computed, and each name that one assigns is a choice of two values.

        A name that only one branch assigns, and nothing before, has no value after the block.
        """
        test = self.condition(block.test)
        branches = [block.body, block.orelse]
        if isinstance(test, ast.UnaryOp):  # not
            test = test.operand
            branches.reverse()
        if not isinstance(test, ast.Name):
            test = name(self.assign("part", test))
        before = self.current
        first = len(self.body)
        ends = []
        for statements in branches:
            self.current = dict(before)
            for statement in statements:
                self.statement(statement)
            ends.append(self.current)
        self.current = dict(before)
        taken, other = ends
        for target in taken:
            if taken[target] != other.get(target, taken[target]):
                choice = ast.IfExp(test, self.inlined(taken[target], first), self.inlined(other[target], first))
                self.current[target] = self.assign(target, choice)

    def inlined(self, variable: str, first: int) -> ast.expr:
        """Return the value of a name: an expression of ``if`` blocks, from an assignment on, that nothing else uses."""
        definition = dict(self.body[first:]).get(variable)
        uses = (used for _, value in self.body for used in names_in(value))
        if not isinstance(definition, (ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant)) or variable in uses:
            return name(variable)
        if is_condition(definition):
            return name(variable)
        self.body.remove((variable, definition))
        return definition

    def expression(self, node: ast.expr, top: bool = False) -> ast.expr:
        """Return an expression of known names; results of some functions are assigned to a name."""
        read = ast.copy_location(self._expression(node), node)
        atoms = isinstance(read, ast.Call) and read.func.id in _OF_NAMES  # type: ignore[attr-defined]
        return name(self.assign("part", read)) if atoms and not top else read

    def _expression(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            return number(float(cast(float, node.value)))
        if isinstance(node, ast.Name):
            if node.id in self.current:
                return name(self.current[node.id])
            if math.isfinite(self.known.get(node.id, math.nan)):
                return number(float(self.known[node.id]))
            raise self.error(node, "must use its parameters, what it has assigned, and finite numbers of its file")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self.parameters[0]:
            if node.attr in self.parameters or node.attr in dict(self.body):
                raise self.error(node, "must not have a variable with the name of a constant")
            if node.attr in self.lags:
                raise self.error(node, f"must use c.{node.attr} only as a number of steps")
            if node.attr not in self.numbers:
                self.numbers.append(node.attr)
            return name(node.attr)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            return ast.BinOp(self.expression(node.left), node.op, self.expression(node.right))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            return self.power(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ast.UnaryOp(node.op, self.condition(node.operand))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            inner = self.expression(node.operand)
            return inner if isinstance(node.op, ast.UAdd) else negative(inner)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and not isinstance(node.ops[0], (ast.In, ast.Is)):
            return ast.Compare(self.expression(node.left), node.ops, [self.expression(node.comparators[0])])
        if isinstance(node, ast.BoolOp):
            return ast.BoolOp(node.op, [self.condition(value) for value in node.values])
        if isinstance(node, ast.IfExp):
            test = self.condition(node.test)
            body = self.expression(node.body)
            orelse = self.expression(node.orelse)
            if isinstance(test, ast.UnaryOp):  # not
                return ast.IfExp(test.operand, orelse, body)
            return ast.IfExp(test, body, orelse)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ago":
            return self.ago(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            count = FUNCTIONS.get(node.func.id)
            if count == len(node.args):
                arguments = [self.expression(argument) for argument in node.args]
                if node.func.id in _OF_NAMES:
                    arguments = list(map(self.named, arguments))
                return ast.Call(ast.Name(node.func.id, ast.Load()), arguments, [])
        raise self.error(node, f"may have {_ALLOWED}")

    def power(self, node: ast.BinOp) -> ast.expr:
        """Return a power with a whole number as products, each of which is a name that is squared next."""
        exponent = node.right
        if not isinstance(exponent, ast.Constant) or type(exponent.value) is not int or exponent.value < 1:
            raise self.error(node, "may have ** with a whole number of at least 1 only; exp gives other powers")
        base = self.named(self.expression(node.left))
        product: ast.expr = base
        for bit in f"{exponent.value:b}"[1:]:
            product = self.named(product)
            product = ast.BinOp(product, ast.Mult(), product)
            if bit == "1":
                product = ast.BinOp(product, ast.Mult(), base)
        return product

    def named(self, value: ast.expr) -> ast.expr:
        """Return a name or a number for a value."""
        return value if is_atom(value) else name(self.assign("part", value))

    def ago(self, node: ast.Call) -> ast.expr:
        """Return a name for a value of some steps ago."""
        value, steps = node.args if len(node.args) == 2 else (node, node)
        constant = isinstance(steps, ast.Attribute) and isinstance(steps.value, ast.Name)
        if not constant or cast(ast.Name, cast(ast.Attribute, steps).value).id != self.parameters[0]:
            raise self.error(node, "must use ago as ago(x, c.lag) or ago('s', c.lag)")
        lag = cast(ast.Attribute, steps).attr
        if lag in self.numbers:
            raise self.error(node, f"must use c.{lag} only as a number of steps")
        if lag not in self.lags:
            self.lags.append(lag)
        if isinstance(value, ast.Name) and value.id in self.inputs and self.current[value.id] == value.id:
            source = value.id
        elif isinstance(value, ast.Constant) and isinstance(value.value, str):
            source = value.value
        else:
            raise self.error(node, "must take an input of some steps ago, or a value in quotes that it assigns")
        for past in self.past:
            if (past.of, past.lag) == (source, lag):
                return name(past.name)
        prefix = "ago_back" if self.what == "backward" else "ago"
        self.past.append(Past(f"{prefix}_{len(self.past)}{MARK}", source, lag))
        return name(self.past[-1].name)

    def condition(self, node: ast.expr) -> ast.expr:
        """Return an expression that is true or false."""
        read = self.expression(node)
        if not is_condition(read) and not (isinstance(read, ast.Name) and read.id in self.conditions):
            raise self.error(node, "must have a comparison as a condition")
        return read


def _name_of(target: ast.expr) -> ast.expr:
    return name(target.id) if isinstance(target, ast.Name) else target


def name(identifier: str) -> ast.Name:
    """Return a name as an expression."""
    return ast.Name(identifier, ast.Load())


def number(value: float) -> ast.Constant:
    """Return a number as an expression."""
    return ast.Constant(value)


def negative(value: ast.expr) -> ast.expr:
    """Return an expression with the opposite sign."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        return value.operand
    return ast.UnaryOp(ast.USub(), value)


def is_atom(value: ast.expr) -> bool:
    """Return whether an expression is a name or a number."""
    return isinstance(value, (ast.Name, ast.Constant))


def read_step(
    kind: str,
    step: Callable[..., Any],
    states: Sequence[str],
    columns: Sequence[str],
    *,
    unfired: bool = True,
    derived: bool = True,
    backward: Callable[..., Any] | None = None,
    backward_exact: Callable[..., Any] | None = None,
    fading: Mapping[str, str] | None = None,
    start: Mapping[str, float] | None = None,
) -> Kind:
    """Return the kind of neuron, by its name, of a step ``step(c, *columns, *states, *inputs)``.

    The step returns the states after it, the potential and, unless it is a read-out, the spike. Its own backward is
    ``backward(c, *columns, *states, u, rho, g, *values)``. It takes the gradients of the states after the step, the
    potential, the surrogate, the gradient of the spike and values that the step has assigned. It returns the gradients
    of the states before the step and of the inputs. `backward_exact` is another for the exact gradient. See `Kind` for
    the other options.

    Raises:
        TypeError: the source is not in a file, or the step has more than plain arithmetic.
        ValueError: its parameters or results do not fit its class.
    """
    reader = _Reader(step)
    parameters = [argument.arg for argument in reader.code.args.args]
    expected = [*columns, *states]
    if parameters[1 : len(expected) + 1] != expected or len(parameters) < len(expected) + 2:
        rule = f"(c, {', '.join([*expected, 'x'])})"
        raise ValueError(f"step must have the parameters {rule}, got ({', '.join(parameters)})")
    inputs = tuple(parameters[len(expected) + 1 :])
    returned = reader.read(parameters, inputs)
    fires = len(returned) == len(states) + 2
    if not fires and len(returned) != len(states) + 1:
        rule = ", ".join([*(f"{state} after the step" for state in states), "the potential"])
        raise ValueError(f"step must return {rule}, and the spike unless it reads out, got {len(returned)} results")
    names = []
    for result in returned:
        value = reader.expression(result)
        names.append(value.id if isinstance(value, ast.Name) else reader.assign("result", value))
    after = names[: len(states)]
    potential = names[len(states)]
    spike = names[-1] if fires else ""
    if fires:
        _check_spike(spike, potential, returned[-1], reader, derived, backward is None)
    past = tuple(earlier._replace(of=_source(earlier, inputs, spike, reader)) for earlier in reader.past)
    own = None if backward is None else _read_backward(backward, reader, states, columns, inputs, potential)
    own_exact = own
    if backward_exact is not None and backward is None:
        raise ValueError("backward_exact must come with backward, got no backward")
    if backward_exact is not None:
        own_exact = _read_backward(backward_exact, reader, states, columns, inputs, potential)
    factors = tuple((fading or {}).items())
    for state, factor in factors:
        if state not in states or factor not in reader.numbers:
            raise ValueError(f"fading must name states and constants of the step, got {state!r}: {factor!r}")
    begin = dict.fromkeys(states, 0.0)
    if start is not None and not isinstance(start, Mapping):
        raise check.mistyped("start", "must be a mapping from states to numbers", start)
    for state, first in (start or {}).items():
        check.one_of("start", state, states)
        begin[state] = check.number(f"start of {state}", first)
        check.finite_range(f"start of {state}", begin[state], begin[state])
    return Kind(
        name=kind,
        source=reader.source,
        states=tuple(states),
        columns=tuple(columns),
        numbers=tuple(reader.numbers),
        inputs=inputs,
        body=tuple(reader.body),
        after=tuple(after),
        potential=potential,
        spike=spike,
        unfired=unfired,
        derived=derived,
        own=own,
        own_exact=own_exact,
        lags=tuple(reader.lags),
        past=past,
        fading=factors,
        start=tuple(begin.values()),
    )


@cache
def read_curve(f: Callable[..., Any]) -> Curve:
    """Return the curve of a function ``f(self, z)``, in the language of steps.

    Raises:
        TypeError: the source is not in a file, or f has more than plain arithmetic.
        ValueError: f has other parameters, or more than one result.
    """
    reader = _Reader(f, "f")
    parameters = [argument.arg for argument in reader.code.args.args]
    results = reader.read(parameters, ())
    if len(parameters) != 2 or len(results) != 1:
        raise ValueError(f"f must take (self, z) and return one value, got ({', '.join(parameters)})")
    result = reader.assign("result", reader.expression(results[0]))
    return Curve(reader.source, parameters[1], tuple(reader.numbers), tuple(reader.body), result)


def _check_spike(
    spike: str, potential: str, returned: ast.expr, reader: _Reader, derived: bool, differentiated: bool
) -> None:
    """Raise an error unless the spike of a step is a comparison, and fits a derived gradient."""
    definition = dict(reader.body).get(spike)
    if definition is None or spike not in reader.conditions:
        raise reader.error(returned, "must return a comparison as the spike")
    if derived and not _is_threshold(definition, potential, reader):
        rule = (
            "must fire at 'u >= c.theta', u the potential that it returns; with c.level let u = v - c.level + c.theta"
        )
        raise reader.error(returned, rule)
    for target, value in reader.body:
        if target != spike and derived and differentiated and _asks_twice(value, spike, definition):
            rule = "must use its spike s in arithmetic or as 'a if s else b', not within another condition"
            raise reader.error(value, rule)


def _source(past: Past, inputs: Sequence[str], spike: str, reader: _Reader) -> str:
    """Return the name of the value that a step uses again: an input, or the spike."""
    if past.of in inputs:
        return past.of
    if reader.current.get(past.of) != spike:
        raise TypeError(f"step may use an input, or the spike that it returns, of some steps ago, got ago of {past.of}")
    return spike


def _read_backward(
    backward: Callable[..., Any],
    step: _Reader,
    states: Sequence[str],
    columns: Sequence[str],
    inputs: Sequence[str],
    potential: str,
) -> Backward:
    """Return a kind's own backward; add its constants to the step's."""
    reader = _Reader(backward, "backward")
    reader.numbers = step.numbers
    reader.lags = step.lags
    reader.conditions = set(step.conditions)
    parameters = [argument.arg for argument in reader.code.args.args]
    expected = [*columns, *states, "u", "rho", "g"]
    values = parameters[len(expected) + 1 :]
    if parameters[1 : len(expected) + 1] != expected or any(value not in step.current for value in values):
        raise ValueError(f"backward must have the parameters (c, {', '.join(expected)}), got ({', '.join(parameters)})")
    names = {state: later(state) for state in states} | {"u": potential, "rho": SLOPE, "g": GRAD}
    names |= {value: step.current[value] for value in values}
    results = tuple(map(reader.expression, reader.read(parameters, (), names)))
    if len(results) != len(states) + len(inputs):
        rule = ", ".join(f"the gradient of {argument}" for argument in (*states, *inputs))
        raise ValueError(f"backward must return {rule}, got {len(results)} results")
    for later_value in reader.past:
        if later_value.of not in reader.current:
            raise TypeError(f"backward may use a value that it assigns, of some steps ago, got {later_value.of}")
    past = tuple(later_value._replace(of=reader.current[later_value.of]) for later_value in reader.past)
    return Backward(tuple(reader.body), results, past, tuple(names[value] for value in values))


def _asks_twice(value: ast.expr, spike: str, definition: ast.expr) -> bool:
    """Return whether an expression has the spike within another condition, or compares with the threshold again."""
    conditions = [node for node in ast.walk(value) if isinstance(node, ast.expr) and is_condition(node)]
    return any(ast.dump(node) == ast.dump(definition) or spike in names_in(node) for node in conditions)


def _is_threshold(value: ast.expr, potential: str, reader: _Reader) -> bool:
    """Return whether a condition is ``u >= theta``, or ``abs(u) >= theta``, of the potential."""
    if not isinstance(value, ast.Compare) or not isinstance(value.ops[0], (ast.GtE, ast.Gt)):
        return False
    left = value.left
    right = value.comparators[0]
    if isinstance(left, ast.Name):
        size = dict(reader.body).get(left.id)
        if isinstance(size, ast.Call) and cast(ast.Name, size.func).id == "abs":
            left = size.args[0]
    names = [side.id if isinstance(side, ast.Name) else "" for side in (left, right)]
    return names == [potential, "theta"] and "theta" in reader.numbers
