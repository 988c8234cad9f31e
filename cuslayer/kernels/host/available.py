"""How much memory a process may still take on the CPU."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from pathlib import Path

from cuslayer.backend import Setting

_MEMORY = Path("/proc/meminfo")
_OWN = Path("/proc/self/statm")
# Of a control group, as of a container: the limit, what is in use, the details; in its second and its first version.
_GROUPS = (
    tuple(Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current", "memory.stat")),
    tuple(
        Path("/sys/fs/cgroup/memory") / name
        for name in ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    ),
)


# While a network is read from a file: how many elements the arrays that its parts make may still have, in a list.
elements_left: Setting[list[int] | None] = Setting(None)


def count_elements(shape: tuple[int, ...]) -> None:
    """Raise ValueError if an array of a shape, which is about to be made, is more than the file that is read allows.

    All arrays of a file count together, so that a small file cannot take much memory.
    """
    left, count = elements_left.get(), math.prod(shape)
    if left is None:
        return
    if count > left[0]:
        raise ValueError(f"a parameter of shape {shape} is larger than the arrays of its file")
    left[0] -= count


def available_memory() -> int | None:
    """Return the bytes that this process may still take: the least that any limit leaves; None if none is known."""
    found = []
    for left in (_of_system, _of_group, _of_process):
        with suppress(OSError, ValueError, AttributeError, ImportError, KeyError):
            found.append(left())
    known = [each for each in found if each is not None]
    return max(0, min(known)) if known else None


def _of_system() -> int:
    """Return what the system has: on Linux free and reclaimable memory and swap, elsewhere all its memory."""
    if not _MEMORY.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    sizes = {name: int(size) * 1024 for name, size in re.findall(r"(\w+): *(\d+) kB", _MEMORY.read_text())}
    return sizes["MemAvailable"] + sizes.get("SwapFree", 0)


def _of_group() -> int | None:
    """Return what the limit of the control group leaves, cached files not counted; None without a limit."""
    for limit, used, details in _GROUPS:
        text = limit.read_text().strip() if limit.exists() else "max"
        if text != "max":
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", details.read_text(), re.MULTILINE)
            return int(text) - int(used.read_text()) + (int(cached[1]) if cached else 0)
    return None


def _of_process() -> int | None:
    """Return what the limit of the process's address space leaves; None without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - int(_OWN.read_text().split()[0]) * resource.getpagesize()


def in_words(size: float) -> str:
    """Return a number of bytes as text.

    >>> in_words(1536), in_words(12.3e9)
    ('1.54 kB', '12.3 GB')
    """
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"
