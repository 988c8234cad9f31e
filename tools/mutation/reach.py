"""Which files of Numba's cache a change of a source makes stale: cached code has all callees compiled into it.

Numba checks the file of the cached function alone. Here the references between functions and constants are read from
the sources, by dotted module name. A local name is taken for the global one of the same name, so the result may hold
too many files, never too few.
"""

from __future__ import annotations

import ast
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

# A module and a name in it; the empty name is the module as a whole.
Place: TypeAlias = tuple[str, str]

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


# CPython 3.11 counts the depth of recursion of its parser for all threads together.
_parser = threading.Lock()


def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a text; one thread parses at a time."""
    with _parser:
        return ast.parse(text)


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the names in code, except in annotations."""
    if isinstance(node, ast.Name):
        yield node.id
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, ast.AST):
                    yield from _names(inner)


def _bound(statement: ast.stmt) -> set[str] | None:
    """Return the names that a statement of a module defines; None for compound statements."""
    if isinstance(statement, _NAMED):
        return {statement.name}
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return {name for target in targets for name in _names(target)}
    return None


def module_of(file: Path) -> str:
    """Return the dotted name of a source, given its path from the root of the packages."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Sources:
    """The references between the names of all modules under a folder."""

    def __init__(self, root: Path, files: Iterable[Path]):
        self._refer: dict[Place, set[Place]] = defaultdict(set)
        # Names that may be part of any compiled function.
        self._everywhere: set[Place] = set()
        texts = {module_of(file): (root / file).read_text("utf-8") for file in files}
        self._modules = set(texts)
        for module, text in texts.items():
            tree = parsed(text)
            for node in ast.walk(tree):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    self._imported(module, node)
            for statement in tree.body:
                self._defined(module, statement)
        for place in list(self._refer):
            self._refer[place[0], ""].add(place)

    def _imported(self, module: str, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                inner = f"{node.module}.{alias.name}"
                target = (inner, "") if inner in self._modules else (node.module or "", alias.name)
            else:
                target = (alias.name, "")
            self._refer[module, (alias.asname or alias.name).partition(".")[0]].add(target)

    def _defined(self, module: str, statement: ast.stmt) -> None:
        bound = _bound(statement)
        if bound is None:
            # An `if` or a `try`: any name in it may be defined, from any name in it.
            bound = {*_names(statement), *(node.name for node in ast.walk(statement) if isinstance(node, _NAMED))}
        for name in bound:
            self._refer[module, name] |= {(module, other) for other in _names(statement)}
        for decorator in getattr(statement, "decorator_list", []):
            # As in @overload(f): a caller of f has the decorated function compiled into it.
            for argument in decorator.args if isinstance(decorator, ast.Call) else ():
                for other in _names(argument):
                    self._refer[module, other] |= {(module, name) for name in bound}
                if isinstance(argument, ast.Attribute):
                    self._everywhere |= {(module, name) for name in bound}

    def reach(self, place: Place) -> set[Place]:
        """Return a name and all that it refers to, directly or not."""
        found: set[Place] = set()
        new = {place} | self._everywhere
        while new:
            found |= new
            new = {other for one in new for other in self._refer.get(one, ())} - found
        return found

    def stale(self, kept: Iterable[Path], file: Path, names: set[str] | None) -> set[Path]:
        """Return the cache files that a change of a source makes stale.

        Args:
            kept: Numba's files, as ``package/__pycache__/module.function-35.py311.nbi``, from the root of the packages.
            file: the source, from the same root.
            names: the names whose definitions are changed; None: all names of the source.
        """
        module = module_of(file)
        changes = (
            {(module, name) for name in names} if names else {place for place in self._refer if place[0] == module}
        )
        found = set()
        for path in kept:
            owner, _, rest = path.name.partition(".")
            home = module_of(path.parent.parent / owner)
            function = re.split(r"\W", rest, maxsplit=1)[0]
            if (home, function) not in self._refer or self.reach((home, function)) & changes:
                found.add(path)
        return found


def changed(old: str, new: str) -> set[str] | None:
    """Return the names whose definitions differ in two texts of a module; None where any may differ."""
    try:
        before, after = parsed(old).body, parsed(new).body
    except SyntaxError:
        return None
    if len(before) != len(after):
        return None
    found: set[str] = set()
    for one, other in zip(before, after, strict=True):
        if ast.dump(one) != ast.dump(other):
            names = _bound(one)
            if names is None or names != _bound(other):
                return None
            found |= names
    return found
