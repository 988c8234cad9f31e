"""Import of optional libraries, which the package's extras install."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def optional(module: str, extra: str) -> ModuleType:
    """Import and return a module of an optional library, which an extra installs.

    >>> optional("no_such_library.samplers", "sweep")
    Traceback (most recent call last):
        ...
    ImportError: no_such_library is not installed; pip install 'cuslayer[sweep]'
    """
    try:
        return import_module(module)
    except ImportError as problem:
        library = module.partition(".")[0]
        raise ImportError(f"{library} is not installed; pip install 'cuslayer[{extra}]'") from problem
