"""Makes small faults of the library: in Python from the syntax tree, in CUDA from operators between spaces."""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
# What stands in the place of an operator or the name of a function.
SWAPS = {"+": "-", "-": "+", "*": "+", "/": "*", "+=": "-=", "-=": "+=", "*=": "+=", "/=": "*="}
for _one, _other in (
    *(("<", "<="), (">", ">="), ("==", "!="), ("is", "is not"), ("in", "not in")),
    *(("and", "or"), ("&&", "||"), ("&", "|"), ("<<", ">>")),
    *(("min", "max"), ("minimum", "maximum"), ("any", "all"), ("floor", "ceil")),
):
    SWAPS |= {_one: _other, _other: _one}
# Texts for a reader are left alone: errors, warnings, and what these functions return.
SHOWN = ("__repr__", "__str__", "_repr_html_")
SAID = re.compile(r".*(?:\bwarn\w*|Error|Warning)$")


class Fault(NamedTuple):
    """A fault of a source file: the text `old` at byte `start` of a line becomes `new`."""

    file: str
    line: int
    start: int
    old: str
    new: str
    code: str

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}:{self.line}: {self.code}  [{old}  ->  {new}]"

    def planted(self, source: bytes) -> bytes:
        """Return a source with the fault."""
        old = self.old.encode()
        if not source.startswith(old, self.start):
            raise ValueError(f"{self}: the source has changed")
        return source[: self.start] + self.new.encode() + source[self.start + len(old) :]

    def parses(self) -> bool:
        """Return whether the file with the fault is a program."""
        try:
            self.file.endswith(".py") and ast.parse(self.planted((ROOT / self.file).read_bytes()))
        except SyntaxError:
            return False
        return True


def changeable(node: ast.AST, within: bool = False) -> Iterator[ast.AST]:
    """Yield the nodes in the bodies of functions, without annotations and texts for a reader."""
    children = ast.iter_child_nodes(node)
    match node:
        case ast.FunctionDef(name=name, body=body):
            children = iter([] if name in SHOWN else body)
            within = True
        case ast.AnnAssign(value=value):
            children = iter([value] if value else [])
        case ast.Raise() | ast.JoinedStr() | ast.If(test=ast.Name("TYPE_CHECKING")):
            return
        case ast.Call(func=called) | ast.Expr(value=ast.Call(func=called)) if SAID.match(ast.unparse(called)):
            return
    if within:
        yield node
    for child in children:
        yield from changeable(child, within)


def python_edits(source: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield the start, the end and the new text of each fault of a Python source; some are no program."""
    lines = [0, *accumulate(len(line) for line in source.splitlines(keepends=True))]

    def begin(node: ast.AST) -> int:
        return lines[node.lineno - 1] + node.col_offset

    def end(node: ast.AST) -> int:
        return lines[node.end_lineno - 1] + node.end_col_offset

    for node in changeable(ast.parse(source)):
        operands: list[ast.expr] = []
        match node:
            case ast.Compare(left=left, comparators=others):
                operands = [left, *others]
            case ast.BoolOp(values=operands):
                pass
            case ast.BinOp(left=left, right=right) | ast.AugAssign(target=left, value=right):
                operands = [left, right]
            case ast.UnaryOp(op=ast.Not()):
                yield begin(node), begin(node) + 3, ""
            case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
                yield begin(node), begin(node) + 1, ""
            case ast.Constant(value=value) if type(value) is int and value <= 2:
                yield begin(node), end(node), str(value + 1)
            case ast.If(test=test) | ast.IfExp(test=test):
                yield begin(test), end(test), f"not ({source[begin(test) : end(test)].decode()})"
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in SWAPS:
                yield end(node) - len(name), end(node), SWAPS[name]
            case ast.Call(args=arguments, keywords=keywords):
                listed = sorted([*arguments, *keywords], key=begin)
                for before, argument in zip([None, *listed], listed, strict=False):
                    # Without `strict`, zip is the same for what it is given.
                    if isinstance(argument, ast.keyword) and argument.arg not in (None, "strict"):
                        yield end(before) if before else begin(argument), end(argument), ""
        if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            yield begin(node), end(node), "pass"
        for left, right in pairwise(operands):
            gap = re.sub(rb"#[^\n]*", lambda comment: b" " * len(comment[0]), source[end(left) : begin(right)])
            operator = re.search(rb"is not|not in|[^\s()\\]+", gap)
            if operator and (text := operator[0].decode()) in SWAPS:
                yield end(left) + operator.start(), end(left) + operator.end(), SWAPS[text]


def cuda_edits(source: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield the start, the end and the new text of each fault of a CUDA source."""
    # Comments, and lines that are not indented: directives and declarations.
    left_out = re.compile(rb"//[^\n]*|/\*.*?\*/|^[^\s/][^\n]*", re.MULTILINE | re.DOTALL)
    code = left_out.sub(lambda text: b" " * len(text[0]), source)
    for operator in re.finditer(rb"(?<=\s)[^\s\w]+(?=\s)", code):
        if (text := operator[0].decode()) in SWAPS:
            yield *operator.span(), SWAPS[text]


def sources() -> list[str]:
    """Return the files that faults are planted in."""
    paths = [path for path in (ROOT / "cuslayer").rglob("*") if path.suffix in (".py", ".cu", ".cuh")]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def faults(file: str) -> Iterator[Fault]:
    """Yield the faults of a file."""
    source = (ROOT / file).read_bytes()
    lines = source.splitlines()
    edits = python_edits if file.endswith(".py") else cuda_edits
    for start, end, new in edits(source):
        line = source.count(b"\n", 0, start)
        yield Fault(file, line + 1, start, source[start:end].decode(), new, lines[line].decode().strip())


def drawn(count: int, seed: int, only: str = "") -> list[Fault]:
    """Return faults that have a word: each file has one before any has two, large files first on average."""
    every = [fault for file in sources() for fault in faults(file) if only in str(fault)]
    shuffled = random.Random(seed).sample(every, len(every))
    turns: Counter[str] = Counter()

    def turn(fault: Fault) -> int:
        turns[fault.file] += 1
        return turns[fault.file]

    return list(islice((fault for fault in sorted(shuffled, key=turn) if fault.parses()), count))
