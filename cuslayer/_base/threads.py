"""The number of threads of CPU kernels: what the caller or the environment sets, or what the machine allows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Literal, overload

from cuslayer._base import check

# The first that has a number counts; cs.threads comes before them.
VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "PYTHON_CPU_COUNT")
_MOST = 4096
_PROCESS_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


class _Numbers:
    """What this process has set."""

    chosen: int | None = None
    sharing: int = 1


class ThreadSetting:
    """A number of threads that is set; leaving its ``with`` block restores the number before it."""

    def __init__(self, before: int | None) -> None:
        self._before = before

    def __enter__(self) -> None:
        """Keep the number, which `threads` has set."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the number before."""
        _Numbers.chosen = self._before


@overload
def threads() -> int: ...
@overload
def threads(number: int | Literal["auto"]) -> ThreadSetting: ...
@check.operation
def threads(number: int | Literal["auto"] | None = None) -> int | ThreadSetting:
    """Return or set the number of threads of CPU kernels, for the whole process.

    It changes no bit of a result. The number is the first of these that is set:

    1. the number given here;
    2. the environment variables OMP_NUM_THREADS, NUMBA_NUM_THREADS and PYTHON_CPU_COUNT;
    3. the cores that the process may use, or the CPU quota of its container, rounded up, if that is smaller.

    ``cuslayer info`` shows the number and where it comes from.

    Args:
        number: at least 1, also above the number of cores; "auto" to use the environment; nothing to return the number.

    Returns:
        The number in use; where it is set, a context manager that restores the number before at its end.

    Raises:
        TypeError: number is neither an integer nor a word.
        ValueError: number is below 1 or above 4096, or another word than "auto".

    >>> with threads(3):
    ...     threads()
    3
    >>> threads("auto")  # doctest: +ELLIPSIS
    <...ThreadSetting object at ...>
    """
    if number is None:
        return thread_count()
    chosen = None
    if isinstance(number, str):
        check.one_of("number", number, ("auto",))
    else:
        chosen = check.integer("number", number, least=1)
        if chosen > _MOST:
            raise check.refusal("number", f"must be at most {_MOST}", number, chosen)
    before = _Numbers.chosen
    _Numbers.chosen = chosen
    return ThreadSetting(before)


def share_quota(processes: int) -> None:
    """Divide the quota of the container among processes that run in it at once."""
    _Numbers.sharing = processes


def thread_count() -> int:
    """Return the number of threads of CPU kernels."""
    return _Numbers.chosen or _of_environment()[0] or _of_machine()[0]


def thread_source() -> str:
    """Return where the number of threads comes from, for display."""
    number, source = _of_environment()
    if _Numbers.chosen:
        return "cs.threads"
    if number:
        return source
    ignored = f"; {source}" if source else ""
    return f"{_of_machine()[1]}{ignored}"


def part_of_cores(cores: list[int], place: int, count: int) -> list[int]:
    """Return the cores of one of several processes: parts of equal size, or a shared core.

    >>> part_of_cores([0, 1, 2, 3], 1, 2), part_of_cores([0, 1], 2, 4)
    ([2, 3], [0])
    """
    if count >= len(cores):
        return [cores[place % len(cores)]]
    return cores[place * len(cores) // count : (place + 1) * len(cores) // count]


@cache
def _of_environment() -> tuple[int, str]:
    """Return the number that a variable sets and its name; 0 and the ignored variables where none does."""
    ignored = []
    for name in VARIABLES:
        text = os.environ.get(name, "").strip()
        # OpenMP's variable may have a number for each level of nested loops.
        first = text.partition(",")[0].strip() if name == "OMP_NUM_THREADS" else text
        if first.isascii() and first.isdigit() and len(first) < 10 and 1 <= int(first) <= _MOST:
            return int(first), name
        if text and (name, text) != ("PYTHON_CPU_COUNT", "default"):
            ignored.append(name)
    return 0, f"{', '.join(ignored)} ignored: no number from 1 to {_MOST}" if ignored else ""


def _of_machine() -> tuple[int, str]:
    """Return the number of usable cores, or the container's quota if it is smaller, and which of them it is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    if quota is None:
        return cores, "cores of this process"
    allowed = max(1, math.ceil(quota / _Numbers.sharing))
    if allowed < cores:
        return allowed, f"CPU quota of the container, {quota:g} of {cores} cores"
    return cores, "cores of this process"


@cache
def _quota() -> float | None:
    """Return the cores that the process's control groups allow, the least of all; None without a limit."""
    try:
        lines = _PROCESS_GROUPS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    limits = [limit for line in lines for folder in _folders(line) if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _folders(line: str) -> Iterator[Path]:
    """Yield the folders of a control group and of all groups around it, for a line ``number:controllers:path``."""
    controllers, _, path = line.partition(":")[2].partition(":")
    mounted = [_GROUPS] if not controllers else []
    if "cpu" in controllers.split(","):
        mounted = [_GROUPS / controllers, _GROUPS / "cpu"]
    for root in mounted:
        folder = root / path.lstrip("/")
        # A container may see its own group as the root, under the path that the host sees.
        yield from (part for part in (folder, *folder.parents) if part == root or root in part.parents)


def _limit(folder: Path) -> float | None:
    """Return the cores that one control group allows, in the second or the first version; None without a limit."""
    with suppress(OSError, ValueError):
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        # "max", or -1 in the first version, is no limit.
        if quota != "max" and int(quota) > 0 and int(period) > 0:
            return int(quota) / int(period)
    return None
