"""The rules of the tree: who may import whom, how much a folder may hold, what ships, how light the import is."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cuslayer import layers

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "cuslayer"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Each module or folder of the package and its level: imports run to a lower level, or within a folder.
LEVELS = {
    "check": 0,
    "compiling": 1,
    "device_random": 0,
    "extras": 0,
    "kernel_cache": 0,
    "hdf5_files": 5,
    "instead": 2,
    "keys": 2,
    "files": 0,
    "threads": 1,
    "time_window": 1,
    "version": 0,
    "archive": 2,
    "backend": 2,
    "jit": 2,
    "parallel": 3,
    "array_like": 3,
    "_tape": 5,
    "_still": 6,
    "surrogates": 5,
    "kernels": 4,
    "data": 7,
    "_array_functions": 7,
    "_gradcheck": 7,
    "_parameter": 6,
    "sequences": 6,
    "labels": 6,
    "_encoding": 7,
    "neurons": 7,
    "optim": 8,
    "layers": 8,
    "loss": 8,
    "plot": 8,
    "network": 9,
    "functions": 10,
    "distributed": 9,
    "inspection": 10,
    "interchange": 10,
    "saving": 11,
    "training": 10,
    "plasticity": 11,
    "cli": 12,
    "__init__": 12,
    "__main__": 13,
}


def folder(path: Path) -> str:
    return place(path.relative_to(PACKAGE).with_suffix("").parts)


def place(parts: Sequence[str]) -> str:
    """Return what of the names that lead to a module has a level: a file of the ground has its own."""
    return parts[1] if parts[0] == "_base" else parts[0]


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def imported(path: Path) -> list[tuple[str, str]]:
    """Return each module that a file imports, and each name from it."""
    found = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def test_imports_run_downward():
    assert {folder(path) for path in MODULES} == LEVELS.keys()
    assert max(LEVELS.values()) <= 13
    for path in MODULES:
        mine = folder(path)
        for module, name in imported(path):
            if module.split(".")[0] == "cuslayer":
                target = place([*module.split(".")[1:], name])
                assert target in LEVELS, f"{path} imports {module} {name}: of no level, or from the package itself"
                assert target == mine or LEVELS[target] < LEVELS[mine], f"{path} imports {target}"


def test_training_looks_at_no_inspection():
    for path in (PACKAGE / "training").rglob("*.py"):
        found = [module for module, _ in imported(path) if module.startswith("cuslayer.inspection")]
        assert not found, path


def names_in_code(path: Path) -> set[str]:
    """Return the names, imports and short strings in a file's code, in lower case; not its docstrings and comments."""
    found: set[str] = set()
    for node in nodes(path):
        for field in ("id", "attr", "name", "module"):
            found.add(str(getattr(node, field, "")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
            found.add(node.value)
    return {name.lower() for name in found}


def test_a_kind_of_neuron_has_two_places():
    """CONTRIBUTING.md lists them: its file and a line; and its test."""
    found = [path for path in MODULES if any("normalizedalif" in name for name in names_in_code(path))]
    assert {str(path.relative_to(PACKAGE)) for path in found} == {"neurons/normalized_alif.py", "neurons/__init__.py"}


def test_no_place_asks_for_the_class_of_a_neuron_or_a_layer():
    """What a layer is, it declares: `Layer` has its traits. Networks and joins are no layers in this sense."""
    layer_kinds = {*layers.__all__} - {"Layer"}
    for path in MODULES:
        for node in nodes(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                kinds = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
                assert not kinds & {"SRM", "Loihi"}, path
                assert folder(path) in ("layers", "kernels") or not kinds & layer_kinds, path


def test_no_import_cycles():
    names = {".".join(("cuslayer", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in MODULES}
    names = {name.removesuffix(".__init__"): p for name, p in names.items()}
    graph = {
        name: {m if f"{m}.{n}" not in names else f"{m}.{n}" for m, n in imported(p)} & names.keys() - {name}
        for name, p in names.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for target in graph[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in names:
        visit(name, ())


def test_only_backend_imports_cupy_and_only_one_module_compiles():
    for path in MODULES:
        for module, _ in imported(path):
            assert module.split(".")[0] != "cupy" or path.name == "backend.py", path
        # backend.py compiles one line, to find out whether the device works.
        assert "RawModule" not in path.read_text() or path.name in ("compile.py", "backend.py"), path


def test_no_framework_is_imported():
    imports = re.compile(r"^\s*(import|from) (torch|jax|tensorflow|snntorch|norse)\b", re.MULTILINE)
    for path in [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").glob("*.py")]:
        assert not imports.search(path.read_text(encoding="utf-8")), path


def test_no_assert_and_no_print_for_callers():
    for path in MODULES:
        for node in nodes(path):
            assert not isinstance(node, ast.Assert), path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                assert folder(path) == "cli", path


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120
    assert (ROOT / "docs" / "images" / "demo.gif").stat().st_size < 1 << 20


def test_every_file_of_the_second_level_exists():
    names = runpy.run_path(str(ROOT / "conftest.py"))
    modules = [f"{folder}/{name}.py" for folder, files in names["DOCSTRINGS_WITH_ALL"].items() for name in files]
    assert [path for path in (*modules, *names["FOLDERS_WITH_ALL"]) if not (ROOT / path).exists()] == []


def test_public_names_have_docstrings():
    import cuslayer

    for name in cuslayer.__all__:
        thing = getattr(cuslayer, name)
        assert thing.__doc__, name
        if callable(thing) and name not in ("Layer",):
            assert ">>>" in thing.__doc__ or name in ("device",), f"{name} has no doctest"


def test_import_is_light():
    """Libraries, and the parts that train and inspect networks, wait until they are needed; their names have types."""
    later = {"numba", "cupy", "matplotlib", "torch", "yaml", "cuslayer.training", "cuslayer.inspection"}
    code = f"import sys, cuslayer; print(*sys.modules.keys() & {later})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
    import cuslayer

    block = next(node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.If))
    typed = {alias.name for node in block.body for alias in node.names}
    assert typed == {*" ".join(cuslayer._LATER.values()).split(), "distributed", "plasticity", "plot"}


def test_comments_of_kernels_name_files_that_exist():
    """A comment names a file by its name alone, or by its path from the checkout, the package or its kernels."""
    names = {path.name for folder in ("cuslayer", "tests", "tools") for path in (ROOT / folder).rglob("*.*")}
    names.add("kind.cuh")  # printed for each kind of neuron
    pointer = re.compile(r"(?<![\w/*}])\w[\w/]*\.(?:py|cuh?)\b")
    missing = []
    sources = [path for suffix in ("py", "cu", "cuh") for path in (PACKAGE / "kernels").rglob(f"*.{suffix}")]
    for path in sources:
        for named in pointer.findall(path.read_text(encoding="utf-8")):
            is_pattern = Path(named).stem.isupper()
            exists = named in names or any((base / named).exists() for base in (ROOT, PACKAGE, PACKAGE / "kernels"))
            if not is_pattern and not exists:
                missing.append(f"{path.relative_to(ROOT)}: {named}")
    assert missing == []
