"""Loops in generated code, for functions that LLVM compiles into kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

_I64 = ir.IntType(64)


def generate_loop(builder: Any, count: Any, first: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Generate a loop of `count` passes over variables: `body` is given the pass and them, and returns the next ones.

    Returns the variables after the last pass.
    """
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    turn = builder.phi(_I64)
    variables = [builder.phi(value.type) for value in first]
    builder.cbranch(builder.icmp_signed("<", turn, count), inside, after)
    builder.position_at_end(inside)
    following = [builder.add(turn, ir.Constant(_I64, 1)), *body(turn, variables)]
    for variable, value, other in zip([turn, *variables], [ir.Constant(_I64, 0), *first], following, strict=True):
        variable.add_incoming(value, before)
        variable.add_incoming(other, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return variables
