"""Prints the step of a neuron in C99, each result rounded to float; `print_cuda.py` prints CUDA."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

import numpy as np

from cuslayer.kernels.step.kind import Kind, is_condition, names_in
from cuslayer.kernels.step.print_numba import ATOM, CFamily


def number(value: Any) -> str:
    """Return a number as a constant of C, exactly as float32 has it.

    >>> number(0.1), number(1e300), number(-2.0)
    ('0x1.99999ap-4f', 'INFINITY', '-0x1.0p+1f')
    """
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    if np.isnan(single):
        return "NAN"
    if np.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    mantissa, exponent = single.hex().split("p")
    return f"{mantissa.rstrip('0') if '.' in mantissa else mantissa}p{exponent}f".replace(".p", ".0p")


def word(name: str) -> str:
    """Return a name of a step as a local name of C: ASCII, no word of the language, and no name of a file's own.

    A file's own names begin with a letter.

    >>> word("while_"), word("größe_")
    ('_nwhile_', '_ugr_f6__df_e_5f_')
    """
    return f"_n{name}" if _plain(name) else f"_u{_escaped(name)}"


def field_of(number: int, state: str) -> str:
    """Return the name of a state or constant of layer `number` in C.

    >>> field_of(1, "v"), field_of(1, "ö")
    ('layer1_v', 'layer1u_f6_')
    """
    return f"layer{number}_{state}" if _plain(state) else f"layer{number}u{_escaped(state)}"


def _plain(name: str) -> bool:
    """Return whether a name is one of C; names of the library's own, such as of an earlier value, may be none."""
    return name.isascii() and name.isidentifier()


def _escaped(name: str) -> str:
    """Return a name in ASCII, by which names that differ differ."""
    return "".join(letter if letter.isascii() and letter.isalnum() else f"_{ord(letter):x}_" for letter in name)


class C(CFamily):
    """Expressions of C: each result is rounded to float, also where a processor computes with more digits.

    Args:
        kind: the kind of neuron.
        prefix: how the names of the file's functions begin.
    """

    def __init__(self, kind: Kind, prefix: str) -> None:
        super().__init__(kind.conditions)
        self.prefix = prefix
        self.functions = set[str]()

    def show_name(self, name: str) -> str:
        return word(name)

    def number(self, value: float) -> str:
        return number(value)

    def call(self, function: str, arguments: list[str]) -> str:
        if function in ("min", "max"):
            left, right = arguments
            return f"({left} {'<' if function == 'min' else '>'} {right} ? {left} : {right})"
        self.functions.add(function)
        return f"{self.prefix}_{function}({', '.join(arguments)})"

    def _show(self, value: ast.expr, condition: bool) -> tuple[str, int]:
        text, strength = super()._show(value, condition)
        return (f"(float)({text})", ATOM) if isinstance(value, ast.BinOp) else (text, strength)


def statements(printer: CFamily, kind: Kind, number: str, more: Iterable[str] = ()) -> list[str]:
    """Return the lines of a step's assignments for a type of numbers, without those that nothing, nor `more`, uses."""
    used = {kind.potential, kind.spike, *kind.after, *more}
    lines = list[str]()
    for target, value in reversed(kind.body):
        if target in used:
            used.update(names_in(value))
            condition = is_condition(value)
            shown = printer.show(value, condition=condition)
            lines.append(f"const {'int' if condition else number} {word(target)} = {shown};")
    return lines[::-1]
