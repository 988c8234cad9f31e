"""PTX, the assembly language that NVRTC makes of CUDA, as C++: a function a kernel, a line an instruction.

A register is a variable and a branch a `goto`; machine.h has the functions that a line calls. What is not in the tables
below is refused by its name, and so is an addition or a multiplication that does not say how it rounds: the assembler
may contract it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class PtxError(Exception):
    """PTX that this module does not translate."""


class Variable(NamedTuple):
    """A parameter or a variable in shared memory; `size` is 0 for dynamic shared memory."""

    name: str
    align: int
    size: int
    offset: int = 0


@dataclass
class Kernel:
    """A kernel as C++.

    Attributes:
        name: the kernel's name.
        parameters: with their offsets in the bytes that a launch passes.
        shared: the static variables in shared memory, one behind another; dynamic shared memory last.
        most_threads: of a block, by __launch_bounds__.
        waits: whether threads wait for one another.
        code: the function `NAME(const char *parameters)`.
        sites: the instruction of each number that `code` passes to the machine, with its place in the source.
    """

    name: str
    parameters: list[Variable]
    shared: list[Variable]
    most_threads: int
    waits: bool = False
    code: str = ""
    sites: list[str] = field(default_factory=list)


# Between two variables in shared memory, so that no access past the end of one reaches the next.
# It is a multiple of what all banks hold.
GAP = 1 << 12

_C = {"pred": "bool", "f32": "float", "f64": "double"}
_C |= {f"{kind}{bits}": f"{'u' * (kind != 's')}int{bits}_t" for kind in "sub" for bits in (8, 16, 32, 64)}
_ENTRY = re.compile(r"\.visible \.entry (\w+)\((.*?)\)([^{;]*?)\{(.*?)\n\}", re.DOTALL)
_VARIABLE = re.compile(r"\.(?:param|shared)\s+(?:\.align (\d+) )?\.(\w+)\s+(\w+)(?:\[(\d*)\])?")
_REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+%(\w+?)(?:<(\d+)>)?")
_COMMENT = re.compile(r"//[^\n]*")
_FILE = re.compile(r'\.file\s+(\d+) "(?:[^"]*/)?([^"/]*)"')
_LOCATION = re.compile(r"\.loc\s+(\d+) (\d+)[^\n]*")
_LABEL = re.compile(r"\$?(\w+):")
_INSTRUCTION = re.compile(r"(?:@(!?)%(\w+)\s+)?([a-z][\w.:]*)\s*(.*)", re.DOTALL)
_PART = re.compile(r"(?:\{[^}]*\}|\[[^\]]*\]|[^,\s])(?:\{[^}]*\}|\[[^\]]*\]|[^,])*")
_SPECIAL = re.compile(r"%(tid|ntid|ctaid|nctaid)\.([xyz])")
_WARP_SPECIAL = {"%laneid": "machine::lane()", "%WARP_SZ": "32"}

# Of floating-point numbers, with the modifiers that they may have. `ftz` is applied to the operands and the result.
_FLOAT: dict[str, tuple[str, str]] = {
    "add.rn": ("{0} + {1}", ""),
    "sub.rn": ("{0} - {1}", ""),
    "mul.rn": ("{0} * {1}", ""),
    "div.rn": ("{0} / {1}", ""),
    "rcp.rn": ("1 / {0}", ""),
    "sqrt.rn": ("__builtin_sqrt{f}({0})", ""),
    "fma.rn": ("__builtin_fma{f}({0}, {1}, {2})", ""),
    "fma.rm": ("machine::fma_down({0}, {1}, {2})", "f32"),
    "abs": ("__builtin_fabs{f}({0})", ""),
    "neg": ("-{0}", ""),
    "min": ("machine::least({0}, {1})", ""),
    "max": ("-machine::least(-{0}, -{1})", ""),
    "ex2.approx": ("machine::near(__builtin_exp2(double({0})))", "f32"),
    "lg2.approx": ("machine::near(__builtin_log2(double({0})))", "f32"),
    "rcp.approx": ("machine::reciprocal({0})", ""),
    "sqrt.approx": ("machine::near(__builtin_sqrt(double({0})))", "f32"),
    "rsqrt.approx": ("machine::near(1 / __builtin_sqrt(double({0})))", "f32"),
}
# Of integers: the kinds of types, and the expression. {T} is the type, {U} the unsigned one, {W} the one of twice the
# size.
_INTEGER: dict[str, tuple[str, str]] = {
    "add": ("su", "{0} + {1}"),
    "sub": ("su", "{0} - {1}"),
    "mul.lo": ("su", "uint64_t({0}) * {1}"),
    "mul.wide": ("su", "{W}({0}) * {W}({1})"),
    "mul.hi": ("su", "{W}({0}) * {W}({1}) >> {bits}"),
    "mad.lo": ("su", "uint64_t({0}) * {1} + {2}"),
    "mad.wide": ("su", "{W}({0}) * {W}({1}) + {2}"),
    "div": ("su", "machine::quotient({0}, {1})"),
    "rem": ("su", "machine::remainder({0}, {1})"),
    "min": ("su", "{0} < {1} ? {0} : {1}"),
    "max": ("su", "{0} < {1} ? {1} : {0}"),
    "abs": ("s", "{0} < 0 ? -{U}({0}) : {U}({0})"),
    "neg": ("s", "-{U}({0})"),
    "and": ("bp", "{0} & {1}"),
    "or": ("bp", "{0} | {1}"),
    "xor": ("bp", "{0} ^ {1}"),
    "not": ("bp", "~{0}"),
    "popc": ("b", "__builtin_popcountll({0})"),
    "clz": ("b", "machine::leading_zeros({0})"),
    "brev": ("b", "machine::reversed({0})"),
    "bfind": ("u", "machine::highest({0})"),
    "bfind.shiftamt": ("u", "machine::shift_amount({0})"),
    "prmt": ("b", "machine::permuted({0}, {1}, {2})"),
}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ATOMICS = ("add", "min", "max", "and", "or", "xor", "exch", "cas")
# Results that do not depend on a sign: the numbers are taken as unsigned, which may overflow in C++.
_SIGNLESS = ("add", "sub", "mul.lo", "mad.lo")
# Instructions after which another thread may run.
_WAITS = ("bar", "barrier", "shfl", "vote")


def kernel(text: str, name: str) -> Kernel:
    """Return a kernel of a module.

    Raises:
        PtxError: it has an instruction, a modifier or a kind of variable that is not supported.
    """
    files = dict(_FILE.findall(text))
    # A line ends with its number, without a semicolon.
    text = _LOCATION.sub(lambda at: f".loc {files[at[1]]}:{at[2]};", _COMMENT.sub("", text))
    outside = _ENTRY.sub("", text)
    shared = [(_variable(line), ".extern" in line) for line in outside.split(";") if ".shared" in line]
    parts = next(parts for found, *parts in _ENTRY.findall(text) if found == name)
    return _Function(name, *parts, shared).kernel


def _variable(line: str) -> Variable:
    found = _VARIABLE.search(line)
    if found is None:
        raise PtxError(f"'{line.strip()}' is not supported")
    align, kind, name, count = found.groups()
    size = _size(kind)
    return Variable(name, int(align or size), size if count is None else size * int(count or 0))


def _size(kind: str) -> int:
    return 1 if kind == "pred" else int(kind[1:]) // 8


def _placed(variables: Sequence[Variable], gap: int = 0) -> list[Variable]:
    """Return variables one behind another, with gaps before each of them."""
    found, end = [], 0
    for i, variable in enumerate(variables):
        begin = -(-end // variable.align) * variable.align
        found.append(variable._replace(offset=begin + (i + 1) * gap))
        end = begin + variable.size
    return found


class _Function:
    """The translation of one kernel."""

    def __init__(self, name: str, parameters: str, bounds: str, body: str, shared: list[tuple[Variable, bool]]):
        limits = re.search(r"\.maxntid (\d+)(?:, (\d+), (\d+))?", bounds)
        most = int(limits[1]) * int(limits[2] or 1) * int(limits[3] or 1) if limits else 1024
        self.kernel = Kernel(
            name, _placed([_variable(line) for line in parameters.split(",") if line.strip()]), [], most
        )
        statements = list(_statements(body))
        own = [_variable(line) for line in statements if line.startswith(".shared")]
        used = [each for each in shared if re.search(rf"\b{each[0].name}\b", body)]
        static = own + [variable for variable, dynamic in used if not dynamic]
        dynamic = [variable for variable, dynamic in used if dynamic]
        # All arrays of dynamic shared memory are the same.
        align = max([16, *(variable.align for variable in dynamic)])
        self.kernel.shared = _placed([*static, Variable("dynamic", align, 0)], GAP)
        places = {variable.name: variable.offset for variable in self.kernel.shared}
        self._symbols: dict[str, int] = places | {each.name: places["dynamic"] for each in dynamic}
        self._symbols |= {each.name: each.offset for each in self.kernel.parameters}
        # The scopes that are open: of each name its register and type.
        self._scopes: list[dict[str, str]] = [{}]
        self._declared: dict[str, str] = {}
        self._place = ""
        lines = [line for statement in statements for line in self._line(statement)]
        declared = [f"{_C[kind]} {name};" for name, kind in self._declared.items()]
        inside = "\n    ".join((*declared, *lines))
        self.kernel.code = f'extern "C" void {name}(const char *parameters)\n{{\n    {inside}\n}}\n'

    def _line(self, statement: str) -> Iterator[str]:
        """Yield a statement as lines of C++."""
        if statement == "{":
            self._scopes.append({})
        elif statement == "}":
            self._scopes.pop()
        elif found := _REGISTERS.fullmatch(statement):
            self._scopes[-1][found[2]] = found[1]
        elif found := _LABEL.fullmatch(statement):
            yield f"{found[1]}:;"
        elif statement.startswith(".loc"):
            self._place = statement.removeprefix(".loc ")
        elif statement.startswith((".shared", ".pragma")):
            return
        elif found := _INSTRUCTION.fullmatch(statement):
            negated, predicate, opcode, rest = found.groups()
            try:
                made = self._instruction(opcode, _PART.findall(rest), statement)
            except (KeyError, ValueError, IndexError):
                made = None
            if made is None:
                raise PtxError(f"{self.kernel.name}: the instruction '{' '.join(statement.split())}' is not supported")
            yield f"if ({'!' * bool(negated)}{self._register(predicate)[0]}) {{ {made} }}" if predicate else made
        else:
            raise PtxError(f"{self.kernel.name}: '{statement}' is not supported")

    # Operands

    def _register(self, name: str) -> tuple[str, str]:
        """Return the variable and the type of a register."""
        prefix = name.rstrip("0123456789")
        for depth in reversed(range(len(self._scopes))):
            kind = self._scopes[depth].get(name) or self._scopes[depth].get(prefix)
            if kind:
                variable = f"{name}_" if depth == 0 else f"{name}_{depth}{kind}"
                self._declared[variable] = kind
                return variable, kind
        raise KeyError(name)

    def _read(self, operand: str, kind: str) -> str:
        """Return an operand as an expression of a type."""
        if _SPECIAL.fullmatch(operand) or operand in _WARP_SPECIAL:
            return self._special(operand)
        if operand.startswith(("!%", "%")):
            name, held = self._register(operand.lstrip("!%"))
            if operand[0] == "!":
                return f"!{name}"
            if held == kind or kind == "pred" or (held[0] + kind[0] in ("bu", "bb") and held[1:] == kind[1:]):
                return name
            if (held[0] == "f") != (kind[0] == "f"):
                if _size(held) != _size(kind):
                    raise ValueError(operand)
                return f"__builtin_bit_cast({_C[kind]}, {name})"
            return f"{_C[kind]}({name})"
        if found := re.fullmatch("0f([0-9A-F]{8})|0d([0-9A-F]{16})", operand):
            held, bits = ("f32", f"0x{found[1]}u") if found[1] else ("f64", f"0x{found[2]}ull")
            value = f"__builtin_bit_cast({_C[held]}, {bits})"
            return value if held == kind else f"__builtin_bit_cast({_C[kind]}, {value})"
        if operand in self._symbols:
            return str(self._symbols[operand])
        number = int(operand, 0)
        if kind == "pred":
            return "true" if number else "false"
        size = 8 * _size(kind)
        if kind[0] == "f" or not -(1 << size - 1) <= number < 1 << size:
            raise ValueError(operand)
        return f"{_C[kind]}({number & (1 << size) - 1}u{'ll' * (size == 64)})"

    def _special(self, operand: str) -> str:
        found = _SPECIAL.fullmatch(operand)
        return f"machine::{found[1]}.{found[2]}" if found else _WARP_SPECIAL[operand]

    def _set(self, operand: str, kind: str, value: str) -> str:
        """Return the assignment of an expression of a type to a register."""
        if operand == "_":
            return f"(void)({value});"
        name, held = self._register(operand.lstrip("%"))
        if kind != "pred" and _size(held) < _size(kind):
            raise ValueError(operand)
        if (held[0] == "f") != (kind[0] == "f"):
            return f"{name} = __builtin_bit_cast({_C[held]}, {_C[kind]}({value}));"
        # A narrower signed number is extended by its sign.
        return f"{name} = {value};" if _size(held) == _size(kind) else f"{name} = {_C[kind]}({value});"

    def _address(self, operand: str) -> str:
        inside, plus, offset = operand.strip("[]").partition("+")
        return self._read(inside.strip(), "u64") + (f" + int64_t({int(offset)})" if plus else "")

    # Instructions

    def _instruction(self, opcode: str, operands: list[str], statement: str) -> str | None:
        base, *parts = opcode.replace("::", ".").split(".")
        kinds = [part for part in parts if part in _C]
        modifiers = [part for part in parts if part not in _C]
        if base in _WAITS:
            self.kernel.waits = True
        special: Mapping[str, Callable[..., str | None]] = {
            "setp": self._compare,
            "cvt": self._convert,
            "mov": self._move,
            "ld": self._memory,
            "st": self._memory,
            "atom": self._atomic,
            "red": self._atomic,
        }
        if base in special:
            return special[base](base, modifiers, kinds, operands, statement)
        if not kinds or base in (*_WAITS, "cvta", "activemask"):
            return self._control(base, parts, operands, statement)
        return self._arithmetic(base, modifiers, kinds, operands)

    def _site(self, statement: str) -> int:
        self.kernel.sites.append(f"{' '.join(statement.split())} in {self._place}")
        return len(self.kernel.sites) - 1

    def _arithmetic(self, base: str, modifiers: list[str], kinds: list[str], operands: list[str]) -> str | None:
        to, *sources = operands
        kind = kinds[-1]
        flush = "ftz" in modifiers
        name = ".".join([base, *(each for each in modifiers if each != "ftz")])
        if name == "selp":
            one, other, choice = sources
            value = f"{self._read(choice, 'pred')} ? {self._read(one, kind)} : {self._read(other, kind)}"
            return self._set(to, kind, value)
        if kind[0] == "f":
            form, only = _FLOAT[name]
            if only not in ("", kind) or (flush and kind != "f32" and name != "rcp.approx"):
                return None
            flush = flush and kind == "f32"
            values = [self._read(each, kind) for each in sources]
            value = form.format(*map(_flushed, values) if flush else values, f="f" * (kind == "f32"))
            return self._set(to, kind, _flushed(value) if flush else value)
        bits = 8 * _size(kind)
        if name in ("shl", "shr"):
            one, by = self._read(sources[0], kind), self._read(sources[1], "u32")
            inside = sources[1].isdecimal() and int(sources[1]) < bits
            value = f"{one} {'<<' if name == 'shl' else '>>'} {by}" if inside else f"machine::{name}({one}, {by})"
            return self._set(to, kind, value)
        if found := re.fullmatch(r"shf\.([lr])\.(wrap|clamp)", name):
            low, high = (self._read(each, "u32") for each in sources[:2])
            by = self._read(sources[2], "u32")
            by = f"({by} & 31)" if found[2] == "wrap" else f"({by} < 32 ? {by} : 32)"
            both = f"(uint64_t({high}) << 32 | {low})"
            return self._set(to, "u32", f"{both} >> {by}" if found[1] == "r" else f"{both} << {by} >> 32")
        if name == "bfi":
            *numbers, begin, count = sources
            values = [self._read(each, kind) for each in numbers] + [self._read(each, "u32") for each in (begin, count)]
            return self._set(to, kind, f"machine::{name}({', '.join(values)})")
        allowed, form = _INTEGER[name]
        if flush or kind[0] not in allowed:
            return None
        if name in _SIGNLESS:
            kind = f"u{bits}"
        wide = f"{kind[0]}{2 * bits}"
        types = {"T": _C[kind], "U": _C.get(f"u{bits}", "bool"), "W": _C.get(wide, f"machine::{kind[0]}128")}
        read = [kind] * len(sources) if base not in ("mad",) or "lo" in modifiers else [kind, kind, wide]
        values = [self._read(each, one) for each, one in zip(sources, read, strict=True)]
        value = form.format(*values, bits=bits, **types)
        if name == "not" and kind == "pred":
            value = f"!{values[0]}"
        result = wide if "wide" in modifiers else "u32" if base in ("popc", "clz", "bfind") else kind
        return self._set(to, result, value if name in _SIGNLESS else f"{_C[result]}({value})")

    def _compare(self, _: str, modifiers: list[str], kinds: list[str], operands: list[str], __: str) -> str | None:
        (kind,), (to, one, other) = kinds, operands
        comparison, *more = modifiers
        flush = more == ["ftz"] and kind == "f32"
        if more and not flush:
            return None
        values = [self._read(each, kind) for each in (one, other)]
        if flush:
            values = list(map(_flushed, values))
        a, b = values
        if comparison in ("nan", "num"):
            value = f"{'!' * (comparison == 'num')}__builtin_isunordered({a}, {b})"
        elif kind[0] == "f" and comparison == "ne":
            value = f"({a} < {b} || {a} > {b})"
        elif kind[0] == "f" and comparison[-1] == "u":
            value = f"({a} {_COMPARISONS[comparison[:-1]]} {b} || __builtin_isunordered({a}, {b}))"
        else:
            value = f"{a} {_COMPARISONS[comparison]} {b}"
        return self._set(to, "pred", value)

    def _convert(self, _: str, modifiers: list[str], kinds: list[str], operands: list[str], __: str) -> str | None:
        (to_kind, from_kind), (to, one) = kinds, operands
        flush, clamp = "ftz" in modifiers, "sat" in modifiers
        rounding = [each for each in modifiers if each not in ("ftz", "sat")]
        value = self._read(one, from_kind)
        if flush and from_kind == "f32":
            value = _flushed(value)
        if from_kind[0] != "f":
            # Of integers, cut or extended; to a floating-point number, rounded to the nearest.
            if clamp or rounding != ["rn"] * (to_kind[0] == "f"):
                return None
            value = f"{_C[to_kind]}({value})"
        elif rounding and rounding[0][-1] == "i":
            function = {"rni": "nearbyint", "rzi": "trunc", "rmi": "floor", "rpi": "ceil"}[rounding[0]]
            value = f"__builtin_{function}{'f' * (from_kind == 'f32')}({value})"
            if to_kind[0] != "f":
                value = f"machine::clamped<{_C[to_kind]}>({value})"
            elif to_kind != from_kind:
                return None
        elif to_kind[0] != "f" or rounding != ["rn"] * (_size(to_kind) < _size(from_kind)):
            return None
        if to_kind[0] == "f":
            value = f"{_C[to_kind]}({value})"
            if clamp:
                value = f"machine::saturated({value})"
            if flush and to_kind == "f32":
                value = _flushed(value)
        return self._set(to, to_kind, value)

    def _move(self, _: str, modifiers: list[str], kinds: list[str], operands: list[str], __: str) -> str | None:
        (kind,), (to, one) = kinds, operands
        if modifiers:
            return None
        if to.startswith("{"):
            parts = _parts(to)
            part = f"u{8 * _size(kind) // len(parts)}"
            value = self._read(one, f"u{8 * _size(kind)}")
            moved = [
                (each, f"{_C[part]}({value} >> {i * int(part[1:])})") for i, each in enumerate(parts) if each != "_"
            ]
            return " ".join(self._set(each, part, value) for each, value in moved)
        if one.startswith("{"):
            parts = _parts(one)
            bits = 8 * _size(kind) // len(parts)
            values = (f"{_C[f'u{8 * _size(kind)}']}({self._read(each, f'u{bits}')})" for each in parts)
            return self._set(to, f"u{8 * _size(kind)}", " | ".join(f"{v} << {i * bits}" for i, v in enumerate(values)))
        return self._set(to, kind, self._read(one, kind))

    def _memory(
        self, base: str, modifiers: list[str], kinds: list[str], operands: list[str], statement: str
    ) -> str | None:
        (kind,) = kinds
        space = next((each for each in modifiers if each in ("global", "shared", "param", "const", "local")), "generic")
        rest = {each for each in modifiers if each not in (space, "nc", "volatile", "v2", "v4")}
        if rest or space in ("const", "local"):
            return None
        count = 2 if "v2" in modifiers else 4 if "v4" in modifiers else 1
        address, value = operands if base == "st" else operands[::-1]
        registers = _parts(value) if count > 1 else [value]
        if len(registers) != count:
            return None
        at, size = self._address(address), _size(kind)
        if space == "param":
            if base == "st":
                return None
            where = f"machine::parameter(parameters, {at}, {size * count}, {self._bytes()})"
        else:
            read_only = "nc" in modifiers
            access = "WRITE" if base == "st" else "READ_ONLY" if read_only else "READ"
            where = f"machine::at_{space}({at}, {size * count}, machine::{access}, {self._site(statement)})"
        const = "const " * (base == "ld")
        place = where if count == 1 else "place"
        numbers = [f"reinterpret_cast<{const}{_C[kind]} *>({place})[{i}]" for i in range(count)]
        if base == "st":
            lines = [f"{to} = {self._read(one, kind)};" for to, one in zip(numbers, registers, strict=True)]
        else:
            lines = [self._set(to, kind, one) for to, one in zip(registers, numbers, strict=True)]
        return lines[0] if count == 1 else f"{{ {const}char *const place = {where}; {' '.join(lines)} }}"

    def _bytes(self) -> int:
        last = self.kernel.parameters[-1]
        return last.offset + last.size

    def _atomic(
        self, base: str, modifiers: list[str], kinds: list[str], operands: list[str], statement: str
    ) -> str | None:
        (kind,) = kinds
        space = next((each for each in modifiers if each in ("global", "shared")), "generic")
        (operation,) = (each for each in modifiers if each not in (space, "relaxed", "gpu", "cta"))
        if operation not in _ATOMICS:
            return None
        to, address, *values = ["_", *operands] if base == "red" else operands
        at = f"machine::at_{space}({self._address(address)}, {_size(kind)}, machine::ATOMIC, {self._site(statement)})"
        given = ", ".join(self._read(each, kind) for each in values)
        return self._set(to, kind, f"machine::atomic_{operation}<{_C[kind]}>({at}, {given})")

    def _control(self, base: str, parts: list[str], operands: list[str], statement: str) -> str | None:
        name = ".".join((base, *parts))
        if name in ("bra", "bra.uni"):
            return f"goto {operands[0].lstrip('$')};"
        if name in ("ret", "exit"):
            return "return;"
        if name in ("membar.gl", "membar.sys", "fence.acq_rel.gpu", "fence.sc.gpu"):
            return "machine::fence();"
        if name in ("membar.cta", "fence.acq_rel.cta"):
            return ";"
        if found := re.fullmatch(r"cvta(\.to)?\.(global|shared|param)\.u64", name):
            to, one = operands
            if found[2] == "param":
                return None
            window = "" if found[2] == "global" else f" {'-' if found[1] else '+'} machine::shared_window"
            return self._set(to, "u64", self._read(one, "u64") + window)
        return self._wait(name, operands, statement)

    def _wait(self, name: str, operands: list[str], statement: str) -> str | None:
        site = self._site(statement)
        if name in ("bar.sync", "barrier.sync"):
            return f"machine::wait_for_block({site}, false);" if operands == ["0"] else None
        if found := re.fullmatch(r"(?:bar|barrier)\.red\.(popc|and|or)\.(pred|u32)", name):
            to, number, one = operands
            count = f"machine::wait_for_block({site}, {self._read(one, 'pred')})"
            value = {"popc": "{}", "and": "{} == machine::threads", "or": "{} != 0"}[found[1]].format(count)
            return self._set(to, found[2], value) if number == "0" else None
        if name == "bar.warp.sync":
            return f"machine::wait_for_warp({site}, machine::SYNC, {self._read(operands[0], 'b32')}, 0);"
        if name == "activemask.b32":
            return self._set(operands[0], "b32", "machine::lanes()")
        if found := re.fullmatch(r"vote\.sync\.(any|all|ballot)\.(pred|b32)", name):
            to, one, mask = operands
            one, mask = self._read(one, "pred"), self._read(mask, "b32")
            vote = f"machine::vote({site}, {mask}, {one})"
            value = {"any": "{}.ballot != 0", "all": "{0}.ballot == {0}.lanes", "ballot": "{}.ballot"}[found[1]]
            vote = f"const machine::Vote vote = {vote};"
            return f"{{ {vote} {self._set(to, found[2], value.format('vote'))} }}"
        if found := re.fullmatch(r"shfl\.sync\.(idx|up|down|bfly)\.b32", name):
            to, one, by, clamp, mask = operands
            to, _, inside = to.partition("|")
            values = [self._read(each, "b32") for each in (mask, one, by, clamp)]
            call = f"machine::shuffle({site}, machine::SHUFFLE_{found[1].upper()}, {', '.join(values)}, valid)"
            done = self._set(to.strip(), "b32", call)
            kept = self._set(inside.strip(), "pred", "valid") if inside else ""
            return f"{{ bool valid; {done} {kept} }}"
        return None


def _flushed(value: str) -> str:
    return f"machine::flushed({value})"


def _parts(operand: str) -> list[str]:
    return [each.strip() for each in operand.strip("{}").split(",")]


def _statements(body: str) -> Iterator[str]:
    """Yield the statements of a function: instructions, declarations, labels, and the braces of scopes."""
    place = 0
    statement = re.compile(r"\s*([{}]|\$?\w+:(?!:)|(?:\{[^{}]*\}|[^;{}])+;)")
    while found := statement.match(body, place):
        yield found[1].rstrip(";").strip()
        place = found.end()
    if body[place:].strip():
        raise PtxError(f"'{body[place:].strip().splitlines()[0]}' is not supported")
