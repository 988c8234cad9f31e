"""Prints the step of a neuron in C99, each result rounded to float; `print_cuda.py` prints CUDA."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from cuslayer.kernels.step.kind import Kind, is_condition, names_in
from cuslayer.kernels.step.print_numba import ATOM, CFamily


def number(value: Any) -> str:
    """Return a number as a constant of C, exactly as float32 has it.

    >>> number(0.1), number(float("inf")), number(-2.0)
    ('0x1.99999ap-4f', 'INFINITY', '-0x1.0p+1f')
    """
    single = float(np.float32(value))
    if np.isnan(single):
        return "NAN"
    if np.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    mantissa, exponent = single.hex().split("p")
    return f"{mantissa.rstrip('0') if '.' in mantissa else mantissa}p{exponent}f".replace(".p", ".0p")


def word(name: str) -> str:
    """Return a name of a step as a name of C: ASCII, and no word of the language."""
    letters = (letter if letter.isascii() and letter.isalnum() else f"_{ord(letter):x}_" for letter in name)
    return "n_" + "".join("_" if letter == "_5f_" else letter for letter in letters)


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

    def statements(self, kind: Kind) -> list[str]:
        """Return the lines of a step's assignments, without those that nothing uses."""
        used = {kind.potential, kind.spike, *kind.after}
        lines = list[str]()
        for target, value in reversed(kind.body):
            if target not in used:
                continue
            used.update(names_in(value))
            condition = is_condition(value)
            lines.append(
                f"const {'int' if condition else 'float'} {word(target)} = {self.show(value, condition=condition)};"
            )
        return lines[::-1]
